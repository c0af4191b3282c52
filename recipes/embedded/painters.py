"""Painters: draw scenes of the embedded world as 64 px pictures.

Every picture depends on (seed, index) alone, so they can be drawn in parallel and in any order. Shapes are
flat; things come from a colour emoji font, which is needed to train and not to use.
"""

import math
from collections.abc import Callable, Sequence
from functools import lru_cache
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from clipopt.embedded.captions import Scene
from clipopt.embedded.concepts import COLOUR_NAMES, COLOURS, SHAPES, concepts, named_in, things
from clipopt.types import generator
from recipes.embedded import sprites
from recipes.embedded.solids import VIEWS, solid_sprites
from recipes.embedded.sprites import Array, Sprite, nearest_colour

_LAYOUTS = {  # where several of one kind stand, in canvases from the middle
    2: (
        ((-0.25, 0.0), (0.25, 0.0)),
        ((0.0, -0.25), (0.0, 0.25)),
        ((-0.23, -0.23), (0.23, 0.23)),
        ((0.23, -0.23), (-0.23, 0.23)),
    ),
    3: (
        ((-0.33, 0.0), (0.0, 0.0), (0.33, 0.0)),
        ((0.0, -0.24), (-0.25, 0.2), (0.25, 0.2)),
        ((0.0, 0.24), (-0.25, -0.2), (0.25, -0.2)),
    ),
    4: (
        ((-0.24, -0.24), (0.24, -0.24), (-0.24, 0.24), (0.24, 0.24)),
        ((0.0, -0.33), (0.0, 0.33), (-0.33, 0.0), (0.33, 0.0)),
    ),
}
_PLACE = {  # column and row of `PLACES`
    (0, 0): 0, (0, -1): 1, (0, 1): 2, (-1, 0): 3, (1, 0): 4, (-1, -1): 5, (1, -1): 6, (-1, 1): 7, (1, 1): 8,
}  # fmt: skip
_MODELLED = 0.2  # share of things that are picked among those with a solid, and shown as it
_SOLID, _ONE_COLOUR, _BARE = 0.5, 0.12, 0.35  # shares: solids of things that have both; of these in one colour, bare
_CLAY = (110.0, 195.0)  # how bright a bare shape is


@lru_cache(256)
def _solid(number: int, view: int) -> Sprite:
    return Sprite(solid_sprites().picture(number, view), own_colour=True)


class What(NamedTuple):
    """What to paint: a concept, the name of its colour, the colour to paint it in if not its own, and its picture."""

    number: int
    colour: str
    tint: Array | None
    sprite: Sprite
    tinted: bool = False


def shade(name: str, rng: Random) -> Array:
    """A colour that is called by this name."""
    return np.array([min(255.0, max(0.0, v + rng.gauss(0, 10))) for v in COLOURS[name]], np.float32)


def coloured(number: int, sprite: Sprite, rng: Random) -> What:
    """A thing in its own colour or, if most of it has one, now and then in another."""
    own = sprite.colour
    if own and rng.random() < 0.3:
        colour = rng.choice(COLOUR_NAMES)
        if colour != own:
            return What(number, colour, shade(colour, rng), sprite, tinted=True)
    return What(number, own, None, sprite)


