"""Steps with a record: the folder, the progress bar, Ctrl-C, and what is left of a run that cannot go on."""

import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch

from clipopt.loop import Step
from clipopt.pipelines.config import WORDS, command_line, from_config
from clipopt.pipelines.interrupt import graceful_interrupt
from clipopt.pipelines.progress import progress
from clipopt.pipelines.resources import out_of_memory
from clipopt.record import Run, dumped
from clipopt.types import Images, PerItem

FRAMES = 60
"""Frames of the progress film."""
CHECKPOINT_SECONDS, SAVING = 10.0, 0.05
"""A checkpoint is written this often, or less often where that would take more than this share of the time."""


@dataclass(frozen=True)
class Update:
    """What became of a run: after a step, a look of a search, or a frame.

    Attributes:
        done: How much is done, of the loop's `total`.
        step: The step of the optimizer, where it was one.
        scores: What scorer and judge think, where they looked.
        told: What a progress bar says besides.
    """

    done: int
    step: Step | None = None
    scores: Mapping[str, PerItem] = field(default_factory=dict)
    told: Mapping[str, str] = field(default_factory=dict)


Status = Literal["done", "interrupted", "failed"]


@runtime_checkable
class Loop(Protocol):
    """Something in the making, that can be taken up again."""

    unit: str
    """What `total` counts."""

    @property
    def total(self) -> int:
        """How much there is to do."""
        ...

    @property
    def label(self) -> str:
        """What is made, in words."""
        ...

    def updates(self, start: int = 0) -> Iterator[Update]:
        """All that is left to do when `start` is done."""
        ...

    def record(self, run: Run, update: Update | None) -> None:
        """Write what the film shows after an update; None before the first one."""
        ...

    def finish(self, run: Run, status: Status, reason: str) -> dict[str, Any]:
        """Write the results; returns the summary."""
        ...

    def extend(self, steps: int | None) -> None:
        """Take more steps, so many in all; None leaves it as it is."""
        ...

    def state(self) -> dict[str, Any]:
        """What is needed to go on, bit for bit on the CPU with as many threads."""
        ...

    def load_state(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        ...


class Stepwise:
    """The part of `Loop` that is the same wherever several items are made step by step.

    Attributes:
        plan: With the number of `steps`.
        items: What is made, each with its `label`.
        best: Each item at its best so far, with its `score`.
    """

    unit = "step"
    plan: Any
    items: Sequence[Any]
    best: Any

    def draw(self, start: int = 0) -> Iterator[tuple[Step, dict[str, PerItem]]]:
        """Yields every step from `start` on, with the scores of the items where it looked."""
        raise NotImplementedError

    def frame(self) -> Images:
        """What the film shows of the items now."""
        raise NotImplementedError

    @property
    def total(self) -> int:
        """Steps of the optimizer, or samples."""
        steps: int = self.plan.steps
        return steps

    @property
    def label(self) -> str:
        """What the first item shows."""
        label: str = self.items[0].label
        return label

    def updates(self, start: int = 0) -> Iterator[Update]:
        """`draw` as updates, which tell the loss of an item and the mean scores."""
        shown = {"score": self.best.score}
        for step, scores in self.draw(start):
            shown |= scores
            means = {name: f"{float(at.nanmean()):.3f}" for name, at in shown.items() if not at.isnan().all()}
            told = {"loss": f"{float(step.loss) / len(self.items):.3f}", **means}
            yield Update(step.index + 1, step, {n: scores[n] for n in ("score", "judge") if n in scores}, told)

    def record(self, run: Run, update: Update | None) -> None:
        """Keep a frame of the progress film, if it is its turn.

        Raises:
            FloatingPointError: it is not finite.
        """
        if update is None or update.done % max(1, self.total // FRAMES) == 0:
            run.preview(finite(self.frame(), 0 if update is None else update.done))


def carry_out(loop: Loop, run: Run, *, quiet: bool = False) -> dict[str, Any]:
    """Do what is left to do, writing everything down; returns what summary.json holds.

    Args:
        loop: What is made.
        run: Where it is written.
        quiet: No progress bar.

    Raises:
        KeyboardInterrupt: Ctrl-C, SIGTERM or SIGHUP, after the step in progress was finished and everything was saved.
        FloatingPointError: something is not finite; the best so far is in the folder.
        MemoryError: there was not enough of it; likewise.
        OSError: something could not be written.
        RuntimeError: it failed in another way.
    """
    failure, stopped = None, False
    with run, graceful_interrupt() as interrupted:
        bar = progress(loop.total, initial=run.step, unit=loop.unit, quiet=quiet)
        saved, pause = time.monotonic(), CHECKPOINT_SECONDS
        try:
            if run.step == 0:
                loop.record(run, None)
            for update in loop.updates(run.step):
                if update.step is not None:
                    run.log(update.step.index, update.step.loss, update.step.terms, **update.scores)
                loop.record(run, update)
                if update.told:
                    bar.set_postfix(**update.told, refresh=False)
                bar.update(update.done - bar.n)
                if interrupted() and update.done < loop.total:
                    stopped = True
                    break
                if time.monotonic() - saved > pause:
                    began = time.monotonic()
                    run.save(loop.state())
                    saved = time.monotonic()
                    pause = max(CHECKPOINT_SECONDS, (saved - began) / SAVING)
        except Exception as error:  # whatever it is, the best so far is worth keeping
            failure = error
        finally:
            bar.close()
        return _conclude(loop, run, failure, stopped, interrupted)


def finite(images: Images, step: int) -> Images:
    """The pictures.

    Raises:
        FloatingPointError: one is not finite after `step` steps.
    """
    if not bool(torch.isfinite(images).all()):
        raise FloatingPointError(f"after step {step} a picture is not finite: lower the learning rate")
    return images


def _conclude(
    loop: Loop, run: Run, failure: Exception | None, stopped: bool, interrupted: Callable[[], bool]
) -> dict[str, Any]:
    """Save a run and write its results, also of one that failed."""
    if failure is None:
        try:
            run.save(loop.state())
        except Exception as error:  # a full disk may have room for the results
            failure = error
    status: Status = "failed" if failure is not None else "interrupted" if stopped else "done"
    try:
        summary = loop.finish(run, status, reason(failure) if failure else "")
    except Exception as error:
        if failure is None and interrupted():  # such as a film that was stopped, too
            raise KeyboardInterrupt from error
        raise _failed(failure or error, run, "what was saved is") from error
    if failure is not None:
        raise _failed(failure, run, "the best so far is") from failure
    if summary["status"] == "interrupted":
        raise KeyboardInterrupt
    return summary


def _failed(failure: Exception, run: Run, kept: str) -> Exception:
    """A failure in a line that says where things are and how to go on."""
    command = f"clipopt {run.task} --resume {shlex.quote(str(run.folder))}"
    line = f"{reason(failure)}; {kept} in {run.folder}, go on with: {command}"
    if out_of_memory(failure):
        return MemoryError(line)
    for kind in (FloatingPointError, OSError, ValueError):
        if isinstance(failure, kind):
            return kind(line)
    return RuntimeError(line)


def reason(failure: Exception) -> str:
    """What went wrong, in a line."""
    said = " ".join(str(failure).split())
    foreseen = type(failure) is RuntimeError or isinstance(
        failure, ValueError | OSError | FloatingPointError | MemoryError
    )
    return said if said and foreseen else f"{type(failure).__name__}: {said}".rstrip(": ")


def begin(
    settings: Any, loop: Loop, fingerprints: Mapping[str, str], *, out: Path | None, overwrite: bool = False
) -> Run:
    """Start a run.

    Args:
        settings: As given; their `config` is what config.json keeps, of which `from_config` makes settings again.
        loop: What is made of them.
        fingerprints: Of the models and files that take part.
        out: The folder, exactly; None for a new one, which is called after what is made.
        overwrite: Replace the run that `out` holds.
    """
    config = settings.config(loop)
    asked = from_config(type(settings), json.loads(dumped({k: v for k, v in config.items() if k != WORDS})))
    return Run.create(
        out, settings.task, loop.label, config, command=command_line(settings.task, asked), fingerprints=fingerprints,
        overwrite=overwrite,
    )  # fmt: skip


def require_words(run: Run, said: Mapping[str, str]) -> None:
    """Check that scorers of a small vocabulary are told what they were told when a run began.

    Raises:
        ValueError: a text is read otherwise, as where the packages of natural sight were installed or removed since.
    """
    was = run.config.get(WORDS, said)
    for text in said if was == said else {*was, *said}:
        if was.get(text) != said.get(text):
            then, now = (f'as "{read[text]}"' if text in read else "by its own words" for read in (was, said))
            raise ValueError(
                f"cannot continue {run.folder}: {text!r} was read {then} when it began, now {now}; "
                "install or remove clipopt[natural] as it was then, or start a new run"
            )


def restore(run: Run, load: Callable[[dict[str, Any]], None]) -> None:
    """Load the state of a resumed run, where there is one.

    Raises:
        ValueError: it is not of such a run.
    """
    if run.state is None:
        return
    try:
        load(run.state)
    except Exception as error:  # whatever a tampered state can bring about
        path = run.folder / "checkpoint.pt"
        raise ValueError(
            f"{path} does not fit this run ({reason(error)[:200]}); delete it to start this run again from step 0"
        ) from error
