"""Feet on the ground: where they touch it, how they slide, and how the figure travels by them."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clipopt.geometry.skeleton import JOINTS

FEET = tuple(JOINTS.index(name) for name in ("left_ankle", "right_ankle", "left_foot", "right_foot"))
"""The joints of the feet: both ankles, both balls."""
LEVELS = (0.076, 0.076, 0.026, 0.026)
"""Height of these joints when a foot stands flat, metres."""
NEAR = 0.025
"""A joint of a foot touches the ground where it is less than this above its level, metres."""
_GRAVITY, _REACH = 9.81, 0.06


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
    held = both.sum(1, keepdim=True)
    step = -(both[..., None] * moved).sum(1) / held.clamp_min(0.05)
    sure = held.clamp_max(1)
    step = sure * step + (1 - sure) * _around(sure * step) / _around(sure).clamp_min(0.05)  # in the air it goes on
    return torch.cat([torch.zeros_like(step[:1]), step.cumsum(0)])


def _around(values: Float[Tensor, "f c"], reach: int = 6) -> Float[Tensor, "f c"]:
    """Means over the neighbours in time."""
    padded = torch.nn.functional.pad(values.T[None], (reach, reach))
    return torch.nn.functional.avg_pool1d(padded, 2 * reach + 1, stride=1)[0].T


def jerk(joints: Float[Tensor, "f 22 3"], fps: float | int) -> float:
    """Mean change of acceleration of the joints, m/s^3."""
    with torch.no_grad():
        if len(joints) < 4:
            return 0.0
        return float(joints.diff(n=3, dim=0).norm(dim=-1).mean()) * fps**3


def fallen(lift: Float[Tensor, " f"], fps: float | int) -> Float[Tensor, " f"]:
    """A lift above the ground that gravity allows: what hangs in the air comes down, a jump becomes a parabola.

    A stretch above half of its peak that is more than three times as long as a flight of that height would be is no
    jump, nor is one of less than 4 cm.
    """
    made, rest = torch.zeros_like(lift), lift.clamp_min(0)
    seconds = torch.arange(len(lift)).to(lift) / fps
    while float(rest.max()) > 0.04:
        top = int(rest.argmax())
        height = float(rest[top])
        first = last = top
        while first > 0 and float(rest[first - 1]) > height / 2:
            first -= 1
        while last < len(rest) - 1 and float(rest[last + 1]) > height / 2:
            last += 1
        wide = (last - first + 1) / fps * (1 if first > 0 and last < len(rest) - 1 else 2)
        flight = 2 * (height / _GRAVITY) ** 0.5  # above half of the height
        centre = (first + last) / 2 / fps
        if wide <= 3 * flight:
            made = torch.maximum(made, height - _GRAVITY / 2 * (seconds - centre) ** 2)
        while first > 0 and float(rest[first - 1]) > 0.01 and float(rest[first - 1]) <= float(rest[first]):
            first -= 1
        while last < len(rest) - 1 and float(rest[last + 1]) > 0.01 and float(rest[last + 1]) <= float(rest[last]):
            last += 1
        rest = torch.cat([rest[:first], torch.zeros_like(rest[first : last + 1]), rest[last + 1 :]])
    return made


@dataclass(frozen=True)
class Footsteps:
    """Where feet stand, and when they step from place to place.

    Attributes:
        places: Where each joint of the feet stands, x and z in metres; what it holds in the air does not matter.
        stands: 1 where it stands there, else 0.
        above: How high above its level it must be where it does not stand, metres.
    """

    places: Float[Tensor, "f 4 2"]
    stands: Float[Tensor, "f 4"]
    above: Float[Tensor, "f 4"]


def footsteps(joints: Float[Tensor, "f 22 3"], fps: float | int) -> Footsteps:
    """Feet near to the ground stand still; one that slides off by more than `_REACH` takes a step instead.

    Args:
        joints: A figure that travels, its feet sliding.
        fps: Frames per second.
    """
    above = joints[:, FEET, 1] - torch.tensor(LEVELS).to(joints)
    near = above < 1.6 * NEAR
    made = Footsteps(joints[:, FEET][..., [0, 2]].clone(), torch.zeros_like(above), above.clamp(0, 2 * NEAR))
    brief, half = max(2, round(0.3 * fps)), max(1, round(0.1 * fps))
    busy = torch.zeros(len(joints), dtype=torch.bool)
    for side in (0, 1):
        own = [side, side + 2]  # ankle and ball
        at = made.places[:, own].flatten(1).clone()
        stands: list[tuple[int, int]] = []
        for first, end in _stretches(near[:, own].any(1)):
            start = first
            for now in range(first + brief, end - brief):
                off = float((at[now] - at[start : now + 1].mean(0)).abs().max())
                # Not while the other foot is in the air.
                if off > _REACH and now - start >= brief and not bool(busy[max(0, now - half) : now + half].any()):
                    stands.append((start, now))
                    start = now
            stands.append((start, end))
        places = [_place(at[start:end]) for start, end in stands]
        for number in range(1, len(stands)):
            (start, end), (again, stop) = stands[number - 1 : number + 1]
            far = float((places[number] - places[number - 1]).abs().max())
            lacks = (2 * half if far > 0.02 else 0) - (again - end)
            if lacks > 0:  # each waits for half of the time
                end, again = max(start, end - (lacks + 1) // 2), min(stop, again + (lacks + 1) // 2)
                stands[number - 1], stands[number] = (start, end), (again, stop)
                busy[end:again] = True
            if far > 0.02:
                arc = torch.linspace(0, torch.pi, again - end + 2)[1:-1].to(joints).sin()
                made.above[end:again, own] = torch.maximum(made.above[end:again, own], 0.07 * arc[:, None])
        for (start, end), place in zip(stands, places, strict=True):
            made.places[start:end, own] = place.view(2, 2)
            made.stands[start:end, own] = near[start:end, own].to(joints)
    return made


def _place(at: Float[Tensor, "f 4"]) -> Float[Tensor, " 4"]:
    """Where ankle and ball of a foot stand in the mean, as far apart as they are: what turned keeps its length."""
    ankle, ball = at.view(-1, 2, 2).unbind(1)
    way = ball - ankle
    middle = (ankle + ball).mean(0) / 2
    half = torch.nn.functional.normalize(way.sum(0), dim=0) * way.norm(dim=1).mean() / 2
    return torch.cat([middle - half, middle + half])


def _stretches(on: Bool[Tensor, " f"]) -> list[tuple[int, int]]:
    """First and last + 1 of all rows of True."""
    edges = torch.cat([on.new_zeros(1), on, on.new_zeros(1)]).int().diff()
    return list(zip((edges > 0).nonzero()[:, 0].tolist(), (edges < 0).nonzero()[:, 0].tolist(), strict=True))
