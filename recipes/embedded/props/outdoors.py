"""Buildings and plants."""

import math
from collections.abc import Callable

from clipopt.geometry.mesh import Mesh
from recipes.embedded.props.forms import arc, ball, box, cylinder, join, moved, slab, tube, turned
from recipes.embedded.props.palette import BROWN, DARK, DARK_GREEN, GREEN, RED, SKY, STONE, WHITE, YELLOW

PI = math.pi


def _house() -> Mesh:
    roof = slab(RED, [(-1.05, 0.3), (1.05, 0.3), (0, 1.15)], 1.7)
    windows = [box(SKY, (0.36, 0.36, 0.04), at=(s * 0.52, -0.15, z)) for s in (-1, 1) for z in (-0.72, 0.72)]
    sides = [box(SKY, (0.04, 0.36, 0.4), at=(s * 0.86, -0.15, 0)) for s in (-1, 1)]
    door = box(BROWN, (0.36, 0.7, 0.04), at=(0, -0.5, 0.72))
    chimney = box((0.6, 0.25, 0.18), (0.24, 0.6, 0.24), at=(0.55, 0.9, -0.3))
    return join(box((0.97, 0.9, 0.72), (1.7, 1.2, 1.4), at=(0, -0.25, 0)), roof, *windows, *sides, door, chimney)


def _castle() -> Mesh:
    towers = [cylinder(STONE, 0.3, 1.5, at=(x, 0, z)) for x in (-0.8, 0.8) for z in (-0.8, 0.8)]
    tops = [cylinder(RED, 0.38, 0.6, top=0, at=(x, 1.05, z)) for x in (-0.8, 0.8) for z in (-0.8, 0.8)]
    walls = [box(STONE, (1.6, 0.9, 0.2), at=(0, -0.3, z)) for z in (-0.8, 0.8)] + [
        box(STONE, (0.2, 0.9, 1.6), at=(x, -0.3, 0)) for x in (-0.8, 0.8)
    ]
    teeth = [box(STONE, (0.18, 0.2, 0.2), at=(x, 0.25, z)) for x in (-0.4, 0, 0.4) for z in (-0.8, 0.8)] + [
        box(STONE, (0.2, 0.2, 0.18), at=(x, 0.25, z)) for z in (-0.4, 0, 0.4) for x in (-0.8, 0.8)
    ]
    keep = [box(STONE, (0.7, 1.5, 0.7)), cylinder(RED, 0.6, 0.6, top=0, sides=4, at=(0, 1.05, 0))]
    return join(*towers, *tops, *walls, *teeth, *keep, box(BROWN, (0.45, 0.6, 0.04), at=(0, -0.45, 0.91)))


def _lighthouse() -> Mesh:
    bands = [
        cylinder(RED if n % 2 else WHITE, 0.5 - 0.06 * n, 0.36, top=0.44 - 0.06 * n, at=(0, -0.9 + 0.36 * n, 0))
        for n in range(5)
    ]
    return join(
        *bands,
        cylinder(DARK, 0.34, 0.08, at=(0, 0.76, 0)),
        cylinder(YELLOW, 0.18, 0.3, at=(0, 0.94, 0)),
        cylinder(RED, 0.28, 0.3, top=0, at=(0, 1.23, 0)),
        cylinder(STONE, 0.8, 0.2, at=(0, -1.15, 0)),
    )


def _windmill() -> Mesh:
    sail = [(0.04, 0.1), (0.3, 0.25), (0.3, 1.15), (0.04, 1.15)]
    sails = [moved(slab(WHITE, sail, 0.05), at=(0, 0.6, 0.52), turn=(0, 0, 0.5 + n * PI / 2)) for n in range(4)]
    return join(
        cylinder((0.75, 0.5, 0.35), 0.6, 1.7, top=0.38, at=(0, -0.3, 0)),
        cylinder(BROWN, 0.5, 0.5, top=0, at=(0, 0.8, 0)),
        *sails,
        ball(DARK, 0.12, at=(0, 0.6, 0.54)),
        box(BROWN, (0.3, 0.5, 0.1), at=(0, -0.9, 0.56)),
    )


