"""A hundred runs killed at random moments and resumed: byte for byte they make what an uninterrupted run makes.

One alone: `pytest -m "" -n 0 "tests/campaigns/test_kills.py::test_resumed_is_the_same[42]"`.
"""

import json
import shutil
import signal
from functools import cache
from pathlib import Path
from typing import Any

import torch
from campaigns.kit import quick
from campaigns.room import Room, cases, chance
from campaigns.warm import Ended

SIGNALS = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TASKS = ("image", "index", "adapt", "mesh", "motion", "image", "latent", "story")
MORE = {
    "image": ["--steps", "12", "--seeds", "2"], "mesh": ["--steps", "8"], "latent": ["--steps", "6"],
    "motion": ["--steps", "6", "--tries", "4", "--lock", "4"], "story": ["--steps", "2"],
    "adapt": ["--method", "lora", "--steps", "20"], "index": [],
}  # fmt: skip
OF_ITS_TIME = (
    "summary.json",
    "report.html",
    "config.json",
    "checkpoint.pt",
    "steps.jsonl",
    "adapter.json",
    "index.json",
)
"""Files that say when they were made, and are compared by what else they say."""
TIMES = ("seconds", "peak_memory_bytes", "peak_memory", "folder", "created", "command", "versions", "run", "adapter")


@cases(100, quick=2)
def test_resumed_is_the_same(number: int, room: Room) -> None:
    rng, task = chance("kill", number), TASKS[number % len(TASKS)]
    expected, seconds = _whole(room, task)
    folder = _start(room, task)
    line, told = _line(task), []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        kill = (rng.random() * seconds, rng.choice(SIGNALS))
        ended = room.warm.run(line, folder, kill=kill)
        told.append(f"{kill[1].name} at {kill[0]:.2f} s: {ended.status} {ended.err[-500:]}")
        _check(ended, kill[1], told)
        line = _line(task, folder)
    ended = room.warm.run(line, folder)
    told.append(f"{ended.status} {ended.err[-2000:]}")
    assert ended.status == 0, "\n".join(told)
    made = _contents(folder / "made")
    different = [name for name in made.keys() | expected.keys() if not _same(made.get(name), expected.get(name))]
    assert not different, f"{task}: {different} differ\n" + "\n".join(told)


def _check(ended: Ended, number: signal.Signals, told: list[str]) -> None:
    """A run that can act saves and says 130; one that had not begun, or had ended, may say otherwise."""
    allowed = (0, -number) if number == signal.SIGKILL else (0, 130, 128 + number, -number)
    assert ended.status in allowed, "\n".join(told)
    assert not ended.hung, "\n".join(told)
    assert "Traceback" not in ended.err, "\n".join(told)


@cache
def _whole(room: Room, task: str) -> tuple[dict[str, Any], float]:
    """What a task makes when nobody disturbs it, and the seconds that it takes."""
    folder = _start(room, task)
    ended = room.warm.run(_line(task), folder)
    assert ended.status == 0, ended.err
    return _contents(folder / "made"), ended.seconds


def _start(room: Room, task: str) -> Path:
    folder = room.clean()
    if task == "index":
        for copy in range(6):
            shutil.copytree(folder / "photos/apple", folder / f"photos/{copy}")
    return folder


def _line(task: str, folder: Path | None = None) -> list[str]:
    """The command that begins, or with a folder the one that goes on with what is there."""
    if folder is not None and task not in ("index", "adapt") and (folder / "made" / "config.json").is_file():
        return [task, "--resume", "made", "--quiet"]
    overwrite = [] if folder is None or task == "index" or not (folder / "made").exists() else ["--overwrite"]
    return [*quick(task), *MORE[task], "--out", "made", *overwrite]


def _contents(folder: Path) -> dict[str, Any]:
    return {str(path.relative_to(folder)): _read(path) for path in sorted(folder.rglob("*")) if path.is_file()
            and not path.name.startswith((".", "part-")) and path.suffix != ".lock"} | _rows(folder)  # fmt: skip


def _rows(folder: Path) -> dict[str, Any]:
    """An index's parts, whose names are random."""
    if not (folder / "index.json").is_file():
        return {}
    parts = json.loads((folder / "index.json").read_text())["parts"]
    return {
        f"part {n} {end}": (folder / f"{name}.{end}").read_bytes()
        for n, (name, _) in enumerate(parts)
        for end in ("npy", "jsonl")
    }


def _read(path: Path) -> Any:
    if path.name == "checkpoint.pt":
        return _timeless(torch.load(path, weights_only=True))
    if path.suffix == ".html":
        return None
    if path.suffix == ".jsonl":
        return [_timeless(json.loads(line)) for line in path.read_text().splitlines()]
    return _timeless(json.loads(path.read_bytes())) if path.name in OF_ITS_TIME else path.read_bytes()


def _timeless(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {key: _timeless(value) for key, value in tree.items() if key not in (*TIMES, "parts")}
    return [_timeless(value) for value in tree] if isinstance(tree, list) else tree


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
