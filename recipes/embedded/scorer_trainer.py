"""Training of the embedded scorer and judge: plain, then adversarial, then against its own pictures.

A plainly trained scorer draws texture that nobody recognises. What helps, in this order of effect: adversarial
fine-tuning from the plain model ("free" replay, Shafahi et al., arXiv:1904.12843, in the L2 ball), and a buffer
of the scorer's own optimized pictures as negatives for their captions, so that it learns that what it likes
best is no picture.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor
from torch.nn import functional as F

from clipopt.embedded.captions import names, true_of, vocabulary
from clipopt.embedded.concepts import COLOUR_NAMES, things
from clipopt.scorers.tower import TowerConfig, Towers
from clipopt.types import Images, generator
from recipes.embedded.perturbations import hybrids, jitter, project, unit
from recipes.embedded.pictures import Batch, Pictures
from recipes.embedded.replay_buffer import ReplayBuffer
from recipes.embedded.trainer import descend, optimizers_of, seeded, set_rates, track


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    Attributes:
        name: For the log.
        batches: How many batches it lasts.
        lr: Peak learning rate of AdamW; 100 updates of warm-up, then a cosine to zero. Muon's follows it.
        eps: Radius of the L2 ball of perturbations of pictures in [0, 1]; 0 trains plainly.
        replays: Updates per batch; the perturbation moves once in each.
        buffer: Weight of the loss on the tower's own pictures; 0 keeps none.
        hybrids: Pictures of each batch whose hybrids are further negatives, see `hybrids`.
    """

    name: str
    batches: int
    lr: float
    eps: float = 0.0
    replays: int = 1
    buffer: float = 0.0
    hybrids: int = 0


@dataclass(frozen=True)
class Recipe:
    """All settings of one training."""

    config: TowerConfig
    phases: tuple[Phase, ...]
    seed: int
    world: int
    pictures: int = 200_000
    batch: int = 128

    @property
    def batches(self) -> int:
        """Batches of all phases together."""
        return sum(p.batches for p in self.phases)

    def shortened(self, factor: float) -> "Recipe":
        """The same recipe with `factor` times the batches and pictures, at least a few of each."""
        phases = tuple(replace(p, batches=max(2, round(p.batches * factor))) for p in self.phases)
        return replace(self, phases=phases, pictures=max(2 * self.batch, round(self.pictures * factor)))


def recipe(which: str, *, further: bool = False) -> Recipe:
    """The shipped settings of "scorer" and "judge", which share neither architecture, seed nor pictures.

    "plain" has the scorer's size, and knows nothing of what hardens that. `further` is for weights that have been
    trained before.
    """
    if which == "scorer":
        config = TowerConfig(places=True, vocabulary=vocabulary())
        if further:
            phases, pictures = (_plain(1200, 1.2e-3), _hard(600), _buffer(1300)), 200_000
        else:
            phases, pictures = (_plain(910, 1.5e-3), _hard(450), _buffer(800)), 140_000
        return Recipe(config, phases, seed=0, world=1, pictures=pictures)
    if which == "plain":
        return Recipe(TowerConfig(vocabulary=vocabulary()), (Phase("plain", 1000, 1.5e-3),), seed=0, world=1)
    if which == "judge":
        config = TowerConfig(
            stem=4, widths=(96, 192, 320), depths=(1, 2, 1), activation="relu", sharp_pooling=False, places=True,
            dim=160, vocabulary=vocabulary(),
        )  # fmt: skip
        plain = _plain(700, 1.2e-3) if further else _plain(1500, 1.5e-3)
        return Recipe(config, (plain, _hard(450)), seed=1, world=2)
    raise ValueError(f"expected 'scorer', 'judge' or 'plain', got {which!r}")


def _plain(batches: int, lr: float) -> Phase:
    return Phase("plain", batches, lr, hybrids=32)


def _hard(batches: int) -> Phase:
    return Phase("adversarial", batches, 1.2e-3, eps=1.5, replays=3, hybrids=32)


def _buffer(batches: int) -> Phase:
    return Phase("buffer", batches, 8e-4, eps=2.0, replays=2, buffer=0.5, hybrids=32)


_MAX_SCALE = 60.0
_MUON = 33.0  # Muon's learning rate over AdamW's


