"""The body of the figure that a skeleton moves: capsules bound to joints, and the colours of their parts."""

import math
from dataclasses import dataclass
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipopt.geometry.mesh import Edges, find_edges
from clipopt.geometry.skeleton import JOINTS

PARTS = ("skin", "hair", "shirt", "trousers", "shoes", "eyes")
"""What has a colour of its own."""


_FINE, _COARSE = (8, 2), (6, 1)  # sides of a capsule, rings of each of its ends


def _capsules() -> tuple[tuple[str, tuple[float, float, float], tuple[float, float, float], float, str], ...]:
    """Joint, both ends from it, radius, part."""
    made = [
        ("pelvis", (0.07, -0.02, 0.0), (-0.07, -0.02, 0.0), 0.105, "trousers"),
        ("spine1", (0.03, 0.02, 0.0), (-0.03, 0.02, 0.0), 0.128, "shirt"),
        ("spine2", (0.04, 0.03, 0.0), (-0.04, 0.03, 0.0), 0.135, "shirt"),
        ("spine3", (0.08, 0.07, 0.0), (-0.08, 0.07, 0.0), 0.125, "shirt"),
        ("neck", (0.0, -0.02, 0.0), (0.0, 0.08, 0.01), 0.05, "skin"),
        ("head", (0.0, 0.06, 0.015), (0.0, 0.11, 0.015), 0.115, "skin"),
        ("head", (0.0, 0.115, -0.02), (0.0, 0.1, -0.03), 0.117, "hair"),
        ("head", (0.0, 0.065, 0.12), (0.0, 0.045, 0.145), 0.022, "skin"),
        ("head", (0.045, 0.095, 0.112), (0.045, 0.1, 0.112), 0.017, "eyes"),
        ("head", (-0.045, 0.095, 0.112), (-0.045, 0.1, 0.112), 0.017, "eyes"),
    ]
    for side, s in (("left", 1.0), ("right", -1.0)):
        made += [
            (f"{side}_hip", (0.0, 0.0, 0.0), (0.0, -0.41, 0.0), 0.082, "trousers"),
            (f"{side}_knee", (0.0, 0.0, 0.0), (0.0, -0.37, 0.0), 0.064, "trousers"),
            (f"{side}_ankle", (0.0, -0.015, -0.03), (0.0, -0.02, 0.15), 0.056, "shoes"),
            (f"{side}_collar", (0.02 * s, 0.0, 0.0), (0.12 * s, 0.0, 0.0), 0.068, "shirt"),
            (f"{side}_shoulder", (0.0, 0.0, 0.0), (0.25 * s, 0.0, 0.0), 0.06, "shirt"),
            (f"{side}_elbow", (0.0, 0.0, 0.0), (0.23 * s, 0.0, 0.0), 0.052, "skin"),
            (f"{side}_wrist", (0.02 * s, 0.0, 0.0), (0.085 * s, 0.0, 0.0), 0.06, "skin"),
        ]
    return tuple(made)


@dataclass(frozen=True)
class Skin:
    """A surface bound to joints.

    Attributes:
        vertices: Where each lies from its joint, at rest.
        joint: The joint that carries each vertex.
        faces: The triangles.
        part: Index into `PARTS` of each vertex.
        contacts: Points that can touch the ground: joint and place from it.
        radius: How far the surface reaches around each of these points.
        edges: Those of `faces`.
    """

    vertices: Float[Tensor, "v 3"]
    joint: Int[Tensor, " v"]
    faces: Int[Tensor, "f 3"]
    part: Int[Tensor, " v"]
    contacts: tuple[Int[Tensor, " c"], Float[Tensor, "c 3"]]
    radius: Float[Tensor, " c"]
    edges: Edges


def default_skin() -> Skin:
    """The surface of the project's own figure: about 1500 triangles."""
    return _skin(*_FINE)


def coarse_skin() -> Skin:
    """The same with a third of the triangles: at the 64 pixels that a scorer sees, it looks the same."""
    return _skin(*_COARSE)


@cache
def _skin(sides: int, rings: int) -> Skin:
    vertices, joints, faces, parts = [], [], [], []
    touch: tuple[list[int], list[tuple[float, float, float]], list[float]] = ([], [], [])
    base = 0
    for name, start, end, radius, part in _capsules():
        points, corners = _capsule(torch.tensor(start), torch.tensor(end), radius, sides, rings)
        vertices.append(points)
        faces.append(corners + base)
        joints.append(torch.full((len(points),), JOINTS.index(name)))
        parts.append(torch.full((len(points),), PARTS.index(part)))
        base += len(points)
        if part != "eyes":
            for place in (start, end):
                touch[0].append(JOINTS.index(name))
                touch[1].append(place)
                touch[2].append(radius)
    triangles = torch.cat(faces)
    return Skin(
        torch.cat(vertices), torch.cat(joints), triangles, torch.cat(parts),
        (torch.tensor(touch[0]), torch.tensor(touch[1])), torch.tensor(touch[2]), find_edges(triangles),
    )  # fmt: skip


def _capsule(start: Tensor, end: Tensor, radius: float | int, sides: int, ends: int) -> tuple[Tensor, Tensor]:
    along = end - start
    length = along.norm()
    axis = along / length
    aside = torch.tensor([0.0, 1, 0]) if axis[1].abs() < 0.9 else torch.tensor([1.0, 0, 0])
    u = torch.nn.functional.normalize(torch.linalg.cross(aside, axis), dim=0)
    v = torch.linalg.cross(axis, u)
    turn = 2 * math.pi * torch.arange(sides) / sides
    around = turn.cos()[:, None] * u + turn.sin()[:, None] * v
    points = [(start - radius * axis)[None]]
    for place, steps in ((start, range(ends)), (end, range(ends))):
        sign = -1 if place is start else 1
        for step in steps:
            lift = math.pi / 2 * ((ends - 1 - step) if sign < 0 else step) / ends
            points.append(place + sign * radius * math.sin(lift) * axis + radius * math.cos(lift) * around)
    points.append((end + radius * axis)[None])
    rings = 2 * ends
    corners = [[0, 1 + (i + 1) % sides, 1 + i] for i in range(sides)]
    for ring in range(rings - 1):
        low, high = 1 + ring * sides, 1 + (ring + 1) * sides
        for i in range(sides):
            j = (i + 1) % sides
            corners += [[low + i, low + j, high + j], [low + i, high + j, high + i]]
    last, top = 1 + (rings - 1) * sides, 1 + rings * sides
    corners += [[top, last + i, last + (i + 1) % sides] for i in range(sides)]
    return torch.cat(points), torch.tensor(corners)


@dataclass(frozen=True)
class Clothes:
    """Colours of `PARTS` and of the ground, each in [0, 1]."""

    parts: Float[Tensor, "6 3"]
    ground: Float[Tensor, " 3"]


def default_clothes() -> Clothes:
    """A red shirt, blue trousers, on a light ground."""
    parts = [[0.93, 0.74, 0.6], [0.3, 0.19, 0.12], [0.85, 0.2, 0.18], [0.18, 0.3, 0.66], [0.16, 0.15, 0.17], [0.08] * 3]
    return Clothes(torch.tensor(parts), torch.tensor([0.78, 0.8, 0.77]))
