"""Fruit, vegetables and sweets."""

import math
from collections.abc import Callable

from clipopt.geometry.mesh import Mesh
from recipes.embedded.props.forms import Colour, Number, arc, ball, box, cylinder, join, moved, tube, turned
from recipes.embedded.props.palette import (
    BLACK,
    BROWN,
    DARK_GREEN,
    GREEN,
    ORANGE,
    PINK,
    RED,
    SKY,
    STEEL,
    WHITE,
    YELLOW,
    both,
)

PI = math.pi


def _apple() -> Mesh:
    flesh = [
        (0, 0.55),
        (0.15, 0.62),
        (0.35, 0.72),
        (0.6, 0.66),
        (0.8, 0.4),
        (0.84, 0.05),
        (0.74, -0.35),
        (0.52, -0.66),
        (0.28, -0.76),
        (0.1, -0.7),
        (0, -0.66),
    ]
    leaf = ball(GREEN, (0.3, 0.04, 0.14), at=(0.3, 0.95, 0), turn=(0, 0, 0.5))
    return join(turned(RED, flesh), tube(BROWN, [(0, 0.5, 0), (0.03, 0.8, 0), (0.1, 1, 0)], 0.05), leaf)


def _pear() -> Mesh:
    flesh = [
        (0, 0.95),
        (0.15, 0.92),
        (0.26, 0.8),
        (0.31, 0.55),
        (0.4, 0.25),
        (0.58, -0.05),
        (0.68, -0.35),
        (0.62, -0.65),
        (0.42, -0.85),
        (0.15, -0.9),
        (0, -0.88),
    ]
    return join(
        turned((0.72, 0.8, 0.25), flesh),
        tube(BROWN, [(0, 0.9, 0), (0.03, 1.1, 0), (0.1, 1.25, 0)], 0.05),
        ball(GREEN, (0.24, 0.03, 0.11), at=(0.28, 1.1, 0), turn=(0, 0, 0.4)),
    )


def _banana() -> Mesh:
    path = arc(1.1, PI * 1.12, PI * 1.83, 14, at=(0, 0.8, 0))
    radii = [0.09, 0.14, 0.2, 0.24, 0.26, 0.27, 0.27, 0.27, 0.27, 0.26, 0.23, 0.18, 0.12, 0.07]
    return join(
        tube(YELLOW, path, radii, sides=6),
        tube(BROWN, [path[0], (path[0][0] - 0.12, path[0][1] + 0.28, 0)], 0.08),
        ball(BROWN, 0.09, at=path[-1]),
    )


def _carrot() -> Mesh:
    leaves = [
        tube(
            GREEN,
            [
                (0, 0.7, 0),
                (0.22 * math.sin(a), 1.05, 0.22 * math.cos(a)),
                (0.42 * math.sin(a), 1.4, 0.42 * math.cos(a)),
            ],
            [0.06, 0.09, 0.04],
        )
        for a in (n * 2 * PI / 5 for n in range(5))
    ]
    return join(
        turned(ORANGE, [(0, 0.82), (0.22, 0.78), (0.34, 0.62), (0.33, 0.3), (0.2, -0.5), (0.05, -1.2), (0, -1.25)]),
        *leaves,
    )


def _lemon() -> Mesh:
    return join(
        ball(YELLOW, (0.95, 0.66, 0.66)),
        ball(YELLOW, (0.2, 0.17, 0.17), at=(0.95, 0, 0)),
        ball(YELLOW, (0.13, 0.12, 0.12), at=(-0.98, 0, 0)),
    )


def _pumpkin() -> Mesh:
    ribs = [moved(ball(ORANGE, (0.4, 0.66, 0.5), at=(0, 0, 0.48)), turn=(0, n * PI / 4, 0)) for n in range(8)]
    return join(*ribs, tube(DARK_GREEN, [(0, 0.55, 0), (0.03, 0.8, 0), (0.15, 0.98, 0)], 0.09))


def _watermelon() -> Mesh:
    half = turned(RED, [(0.88, 0), (0, 0)][::-1])
    rind = turned(GREEN, [(math.sin(a), -math.cos(a)) for a in (n * PI / 24 for n in range(12, -1, -1))])
    seeds = [
        ball(BLACK, (0.05, 0.02, 0.08), at=(r * math.sin(a), 0.01, r * math.cos(a)), turn=(0, a, 0))
        for r, count in ((0.35, 5), (0.62, 9))
        for a in (n * 2 * PI / count for n in range(count))
    ]
    return moved(join(half, turned(WHITE, [(0.88, 0), (1, 0)]), rind, *seeds), turn=(0.5, 0, 0))


