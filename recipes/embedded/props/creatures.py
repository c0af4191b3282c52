"""Animals and figures."""

import math
from collections.abc import Callable

from clipopt.geometry.mesh import Mesh
from recipes.embedded.props.forms import Colour, arc, ball, box, cylinder, join, moved, slab, tube, turned
from recipes.embedded.props.palette import (
    BLACK,
    BROWN,
    DARK,
    GREEN,
    ORANGE,
    PINK,
    PURPLE,
    RED,
    SKY,
    STEEL,
    TAN,
    WHITE,
    YELLOW,
    eyes,
)

PI = math.pi


def _animal(coat: Colour, belly: Colour, ears: list[Mesh], tail: list[Mesh], *, nose: Colour = BLACK) -> Mesh:
    """A four-legged animal that looks at +x from a body along x."""
    body = ball(coat, (0.75, 0.4, 0.36), at=(-0.1, 0, 0))
    feet = [cylinder(coat, 0.12, 0.65, at=(x, -0.5, z)) for x in (-0.55, 0.35) for z in (-0.2, 0.2)]
    paws = [ball(belly, (0.16, 0.1, 0.14), at=(x + 0.04, -0.8, z)) for x in (-0.55, 0.35) for z in (-0.2, 0.2)]
    head = [ball(coat, (0.4, 0.38, 0.38), at=(0.7, 0.45, 0)), ball(belly, (0.22, 0.16, 0.2), at=(1.02, 0.36, 0))]
    face = [ball(nose, 0.07, at=(1.22, 0.42, 0)), *(ball(BLACK, 0.06, at=(1.02, 0.58, z)) for z in (-0.16, 0.16))]
    return join(body, *feet, *paws, *head, *face, *ears, *tail)


def _cat() -> Mesh:
    coat = (0.93, 0.6, 0.22)
    ears = [cylinder(coat, 0.17, 0.36, top=0, at=(0.66, 0.88, z), turn=(0.3 * z, 0, 0)) for z in (-0.22, 0.22)]
    tail = tube(coat, [(-0.75, 0.1, 0), (-1.05, 0.25, 0), (-1.15, 0.6, 0), (-1.05, 0.95, 0), (-1.15, 1.15, 0)], 0.08)
    whiskers = [
        tube(WHITE, [(1.1, 0.34 + 0.03 * n, 0.1 * s), (1.12, 0.32 + 0.1 * n, 0.5 * s)], 0.014)
        for s in (-1, 1)
        for n in (-1, 1)
    ]
    return join(_animal(coat, WHITE, ears, [tail], nose=PINK), *whiskers)


def _dog() -> Mesh:
    coat = (0.7, 0.46, 0.24)
    ears = [ball(BROWN, (0.14, 0.34, 0.09), at=(0.6, 0.38, 0.4 * s), turn=(0.25 * s, 0, 0)) for s in (-1, 1)]
    tail = tube(coat, [(-0.75, 0.12, 0), (-1, 0.4, 0), (-1.05, 0.65, 0)], [0.11, 0.09, 0.06])
    muzzle = [ball(TAN, (0.3, 0.17, 0.2), at=(1.1, 0.34, 0)), ball(BLACK, 0.1, at=(1.4, 0.42, 0))]
    tongue = ball(PINK, (0.12, 0.04, 0.08), at=(1.24, 0.15, 0), turn=(0, 0, -0.6))
    return join(
        _animal(coat, TAN, ears, [tail]),
        *muzzle,
        tongue,
        cylinder(RED, 0.34, 0.1, at=(0.48, 0.22, 0), turn=(0, 0, -0.7)),
    )


def _pig() -> Mesh:
    pink, dark = (0.96, 0.66, 0.7), (0.88, 0.5, 0.56)
    body = ball(pink, (0.85, 0.6, 0.58))
    feet = [cylinder(dark, 0.15, 0.6, at=(x, -0.6, z)) for x in (-0.45, 0.45) for z in (-0.28, 0.28)]
    snout = [
        cylinder(dark, 0.22, 0.25, at=(1.25, 0.15, 0), turn=(0, 0, PI / 2)),
        *(ball(BROWN, 0.05, at=(1.38, 0.15, z)) for z in (-0.08, 0.08)),
    ]
    head = [ball(pink, 0.47, at=(0.8, 0.25, 0)), *(ball(BLACK, 0.06, at=(1.18, 0.4, z)) for z in (-0.2, 0.2))]
    ears = [cylinder(dark, 0.16, 0.34, top=0, at=(0.75, 0.72, 0.28 * s), turn=(0.5 * s, 0, -0.4)) for s in (-1, 1)]
    tail = tube(dark, [(-0.8, 0.15, 0), (-0.95, 0.3, 0), (-1.08, 0.2, 0), (-1, 0.08, 0)], 0.04)
    return join(body, *feet, *snout, *head, *ears, tail)


