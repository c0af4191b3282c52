"""A world that needs no emoji font: every thing is a shape in a colour of its own."""

from functools import cache

import pytest
from PIL import Image

from clipopt.embedded.concepts import COLOURS, SHAPES, concepts, things
from recipes.embedded import painters, sketching
from recipes.embedded import sprites as module
from recipes.embedded.sprites import Sprite, shape_mask


@cache
def sprite(shape, colour, own_colour):
    mask = shape_mask(shape, 128)
    image = Image.merge("RGBA", [*Image.new("RGB", mask.size, colour).split(), mask])
    return Sprite(image, own_colour=own_colour)


@cache
def sprites():
    drawn = []
    for number, concept in enumerate(concepts()):
        thing = number < len(things())
        shape = SHAPES[number % len(SHAPES)] if thing else concept.noun
        drawn.append(sprite(shape, list(COLOURS.values())[number % len(COLOURS)], thing))
    return tuple(drawn)


class NoSolids:
    numbers = frozenset()


@pytest.fixture
def plain_world(monkeypatch):
    monkeypatch.setattr(painters, "solid_sprites", NoSolids)
    monkeypatch.setattr(sketching, "solid_sprites", NoSolids)
    monkeypatch.setattr(module, "sprites", sprites)
    return sprites()
