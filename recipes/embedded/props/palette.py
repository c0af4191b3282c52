"""Colours of things, and parts that come in pairs or fours."""

from collections.abc import Callable

from clipopt.geometry.mesh import Mesh
from recipes.embedded.props.forms import Colour, Number, Point, ball, box

RED, ORANGE, YELLOW = (0.84, 0.13, 0.13), (0.95, 0.5, 0.1), (0.98, 0.82, 0.18)
GREEN, DARK_GREEN, BLUE = (0.2, 0.6, 0.25), (0.1, 0.4, 0.18), (0.17, 0.36, 0.82)
SKY, PURPLE, PINK = (0.6, 0.82, 0.95), (0.5, 0.2, 0.65), (0.95, 0.55, 0.7)
BROWN, WOOD, TAN = (0.42, 0.25, 0.13), (0.64, 0.42, 0.22), (0.88, 0.72, 0.5)
BLACK, DARK, STEEL = (0.07, 0.07, 0.08), (0.25, 0.26, 0.29), (0.66, 0.69, 0.73)
WHITE, STONE, GOLD = (0.97, 0.97, 0.96), (0.62, 0.6, 0.57), (0.93, 0.72, 0.2)


def both(part: Callable[[int], Mesh]) -> list[Mesh]:
    """A part made for the left (-1) and for the right side (1)."""
    return [part(-1), part(1)]


def legs(colour: Colour, x: Number, z: Number, length: Number, width: Number, y: Number = 0) -> list[Mesh]:
    """Four legs that hang from height `y` at the corners (+-x, +-z)."""
    return [
        box(colour, (width, length, width), at=(sx * x, y - length / 2, sz * z)) for sx in (-1, 1) for sz in (-1, 1)
    ]


def eyes(radius: Number, at: Point) -> list[Mesh]:
    """Two black balls, mirrored in x."""
    return both(lambda s: ball(BLACK, radius, at=(s * at[0], at[1], at[2])))
