"""The embedded scorer, its judge and the plain scorer: paint, train, measure."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from clipopt.embedded.captions import vocabulary
from clipopt.io import files
from clipopt.scorers.tower import Towers, TowerScorer, load_tower
from recipes.embedded import painters, painting, scorer_trainer, sprites, training
from recipes.embedded.measure import accuracy, attributes, matches
from recipes.embedded.pictures import Pictures, check_workers, paint, require
from recipes.embedded.scorer_trainer import Recipe, Trainer

MEASURED = 1000
"""Unseen pictures that a finished training is measured on; a quarter of them under attack."""


@dataclass(frozen=True)
class ScorerTraining(training.Training):
    """Train the embedded scorer, its judge or the plain scorer from nothing, or further (--begin).

    Paints captioned pictures (this needs Debian's fonts-noto-color-emoji and unicode-data, or the same files
    elsewhere), then trains: plainly, against adversarial perturbations, and, for the scorer, against its own
    optimized pictures. Scorer and judge share neither architecture, seed nor pictures; plain has the scorer's size
    and is never hardened, so that it guides like an ordinary CLIP. The folder that the last line names holds
    scorer.safetensors (judge, plain), which any command takes as --scorer or --judge.

    These settings took two and a half hours of two slow CPU cores (scorer, without bfloat16), 3.5 GB of memory, and
    2 GB of disk while they ran. The same seed gives the same weights on one machine. To try the machinery first,
    in some minutes: --share 0.01
    """

    begin: str | None = None
    """Begin at the weights of this scorer instead of nothing: embedded (judge: embedded-judge, plain: embedded-plain)
    or a .safetensors of an earlier training. Words that it lacks are added, and scorer and judge go through phases for
    what has learnt before."""
    hands: str | None = None
    """Folder of `python -m recipes.embedded hands`: things are shown as all of these hands draw them, and not as the
    emoji font alone does."""
    weights: str = ""
    """How often which hand draws, and in which manner: "openmoji=0.5,lines=0.2". A hand that is not named has 1, the
    emoji font, "world", 2; lines, silhouette, sketch and grey are shares of all. For a judge, other hands than the
    scorer's."""
    side: int = 64
    """Height and width of the pictures, and of what the tower reads, in pixels."""
    workers: int | None = None
    """Processes that paint; by default one per core."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the training."""
        check_workers(self.workers)
        task, settings = training.settle(self)
        side = settings["side"]
        begin = _begin(settings)
        recipe = scorer_trainer.recipe(task.which, further=begin is not None)
        recipe = training.fit(replace(recipe, config=replace(recipe.config, image_size=side)), settings)
        make, world = _world(settings)
        if task.pictures is not None:
            require(task.pictures, vocabulary(), seed=recipe.world, side=side, **world)
        sprites.sprites()
        return lambda: _train(task, settings, recipe, begin, partial(paint, side=side, make=make, **world))


def _world(settings: dict[str, Any]) -> tuple[Callable[[int, int], painters.Painter], dict[str, Any]]:
    """What paints, by seed and side, and what decides its pictures beside these."""
    if settings["hands"] is None:
        if settings["weights"]:
            raise ValueError("--weights are those of hands: name their folder with --hands")
        return painters.Painter, {}
    folder, weights = Path(settings["hands"]).resolve(), painting.Weights.of(settings["weights"])
    return partial(painting.painter, folder=folder, weights=weights), {"hands": painting.told(folder, weights)}


def _train(
    task: ScorerTraining, settings: dict[str, Any], recipe: Recipe, begin: Towers | None, paint: Callable[..., Any]
) -> None:
    with training.folder(task, settings, "checkpoint.pt") as out:
        pictures = task.pictures or out / "pictures"
        training.follow(task, paint(recipe.world, recipe.pictures, pictures, workers=task.workers), recipe.pictures)
        amp = settings["precision"] == "bfloat16"
        trainer = Trainer(recipe, Pictures(pictures, recipe.pictures), begin=begin, device=task.device, amp=amp)
        seconds = training.run(task, trainer, recipe.batches, out / "checkpoint.pt")
        path = out / f"{task.which}.safetensors"
        _save(trainer, path)
        measured = _measured(path, task.device)
        training.finish(
            task, out, file=str(path), **measured, batches=trainer.done, seconds_of_training=round(seconds, 1)
        )


def _begin(settings: dict[str, Any]) -> Towers | None:
    """The towers that the training begins at; None begins at nothing."""
    if settings["begin"] is None:
        return None
    begin = training.tower(settings["begin"]).towers
    config = scorer_trainer.recipe(settings["which"]).config
    try:
        Towers(replace(config, image_size=settings["side"])).adopt(begin)
    except ValueError as error:
        raise ValueError(f"--begin {settings['begin']}: {error}") from error
    return begin


def _measured(path: Path, device: str) -> dict[str, Any]:
    scorer = load_tower(path, device=device)
    return {
        "fingerprint": scorer.fingerprint,
        "accuracy": accuracy(scorer, MEASURED),
        "accuracy_under_attack": {str(e): accuracy(scorer, MEASURED // 4, e, steps=10) for e in (0.5, 1.0, 2.0)},
        "attributes": {name: share for name, (share, _) in attributes(scorer, MEASURED).items()},
    }


def _save(trainer: Trainer, path: Path) -> None:
    """Write the weights, and with them how well drawings of its world match their captions."""
    towers, facts = trainer.result()
    real = matches(TowerScorer(towers, path.stem, ""), MEASURED)
    with files.atomic(path) as temporary:
        towers.save(temporary, facts | {"matches": json.dumps([round(cosine, 4) for cosine in real])})
