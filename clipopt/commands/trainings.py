"""What all trainings share: settings that a resumed one goes on with, the folder, the loop with its checkpoints."""

import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Protocol, TypeVar, runtime_checkable

import torch

from clipopt.commands.train import Train
from clipopt.commands.train_describer import TrainDescriber
from clipopt.commands.train_generator import TrainGenerator
from clipopt.commands.train_motion import TrainMotion
from clipopt.commands.train_sketcher import TrainSketcher
from clipopt.io import files, folders
from clipopt.pipelines.interrupt import graceful_interrupt
from clipopt.pipelines.progress import progress
from clipopt.record import check_out, peak_memory, versions
from clipopt.record.folder import new_folder
from clipopt.scorers.tower import TowerScorer

Task = Train | TrainDescriber | TrainGenerator | TrainMotion | TrainSketcher
T = TypeVar("T", Train, TrainDescriber, TrainGenerator, TrainMotion, TrainSketcher)

MOST_WORKERS = 1024
"""Processes that may paint at once."""
_held = ExitStack()  # the lock of the training under way
_MAY_CHANGE = {"which", "resume", "json", "save_every", "workers", "pictures", "device"}
"""Options that a training can be gone on with otherwise than it began."""


@runtime_checkable
class Trainer(Protocol):
    """A training that can be left and gone on with after every batch."""

    done: int

    def run(self) -> Iterator[Mapping[str, float | str]]:
        """Train to the end; yields figures after every batch."""

    def state(self) -> dict[str, Any]:
        """Everything that `resume` needs."""

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""


def resumed(task: T) -> T:
    """A task that resumes a training, with its folder of pictures where no other is given.

    Raises:
        ValueError: the folder holds nothing of this kind to resume, or an option says otherwise than the training.
    """
    if task.resume is None:
        return task
    kept = _settings(task.resume, task.which, set())
    folders.check_idle(task.resume)
    for option in fields(task):
        given = getattr(task, option.name)
        if option.name not in _MAY_CHANGE and given not in (option.default, kept.get(option.name)):
            began = f", got {given} for {kept[option.name]}" if option.name in kept else f", got {given}"
            name = option.name.replace("_", "-")
            raise ValueError(f"a training goes on as it began: leave --{name} out beside --resume{began}")
    if task.pictures is None and kept.get("pictures"):
        task = replace(task, pictures=Path(kept["pictures"]))
    return task


def settle(task: Task, *more: str, device: str = "cpu") -> dict[str, Any]:
    """The settings of a new training, or of the one to resume: share, seed, precision and the options named `more`.

    Raises:
        ValueError: an option is out of its range, the folder is taken, or holds nothing of this kind to resume.
    """
    from clipopt.scorers.precision import resolve_dtype

    if not 0 < task.share <= 1:
        raise ValueError(f"--share must lie above 0 and up to 1, got {task.share}")
    if task.save_every < 1:
        raise ValueError(f"--save-every must be at least 1, got {task.save_every}")
    names = ("which", "share", "seed", *more)
    if task.resume is not None:
        return _settings(task.resume, task.which, {*names, "precision"})
    check_out(task.out, overwrite=task.overwrite, kind="training")
    fast = resolve_dtype(task.precision, device) == torch.bfloat16
    pictures = None if task.pictures is None else str(task.pictures.absolute())
    used = {"precision": "bfloat16" if fast else "float32", "pictures": pictures}
    return {name: getattr(task, name) for name in names} | used


def _settings(folder: Path, which: str, names: set[str]) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no training to resume: expected {path} ({error})") from error
    if settings.get("task") != "train" or not names <= settings.keys():
        raise ValueError(f"{folder} holds no training to resume: {path} was not written by `clipopt train {which}`")
    if settings["which"] != which:
        raise ValueError(f"{folder} trains the {settings['which']}; resume it with: clipopt train {settings['which']}")
    return settings