class Trainer:
    """One training run, from nothing or from the weights of `begin`.

    `run()` yields after every batch, `state()` resumes it exactly.

    Attributes:
        naming: Weight of the loss that names the thing or coloured shape among all of them.
    """

    naming = 0.5

    def __init__(
        self, recipe: Recipe, pictures: Pictures, *, begin: Towers | None = None, device: str = "cpu", amp: bool = True
    ) -> None:
        self.recipe = recipe
        self.pictures = pictures
        self.device = device
        self.amp = amp
        self.towers: Towers = seeded(recipe.seed, lambda: Towers(recipe.config))
        if begin is not None:
            self.towers.adopt(begin)
        self.towers = self.towers.to(device)
        self.average = copy.deepcopy(self.towers).requires_grad_(False)
        # Muon for what mixes channels; AdamW for what looks up words and places, biases, and the three input colours.
        apart = ("embedding", "position", "stem")
        self.optimizers = optimizers_of(self.towers, lambda name: not any(part in name for part in apart), amp=amp)
        self._names = self.towers.tokenize(names())
        self.done = 0
        self.updates = 0
        self.own = ReplayBuffer(pictures, self._image, self._text, self._scale, device=device)

    def run(self) -> Iterator[dict[str, float | str]]:
        """Train to the end of the recipe; yields figures after every batch."""
        while self.done < self.recipe.batches:
            phase, index = self._phase()
            if index == 0:
                self.updates = 0
            yield {"phase": phase.name, **self._batch(phase, index)}

    def _phase(self) -> tuple[Phase, int]:
        index = self.done
        for phase in self.recipe.phases:
            if index < phase.batches:
                return phase, index
            index -= phase.batches
        raise RuntimeError("the recipe has ended")

    def _batch(self, phase: Phase, index: int) -> dict[str, float]:
        rng = generator(self.recipe.seed, self.done)
        batch = self.pictures.draw(self.recipe.batch, rng)
        images = self.moved(batch.images.to(self.device).float() / 255, rng)
        progress = index / phase.batches
        eps = phase.eps * min(1.0, progress / 0.2) if phase.buffer == 0 else phase.eps
        delta = torch.zeros_like(images)
        visited = self.own.visit(rng) if phase.buffer else None
        figures: dict[str, float] = {}
        for replay in range(phase.replays):
            self._set_lr(phase.lr, progress)
            perturbed = images + delta
            perturbed.requires_grad_(phase.eps > 0)
            mixed = hybrids(images[: phase.hybrids], rng) if replay == 0 else images[:0]
            loss = self._match(perturbed, batch, mixed)
            figures["loss"] = float(loss.detach())
            if visited is not None and replay == 0:
                penalty, gap = self.own.loss(*visited, rng)
                loss = loss + phase.buffer * penalty
                figures |= {"own": float(penalty.detach()), "gap": gap}
            descend(loss, self.optimizers, self.towers)
            self.updates += 1
            if perturbed.grad is not None:
                delta = project(delta + 0.75 * eps * unit(perturbed.grad), eps)
                delta = (images + delta).clamp(0, 1) - images
            track(self.average, self.towers, min(0.998, self.updates / (self.updates + 50)))
        self.done += 1
        return figures

    def moved(self, images: Images, rng: Generator) -> Images:
        """What is done to painted pictures before the tower sees them."""
        return jitter(images, rng)

    def _set_lr(self, peak: float, progress: float) -> None:
        warm = min(1.0, (self.updates + 1) / 100)
        set_rates(self.optimizers, peak * warm * (0.5 + 0.5 * math.cos(math.pi * progress)) + 1e-5, _MUON)

    def _image(self, images: Images) -> Tensor:
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.amp):
            return self.towers.image(images)

    def _text(self, ids: Tensor) -> Tensor:
        used = int((ids != 0).any(0).sum())
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.amp):
            return self.towers.text(ids[:, :used].to(self.device))

    def _scale(self) -> Tensor:
        return self.towers.log_scale.exp().clamp(max=_MAX_SCALE)

    def _match(self, images: Images, batch: Batch, mixed: Images) -> Tensor:
        """Symmetric InfoNCE, with `mixed` as pictures that no caption is true of, and the naming loss.

        Captions also true of a picture are no negatives; the false ones of each picture are. Named is the thing or
        coloured shape, among all of them: few of so many stand in one batch. A thing in a colour not its own is not
        called by its mere name.
        """
        count = len(images)
        seen = self._scale() * self._image(torch.cat([images, mixed]))
        text = self._text(torch.cat([batch.ids, batch.false_ids.flatten(0, 1)]))
        logits, wrong = (seen @ text.T).split([count, len(mixed)])
        naming = seen[:count] @ self._text(self._names).T
        said = torch.cat([batch.said, batch.false.flatten(0, 1)])
        also = true_of(said, batch.scenes) & ~(batch.tinted[:, None] & (said[:, 1] < 0))
        also = also.to(self.device)
        also &= ~torch.eye(*logits.shape, dtype=torch.bool, device=self.device)
        logits = logits.masked_fill(also, -1e4)
        match = self._contrast(logits, wrong[:, :count])
        name, other = (_name(batch.scenes[:, slots]).to(self.device) for slots in ([0, 1], [5, 6]))
        both = (other >= 0).nonzero()[:, 0]
        naming = naming.index_put((both, other[both]), naming.new_tensor(-1e4))
        name = name.masked_fill(batch.tinted.to(self.device), -1)
        return match + self.naming * F.cross_entropy(naming, name, ignore_index=-1)

    def _contrast(self, logits: Float[Tensor, "b c"], wrong: Float[Tensor, "m b"]) -> Tensor:
        """The loss of pictures against captions, the true ones first, and against pictures that none is true of."""
        own = torch.arange(len(logits), device=self.device)
        pictures = torch.cat([logits[:, : len(logits)], wrong]).T
        return 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(pictures, own))

    def state(self) -> dict[str, Any]:
        """Everything that `resume` needs."""
        return {
            "towers": self.towers.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "done": self.done,
            "updates": self.updates,
            "own": self.own.state(),
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.towers.load_state_dict(state["towers"])
        self.average.load_state_dict(state["average"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.done, self.updates = state["done"], state["updates"]
        self.own.resume(state["own"])

    def result(self) -> tuple[Towers, dict[str, str]]:
        """The averaged weights, and what stands beside them in a tower file."""
        return copy.deepcopy(self.average), {"seed": str(self.recipe.seed), "world": str(self.recipe.world)}


def _name(slots: Int[Tensor, "b 2"]) -> Int[Tensor, " b"]:
    """Numbers, among `names()`, of concepts with their colours; negative where there is no concept."""
    concept, colour = slots.unbind(1)
    shape = concept - len(things())
    return torch.where(shape >= 0, len(things()) + shape * len(COLOUR_NAMES) + colour, concept)
