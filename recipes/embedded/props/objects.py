"""Toys, household goods, and the plain forms themselves."""

import math
from collections.abc import Callable

from clipopt.geometry.mesh import Mesh
from recipes.embedded.props.forms import Colour, arc, ball, box, cylinder, join, moved, tube, turned
from recipes.embedded.props.palette import (
    BLACK,
    BLUE,
    BROWN,
    DARK,
    GOLD,
    GREEN,
    ORANGE,
    PINK,
    PURPLE,
    RED,
    STEEL,
    TAN,
    WHITE,
    WOOD,
    YELLOW,
)

PI = math.pi


def _balloon() -> Mesh:
    skin = [
        (0, 1),
        (0.3, 0.94),
        (0.55, 0.75),
        (0.68, 0.45),
        (0.66, 0.15),
        (0.5, -0.2),
        (0.25, -0.5),
        (0.08, -0.64),
        (0.05, -0.68),
        (0.14, -0.78),
        (0, -0.76),
    ]
    return join(
        turned(RED, skin), tube(WHITE, [(0, -0.75, 0), (0.06, -1.1, 0), (-0.05, -1.4, 0), (0.02, -1.7, 0)], 0.025)
    )


def _gift() -> Mesh:
    bow = [
        moved(
            tube(YELLOW, arc(0.2, 0, 2 * PI * 15 / 16, 16), 0.07, closed=True),
            at=(s * 0.24, 0.75, 0),
            turn=(0, 0.3, s * 0.4),
        )
        for s in (-1, 1)
    ]
    return join(
        box(RED, (1.3, 1.1, 1.3)),
        box((0.9, 0.2, 0.2), (1.4, 0.22, 1.4), at=(0, 0.45, 0)),
        box(YELLOW, (0.24, 1.14, 1.42), at=(0, 0.01, 0)),
        box(YELLOW, (1.42, 1.14, 0.24), at=(0, 0.01, 0)),
        *bow,
    )


def _dice() -> Mesh:
    pips = {
        1: [(0, 0)],
        2: [(-1, -1), (1, 1)],
        3: [(-1, -1), (0, 0), (1, 1)],
        4: [(-1, -1), (-1, 1), (1, -1), (1, 1)],
        5: [(-1, -1), (-1, 1), (1, -1), (1, 1), (0, 0)],
        6: [(x, y) for x in (-1, 1) for y in (-1, 0, 1)],
    }
    turns = {1: (PI / 2, 0, 0), 2: (0, 0, 0), 3: (0, PI / 2, 0), 4: (0, -PI / 2, 0), 5: (0, PI, 0), 6: (-PI / 2, 0, 0)}
    dots = [
        moved(cylinder(BLACK, 0.1, 0.04, at=(0.28 * x, 0.28 * y, 0.6), turn=(PI / 2, 0, 0)), turn=turns[n])
        for n, spots in pips.items()
        for x, y in spots
    ]
    return join(box(WHITE, (1.2, 1.2, 1.2)), *dots)


def _bell() -> Mesh:
    body = [
        (0, 0.75),
        (0.2, 0.72),
        (0.36, 0.55),
        (0.44, 0.1),
        (0.55, -0.3),
        (0.8, -0.6),
        (0.82, -0.68),
        (0.7, -0.68),
        (0, -0.4),
    ]
    return join(
        turned(GOLD, body),
        ball((0.7, 0.5, 0.1), 0.18, at=(0, -0.72, 0)),
        tube(GOLD, arc(0.15, 0, PI, at=(0, 0.75, 0)), 0.05),
    )


def _drum() -> Mesh:
    hoops = [cylinder(GOLD, 0.88, 0.12, at=(0, y, 0)) for y in (-0.5, 0.5)]
    cords = [
        tube(
            WHITE,
            [(0.86 * math.sin(a), -0.45, 0.86 * math.cos(a)), (0.86 * math.sin(a + d), 0.45, 0.86 * math.cos(a + d))],
            0.03,
        )
        for a in (n * PI / 4 for n in range(8))
        for d in (PI / 8, -PI / 8)
    ]
    sticks = [tube(WOOD, [(s * 0.1, 0.62, 0.2), (s * 0.9, 0.95, -0.4)], 0.05) for s in (-1, 1)]
    return join(cylinder(RED, 0.84, 1), *hoops, *cords, cylinder(WHITE, 0.8, 0.06, at=(0, 0.55, 0)), *sticks)


