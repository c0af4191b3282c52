"""Steps with a record: the folder, the progress bar, Ctrl-C, and what is left of a run that cannot go on."""

import json
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
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


@runtime_checkable
class _Lasting(Protocol):
    @property
    def steps(self) -> int: ...


@runtime_checkable
class _Scored(Protocol):
    @property
    def score(self) -> PerItem: ...


@runtime_checkable
class Making(Protocol):
    """Items in the making."""

    @property
    def plan(self) -> _Lasting:
        """Says how many steps there are."""
        ...

    @property
    def items(self) -> Sequence[Any]:
        """What is made."""
        ...

    @property
    def best(self) -> _Scored:
        """Each item at its best so far."""
        ...

    def draw(self, start: int = 0) -> Iterator[tuple[Step, dict[str, PerItem]]]:
        """Yields every step from `start` on, with the scores of the items where it looked."""
        ...

    def frame(self) -> Images:
        """What the film shows of the items now."""
        ...

    def prepare(self) -> None:
        """Stand where the first step starts from, if it is not there already."""
        ...

    def state(self) -> dict[str, Any]:
        """What is needed to go on."""
        ...


def carry_out(
    making: Making, run: Run, finish: Callable[[Exception | None], dict[str, Any]], *, quiet: bool = False
) -> dict[str, Any]:
    """Take the steps that are left, writing everything down.

    Args:
        making: What is made.
        run: Where it is written.
        finish: Called in the end with what made it stop, if anything did; returns the summary, or raises.
        quiet: No progress bar.
    """
    steps, failure = making.plan.steps, None
    frame_every = max(1, steps // FRAMES)
    with run, graceful_interrupt() as interrupted:
        bar = progress(steps, initial=run.step, unit="step", quiet=quiet)
        saved, pause = time.monotonic(), CHECKPOINT_SECONDS
        try:
            if run.step == 0:
                making.prepare()
                run.preview(making.frame())
            shown = {"score": making.best.score}
            for step, scores in making.draw(run.step):
                shown |= scores
                run.log(step.index, step.loss, step.terms, score=scores.get("score"), judge=scores.get("judge"))
                if run.step % frame_every == 0:
                    run.preview(finite(making.frame(), run.step))
                means = {
                    name: f"{float(values.nanmean()):.3f}" for name, values in shown.items() if not values.isnan().all()
                }
                bar.set_postfix(loss=f"{float(step.loss) / len(making.items):.3f}", **means, refresh=False)
                bar.update()
                if interrupted():
                    break
                if time.monotonic() - saved > pause:
                    began = time.monotonic()
                    run.save(making.state())
                    saved = time.monotonic()
                    pause = max(CHECKPOINT_SECONDS, (saved - began) / SAVING)
        except Exception as error:  # whatever it is, the best so far is worth keeping
            failure = error
        finally:
            bar.close()
        return conclude(run, making.state, finish, failure, interrupted)


def finite(images: Images, step: int) -> Images:
    """The pictures.

    Raises:
        FloatingPointError: one is not finite after `step` steps.
    """
    if not bool(torch.isfinite(images).all()):
        raise FloatingPointError(f"after step {step} a picture is not finite: lower the learning rate")
    return images


def conclude(
    run: Run,
    state: Callable[[], dict[str, Any]],
    finish: Callable[[Exception | None], dict[str, Any]],
    failure: Exception | None,
    interrupted: Callable[[], bool],
) -> dict[str, Any]:
    """Save a run and write its results, also of one that failed.

    Args:
        run: Which.
        state: Gives what is needed to go on.
        finish: Called with what made it stop, if anything did; returns the summary, or raises.
        failure: What made it stop.
        interrupted: Whether it was asked to stop.

    Raises:
        KeyboardInterrupt: it was, and has not done all.
        FloatingPointError: it failed.
        MemoryError: there was not enough of it.
        OSError: something could not be written.
        RuntimeError: it failed in another way.
    """
    if failure is None:
        try:
            run.save(state())
        except Exception as error:  # a full disk may have room for the results
            failure = error
    try:
        summary = finish(failure)
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


def status_of(run: Run, steps: int, failure: Exception | None) -> Literal["done", "interrupted", "failed"]:
    """How a run of `steps` ended."""
    if failure is not None:
        return "failed"
    return "done" if run.step == steps else "interrupted"


def begin(task: str, settings: Any, name: str, config: Mapping[str, Any], fingerprints: Mapping[str, str]) -> Run:
    """Start a run in the folder that settings name.

    Args:
        task: The command.
        settings: As given; they have `out` and `overwrite`.
        name: What a new folder is called after.
        config: The settings as config.json keeps them, of which `from_config` makes settings again.
        fingerprints: Of the models and files that take part.
    """
    asked = from_config(type(settings), json.loads(dumped({k: v for k, v in config.items() if k != WORDS})))
    return Run.create(
        settings.out, task, name, config, command=command_line(task, asked), fingerprints=fingerprints,
        overwrite=settings.overwrite,
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
