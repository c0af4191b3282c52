"""Vehicles."""

import math
from collections.abc import Callable

from clipopt.geometry.mesh import Mesh
from recipes.embedded.props.forms import Number, ball, box, cylinder, join, moved, slab, tube, turned
from recipes.embedded.props.palette import (
    BLACK,
    BLUE,
    BROWN,
    DARK,
    GOLD,
    GREEN,
    ORANGE,
    RED,
    SKY,
    STEEL,
    WHITE,
    WOOD,
    YELLOW,
)

PI = math.pi


def _wheels(x: Number, z: Number, y: Number, radius: Number, width: Number = 0.2) -> list[Mesh]:
    """Four wheels whose axles lie along z."""
    spots = [(sx * x, y, sz * z) for sx in (-1, 1) for sz in (-1, 1)]
    tyres = [cylinder(BLACK, radius, width, at=at, turn=(PI / 2, 0, 0)) for at in spots]
    return tyres + [cylinder(STEEL, radius * 0.5, width + 0.04, at=at, turn=(PI / 2, 0, 0)) for at in spots]


def _car() -> Mesh:
    cabin = slab(RED, [(-0.75, 0.1), (0.55, 0.1), (0.3, 0.55), (-0.55, 0.55)], 0.85)
    glass = [
        slab(SKY, [(-0.6, 0.12), (0.4, 0.12), (0.22, 0.48), (-0.47, 0.48)], 0.88),
        slab(SKY, [(0.5, 0.14), (0.56, 0.14), (0.34, 0.5), (0.28, 0.5)], 0.7),
        slab(SKY, [(-0.76, 0.14), (-0.7, 0.14), (-0.52, 0.5), (-0.58, 0.5)], 0.7),
    ]
    lights = [ball(YELLOW, 0.1, at=(1.1, -0.05, z)) for z in (-0.3, 0.3)] + [
        box((0.5, 0, 0), (0.05, 0.1, 0.2), at=(-1.12, 0, z)) for z in (-0.3, 0.3)
    ]
    bumpers = [box(DARK, (0.1, 0.1, 0.95), at=(s * 1.1, -0.22, 0)) for s in (-1, 1)]
    return join(
        box(RED, (2.2, 0.42, 0.95), at=(0, -0.08, 0)),
        cabin,
        *glass,
        *lights,
        *bumpers,
        *_wheels(0.65, 0.45, -0.3, 0.26),
    )


def _bus() -> Mesh:
    windows = [box(SKY, (0.34, 0.35, 0.02), at=(-0.95 + 0.45 * n, 0.25, s * 0.46)) for n in range(5) for s in (-1, 1)]
    ends = [box(SKY, (0.02, 0.42, 0.75), at=(s * 1.26, 0.22, 0)) for s in (-1, 1)]
    return join(
        box(YELLOW, (2.5, 1.05, 0.9), at=(0, 0.05, 0)),
        box(DARK, (2.52, 0.08, 0.92), at=(0, -0.12, 0)),
        *windows,
        *ends,
        *_wheels(0.8, 0.42, -0.5, 0.25),
    )


def _truck() -> Mesh:
    cab = [
        box(BLUE, (0.6, 0.85, 0.85), at=(0.95, 0, 0)),
        box(SKY, (0.04, 0.32, 0.7), at=(1.25, 0.18, 0)),
        *(box(SKY, (0.34, 0.3, 0.02), at=(1, 0.18, s * 0.43)) for s in (-1, 1)),
    ]
    return join(
        box(WHITE, (1.65, 1.15, 0.95), at=(-0.25, 0.18, 0)),
        *cab,
        box(DARK, (2.3, 0.12, 0.7), at=(0.1, -0.46, 0)),
        *_wheels(0.75, 0.38, -0.52, 0.24),
        *(ball(YELLOW, 0.08, at=(1.25, -0.25, z)) for z in (-0.28, 0.28)),
    )


def _tractor() -> Mesh:
    big = [
        part
        for s in (-1, 1)
        for part in (
            cylinder(BLACK, 0.55, 0.3, at=(-0.55, -0.15, s * 0.55), turn=(PI / 2, 0, 0)),
            cylinder(YELLOW, 0.3, 0.32, at=(-0.55, -0.15, s * 0.55), turn=(PI / 2, 0, 0)),
        )
    ]
    small = [
        part
        for s in (-1, 1)
        for part in (
            cylinder(BLACK, 0.3, 0.22, at=(0.75, -0.4, s * 0.45), turn=(PI / 2, 0, 0)),
            cylinder(YELLOW, 0.15, 0.24, at=(0.75, -0.4, s * 0.45), turn=(PI / 2, 0, 0)),
        )
    ]
    cab = [box(GREEN, (0.75, 0.08, 0.75), at=(-0.45, 0.98, 0)), box(SKY, (0.62, 0.6, 0.6), at=(-0.45, 0.65, 0))]
    return join(
        box(GREEN, (1.2, 0.5, 0.5), at=(0.5, 0.1, 0)),
        box(GREEN, (0.8, 0.6, 0.65), at=(-0.45, 0.1, 0)),
        *cab,
        *big,
        *small,
        cylinder(DARK, 0.06, 0.5, at=(0.7, 0.55, 0)),
    )