def _igloo() -> Mesh:
    dome = turned((0.93, 0.96, 1), [*((math.sin(a), math.cos(a)) for a in (n * PI / 24 for n in range(13))), (0, 0)])
    rings = [
        tube(SKY, [(r * math.cos(a), h, r * math.sin(a)) for a in (n * PI / 16 for n in range(32))], 0.016, closed=True)
        for r, h in ((0.97, 0.25), (0.86, 0.51), (0.64, 0.77))
    ]
    tunnel = cylinder((0.86, 0.92, 0.99), 0.42, 1, at=(0, 0, 0.75), turn=(PI / 2, 0, 0))
    return join(dome, tunnel, cylinder(DARK, 0.31, 0.04, at=(0, 0.02, 1.25), turn=(PI / 2, 0, 0)), *rings)


def _tree() -> Mesh:
    crown = [
        ball(GREEN, r, at=at)
        for r, at in (
            (0.62, (0, 0.55, 0)),
            (0.48, (0.5, 0.25, 0.1)),
            (0.48, (-0.48, 0.25, 0.12)),
            (0.46, (0.05, 0.2, -0.5)),
            (0.44, (0, 0.2, 0.5)),
        )
    ]
    return join(cylinder(BROWN, 0.2, 1.2, top=0.15, at=(0, -0.6, 0)), *crown)


def _pine_tree() -> Mesh:
    cones = [cylinder(DARK_GREEN, r, 0.8, top=0, at=(0, y, 0)) for r, y in ((0.75, -0.3), (0.6, 0.15), (0.43, 0.6))]
    return join(cylinder(BROWN, 0.14, 0.5, at=(0, -0.9, 0)), *cones)


def _cactus() -> Mesh:
    arms = [
        tube(
            GREEN,
            [(s * 0.2, y, 0), (s * 0.4, y, 0), *arc(0.2, -PI / 2, 0, 8, at=(0.42, y + 0.2, 0)), (0.62, y + 0.6, 0)],
            0.14,
        )
        for s, y in ((1, -0.1),)
    ]
    left = [moved(arm, at=(0, -0.25, 0), turn=(0, PI, 0)) for arm in arms]
    return join(
        tube(GREEN, [(0, -0.6, 0), (0, 0.8, 0)], 0.24, sides=16),
        *arms,
        *left,
        cylinder((0.75, 0.4, 0.25), 0.34, 0.45, top=0.44, at=(0, -0.75, 0)),
    )


def _mushroom() -> Mesh:
    cap = turned(
        RED,
        [(0.95 * math.sin(a), 0.8 * math.cos(a)) for a in (n * PI / 24 for n in range(13))] + [(0.95, 0), (0.2, -0.05)],
    )
    around = [(0.5, n * 2 * PI / 5) for n in range(5)] + [(1.05, 0.6 + n * 2 * PI / 7) for n in range(7)] + [(0, 0)]
    spots = [
        ball(WHITE, 0.13, at=(0.93 * math.sin(t) * math.sin(a), 0.78 * math.cos(t), 0.93 * math.sin(t) * math.cos(a)))
        for t, a in around
    ]
    return join(cap, *spots, cylinder((0.96, 0.92, 0.8), 0.34, 0.95, top=0.26, at=(0, -0.45, 0)))


OUTDOORS: dict[str, Callable[[], Mesh]] = {
    "house": _house,
    "castle": _castle,
    "lighthouse": _lighthouse,
    "windmill": _windmill,
    "igloo": _igloo,
    "tree": _tree,
    "pine tree": _pine_tree,
    "cactus": _cactus,
    "mushroom": _mushroom,
}