def _trophy() -> Mesh:
    cup = [
        (0.5, 0.95),
        (0.56, 0.95),
        (0.52, 0.4),
        (0.3, 0),
        (0.1, -0.15),
        (0.09, -0.45),
        (0.3, -0.6),
        (0.3, -0.6),
        (0, -0.6),
    ]
    inner = turned((0.75, 0.55, 0.1), [(0, 0.6), (0.4, 0.65), (0.5, 0.95)][::-1])
    return join(
        turned(GOLD, cup),
        inner,
        *(
            tube(
                GOLD,
                [(x * s, y, 0) for x, y in ((0.5, 0.8), (0.8, 0.75), (0.85, 0.5), (0.65, 0.25), (0.4, 0.15))],
                0.06,
            )
            for s in (-1, 1)
        ),
        box(BROWN, (0.75, 0.3, 0.75), at=(0, -0.75, 0)),
    )


def _crown() -> Mesh:
    tips = [
        cylinder(GOLD, 0.28, 0.6, top=0, sides=12, at=(0.66 * math.sin(a), 0.4, 0.66 * math.cos(a)))
        for a in (n * PI / 4 for n in range(8))
    ]
    gems = [
        ball(RED if n % 2 else BLUE, 0.09, at=(0.76 * math.sin(a), -0.05, 0.76 * math.cos(a)))
        for n, a in enumerate(n * PI / 4 for n in range(8))
    ]
    pearls = [
        ball(WHITE, 0.08, at=(0.66 * math.sin(a), 0.72, 0.66 * math.cos(a))) for a in (n * PI / 4 for n in range(8))
    ]
    ring = turned(
        GOLD,
        [(0.68, 0.3), (0.74, 0.3), (0.74, 0.3), (0.74, -0.3), (0.74, -0.3), (0.68, -0.3), (0.68, -0.3), (0.68, 0.3)],
    )
    return join(ring, *tips, *gems, *pearls)


def _top_hat() -> Mesh:
    return join(
        cylinder(BLACK, 1, 0.08, at=(0, -0.5, 0)),
        cylinder(BLACK, 0.58, 1, top=0.64),
        cylinder(RED, 0.61, 0.2, at=(0, -0.35, 0)),
    )


def _bomb() -> Mesh:
    fuse = tube(TAN, [(0, 0.7, 0), (0.1, 1, 0), (0.35, 1.15, 0)], 0.05)
    return join(
        ball(DARK, 0.75),
        cylinder(BLACK, 0.2, 0.22, at=(0, 0.75, 0)),
        fuse,
        ball(ORANGE, 0.13, at=(0.4, 1.2, 0)),
        ball(YELLOW, 0.08, at=(0.46, 1.26, 0.05)),
    )


def _candle() -> Mesh:
    flame = [
        turned(
            c,
            [(0, 0.42 * k), (0.09 * k, 0.18 * k), (0.13 * k, 0), (0.07 * k, -0.12 * k), (0, -0.15 * k)],
            at=(0, 0.95, z),
        )
        for c, k, z in ((ORANGE, 1, 0), (YELLOW, 0.6, 0.06))
    ]
    return join(
        cylinder((0.95, 0.9, 0.75), 0.3, 1.3),
        cylinder(BLACK, 0.02, 0.2, at=(0, 0.72, 0)),
        *flame,
        cylinder(GOLD, 0.6, 0.08, at=(0, -0.66, 0)),
    )


def _bucket() -> Mesh:
    side = turned(BLUE, [(0.66, 0.6), (0.7, 0.6), (0.7, 0.6), (0.5, -0.6), (0.5, -0.6), (0, -0.6)])
    inside = turned((0.1, 0.22, 0.55), [(0.66, 0.6), (0.48, -0.5), (0, -0.5)])
    return join(side, inside, tube(STEEL, arc(0.68, 0.05, PI - 0.05, at=(0, 0.6, 0)), 0.035))


def _pencil() -> Mesh:
    parts = [
        cylinder(YELLOW, 0.16, 1.5, sides=6),
        cylinder(STEEL, 0.165, 0.16, at=(0, 0.8, 0)),
        cylinder(PINK, 0.15, 0.2, at=(0, 0.97, 0)),
        cylinder(TAN, 0.05, 0.3, top=0.16, at=(0, -0.9, 0)),
        cylinder(BLACK, 0.0, 0.12, top=0.05, at=(0, -1.1, 0)),
    ]
    return join(*parts)


