"""The suite of motions, and how a judge of films names them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import torch
from torch import Tensor

from clipopt.embedded.moves import moves, sentence, third_person
from clipopt.embedded.people import poses
from clipopt.pipelines.motion.pose_bank import SIZE, load_bank, taken_from
from clipopt.pipelines.motion.views import Watcher, pictures
from clipopt.render.figure import pose

RIVALS = 32
"""Prompts that a motion is named among, its own included."""


_POSES = (
    "raising both arms", "raising the left arm", "stretching both arms to the sides", "with the hands on the hips",
    "squatting", "sitting on the floor", "lying on the back", "kneeling on the right knee", "doing the splits",
    "lunging with the left leg",
)  # fmt: skip


_ACTIONS = (
    "walking", "running", "waving with the right hand", "clapping", "jumping", "doing jumping jacks", "sitting down",
    "standing up", "bowing", "kicking with the left leg", "punching with the right arm", "turning to the left",
    "turning to the right", "lowering both arms", "nodding", "shaking the head", "picking something up", "crawling",
    "doing push-ups", "bending from side to side", "flapping the arms", "stepping to the right", "lying down",
    "getting up from the floor", "marching in place", "doing squats",
)  # fmt: skip


_THEN = (
    ("raising both arms", "squatting"), ("squatting", "raising both arms"), ("clapping", "bowing"),
    ("waving with the left hand", "sitting down"), ("kneeling", "raising the right arm"),
    ("kicking with the right leg", "lying down"),
)  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """A prompt of the suite.

    Attributes:
        text: Its words.
        group: "poses", "actions" or "then".
        directed: Whether it is not the same backward.
    """

    text: str
    group: str
    directed: bool


@cache
def motion_prompts() -> tuple[Asked, ...]:
    """The prompts in a fixed order: poses to take, actions, two things in turn."""
    backward = {move.phrase: move.backward for move in moves()}
    made = [Asked(f"a person {third_person(p)}", "poses", False) for p in _POSES]
    made += [Asked(f"a person {p}", "actions", backward[p] != "") for p in _ACTIONS]
    made += [Asked(f"a person {third_person(a)}, then {third_person(b)}", "then", True) for a, b in _THEN]
    return tuple(made)


@torch.no_grad()
def pose_gate(scorer: Any, judge: Any, count: int = 40, size: int = SIZE) -> dict[str, Any]:
    """Whether scorer and judge find named poses in the bank.

    Returns:
        Shares of the named poses of which one of the judge's best five of the bank was made; of which one of the
        scorer's best five is named right first by the judge; or has its name among the judge's first five; of all
        five that are named right; and the names that the second of these did not find.
    """
    watcher, bank = Watcher(scorer, scorer), load_bank(scorer, size)
    texts = [sentence([one.phrase]) for one in poses()]
    asked = judge.encode_text(texts)
    chosen = [i * len(texts) // count for i in range(count)]
    looks_on, of_judge, owners = Watcher(judge, judge), load_bank(judge, size), taken_from(size)
    retrieved, first, among, each, lost = [], [], [], [], []
    for number in chosen:
        five = looks_on.poses(of_judge.seen, texts[number]).topk(5).indices
        retrieved.append(bool((owners[five] == number).any()))
        best = bank.best(watcher.poses(bank.seen, texts[number]), 5)
        posed = pose(bank.angles[best], bank.root[best])
        seen = torch.stack([judge.encode_image(pictures(posed, azimuth)) for azimuth in (-30.0, 22.0, 60.0)], 1)
        order = (seen @ asked.T).mean(1).argsort(1, descending=True)
        right = order[:, 0] == number
        first.append(bool(right.any()))
        among.append(bool((order[:, :5] == number).any()))
        each.append(float(right.float().mean()))
        if not first[-1]:
            lost.append(poses()[number].phrase)
    told: dict[str, Any] = {
        "retrieved by the judge, top 5": sum(retrieved) / count,
        "one of five named": sum(first) / count,
        "one of five, in the judge's top 5": sum(among) / count,
        "all of the five": sum(each) / count,
    }
    return told | {"not found": lost}


@torch.no_grad()
def name_films(judge: Any, rows: Tensor, asked: Sequence[Asked]) -> list[tuple[int, str]]:
    """For each film the rank of its own prompt among `RIVALS` of the suite, and the prompt that ranks first.

    Args:
        judge: Who names.
        rows: Of the frames, (films, views, frames, d).
        asked: The prompt of each film.
    """
    suite = [p.text for p in motion_prompts()]
    text = judge.encode_text(suite)
    found = []
    for index, prompt in enumerate(asked):
        rivals = [t for t in suite if t != prompt.text and not _alike(t, prompt.text)]
        some = Random(f"rivals/{prompt.text}").sample(rivals, min(RIVALS - 1, len(rivals)))
        columns = [suite.index(t) for t in (prompt.text, *some)]
        fit = (judge.encode_rows(rows[index]) @ text[columns].T).mean(0)
        found.append((1 + int((fit > fit[0]).sum()), suite[columns[int(fit.argmax())]]))
    return found


def _alike(one: str, other: str) -> bool:
    """Whether a film of the one may be named as the other: to squat, and to do squats."""
    pairs = ({"a person squats", "a person doing squats"}, {"a person lies on the back", "a person lying down"})
    return {one, other} in pairs


def shares(lines: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The figures of an evaluation, from its lines."""

    def mean(values: Sequence[float | bool]) -> float | None:
        return round(sum(map(float, values)) / len(values), 4) if values else None

    groups = {"all": list(lines)} | {
        name: [line for line in lines if line["group"] == name] for name in ("poses", "actions", "then")
    }
    precision = {
        name: {f"top {k}": mean([line["rank"]["forward"] <= k for line in some]) for k in (1, 3)}
        for name, some in groups.items()
        if some
    }
    directed = [line for line in lines if line["directed"]]
    moving = [line for line in lines if line["group"] != "poses"]
    gap = {
        key: {
            "mean": mean([line["judge"][f"{key} gap"] for line in some]),
            "above 0": mean([line["judge"][f"{key} gap"] > 0 for line in some]),
            "top 3 of the control": mean([line["rank"][control] <= 3 for line in some]),
        }
        for key, control, some in (
            ("reversed-time", "backward", directed), ("frozen-pose", "held", moving)
        )
    }  # fmt: skip
    skate = [line["foot skate, cm/s"] for line in lines]
    return {
        "r_precision": precision,
        "gaps": gap,
        "foot skate, cm/s": {"mean": mean(skate), "median": sorted(skate)[len(skate) // 2], "most": max(skate)},
        "jerk, m/s^3": mean([line["jerk, m/s^3"] for line in lines]),
        "off balance, cm": mean([line["off balance, cm"] for line in lines]),
        "limit violations": sum(line["limit violations"] for line in lines),
        "seconds of each": {"mean": mean([x["seconds"] for x in lines]), "most": max(x["seconds"] for x in lines)},
    }
