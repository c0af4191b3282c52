"""Cameras: where they stand and what they see.

y is up, systems are right-handed, a camera looks along its own -z axis with +x to its right. Clip space is OpenGL's:
what is seen has -w <= x, y, z <= w, and w is the distance along the view direction.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

#: Vertical opening angle unless another is asked for, radians.
FOV = math.radians(50)

# Of a view direction that is this near to vertical, "up" has no meaning.
_VERTICAL = 1e-4


@dataclass(frozen=True)
class Cameras:
    """A batch of cameras.

    Attributes:
        matrix: World to clip space, for columns (x, y, z, 1).
        eye: Where each camera stands.
    """

    matrix: Float[Tensor, "b 4 4"]
    eye: Float[Tensor, "b 3"]

    def __len__(self) -> int:
        return len(self.matrix)

    def __getitem__(self, index: slice) -> "Cameras":
        return Cameras(self.matrix[index], self.eye[index])

    def to(self, device: torch.device | str) -> "Cameras":
        """The same cameras on another device."""
        return Cameras(self.matrix.to(device), self.eye.to(device))

    def project(self, points: Float[Tensor, "v 3"]) -> Float[Tensor, "b v 4"]:
        """Clip coordinates of world points in every camera."""
        linear, shift = self.matrix[..., :3], self.matrix[..., 3]
        return points @ linear.mT + shift[:, None]


def orbit(
    azimuth: Float[Tensor, " b"], elevation: Float[Tensor, " b"], distance: Float[Tensor, " b"]
) -> Float[Tensor, "b 3"]:
    """Points around the origin: azimuth 0 lies at +z, the front, and pi / 2 at +x; elevation pi / 2 lies above."""
    level = elevation.cos()
    return distance[:, None] * torch.stack([level * azimuth.sin(), elevation.sin(), level * azimuth.cos()], -1)


def look_at(
    eye: Float[Tensor, "b 3"],
    target: Float[Tensor, "#b 3"] | None = None,
    *,
    fov: float | Float[Tensor, " b"] = FOV,
    aspect: float = 1.0,
    near: float = 0.05,
    far: float = 50.0,
) -> Cameras:
    """Cameras at `eye` that look at `target`, upright.

    Args:
        eye: Where they stand.
        target: What they look at; None: the origin.
        fov: Vertical opening angle, radians.
        aspect: Width of the picture over its height.
        near: Nothing nearer than this is seen.
        far: The depth is resolved up to here; what lies beyond is still drawn.

    Raises:
        ValueError: If 0 < near < far or 0 < fov < pi does not hold, or if an eye stands on its target.
    """
    opening = torch.as_tensor(fov, dtype=eye.dtype, device=eye.device).expand(len(eye))
    if not 0 < near < far or not bool(((opening > 0) & (opening < math.pi)).all()):
        raise ValueError(f"expected 0 < near < far and 0 < fov < pi, got near={near}, far={far}, fov={fov}")
    ahead = (0 if target is None else target) - eye
    if not bool((ahead.norm(dim=-1) > 0).all()):
        raise ValueError("expected eyes apart from their targets, got a camera that stands on its target")
    ahead = F.normalize(ahead, dim=-1)
    up = torch.tensor([0.0, 1, 0], dtype=eye.dtype, device=eye.device).expand_as(ahead)
    # Straight from above, the picture's top is the back, -z; straight from below, it is the front.
    steep = ahead[:, 1:2].abs() > 1 - _VERTICAL
    level = torch.tensor([0.0, 0, 1], dtype=eye.dtype, device=eye.device) * ahead[:, 1:2].sign()
    right = F.normalize(torch.linalg.cross(ahead, torch.where(steep, level, up)), dim=-1)
    axes = torch.stack([right, torch.linalg.cross(right, ahead), -ahead], 1)
    view = torch.cat([axes, -axes @ eye[..., None]], -1)
    focal = 1 / torch.tan(opening / 2)
    zero = torch.zeros_like(focal)
    depth = zero + (far + near) / (near - far)
    rows = [
        torch.stack([focal / aspect, zero, zero, zero], -1),
        torch.stack([zero, focal, zero, zero], -1),
        torch.stack([zero, zero, depth, zero + 2 * far * near / (near - far)], -1),
        torch.stack([zero, zero, zero - 1, zero], -1),
    ]
    bottom = torch.tensor([0.0, 0, 0, 1], dtype=eye.dtype, device=eye.device).expand(len(eye), 1, 4)
    return Cameras(torch.stack(rows, 1) @ torch.cat([view, bottom], 1), eye)


def turntable(
    views: int, *, elevation: float = 0.3, distance: float = 2.8, fov: float = FOV, start: float = 0.0
) -> Cameras:
    """Cameras evenly around the origin, from azimuth `start` on; angles in radians."""
    azimuth = start + 2 * math.pi * torch.arange(views) / views
    return look_at(orbit(azimuth, torch.full((views,), elevation), torch.full((views,), distance)), fov=fov)
