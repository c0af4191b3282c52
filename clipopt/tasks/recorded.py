"""Steps with a record: the folder, the progress bar, Ctrl-C, and what is left of a run that cannot go on."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

from clipopt.optimize import Step
from clipopt.record import Run
from clipopt.tasks.interrupt import graceful_interrupt
from clipopt.tasks.planner import out_of_memory
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
    from tqdm import tqdm

    steps, failure = making.plan.steps, None
    frame_every = max(1, steps // FRAMES)
    with graceful_interrupt() as interrupted:
        if run.step == 0:
            run.preview(making.frame())
        shown = {"score": making.best.score}
        bar = tqdm(total=steps, initial=run.step, unit="step", disable=quiet, file=sys.stderr)
        saved, pause = time.monotonic(), CHECKPOINT_SECONDS
        try:
            for step, scores in making.draw(run.step):
                shown |= scores
                run.log(step.index, step.loss, step.terms, score=scores.get("score"), judge=scores.get("judge"))
                if run.step % frame_every == 0:
                    run.preview(making.frame())
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
        except (FloatingPointError, MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and not out_of_memory(error):
                raise
            failure = error
        finally:
            bar.close()
        if failure is None:
            run.save(making.state())
        return finish(failure)


def status_of(run: Run, steps: int, failure: Exception | None) -> Literal["done", "interrupted", "failed"]:
    """How a run of `steps` ended."""
    if failure is not None:
        return "failed"
    return "done" if run.step == steps else "interrupted"


def ended(summary: Mapping[str, Any], failure: Exception | None, run: Run) -> dict[str, Any]:
    """The summary, where the run was done.

    Raises:
        FloatingPointError: it failed.
        MemoryError: there was not enough of it.
        KeyboardInterrupt: it was interrupted.
    """
    if failure is not None:
        kind = FloatingPointError if isinstance(failure, FloatingPointError) else MemoryError
        raise kind(f"{failure}; the best so far is in {run.folder}") from failure
    if summary["status"] == "interrupted":
        raise KeyboardInterrupt
    return dict(summary)
