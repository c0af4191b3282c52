"""Simple forms to compose meshes of: balls, boxes, turned profiles, tubes and slabs, each in one colour.

    wood = (0.55, 0.35, 0.2)
    legs = [box(wood, (0.1, 0.9, 0.1), at=(x, -0.5, z)) for x in (-0.6, 0.6) for z in (-0.4, 0.4)]
    table = join(*legs, box(wood, (1.5, 0.1, 1.1)))

y is up. Corners that are sharp have vertices of their own, so that smooth shading keeps them.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.geometry.mesh import Mesh

Number = int | float
Point = tuple[Number, Number, Number]
Colour = tuple[Number, Number, Number]


def _mesh(colour: Colour, vertices: Tensor, faces: Tensor, at: Point = (0, 0, 0), turn: Point = (0, 0, 0)) -> Mesh:
    moved = vertices.double() @ _rotation(turn).T + torch.tensor(at, dtype=torch.float64)
    return Mesh(moved.float(), faces.long(), torch.tensor(colour).float().expand(len(moved), 3).contiguous())


def _rotation(turn: Point) -> Float[Tensor, "3 3"]:
    """Turned about x, then about y, then about z; radians."""
    matrix = torch.eye(3, dtype=torch.float64)
    for axis, angle in enumerate(turn):
        one = torch.eye(3, dtype=torch.float64)
        i, j = (axis + 1) % 3, (axis + 2) % 3
        one[i, i] = one[j, j] = math.cos(angle)
        one[i, j], one[j, i] = -math.sin(angle), math.sin(angle)
        matrix = one @ matrix
    return matrix


def _grid(rows: int, columns: int, *, closed: bool) -> Tensor:
    """Triangles between neighbouring rows and columns of a grid of vertices; `closed`: the last row meets the first."""
    r = torch.arange(rows if closed else rows - 1)[:, None] * columns
    below = ((torch.arange(rows if closed else rows - 1)[:, None] + 1) % rows) * columns
    c, right = torch.arange(columns), (torch.arange(columns) + 1) % columns
    a, b, d, e = r + c, r + right, below + c, below + right
    return torch.stack([torch.stack([a, d, b], -1), torch.stack([b, d, e], -1)]).reshape(-1, 3)


def turned(
    colour: Colour,
    profile: Sequence[tuple[Number, Number]],
    *,
    at: Point = (0, 0, 0),
    turn: Point = (0, 0, 0),
    sides: int = 28,
    flat: bool = False,
) -> Mesh:
    """A profile turned about the y axis.

    Args:
        colour: Its colour, in [0, 1].
        profile: Points (radius, height), from the top down for a surface that faces outward; a point that stands
            twice makes a sharp edge.
        at: Where its origin lies.
        turn: Angles about x, y and z, one after the other, radians.
        sides: Corners of each round; 4 makes a pyramid of a cone.
        flat: Whether these corners are sharp.
    """
    angle = 2 * math.pi * (torch.arange(sides, dtype=torch.float64) + (0.5 if sides < 8 else 0)) / sides
    points = torch.tensor(profile, dtype=torch.float64)
    radius, height = points[:, :1], points[:, 1:].expand(-1, sides)
    vertices = torch.stack([radius * angle.sin(), height, radius * angle.cos()], -1).reshape(-1, 3)
    faces = _grid(len(points), sides, closed=False)
    corners = vertices[faces]
    area = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).norm(dim=1)
    faces = faces[area > 1e-9]
    if flat:
        vertices, faces = vertices[faces].reshape(-1, 3), torch.arange(3 * len(faces)).view(-1, 3)
    return _mesh(colour, vertices, faces, at, turn)


def ball(colour: Colour, radius: Number | Point = 1.0, *, at: Point = (0, 0, 0), turn: Point = (0, 0, 0)) -> Mesh:
    """A ball, or with three radii an ellipsoid."""
    radii = (radius,) * 3 if isinstance(radius, (int, float)) else radius
    angle = torch.linspace(0, math.pi, 15, dtype=torch.float64)
    made = turned(colour, [(float(a.sin()), float(a.cos())) for a in angle])
    return _mesh(colour, made.vertices * torch.tensor(radii), made.faces, at, turn)


def cylinder(
    colour: Colour,
    radius: Number,
    height: Number,
    *,
    top: Number | None = None,
    at: Point = (0, 0, 0),
    turn: Point = (0, 0, 0),
    sides: int = 28,
) -> Mesh:
    """An upright cylinder around its middle; with a radius `top` of its upper end, a cone or its stump."""
    upper, half = radius if top is None else top, height / 2
    profile = [(0, half), (upper, half), (upper, half), (radius, -half), (radius, -half), (0, -half)]
    return turned(colour, profile, at=at, turn=turn, sides=sides, flat=sides < 8)


def box(colour: Colour, size: Point, *, at: Point = (0, 0, 0), turn: Point = (0, 0, 0)) -> Mesh:
    """A box around its middle."""
    x, y, z = (s / 2 for s in size)
    return slab(colour, [(-x, -y), (x, -y), (x, y), (-x, y)], 2 * z, at=at, turn=turn)


def slab(
    colour: Colour,
    outline: Sequence[tuple[Number, Number]],
    depth: Number,
    *,
    at: Point = (0, 0, 0),
    turn: Point = (0, 0, 0),
) -> Mesh:
    """An outline in the xy plane, counter-clockwise and seen whole from its mean, as thick as `depth` along z."""
    flat = torch.tensor(outline, dtype=torch.float64)
    count = len(flat)
    ring = torch.arange(count)
    after = (ring + 1) % count
    vertices: list[Tensor] = []
    faces: list[Tensor] = []
    for z, (left, right) in ((depth / 2, (ring, after)), (-depth / 2, (after, ring))):
        side = torch.cat([flat, flat.mean(0, keepdim=True)])
        faces.append(torch.stack([torch.full_like(ring, count), left, right], 1) + (count + 1) * len(vertices))
        vertices.append(torch.cat([side, torch.full((count + 1, 1), z, dtype=torch.float64)], 1))
    front, back = vertices[0][:count], vertices[1][:count]
    start = 2 * (count + 1) + 4 * ring
    vertices.append(torch.stack([front, back, back[after], front[after]], 1).reshape(-1, 3))
    faces += [torch.stack([start, start + 1, start + 2], 1), torch.stack([start, start + 2, start + 3], 1)]
    return _mesh(colour, torch.cat(vertices), torch.cat(faces), at, turn)


def tube(
    colour: Colour,
    path: Sequence[Point],
    radius: Number | Sequence[Number],
    *,
    closed: bool = False,
    sides: int = 12,
    at: Point = (0, 0, 0),
    turn: Point = (0, 0, 0),
) -> Mesh:
    """A round tube along a path that lies in a plane, with a radius at each of its points, rounded off at its ends."""
    points = torch.tensor(path, dtype=torch.float64)
    radii = torch.tensor([radius] * len(points) if isinstance(radius, (int, float)) else radius, dtype=torch.float64)
    if not closed:  # an end is three more rings, which close it like half a ball
        ends = []
        for end, before in ((0, 1), (-1, -2)):
            out = torch.nn.functional.normalize(points[end] - points[before], dim=0)
            bend = torch.tensor([math.pi / 6, math.pi / 3, math.pi / 2], dtype=torch.float64)
            rings = points[end] + radii[end] * bend.sin()[:, None] * out
            ends.append((rings, radii[end] * bend.cos()))
        (first, small), (last, tiny) = ends
        points, radii = torch.cat([first.flip(0), points, last]), torch.cat([small.flip(0), radii, tiny])
        along = torch.cat([points[1:2] - points[:1], points[2:] - points[:-2], points[-1:] - points[-2:-1]])
    else:
        along = points.roll(-1, 0) - points.roll(1, 0)
    along = torch.nn.functional.normalize(along, dim=1)
    planes = torch.linalg.svd(points - points.mean(0)).Vh
    aside = planes[-1].expand_as(along)
    up = torch.linalg.cross(along, aside)
    angle = 2 * math.pi * torch.arange(sides, dtype=torch.float64) / sides
    round_ = angle.cos()[:, None] * aside[:, None] + angle.sin()[:, None] * up[:, None]
    vertices = (points[:, None] + radii[:, None, None] * round_).reshape(-1, 3)
    return _mesh(colour, vertices, _grid(len(points), sides, closed=closed).flip(1), at, turn)


def arc(radius: Number, start: Number, end: Number, count: int = 16, *, at: Point = (0, 0, 0)) -> list[Point]:
    """Points of an arc in the xy plane between two angles from the x axis, radians."""
    angles = [start + (end - start) * n / (count - 1) for n in range(count)]
    return [(at[0] + radius * math.cos(a), at[1] + radius * math.sin(a), at[2]) for a in angles]


def moved(mesh: Mesh, at: Point = (0, 0, 0), turn: Point = (0, 0, 0), scale: Number | Point = 1.0) -> Mesh:
    """A mesh scaled, then turned, then moved."""
    factors = (scale,) * 3 if isinstance(scale, (int, float)) else scale
    vertices = (mesh.vertices.double() * torch.tensor(factors, dtype=torch.float64)) @ _rotation(turn).T
    return Mesh((vertices + torch.tensor(at, dtype=torch.float64)).float(), mesh.faces, mesh.colors)


def join(*parts: Mesh) -> Mesh:
    """Coloured meshes as one; where they reach into each other nothing is cut away."""
    shifts = [0]
    for part in parts:
        shifts.append(shifts[-1] + len(part.vertices))
    return Mesh(
        torch.cat([part.vertices for part in parts]),
        torch.cat([part.faces + shift for part, shift in zip(parts, shifts, strict=False)]),
        torch.cat([part.colors for part in parts if part.colors is not None]),
    )