def _sheep() -> Mesh:
    wool = [
        ball(WHITE, 0.34, at=(0.62 * math.cos(a) * math.sin(t), 0.42 * math.cos(t), 0.4 * math.sin(a) * math.sin(t)))
        for t, count in ((0.5, 5), (1.2, 9), (1.9, 9))
        for a in (n * 2 * PI / count for n in range(count))
    ]
    feet = [cylinder(DARK, 0.1, 0.6, at=(x, -0.7, z)) for x in (-0.4, 0.4) for z in (-0.25, 0.25)]
    head = [ball(DARK, (0.28, 0.34, 0.25), at=(0.98, 0.35, 0), turn=(0, 0, 0.4)), ball(WHITE, 0.26, at=(0.86, 0.68, 0))]
    ears = [ball(DARK, (0.09, 0.09, 0.22), at=(0.9, 0.45, 0.32 * s)) for s in (-1, 1)]
    return join(*wool, *feet, *head, *ears, *(ball(WHITE, 0.06, at=(1.17, 0.45, z)) for z in (-0.13, 0.13)))


def _giraffe() -> Mesh:
    coat = (0.95, 0.75, 0.3)
    feet = [cylinder(coat, 0.09, 1, at=(x, -0.85, z)) for x in (-0.45, 0.35) for z in (-0.18, 0.18)]
    hoofs = [cylinder(BROWN, 0.1, 0.16, at=(x, -1.3, z)) for x in (-0.45, 0.35) for z in (-0.18, 0.18)]
    neck = tube(coat, [(0.4, -0.1, 0), (0.75, 1.2, 0)], [0.24, 0.14])
    head = [
        ball(coat, (0.34, 0.17, 0.17), at=(0.92, 1.28, 0), turn=(0, 0, -0.4)),
        ball(BROWN, (0.1, 0.1, 0.12), at=(1.2, 1.15, 0)),
        *(ball(BLACK, 0.045, at=(0.95, 1.36, z)) for z in (-0.14, 0.14)),
    ]
    horns = [tube(BROWN, [(0.75, 1.4, z), (0.7, 1.62, z)], [0.03, 0.05]) for z in (-0.08, 0.08)]
    spots = [
        ball(BROWN, 0.13, at=at)
        for at in (
            (-0.4, 0.12, 0.22),
            (-0.05, 0.15, 0.26),
            (0.22, -0.1, 0.25),
            (-0.25, -0.2, 0.26),
            (-0.4, 0.12, -0.22),
            (-0.05, 0.15, -0.26),
            (0.22, -0.1, -0.25),
            (-0.25, -0.2, -0.26),
            (-0.15, 0.3, 0),
        )
    ]
    rings = [
        ball(BROWN, 0.1, at=(0.4 + 0.35 * t, -0.1 + 1.3 * t, s * (0.17 - 0.09 * t)))
        for t in (0.3, 0.5, 0.7, 0.88)
        for s in (-1, 1)
    ]
    return join(
        ball(coat, (0.65, 0.37, 0.33), at=(-0.05, -0.05, 0)), *feet, *hoofs, neck, *head, *horns, *spots, *rings
    )


def _rabbit() -> Mesh:
    ears = [
        ball(c, (w, 0.5, d), at=(0.2 * s, 1.1, z), turn=(0, 0, -0.15 * s))
        for s in (-1, 1)
        for c, w, d, z in ((WHITE, 0.14, 0.08, 0), (PINK, 0.08, 0.06, 0.04))
    ]
    feet = [ball(WHITE, (0.18, 0.13, 0.3), at=(0.28 * s, -0.85, 0.3)) for s in (-1, 1)] + [
        ball(WHITE, (0.12, 0.25, 0.13), at=(0.25 * s, -0.25, 0.42)) for s in (-1, 1)
    ]
    return join(
        ball(WHITE, (0.52, 0.6, 0.48), at=(0, -0.4, 0)),
        ball(WHITE, 0.42, at=(0, 0.4, 0.1)),
        *ears,
        *feet,
        *eyes(0.07, (0.17, 0.5, 0.46)),
        ball(PINK, 0.07, at=(0, 0.36, 0.52)),
        ball(WHITE, 0.18, at=(0, -0.6, -0.52)),
    )


