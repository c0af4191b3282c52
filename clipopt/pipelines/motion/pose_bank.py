"""A bank of poses without names: what legs, arms, back and head can do, combined by chance inside the joint limits.

A tenth are poses of the whole body as people take them, which chance does not put together. The scorer gives
them meaning: `clipopt motion` looks for the ones that fit a phrase.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from itertools import cycle, islice
from pathlib import Path
from random import Random

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipopt.embedded.people import Stance, jittered, poses, stance
from clipopt.geometry.skeleton import NAMES, mirror_angles, mirror_root
from clipopt.io.files import atomic, cache_folder
from clipopt.pipelines.motion.plan import MotionPlan
from clipopt.pipelines.motion.views import VIEWS, pictures
from clipopt.render.figure import pose
from clipopt.scorers import Scorer

# How often, and the angles, as in people.txt; S is one side of the body, O the other.
_LEGS: tuple[tuple[float | int, str], ...] = (
    (8, ""), (1, "B.spread 26"), (1, "B.ankle -46"), (2, "B.flex 60 B.knee 70 B.ankle 18 pitch 10"),
    (3, "B.flex 116 B.knee 128 B.ankle 26 B.spread 16 pitch 16"), (1.5, "B.flex 62 B.spread 50 B.turn 40 B.knee 90"),
    (2, "B.flex 90 B.knee 90"), (2, "B.flex 88 B.knee 4 B.ankle 4"),
    (1.5, "B.flex 96 B.spread 42 B.turn 58 B.knee 126"), (1.5, "B.flex 122 B.knee 128"), (2, "B.knee 92 B.ankle -52"),
    (2, "S.flex -6 S.knee 84 S.ankle -30 O.flex 88 O.knee 90"), (3, "S.flex 92 S.knee 94"),
    (2, "S.flex 84 S.knee 6 S.ankle -20"), (1, "S.flex 50 S.knee 6"), (2, "S.spread 72"),
    (2, "S.flex -40 S.knee 50 S.ankle -40"), (2, "S.flex 86 S.knee 88 O.flex -32 O.knee 28 O.ankle 20"),
    (2, "S.spread 44 S.flex 58 S.turn 30 S.knee 78 O.spread 34"), (1, "B.spread 84"),
    (2.5, "S.flex 28 S.knee 6 O.flex -22 O.knee 18"), (2, "S.flex 64 S.knee 55 O.flex -24 O.knee 62 O.ankle -40"),
    (1.5, "S.flex 62 S.spread 62 S.turn 55 S.knee 132"), (1.5, "S.flex 20 S.knee 62"),
    (1.5, "B.flex 48 B.knee 80 B.ankle -40 lift 38"), (1.5, "B.ankle -46 lift 34"),
    (1.5, "B.spread 36 B.ankle -30 lift 10"), (1, "S.flex 30 S.spread 28 S.turn 40 S.knee 72"),
    (1, "S.flex 98 S.spread 20 S.knee 104 O.flex 10 O.knee 10"),
)  # fmt: skip
_ARM: tuple[tuple[float | int, str], ...] = (
    (6, ""), (3, "S.raise 172 S.plane 10"), (1.5, "S.raise 172 S.plane 80"), (2, "S.raise 138"),
    (3, "S.raise 90 S.plane 0 S.elbow 3"), (3, "S.raise 90 S.plane 88 S.elbow 3"), (1.5, "S.raise 45"),
    (1.5, "S.raise 45 S.plane 86"), (2, "S.raise 96 S.plane 15 S.twist -92 S.elbow 95"),
    (1.5, "S.raise 112 S.plane 15 S.twist -92 S.elbow 35"), (1.5, "S.raise 48 S.plane -15 S.twist 82 S.elbow 98"),
    (1.5, "S.raise 120 S.plane 25 S.twist -80 S.elbow 128"), (1.5, "S.raise 82 S.plane 32 S.twist -48 S.elbow 142"),
    (1.5, "S.raise 40 S.plane 30 S.twist -62 S.elbow 146"), (1.5, "S.raise 34 S.plane 74 S.twist -24 S.elbow 136"),
    (1.5, "S.raise 34 S.plane 62 S.twist 6 S.elbow 110"), (1.5, "S.raise 56 S.plane 74 S.twist -34 S.elbow 134"),
    (1.5, "S.raise 22 S.twist -68 S.elbow 90"), (1.5, "S.raise 18 S.plane 80 S.elbow 84"),
    (1.5, "S.raise 42 S.plane 62 S.twist -55 S.elbow 128"), (1.5, "S.raise 45 S.plane -66"),
    (1.5, "S.raise 76 S.plane 62 S.elbow 50"), (1.5, "S.raise 100 S.plane -40 S.twist -88 S.elbow 84"),
    (1.5, "S.raise 44 S.plane 62 S.twist -12 S.elbow 98"), (1, "S.raise 90 S.twist 88 S.elbow 90"),
    (1.5, "S.raise 118 S.plane 86 S.elbow 20"), (1, "S.raise 88 S.plane 30 S.elbow 144"),
    (1, "S.raise 46 S.plane 84 S.elbow 92"), (1, "S.raise 160 S.elbow 30"),
)  # fmt: skip
_BACK: tuple[tuple[float | int, str], ...] = (
    (10, ""), (2, "bend 30"), (2, "bend 70"), (1.5, "pitch 20 B.flex 20 bend 62"), (1, "pitch 62 B.flex 62 bend 80"),
    (1.5, "bend -34"), (2, "lean 38"), (2, "lean -38"), (1, "twist 40"), (1, "twist -40"), (1, "lean 18"),
    (1, "lean -18"),
)  # fmt: skip
_HEAD: tuple[tuple[float | int, str], ...] = (
    (10, ""), (1, "nod 52"), (1, "nod -50"), (1.2, "look 74"), (1.2, "look -74"), (1, "nod 20"), (1, "tilt 25"),
    (1, "tilt -25"),
)  # fmt: skip
_WHOLE: tuple[tuple[float | int, str], ...] = (
    (30, ""), (1.5, "pitch -90"), (1.2, "pitch 90"), (1, "roll 90"), (1, "roll -90"), (0.8, "pitch 180"),
    (0.6, "roll 150"), (0.6, "roll -150"), (1.5, "pitch 72"), (1, "pitch 80 lift 60"), (1, "pitch 30"),
    (1, "pitch -60"),
)  # fmt: skip
SIZE = MotionPlan.bank
"""Poses of the bank."""
_AS_PEOPLE = 10  # one pose of so many
_DRAWN = 2  # counts up when what is drawn for the bank changes


def _chosen(table: Sequence[tuple[float | int, str]], rng: Random) -> str:
    return rng.choices([text for _, text in table], [weight for weight, _ in table])[0]


@cache
def pose_bank(size: int = SIZE) -> tuple[Float[Tensor, "n a"], Float[Tensor, "n 6"]]:
    """Angles and roots of the bank; the first one stands."""
    rng = Random("bank")
    made = [stance("")]
    taken = [one for named in poses() for one in named.stances]
    made += [jittered(one, rng, 3.0) for one in islice(cycle(taken), size // _AS_PEOPLE)]
    while len(made) < size:
        side = rng.choice(("LR", "RL"))
        sided = {"S.": side[0] + ".", "O.": side[1] + "."}
        legs = _chosen(_LEGS, rng)
        one = _chosen(_ARM, rng)
        if rng.random() < 0.5:
            arms = one.replace("S.", "B.")
        else:
            arms = one.replace("S.", "L.") + " " + _chosen(_ARM, rng).replace("S.", "R.")
        whole = _chosen(_WHOLE, rng)
        if "pitch 72" in whole:  # on hands: what carries the weight
            legs = rng.choice(
                ("B.flex 74 B.knee 92 B.ankle -54", "B.ankle 20", "S.flex 96 O.flex 54 B.knee 92 B.ankle -54")
            )
            arms = rng.choice(
                ("B.raise 76 B.plane 88", "B.raise 60 B.plane 50 B.elbow 80", "L.raise 58 R.raise 94 B.plane 88")
            )
        elif "180" in whole or "150" in whole:
            arms = "B.raise 170"
        for short, full in sided.items():
            legs = legs.replace(short, full)
        text = " ".join((legs, _chosen(_BACK, rng) if "pitch" not in whole else "", _chosen(_HEAD, rng), whole, arms))
        pieces = text.split()
        made.append(jittered(stance(" ".join(pieces)), rng, 3.0))
    return torch.stack([m.angles for m in made]), torch.stack([m.root for m in made])


def taken_from(size: int = SIZE) -> Int[Tensor, " n"]:
    """The number of the named pose that each pose of the bank was made from; -1 where chance made it."""
    named = torch.full((size,), -1)
    taken = [number for number, one in enumerate(poses()) for _ in one.stances]
    count = size // _AS_PEOPLE
    named[1 : 1 + count] = torch.tensor(list(islice(cycle(taken), count)), dtype=torch.long)
    return named


@dataclass(frozen=True)
class Bank:
    """Poses and what a scorer sees in them.

    Attributes:
        angles: Of each pose.
        root: Of each pose.
        joints: Where its joints are, from the pelvis.
        seen: Unit rows of its pictures, from each of `VIEWS`.
    """

    angles: Float[Tensor, "n a"]
    root: Float[Tensor, "n 6"]
    joints: Float[Tensor, "n 22 3"]
    seen: Float[Tensor, "n v d"]

    def mirrored(self, number: int) -> Stance:
        """The mirror image of a pose."""
        return Stance(mirror_angles(self.angles[number]), mirror_root(self.root[number]))

    def best(self, scores: Float[Tensor, " n"], count: int, apart: float | int = 0.12) -> list[int]:
        """The poses with the highest scores, none nearer to another than `apart` metres in the mean of its joints."""
        kept: list[int] = []
        for number in scores.argsort(descending=True).tolist():
            if all(float((self.joints[number] - self.joints[k]).norm(dim=-1).mean()) >= apart for k in kept):
                kept.append(number)
                if len(kept) == count:
                    break
        return kept


@torch.no_grad()
def load_bank(scorer: Scorer, size: int = SIZE, *, folder: Path | None = None) -> Bank:
    """The bank as `scorer` sees it: drawn and encoded once for each scorer, then kept on disk.

    Args:
        scorer: Who looks.
        size: Poses.
        folder: Where to keep the rows; None: ~/.cache/clipopt, or what XDG_CACHE_HOME says.
    """
    angles, root = pose_bank(size)
    digest = blake2b(angles.numpy().tobytes() + root.numpy().tobytes(), digest_size=6).hexdigest()
    folder = folder or cache_folder()
    path = folder / f"bank-{scorer.fingerprint}-{digest}-{_DRAWN}.pt"
    posed = pose(angles, root)
    joints = posed.joints - posed.joints[:, :1] * torch.tensor([1.0, 0, 1])
    if path.is_file():
        return Bank(angles, root, joints, torch.load(path, weights_only=True))
    rows = []
    for first in range(0, len(angles), 50):
        part = slice(first, first + 50)
        seen = torch.cat([pictures(posed[part], view) for view in VIEWS])
        rows.append(scorer.encode_image(seen).unflatten(0, (len(VIEWS), -1)).transpose(0, 1))
    seen = torch.cat(rows)
    folder.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary:
        torch.save(seen, temporary)
    return Bank(angles, root, joints, seen)


def limbs() -> dict[str, list[int]]:
    """The angles of each part of the body that can be exchanged for another pose's."""
    parts = {"left arm": "left_arm_", "right arm": "right_arm_", "back": "spine_", "head": "head_"}
    found = {name: [i for i, n in enumerate(NAMES) if n.startswith(start)] for name, start in parts.items()}
    for side in ("left", "right"):
        found[f"{side} arm"].append(NAMES.index(f"{side}_elbow"))
    found["legs"] = [i for i, n in enumerate(NAMES) if any(w in n for w in ("hip", "knee", "ankle"))]
    return found
