"""The embedded sketcher: the latents of plainly painted captions, straight from their words."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Generator, Tensor

from clipopt.diffusion.load import facts_of, fingerprint, load_pipeline
from clipopt.embedded.captions import Scene, caption, vocabulary
from clipopt.embedded.sketcher import Sketcher, SketcherConfig, load_sketcher, save_sketcher
from clipopt.io import files
from recipes.embedded import sprites, training
from recipes.embedded.generator_models import SIDE
from recipes.embedded.pictures import claim, has, keep, require
from recipes.embedded.sketching import said_at_random, sketch
from recipes.embedded.trainer import Stage, Trainer, seeded

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
    """What tells a folder of encoded sketches from another, see `recipes.embedded.pictures.claim`.

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


@dataclass(frozen=True)
class SketcherTraining(training.Training):
    """Train the embedded sketcher, at whose pictures `clipopt image` begins, from nothing, or further (--begin).

    Paints captions plainly (this needs Debian's fonts-noto-color-emoji and unicode-data, or the same files elsewhere),
    then trains a small transformer that answers their words with the latents that the coder of a generator gives the
    pictures. The folder that the last line names holds sketcher.safetensors.

    The shipped settings take about 40 minutes of one CPU core, less where bfloat16 is fast.
    To try the machinery first: --share 0.01
    """

    begin: str | None = None
    """Begin at this sketcher instead of nothing: embedded, or a .safetensors of an earlier training with the same
    words."""
    generator: str = "embedded"
    """Whose coder makes the latents: embedded, or the generator/ of an earlier training."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the training."""
        task, settings = training.settle(self)
        coder, spec = _coder(settings["generator"], task.device), settings["begin"]
        begin = None if spec is None else load_sketcher(None if spec == "embedded" else Path(spec))
        if begin is not None and begin.config.vocabulary != vocabulary():
            raise ValueError(f"--begin {spec} has other words than the world has now; train one from nothing")
        recipe = training.fit(Recipe(), settings)
        if task.pictures is not None:
            require(task.pictures, vocabulary(), **world_of(recipe, fingerprint(settings["generator"])))
        sprites.sprites()
        return lambda: _train(task, settings, recipe, coder, begin)


def _train(
    task: SketcherTraining, settings: dict[str, Any], recipe: Recipe, coder: Any, begin: Sketcher | None
) -> None:
    name, scale = fingerprint(settings["generator"]), float(coder.config.scaling_factor)
    with training.folder(task, settings, "checkpoint.pt") as out:
        pictures = task.pictures or out / "pictures"
        training.follow(task, paint(recipe, coder, pictures, name=name, device=task.device), recipe.pictures)
        amp = settings["precision"] == "bfloat16"
        trainer = SketcherTrainer(recipe, pictures, scale, begin=begin, device=task.device, amp=amp)
        seconds = training.run(task, trainer, recipe.stage.batches, out / "checkpoint.pt")
        path = out / "sketcher.safetensors"
        facts = {"seed": str(recipe.seed), "world": str(recipe.world), "coder": name}
        with files.atomic(path) as temporary:
            save_sketcher(trainer.average, temporary, facts)
        training.finish(
            task, out, file=str(path), bytes=path.stat().st_size, batches=trainer.done,
            seconds_of_training=round(seconds, 1),
        )  # fmt: skip


def _coder(spec: str, device: str) -> Any:
    """The coder of an embedded generator."""
    if not facts_of(spec).get("embedded"):
        raise ValueError(f"--generator takes embedded or a generator/ of `train generator`, got {spec}")
    return load_pipeline(spec).vae.to(device)
