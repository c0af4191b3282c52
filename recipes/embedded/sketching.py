"""Sketches of captions: what they say, painted plainly, with nothing left to chance."""

from random import Random

import numpy as np
from numpy.typing import NDArray

from clipopt.embedded.captions import Scene
from clipopt.embedded.composing import ASIDE, PAIR, SPOTS, STEPS, spot
from clipopt.embedded.concepts import COLOUR_NAMES, COLOURS, SHAPES, concepts, things
from recipes.embedded import sprites
from recipes.embedded.solids import FACING, solid_sprites
from recipes.embedded.sprites import Array, Sprite

_GROUND, _DARKER = (226, 230, 236), (84, 116, 160)
_SHAPE = "red"  # a shape of no stated colour


def sketch(said: Scene, side: int) -> NDArray[np.uint8]:
    """A picture (side, side, 3) of which `said` is true: upright things in their own colours where it says no other.

    What is not said is always the same: in the middle, of medium size, on a pale ground, or on a darker one if the
    thing itself is pale. Two things stand beside each other, the first on the left.
    """
    colours = [_colour(said.concept, said.colour)]
    if said.other is not None:
        colours.append(_colour(said.other, said.other_colour))
    ground = COLOURS[said.background] if said.background else _DARKER if {"white", "gray"} & {*colours} else _GROUND
    image: Array = np.broadcast_to(np.array(ground, np.float32), (side, side, 3))
    if said.other is not None:
        gap = (0.0, ASIDE) if said.relation == "over" else (ASIDE, 0.0)
        image = _put(image, said.concept, said.colour, PAIR, -gap[0], -gap[1])
        image = _put(image, said.other, said.other_colour, PAIR, *gap)
    elif (said.count or 1) > 1:
        share, spots = SPOTS[said.count or 1]
        for u, v in spots:
            image = _put(image, said.concept, said.colour, share, u, v)
    else:
        u, v, share = spot(said)
        image = _put(image, said.concept, said.colour, share, u, v)
    return np.clip(image + 0.5, 0, 255).astype(np.uint8)


def _colour(number: int, said: str | None) -> str:
    return said or (sprites.sprites()[number].colour if number < len(things()) else _SHAPE)


def _put(image: Array, number: int, colour: str | None, share: float, u: float, v: float) -> Array:
    side, sprite = len(image), sprites.sprites()[number]
    size, x, y = side * share, side * (0.5 + u), side * (0.5 + v)
    if number >= len(things()):
        _, cover = sprite.place(size, x, y, 0.0, False, side, None)
        rgb = np.array(COLOURS[colour or _SHAPE], np.float32)
    elif colour and colour != sprite.colour and not sprite.colour and number in solid_sprites().numbers:
        sprite = Sprite(solid_sprites().picture(number, FACING, COLOURS[colour]), own_colour=False)
        rgb, cover = sprite.place(size, x, y, 0.0, False, side, None)
    else:
        tint = np.array(COLOURS[colour], np.float32) if colour and colour != sprite.colour else None
        rgb, cover = sprite.place(size, x, y, 0.0, False, side, tint)
    return image * (1 - cover) + rgb * cover


def said_at_random(rng: Random) -> Scene:
    """What a caption may say: a third of the time the name of a thing alone.

    Only what can be painted is said: a thing of many colours is asked for in one colour only where it is a solid.
    """

    def what(shapes: float, tinted: float) -> tuple[int, str | None]:
        if rng.random() < shapes:
            return len(things()) + rng.randrange(len(SHAPES)), rng.choice(COLOUR_NAMES) if rng.random() < 0.9 else None
        number = rng.randrange(len(things()))
        own = sprites.sprites()[number].colour
        if rng.random() < tinted and (own or number in solid_sprites().numbers):
            return number, rng.choice(COLOUR_NAMES)
        return number, own if own and rng.random() < 0.2 else None

    kind = rng.random()
    if kind < 0.16:
        shapes = rng.choice((0.0, 1.0, 1.0, 0.5))
        first, second = what(shapes, 0.15), what(shapes, 0.15)
        while second[0] == first[0]:
            second = what(shapes, 0.15)
        relation = rng.choice(("beside", "over")) if rng.random() < 0.85 else None
        ground = _ground(rng, 0.15, first, second)
        return Scene(first[0], first[1], 1, None, None, second[0], second[1], relation, ground)
    if kind < 0.28:
        number, colour = what(0.4, 0.15)
        count = rng.choice((2, 3, 4)) if concepts()[number].plural else 1
        return Scene(number, colour, count, background=_ground(rng, 0.2, (number, colour)))
    if kind < 0.62:
        number, colour = what(0.0, 0.0)
        return Scene(number, colour)
    number, colour = what(0.27, 0.4)
    size = rng.choice(("small", "large")) if rng.random() < 0.25 else None
    place = rng.randrange(len(STEPS)) if size != "large" and rng.random() < 0.3 else None
    return Scene(number, colour, 1, size, place, background=_ground(rng, 0.5, (number, colour)))


def _ground(rng: Random, share: float, *shown: tuple[int, str | None]) -> str | None:
    taken = {_colour(*each) for each in shown}
    return rng.choice([name for name in COLOUR_NAMES if name not in taken]) if rng.random() < share else None