def tower(spec: str, device: str = "cpu") -> TowerScorer:
    """The small scorer that `spec` names.

    Raises:
        ValueError: it names nothing, or a scorer of another kind.
    """
    from clipopt.scorers import load_scorer

    scorer = load_scorer(spec, device=device)
    if not isinstance(scorer, TowerScorer):
        raise ValueError(
            f"expected embedded, embedded-judge, embedded-plain or a .safetensors of `clipopt train`, got {spec}"
        )
    return scorer


def fit(recipe: Any, settings: dict[str, Any]) -> Any:
    """A recipe, a dataclass with a seed that can be shortened, with the share and the seed that are asked for.

    The settings of a new training get its fingerprint.

    Raises:
        ValueError: the training to resume began with another recipe.
    """
    if settings["share"] < 1:
        recipe = recipe.shortened(settings["share"])
    if settings["seed"] is not None:
        recipe = replace(recipe, seed=settings["seed"])
    fingerprint = hashlib.sha256(repr(recipe).encode()).hexdigest()[:12]
    if settings.setdefault("recipe", fingerprint) != fingerprint:
        raise ValueError(
            "the training to resume began with another recipe than this version of clipopt has: "
            "go on with the version that began it, or begin anew"
        )
    return recipe


def folder(task: Task, settings: dict[str, Any], *made: str) -> Path:
    """The training's folder. A new one has its settings in it, and nothing that an earlier training `made`.

    Until the training ends, no other process writes it.

    Raises:
        BusyError: another process does.
    """
    _held.close()
    if task.resume is not None:
        _held.enter_context(folders.writing(task.resume))
        return task.resume
    out = new_folder(Path("outputs/train"), task.which) if task.out is None else task.out
    out.mkdir(parents=True, exist_ok=True)
    _held.enter_context(folders.writing(out))
    for name in ("train.jsonl", "summary.json", *made):
        (out / name).unlink(missing_ok=True)
    files.write_text(out / "config.json", json.dumps({"task": "train", **settings}, indent=2) + "\n")
    return out


def run(
    task: Task, trainer: Trainer, total: int, checkpoint: Path, *, name: str = "training", device: str = "cpu"
) -> float:
    """Train to the end with a progress bar, a line of train.jsonl for every batch, and checkpoints.

    Returns the seconds of training, with those before it was resumed. Ctrl-C lets the batch in progress end, saves,
    and says how to go on.
    """
    began = time.perf_counter()
    if checkpoint.exists():
        kept = torch.load(checkpoint, map_location=device, weights_only=True)
        trainer.resume(kept)
        began -= kept.get("seconds", 0.0)
    out = checkpoint.parent
    bar = progress(total, initial=trainer.done, unit="batch", name=name, quiet=task.json)
    with bar, (out / "train.jsonl").open("a", encoding="utf-8") as log, graceful_interrupt() as pressed:
        for figures in trainer.run():
            said = {k: f"{v:.3f}" if isinstance(v, float) else v for k, v in figures.items()}
            bar.set_postfix(**said, refresh=False)
            bar.update()
            log.write(json.dumps({"batch": trainer.done, **figures}) + "\n")
            if trainer.done % task.save_every == 0 or trainer.done == total or pressed():
                log.flush()
                with files.atomic(checkpoint) as temporary:
                    torch.save({**trainer.state(), "seconds": time.perf_counter() - began}, temporary)
            if pressed():
                break
    if trainer.done < total:
        where = "" if device == "cpu" else f" --device {device}"
        sys.stderr.write(f"interrupted and saved; go on with: clipopt train {task.which} --resume {out}{where}\n")
        _held.close()
        raise KeyboardInterrupt
    return time.perf_counter() - began


def finish(task: Task, out: Path, summary: dict[str, Any]) -> None:
    """Write the summary, with the memory that was needed and the versions, and tell where it is."""
    summary = {**summary, "peak_memory_bytes": peak_memory(), "versions": versions()}
    files.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    _held.close()
    sys.stdout.write(json.dumps(summary) + "\n" if task.json else f"{out}\n")