class Painter:
    """Draws picture `index` of the world `seed`, and says what it shows.

    Args:
        side: Height and width of a picture in pixels.
        drawn: Numbers of the things that it may show; by default all.
        solids: Whether a thing may be shown as a solid.
        look: How a flat thing is drawn, by its number; by default as in the emoji font.
    """

    def __init__(
        self,
        seed: int,
        side: int = 64,
        drawn: Sequence[int] | None = None,
        *,
        solids: bool = True,
        look: Callable[[int, Random], What] | None = None,
    ) -> None:
        self.look = look
        self.seed = seed
        self.side = side
        self.drawn = range(len(things())) if drawn is None else drawn
        self.solids = solid_sprites().numbers.intersection(self.drawn) if solids else frozenset()
        self._modelled = sorted(self.solids)
        self._y, self._x = np.mgrid[0:side, 0:side].astype(np.float32) / (side - 1) - 0.5

    @classmethod
    def of(cls, vocabulary: Sequence[str], seed: int, side: int = 64) -> "Painter":
        """A painter for models with these words.

        Of all of the world, if they read all of its names. The shipped ones are older than its solids and many of its
        things: then of what has a name in their words, as the emoji font draws it. Twelve of these things they have
        not seen (an egg, a truck, a ball: words of other names).
        """
        read = named_in(vocabulary)
        if len(read) == len(concepts()):
            return cls(seed, side)
        return cls(seed, side, [n for n in read if n < len(things()) and concepts()[n].emoji], solids=False)

    def paint(self, index: int) -> tuple[NDArray[np.uint8], Scene]:
        """The picture (side, side, 3) and its scene."""
        rng = Random(f"{self.seed}/{index}")
        noise = generator(self.seed, index)
        kind = rng.random()
        if kind < 0.16:
            image, scene = self._pair(rng, noise)
        elif kind < 0.30:
            image, scene = self._several(rng, noise)
        else:
            image, scene = self._single(rng, noise)
        return np.clip(image + 0.5, 0, 255).astype(np.uint8), scene

    def _concept(self, rng: Random, shapes: float) -> What:
        if rng.random() < shapes:
            colour, number = rng.choice(COLOUR_NAMES), len(things()) + rng.randrange(len(SHAPES))
            return What(number, colour, shade(colour, rng), sprites.sprites()[number])
        modelled = bool(self._modelled) and rng.random() < _MODELLED
        number = rng.choice(self._modelled if modelled else self.drawn)
        sprite = sprites.sprites()[number]
        if number in self.solids and (modelled or not concepts()[number].emoji or rng.random() < _SOLID):
            view = rng.randrange(VIEWS)
            if rng.random() < _BARE:
                bare = Sprite(solid_sprites().picture(number, view, (rng.uniform(*_CLAY),) * 3), own_colour=False)
                return What(number, "gray", None, bare)
            sprite = _solid(number, view)
            if rng.random() < _ONE_COLOUR:
                colour = rng.choice(COLOUR_NAMES)
                whole = Sprite(solid_sprites().picture(number, view, shade(colour, rng)), own_colour=False)
                return What(number, colour, None, whole, tinted=colour != sprite.colour)
        return coloured(number, sprite, rng) if self.look is None else self.look(number, rng)

    def _ground(self, rng: Random, noise: torch.Generator, avoid: set[str]) -> tuple[Array, str]:
        name = "" if rng.random() < 0.12 else rng.choice([c for c in COLOUR_NAMES if c not in avoid])
        if name:
            start = shade(name, rng)
            shift = [rng.gauss(0, 20) * (rng.random() < 0.5) for _ in range(3)]
            end = np.clip(start + np.array(shift, np.float32), 0, 255)
        else:
            start, end = (np.array([rng.uniform(0, 255) for _ in range(3)], np.float32) for _ in range(2))
            between = np.stack([start + t * (end - start) for t in np.linspace(0, 1, 5, dtype=np.float32)])
            near = set(nearest_colour(between).tolist())
            name = COLOUR_NAMES[near.pop()] if len(near) == 1 else ""  # which is what an eye calls it, too
        angle = rng.uniform(0, 2 * math.pi)
        along = self._x * math.cos(angle) + self._y * math.sin(angle)
        t = np.clip(along + 0.5, 0, 1)[..., None]
        image = start * (1 - t) + end * t
        texture = rng.random()
        if texture < 0.2:
            image = image + self._noise(noise, self.side, 1 if rng.random() < 0.5 else 3) * rng.uniform(2, 12)
        elif texture < 0.4:
            coarse = self._noise(noise, rng.choice((3, 5, 9, 16)), 1)[..., 0]
            soft = Image.fromarray(coarse, "F").resize((self.side, self.side), Image.Resampling.BICUBIC)
            image = image + np.asarray(soft)[..., None] * rng.uniform(4, 16)
        elif texture < 0.48:
            image = image + rng.uniform(6, 16) * np.sign(np.sin(along * rng.uniform(12, 45)))[..., None]
        return image.astype(np.float32), name

    @staticmethod
    def _noise(noise: torch.Generator, side: int, channels: int) -> Array:
        return torch.randn(side, side, channels, generator=noise).numpy()

    def _put(
        self,
        image: Array,
        rng: Random,
        what: What,
        size: float,
        x: float,
        y: float,
        tilt: float,
    ) -> Array:
        thing, tint = what.number < len(things()), what.tint
        rgb, cover = what.sprite.place(
            size, x, y, rng.gauss(0, tilt), thing and rng.random() < 0.4, self.side, tint if thing else None
        )
        if not thing:
            rgb = np.broadcast_to(tint if tint is not None else np.zeros(3, np.float32), rgb.shape)
            if rng.random() < 0.3:
                rgb = rgb * (1 + rng.uniform(-0.25, 0.25) * self._y[..., None])
        else:
            gain, lift = rng.uniform(0.85, 1.15), np.array([rng.gauss(0, 5) for _ in range(3)], np.float32)
            rgb = (rgb - 128) * gain + 128 + rng.gauss(0, 7) + lift
        return image * (1 - cover) + np.clip(rgb, 0, 255) * cover

    def _single(self, rng: Random, noise: torch.Generator) -> tuple[Array, Scene]:
        what = self._concept(rng, 0.27)
        number, colour = what[:2]
        image, ground = self._ground(rng, noise, {colour, what.sprite.colour})
        share = rng.uniform(0.28, 0.98) if number >= len(things()) else rng.uniform(0.34, 1.02)
        room = max(0.0, (1 - share) / 2)
        u, v = (
            rng.choice((-1, 0, 0, 1)) * rng.uniform(0.6, 1) if rng.random() < 0.5 else rng.uniform(-1, 1) for _ in "xy"
        )
        place = None
        if share < 0.62:
            column, row = (0 if abs(t) < 0.25 else math.copysign(1, t) if abs(t) > 0.5 else None for t in (u, v))
            if column is not None and row is not None:
                place = _PLACE[int(column), int(row)]
        x, y = (self.side * (0.5 + t * room) for t in (u, v))
        image = self._put(image, rng, what, self.side * share, x, y, 0.12)
        size = "small" if share < 0.42 else "large" if share > 0.72 else "medium"
        return image, Scene(number, colour, 1, size, place, background=ground, tinted=what.tinted)

    def _several(self, rng: Random, noise: torch.Generator) -> tuple[Array, Scene]:
        what = self._concept(rng, 0.5)
        number, colour = what[:2]
        image, ground = self._ground(rng, noise, {colour, what.sprite.colour})
        count = rng.choice((2, 2, 3, 4)) if concepts()[number].plural else 1
        if count == 1:
            return self._finish_single(image, rng, what, ground)
        spots = rng.choice(_LAYOUTS[count])
        gap = min(math.dist(a, b) for i, a in enumerate(spots) for b in spots[:i])
        share = min(0.46, gap) * rng.uniform(0.82, 1.02)
        dx, dy = rng.gauss(0, 0.02), rng.gauss(0, 0.02)
        for u, v in spots:
            x, y = (self.side * (0.5 + t + d + rng.gauss(0, 0.012)) for t, d in ((u, dx), (v, dy)))
            image = self._put(image, rng, what, self.side * share * rng.uniform(0.93, 1.05), x, y, 0.1)
        return image, Scene(number, colour, count, "medium", None, background=ground, tinted=what.tinted)

    def _finish_single(self, image: Array, rng: Random, what: What, ground: str) -> tuple[Array, Scene]:
        image = self._put(image, rng, what, self.side * 0.65, self.side / 2, self.side / 2, 0.12)
        return image, Scene(what[0], what[1], 1, "medium", None, background=ground, tinted=what.tinted)

    def _pair(self, rng: Random, noise: torch.Generator) -> tuple[Array, Scene]:
        shapes = rng.choice((0.0, 1.0, 1.0, 0.5))
        first, second = self._concept(rng, shapes), self._concept(rng, shapes)
        while second.number == first.number:
            second = self._concept(rng, shapes)
        avoid = {first.colour, second.colour, first.sprite.colour, second.sprite.colour}
        image, ground = self._ground(rng, noise, avoid)
        relation = rng.choice(("beside", "over"))
        gap = rng.uniform(0.23, 0.27)
        du, dv = (gap, 0.0) if relation == "beside" else (0.0, gap)
        du, dv = du + rng.gauss(0, 0.02), dv + rng.gauss(0, 0.02)
        cx, cy = 0.5 + rng.gauss(0, 0.02), 0.5 + rng.gauss(0, 0.02)
        for what, sign in ((first, -1), (second, 1)):
            x, y = self.side * (cx + sign * du), self.side * (cy + sign * dv)
            image = self._put(image, rng, what, self.side * rng.uniform(0.36, 0.47), x, y, 0.1)
        return image, Scene(*first[:2], 1, "medium", None, *second[:2], relation, ground, first.tinted, second.tinted)
