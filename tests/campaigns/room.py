"""A room for cases: a folder with a kit of files, decoys outside of it, and a judge of what a command did there."""

import os
import random
import re
import shlex
import shutil
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from campaigns.warm import Ended, Warm

SEED = os.environ.get("CAMPAIGN_SEED", "0")
MEMORY = 2 << 30
"""Bytes that no tiny case may take."""
_PROGRESS = re.compile(r"(\w+: )?\d+( of \d+)? [\w-]+, \d+ s.*")


def cases(count: int, *, quick: int) -> pytest.MarkDecorator:
    """Parametrize a test with the numbers of its cases; all but the first few are slow."""
    numbers = [pytest.param(n, marks=[] if n < quick else [pytest.mark.slow]) for n in range(count)]
    return pytest.mark.parametrize("number", numbers)


def chance(campaign: str, number: int) -> random.Random:
    """The random stream of a case: each can be run alone."""
    return random.Random(f"{SEED} {campaign} {number}")


class Room:
    """Where cases run, one after the other.

    Attributes:
        case: The folder of the case.
        outside: What no case may change.
    """

    def __init__(self, root: Path) -> None:
        self.case, self.outside, self._kit = root / "case", root / "outside", root / "kit"
        self.warm = Warm(root)
        self.case.mkdir()
        self.warm.call("campaigns.kit:make", str(self.case))  # in its place: an index keeps the path of its source
        self.case.rename(self._kit)
        shutil.copytree(self._kit, self.outside)
        (self.outside / "secret.txt").write_text("a red apple\n")

    def clean(self) -> Path:
        """The case's folder as if nothing had happened."""
        shutil.rmtree(self.case, ignore_errors=True)
        shutil.copytree(self._kit, self.case, symlinks=True)
        return self.case

    def judge(
        self, arguments: Sequence[str], *, limit: float = 10, statuses: Sequence[int] = (0, 1, 2, 130), **how: object
    ) -> Ended:
        """Run a command in the case's folder, and fail unless it behaved."""
        before, self._whole = snapshot(self.case), snapshot(self.outside)
        ended = self.warm.run(arguments, self.case, limit=limit, memory=2 * MEMORY, **how)  # type: ignore[arg-type]
        faults = list(self._faults(ended, statuses, before))
        command = f"clipopt {shlex.join(arguments)}"
        assert not faults, f"{'; '.join(faults)}\n{command!a}\nstatus {ended.status}\n{ended.err[-3000:]}"
        return ended

    def _faults(self, ended: Ended, statuses: Sequence[int], before: dict[str, tuple[object, ...]]) -> Iterator[str]:
        if ended.status not in statuses:
            name = signal.Signals(-ended.status).name if ended.status < 0 else ended.status
            yield f"ended with {name}, expected one of {statuses}"
        if ended.hung:
            yield f"went on after an interrupt ({ended.seconds:.0f} s)"
        if ended.memory > MEMORY:
            yield f"took {ended.memory / 1e9:.1f} GB"
        if "Traceback" in ended.err + ended.out or "CLIPOPT_TRACEBACK" in ended.err:
            yield "an error that nobody foresaw"
        if ended.status in (1, 2):
            lines = [line for line in ended.err.splitlines() if line.strip() and not _PROGRESS.fullmatch(line)]
            if not lines or not lines[-1].startswith("clipopt: "):
                yield "no line that says what is wrong"
            if foreign := [line for line in lines if not line.startswith("clipopt: ")]:
                yield f"{len(foreign)} lines of others, such as {foreign[0][:200]!r}"
        if re.search(r"[\x00-\x08\x0b-\x1f\x7f]", ended.err):
            yield "control codes on stderr"
        if ended.status == 2 and (changed := _changed(before, snapshot(self.case))):
            yield f"bad input, yet it wrote {', '.join(changed[:3])}"
        if changed := _changed(self._whole, snapshot(self.outside)):
            yield f"outside it changed {', '.join(changed[:3])}"
        yield from ended.noted


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """What tells whether something below a folder was made, changed or deleted."""
    found: dict[str, tuple[object, ...]] = {}
    for place, folders, names in os.walk(folder):
        for name in folders + names:
            path = Path(place, name)
            status = path.lstat()
            whole = (status.st_size, status.st_mtime_ns, status.st_ctime_ns) if name in names else ()
            found[ascii(str(path.relative_to(folder)))] = (status.st_mode, status.st_ino, *whole)
    return found


def _changed(before: dict[str, tuple[object, ...]], after: dict[str, tuple[object, ...]]) -> list[str]:
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
