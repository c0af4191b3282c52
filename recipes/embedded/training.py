"""What all trainings share: options, what a resumed one goes on with, the folder, the loop with its checkpoints."""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
import tyro

from clipopt.io import files, folders
from clipopt.pipelines.checks import resolve_device
from clipopt.pipelines.interrupt import graceful_interrupt
from clipopt.pipelines.progress import progress
from clipopt.record import check_out, peak_memory, versions
from clipopt.record.folder import new_folder
from clipopt.scorers.precision import resolve_dtype
from clipopt.scorers.tower import TowerScorer
from clipopt.weights import TRAIN

_MAY_CHANGE = {"which", "resume", "json", "save_every", "workers", "pictures", "device"}
"""Options that a training can be gone on with otherwise than it began."""


@dataclass(frozen=True)
class Training:
    """The options of every training."""

    which: tyro.conf.Suppress[tyro.conf.Fixed[str]]
    """What to train."""
    out: Path | None = None
    """Folder to write; by default outputs/train/<time>-<which>."""
    overwrite: bool = False
    """Train into --out even though it holds an earlier training."""
    resume: Path | None = None
    """Go on with a training that was interrupted: its folder. Its settings stay as they were."""
    share: float = 1.0
    """Share of the shipped training to do, between 0 and 1."""
    seed: int | None = None
    """Another seed than the shipped one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the layers; auto measures whether bfloat16 works and is faster here."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, mps."""
    pictures: Path | None = None
    """Folder to keep the painted pictures in, for further trainings; by default they are deleted at the end."""
    save_every: int = 100
    """Batches between checkpoints."""
    json: bool = False
    """Print the summary alone on stdout."""


T = TypeVar("T", bound=Training)


@runtime_checkable
class Resumable(Protocol):
    """A training that can be left and gone on with after every batch."""

    done: int

    def run(self) -> Iterator[Mapping[str, float | str]]:
        """Train to the end; yields figures after every batch."""

    def state(self) -> dict[str, Any]:
        """Everything that `resume` needs."""

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""


def settle(task: T) -> tuple[T, dict[str, Any]]:
    """A task and its settings: of a new training its options, of a resumed one those that it began with.

    The task that comes back has the folder of pictures of the training that it resumes, where no other is given.

    Raises:
        ValueError: an option is out of its range, or says otherwise than the training to resume; the folder is taken,
            or holds nothing of this kind to resume.
    """
    if not 0 < task.share <= 1:
        raise ValueError(f"--share must lie above 0 and up to 1, got {task.share}")
    if task.save_every < 1:
        raise ValueError(f"--save-every must be at least 1, got {task.save_every}")
    resolve_device(task.device)
    names = [option.name for option in fields(task) if option.name not in {*_MAY_CHANGE, "out", "overwrite"}]
    settings = {name: getattr(task, name) for name in ("which", *names)}
    if task.resume is not None:
        kept = _kept(task.resume, task.which)
        for option in fields(task):
            given = getattr(task, option.name)
            if option.name not in _MAY_CHANGE and given not in (option.default, kept.get(option.name)):
                began = f", got {given} for {kept[option.name]}" if option.name in kept else f", got {given}"
                name = option.name.replace("_", "-")
                raise ValueError(f"a training goes on as it began: leave --{name} out beside --resume{began}")
        pictures = task.pictures or (Path(kept["pictures"]) if kept.get("pictures") else None)
        return replace(task, pictures=pictures), settings | kept
    check_out(task.out, overwrite=task.overwrite, kind="training")
    fast = resolve_dtype(task.precision, task.device) == torch.bfloat16
    named = None if task.pictures is None else str(task.pictures.absolute())
    return task, settings | {"precision": "bfloat16" if fast else "float32", "pictures": named}


def _kept(folder: Path, which: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no training to resume: expected {path} ({error})") from error
    if settings.get("task") != "train" or not {"which", "share", "seed", "precision"} <= settings.keys():
        raise ValueError(f"{folder} holds no training to resume: {path} was not written by `{TRAIN} {which}`")
    if settings["which"] != which:
        raise ValueError(f"{folder} trains the {settings['which']}; resume it with: {TRAIN} {settings['which']}")
    folders.check_idle(folder)
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
            f"expected embedded, embedded-judge, embedded-plain or a .safetensors of `{TRAIN}`, got {spec}"
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


@contextmanager
def folder(task: Training, settings: dict[str, Any], *made: str) -> Iterator[Path]:
    """The training's folder. A new one has its settings in it, and nothing that an earlier training `made`.

    Within, no other process writes it.

    Raises:
        BusyError: another process does.
    """
    out = task.resume or task.out or new_folder(Path("outputs/train"), task.which)
    out.mkdir(parents=True, exist_ok=True)
    with folders.writing(out):
        if task.resume is None:
            for name in ("train.jsonl", "summary.json", *made):
                (out / name).unlink(missing_ok=True)
            files.write_text(out / "config.json", json.dumps({"task": "train", **settings}, indent=2) + "\n")
        yield out


def follow(task: Training, painted: Iterable[int], total: int) -> None:
    """Paint pictures with a progress bar; `painted` tells how many there are."""
    with progress(total, name="painting", unit="picture", quiet=task.json) as bar:
        for done in painted:
            bar.update(done - bar.n)


def run(task: Training, trainer: Resumable, total: int, checkpoint: Path, *, name: str = "training") -> float:
    """Train to the end with a progress bar, a line of train.jsonl for every batch, and checkpoints.

    Returns the seconds of training, with those before it was resumed. Ctrl-C lets the batch in progress end, saves,
    and says how to go on.
    """
    began = time.perf_counter()
    if checkpoint.exists():
        kept = torch.load(checkpoint, map_location=task.device, weights_only=True)
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
        where = "" if task.device == "cpu" else f" --device {task.device}"
        sys.stderr.write(f"interrupted and saved; go on with: {TRAIN} {task.which} --resume {out}{where}\n")
        raise KeyboardInterrupt
    return time.perf_counter() - began


def finish(task: Training, out: Path, **facts: Any) -> None:
    """Write the summary, with the memory that was needed and the versions, and tell where it is.

    Pictures that are not to be kept are deleted.
    """
    if task.pictures is None:
        shutil.rmtree(out / "pictures", ignore_errors=True)
    summary = {**facts, "peak_memory_bytes": peak_memory(), "versions": versions()}
    files.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    sys.stdout.write(json.dumps(summary) + "\n" if task.json else f"{out}\n")
