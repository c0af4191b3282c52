"""`clipopt train`: make the embedded scorer or its judge again, from nothing."""

import json
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from clipopt import files
from clipopt.record import check_out, peak_memory, versions
from clipopt.record.folder import new_folder
from clipopt.tasks.checks import resolve_device

if TYPE_CHECKING:
    from clipopt.embedded.training import Trainer

MEASURED = 1000
"""Unseen pictures that a finished training is measured on; a quarter of them under attack."""


@dataclass(frozen=True)
class Train:
    """Train the embedded scorer, its judge or the plain scorer from nothing.

    Paints captioned pictures (this needs Debian's fonts-noto-color-emoji and unicode-data, or the same files
    elsewhere), then trains: plainly, against adversarial perturbations, and, for the scorer, against its own
    optimized pictures. The folder that the last line names holds scorer.safetensors (judge, plain), which any command
    takes as --scorer or --judge.

    These settings take about 130 minutes of one CPU core (scorer; reckoned) with fast bfloat16, twice that elsewhere,
    and 2 GB of disk while they run. The same seed gives the same weights on one machine. To try the machinery first:
    clipopt train scorer --share 0.01
    """

    which: Literal["scorer", "judge", "plain"]
    """What to train. Scorer and judge share neither architecture, seed nor pictures; plain has the scorer's size
    and is never hardened, so that it guides like an ordinary CLIP."""
    out: Path | None = None
    """Folder to write; by default outputs/train/<time>-<which>."""
    overwrite: bool = False
    """Train into --out even though it holds an earlier training."""
    resume: Path | None = None
    """Go on with a training that was interrupted: its folder. It then takes no other option."""
    share: float = 1.0
    """Share of the shipped training to do, between 0 and 1."""
    seed: int | None = None
    """Another seed than the shipped one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the convolutions; auto measures whether bfloat16 works and is faster here."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, mps."""
    pictures: Path | None = None
    """Folder to keep the painted pictures in, for further trainings; by default they are deleted at the end."""
    workers: int | None = None
    """Processes that paint; by default one per core."""
    save_every: int = 100
    """Batches between checkpoints."""
    json: bool = False
    """Print the summary alone on stdout."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the training."""
        from clipopt.embedded.painters import sprites

        if not 0 < self.share <= 1:
            raise ValueError(f"--share must lie above 0 and up to 1, got {self.share}")
        if min(self.save_every, self.workers or 1) < 1:
            raise ValueError("--save-every and --workers must be at least 1")
        resolve_device(self.device)
        if self.resume is None:
            check_out(self.out, overwrite=self.overwrite)
            settings: dict[str, Any] = {"which": self.which, "share": self.share, "seed": self.seed}
            settings["precision"] = self._precision()
        else:
            settings = _read_settings(self.resume, self.which)
        sprites()
        return lambda: self._train(settings)

    def _precision(self) -> str:
        from clipopt.scorers.precision import resolve_dtype

        return "bfloat16" if resolve_dtype(self.precision, self.device) == torch.bfloat16 else "float32"

    def _train(self, settings: dict[str, Any]) -> None:
        from dataclasses import replace

        from tqdm import tqdm

        from clipopt.embedded import training
        from clipopt.embedded.pictures import Pictures, paint

        recipe = training.recipe(settings["which"])
        if settings["share"] < 1:
            recipe = recipe.shortened(settings["share"])
        if settings["seed"] is not None:
            recipe = replace(recipe, seed=settings["seed"])
        out = self._folder(settings)
        pictures = self.pictures or out / "pictures"
        total, quiet = recipe.pictures, self.json
        with tqdm(total=total, desc="painting", unit="picture", disable=quiet, file=sys.stderr) as bar:
            for done in paint(recipe.world, total, pictures, workers=self.workers):
                bar.update(done - bar.n)
        amp = settings["precision"] == "bfloat16"
        trainer = training.Trainer(recipe, Pictures(pictures), device=self.device, amp=amp)
        checkpoint = out / "checkpoint.pt"
        if checkpoint.exists():
            trainer.resume(torch.load(checkpoint, map_location=self.device, weights_only=True))
        start = time.perf_counter()
        bar = tqdm(total=recipe.batches, initial=trainer.done, desc="training", disable=quiet, file=sys.stderr)
        try:
            with bar, (out / "train.jsonl").open("a", encoding="utf-8") as log:
                for figures in trainer.run():
                    shown = {k: f"{v:.3f}" if isinstance(v, float) else v for k, v in figures.items()}
                    bar.set_postfix(shown, refresh=False)
                    bar.update()
                    log.write(json.dumps({"batch": trainer.done, **figures}) + "\n")
                    if trainer.done % self.save_every == 0:
                        log.flush()
                        _checkpoint(trainer, checkpoint)
        finally:
            _checkpoint(trainer, checkpoint)
        _save(trainer, out / f"{settings['which']}.safetensors")
        summary = self._summary(out, settings, trainer, time.perf_counter() - start)
        if self.pictures is None:
            shutil.rmtree(pictures)
        sys.stdout.write(json.dumps(summary) + "\n" if self.json else f"{out}\n")

    def _folder(self, settings: dict[str, Any]) -> Path:
        if self.resume is not None:
            return self.resume
        if self.out is None:
            out = new_folder(Path("outputs/train"), settings["which"])
        else:
            out = self.out
            out.mkdir(parents=True, exist_ok=True)
            for name in ("checkpoint.pt", "train.jsonl", "summary.json"):
                (out / name).unlink(missing_ok=True)
        files.write_text(out / "config.json", json.dumps({"task": "train", **settings}, indent=2))
        return out

    def _summary(self, out: Path, settings: dict[str, Any], trainer: "Trainer", seconds: float) -> dict[str, Any]:
        from clipopt.embedded.measure import accuracy, attributes
        from clipopt.scorers.tower import load_tower

        path = out / f"{settings['which']}.safetensors"
        scorer = load_tower(path, device=self.device)
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
