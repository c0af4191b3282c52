"""What `clipopt train describer` does: paint, then train the describer."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipopt.commands import trainings
from clipopt.commands.train_describer import TrainDescriber
from clipopt.embedded.describer import Describer, load_describer, save_describer
from clipopt.io import files
from clipopt.pipelines.checks import resolve_device
from clipopt.pipelines.progress import progress
from clipopt.scorers.tower import TowerScorer

if TYPE_CHECKING:
    from clipopt.embedded.describer_training import Recipe


def prepare(task: TrainDescriber) -> Callable[[], None]:
    """Check everything, write nothing, and return the training."""
    from clipopt.embedded.captions import vocabulary
    from clipopt.embedded.describer_training import Recipe
    from clipopt.embedded.painters import sprites
    from clipopt.embedded.pictures import SIDE, require

    task = trainings.resumed(task)
    if task.workers is not None and not 1 <= task.workers <= trainings.MOST_WORKERS:
        raise ValueError(f"--workers must lie in 1 to {trainings.MOST_WORKERS}, got {task.workers}")
    resolve_device(task.device)
    settings = trainings.settle(task, "scorer", "begin", device=task.device)
    scorer = trainings.tower(settings["scorer"], task.device)
    spec = settings["begin"]
    begin = None if spec is None else load_describer(scorer, None if spec == "embedded" else Path(spec))
    recipe = trainings.fit(Recipe(), settings)
    if task.pictures is not None:
        require(task.pictures, vocabulary(), seed=recipe.world, side=SIDE)
    sprites()
    return lambda: _train(task, settings, recipe, scorer, begin)


def _train(
    task: TrainDescriber, settings: dict[str, Any], recipe: "Recipe", scorer: TowerScorer, begin: Describer | None
) -> None:
    from clipopt.embedded.describer_training import DescriberTrainer
    from clipopt.embedded.pictures import Pictures, paint

    out = trainings.folder(task, settings, "checkpoint.pt")
    pictures = task.pictures or out / "pictures"
    with progress(recipe.pictures, name="painting", unit="picture", quiet=task.json) as bar:
        for done in paint(recipe.world, recipe.pictures, pictures, workers=task.workers):
            bar.update(done - bar.n)
    painted, amp = Pictures(pictures, recipe.pictures), settings["precision"] == "bfloat16"
    trainer = DescriberTrainer(recipe, painted, scorer, begin=begin, device=task.device, amp=amp)
    seconds = trainings.run(task, trainer, recipe.stage.batches, out / "checkpoint.pt", device=task.device)
    path = out / "describer.safetensors"
    facts = {"seed": str(recipe.seed), "world": str(recipe.world)}
    with files.atomic(path) as temporary:
        save_describer(trainer.average, scorer, temporary, facts)
    if task.pictures is None:
        shutil.rmtree(pictures)
    trainings.finish(
        task, out,
        {"file": str(path), "bytes": path.stat().st_size, "batches": trainer.done,
         "seconds_of_training": round(seconds, 1)},
    )  # fmt: skip
