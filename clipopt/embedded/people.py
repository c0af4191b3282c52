"""People of the embedded world: poses that have a name, and pictures of them.

for pose in poses():
    print("a person " + pose.phrase)             # "a person raising both arms"
bank = pose_sprites(seed=0)                      # RGBA pictures of every pose, from several sides
picture = bank.images[0]                         # (96, 96, 4); bank.pose[0] is its number among `poses()`

Left and right are the figure's own.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from random import Random

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clipopt.embedded.concepts import COLOURS
from clipopt.geometry.body import Clothes
from clipopt.geometry.skeleton import FREEDOMS, NAMES, limits, mirror_angles
from clipopt.io.files import atomic, cache_folder
from clipopt.render.draw import draw, silhouettes
from clipopt.render.figure import Posed, cameras, pose, surface
from clipopt.render.shade import Light

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
SKINS = ((250, 218, 190), (236, 188, 150), (205, 150, 110), (150, 98, 66), (98, 62, 44))
HAIRS = ((35, 25, 22), (80, 50, 30), (150, 100, 50), (215, 175, 95), (150, 60, 30), (140, 140, 145))


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


def random_clothes(rng: Random) -> Clothes:
    """Skin, hair and clothes in colours of chance; shirt and trousers differ."""
    names = list(COLOURS)
    shirt = rng.choice(names)
    trousers = rng.choice([name for name in names if name != shirt])
    shades = [
        rng.choice(SKINS),
        rng.choice(HAIRS),
        COLOURS[shirt],
        COLOURS[trousers],
        rng.choice(HAIRS[:3]),
        (18, 16, 18),
    ]
    colors = torch.tensor(shades, dtype=torch.float32) / 255
    colors = (colors + torch.tensor([[rng.gauss(0, 0.03) for _ in range(3)] for _ in shades])).clamp(0, 1)
    return Clothes(colors, torch.tensor([rng.uniform(0.3, 1.0) for _ in range(3)]))


@dataclass(frozen=True)
class PoseSprites:
    """Pictures of people, transparent around them.

    Attributes:
        images: RGBA; the figure is upright in the middle, as large as fits all poses of that camera.
        pose: The number of each among `poses()`.
        azimuth: Where the camera stood, degrees: 0 in front, above 0 on the figure's left.
    """

    images: NDArray[np.uint8]
    pose: NDArray[np.int64]
    azimuth: NDArray[np.float32]


# Azimuths, degrees; from behind nothing. The second row is for what is hard to tell from in front.
_VIEWS = ((0, 0, 18, -18, 40, -40, 70, -70), (32, -32, 45, -45, 60, -60, 80, -80))


def pose_sprites(seed: int = 0, *, variants: int = 2, side: int = 96, folder: Path | None = None) -> PoseSprites:
    """Every pose from several sides, in several clothes and with angles a little off; drawn once, then kept on disk.

    Args:
        seed: Other seeds give other clothes, angles and heights of the camera.
        variants: Pictures of each pose from each side.
        side: Pixels of a picture's side.
        folder: Where to keep them; None: ~/.cache/clipopt, or what XDG_CACHE_HOME says.
    """
    source = files("clipopt.embedded").joinpath("people.txt").read_bytes()
    key = blake2b(source + repr((seed, variants, side, _VIEWS, 1)).encode(), digest_size=6).hexdigest()
    folder = folder or cache_folder()
    path = folder / f"people-{key}.npz"
    if path.is_file():
        with np.load(path) as kept:
            return PoseSprites(kept["images"], kept["pose"], kept["azimuth"])
    images, numbers, azimuths = [], [], []
    for number, one in enumerate(poses()):
        for view, degrees in enumerate(_VIEWS[one.aside]):
            for variant in range(variants):
                rng = Random(f"people/{seed}/{number}/{view}/{variant}")
                chosen = one.stances[(view * variants + variant) % len(one.stances)]
                azimuth = degrees + rng.gauss(0, 6)
                images.append(
                    _sprite(jittered(chosen, rng), azimuth, rng.uniform(-3, 24), random_clothes(rng), side, rng)
                )
                numbers.append(number)
                azimuths.append(azimuth)
    made = PoseSprites(np.stack(images), np.array(numbers), np.array(azimuths, np.float32))
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        np.savez_compressed(temporary, images=made.images, pose=made.pose, azimuth=made.azimuth)
    return made


def _sprite(
    one: Stance, azimuth: float | int, elevation: float | int, clothes: Clothes, side: int, rng: Random
) -> NDArray[np.uint8]:
    posed = pose(one.angles[None], one.root[None])
    middle = (posed.joints[0].amin(0) + posed.joints[0].amax(0)) / 2
    return rgba(posed, [azimuth], [elevation], middle[None], clothes, side, [rng.uniform(-40, 40)])[0]


@torch.no_grad()
def rgba(
    posed: Posed,
    azimuth: Sequence[float],
    elevation: Sequence[float],
    target: Float[Tensor, "f 3"],
    clothes: Clothes,
    side: int,
    lamp: Sequence[float],
    *,
    height: float | int = 2.35,
) -> NDArray[np.uint8]:
    """Frames as RGBA (f, side, side, 4), transparent around the figure; angles in degrees.

    Args:
        posed: The frames.
        azimuth: Of each camera: 0 in front, above 0 on the figure's left.
        elevation: Of each camera, over the horizon.
        target: What each looks at.
        clothes: The colours.
        side: Pixels of a side.
        lamp: How far the lamp stands to the right of each camera.
        height: Metres that the picture spans.
    """
    az, el, beside = (torch.tensor([math.radians(v) for v in row]) for row in (azimuth, elevation, lamp))
    shots = cameras(az, el, target, height=height)
    level = torch.stack([(az + beside).sin(), torch.full_like(az, 0.8), (az + beside).cos()], -1)
    toward = torch.nn.functional.normalize(level, dim=-1)
    black, pictures = torch.zeros(1, 3, 2 * side, 2 * side), []
    for frame in range(len(posed)):
        part = slice(frame, frame + 1)
        mesh = surface(posed, frame, clothes, ground=False)
        color = draw(mesh, shots[part], black, light=Light(toward[part], 0.6))
        cover = silhouettes(mesh, shots[part], (2 * side, 2 * side))[:, None]
        both = torch.nn.functional.avg_pool2d(torch.cat([color, cover], 1), 2)[0]
        straight = torch.where(both[3:] > 1e-3, both[:3] / both[3:].clamp_min(1e-3), 0.0)
        picture = torch.cat([straight, both[3:]]).clamp(0, 1).permute(1, 2, 0)
        pictures.append((picture * 255).round().to(torch.uint8).numpy())
    return np.stack(pictures)