def _train() -> Mesh:
    boiler = cylinder(BLACK, 0.38, 1.3, at=(0.3, 0.05, 0), turn=(0, 0, PI / 2))
    cab = [
        box(RED, (0.65, 1, 0.85), at=(-0.65, 0.2, 0)),
        box(DARK, (0.8, 0.08, 1), at=(-0.65, 0.74, 0)),
        *(box(SKY, (0.3, 0.3, 0.02), at=(-0.65, 0.4, s * 0.43)) for s in (-1, 1)),
    ]
    wheels = [
        part
        for x in (-0.7, -0.15, 0.3, 0.75)
        for s in (-1, 1)
        for part in (
            cylinder(RED, 0.24, 0.1, at=(x, -0.5, s * 0.38), turn=(PI / 2, 0, 0)),
            cylinder(DARK, 0.1, 0.14, at=(x, -0.5, s * 0.38), turn=(PI / 2, 0, 0)),
        )
    ]
    chimney = [
        cylinder(BLACK, 0.1, 0.4, top=0.18, at=(0.7, 0.55, 0)),
        ball(GOLD, 0.14, at=(0.2, 0.42, 0)),
        ball(YELLOW, 0.12, at=(0.98, 0.1, 0)),
    ]
    plough = slab(RED, [(0.9, -0.3), (0.9, -0.7), (1.3, -0.7)], 0.7)
    return join(boiler, *cab, *wheels, *chimney, plough, box(DARK, (1.9, 0.14, 0.7), at=(0, -0.35, 0)))


def _airplane() -> Mesh:
    wing = slab(BLUE, [(0.35, 0.1), (-0.15, 1.35), (-0.4, 1.35), (-0.2, 0.1)], 0.07)
    wings = [moved(wing, turn=(s * PI / 2, 0, 0)) for s in (-1, 1)]
    tails = [
        moved(
            slab(BLUE, [(-0.85, 0.05), (-1.1, 0.5), (-1.28, 0.5), (-1.2, 0.05)], 0.06),
            at=(0, 0.05, 0),
            turn=(s * PI / 2, 0, 0),
        )
        for s in (-1, 1)
    ]
    fin = slab(BLUE, [(-0.75, 0.1), (-1.15, 0.65), (-1.32, 0.65), (-1.2, 0.1)][::-1], 0.06)
    engines = [cylinder(STEEL, 0.12, 0.4, at=(0.15, -0.16, s * 0.55), turn=(0, 0, PI / 2)) for s in (-1, 1)]
    windows = [ball(DARK, 0.045, at=(-0.7 + 0.2 * n, 0.08, s * 0.2)) for n in range(8) for s in (-1, 1)]
    return join(
        ball(WHITE, (1.3, 0.22, 0.22)),
        *wings,
        *tails,
        fin,
        *engines,
        *windows,
        ball(SKY, (0.15, 0.1, 0.15), at=(1.05, 0.1, 0)),
    )


def _helicopter() -> Mesh:
    blades = [box(DARK, (2.2, 0.03, 0.14), at=(0, 0.68, 0), turn=(0, a, 0)) for a in (0.5, 0.5 + PI / 2)]
    skids = [tube(DARK, [(-0.5, -0.65, z), (0.5, -0.65, z), (0.65, -0.55, z)], 0.045) for z in (-0.3, 0.3)]
    struts = [cylinder(DARK, 0.03, 0.35, at=(x, -0.5, z)) for x in (-0.25, 0.3) for z in (-0.28, 0.28)]
    tail = [
        tube(RED, [(-0.4, 0.1, 0), (-1.4, 0.25, 0)], [0.22, 0.07]),
        box(RED, (0.18, 0.45, 0.05), at=(-1.4, 0.4, 0)),
        box(DARK, (0.08, 0.5, 0.03), at=(-1.4, 0.3, 0.1), turn=(0, 0, 0.6)),
    ]
    return join(
        ball(RED, (0.7, 0.48, 0.42)),
        ball(SKY, (0.42, 0.36, 0.37), at=(0.34, 0.08, 0)),
        cylinder(DARK, 0.06, 0.3, at=(0, 0.55, 0)),
        *blades,
        *skids,
        *struts,
        *tail,
    )


