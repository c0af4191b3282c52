"""What `clipopt train generator` does: paint, train the coder, then the denoiser."""

import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from clipopt.commands import trainings
from clipopt.commands.train_generator import TrainGenerator
from clipopt.io import files
from clipopt.pipelines.checks import resolve_device
from clipopt.pipelines.progress import over, progress
from clipopt.scorers.tower import TowerScorer

if TYPE_CHECKING:
    from clipopt.embedded.generator_training import Recipe


def prepare(task: TrainGenerator) -> Callable[[], None]:
    """Check everything, write nothing, and return the training."""
    from clipopt.embedded import generator
    from clipopt.embedded.generator_training import Recipe
    from clipopt.embedded.painters import sprites
    from clipopt.embedded.pictures import require

    task = trainings.resumed(task)
    resolve_device(task.device)
    settings = trainings.settle(task, "scorer", "eye", "begin", device=task.device)
    scorer, eye = (trainings.tower(str(settings[name]), task.device) for name in ("scorer", "eye"))
    begin = _begin(settings["begin"])
    recipe = trainings.fit(Recipe(), settings)
    if task.pictures is not None:
        require(task.pictures, scorer.towers.config.vocabulary, seed=recipe.world, side=generator.SIDE)
    sprites()
    return lambda: _train(task, settings, recipe, scorer, eye, begin)


def _train(
    task: TrainGenerator,
    settings: dict[str, Any],
    recipe: "Recipe",
    scorer: TowerScorer,
    eye: TowerScorer,
    begin: Any | None,
) -> None:
    from clipopt.embedded import generator, generator_training

    out = trainings.folder(task, settings, "coder.pt", "denoiser.pt", "latents.pt")
    pictures = task.pictures or out / "pictures"
    with progress(recipe.pictures, name="painting", unit="picture", quiet=task.json) as bar:
        for done in generator_training.paint(recipe, scorer, pictures):
            bar.update(done - bar.n)
    painted, amp = generator_training.Painted(pictures, recipe.pictures), settings["precision"] == "bfloat16"
    batches, seconds = {}, 0.0
    coder: Any
    if begin is None:
        trainer = generator_training.CoderTrainer(recipe, painted, eye, device=task.device, amp=amp)
        seconds += trainings.run(
            task, trainer, trainer.stage.batches, out / "coder.pt", name="coder", device=task.device
        )
        batches["coder"], coder = trainer.done, trainer.average
    else:
        coder = generator_training.kept(begin.vae).to(task.device)
    kept = out / "latents.pt"
    if not kept.exists():
        found = generator_training.encode(coder, painted, device=task.device, amp=amp)
        bar = progress(-(-len(painted) // 100), name="encoding", unit="batch", quiet=task.json)
        latents = torch.cat([each.half() for each in over(found, bar)])
        with files.atomic(kept) as temporary:
            torch.save(latents, temporary)
    latents = torch.load(kept, weights_only=True)
    scale = float(1 / latents.float().std())
    denoiser = generator_training.DenoiserTrainer(
        recipe, (scale * latents.float()).half(), painted.ids, scorer,
        begin=begin and begin.unet, device=task.device, amp=amp,
    )  # fmt: skip
    seconds += trainings.run(
        task, denoiser, denoiser.stage.batches, out / "denoiser.pt", name="denoiser", device=task.device
    )
    batches["denoiser"] = denoiser.done
    coder.register_to_config(scaling_factor=scale)
    pipe = generator.pipeline(coder.cpu(), denoiser.average.cpu(), scorer.towers.text.cpu(), scorer.towers.config)
    facts = generator.FACTS | {"seed": recipe.seed, "world": recipe.world, "scorer": scorer.fingerprint}
    generator.save(out / "generator", pipe, facts)
    if task.pictures is None:
        shutil.rmtree(pictures)
    kept.unlink()
    trainings.finish(
        task, out,
        {"folder": str(out / "generator"),
         "bytes": sum(path.stat().st_size for path in (out / "generator").rglob("*.safetensors")),
         "batches": batches,
         "seconds_of_training": round(seconds, 1)},
    )  # fmt: skip


def _begin(spec: str | None) -> Any | None:
    """The pipeline that the training begins at; None begins at nothing."""
    from clipopt.diffusion.load import facts_of, load_pipeline

    if spec is None:
        return None
    if not facts_of(spec).get("embedded"):
        raise ValueError(f"--begin takes embedded or a generator/ of `clipopt train generator`, got {spec}")
    return load_pipeline(spec)
