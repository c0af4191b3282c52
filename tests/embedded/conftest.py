"""A world that needs no emoji font: every thing is a shape in a colour of its own."""

from functools import cache

import pytest
from PIL import Image

from clipopt.embedded import painters
from clipopt.embedded.concepts import COLOURS, SHAPES, concepts, things


@cache
def sprites():
    drawn = []
    for number, concept in enumerate(concepts()):
        mask = painters._shape(SHAPES[number % len(SHAPES)] if number < len(things()) else concept.noun, 128)
        colour = list(COLOURS.values())[number % len(COLOURS)]
        image = Image.merge("RGBA", [*Image.new("RGB", mask.size, colour).split(), mask])
        drawn.append(painters.Sprite(image, own_colour=number < len(things())))
    return tuple(drawn)


@pytest.fixture
def plain_world(monkeypatch):
    monkeypatch.setattr(painters, "sprites", sprites)
    return sprites()
