"""What all evaluations share: whose prompts are asked, the folder, the shares, the summary."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

from clipopt.evaluation.suite import Prompt, Reading, interval, read
from clipopt.io import files, folders
from clipopt.record import peak_memory, versions
from clipopt.record.folder import new_folder
from clipopt.scorers import Scorer
from clipopt.types import Images

T = TypeVar("T")


@runtime_checkable
class Task(Protocol):
    """Settings of an evaluation."""

    @property
    def task(self) -> str:
        """What is measured."""

    @property
    def out(self) -> Path | None:
        """Folder to write; None for a new one."""

    @property
    def json(self) -> bool:
        """Whether the summary is told as JSON."""


@runtime_checkable
class Suited(Protocol):
    """Which prompts of a suite are asked."""

    @property
    def prompts(self) -> int | None:
        """How many; None for all."""

    @property
    def seeds(self) -> int:
        """Seeds of each."""

    @property
    def seed(self) -> int:
        """The first seed."""


@runtime_checkable
class Asked(Protocol):
    """A prompt of a suite."""

    @property
    def group(self) -> str:
        """What it is reported with."""


@runtime_checkable
class Answer(Protocol):
    """What was read in a picture."""

    @property
    def right(self) -> bool:
        """Whether it is what was asked for."""


def evenly(suite: Sequence[T], count: int | None, option: str = "--prompts") -> list[T]:
    """So many prompts of a suite, evenly spaced; None: all.

    Args:
        suite: All of them.
        count: How many.
        option: That asked for them.

    Raises:
        ValueError: it has fewer, or none is wanted.
    """
    count = len(suite) if count is None else count
    if not 1 <= count <= len(suite):
        raise ValueError(f"{option} must lie in 1 to {len(suite)}, the suite has no more, got {count}")
    return [suite[i * len(suite) // count] for i in range(count)]


def each_with_seeds(suite: Sequence[T], task: Suited) -> list[tuple[T, int]]:
    """Every prompt that is asked with every seed."""
    return [(prompt, task.seed + n) for prompt in evenly(suite, task.prompts) for n in range(task.seeds)]


def read_all(scorer: Scorer, images: Images, asked: Sequence[Prompt]) -> list[Reading]:
    """What a scorer reads in any number of pictures, see `read`."""
    starts = range(0, len(images), 64)
    return [r for s in starts for r in read(scorer, images[s : s + 64], asked[s : s + 64])]


def wilson(right: Sequence[bool]) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score, which does not shrink to a point where all are right.

    Reference:
        Wilson, "Probable inference, the law of succession, and statistical inference" (JASA 1927).
    """
    count, z = len(right), 1.96
    share, weight = sum(right) / count, 1 + z**2 / count
    middle = share + z**2 / (2 * count)
    half = z * math.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return max(0.0, (middle - half) / weight), min(1.0, (middle + half) / weight)


def by_group(
    asked: Sequence[Asked],
    readings: Sequence[Answer],
    between: Callable[[Sequence[bool]], tuple[float, float]] = interval,
) -> dict[str, dict[str, Any]]:
    """Share and 95 % interval of all pictures, and of each group of prompts; `between` gives the interval."""

    def rows() -> Iterator[tuple[str, list[bool]]]:
        yield "all", [r.right for r in readings]
        for group in dict.fromkeys(p.group for p in asked):
            yield group, [r.right for p, r in zip(asked, readings, strict=True) if p.group == group]

    return {
        group: {"share": sum(right) / len(right), "interval": between(right), "pictures": len(right)}
        for group, right in rows()
    }


def in_words(group: dict[str, Any]) -> str:
    """A share with its interval, for a person."""
    low, high = group["interval"]
    return f"{group['share']:.1%} [{low:.1%}, {high:.1%}]"


@contextmanager
def folder(task: Task) -> Iterator[Path]:
    """Where the evaluation is written; no other process writes there meanwhile.

    Raises:
        BusyError: one does already.
    """
    out = new_folder(Path("outputs/eval"), task.task) if task.out is None else task.out
    out.mkdir(parents=True, exist_ok=True)
    with folders.writing(out):
        yield out


def finish(task: Task, out: Path, scorer: Scorer, judge: Scorer, summary: dict[str, Any], lines: Sequence[str]) -> None:
    """Write the summary, with who looked and what it took, and tell the lines and the folder."""
    seen = {**summary.pop("fingerprints", {}), "scorer": scorer.fingerprint, "judge": judge.fingerprint}
    summary = {**summary, "fingerprints": seen, "peak_memory_bytes": peak_memory(), "versions": versions()}
    files.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    sys.stdout.write(json.dumps(summary) + "\n" if task.json else "".join(f"{line}\n" for line in (*lines, out)))
