"""`clipopt train generator`: make the embedded generator again, from nothing."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch

from clipopt import files
from clipopt.record import check_out, peak_memory, versions
from clipopt.record.folder import new_folder
from clipopt.scorers import load_scorer
from clipopt.scorers.tower import TowerScorer
from clipopt.tasks.checks import resolve_device

if TYPE_CHECKING:
    from clipopt.embedded.generator_training import Trainer

_DONE = ("coder.pt", "denoiser.pt", "latents.pt", "train.jsonl", "summary.json")


@dataclass(frozen=True)
class TrainGenerator:
    """Train the embedded generator from nothing.

    Paints captioned pictures of 96 px (this needs Debian's fonts-noto-color-emoji and unicode-data, or the same files
    elsewhere), then trains an AutoencoderKL on crops of them, and a UNet2DConditionModel on its latents, under what
    the scorer's word transformer says of the captions. The folder that the last line names holds generator/, a
    standard folder of diffusers, which `clipopt latent` takes as --generator.

    The shipped settings take about two hours of one CPU core where bfloat16 is fast, and 2 GB of disk while they run. To
    try the machinery first: clipopt train generator --share 0.005
    """

    which: Literal["generator"]
    """What to train; for the scorers see `clipopt train --help`."""
    out: Path | None = None
    """Folder to write; by default outputs/train/<time>-generator."""
    overwrite: bool = False
    """Train into --out even though it holds an earlier training."""
    resume: Path | None = None
    """Go on with a training that was interrupted: its folder. It then takes no other option."""
    share: float = 1.0
    """Share of the shipped training to do, between 0 and 1."""
    seed: int | None = None
    """Another seed than the shipped one."""
    scorer: str = "embedded"
    """Whose word transformer reads the captions: embedded, or a .safetensors of `clipopt train`."""
    eye: str = "embedded-plain"
    """Whose first stages compare pictures while the coder is trained."""
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

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the training."""
        from clipopt.embedded.painters import sprites

        if not 0 < self.share <= 1:
            raise ValueError(f"--share must lie above 0 and up to 1, got {self.share}")
        if self.save_every < 1:
            raise ValueError(f"--save-every must be at least 1, got {self.save_every}")
        resolve_device(self.device)
        names = ("share", "seed", "scorer", "eye", "precision")
        if self.resume is None:
            check_out(self.out, overwrite=self.overwrite)
            settings = {name: getattr(self, name) for name in names} | {"precision": self._precision()}
        else:
            settings = _read_settings(self.resume, names)
        towers = [_tower(str(settings[name]), self.device) for name in ("scorer", "eye")]
        sprites()
        return lambda: self._train(settings, *towers)

    def _precision(self) -> str:
        from clipopt.scorers.precision import resolve_dtype

        return "bfloat16" if resolve_dtype(self.precision, self.device) == torch.bfloat16 else "float32"

    def _train(self, settings: dict[str, Any], scorer: TowerScorer, eye: TowerScorer) -> None:
        import shutil

        from tqdm import tqdm

        from clipopt.embedded import generator, generator_training

        recipe = generator_training.Recipe()
        recipe = recipe.shortened(settings["share"]) if settings["share"] < 1 else recipe
        recipe = recipe if settings["seed"] is None else replace(recipe, seed=settings["seed"])
        out, began = self._folder(settings), time.perf_counter()
        pictures = self.pictures or out / "pictures"
        with tqdm(total=recipe.pictures, desc="painting", unit="picture", disable=self.json, file=sys.stderr) as bar:
            for done in generator_training.paint(recipe, scorer, pictures):
                bar.update(done - bar.n)
        painted, amp = generator_training.Painted(pictures), settings["precision"] == "bfloat16"
        coder = generator_training.CoderTrainer(recipe, painted, eye, device=self.device, amp=amp)
        self._run(coder, out)
        kept = out / "latents.pt"
        if not kept.exists():
            found = generator_training.encode(coder.average, painted, device=self.device, amp=amp)
            bar = tqdm(found, desc="encoding", total=-(-len(painted) // 100), disable=self.json, file=sys.stderr)
            latents = torch.cat([each.half() for each in bar])
            with files.atomic(kept) as temporary:
                torch.save(latents, temporary)
        latents = torch.load(kept, weights_only=True)
        scale = float(1 / latents.float().std())
        denoiser = generator_training.DenoiserTrainer(
            recipe, (scale * latents.float()).half(), painted.ids, scorer, device=self.device, amp=amp
        )
        self._run(denoiser, out)
        coder.average.register_to_config(scaling_factor=scale)
        pipe = generator.pipeline(
            coder.average.cpu(), denoiser.average.cpu(), scorer.towers.text.cpu(), scorer.towers.config
        )
        facts = generator.FACTS | {"seed": recipe.seed, "world": recipe.world, "scorer": scorer.fingerprint}
        generator.save(out / "generator", pipe, facts)
        if self.pictures is None:
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
        sys.stdout.write(json.dumps(summary) + "\n" if self.json else f"{out}\n")

    def _run(self, trainer: "Trainer", out: Path) -> None:
        from tqdm import tqdm

        name, total = trainer.stage.name, trainer.stage.batches
        path = out / f"{name}.pt"
        if path.exists():
            trainer.resume(torch.load(path, map_location=self.device, weights_only=True))
        bar = tqdm(total=total, initial=trainer.done, desc=name, disable=self.json, file=sys.stderr)
        try:
            with bar, (out / "train.jsonl").open("a", encoding="utf-8") as log:
                for figures in trainer.run():
                    bar.set_postfix({key: f"{value:.3f}" for key, value in figures.items()}, refresh=False)
                    bar.update()
                    if trainer.done % 10 == 0 or trainer.done == total:
                        rounded = {key: round(value, 4) for key, value in figures.items()}
                        log.write(json.dumps({"stage": name, "batch": trainer.done, **rounded}) + "\n")
                    if trainer.done % self.save_every == 0 or trainer.done == total:
                        _checkpoint(trainer, path)
        except KeyboardInterrupt:
            _checkpoint(trainer, path)
            sys.stderr.write(f"clipopt: interrupted and saved; continue with: clipopt train generator --resume {out}\n")
            raise

    def _folder(self, settings: dict[str, Any]) -> Path:
        if self.resume is not None:
            return self.resume
        out = new_folder(Path("outputs/train"), "generator") if self.out is None else self.out
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
