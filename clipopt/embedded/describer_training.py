"""Training of the embedded describer: whole captions of painted pictures, word by word, before frozen eyes."""

from dataclasses import dataclass, field, replace

import torch
from torch import Generator, Tensor

from clipopt.embedded.captions import Scene, caption
from clipopt.embedded.describer import Describer, grown, last_stages, likelihoods, new_describer, targets
from clipopt.embedded.perturbations import jitter
from clipopt.embedded.pictures import Pictures
from clipopt.embedded.stages import Stage, Trainer, seeded
from clipopt.scorers.tower import TowerScorer


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
