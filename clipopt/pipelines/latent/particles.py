"""A search for better noise that needs no gradient: moves of the best so far that leave noise normal."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.types import PerItem, generator

_MOVES = 4  # keeps what the search draws apart
_NEAR = 0.15  # how far a particle moves at the end, as a share of fresh noise


class Pool:
    """The best noises of each item. A move mixes one of them with fresh noise, ever less of it.

    The moves are those of the preconditioned Crank-Nicolson proposal: noise stays normal whatever is mixed.

    Args:
        seeds: Of the items; no neighbour changes what one gives.
        size: How many noises of each are kept.
        steps: How many moves there will be, those that fill the pool included.

    Reference:
        Cotter et al., "MCMC methods for functions" (2013), arXiv:1202.0709.
    """

    def __init__(self, seeds: Sequence[int], size: int, steps: int) -> None:
        self.seeds, self.size, self.steps = seeds, size, steps
        self.noise: Tensor | None = None
        self.scores = torch.zeros(len(seeds), 0)

    def move(self, fresh: Float[Tensor, "b ..."], step: int) -> Float[Tensor, "b ..."]:
        """The noise to try in a step; `fresh` itself until the pool is full."""
        if self.noise is None or self.noise.shape[1] < self.size:
            return fresh
        far = 1 - (1 - _NEAR) * (step - self.size) / max(1, self.steps - self.size)
        chosen = []
        for number, seed in enumerate(self.seeds):
            ranked = self.scores[number].argsort(descending=True)
            # The better a particle, the more often it moves.
            low = float(torch.rand(2, generator=generator(seed, step, _MOVES)).min())
            chosen.append(self.noise[number, ranked[int(low * len(ranked))]])
        mixed: Tensor = (1 - far**2) ** 0.5 * torch.stack(chosen) + far * fresh
        return mixed

    def keep(self, noise: Float[Tensor, "b ..."], score: PerItem) -> None:
        """Take what was tried in, in the place of the worst of its item if it is better."""
        if self.noise is None:
            self.noise, self.scores = noise[:, None].clone(), score[:, None].clone()
        elif self.noise.shape[1] < self.size:
            self.noise = torch.cat([self.noise, noise[:, None]], 1)
            self.scores = torch.cat([self.scores, score[:, None]], 1)
        else:
            for number, value in enumerate(score.tolist()):
                worst = int(self.scores[number].argmin())
                if value > float(self.scores[number, worst]):
                    self.noise[number, worst], self.scores[number, worst] = noise[number], value

    def state(self) -> dict[str, Any]:
        """What `load_state` needs to go on."""
        return {"noise": self.noise, "scores": self.scores}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.noise, self.scores = state["noise"], state["scores"]
