"""What `clipopt train generator` does: paint, train the coder, then the denoiser."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from clipopt import files
from clipopt.record import check_out, peak_memory, versions
from clipopt.record.folder import new_folder
from clipopt.scorers import load_scorer
from clipopt.scorers.tower import TowerScorer
from clipopt.tasks.checks import resolve_device
from clipopt.tasks.train_generator import TrainGenerator

if TYPE_CHECKING:
    from clipopt.embedded.generator_training import Trainer

_DONE = ("coder.pt", "denoiser.pt", "latents.pt", "train.jsonl", "summary.json")


def prepare(task: TrainGenerator) -> Callable[[], None]:
    """Check everything, write nothing, and return the training."""
    from clipopt.embedded.painters import sprites

    if not 0 < task.share <= 1:
        raise ValueError(f"--share must lie above 0 and up to 1, got {task.share}")
    if task.save_every < 1:
        raise ValueError(f"--save-every must be at least 1, got {task.save_every}")
    resolve_device(task.device)
    names = ("share", "seed", "scorer", "eye", "precision")
    if task.resume is None:
        check_out(task.out, overwrite=task.overwrite)
        settings = {name: getattr(task, name) for name in names} | {"precision": _precision(task)}
    else:
        settings = _read_settings(task.resume, names)
    towers = [_tower(str(settings[name]), task.device) for name in ("scorer", "eye")]
    sprites()
    return lambda: _train(task, settings, *towers)


def _precision(task: TrainGenerator) -> str:
    from clipopt.scorers.precision import resolve_dtype

    return "bfloat16" if resolve_dtype(task.precision, task.device) == torch.bfloat16 else "float32"


def _train(task: TrainGenerator, settings: dict[str, Any], scorer: TowerScorer, eye: TowerScorer) -> None:
    import shutil

    from tqdm import tqdm

    from clipopt.embedded import generator, generator_training

    recipe = generator_training.Recipe()
    recipe = recipe.shortened(settings["share"]) if settings["share"] < 1 else recipe
    recipe = recipe if settings["seed"] is None else replace(recipe, seed=settings["seed"])
    out, began = _folder(task, settings), time.perf_counter()
    pictures = task.pictures or out / "pictures"
    with tqdm(total=recipe.pictures, desc="painting", unit="picture", disable=task.json, file=sys.stderr) as bar:
        for done in generator_training.paint(recipe, scorer, pictures):
            bar.update(done - bar.n)
    painted, amp = generator_training.Painted(pictures), settings["precision"] == "bfloat16"
    coder = generator_training.CoderTrainer(recipe, painted, eye, device=task.device, amp=amp)
    _run(task, coder, out)
    kept = out / "latents.pt"
    if not kept.exists():
        found = generator_training.encode(coder.average, painted, device=task.device, amp=amp)
        bar = tqdm(found, desc="encoding", total=-(-len(painted) // 100), disable=task.json, file=sys.stderr)
        latents = torch.cat([each.half() for each in bar])
        with files.atomic(kept) as temporary:
            torch.save(latents, temporary)
    latents = torch.load(kept, weights_only=True)
    scale = float(1 / latents.float().std())
    denoiser = generator_training.DenoiserTrainer(
        recipe, (scale * latents.float()).half(), painted.ids, scorer, device=task.device, amp=amp
    )
    _run(task, denoiser, out)
    coder.average.register_to_config(scaling_factor=scale)
    pipe = generator.pipeline(
        coder.average.cpu(), denoiser.average.cpu(), scorer.towers.text.cpu(), scorer.towers.config
    )
    facts = generator.FACTS | {"seed": recipe.seed, "world": recipe.world, "scorer": scorer.fingerprint}
    generator.save(out / "generator", pipe, facts)
    if task.pictures is None:
        shutil.rmtree(pictures)
    kept.unlink()
    summary = {
        "folder": str(out / "generator"),
        "bytes": sum(path.stat().st_size for path in (out / "generator").rglob("*.safetensors")),
        "batches": {each.stage.name: each.done for each in (coder, denoiser)},
        "seconds": round(time.perf_counter() - began, 1),
        "peak_memory_bytes": peak_memory(),
        "versions": versions(),
    }
    files.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    sys.stdout.write(json.dumps(summary) + "\n" if task.json else f"{out}\n")


def _run(task: TrainGenerator, trainer: "Trainer", out: Path) -> None:
    from tqdm import tqdm

    name, total = trainer.stage.name, trainer.stage.batches
    path = out / f"{name}.pt"
    if path.exists():
        trainer.resume(torch.load(path, map_location=task.device, weights_only=True))
    bar = tqdm(total=total, initial=trainer.done, desc=name, disable=task.json, file=sys.stderr)
    try:
        with bar, (out / "train.jsonl").open("a", encoding="utf-8") as log:
            for figures in trainer.run():
                bar.set_postfix({key: f"{value:.3f}" for key, value in figures.items()}, refresh=False)
                bar.update()
                if trainer.done % 10 == 0 or trainer.done == total:
                    rounded = {key: round(value, 4) for key, value in figures.items()}
                    log.write(json.dumps({"stage": name, "batch": trainer.done, **rounded}) + "\n")
                if trainer.done % task.save_every == 0 or trainer.done == total:
                    _checkpoint(trainer, path)
    except KeyboardInterrupt:
        _checkpoint(trainer, path)
        sys.stderr.write(f"clipopt: interrupted and saved; continue with: clipopt train generator --resume {out}\n")
        raise


def _folder(task: TrainGenerator, settings: dict[str, Any]) -> Path:
    if task.resume is not None:
        return task.resume
    out = new_folder(Path("outputs/train"), "generator") if task.out is None else task.out
    out.mkdir(parents=True, exist_ok=True)
    for name in _DONE:
        (out / name).unlink(missing_ok=True)
    files.write_text(out / "config.json", json.dumps({"task": "train generator", **settings}, indent=2) + "\n")
    return out


def _tower(spec: str, device: str) -> TowerScorer:
    scorer = load_scorer(spec, device=device)
    if not isinstance(scorer, TowerScorer):
        raise ValueError(f"expected embedded, embedded-plain or a .safetensors of `clipopt train`, got {spec}")
    return scorer


def _checkpoint(trainer: "Trainer", path: Path) -> None:
    with files.atomic(path) as temporary:
        torch.save(trainer.state(), temporary)


def _read_settings(folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        settings: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{folder} holds no training to resume: expected {path} ({error})") from error
    if settings.get("task") != "train generator" or not {*names} <= settings.keys():
        raise ValueError(f"{folder} holds no training of the generator: {path} was written by something else")
    return settings
