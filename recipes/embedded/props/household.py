"""Furniture, vessels and tools."""

import math
from collections.abc import Callable

from clipopt.geometry.mesh import Mesh
from recipes.embedded.props.forms import arc, ball, box, cylinder, join, slab, tube, turned
from recipes.embedded.props.palette import (
    BLACK,
    BLUE,
    BROWN,
    DARK,
    GOLD,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    STEEL,
    WHITE,
    WOOD,
    YELLOW,
    both,
    legs,
)

PI = math.pi


def _table() -> Mesh:
    return join(box(WOOD, (2.0, 0.14, 1.3)), *legs(BROWN, 0.85, 0.5, 1.05, 0.16))


def _chair() -> Mesh:
    back = [box(WOOD, (0.13, 1.1, 0.12), at=(s * 0.42, 0.55, -0.42)) for s in (-1, 1)]
    rails = [box(WOOD, (0.8, 0.2, 0.09), at=(0, y, -0.42)) for y in (0.5, 0.95)]
    return join(box(WOOD, (1, 0.12, 1)), *legs(BROWN, 0.42, 0.42, 0.95, 0.13), *back, *rails)


def _stool() -> Mesh:
    feet = [
        cylinder(BROWN, 0.08, 1.4, at=(0.42 * s, -0.7, 0.42 * t), turn=(-0.16 * t, 0, 0.16 * s))
        for s in (-1, 1)
        for t in (-1, 1)
    ]
    return join(cylinder(WOOD, 0.65, 0.18), *feet)


def _bench() -> Mesh:
    slats = [box(WOOD, (2.2, 0.08, 0.2), at=(0, 0, z)) for z in (-0.25, 0, 0.25)]
    back = [box(WOOD, (2.2, 0.2, 0.08), at=(0, y, -0.42)) for y in (0.3, 0.58)]
    sides = [
        box(DARK, (0.1, y, 0.1), at=(s * 0.9, (y - 1.2) / 2 - 0.02 + up, z))
        for s in (-1, 1)
        for y, up, z in ((0.6, 0.3, 0.3), (1.3, 0.3, -0.38))
    ]
    return join(*slats, *back, *sides)


def _bookshelf() -> Mesh:
    frame = [box(WOOD, (0.08, 2.1, 0.5), at=(s * 0.7, 0, 0)) for s in (-1, 1)] + [
        box(BROWN, (1.4, 2.1, 0.05), at=(0, 0, -0.23))
    ]
    boards = [box(WOOD, (1.4, 0.08, 0.5), at=(0, y, 0)) for y in (-1.02, -0.34, 0.34, 1.02)]
    colours = (RED, BLUE, YELLOW, GREEN, ORANGE, PURPLE, WHITE)
    books = [
        box(
            colours[(5 * row + n) % 7],
            (0.13, 0.4 + 0.1 * ((n * n + row) % 3) / 2, 0.36),
            at=(-0.55 + 0.16 * n, -0.75 + 0.68 * row, 0),
        )
        for row in range(3)
        for n in range(8 - row)
    ]
    return join(*frame, *boards, *books)


def _bed() -> Mesh:
    ends = [box(BROWN, (1.3, h, 0.1), at=(0, h / 2 - 0.5, z)) for h, z in ((1.1, -1.05), (0.7, 1.05))]
    pillows = both(lambda s: ball(WHITE, (0.28, 0.12, 0.2), at=(s * 0.3, 0.2, -0.75)))
    return join(
        *ends,
        box(WOOD, (1.2, 0.25, 2.1), at=(0, -0.2, 0)),
        box(WHITE, (1.16, 0.22, 2), at=(0, 0.02, 0)),
        *pillows,
        box(BLUE, (1.24, 0.26, 1.4), at=(0, 0.04, 0.32)),
    )


def _couch() -> Mesh:
    arms = both(lambda s: box(RED, (0.3, 0.75, 1), at=(s * 1, 0.05, 0)))
    seats = both(lambda s: box((0.93, 0.25, 0.22), (0.84, 0.25, 0.85), at=(s * 0.43, 0.02, 0.08)))
    return join(
        box(RED, (2, 0.35, 1), at=(0, -0.2, 0)),
        box(RED, (2, 1, 0.28), at=(0, 0.3, -0.42)),
        *arms,
        *seats,
        *legs(BROWN, 0.95, 0.4, 0.2, 0.12, -0.35),
    )