def _teddy_bear() -> Mesh:
    fur, light = (0.66, 0.42, 0.22), (0.88, 0.72, 0.5)
    limbs = [tube(fur, [(0.35 * s, y, 0.05), (0.72 * s, y - 0.15, 0.25)], 0.2) for s in (-1, 1) for y in (0.1, -0.6)]
    ears = [ball(c, r, at=(0.36 * s, 0.98, z)) for s in (-1, 1) for c, r, z in ((fur, 0.18, 0), (light, 0.12, 0.1))]
    return join(
        ball(fur, (0.55, 0.6, 0.45), at=(0, -0.3, 0)),
        ball(light, (0.35, 0.4, 0.2), at=(0, -0.3, 0.3)),
        ball(fur, 0.48, at=(0, 0.6, 0)),
        ball(light, (0.22, 0.17, 0.2), at=(0, 0.48, 0.38)),
        ball(BLACK, 0.08, at=(0, 0.54, 0.58)),
        *eyes(0.065, (0.18, 0.72, 0.42)),
        *ears,
        *limbs,
    )


def _penguin() -> Mesh:
    wings = [ball(BLACK, (0.1, 0.5, 0.24), at=(0.58 * s, -0.05, 0), turn=(0, 0, 0.3 * s)) for s in (-1, 1)]
    feet = [ball(ORANGE, (0.18, 0.08, 0.28), at=(0.24 * s, -0.95, 0.2)) for s in (-1, 1)]
    cheeks = [ball(WHITE, (0.17, 0.22, 0.1), at=(0.15 * s, 0.66, 0.29)) for s in (-1, 1)]
    beak = cylinder(ORANGE, 0.12, 0.32, top=0, at=(0, 0.58, 0.52), turn=(PI / 2, 0, 0))
    return join(
        ball(BLACK, (0.58, 0.8, 0.5), at=(0, -0.15, 0)),
        ball(WHITE, (0.44, 0.66, 0.3), at=(0, -0.22, 0.25)),
        ball(BLACK, 0.4, at=(0, 0.65, 0)),
        *cheeks,
        beak,
        *wings,
        *feet,
        *eyes(0.06, (0.15, 0.72, 0.38)),
    )


def _duck() -> Mesh:
    beak = ball(ORANGE, (0.26, 0.07, 0.18), at=(0.98, 0.5, 0))
    wings = [ball((0.93, 0.7, 0.1), (0.42, 0.24, 0.08), at=(-0.1, -0.05, 0.46 * s), turn=(0, 0, 0.2)) for s in (-1, 1)]
    tail = cylinder(YELLOW, 0.25, 0.5, top=0, at=(-0.8, 0.15, 0), turn=(0, 0, 0.9))
    return join(
        ball(YELLOW, (0.8, 0.45, 0.5), at=(0, -0.15, 0)),
        ball(YELLOW, 0.38, at=(0.55, 0.55, 0)),
        beak,
        *wings,
        tail,
        *(ball(BLACK, 0.06, at=(0.8, 0.65, z)) for z in (-0.22, 0.22)),
    )


def _fish() -> Mesh:
    tail = slab(ORANGE, [(0, 0), (-0.5, -0.45), (-0.38, 0), (-0.5, 0.45)][::-1], 0.07, at=(-0.75, 0, 0))
    fins = [
        slab(ORANGE, [(-0.35, 0), (0.3, 0), (-0.35, 0.35)], 0.06, at=(0, 0.4, 0)),
        slab(ORANGE, [(-0.3, 0), (-0.3, -0.25), (0.15, 0)], 0.06, at=(0, -0.42, 0)),
    ]
    stripes = [
        moved(
            turned(WHITE, [(r * 1.02, 0.07), (r * 1.02, -0.07)]), at=(x, 0, 0), turn=(0, 0, PI / 2), scale=(1, 1, 0.55)
        )
        for x, r in ((0.25, 0.47), (-0.25, 0.47))
    ]
    sides = [ball((0.9, 0.4, 0.05), (0.18, 0.1, 0.05), at=(0.1, -0.12, 0.28 * s)) for s in (-1, 1)]
    seen = [ball(c, r, at=(0.62, 0.12, z * s)) for s in (-1, 1) for c, r, z in ((WHITE, 0.1, 0.15), (BLACK, 0.07, 0.2))]
    return join(ball((0.96, 0.5, 0.12), (0.9, 0.5, 0.28)), tail, *fins, *stripes, *sides, *seen)