def _teapot() -> Mesh:
    pot = [
        (0, 0.62),
        (0.3, 0.58),
        (0.55, 0.42),
        (0.72, 0.05),
        (0.66, -0.3),
        (0.45, -0.55),
        (0.4, -0.6),
        (0.4, -0.6),
        (0, -0.6),
    ]
    spout = tube(BLUE, [(0.55, -0.2, 0), (0.85, 0, 0), (1.05, 0.35, 0), (1.2, 0.5, 0)], [0.2, 0.15, 0.1, 0.08])
    return join(
        turned(BLUE, pot),
        spout,
        tube(BLUE, arc(0.36, 1.75, 4.5, at=(-0.68, 0, 0)), 0.08),
        ball(BLUE, 0.12, at=(0, 0.72, 0)),
        turned(WHITE, [(0.72, 0.12), (0.735, 0.05), (0.73, -0.05), (0.72, -0.1)]),
    )


def _anchor() -> Mesh:
    bow = tube(DARK, arc(0.85, PI * 1.08, PI * 1.92, 20, at=(0, 0.05, 0)), 0.1)
    flukes = [cylinder(DARK, 0.22, 0.4, top=0, at=(0.82 * s, -0.1, 0), turn=(0, 0, 0.15 * s)) for s in (-1, 1)]
    eye = tube(DARK, arc(0.18, 0, 2 * PI * 15 / 16, 16, at=(0, 1.05, 0)), 0.07, closed=True)
    return join(
        cylinder(DARK, 0.1, 1.7, at=(0, 0.05, 0)),
        bow,
        *flukes,
        eye,
        cylinder(DARK, 0.08, 0.9, at=(0, 0.6, 0), turn=(0, 0, PI / 2)),
    )


def _magnet() -> Mesh:
    return join(
        tube(RED, [(-0.5, 0.5, 0), (-0.5, 0, 0), *arc(0.5, PI, 2 * PI, 14), (0.5, 0, 0), (0.5, 0.5, 0)], 0.22),
        *(cylinder(STEEL, 0.23, 0.4, at=(0.5 * s, 0.62, 0)) for s in (-1, 1)),
    )


def _barrel() -> Mesh:
    staves = [
        (0, 0.85),
        (0.55, 0.85),
        (0.55, 0.85),
        (0.66, 0.5),
        (0.72, 0),
        (0.66, -0.5),
        (0.55, -0.85),
        (0.55, -0.85),
        (0, -0.85),
    ]
    hoops = [
        turned(DARK, [(r, y + 0.07), (r, y - 0.07)])
        for r, y in ((0.62, 0.68), (0.715, 0.3), (0.715, -0.3), (0.62, -0.68))
    ]
    return join(turned(WOOD, staves), *hoops)


def _light_bulb() -> Mesh:
    glass = [(0, 1), (0.3, 0.94), (0.52, 0.75), (0.6, 0.45), (0.52, 0.15), (0.32, -0.15), (0.25, -0.4)]
    screw = [
        cylinder(STEEL, r, 0.1, at=(0, y, 0))
        for y, r in ((-0.42, 0.27), (-0.52, 0.24), (-0.62, 0.27), (-0.72, 0.24), (-0.82, 0.2))
    ]
    return join(turned((1, 0.92, 0.55), glass), *screw, ball(DARK, 0.1, at=(0, -0.88, 0)))


def _plain(colour: Colour, form: Callable[[Colour], Mesh]) -> Callable[[], Mesh]:
    return lambda: form(colour)


OBJECTS: dict[str, Callable[[], Mesh]] = {
    "balloon": _balloon, "gift": _gift, "dice": _dice, "bell": _bell, "drum": _drum, "trophy": _trophy,
    "crown": _crown, "top hat": _top_hat, "bomb": _bomb, "candle": _candle, "bucket": _bucket, "pencil": _pencil,
    "teapot": _teapot, "anchor": _anchor, "magnet": _magnet, "barrel": _barrel, "light bulb": _light_bulb,
}  # fmt: skip
FORMS: dict[str, Callable[[], Mesh]] = {
    "ball": _plain(RED, lambda c: ball(c)),
    "cube": _plain(BLUE, lambda c: box(c, (1, 1, 1))),
    "cone": _plain(GREEN, lambda c: cylinder(c, 0.65, 1.4, top=0)),
    "cylinder": _plain(YELLOW, lambda c: cylinder(c, 0.55, 1.4)),
    "pyramid": _plain(ORANGE, lambda c: cylinder(c, 0.85, 1.1, top=0, sides=4)),
    "torus": _plain(
        PURPLE,
        lambda c: moved(tube(c, arc(0.65, 0, 2 * PI * 31 / 32, 32), 0.28, closed=True, sides=20), turn=(PI / 2, 0, 0)),
    ),
}
