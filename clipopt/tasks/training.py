"""What `clipopt train` does with the scorers: paint, train, measure."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clipopt import files
from clipopt.record import check_out, peak_memory, versions
from clipopt.record.folder import new_folder
from clipopt.tasks.checks import resolve_device
from clipopt.tasks.train import Train

if TYPE_CHECKING:
    from clipopt.embedded.training import Trainer

MEASURED = 1000
"""Unseen pictures that a finished training is measured on; a quarter of them under attack."""


def prepare(task: Train) -> Callable[[], None]:
    """Check everything, write nothing, and return the training."""
    from clipopt.embedded.painters import sprites

    if not 0 < task.share <= 1:
        raise ValueError(f"--share must lie above 0 and up to 1, got {task.share}")
    if min(task.save_every, task.workers or 1) < 1:
        raise ValueError("--save-every and --workers must be at least 1")
    resolve_device(task.device)
    if task.resume is None:
        check_out(task.out, overwrite=task.overwrite)
        settings: dict[str, Any] = {"which": task.which, "share": task.share, "seed": task.seed}
        settings["precision"] = _precision(task)
    else:
        settings = _read_settings(task.resume, task.which)
    sprites()
    return lambda: _train(task, settings)


def _precision(task: Train) -> str:
    from clipopt.scorers.precision import resolve_dtype

    return "bfloat16" if resolve_dtype(task.precision, task.device) == torch.bfloat16 else "float32"


def _train(task: Train, settings: dict[str, Any]) -> None:
    from dataclasses import replace

    from tqdm import tqdm

    from clipopt.embedded import training
    from clipopt.embedded.pictures import Pictures, paint

    recipe = training.recipe(settings["which"])
    if settings["share"] < 1:
        recipe = recipe.shortened(settings["share"])
    if settings["seed"] is not None:
        recipe = replace(recipe, seed=settings["seed"])
    out = _folder(task, settings)
    pictures = task.pictures or out / "pictures"
    total, quiet = recipe.pictures, task.json
    with tqdm(total=total, desc="painting", unit="picture", disable=quiet, file=sys.stderr) as bar:
        for done in paint(recipe.world, total, pictures, workers=task.workers):
            bar.update(done - bar.n)
    amp = settings["precision"] == "bfloat16"
    trainer = training.Trainer(recipe, Pictures(pictures), device=task.device, amp=amp)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        trainer.resume(torch.load(checkpoint, map_location=task.device, weights_only=True))
    start = time.perf_counter()
    bar = tqdm(total=recipe.batches, initial=trainer.done, desc="training", disable=quiet, file=sys.stderr)
    try:
        with bar, (out / "train.jsonl").open("a", encoding="utf-8") as log:
            for figures in trainer.run():
                shown = {k: f"{v:.3f}" if isinstance(v, float) else v for k, v in figures.items()}
                bar.set_postfix(shown, refresh=False)
                bar.update()
                log.write(json.dumps({"batch": trainer.done, **figures}) + "\n")
                if trainer.done % task.save_every == 0:
                    log.flush()
                    _checkpoint(trainer, checkpoint)
    finally:
        _checkpoint(trainer, checkpoint)
    _save(trainer, out / f"{settings['which']}.safetensors")
    summary = _summary(task, out, settings, trainer, time.perf_counter() - start)
    if task.pictures is None:
        shutil.rmtree(pictures)
    sys.stdout.write(json.dumps(summary) + "\n" if task.json else f"{out}\n")


def _folder(task: Train, settings: dict[str, Any]) -> Path:
    if task.resume is not None:
        return task.resume
    if task.out is None:
        out = new_folder(Path("outputs/train"), settings["which"])
    else:
        out = task.out
        out.mkdir(parents=True, exist_ok=True)
        for name in ("checkpoint.pt", "train.jsonl", "summary.json"):
            (out / name).unlink(missing_ok=True)
    files.write_text(out / "config.json", json.dumps({"task": "train", **settings}, indent=2))
    return out


def _summary(task: Train, out: Path, settings: dict[str, Any], trainer: "Trainer", seconds: float) -> dict[str, Any]:
    from clipopt.embedded.measure import accuracy, attributes
    from clipopt.scorers.tower import load_tower

    path = out / f"{settings['which']}.safetensors"
    scorer = load_tower(path, device=task.device)
    summary = {
        "file": str(path),
        "fingerprint": scorer.fingerprint,
        "accuracy": accuracy(scorer, MEASURED),
        "accuracy_under_attack": {str(e): accuracy(scorer, MEASURED // 4, e, steps=10) for e in (0.5, 1.0, 2.0)},
        "attributes": {name: share for name, (share, _) in attributes(scorer, MEASURED).items()},
        "batches": trainer.done,
        "seconds_of_training": round(seconds, 1),
        "peak_memory_bytes": peak_memory(),
        "versions": versions(),
    }
    files.write_text(out / "summary.json", json.dumps(summary, indent=2))
    return summary


def _checkpoint(trainer: "Trainer", path: Path) -> None:
    with files.atomic(path) as temporary:
        torch.save(trainer.state(), temporary)


def _save(trainer: "Trainer", path: Path) -> None:
    """Write the weights, and with them how well real pictures match their captions."""
    from clipopt.embedded.measure import matches
    from clipopt.scorers.tower import TowerScorer

    towers, facts = trainer.result()
    real = matches(TowerScorer(towers, path.stem, ""), MEASURED)
    with files.atomic(path) as temporary:
        towers.save(temporary, facts | {"matches": json.dumps([round(cosine, 4) for cosine in real])})


def _read_settings(folder: Path, which: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no training to resume: expected {path} ({error})") from error
    if settings.get("task") != "train" or not {"which", "share", "seed", "precision"} <= settings.keys():
        raise ValueError(f"{folder} holds no training to resume: {path} was not written by `clipopt train`")
    if settings["which"] != which:
        raise ValueError(f"{folder} trains the {settings['which']}; resume it with: clipopt train {settings['which']}")
    return settings