def _rocket() -> Mesh:
    hull = [(0, 1.3), (0.12, 1.15), (0.28, 0.8), (0.36, 0.4), (0.36, -0.2), (0.26, -0.75), (0.26, -0.75), (0, -0.75)]
    tip = turned(RED, [(0, 1.31), (0.13, 1.15), (0.29, 0.8)])
    fins = [
        moved(slab(RED, [(0.2, -0.1), (0.2, -0.7), (0.65, -1), (0.62, -0.6)][::-1], 0.08), turn=(0, n * 2 * PI / 3, 0))
        for n in range(3)
    ]
    windows = [
        part
        for s in (-1, 1)
        for part in (
            cylinder(DARK, 0.19, 0.06, at=(0, 0.35, 0.35 * s), turn=(PI / 2, 0, 0)),
            cylinder(SKY, 0.14, 0.08, at=(0, 0.35, 0.36 * s), turn=(PI / 2, 0, 0)),
        )
    ]
    return join(
        turned(WHITE, hull),
        tip,
        *fins,
        *windows,
        cylinder(ORANGE, 0.02, 0.6, top=0.2, at=(0, -1.05, 0)),
        cylinder(DARK, 0.24, 0.12, at=(0, -0.78, 0)),
    )


def _sailboat() -> Mesh:
    hull = slab(RED, [(-0.9, -0.4), (-0.65, -0.85), (0.6, -0.85), (1.05, -0.4)], 0.6)
    sails = [
        slab(WHITE, [(0.08, -0.25), (0.85, -0.25), (0.08, 1.1)], 0.04),
        slab(SKY, [(-0.05, -0.25), (-0.05, 0.8), (-0.65, -0.25)], 0.04),
    ]
    return join(
        hull, box(WOOD, (1.8, 0.05, 0.52), at=(0.05, -0.39, 0)), *sails, cylinder(BROWN, 0.05, 1.7, at=(0, 0.4, 0))
    )


def _ship() -> Mesh:
    hull = [
        slab(DARK, [(-1.2, -0.25), (-1, -0.7), (1, -0.7), (1.35, -0.25)], 0.6),
        slab(RED, [(-1.07, -0.55), (-1, -0.72), (1, -0.72), (1.13, -0.55)], 0.62),
    ]
    funnels = [
        part
        for x in (-0.4, 0.05)
        for part in (cylinder(RED, 0.15, 0.5, at=(x, 0.55, 0)), cylinder(BLACK, 0.16, 0.12, at=(x, 0.8, 0)))
    ]
    windows = [ball(DARK, 0.05, at=(-0.7 + 0.22 * n, -0.05, s * 0.22)) for n in range(6) for s in (-1, 1)]
    return join(
        *hull,
        box(WHITE, (1.7, 0.35, 0.44), at=(-0.1, -0.08, 0)),
        box(WHITE, (1.1, 0.28, 0.36), at=(-0.15, 0.2, 0)),
        *funnels,
        *windows,
    )


def _submarine() -> Mesh:
    windows = [
        part
        for x in (-0.35, 0.1, 0.55)
        for s in (-1, 1)
        for part in (
            cylinder(DARK, 0.14, 0.06, at=(x, 0, 0.4 * s), turn=(PI / 2, 0, 0)),
            cylinder(SKY, 0.1, 0.08, at=(x, 0, 0.4 * s), turn=(PI / 2, 0, 0)),
        )
    ]
    periscope = tube(DARK, [(0.1, 0.6, 0), (0.1, 1, 0), (0.3, 1, 0)], 0.05)
    screw = [box(DARK, (0.05, 0.6, 0.14), at=(-1.3, 0, 0), turn=(a, 0, 0)) for a in (0, PI / 2)]
    fins = [
        slab(ORANGE, [(-0.75, 0.1), (-1, 0.55), (-1.2, 0.55), (-1.1, 0.1)], 0.07),
        slab(ORANGE, [(-0.75, -0.1), (-1.1, -0.1), (-1.2, -0.5), (-1, -0.5)], 0.07),
    ]
    return join(
        ball(YELLOW, (1.2, 0.44, 0.44)),
        cylinder(YELLOW, 0.28, 0.45, at=(0.1, 0.5, 0)),
        *windows,
        periscope,
        *screw,
        *fins,
    )


VEHICLES: dict[str, Callable[[], Mesh]] = {
    "car": _car, "bus": _bus, "truck": _truck, "tractor": _tractor, "steam train": _train, "airplane": _airplane,
    "helicopter": _helicopter, "rocket": _rocket, "sailboat": _sailboat, "ship": _ship, "submarine": _submarine,
}  # fmt: skip
