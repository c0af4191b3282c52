"""What `clipopt train motion` does: draw, train, measure."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from clipopt import files
from clipopt.record import check_out, peak_memory, versions
from clipopt.record.folder import new_folder
from clipopt.tasks.train_motion import TrainMotion

_KEPT = ("which", "share", "seed", "precision")
UNSEEN = 7
"""The world that a finished training is measured on; nobody trains there."""


def prepare(task: TrainMotion) -> Callable[[], None]:
    """Check everything, write nothing, and return the training."""
    from clipopt.scorers.precision import resolve_dtype

    if not 0 < task.share <= 1:
        raise ValueError(f"--share must lie above 0 and up to 1, got {task.share}")
    if task.save_every < 1:
        raise ValueError(f"--save-every must be at least 1, got {task.save_every}")
    if task.resume is not None:
        settings = _settings(task.resume, task.which)
        return lambda: _train(task, settings)
    check_out(task.out, overwrite=task.overwrite)
    fast = resolve_dtype(task.precision, "cpu") == torch.bfloat16
    given = {"which": task.which, "share": task.share, "seed": task.seed}
    return lambda: _train(task, given | {"precision": "bfloat16" if fast else "float32"})


def _train(task: TrainMotion, settings: dict[str, Any]) -> None:
    from tqdm import tqdm

    from clipopt.embedded import films, watching

    lesson = watching.lesson(settings["which"])
    if settings["share"] < 1:
        lesson = lesson.shortened(settings["share"])
    if settings["seed"] is not None:
        lesson = replace(lesson, seed=settings["seed"])
    out = _folder(task, settings)
    folder = task.pictures or out / "pictures"
    with tqdm(desc="drawing", unit="file", disable=task.json, file=sys.stderr) as bar:
        for done, total in films.draw(lesson.world, lesson.films, lesson.stills, folder):
            bar.total = total
            bar.update(done - bar.n)
    trainer = watching.Trainer(lesson, films.Films(lesson.world, folder), amp=settings["precision"] == "bfloat16")
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        trainer.resume(torch.load(checkpoint, weights_only=True))
    started = time.perf_counter()
    bar = tqdm(total=sum(lesson.batches), initial=trainer.done, desc="training", disable=task.json, file=sys.stderr)
    try:
        with bar, (out / "train.jsonl").open("a", encoding="utf-8") as log:
            for figures in trainer.run():
                bar.set_postfix({k: f"{v:.3f}" for k, v in figures.items()}, refresh=False)
                bar.update()
                log.write(json.dumps({"batch": trainer.done, **figures}) + "\n")
                if trainer.done % task.save_every == 0:
                    log.flush()
                    _checkpoint(trainer, checkpoint)
    finally:
        _checkpoint(trainer, checkpoint)
    model, facts = trainer.result()
    path = out / f"{settings['which']}.safetensors"
    with files.atomic(path) as temporary:
        model.save(temporary, facts)
    summary = {
        "file": str(path), "batches": trainer.done, **_measured(path, settings["share"]),
        "seconds_of_training": round(time.perf_counter() - started, 1),
        "peak_memory_bytes": peak_memory(), "versions": versions(),
    }  # fmt: skip
    files.write_text(out / "summary.json", json.dumps(summary, indent=2))
    if task.pictures is None:
        shutil.rmtree(folder)
    sys.stdout.write(json.dumps(summary) + "\n" if task.json else f"{out}\n")


def _folder(task: TrainMotion, settings: dict[str, Any]) -> Path:
    if task.resume is not None:
        return task.resume
    out = new_folder(Path("outputs/train"), settings["which"]) if task.out is None else task.out
    out.mkdir(parents=True, exist_ok=True)
    for name in ("checkpoint.pt", "train.jsonl", "summary.json"):
        (out / name).unlink(missing_ok=True)
    files.write_text(out / "config.json", json.dumps({"task": "train", **settings}, indent=2))
    return out


def _checkpoint(trainer: Any, path: Path) -> None:
    with files.atomic(path) as temporary:
        torch.save(trainer.state(), temporary)


def _measured(path: Path, share: float) -> dict[str, Any]:
    from clipopt.embedded.film_measure import measure
    from clipopt.scorers.film import load_film_scorer

    scorer = load_film_scorer(path)
    count = max(4, round(200 * share))
    return {"fingerprint": scorer.fingerprint, **measure(scorer, UNSEEN, count, 2 * count)}


def _settings(folder: Path, which: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no training to resume: expected {path} ({error})") from error
    if settings.get("task") != "train" or not set(_KEPT) <= settings.keys() or settings["which"] != which:
        raise ValueError(f"{folder} holds no training of {which}: {path} says otherwise")
    return settings