def _turtle() -> Mesh:
    shell = turned(
        (0.35, 0.5, 0.2), [(0.8 * math.sin(a), 0.55 * math.cos(a)) for a in (n * PI / 20 for n in range(11))]
    )
    plates = [
        ball(
            (0.5, 0.38, 0.18),
            (0.2, 0.06, 0.2),
            at=(0.46 * math.sin(a), 0.45, 0.46 * math.cos(a)),
            turn=(0.6 * math.cos(a), 0, -0.6 * math.sin(a)),
        )
        for a in (n * PI / 3 for n in range(6))
    ] + [ball((0.5, 0.38, 0.18), (0.2, 0.06, 0.2), at=(0, 0.54, 0))]
    feet = [
        ball(GREEN, (0.24, 0.12, 0.16), at=(0.6 * sx, -0.1, 0.55 * sz), turn=(0, -0.7 * sx * sz, 0))
        for sx in (-1, 1)
        for sz in (-1, 1)
    ]
    head = [tube(GREEN, [(0.65, 0, 0), (1, 0.2, 0)], 0.15), ball(GREEN, (0.24, 0.2, 0.2), at=(1.08, 0.26, 0))]
    return join(
        shell,
        cylinder(TAN, 0.78, 0.1, at=(0, -0.04, 0)),
        *plates,
        *feet,
        *head,
        *(ball(BLACK, 0.05, at=(1.2, 0.34, z)) for z in (-0.13, 0.13)),
        cylinder(GREEN, 0.09, 0.3, top=0, at=(-0.9, 0, 0), turn=(0, 0, PI / 2)),
    )


def _snail() -> Mesh:
    swirl = [
        (-0.15 + (0.5 - 0.42 * t) * math.cos(9 * t), 0.2 + (0.5 - 0.42 * t) * math.sin(9 * t))
        for t in (n / 40 for n in range(41))
    ]
    house = [
        ball((0.8, 0.5, 0.25), (0.6, 0.6, 0.3), at=(-0.15, 0.2, 0)),
        *(tube(BROWN, [(x, y, z) for x, y in swirl], 0.05, sides=8) for z in (-0.24, 0.24)),
    ]
    body = tube(
        (0.85, 0.75, 0.55),
        [(-1, -0.4, 0), (-0.4, -0.35, 0), (0.4, -0.35, 0), (0.75, -0.15, 0), (0.9, 0.25, 0)],
        [0.05, 0.16, 0.18, 0.17, 0.17],
    )
    horns = [
        part
        for z in (-0.1, 0.1)
        for part in (
            tube((0.85, 0.75, 0.55), [(0.95, 0.35, z), (1.05, 0.75, z * 2)], 0.035),
            ball(BLACK, 0.07, at=(1.06, 0.8, z * 2)),
        )
    ]
    return join(*house, body, *horns)


def _ladybug() -> Mesh:
    wings = turned(RED, [(0.8 * math.sin(a), 0.6 * math.cos(a)) for a in (n * PI / 20 for n in range(11))])
    dots = [
        ball(
            BLACK,
            (0.14, 0.05, 0.14),
            at=(0.8 * math.sin(t) * math.cos(a), 0.59 * math.cos(t), 0.8 * math.sin(t) * math.sin(a)),
            turn=(t * math.sin(a), 0, -t * math.cos(a)),
        )
        for t, a in ((0.55, 0.9), (0.55, -0.9), (0.6, 2.3), (0.6, -2.3), (1.1, 1.6), (1.1, -1.6))
    ]
    feet = [tube(BLACK, [(x, 0, 0.6 * s), (x * 1.3, -0.25, 1 * s)], 0.05) for x in (-0.4, 0, 0.4) for s in (-1, 1)]
    seam = tube(BLACK, [(0.81 * math.cos(a), 0.61 * math.sin(a), 0) for a in (n * PI / 16 for n in range(17))], 0.03)
    return join(
        wings,
        *dots,
        *feet,
        seam,
        cylinder(BLACK, 0.8, 0.06),
        ball(BLACK, 0.34, at=(0.78, 0.12, 0)),
        *(ball(WHITE, 0.08, at=(1, 0.25, z)) for z in (-0.18, 0.18)),
    )


