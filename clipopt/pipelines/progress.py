"""How far the work is: a bar on a terminal, a plain line now and then everywhere else."""

import contextlib
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any, Protocol, TypeVar, runtime_checkable

SHARE, PAUSE, LONGEST_PAUSE = 0.1, 2.0, 30.0
"""A line is due after this share of the work, but not before so many seconds, and after so many at the latest."""

T = TypeVar("T")


@runtime_checkable
class Progress(Protocol):
    """What a bar can do, as tqdm's; used as a context, it is closed in the end."""

    n: int
    total: Any

    def update(self, n: int = 1) -> Any:
        """Say that `n` more are done."""

    def set_postfix(self, *, refresh: bool = True, **figures: Any) -> Any:
        """What to say behind the number from now on."""

    def close(self) -> None:
        """Say the last of it."""

    def __enter__(self) -> Any: ...

    def __exit__(self, *error: object) -> Any: ...


def progress(total: int | None, *, unit: str, initial: int = 0, name: str = "", quiet: bool = False) -> Progress:
    """Tell on stderr how far the work is.

    Args:
        total: How many there are; None where that is not known yet.
        unit: What is counted, for example "step".
        initial: How many are done already.
        name: What the work is called.
        quiet: Say nothing.
    """
    if quiet or not sys.stderr.isatty():
        return Lines(total, unit=unit, initial=initial, name=name, quiet=quiet)
    from tqdm import tqdm

    bar: Progress = tqdm(total=total, initial=initial, unit=unit, desc=name or None, file=sys.stderr)
    return bar


def over(items: Iterable[T], bar: Progress) -> Iterator[T]:
    """The items, each of which is done when the next is asked for."""
    with bar:
        for item in items:
            yield item
            bar.update()


class Lines:
    """`Progress` for a file or a pipe, where the codes of a bar would be noise."""

    def __init__(self, total: int | None, *, unit: str, initial: int = 0, name: str = "", quiet: bool = False) -> None:
        self.total, self.n, self._unit, self._name, self._quiet = total, initial, unit, name, quiet
        self._told, self._figures = initial, ""
        self._began = self._last = time.monotonic()

    def update(self, n: int = 1) -> None:
        """Say that `n` more are done; the line comes when one is due."""
        self.n += n
        waited = time.monotonic() - self._last
        much = self.total is not None and self.n - self._told >= SHARE * self.total
        if waited >= LONGEST_PAUSE or (much and waited >= PAUSE):
            self._tell()

    def set_postfix(self, *, refresh: bool = True, **figures: Any) -> None:
        """What to say behind the number from now on."""
        self._figures = "".join(f", {name} {value}" for name, value in figures.items())

    def close(self) -> None:
        """Say the last of it."""
        if self.n != self._told:
            self._tell()

    def __enter__(self) -> "Lines":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _tell(self) -> None:
        self._told, self._last = self.n, time.monotonic()
        if self._quiet:
            return
        count = f"{self.n}" if self.total is None else f"{self.n} of {self.total}"
        units = f"{self._unit}{'es' if self._unit.endswith('ch') else 's'}"
        name, seconds = f"{self._name}: " if self._name else "", round(self._last - self._began)
        line = f"{name}{count} {units}, {seconds} s{self._figures}"
        with contextlib.suppress(OSError):  # who stops reading stops no work
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
