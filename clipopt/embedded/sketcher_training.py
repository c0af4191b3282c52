"""Training of the embedded sketcher: the latents of plainly painted captions, straight from their words."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Generator, Tensor

from clipopt.embedded.captions import Scene, caption, vocabulary
from clipopt.embedded.generator import SIDE
from clipopt.embedded.pictures import claim, has, keep
from clipopt.embedded.sketcher import Sketcher, SketcherConfig
from clipopt.embedded.sketching import said_at_random, sketch
from clipopt.embedded.stages import Stage, Trainer, seeded

CHUNK = 1_000
_WORDINGS = 4  # of every picture


@dataclass(frozen=True)
class Recipe:
    """All settings of one training."""

    stage: Stage = field(default_factory=lambda: Stage("sketcher", 2400, 96, 1e-3, 20.0, falling=0.5))
    seed: int = 6
    world: int = 6
    pictures: int = 16_000

    def shortened(self, factor: float) -> "Recipe":
        """The same recipe with `factor` times the batches and pictures, at least a few of each."""
        stage = replace(self.stage, batches=max(2, round(self.stage.batches * factor)))
        return replace(self, stage=stage, pictures=max(64, round(self.pictures * factor)))


def world_of(recipe: Recipe, coder: str) -> dict[str, int | str]:
    """What tells a folder of encoded sketches from another, see `clipopt.embedded.pictures.claim`.

    Args:
        recipe: Of the training.
        coder: The fingerprint of whose latents they are.
    """
    return {"sketches": recipe.world, "side": SIDE, "coder": coder}


def wording(said: Scene, rng: Random) -> str:
    """A sentence for what was sketched: of two things without a relation, the first is named first."""
    return caption(said, None if said.other is not None and said.relation is None else rng)


def paint(recipe: Recipe, coder: Any, folder: Path, *, name: str = "", device: str = "cpu") -> Iterator[int]:
    """Sketch captions, encode them by `coder`, an AutoencoderKL, into `folder`; yields how many stand there.

    `name` is the coder's fingerprint. What an earlier call finished is kept.

    Raises:
        ValueError: the folder holds pictures of another world, see `claim`.
    """
    claim(folder, vocabulary(), **world_of(recipe, name))
    reader = Sketcher(SketcherConfig(vocabulary(), width=8, heads=1, layers=0))
    for start in range(0, recipe.pictures, CHUNK):
        count = min(CHUNK, recipe.pictures - start)
        path = folder / f"{start // CHUNK:04d}-latents.npy"
        if not has(path, count):
            pictures, texts = [], []
            for number in range(start, start + count):
                rng = Random(f"{recipe.world}/{number}")
                said = said_at_random(rng)
                pictures.append(sketch(said, SIDE))
                texts += [wording(said, rng) for _ in range(_WORDINGS)]
            ids = torch.zeros(len(texts), reader.config.context, dtype=torch.int16)
            told = reader.tokenize(texts)
            ids[:, : told.shape[1]] = told
            keep(path.with_name(path.name.replace("latents", "ids")), ids.view(count, _WORDINGS, -1).numpy())
            keep(path, encode(coder, np.stack(pictures), device).numpy())
        yield start + count


@torch.no_grad()
def encode(coder: Any, pictures: NDArray[np.uint8], device: str = "cpu") -> Float[Tensor, "n c h w"]:
    """Means of the latents of pictures (n, side, side, 3) of bytes."""
    rows = torch.from_numpy(pictures).permute(0, 3, 1, 2).split(50)
    return torch.cat(
        [coder.quant_conv(coder.encoder(2 * x.to(device).float() / 255 - 1)).chunk(2, 1)[0].half().cpu() for x in rows]
    )


class SketcherTrainer(Trainer):
    """Trains a sketcher to answer captions with scaled latents, from nothing or from the weights of `begin`."""

    def __init__(
        self, recipe: Recipe, folder: Path, scale: float, *,
        begin: Sketcher | None = None, device: str = "cpu", amp: bool = True,
    ) -> None:  # fmt: skip
        def read(what: str) -> Tensor:
            chunks = [np.load(path) for path in sorted(folder.glob(f"*-{what}.npy"))]
            return torch.from_numpy(np.concatenate(chunks)[: recipe.pictures])

        self.latents: Float[Tensor, "n c h w"] = scale * read("latents").float()
        self.ids: Int[Tensor, "n v w"] = read("ids").long()
        shape = {"channels": self.latents.shape[1], "side": self.latents.shape[2]}
        made = seeded(recipe.seed, lambda: Sketcher(SketcherConfig(vocabulary(), **shape)))
        if begin is not None:
            made.load_state_dict(begin.state_dict())
        super().__init__(recipe.stage, recipe.seed, made, device=device, amp=amp)

    def mixes(self, name: str) -> bool:
        """All but words, places and the last."""
        return not name.startswith(("embedding", "positional", "out"))

    def loss(self, rng: Generator) -> tuple[Tensor, dict[str, float]]:
        """The mean squared error of latents of unit variance."""
        numbers = torch.randint(len(self.latents), (self.stage.batch,), generator=rng)
        ids = self.ids[numbers, torch.randint(self.ids.shape[1], (self.stage.batch,), generator=rng)]
        ids = ids[:, : int((ids != 0).sum(1).max())].to(self.device)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.amp):
            made = self.model(ids).float()
        return (made - self.latents[numbers].to(self.device)).square().mean(), {}