def _cherries() -> Mesh:
    fruit = both(lambda s: ball(RED, 0.42, at=(s * 0.5, -0.6 - 0.06 * s, 0)))
    stems = [tube(GREEN, [(0.5 * s, -0.25, 0), (0.4 * s, 0.2, 0), (0, 0.85, 0)], 0.04) for s in (-1, 1)]
    return join(*fruit, *stems, ball(GREEN, (0.35, 0.04, 0.16), at=(0.3, 0.9, 0), turn=(0, 0, 0.2)))


def _donut() -> Mesh:
    def ring(colour: Colour, thick: Number, y: Number) -> Mesh:
        return moved(
            tube(colour, arc(0.62, 0, 2 * PI * 31 / 32, 32), thick, closed=True, sides=20),
            at=(0, y, 0),
            turn=(PI / 2, 0, 0),
        )

    sugar = (YELLOW, WHITE, SKY, GREEN, RED)
    sprinkles = [
        box(sugar[n % 5], (0.13, 0.04, 0.04), at=(r * math.sin(a), 0.06 + h, r * math.cos(a)), turn=(0, 2.1 * n, 0))
        for n, (r, h, a) in enumerate(
            (0.62 + 0.17 * math.sin(7.3 * n), 0.31 - 0.14 * math.sin(7.3 * n) ** 2 * 0.35, n * 2 * PI / 24)
            for n in range(24)
        )
    ]
    return join(
        ring((0.85, 0.6, 0.32), 0.34, 0), moved(ring(PINK, 0.345, 0), scale=(1, 0.9, 1), at=(0, 0.06, 0)), *sprinkles
    )


def _strawberry() -> Mesh:
    flesh = [(0, 0.6), (0.35, 0.58), (0.62, 0.4), (0.68, 0.15), (0.58, -0.2), (0.36, -0.6), (0.14, -0.88), (0, -0.92)]
    seeds = [
        ball(YELLOW, (0.035, 0.06, 0.035), at=(r * math.sin(a), y, r * math.cos(a)))
        for n, (r, y) in enumerate(((0.64, 0.33), (0.67, 0.05), (0.57, -0.23), (0.43, -0.5)))
        for a in ((k + n % 2 / 2) * 2 * PI / 8 for k in range(8))
    ]
    leaves = [
        tube(
            GREEN,
            [(0, 0.6, 0), (0.3 * math.sin(a), 0.68, 0.3 * math.cos(a)), (0.6 * math.sin(a), 0.55, 0.6 * math.cos(a))],
            [0.1, 0.13, 0.03],
        )
        for a in (n * PI / 3 for n in range(6))
    ]
    return join(turned(RED, flesh), *seeds, *leaves, tube(GREEN, [(0, 0.6, 0), (0.05, 0.9, 0)], 0.06))


def _pineapple() -> Mesh:
    flesh = (0.85, 0.6, 0.2)
    scales = [
        ball((0.72, 0.46, 0.14), (0.1, 0.1, 0.1), at=(r * math.sin(a), y, r * math.cos(a)))
        for n, (r, y) in enumerate(
            (0.52 * math.sqrt(1 - (y / 0.85) ** 2), y - 0.35) for y in (-0.6, -0.36, -0.12, 0.12, 0.36, 0.6)
        )
        for a in ((k + n % 2 / 2) * 2 * PI / 10 for k in range(10))
    ]
    leaves = [
        tube(
            DARK_GREEN,
            [
                (0, 0.35, 0),
                (lean * 0.5 * math.sin(a), 0.7, lean * 0.5 * math.cos(a)),
                (lean * math.sin(a), top, lean * math.cos(a)),
            ],
            [0.1, 0.09, 0.02],
        )
        for lean, top, count in ((0.6, 0.85, 7), (0.35, 1.15, 6), (0.1, 1.35, 4))
        for a in (n * 2 * PI / count + lean for n in range(count))
    ]
    return join(ball(flesh, (0.55, 0.85, 0.55), at=(0, -0.35, 0)), *scales, *leaves)


