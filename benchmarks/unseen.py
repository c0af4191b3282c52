"""Pictures of things that the embedded scorers were not trained on: the rest of the emoji font, drawn as theirs were.

Every other name is for choosing settings (`development`), the others for measuring (`test`). Names that the embedded
world has learnt meanwhile are left out by themselves; no name changes sides by that.
"""

from functools import cache
from random import Random

import numpy as np
import torch
from torch import Tensor

from clipopt.embedded.concepts import things
from clipopt.types import generator
from recipes.embedded.painters import Painter
from recipes.embedded.sprites import Sprite, glyph, symbols

WORLD = 2_000_003
"""Seed of these pictures."""

_NAMES = """
gorilla raccoon leopard deer bison goat llama rhinoceros hippopotamus sloth otter skunk kangaroo badger turkey dove
eagle swan peacock lizard sauropod seal blowfish beetle hibiscus lotus mango coconut potato onion pretzel bagel
waffle bacon sandwich taco burrito butter sushi dumpling shrimp squid oyster pie candy compass desert stadium
hospital factory church mosque fountain tram ambulance canoe ferry parachute satellite luggage stopwatch thermometer
tornado comet fireworks volleyball badminton sled kite joystick thread goggles coat kimono sari shorts mammoth
hamster beaver dodo feather goose worm mosquito microbe hyacinth shamrock melon olive chestnut flatbread falafel
spaghetti custard sake jar amphora hut brick school hotel synagogue carousel monorail speedboat bowling lacrosse
ribbon ticket firecracker
"""


def _unknown(names: list[str]) -> tuple[str, ...]:
    """Those that the font draws and the embedded world does not know."""
    known = {thing.emoji for thing in things()} | {thing.noun for thing in things()}
    return tuple(name for name in names if name in symbols() and name not in known)


def development() -> tuple[str, ...]:
    """Names for choosing settings."""
    return _unknown(_NAMES.split()[::2])


def test() -> tuple[str, ...]:
    """Names for measuring; nothing is chosen by them."""
    return _unknown(_NAMES.split()[1::2])


@cache
def _sprite(name: str) -> Sprite:
    return Sprite(glyph(symbols()[name]), own_colour=True)


def draw(name: str, index: int) -> Tensor:
    """Picture `index` of a thing, (3, 64, 64) in [0, 1]: on a ground, in sizes, places and lights that vary."""
    return picture(_sprite(name), Random(f"{WORLD}/{name}/{index}"), generator(WORLD, index, *name.encode()))


def picture(sprite: Sprite, rng: Random, noise: torch.Generator) -> Tensor:
    """A thing on a ground, (3, 64, 64) in [0, 1]."""
    painter = Painter(WORLD)
    image, _ = painter._ground(rng, noise, {sprite.colour})
    share = rng.uniform(0.34, 1.02)
    room = max(0.0, (1 - share) / 2)
    x, y = (painter.side * (0.5 + rng.uniform(-1, 1) * room) for _ in "xy")
    rgb, cover = sprite.place(painter.side * share, x, y, rng.gauss(0, 0.12), rng.random() < 0.4, painter.side, None)
    rgb = (rgb - 128) * rng.uniform(0.85, 1.15) + 128 + rng.gauss(0, 7)
    image = image * (1 - cover) + np.clip(rgb, 0, 255) * cover
    return torch.from_numpy(np.clip(image, 0, 255).astype(np.float32)).permute(2, 0, 1) / 255