def _lamp() -> Mesh:
    shade = turned(YELLOW, [(0.35, 0.95), (0.72, 0.2), (0.72, 0.2), (0.68, 0.2), (0.31, 0.95), (0.35, 0.95)])
    return join(
        shade,
        cylinder(GOLD, 0.06, 1.7, at=(0, -0.25, 0)),
        cylinder(GOLD, 0.42, 0.12, at=(0, -1.05, 0)),
        ball(WHITE, 0.18, at=(0, 0.45, 0)),
    )


def _street_lamp() -> Mesh:
    arm = tube(DARK, [(0, -1.3, 0), (0, 0.7, 0), *arc(0.35, PI, 0.4, at=(0.35, 0.75, 0))], 0.06)
    return join(
        arm,
        turned(DARK, [(0, 0.2), (0.28, -0.05), (0.28, -0.05), (0, -0.05)], at=(0.68, 0.85, 0)),
        ball(YELLOW, 0.18, at=(0.68, 0.78, 0)),
        cylinder(DARK, 0.18, 0.2, at=(0, -1.3, 0)),
    )


def _mug() -> Mesh:
    cup = [(0.55, 0.65), (0.6, 0.65), (0.6, 0.65), (0.6, -0.65), (0.6, -0.65), (0, -0.65)]
    inside = turned((0.93, 0.93, 0.9), [(0, 0.35), (0.55, 0.35), (0.55, 0.35), (0.55, 0.65)][::-1])
    coffee = cylinder(BROWN, 0.54, 0.02, at=(0, 0.42, 0))
    return join(turned(RED, cup), inside, coffee, tube(RED, arc(0.38, -1.35, 1.35, at=(0.58, 0, 0)), 0.09))


def _bottle() -> Mesh:
    glass = [
        (0, 0.95),
        (0.15, 0.95),
        (0.15, 0.95),
        (0.15, 0.5),
        (0.2, 0.38),
        (0.36, 0.2),
        (0.38, 0.1),
        (0.38, -1),
        (0.36, -1.04),
        (0, -1.04),
    ]
    return join(
        turned(GREEN, glass),
        cylinder((0.96, 0.93, 0.8), 0.39, 0.6, at=(0, -0.4, 0)),
        cylinder(RED, 0.17, 0.18, at=(0, 0.98, 0)),
    )


def _vase() -> Mesh:
    clay = [
        (0.3, 0.9),
        (0.34, 0.9),
        (0.22, 0.6),
        (0.3, 0.4),
        (0.55, 0),
        (0.5, -0.45),
        (0.3, -0.8),
        (0.34, -0.85),
        (0, -0.85),
    ]
    return join(
        turned(BLUE, clay),
        turned(WHITE, [(0.53, 0.1), (0.56, 0.02), (0.57, -0.1), (0.55, -0.2)]),
        turned(DARK, [(0.3, 0.9), (0.2, 0.6), (0, 0.5)][::-1]),
    )


def _bowl() -> Mesh:
    outer = [(0.9, 0.35), (0.96, 0.35), (0.9, 0.05), (0.65, -0.3), (0.4, -0.45), (0.4, -0.55), (0.4, -0.55), (0, -0.55)]
    inner = [(0, -0.35), (0.35, -0.32), (0.62, -0.18), (0.83, 0.08), (0.9, 0.35)]
    return join(turned(BLUE, outer), turned(WHITE, inner[::-1]))


def _frying_pan() -> Mesh:
    pan = turned(DARK, [(0.72, 0.14), (0.78, 0.14), (0.78, 0.14), (0.66, -0.14), (0.66, -0.14), (0, -0.14)])
    return join(
        pan,
        turned(BLACK, [(0.72, 0.14), (0.62, -0.08), (0.62, -0.08), (0, -0.08)]),
        tube(BROWN, [(0.7, 0.05, 0), (1.7, 0.16, 0)], [0.07, 0.1]),
    )


def _umbrella() -> Mesh:
    canopy = turned(RED, [(1.1 * math.sin(a), 1.1 * math.cos(a) - 0.1) for a in (n * 1.35 / 10 for n in range(11))])
    under = turned(
        (0.6, 0.08, 0.08),
        [(1.06 * math.sin(a), 1.06 * math.cos(a) - 0.1) for a in (n * 1.38 / 10 for n in range(10, -1, -1))],
    )
    stick = tube(DARK, [(0, 1.15, 0), (0, -0.85, 0), *arc(0.2, PI, 2 * PI, at=(0.2, -0.9, 0))], 0.05)
    return join(canopy, under, stick)


