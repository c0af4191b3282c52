"""Films and stills of people on disk: drawn once, then read at random while training."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Generator, Tensor

from clipopt.embedded.moves import plan, show_posed, side_of, still_row
from clipopt.embedded.moves import stills as stills_of
from clipopt.embedded.people import poses
from clipopt.embedded.pictures import keep
from clipopt.geometry.skeleton import axis_rotation
from clipopt.render.figure import pose

FILMS, STILLS = 50, 400  # in one file


@torch.no_grad()
def _films(world: int, first: int, count: int) -> NDArray[np.uint8]:
    told = [plan(world, index) for index in range(first, first + count)]
    rows = torch.cat([film.rows for film in told])
    posed, frames = pose(rows[:, :-6], rows[:, -6:]), len(told[0].rows)
    made = []
    for number, film in enumerate(told):
        part = slice(number * frames, (number + 1) * frames)
        made.append(show_posed(posed[part], film.aside, world, first + number))
    return np.stack(made)


def draw(world: int, films: int, stills: int, folder: Path) -> Iterator[tuple[int, int]]:
    """Draw films and stills of one world into `folder`; yields how many files stand there, and how many shall.

    What an earlier call finished is kept; with fewer films asked for, some stay unused.
    """
    folder.mkdir(parents=True, exist_ok=True)
    jobs: list[tuple[Path, Any]] = []
    for kind, make, each, total in (("stills", stills_of, STILLS, stills), ("films", _films, FILMS, films)):
        for first in range(0, total, each):
            jobs.append((folder / f"{kind}-{each}-{first:06d}.npy", partial(make, world, first, each)))
    for done, (path, make) in enumerate(jobs):
        if not path.exists():
            keep(path, make())
        yield done + 1, len(jobs)


class Films:
    """Films of a world and what they show.

    Attributes:
        films: Frames, (n, frames, side, side, 3).
        told: The `Film` of each.
        stills: Pictures of single poses; number `i` shows pose `i % len(poses())`.
        joints: Where the joints of every frame are, from below the pelvis, as the camera is turned, metres.
        still_joints: Likewise of the stills.
    """

    def __init__(self, world: int, folder: Path) -> None:
        self.films = [np.load(path, mmap_mode="r") for path in sorted(folder.glob(f"films-{FILMS}-*.npy"))]
        self.stills = [np.load(path, mmap_mode="r") for path in sorted(folder.glob(f"stills-{STILLS}-*.npy"))]
        if not self.films or not self.stills:
            raise ValueError(f"{folder} holds no films and stills: draw them first")
        self.told = [plan(world, index) for index in range(FILMS * len(self.films))]
        rows = torch.stack([film.rows for film in self.told])
        turn = torch.tensor([side_of(film.aside, world, index) for index, film in enumerate(self.told)])
        joints = _seen_joints(rows.flatten(0, 1), turn.repeat_interleave(rows.shape[1]))
        self.joints = joints.unflatten(0, rows.shape[:2])
        count = STILLS * len(self.stills)
        aside = [one.aside for one in poses()]
        turn = torch.tensor([side_of(aside[index % len(aside)], world, -1 - index) for index in range(count)])
        self.still_joints = _seen_joints(torch.stack([still_row(world, index) for index in range(count)]), turn)

    def take(self, numbers: Int[Tensor, " b"]) -> UInt8[Tensor, "b f 3 s s"]:
        """Films by number."""
        rows = [self.films[n // FILMS][n % FILMS] for n in numbers.tolist()]
        return torch.from_numpy(np.stack(rows)).permute(0, 1, 4, 2, 3)

    def draw_stills(
        self, count: int, rng: Generator
    ) -> tuple[UInt8[Tensor, "b 3 s s"], Int[Tensor, " b"], Float[Tensor, "b 22 3"]]:
        """Random stills, the numbers of their poses, and their joints."""
        numbers = torch.randint(STILLS * len(self.stills), (count,), generator=rng)
        rows = [self.stills[n // STILLS][n % STILLS] for n in numbers.tolist()]
        return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2), numbers % len(poses()), self.still_joints[numbers]


def _seen_joints(rows: Float[Tensor, "n _"], turn: Float[Tensor, " n"]) -> Float[Tensor, "n 22 3"]:
    """Joints from the spot below the pelvis, in axes turned with the camera."""
    joints = pose(rows[:, :-6], rows[:, -6:]).joints
    joints = joints - joints[:, :1] * torch.tensor([1.0, 0, 1])
    return joints @ axis_rotation(1, turn)  # by the rotation's inverse
