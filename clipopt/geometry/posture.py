"""Posture of a figure: whether it would fall over, whether its legs cross, whether it is upside down."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.geometry.skeleton import JOINTS

_MASSES = {  # shares of the body's mass, of each side where there are two; Winter (2009), table 4.1, halved at joints
    "pelvis": 0.14, "spine1": 0.10, "spine2": 0.10, "spine3": 0.16, "neck": 0.02, "head": 0.06, "hip": 0.05,
    "knee": 0.0735, "ankle": 0.0235, "foot": 0.014, "collar": 0.0, "shoulder": 0.014, "elbow": 0.025, "wrist": 0.011,
}  # fmt: skip
_NEAR = 0.12  # a joint below it carries, metres
_SOLE = 0.06  # what carries reaches so much further than its joint, metres
_APART = 0.08  # of knees and of ankles of who stands, metres
_DIRECTIONS = 16


def balance_point(joints: Float[Tensor, "*b 22 3"]) -> Float[Tensor, "*b 3"]:
    """The centre of mass, metres.

    Reference:
        Winter, "Biomechanics and motor control of human movement", 4th edition (2009), table 4.1.
    """
    masses = torch.tensor([_MASSES[name.removeprefix("left_").removeprefix("right_")] for name in JOINTS]).to(joints)
    return (joints * (masses / masses.sum())[:, None]).sum(-2)


def imbalance(joints: Float[Tensor, "*b 22 3"]) -> Float[Tensor, "*b"]:
    """How far the centre of mass of who stands lies outside of what carries it, seen from above, metres.

    0 in balance, in the air, and of who sits, kneels or lies. Joints near to the ground carry, whichever they are;
    their hull is taken by its extent in sixteen directions.
    """
    angle = torch.arange(_DIRECTIONS).to(joints) * (2 * math.pi / _DIRECTIONS)
    ways = torch.stack([angle.cos(), angle.sin()])
    carries = torch.sigmoid((_NEAR - joints[..., 1]) / 0.015)
    extent = joints[..., [0, 2]] @ ways + 0.05 * carries.clamp_min(1e-9).log()[..., None]
    out = balance_point(joints)[..., [0, 2]] @ ways - extent.amax(-2) - _SOLE
    return out.amax(-1).clamp_min(0) * carries.amax(-1) * _stands(joints)


def crossing(joints: Float[Tensor, "*b 22 3"]) -> Float[Tensor, "*b"]:
    """How much the knees and ankles of who stands come closer than 8 cm or past each other, metres; 0 of who sits."""

    def at(name: str) -> Tensor:
        return joints[..., JOINTS.index(name), :]

    across = torch.nn.functional.normalize(at("left_hip") - at("right_hip"), dim=-1)
    gaps = [((at(f"left_{part}") - at(f"right_{part}")) * across).sum(-1) for part in ("knee", "ankle")]
    return _stands(joints) * torch.stack([(_APART - gap).clamp_min(0) for gap in gaps]).sum(0)


def overturned(joints: Float[Tensor, "*b 22 3"]) -> Float[Tensor, "*b"]:
    """How far both ankles are above the head, metres; 0 where one is not."""
    ankles = [joints[..., JOINTS.index(f"{side}_ankle"), 1] for side in ("left", "right")]
    return (torch.minimum(*ankles) - joints[..., JOINTS.index("head"), 1]).clamp_min(0)


def _stands(joints: Float[Tensor, "*b 22 3"]) -> Float[Tensor, "*b"]:
    """Whether the pelvis is as high as of who stands, 0 to 1."""
    return torch.sigmoid((joints[..., JOINTS.index("pelvis"), 1] - 0.65) / 0.04)
