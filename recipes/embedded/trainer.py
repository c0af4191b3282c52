"""Training of one model in one stage: what the generator's parts and the describer share."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Generator, Tensor, nn

from clipopt.types import generator
from recipes.embedded.muon import Muon


@dataclass(frozen=True)
class Stage:
    """How a model is trained.

    Attributes:
        name: For the log.
        batches: How many batches it lasts.
        batch: Pictures, or crops of pictures, of each.
        lr: Peak learning rate of AdamW after 100 batches of warm-up; it falls to zero over the last part.
        muon: Learning rate of Muon over that of AdamW.
        falling: Share of the batches over which the rates fall.
    """

    name: str
    batches: int
    batch: int
    lr: float
    muon: float
    falling: float = 0.35


class Trainer:
    """The training of one model; `run()` yields after every batch, `state()` resumes it exactly."""

    def __init__(self, stage: Stage, seed: int, model: nn.Module, *, device: str = "cpu", amp: bool = True) -> None:
        self.stage, self.seed, self.device, self.amp = stage, seed, device, amp
        self.model: Any = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: Any = copy.deepcopy(model).requires_grad_(False)
        mixing = [p for name, p in model.named_parameters() if p.ndim > 1 and self.mixes(name)]
        chosen = {id(p) for p in mixing}
        rest = [p for p in model.parameters() if id(p) not in chosen]
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            Muon(mixing, lr=0.0, dtype=torch.bfloat16 if amp else torch.float32),
            torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.98), weight_decay=0),
        )
        self.done = 0

    def mixes(self, name: str) -> bool:
        """Whether a weight of two dimensions or more mixes channels, which Muon then trains; AdamW does the rest."""
        raise NotImplementedError

    def loss(self, rng: Generator) -> tuple[Tensor, dict[str, float]]:
        """The loss of a random batch, and figures for the log."""
        raise NotImplementedError

    def run(self) -> Iterator[dict[str, float | str]]:
        """Train to the end of the stage; yields figures after every batch."""
        while self.done < self.stage.batches:
            warm = min(1.0, (self.done + 1) / 100)
            left = (self.stage.batches - self.done) / (self.stage.falling * self.stage.batches)
            lr = self.stage.lr * warm * min(1.0, left)
            for optimizer, factor in zip(self.optimizers, (self.stage.muon, 1.0), strict=True):
                for group in optimizer.param_groups:
                    group["lr"] = factor * lr
            loss, figures = self.loss(generator(self.seed, self.done))
            self.model.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
            self.done += 1
            self._track()
            yield {"phase": self.stage.name, "loss": float(loss.detach()), **figures}

    @torch.no_grad()
    def _track(self) -> None:
        decay = min(0.995, self.done / (self.done + 20))
        for slow, fast in zip(self.average.parameters(), self.model.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)

    def state(self) -> dict[str, Any]:
        """Everything that `resume` needs."""
        return {
            "model": self.model.state_dict(), "average": self.average.state_dict(), "done": self.done,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }  # fmt: skip

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.done = state["done"]


def seeded(seed: int, make: Callable[[], Any]) -> Any:
    """What `make` makes with the randomness of `seed`; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(generator(seed, -1).get_state())
        return make()
