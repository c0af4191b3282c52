"""What the commands do that make something: load, check, carry out or go on, tell."""

import dataclasses
import json
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from clipopt.pipelines.config import of_run, refuse_beside_resume
from clipopt.pipelines.models import Models
from clipopt.pipelines.resources import in_words

if TYPE_CHECKING:
    from clipopt.pipelines.run_loop import Loop
    from clipopt.record import Run

_TOLD = ("dry_run", "json", "quiet")


def prepare(task: Any) -> Callable[[], None]:
    """Check everything, write nothing, and return the work.

    Args:
        task: Settings of a pipeline with those of `clipopt.commands.options.RunOptions`.

    Raises:
        ValueError: a setting is wrong, in one line.
    """
    if task.resume is not None:
        return _resume(task)
    loop, fingerprints = task.load(Models())  # says what is missing before anything that takes time is imported
    from clipopt.pipelines.run_loop import begin
    from clipopt.record import check_out

    check_out(task.out, overwrite=task.overwrite)
    if task.dry_run:
        return lambda: _say_forecast(task, loop, fingerprints)
    return lambda: _make(task, loop, begin(task, loop, fingerprints, out=task.out, overwrite=task.overwrite))


def _resume(task: Any) -> Callable[[], None]:
    """Go on with a run, by its own settings."""
    from clipopt.pipelines.run_loop import require_words, restore
    from clipopt.record import Run

    refuse_beside_resume(task, ("resume", "device", *_TOLD, *(("steps",) if task.longer else ())))
    steps = task.steps if task.longer else None
    run = Run.resume(task.resume, task.task, steps=steps, dry=task.dry_run)
    again = dataclasses.replace(of_run(type(task), run), **{name: getattr(task, name) for name in _TOLD})
    if getattr(task, "device", "auto") != "auto":
        again = dataclasses.replace(again, device=task.device)
    loop, fingerprints = again.load(Models())
    require_words(run, getattr(loop, "said", {}))
    run.require(fingerprints=fingerprints)
    loop.extend(run.total)
    restore(run, loop.load_state)
    if task.dry_run:
        return lambda: _say_forecast(again, loop, fingerprints, run)
    return lambda: _make(again, loop, run)


def _make(task: Any, loop: "Loop", run: "Run") -> None:
    from clipopt.pipelines.run_loop import carry_out

    if not task.json:
        for change in getattr(loop, "changes", ()):
            sys.stderr.write(f"clipopt: {task.task}: {change}\n")
    try:
        summary = carry_out(loop, run, quiet=task.quiet)
    except KeyboardInterrupt:
        command = f"clipopt {task.task} --resume {shlex.quote(str(run.folder))}"
        sys.stderr.write(f"clipopt: interrupted and saved; continue with: {command}\n")
        raise
    sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n" if task.json else f"{run.folder}\n")


def _say_forecast(task: Any, loop: "Loop", fingerprints: dict[str, str], run: "Run | None" = None) -> None:
    """What a run would take, for a person or as JSON."""
    new = task.out or f"outputs/{task.task}/<time>-<prompt>"
    plan = {
        "settings": task.config(loop), "fingerprints": fingerprints, "folder": str(run.folder if run else new),
        **task.forecast(loop, run.step if run else 0),
    }  # fmt: skip
    if not task.json:
        for change in plan.get("changes", ()):
            sys.stderr.write(f"clipopt: {task.task}: {change}\n")
    as_text = "measured" in plan and not task.json
    indent = None if task.json else 2
    told = in_words(plan) if as_text else json.dumps(plan, ensure_ascii=False, indent=indent, default=str)
    sys.stdout.write(told + "\n")
