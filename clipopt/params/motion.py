"""A figure's motion as something to learn: key poses on a timeline, with slow waves on top."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from clipopt.geometry.skeleton import bounded, mirror_angles, mirror_root, unbounded
from clipopt.geometry.spline import catmull_rom, cosines


@dataclass(frozen=True)
class Stances:
    """A figure over time, before it is put on the ground.

    Attributes:
        angles: Of `FREEDOMS`, radians, always inside their limits.
        root: x, lift, z in metres, yaw, pitch, roll in radians.
    """

    angles: Float[Tensor, "f a"]
    root: Float[Tensor, "f 6"]

    def __len__(self) -> int:
        return len(self.angles)


@dataclass(frozen=True)
class Key:
    """A place on a timeline.

    Attributes:
        at: Second.
        pose: Number of the pose that holds there; several keys may share one.
        mirrored: Whether its mirror image holds.
        yaw: How far the figure has turned to the left by then, radians, beyond the pose's own.
    """

    at: float | int
    pose: int
    mirrored: bool = False
    yaw: float | int = 0.0


class Motion(nn.Module):
    """Key poses joined by a spline, with optional slow waves; joint limits hold whatever is learned.

    Poses are kept as numbers of any size, which `bounded` brings inside the limits after interpolation: no key, no
    overshoot and no wave can leave them.

    Args:
        angles: Of every pose.
        root: Of every pose.
        timeline: Which pose holds when, in rising order.
        seconds: Length.
        fps: Frames per second.
        loop: Whether it goes on from its end to its start without a seam.
        waves: Number of cosine waves on every angle, 0 at the start; they have no place in a loop.

    Raises:
        ValueError: If the timeline is empty, falls, leaves the motion's length, or names no pose.
    """

    def __init__(
        self,
        angles: Float[Tensor, "p a"],
        root: Float[Tensor, "p 6"],
        timeline: Sequence[Key],
        *,
        seconds: float | int,
        fps: float | int = 30.0,
        loop: bool = False,
        waves: int = 0,
    ) -> None:
        super().__init__()
        times = [key.at for key in timeline]
        if not times or sorted(set(times)) != times or times[0] < 0 or times[-1] > seconds + 1e-6:
            raise ValueError(f"expected keys at rising seconds within 0 to {seconds:g}, got {times}")
        if any(not 0 <= key.pose < len(angles) for key in timeline):
            raise ValueError(f"expected keys of {len(angles)} poses, got {[key.pose for key in timeline]}")
        if seconds <= 0 or fps <= 0 or waves < 0 or (loop and waves):
            raise ValueError("expected seconds and fps above 0, and no waves in a loop")
        self.poses = nn.Parameter(unbounded(angles))
        self.root = nn.Parameter(root.clone())
        self.waves = nn.Parameter(torch.zeros(waves, angles.shape[1]))
        self.timeline = tuple(timeline)
        self.seconds, self.fps, self.loop = seconds, fps, loop
        self.frames = max(2, round(seconds * fps))

    def seconds_of(self) -> Float[Tensor, " f"]:
        """The second of every frame; the last frame of a loop comes before its end."""
        return torch.arange(self.frames) / self.fps

    def forward(self) -> Stances:
        """All frames."""
        return self.at(self.seconds_of())

    def at(self, seconds: Float[Tensor, " t"]) -> Stances:
        """The figure at some seconds."""
        pose = torch.tensor([key.pose for key in self.timeline])
        flip = torch.tensor([key.mirrored for key in self.timeline])[:, None]
        poses, root = self.poses[pose], self.root[pose]
        angles = bounded(poses)
        mirrored = unbounded(mirror_angles(angles), 1e-4)
        poses = torch.where(flip, mirrored, poses)
        root = torch.where(flip, mirror_root(root), root)
        yaw = torch.tensor([key.yaw for key in self.timeline], dtype=root.dtype)
        root = torch.cat([root[:, :3], root[:, 3:4] + yaw[:, None], root[:, 4:]], 1)
        times = torch.tensor([key.at for key in self.timeline], dtype=poses.dtype)
        rows = torch.cat([poses, root], 1)
        curve = catmull_rom(rows, times, seconds, loop=self.seconds if self.loop else None)
        free = curve[:, :-6]
        if len(self.waves):
            place = (seconds / self.seconds)[:, None] * torch.arange(1, len(self.waves) + 1) * torch.pi
            free = free + torch.cos(place) @ self.waves
        return Stances(bounded(free), curve[:, -6:])


class Frames(nn.Module):
    """Every frame of a motion by itself, inside the joint limits: for the last corrections, such as feet that slide.

    Angles at a limit come a hundredth of their range inside: at the limit itself no gradient would move them.

    Args:
        start: What it begins with.
        waves: Learn this many cosine waves for each number instead of every frame; 0: every frame.
    """

    def __init__(self, start: Stances, waves: int = 0) -> None:
        super().__init__()
        self.free = unbounded(start.angles.detach(), 0.02)
        self.base = start.root.detach().clone()
        self.basis = cosines(len(start), waves) if waves else torch.eye(len(start))
        self.change = nn.Parameter(torch.zeros(self.basis.shape[1], start.angles.shape[1]))
        self.shift = nn.Parameter(torch.zeros(self.basis.shape[1], 6))

    def forward(self) -> Stances:
        """All frames."""
        return Stances(bounded(self.free + self.basis @ self.change), self.base + self.basis @ self.shift)