def _octopus() -> Mesh:
    arms = [
        moved(
            tube(
                PURPLE,
                [(0.35, -0.25, 0), (0.65, -0.6, 0), (0.95, -0.75, 0), (1.2, -0.6, 0), (1.25, -0.4, 0)],
                [0.2, 0.17, 0.13, 0.1, 0.06],
            ),
            turn=(0, (n + 0.5) * PI / 4, 0),
        )
        for n in range(8)
    ]
    seen = [ball(c, r, at=(0.22 * s, 0.3, z)) for s in (-1, 1) for c, r, z in ((WHITE, 0.15, 0.5), (BLACK, 0.09, 0.6))]
    return join(ball(PURPLE, (0.6, 0.72, 0.6), at=(0, 0.3, 0)), *arms, *seen)


def _snowman() -> Mesh:
    snow = [ball(WHITE, r, at=(0, y, 0)) for r, y in ((0.6, -0.75), (0.44, 0.08), (0.32, 0.7))]
    buttons = [ball(BLACK, 0.06, at=(0, y, z)) for y, z in ((0.28, 0.4), (0.08, 0.45), (-0.12, 0.42))]
    arms = [tube(BROWN, [(0.4 * s, 0.15, 0), (0.95 * s, 0.45, 0)], 0.04) for s in (-1, 1)]
    hat = [
        cylinder(BLACK, 0.38, 0.06, at=(0, 0.97, 0)),
        cylinder(BLACK, 0.25, 0.4, at=(0, 1.18, 0)),
        cylinder(RED, 0.26, 0.08, at=(0, 1.04, 0)),
    ]
    scarf = moved(tube(RED, arc(0.3, 0, 2 * PI * 23 / 24, 24), 0.09, closed=True), at=(0, 0.45, 0), turn=(PI / 2, 0, 0))
    nose = cylinder(ORANGE, 0.08, 0.4, top=0, at=(0, 0.7, 0.48), turn=(PI / 2, 0, 0))
    return join(*snow, *buttons, *arms, *hat, scarf, nose, *eyes(0.05, (0.12, 0.82, 0.28)))


def _robot() -> Mesh:
    limbs = [cylinder(DARK, 0.1, 0.75, at=(0.63 * s, -0.15, 0)) for s in (-1, 1)] + [
        cylinder(DARK, 0.12, 0.5, at=(0.25 * s, -0.9, 0)) for s in (-1, 1)
    ]
    ends = [ball(STEEL, 0.15, at=(0.63 * s, -0.58, 0)) for s in (-1, 1)] + [
        box(STEEL, (0.34, 0.18, 0.5), at=(0.25 * s, -1.15, 0.06)) for s in (-1, 1)
    ]
    seen = [cylinder(YELLOW, 0.12, 0.06, at=(0.19 * s, 0.72, 0.36), turn=(PI / 2, 0, 0)) for s in (-1, 1)]
    panel = [
        box(SKY, (0.5, 0.3, 0.05), at=(0, 0, 0.33)),
        *(ball(c, 0.06, at=(x, -0.32, 0.33)) for c, x in ((RED, -0.18), (YELLOW, 0), (GREEN, 0.18))),
    ]
    return join(
        box(STEEL, (1, 1.1, 0.65), at=(0, -0.15, 0)),
        box(STEEL, (0.85, 0.65, 0.65), at=(0, 0.7, 0)),
        *limbs,
        *ends,
        *seen,
        *panel,
        box(DARK, (0.4, 0.08, 0.05), at=(0, 0.5, 0.33)),
        cylinder(DARK, 0.03, 0.25, at=(0, 1.12, 0)),
        ball(RED, 0.09, at=(0, 1.28, 0)),
    )


def _ghost() -> Mesh:
    cloak = [(0, 0.95), (0.3, 0.88), (0.5, 0.68), (0.6, 0.35), (0.62, -0.1), (0.7, -0.7)]
    hem = [
        ball(WHITE, (0.19, 0.24, 0.19), at=(0.53 * math.sin(a), -0.72, 0.53 * math.cos(a)))
        for a in (n * PI / 4 for n in range(8))
    ]
    arms = [tube(WHITE, [(0.5 * s, 0.15, 0.1), (0.85 * s, 0.3, 0.25)], [0.18, 0.13]) for s in (-1, 1)]
    mouth = ball(BLACK, (0.11, 0.15, 0.06), at=(0, 0.2, 0.59))
    seen = [ball(BLACK, (0.09, 0.14, 0.07), at=(0.2 * s, 0.52, 0.5)) for s in (-1, 1)]
    return join(turned(WHITE, [*cloak, (0.7, -0.7), (0, -0.7)]), *hem, *arms, mouth, *seen)


