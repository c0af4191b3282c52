"""What `clipopt train` does with the scorers: paint, train, measure."""

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipopt.commands import trainings
from clipopt.commands.train import Train
from clipopt.io import files
from clipopt.pipelines.checks import resolve_device
from clipopt.pipelines.progress import progress

if TYPE_CHECKING:
    from clipopt.embedded.painters import Painter
    from clipopt.embedded.training import Recipe, Trainer
    from clipopt.scorers.tower import Towers

MEASURED = 1000
"""Unseen pictures that a finished training is measured on; a quarter of them under attack."""


@dataclass(frozen=True)
class World:
    """What a training sees beside the recipe's own world.

    Attributes:
        make: What paints, by seed and side; None for the painter of the package.
        told: What decides its pictures, for the file that keeps worlds apart.
        side: Height and width of a picture in pixels, and of what the tower reads.
    """

    make: "Callable[[int, int], Painter] | None" = None
    told: Mapping[str, str] = field(default_factory=dict)
    side: int = 64


def prepare(task: Train, *more: str, world: World | None = None) -> Callable[[], None]:
    """Check everything, write nothing, and return the training; `more` names further options that it goes on with."""
    from clipopt.embedded import training
    from clipopt.embedded.captions import vocabulary
    from clipopt.embedded.painters import sprites
    from clipopt.embedded.pictures import require

    task = trainings.resumed(task)
    if task.workers is not None and not 1 <= task.workers <= trainings.MOST_WORKERS:
        raise ValueError(f"--workers must lie in 1 to {trainings.MOST_WORKERS}, got {task.workers}")
    resolve_device(task.device)
    settings = trainings.settle(task, "begin", *more, device=task.device)
    world = world or World()
    begin = _begin(settings, world.side)
    recipe = training.recipe(task.which, further=begin is not None)
    recipe = trainings.fit(replace(recipe, config=replace(recipe.config, image_size=world.side)), settings)
    if task.pictures is not None:
        require(task.pictures, vocabulary(), seed=recipe.world, side=world.side, **world.told)
    sprites()
    return lambda: _train(task, settings, recipe, begin, world)


def _train(task: Train, settings: dict[str, Any], recipe: "Recipe", begin: "Towers | None", world: World) -> None:
    from clipopt.embedded.painters import Painter
    from clipopt.embedded.pictures import Pictures, paint
    from clipopt.embedded.training import Trainer

    out = trainings.folder(task, settings, "checkpoint.pt")
    pictures = task.pictures or out / "pictures"
    with progress(recipe.pictures, name="painting", unit="picture", quiet=task.json) as bar:
        make = world.make or Painter
        painted = paint(
            recipe.world, recipe.pictures, pictures, workers=task.workers, side=world.side, make=make, **world.told
        )
        for done in painted:
            bar.update(done - bar.n)
    amp = settings["precision"] == "bfloat16"
    trainer = Trainer(recipe, Pictures(pictures, recipe.pictures), begin=begin, device=task.device, amp=amp)
    seconds = trainings.run(task, trainer, recipe.batches, out / "checkpoint.pt", device=task.device)
    path = out / f"{task.which}.safetensors"
    _save(trainer, path)
    if task.pictures is None:
        shutil.rmtree(pictures)
    trainings.finish(
        task, out,
        {"file": str(path), **_measured(path, task.device), "batches": trainer.done,
         "seconds_of_training": round(seconds, 1)},
    )  # fmt: skip


def _begin(settings: dict[str, Any], side: int) -> "Towers | None":
    """The towers that the training begins at; None begins at nothing."""
    from clipopt.embedded.training import recipe
    from clipopt.scorers.tower import Towers

    if settings["begin"] is None:
        return None
    begin = trainings.tower(settings["begin"]).towers
    try:
        Towers(replace(recipe(settings["which"]).config, image_size=side)).adopt(begin)
    except ValueError as error:
        raise ValueError(f"--begin {settings['begin']}: {error}") from error
    return begin


def _measured(path: Path, device: str) -> dict[str, Any]:
    from clipopt.embedded.measure import accuracy, attributes
    from clipopt.scorers.tower import load_tower

    scorer = load_tower(path, device=device)
    return {
        "fingerprint": scorer.fingerprint,
        "accuracy": accuracy(scorer, MEASURED),
        "accuracy_under_attack": {str(e): accuracy(scorer, MEASURED // 4, e, steps=10) for e in (0.5, 1.0, 2.0)},
        "attributes": {name: share for name, (share, _) in attributes(scorer, MEASURED).items()},
    }


def _save(trainer: "Trainer", path: Path) -> None:
    """Write the weights, and with them how well drawings of its world match their captions."""
    from clipopt.embedded.measure import matches
    from clipopt.scorers.tower import TowerScorer

    towers, facts = trainer.result()
    real = matches(TowerScorer(towers, path.stem, ""), MEASURED)
    with files.atomic(path) as temporary:
        towers.save(temporary, facts | {"matches": json.dumps([round(cosine, 4) for cosine in real])})