def _hammer() -> Mesh:
    return join(
        cylinder(WOOD, 0.1, 2, at=(0, -0.4, 0)),
        box(STEEL, (0.7, 0.32, 0.32), at=(0.02, 0.55, 0)),
        cylinder(STEEL, 0.22, 0.3, at=(0.5, 0.55, 0), turn=(0, 0, PI / 2)),
        slab(STEEL, [(-0.3, 0.4), (-0.3, 0.7), (-0.85, 0.42), (-0.8, 0.36)], 0.26),
    )


def _axe() -> Mesh:
    blade = slab(STEEL, [(0.05, 0.4), (0.62, 0.2), (0.72, 0.55), (0.62, 0.98), (0.05, 0.75)], 0.1)
    return join(cylinder(WOOD, 0.09, 2.2, at=(0, -0.2, 0)), blade, box(DARK, (0.34, 0.4, 0.24), at=(-0.02, 0.58, 0)))


def _shovel() -> Mesh:
    blade = slab(STEEL, [(-0.35, -0.45), (-0.33, -0.9), (0, -1.3), (0.33, -0.9), (0.35, -0.45)], 0.07)
    return join(cylinder(WOOD, 0.07, 1.5, at=(0, 0.2, 0)), blade, box(RED, (0.5, 0.13, 0.13), at=(0, 1, 0)))


def _sword() -> Mesh:
    blade = slab(STEEL, [(-0.12, -0.4), (0.12, -0.4), (0.12, 1), (0, 1.3), (-0.12, 1)], 0.06)
    return join(
        blade,
        box(GOLD, (0.7, 0.13, 0.16), at=(0, -0.42, 0)),
        cylinder(BROWN, 0.08, 0.5, at=(0, -0.72, 0)),
        ball(GOLD, 0.13, at=(0, -1, 0)),
    )


def _ladder() -> Mesh:
    rails = both(lambda s: box(WOOD, (0.12, 2.4, 0.14), at=(s * 0.4, 0, 0)))
    return join(
        *rails, *(cylinder(BROWN, 0.055, 0.8, at=(0, -0.95 + 0.38 * n, 0), turn=(0, 0, PI / 2)) for n in range(6))
    )


def _key() -> Mesh:
    bow = tube(GOLD, arc(0.35, 0, 2 * PI * 23 / 24, 24, at=(0, 0.75, 0)), 0.11, closed=True)
    teeth = [box(GOLD, (w, 0.13, 0.13), at=(w / 2, y, 0)) for w, y in ((0.4, -0.6), (0.32, -0.85))]
    return join(bow, cylinder(GOLD, 0.1, 1.4, at=(0, -0.3, 0)), *teeth)


def _barbell() -> Mesh:
    bar = cylinder(STEEL, 0.06, 2.6, turn=(0, 0, PI / 2))
    discs = [
        cylinder(colour, r, 0.16, at=(s * x, 0, 0), turn=(0, 0, PI / 2))
        for s in (-1, 1)
        for colour, r, x in ((BLACK, 0.6, 0.85), (DARK, 0.45, 1.05))
    ]
    return join(bar, *discs)


def _traffic_cone() -> Mesh:
    stripes = [
        ((0, 1), (0.13, 0.7), ORANGE),
        ((0.13, 0.7), (0.24, 0.35), WHITE),
        ((0.24, 0.35), (0.37, -0.05), ORANGE),
        ((0.37, -0.05), (0.48, -0.4), WHITE),
        ((0.48, -0.4), (0.62, -0.8), ORANGE),
    ]
    return join(*(turned(c, [a, b]) for a, b, c in stripes), box(ORANGE, (1.5, 0.14, 1.5), at=(0, -0.86, 0)))


HOUSEHOLD: dict[str, Callable[[], Mesh]] = {
    "table": _table,
    "chair": _chair,
    "stool": _stool,
    "bench": _bench,
    "bookshelf": _bookshelf,
    "bed": _bed,
    "couch": _couch,
    "lamp": _lamp,
    "street lamp": _street_lamp,
    "mug": _mug,
    "bottle": _bottle,
    "vase": _vase,
    "bowl": _bowl,
    "frying pan": _frying_pan,
    "umbrella": _umbrella,
    "hammer": _hammer,
    "axe": _axe,
    "shovel": _shovel,
    "sword": _sword,
    "ladder": _ladder,
    "key": _key,
    "barbell": _barbell,
    "traffic cone": _traffic_cone,
}
