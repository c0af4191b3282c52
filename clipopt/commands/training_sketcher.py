"""What `clipopt train sketcher` does: paint, then train the sketcher."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipopt.commands import trainings
from clipopt.commands.train_sketcher import TrainSketcher
from clipopt.diffusion.load import fingerprint
from clipopt.embedded.sketcher import Sketcher, load_sketcher, save_sketcher
from clipopt.io import files
from clipopt.pipelines.checks import resolve_device
from clipopt.pipelines.progress import progress

if TYPE_CHECKING:
    from clipopt.embedded.sketcher_training import Recipe


def prepare(task: TrainSketcher) -> Callable[[], None]:
    """Check everything, write nothing, and return the training."""
    from clipopt.embedded.captions import vocabulary
    from clipopt.embedded.painters import sprites
    from clipopt.embedded.pictures import require
    from clipopt.embedded.sketcher_training import Recipe, world_of

    task = trainings.resumed(task)
    resolve_device(task.device)
    settings = trainings.settle(task, "generator", "begin", device=task.device)
    coder = _coder(settings["generator"], task.device)
    spec = settings["begin"]
    begin = None if spec is None else load_sketcher(None if spec == "embedded" else Path(spec))
    if begin is not None and begin.config.vocabulary != vocabulary():
        raise ValueError(f"--begin {spec} has other words than the world has now; train one from nothing")
    recipe = trainings.fit(Recipe(), settings)
    if task.pictures is not None:
        require(task.pictures, vocabulary(), **world_of(recipe, fingerprint(settings["generator"])))
    sprites()
    return lambda: _train(task, settings, recipe, coder, begin)


def _train(task: TrainSketcher, settings: dict[str, Any], recipe: "Recipe", coder: Any, begin: Sketcher | None) -> None:
    from clipopt.embedded.sketcher_training import SketcherTrainer, paint

    name, scale = fingerprint(settings["generator"]), float(coder.config.scaling_factor)
    out = trainings.folder(task, settings, "checkpoint.pt")
    pictures = task.pictures or out / "pictures"
    with progress(recipe.pictures, name="painting", unit="picture", quiet=task.json) as bar:
        for done in paint(recipe, coder, pictures, name=name, device=task.device):
            bar.update(done - bar.n)
    amp = settings["precision"] == "bfloat16"
    trainer = SketcherTrainer(recipe, pictures, scale, begin=begin, device=task.device, amp=amp)
    seconds = trainings.run(task, trainer, recipe.stage.batches, out / "checkpoint.pt", device=task.device)
    path = out / "sketcher.safetensors"
    facts = {"seed": str(recipe.seed), "world": str(recipe.world), "coder": name}
    with files.atomic(path) as temporary:
        save_sketcher(trainer.average, temporary, facts)
    if task.pictures is None:
        shutil.rmtree(pictures)
    trainings.finish(
        task, out,
        {"file": str(path), "bytes": path.stat().st_size, "batches": trainer.done,
         "seconds_of_training": round(seconds, 1)},
    )  # fmt: skip


def _coder(spec: str, device: str) -> Any:
    """The coder of an embedded generator."""
    from clipopt.diffusion.load import facts_of, load_pipeline

    if not facts_of(spec).get("embedded"):
        raise ValueError(f"--generator takes embedded or a generator/ of `clipopt train generator`, got {spec}")
    return load_pipeline(spec).vae.to(device)