def _skull() -> Mesh:
    bone = (0.93, 0.9, 0.82)
    holes = [ball(BLACK, (0.2, 0.22, 0.12), at=(0.27 * s, 0.1, 0.57)) for s in (-1, 1)]
    brows = [tube(bone, arc(0.27, 0.2, PI - 0.2, 9, at=(0.27 * s, 0.1, 0.62)), 0.07, sides=8) for s in (-1, 1)]
    cheeks = [ball(bone, (0.2, 0.14, 0.2), at=(0.45 * s, -0.22, 0.45)) for s in (-1, 1)]
    teeth = [box(bone, (0.11, 0.24, 0.09), at=(0.13 * n, -0.62, 0.5 - 0.03 * n * n)) for n in (-2, -1, 0, 1, 2)]
    gaps = [box(BLACK, (0.025, 0.24, 0.06), at=(0.13 * (n - 0.5), -0.62, 0.51)) for n in (-1, 0, 1, 2)]
    nose = cylinder(BLACK, 0.1, 0.22, top=0, at=(0, -0.2, 0.63))
    jaw = [box(bone, (0.62, 0.3, 0.5), at=(0, -0.5, 0.18)), box(bone, (0.5, 0.14, 0.3), at=(0, -0.78, 0.38))]
    return join(ball(bone, (0.72, 0.68, 0.78), at=(0, 0.22, -0.1)), *brows, *cheeks, *jaw, *holes, nose, *teeth, *gaps)


def _owl() -> Mesh:
    coat, light = (0.5, 0.33, 0.18), (0.85, 0.72, 0.52)
    discs = [ball(light, (0.25, 0.25, 0.12), at=(0.22 * s, 0.55, 0.37)) for s in (-1, 1)]
    seen = [
        ball(c, r, at=(0.22 * s, 0.56, z)) for s in (-1, 1) for c, r, z in ((YELLOW, 0.15, 0.42), (BLACK, 0.09, 0.51))
    ]
    tufts = [cylinder(coat, 0.14, 0.42, top=0, at=(0.34 * s, 1, 0.05), turn=(0, 0, -0.45 * s)) for s in (-1, 1)]
    wings = [
        ball((0.38, 0.24, 0.12), (0.12, 0.55, 0.32), at=(0.55 * s, -0.15, 0), turn=(0, 0, 0.15 * s)) for s in (-1, 1)
    ]
    feet = [ball(ORANGE, (0.13, 0.09, 0.2), at=(0.2 * s, -0.9, 0.25)) for s in (-1, 1)]
    chest = [
        ball(coat, (0.07, 0.04, 0.04), at=(x, y, z))
        for y, z, row in ((0.02, 0.43, (-0.15, 0.15)), (-0.18, 0.46, (-0.25, 0, 0.25)), (-0.4, 0.43, (-0.15, 0.15)))
        for x in row
    ]
    return join(
        ball(coat, (0.56, 0.7, 0.45), at=(0, -0.25, 0)), ball(light, (0.4, 0.52, 0.2), at=(0, -0.28, 0.28)), *chest,
        ball(coat, (0.52, 0.42, 0.42), at=(0, 0.55, 0)), *discs, *seen, *tufts, *wings, *feet,
        cylinder(ORANGE, 0.09, 0.26, top=0, at=(0, 0.42, 0.5), turn=(2.4, 0, 0)),
    )  # fmt: skip


CREATURES: dict[str, Callable[[], Mesh]] = {
    "cat": _cat, "dog": _dog, "pig": _pig, "sheep": _sheep, "giraffe": _giraffe, "rabbit": _rabbit,
    "teddy bear": _teddy_bear, "penguin": _penguin, "duck": _duck, "fish": _fish, "turtle": _turtle, "snail": _snail,
    "ladybug": _ladybug, "octopus": _octopus, "snowman": _snowman, "robot": _robot,
    "ghost": _ghost, "skull": _skull, "owl": _owl,
}  # fmt: skip
