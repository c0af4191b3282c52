"""Feet on the ground: where they touch it, how they slide, and how the figure travels by them."""

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.geometry.skeleton import JOINTS

FEET = tuple(JOINTS.index(name) for name in ("left_ankle", "right_ankle", "left_foot", "right_foot"))
"""The joints of the feet: both ankles, both balls."""
LEVELS = (0.076, 0.076, 0.026, 0.026)
"""Height of these joints when a foot stands flat, metres."""
NEAR = 0.025
"""A joint of a foot touches the ground where it is less than this above its level, metres."""


def touching(joints: Float[Tensor, "f 22 3"], near: float | int = NEAR) -> Float[Tensor, "f 4"]:
    """How much each joint of the feet touches the ground in each frame: 1 on it, 0.5 at `near`, 0 above."""
    above = joints[:, FEET, 1] - torch.tensor(LEVELS).to(joints)
    return torch.sigmoid((near - above) / (near / 5))


def slides(joints: Float[Tensor, "f 22 3"], fps: float | int) -> Float[Tensor, "f-1 4"]:
    """Horizontal speed of the joints of the feet from frame to frame, metres per second."""
    moved = joints[1:, FEET][..., [0, 2]] - joints[:-1, FEET][..., [0, 2]]
    return (moved.square().sum(-1) + 1e-12).sqrt() * fps


def foot_skate(joints: Float[Tensor, "f 22 3"], fps: float | int) -> float:
    """Mean horizontal speed of feet while they touch the ground, in cm/s; 0 where none ever does.

    A joint of a foot touches the ground where it lies less than 2.5 cm above its level in two frames in a row.
    """
    with torch.no_grad():
        above = joints[:, FEET, 1] - torch.tensor(LEVELS).to(joints) < NEAR
        both = above[1:] & above[:-1]
        speeds = slides(joints, fps)[both]
        return float(speeds.mean()) * 100 if len(speeds) else 0.0


def travel(spots: Float[Tensor, "f c 3"], heights: Float[Tensor, "f c"]) -> Float[Tensor, "f 2"]:
    """How a figure must go in x and z, so that what touches the ground stays where it is; from 0 on.

    Args:
        spots: Points of the figure, such as its feet, where it does not travel.
        heights: How high each lies above the ground, metres.
    """
    high = heights.clamp_min(0)
    both = torch.exp(-(high[1:] + high[:-1]) / 0.024)  # no root: its slope at 0 would be infinite
    moved = (spots[1:] - spots[:-1])[..., [0, 2]]
    step = -(both[..., None] * moved).sum(1) / both.sum(1, keepdim=True).clamp_min(0.05)
    return torch.cat([torch.zeros_like(step[:1]), step.cumsum(0)])


def jerk(joints: Float[Tensor, "f 22 3"], fps: float | int) -> float:
    """Mean change of acceleration of the joints, m/s^3."""
    with torch.no_grad():
        if len(joints) < 4:
            return 0.0
        return float(joints.diff(n=3, dim=0).norm(dim=-1).mean()) * fps**3
