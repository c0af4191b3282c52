"""Films and stills of people: what each shows, how it is drawn, and how it is kept on disk and read while training.

film = plan(seed=0, index=7)                         # angles and root of 12 frames, and what they show
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from torch import Generator, Tensor

from clipopt.embedded.moves import AIM, SPAN, deeds, moves, plain_look
from clipopt.embedded.people import jittered, poses, stance
from clipopt.geometry.skeleton import axis_rotation, limits
from clipopt.render.figure import Posed, cameras, pose
from clipopt.render.tiles import shoot_together
from clipopt.types import generator
from recipes.embedded.pictures import keep

FRAMES = 12
"""Frames of a film as a scorer sees it, evenly spaced from its start to its end."""
FILMS, STILLS = 50, 400  # in one file


@dataclass(frozen=True)
class Film:
    """Frames of a figure, and what they show.

    Attributes:
        phrases: What it does, one after the other.
        rows: Angles and root of each frame.
        still: Whether nothing moves.
        aside: Whether it should be seen from aside.
    """

    phrases: tuple[str, ...]
    rows: Float[Tensor, "f _"]
    still: bool
    aside: bool

    @property
    def backward(self) -> str:
        """What it is played backward: "!" where that has no name, "" where it is the same."""
        if len(self.phrases) > 1:
            return "!"
        phrase = self.phrases[0]
        move = deeds()[phrase][1]
        return move.backward if move else "" if self.still else "!"


def plan(seed: int, index: int, frames: int = FRAMES) -> Film:
    """Film `index` of the world `seed`: one action, a pose that is taken or held, or two things in turn."""
    rng = Random(f"film/{seed}/{index}")
    kind = rng.random()
    count = 1 if kind < 0.65 else 2
    chosen: list[str] = []
    for _ in range(count):
        pool = (
            [m.phrase for m in moves()] if rng.random() < (0.7 if count == 1 else 0.5) else [p.phrase for p in poses()]
        )
        chosen.append(rng.choice([p for p in pool if p not in chosen]))
    spread = torch.linspace(0, 1, frames)
    cut = [0.0, 1.0] if count == 1 else [0.0, rng.uniform(0.42, 0.58), 1.0]
    noise = Random(rng.random())
    parts, still = [], False
    for number, phrase in enumerate(chosen):
        local = (spread - cut[number]) / (cut[number + 1] - cut[number])
        rows, still = _part(phrase, local, rng, alone=count == 1)
        parts.append(rows)
    whole = parts[0]
    if count == 2:
        blend = ((spread - cut[1]) / 0.16 + 0.5).clamp(0, 1)
        blend = (blend * blend * (3 - 2 * blend))[:, None]
        whole = torch.lerp(parts[0], parts[1], blend)
    low, high = limits()
    wobble = jittered(stance(""), noise, 4.0).angles - stance("").angles
    angles = torch.minimum(torch.maximum(whole[:, :-6] + wobble, low), high)
    aside = any(one.aside for phrase in chosen for one in deeds()[phrase] if one)
    return Film(tuple(chosen), torch.cat([angles, whole[:, -6:]], 1), still and count == 1, aside)


def _part(phrase: str, u: Tensor, rng: Random, *, alone: bool) -> tuple[Tensor, bool]:
    """Rows of one thing that is done from u = 0 to u = 1, and whether it is held still."""
    held, move = deeds()[phrase]
    if move is not None:
        strength = rng.uniform(0.85, 1.1)
        if move.loop:
            rounds = rng.uniform(1.2, 2.6) if alone else rng.uniform(0.9, 1.4)
            rows = move.at((u * rounds + rng.random()).clamp_min(0))
            rows = torch.cat([torch.lerp(rows.mean(0), rows, strength)[:, :-6], rows[:, -6:]], 1)
        else:
            start, end = rng.uniform(0, 0.15), rng.uniform(0.85, 1)
            rows = move.at(((u - start) / (end - start)).clamp(0, 1))
        return rows, False
    if held is None:
        raise ValueError(f"nothing shows {phrase!r}")
    one = rng.choice(held.stances)
    row, rest = (torch.cat([s.angles, s.root]) for s in (one, stance("")))
    if alone and rng.random() < 0.35:
        return row.expand(len(u), -1), True
    start, end = rng.uniform(0, 0.2), rng.uniform(0.45, 0.7)
    share = ((u - start) / (end - start)).clamp(0, 1)
    share = (share * share * (3 - 2 * share))[:, None]
    return torch.lerp(rest.expand(len(u), -1), row.expand(len(u), -1), share), False


@torch.no_grad()
def show(rows: Float[Tensor, "f _"], aside: bool, seed: int, index: int, side: int = 64) -> NDArray[np.uint8]:
    """Pictures (f, side, side, 3) of a figure's frames: one camera, plain ground, clothes and light a little off."""
    return show_posed(pose(rows[:, :-6], rows[:, -6:]), aside, seed, index, side)


