"""The embedded describer: whole captions of painted pictures, word by word, before frozen eyes."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from clipopt.embedded.captions import Scene, caption, vocabulary
from clipopt.embedded.describer import (
    Describer,
    last_stages,
    likelihoods,
    load_describer,
    new_describer,
    save_describer,
    targets,
)  # fmt: skip
from clipopt.io import files
from clipopt.scorers.tower import TowerScorer
from recipes.embedded import sprites, training
from recipes.embedded.perturbations import jitter
from recipes.embedded.pictures import SIDE, Pictures, check_workers, paint, require
from recipes.embedded.trainer import Stage, Trainer, seeded


@dataclass(frozen=True)
class Recipe:
    """All settings of one training."""

    stage: Stage = field(default_factory=lambda: Stage("describer", 2500, 128, 1e-3, 20.0, falling=0.5))
    seed: int = 4
    world: int = 1
    pictures: int = 200_000

    def shortened(self, factor: float) -> "Recipe":
        """The same recipe with `factor` times the batches and pictures, at least a few of each."""
        stage = replace(self.stage, batches=max(2, round(self.stage.batches * factor)))
        return replace(self, stage=stage, pictures=max(2 * stage.batch, round(self.pictures * factor)))


class DescriberTrainer(Trainer):
    """Trains a describer on what `scorer` sees of painted pictures, from nothing or from the weights of `begin`.

    What is known already is not to be forgotten: from weights the rates are a quarter, and fall all the way.
    """

    def __init__(
        self, recipe: Recipe, pictures: Pictures, scorer: TowerScorer, *,
        begin: Describer | None = None, device: str = "cpu", amp: bool = True,
    ) -> None:  # fmt: skip
        made = seeded(recipe.seed, lambda: new_describer(scorer) if begin is None else grown(begin, scorer))
        stage = recipe.stage if begin is None else replace(recipe.stage, lr=recipe.stage.lr / 4, falling=1.0)
        super().__init__(stage, recipe.seed, made, device=device, amp=amp)
        self.pictures, self.scorer = pictures, scorer

    def mixes(self, name: str) -> bool:
        """All but words and places."""
        return not name.startswith(("embedding", "positional"))

    def loss(self, rng: Generator) -> tuple[Tensor, dict[str, float]]:
        """The mean negative log likelihood of captions that say all but sizes and places."""
        batch = self.pictures.draw(self.stage.batch, rng)
        images = jitter(batch.images.to(self.device).float() / 255, rng)
        scenes = [replace(Scene.of(row), size=None, place=None) for row in batch.scenes.tolist()]
        ids = targets(self.scorer, [caption(scene) for scene in scenes]).to(self.device)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.amp):
            with torch.no_grad():
                stages = last_stages(self.scorer, images)
            said = likelihoods(self.model, self.model.look(stages), ids).sum(1)
        return -said.mean(), {"whole": float((said.detach() > -0.7).float().mean())}


def grown(describer: Describer, scorer: TowerScorer) -> Describer:
    """A new describer that says what an earlier one does, as far as its parts go; what that lacks begins anew."""
    made = new_describer(scorer)
    made.load_state_dict(describer.state_dict(), strict=False)
    return made


@dataclass(frozen=True)
class DescriberTraining(training.Training):
    """Train the embedded describer, the second stage of `clipopt caption`, from nothing, or further (--begin).

    Paints captioned pictures (this needs Debian's fonts-noto-color-emoji and unicode-data, or the same files
    elsewhere), then trains a small decoder that says, word by word, what a scorer's frozen picture tower sees of them.
    The folder that the last line names holds describer.safetensors.

    The shipped settings take about 20 minutes of one CPU core where bfloat16 is fast, and 2 GB of disk while they run.
    To try the machinery first: --share 0.01
    """

    begin: str | None = None
    """Begin at this describer instead of nothing: embedded, or a .safetensors of an earlier training; it must look
    with the same eyes."""
    scorer: str = "embedded"
    """Whose eyes it looks with: embedded, or a .safetensors of `train scorer`; it serves no other."""
    workers: int | None = None
    """Processes that paint; by default one per core."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the training."""
        check_workers(self.workers)
        task, settings = training.settle(self)
        scorer, spec = training.tower(settings["scorer"], task.device), settings["begin"]
        begin = None if spec is None else load_describer(scorer, None if spec == "embedded" else Path(spec))
        recipe = training.fit(Recipe(), settings)
        if task.pictures is not None:
            require(task.pictures, vocabulary(), seed=recipe.world, side=SIDE)
        sprites.sprites()
        return lambda: _train(task, settings, recipe, scorer, begin)


def _train(
    task: DescriberTraining, settings: dict[str, Any], recipe: Recipe, scorer: TowerScorer, begin: Describer | None
) -> None:
    with training.folder(task, settings, "checkpoint.pt") as out:
        pictures = task.pictures or out / "pictures"
        training.follow(task, paint(recipe.world, recipe.pictures, pictures, workers=task.workers), recipe.pictures)
        painted, amp = Pictures(pictures, recipe.pictures), settings["precision"] == "bfloat16"
        trainer = DescriberTrainer(recipe, painted, scorer, begin=begin, device=task.device, amp=amp)
        seconds = training.run(task, trainer, recipe.stage.batches, out / "checkpoint.pt")
        path = out / "describer.safetensors"
        with files.atomic(path) as temporary:
            save_describer(trainer.average, scorer, temporary, {"seed": str(recipe.seed), "world": str(recipe.world)})
        training.finish(
            task, out, file=str(path), bytes=path.stat().st_size, batches=trainer.done,
            seconds_of_training=round(seconds, 1),
        )  # fmt: skip
