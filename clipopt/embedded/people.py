"""People of the embedded world: poses that have a name.

for pose in poses():
    print("a person " + pose.phrase)             # "a person raising both arms"

Left and right are the figure's own.
"""

import math
import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.geometry.skeleton import FREEDOMS, NAMES, limits, mirror_angles

_SHORT = {
    "raise": "arm_raise", "plane": "arm_plane", "twist": "arm_twist", "elbow": "elbow", "flex": "hip_flex",
    "spread": "hip_spread", "turn": "hip_twist", "knee": "knee", "ankle": "ankle",
}  # fmt: skip
_MIDDLE = {
    "bend": "spine_bend", "lean": "spine_lean", "twist": "spine_twist", "nod": "head_nod", "tilt": "head_tilt",
    "look": "head_turn",
}  # fmt: skip
_ROOT = {"lift": 1, "yaw": 3, "pitch": 4, "roll": 5}
_STANDING = "B.raise 9 B.plane 10 B.elbow 12"


@dataclass(frozen=True)
class Stance:
    """Angles of a figure.

    Attributes:
        angles: Of `FREEDOMS`, radians.
        root: x, lift, z in metres, yaw, pitch, roll in radians.
    """

    angles: Float[Tensor, " a"]
    root: Float[Tensor, " 6"]

    def mirrored(self) -> "Stance":
        """The mirror image: left and right exchanged."""
        sign = torch.tensor([-1.0, 1, 1, -1, 1, -1])
        return Stance(mirror_angles(self.angles), self.root * sign)


@dataclass(frozen=True)
class Pose:
    """A pose that has a name.

    Attributes:
        phrase: What stands behind "a person", such as "raising both arms".
        synonyms: Other words for it.
        stances: Angles that show it, one or more.
        aside: Whether it is hard to tell from straight in front.
    """

    phrase: str
    synonyms: tuple[str, ...]
    stances: tuple[Stance, ...]
    aside: bool = False

    @property
    def noun(self) -> str:
        """As a noun without its article: "person raising both arms"."""
        return f"person {self.phrase}"


def stance(text: str) -> Stance:
    """The angles that a text such as "B.raise 170 bend 20" gives, in degrees from standing.

    Raises:
        ValueError: A word is no angle, has no number, or goes beyond its limit.
    """
    angles = torch.tensor([max(f.low, min(f.high, 0.0)) for f in FREEDOMS])
    root = torch.zeros(6)
    pieces = f"{_STANDING} {text}".split()
    low, high = limits()
    for name, number in zip(pieces[::2], pieces[1::2], strict=True):
        value = float(number)
        if name in _ROOT:
            root[_ROOT[name]] = value / 100 if name == "lift" else math.radians(value)
            continue
        side, _, short = name.rpartition(".")
        full = {"L": ["left_"], "R": ["right_"], "B": ["left_", "right_"]}.get(side)
        wanted = [_MIDDLE.get(name, name)] if full is None else [s + _SHORT.get(short, short) for s in full]
        for one in wanted:
            if one not in NAMES:
                raise ValueError(f"no angle {name!r}: expected one such as B.raise, L.knee or bend")
            index = NAMES.index(one)
            angles[index] = math.radians(value)
            if not low[index] - 1e-6 <= angles[index] <= high[index] + 1e-6:
                raise ValueError(f"{name} {number} goes beyond {low[index].rad2deg()} to {high[index].rad2deg()}")
    return Stance(angles, root)


def exchanged(text: str) -> str:
    """The text with left and right exchanged."""
    return re.sub(r"\b(left|right)\b", lambda m: {"left": "right", "right": "left"}[m[0]], text)


@cache
def poses() -> tuple[Pose, ...]:
    """All named poses, in a fixed order; a mirror image follows its original."""
    made: dict[str, Pose] = {}
    for line in files("clipopt.embedded").joinpath("people.txt").read_text("utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        aside, line = line.startswith(">"), line.removeprefix(">").strip()
        twofold, (words, *angles) = line.startswith("~"), line.removeprefix("~").split("|")
        phrase, *synonyms = (part.strip() for part in words.split(";"))
        stances = tuple(stance(text) for text in angles)
        versions = [Pose(phrase, tuple(synonyms), stances, aside)]
        if twofold:
            other = tuple(s.mirrored() for s in stances)
            versions.append(Pose(exchanged(phrase), tuple(map(exchanged, synonyms)), other, aside))
        for one in versions:
            if one.phrase in made:  # walking, running: either leg
                one = Pose(one.phrase, one.synonyms, made[one.phrase].stances + one.stances, aside)
            made[one.phrase] = one
    return tuple(made.values())


def jittered(one: Stance, rng: Random, degrees: float | int = 6.0) -> Stance:
    """The stance with every angle a little off, inside its limits."""
    low, high = limits()
    noise = torch.tensor([rng.gauss(0, math.radians(degrees)) for _ in FREEDOMS])
    root = one.root.clone()
    root[4:] += torch.tensor([rng.gauss(0, math.radians(degrees / 3)) for _ in range(2)])
    return Stance((one.angles + noise).clamp(low, high), root)
