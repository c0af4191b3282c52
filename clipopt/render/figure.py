"""The figure that a skeleton moves: coloured capsules, and a ground on which it throws a soft shadow.

Drawn by `clipopt.render.draw`, like every mesh.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipopt.geometry.camera import Cameras, look_at, orbit
from clipopt.geometry.mesh import Edges, Mesh, find_edges
from clipopt.geometry.skeleton import JOINTS, Skeleton, default_skeleton, forward_kinematics, joint_rotations
from clipopt.render.draw import draw
from clipopt.render.shade import Light
from clipopt.types import Images

PARTS = ("skin", "hair", "shirt", "trousers", "shoes", "eyes")
"""What has a colour of its own."""
_FINE, _COARSE = (8, 2), (6, 1)  # sides of a capsule, rings of each of its ends
_FOCAL = 0.62  # opening angle of `cameras`, radians


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


@dataclass(frozen=True)
class Posed:
    """A figure in some frames.

    Attributes:
        joints: Where its joints are, metres.
        turns: How they are turned in the world.
    """

    joints: Float[Tensor, "f 22 3"]
    turns: Float[Tensor, "f 22 3 3"]

    def __len__(self) -> int:
        return len(self.joints)

    def __getitem__(self, which: Tensor | slice) -> "Posed":
        return Posed(self.joints[which], self.turns[which])


def pose(
    angles: Float[Tensor, "f a"], root: Float[Tensor, "f 6"], skeleton: Skeleton | None = None, skin: Skin | None = None
) -> Posed:
    """The figure bent by `angles`, put on the ground: its lowest point lies `lift` above it, and never below.

    Args:
        angles: Of `FREEDOMS`, radians.
        root: As in `joint_rotations`: x, lift, z, yaw, pitch, roll.
        skeleton: The bones; None: the project's own.
        skin: What touches the ground; None: the project's own.
    """
    skin = skin or default_skin()
    rotations = joint_rotations(angles, root)
    flat = root[:, :3] * torch.tensor([1.0, 0, 1]).to(root)
    joints, turns = forward_kinematics(skeleton or default_skeleton(), rotations, flat)
    carriers, places = skin.contacts
    spots = joints[:, carriers] + (turns[:, carriers] @ places.to(joints)[..., None])[..., 0]
    bottom = (spots[..., 1] - skin.radius.to(joints)).amin(1)
    up = torch.stack([torch.zeros_like(bottom), root[:, 1].clamp_min(0) - bottom, torch.zeros_like(bottom)], -1)
    return Posed(joints + up[:, None], turns)


def surface(posed: Posed, frame: int, clothes: Clothes, *, ground: bool = True, skin: Skin | None = None) -> Mesh:
    """The mesh of one frame, differentiable in the joints; with `ground`, on a floor with its shadow."""
    skin = skin or default_skin()
    joints, turns = posed.joints[frame], posed.turns[frame]
    points = joints[skin.joint] + (turns[skin.joint] @ skin.vertices.to(joints)[..., None])[..., 0]
    figure = Mesh(points, skin.faces, clothes.parts.to(joints)[skin.part], edges=skin.edges)
    return _with_floor(figure, joints, clothes.ground) if ground else figure


@cache
def _floor(cells: int = 18, reach: float | int = 1.7) -> tuple[Tensor, Tensor]:
    line = torch.linspace(-reach, reach, cells + 1)
    z, x = torch.meshgrid(line, line, indexing="ij")
    points = torch.stack([x, torch.zeros_like(x), z], -1).reshape(-1, 3)
    row, column = torch.meshgrid(torch.arange(cells), torch.arange(cells), indexing="ij")
    a = (row * (cells + 1) + column).reshape(-1)
    b, c, d = a + 1, a + cells + 1, a + cells + 2
    return points, torch.cat([torch.stack([a, c, d], 1), torch.stack([a, d, b], 1)])


@cache
def _joined(figure: int) -> tuple[Tensor, Edges]:
    faces = torch.cat([default_skin().faces, _floor()[1] + figure])
    return faces, find_edges(faces)


def _with_floor(figure: Mesh, joints: Tensor, color: Tensor) -> Mesh:
    points, corners = _floor()
    centre = joints[0].detach() * torch.tensor([1.0, 0, 1]).to(joints)
    floor = points.to(joints) + centre
    near = (floor[:, None, [0, 2]] - joints[None, :, [0, 2]]).square().sum(-1)
    # Dark below what is near to the ground: the contact is seen, height softens it.
    weight = torch.exp(-joints[:, 1].clamp_min(0) / 0.35)
    shade = 1 - 0.6 * (1 - torch.exp(-(weight * torch.exp(-near / 0.03)).sum(1)))
    fade = (1 - ((floor - centre).norm(dim=1) / 1.7).clamp(0, 1) ** 4)[:, None]
    colors = color.to(joints) * torch.lerp(torch.ones_like(shade), shade, fade[:, 0])[:, None]
    if figure.faces is default_skin().faces:
        faces, edges = _joined(len(figure.vertices))
    else:
        faces = torch.cat([figure.faces, corners.to(figure.faces.device) + len(figure.vertices)])
        edges = find_edges(faces)
    own = torch.full_like(figure.vertices, 0.7) if figure.colors is None else figure.colors
    return replace(
        figure,
        vertices=torch.cat([figure.vertices, floor]),
        faces=faces,
        colors=torch.cat([own, colors]),
        edges=edges,
    )


def cameras(
    azimuth: Float[Tensor, " b"],
    elevation: Float[Tensor, " b"],
    target: Float[Tensor, "b 3"],
    *,
    height: float | Float[Tensor, " b"] = 2.5,
) -> Cameras:
    """Cameras that see `height` metres around `target`; azimuth 0 stands in front of a figure that faces +z."""
    tall = torch.as_tensor(height, dtype=azimuth.dtype).expand(len(azimuth))
    distance = tall / 2 / math.tan(_FOCAL / 2)
    return look_at(target + orbit(azimuth, elevation, distance), target, fov=_FOCAL, near=0.1, far=40.0)


def look(posed: Posed, *, height: float | int = 0.92) -> Float[Tensor, "f 3"]:
    """What a camera that goes along with the figure looks at: above the middle of its frames, at fixed height."""
    middle = posed.joints[:, 0].detach().clone()
    middle[:, 1] = height
    return middle


def shoot(
    posed: Posed,
    shots: Cameras,
    background: Images,
    clothes: Clothes,
    *,
    ground: bool = True,
    lamp: Float[Tensor, "f 3"] | None = None,
    skin: Skin | None = None,
) -> Images:
    """One picture of every frame, each by its own camera; differentiable in the figure.

    Args:
        posed: The frames.
        shots: One camera each.
        background: One or one each; its size is the picture's.
        clothes: The colours.
        ground: Whether there is a floor with a shadow.
        lamp: Unit vector to the lamp, of each frame; None: above the camera.
        skin: The surface; None: the project's own, fine.

    Raises:
        ValueError: If the number of cameras is not that of the frames.
    """
    if len(shots) != len(posed):
        raise ValueError(f"expected one camera for each of {len(posed)} frames, got {len(shots)}")
    pictures = []
    for frame in range(len(posed)):
        part = slice(frame, frame + 1)
        back = background[part] if len(background) > 1 else background
        if lamp is None:
            toward = shots.eye[part] - posed.joints[frame, :1].detach()
            toward = torch.nn.functional.normalize(toward, dim=-1) + torch.tensor([[0.0, 0.7, 0.0]]).to(toward)
            toward = torch.nn.functional.normalize(toward, dim=-1)
        else:
            toward = lamp[part]
        mesh = surface(posed, frame, clothes, ground=ground, skin=skin)
        pictures.append(draw(mesh, shots[part], back, light=Light(toward, 0.6)))
    return torch.cat(pictures)
