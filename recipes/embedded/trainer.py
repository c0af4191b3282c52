"""What trainers share: their optimizers and updates; the training of one model in one stage."""

import copy
from collections.abc import Callable, Iterable, Iterator
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


Optimizers = tuple[torch.optim.Optimizer, ...]


def optimizers_of(
    model: nn.Module, mixes: Callable[[str], bool], *, amp: bool, others: Iterable[nn.Parameter] = ()
) -> Optimizers:
    """Muon for weights of two dimensions or more that mix channels, as `mixes` says; AdamW for the others."""
    mixing = [p for name, p in model.named_parameters() if p.ndim > 1 and mixes(name)]
    chosen = {id(p) for p in mixing}
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return (
        Muon(mixing, lr=0.0, dtype=torch.bfloat16 if amp else torch.float32),
        torch.optim.AdamW([*rest, *others], lr=0.0, betas=(0.9, 0.98), weight_decay=0),
    )


def set_rates(optimizers: Optimizers, lr: float, muon: float) -> None:
    """Give AdamW the learning rate `lr`, and Muon `muon` times as much."""
    for optimizer, factor in zip(optimizers, (muon, 1.0), strict=True):
        for group in optimizer.param_groups:
            group["lr"] = factor * lr


def descend(loss: Tensor, optimizers: Optimizers, model: nn.Module, *others: nn.Module) -> None:
    """One step down; the gradients of `model` are clipped, those of `others` are not."""
    for module in (model, *others):
        module.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimizer in optimizers:
        optimizer.step()


@torch.no_grad()
def track(average: nn.Module, model: nn.Module, decay: float) -> None:
    """Move a running average of weights on."""
    for slow, fast in zip(average.parameters(), model.parameters(), strict=True):
        slow.lerp_(fast, 1 - decay)


class Trainer:
    """The training of one model; `run()` yields after every batch, `state()` resumes it exactly."""

    def __init__(self, stage: Stage, seed: int, model: nn.Module, *, device: str = "cpu", amp: bool = True) -> None:
        self.stage, self.seed, self.device, self.amp = stage, seed, device, amp
        self.model: Any = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average: Any = copy.deepcopy(model).requires_grad_(False)
        self.optimizers = optimizers_of(model, self.mixes, amp=amp)
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
            set_rates(self.optimizers, self.stage.lr * warm * min(1.0, left), self.stage.muon)
            loss, figures = self.loss(generator(self.seed, self.done))
            descend(loss, self.optimizers, self.model)
            self.done += 1
            track(self.average, self.model, min(0.995, self.done / (self.done + 20)))
            yield {"phase": self.stage.name, "loss": float(loss.detach()), **figures}

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