def _cupcake() -> Mesh:
    folds = [
        tube(
            (0.55, 0.35, 0.75),
            [(0.62 * math.sin(a), -0.05, 0.62 * math.cos(a)), (0.43 * math.sin(a), -0.8, 0.43 * math.cos(a))],
            0.05,
            sides=6,
        )
        for a in (n * 2 * PI / 18 for n in range(18))
    ]
    cream = [ball(PINK, (r, 0.22, r), at=(0, y, 0)) for r, y in ((0.74, 0.08), (0.58, 0.34), (0.4, 0.58), (0.2, 0.78))]
    return join(
        cylinder((0.66, 0.45, 0.85), 0.43, 0.76, top=0.62, at=(0, -0.42, 0)),
        *folds,
        *cream,
        ball(RED, 0.16, at=(0, 1, 0)),
    )


def _ice_cream() -> Mesh:
    scoops = [ball(c, 0.42, at=at) for c, at in ((PINK, (0, 0.4, 0)), ((0.96, 0.92, 0.78), (0, 0.85, 0)))]
    return join(
        cylinder((0.85, 0.62, 0.33), 0.04, 1.4, top=0.44, at=(0, -0.42, 0)), *scoops, ball(RED, 0.13, at=(0, 1.3, 0))
    )


def _hamburger() -> Mesh:
    bun = turned(
        (0.85, 0.58, 0.28),
        [(0.9 * math.sin(a), 0.2 + 0.6 * math.cos(a)) for a in (n * PI / 20 for n in range(11))]
        + [(0.9, 0.12), (0, 0.12)],
    )
    seeds = [
        ball(
            (0.98, 0.92, 0.75),
            (0.05, 0.03, 0.08),
            at=(0.9 * math.sin(t) * math.sin(a), 0.2 + 0.6 * math.cos(t), 0.9 * math.sin(t) * math.cos(a)),
        )
        for t, a in ((0.3, 0), (0.3, 2.1), (0.3, 4.2), *((0.75, n * 2 * PI / 7) for n in range(7)))
    ]
    return join(
        bun,
        *seeds,
        cylinder(GREEN, 0.98, 0.08, at=(0, 0.08, 0)),
        cylinder(RED, 0.88, 0.1, at=(0, 0, 0)),
        cylinder(YELLOW, 1.25, 0.06, at=(0, -0.08, 0), sides=4),
        cylinder(BROWN, 0.93, 0.22, at=(0, -0.22, 0)),
        cylinder((0.85, 0.58, 0.28), 0.9, 0.28, at=(0, -0.46, 0)),
    )


def _cake() -> Mesh:
    candles = [
        cylinder(SKY, 0.05, 0.4, at=(0.5 * math.sin(a), 0.6, 0.5 * math.cos(a)))
        for a in (n * 2 * PI / 5 for n in range(5))
    ]
    flames = [
        ball(ORANGE, (0.06, 0.11, 0.06), at=(0.5 * math.sin(a), 0.88, 0.5 * math.cos(a)))
        for a in (n * 2 * PI / 5 for n in range(5))
    ]
    cream = [
        ball(WHITE, 0.13, at=(0.82 * math.sin(a), 0.42, 0.82 * math.cos(a)))
        for a in (n * 2 * PI / 16 for n in range(16))
    ]
    return join(
        cylinder(PINK, 0.9, 0.8),
        cylinder(WHITE, 0.92, 0.18, at=(0, 0.32, 0)),
        cylinder(BROWN, 0.91, 0.12, at=(0, -0.1, 0)),
        *cream,
        *candles,
        *flames,
        cylinder(STEEL, 1.15, 0.06, at=(0, -0.42, 0)),
    )


def _lollipop() -> Mesh:
    swirl = [(0.55 * n / 60 * math.cos(n * 0.33), 0.5 + 0.55 * n / 60 * math.sin(n * 0.33)) for n in range(61)]
    lines = [tube(WHITE, [(x, y, z) for x, y in swirl], 0.045, sides=6) for z in (-0.12, 0.12)]
    return join(
        cylinder(RED, 0.62, 0.24, at=(0, 0.5, 0), turn=(PI / 2, 0, 0)),
        *lines,
        cylinder(WHITE, 0.06, 1.4, at=(0, -0.7, 0)),
    )


FOOD: dict[str, Callable[[], Mesh]] = {
    "apple": _apple,
    "pear": _pear,
    "banana": _banana,
    "carrot": _carrot,
    "lemon": _lemon,
    "pumpkin": _pumpkin,
    "watermelon": _watermelon,
    "cherries": _cherries,
    "donut": _donut,
    "ice cream": _ice_cream,
    "hamburger": _hamburger,
    "cake": _cake,
    "lollipop": _lollipop,
    "strawberry": _strawberry,
    "pineapple": _pineapple,
    "cupcake": _cupcake,
}
