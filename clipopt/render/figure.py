"""The figure that a skeleton moves: coloured capsules, and a ground on which it throws a soft shadow.

Drawn by `clipopt.render.draw`, like every mesh.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.geometry.body import (
    Clothes,
    Skin,
    default_skin,
)
from clipopt.geometry.camera import Cameras, look_at, orbit
from clipopt.geometry.mesh import Edges, Mesh, find_edges
from clipopt.geometry.skeleton import Skeleton, default_skeleton, forward_kinematics, joint_rotations
from clipopt.render.draw import draw
from clipopt.render.shade import Light
from clipopt.types import Images

_FOCAL = 0.62  # opening angle of `cameras`, radians


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