@torch.no_grad()
def show_posed(posed: Posed, aside: bool, seed: int, index: int, side: int = 64) -> NDArray[np.uint8]:
    """`show`, of a figure that stands on the ground already."""
    rng, count = Random(f"show/{seed}/{index}"), len(posed)
    azimuth, elevation = _side(aside, rng), math.radians(rng.uniform(-2, 22))
    turn, rise = torch.full((count,), azimuth), torch.full((count,), elevation)
    return _drawn(posed, turn, rise, rng, generator(seed, index), side)


def _drawn(posed: Posed, turn: Tensor, rise: Tensor, rng: Random, noise: Generator, side: int) -> NDArray[np.uint8]:
    aim = torch.tensor([rng.gauss(0, 0.06), AIM + rng.gauss(0, 0.07), rng.gauss(0, 0.06)])
    shots = cameras(turn, rise, aim.expand(len(posed), -1), height=SPAN * rng.uniform(0.88, 1.12))
    lamp = float(turn.mean()) + math.radians(rng.uniform(-45, 45))
    toward = torch.nn.functional.normalize(torch.tensor([math.sin(lamp), 0.8, math.cos(lamp)]), dim=0)
    back, clothes = plain_look(noise)
    pictures = shoot_together(posed, shots, back.expand(1, 3, side, side), clothes, toward)
    return (pictures.permute(0, 2, 3, 1).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


@torch.no_grad()
def show_stills(seed: int, first: int, count: int, side: int = 64) -> NDArray[np.uint8]:
    """Pictures (count, side, side, 3) of the world `seed`, from number `first` on: number `i` shows `poses[i % n]`.

    Sixteen in a row share clothes and light, each has a camera of its own.
    """
    rows = torch.stack([still_row(seed, index) for index in range(first, first + count)])
    posed = pose(rows[:, :-6], rows[:, -6:])
    made = []
    for start in range(0, count, 16):
        numbers = range(first + start, first + min(start + 16, count))
        turn = torch.tensor([side_of(poses()[n % len(poses())].aside, seed, -1 - n) for n in numbers])
        rng = Random(f"stills/{seed}/{first + start}")
        rise = torch.tensor([math.radians(rng.uniform(-2, 22)) for _ in numbers])
        part = posed[start : start + len(numbers)]
        made.append(_drawn(part, turn, rise, rng, generator(seed, -1 - first - start), side))
    return np.concatenate(made)


def still_row(seed: int, index: int) -> Float[Tensor, " _"]:
    """Angles and root of what picture `index` of `show_stills` shows."""
    rng = Random(f"still/{seed}/{index}")
    one = jittered(rng.choice(poses()[index % len(poses())].stances), rng, 5.0)
    return torch.cat([one.angles, one.root])


def side_of(aside: bool, seed: int, index: int) -> float:
    """Azimuth of the camera of `show` and of `show_stills`, radians."""
    return _side(aside, Random(f"show/{seed}/{index}"))


def _side(aside: bool, rng: Random) -> float:
    degrees = rng.choice((-1, 1)) * rng.uniform(22, 85) if aside else max(-80.0, min(80.0, rng.gauss(0, 32)))
    return math.radians(degrees)


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
    for kind, make, each, total in (("stills", show_stills, STILLS, stills), ("films", _films, FILMS, films)):
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
