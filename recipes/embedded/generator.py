"""The embedded generator: first the coder of pictures, then the denoiser of their latents."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clipopt.diffusion.load import facts_of, load_pipeline
from clipopt.embedded.captions import caption, describe
from clipopt.io import files
from clipopt.pipelines.progress import over, progress
from clipopt.scorers.tower import PAD, TowerScorer
from clipopt.types import Images
from clipopt.weights import TRAIN
from recipes.embedded import generator_models, sprites, training
from recipes.embedded.generator_models import SIDE, TIMESTEPS, new_coder, new_denoiser, new_scheduler, text_encoder
from recipes.embedded.painters import Painter
from recipes.embedded.pictures import claim, has, keep, require
from recipes.embedded.trainer import Stage, Trainer, seeded

CHUNK = 2_000
_WORDINGS = 4  # captions kept of every picture


@dataclass(frozen=True)
class Recipe:
    """All settings of one training."""

    stages: tuple[Stage, Stage] = (
        Stage("coder", 620, 32, 1e-3, 10.0),
        Stage("denoiser", 5000, 64, 1e-3, 20.0),
    )
    seed: int = 3
    world: int = 5
    pictures: int = 60_000

    def shortened(self, factor: float) -> "Recipe":
        """The same recipe with `factor` times the batches and pictures, at least a few of each."""
        first, second = (replace(s, batches=max(2, round(s.batches * factor))) for s in self.stages)
        return replace(self, stages=(first, second), pictures=max(64, round(self.pictures * factor)))


def paint(recipe: Recipe, scorer: TowerScorer, folder: Path, side: int = SIDE) -> Iterator[int]:
    """Paint the recipe's pictures into `folder`, with the words of some captions; yields how many stand there.

    They show what has a name in the scorer's words. What an earlier call finished is kept.

    Raises:
        ValueError: the folder holds pictures of another world, see `claim`.
    """
    claim(folder, scorer.towers.config.vocabulary, seed=recipe.world, side=side)
    painter = Painter.of(scorer.towers.config.vocabulary, recipe.world, side)
    for start in range(0, recipe.pictures, CHUNK):
        count = min(CHUNK, recipe.pictures - start)
        path = folder / f"{start // CHUNK:04d}-images.npy"
        if not has(path, count):
            images, texts = [], []
            for number in range(start, start + count):
                image, scene = painter.paint(number)
                images.append(image)
                rng = Random(f"{recipe.world}/{number}/captions")
                texts += [caption(describe(scene, rng), rng) for _ in range(_WORDINGS)]
            ids = scorer.towers.tokenize(texts)
            ids = F.pad(ids, (0, scorer.towers.config.context - ids.shape[1])).view(count, _WORDINGS, -1)
            keep(folder / f"{start // CHUNK:04d}-ids.npy", ids.numpy().astype(np.int16))
            keep(path, np.stack(images))
        yield start + count


class Painted:
    """The first `count` painted pictures of a folder, by default all, memory mapped."""

    def __init__(self, folder: Path, count: int | None = None) -> None:
        paths = sorted(folder.glob("*-images.npy"))
        if not paths:
            raise ValueError(f"no painted pictures in {folder}; `{TRAIN} generator` paints them first")
        self._images = [np.load(path, mmap_mode="r") for path in paths]
        self.ids = torch.from_numpy(
            np.concatenate([np.load(path.with_name(path.name.replace("images", "ids"))) for path in paths])[:count]
        )

    def __len__(self) -> int:
        return len(self.ids)

    def images(self, numbers: Int[Tensor, " b"]) -> Images:
        """Pictures by number."""
        rows = np.stack([self._images[n // CHUNK][n % CHUNK] for n in numbers.tolist()])
        return torch.from_numpy(rows).permute(0, 3, 1, 2).float() / 255

    def crops(self, numbers: Int[Tensor, " b"], side: int, rng: Generator) -> Images:
        """One square of each picture, `side` pixels wide."""
        room = self._images[0].shape[1] - side
        corners = torch.randint(room + 1, (len(numbers), 2), generator=rng).tolist()
        rows = [
            self._images[n // CHUNK][n % CHUNK][y : y + side, x : x + side]
            for n, (y, x) in zip(numbers.tolist(), corners, strict=True)
        ]
        return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2).float() / 255


class _Trainer(Trainer):
    def mixes(self, name: str) -> bool:
        return not name.startswith(("conv_", "time_emb")) and not any(
            part in name for part in (".conv_in.", ".conv_out.", "quant_conv", "positional")
        )


class CoderTrainer(_Trainer):
    """Trains the AutoencoderKL on crops: the pixels, what the plain scorer's first stages see, and a small KL term."""

    def __init__(
        self, recipe: Recipe, painted: Painted, eye: TowerScorer, *, device: str = "cpu", amp: bool = True
    ) -> None:
        super().__init__(recipe.stages[0], recipe.seed, seeded(recipe.seed, new_coder), device=device, amp=amp)
        self.painted, self.eye = painted, eye

    def loss(self, rng: Generator) -> tuple[Tensor, dict[str, float]]:
        """L1 of the pixels and of features, and the divergence of the latents from a normal distribution."""
        numbers = torch.randint(len(self.painted), (self.stage.batch,), generator=rng)
        x = self.painted.crops(numbers, self.eye.image_size, rng).to(self.device, memory_format=torch.channels_last)
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.amp):
            mean, log_var = self.model.quant_conv(self.model.encoder(2 * x - 1)).float().chunk(2, 1)
            log_var = log_var.clamp(-20, 10)
            noise = torch.randn(mean.shape, generator=rng).to(mean)
            y = self.model.decode(mean + (0.5 * log_var).exp() * noise).sample.float() / 2 + 0.5
            with torch.no_grad():
                wanted = self._seen(x)
            pairs = zip(self._seen(y), wanted, strict=True)
            features = torch.stack([F.l1_loss(a.float(), b.float()) / b.float().abs().mean() for a, b in pairs]).sum()
        pixels = F.l1_loss(y, x)
        divergence = 0.5 * (mean.square() + log_var.exp() - 1 - log_var).mean()
        parts = {"pixels": pixels, "features": features, "kl": divergence}
        figures = {name: float(part.detach()) for name, part in parts.items()}
        return pixels + 0.03 * features + 5e-4 * divergence, figures

    def _seen(self, images: Images) -> list[Tensor]:
        tower = self.eye.towers.image
        x = tower.stem((images - 0.5) * 3)
        made = []
        for block in [*tower.body][:2]:
            x = block(x)
            made.append(x)
        return made


def kept(coder: nn.Module) -> nn.Module:
    """A frozen copy of a trained coder, which does not say from where that was read."""
    made = new_coder()
    made.load_state_dict(coder.state_dict())
    return made.requires_grad_(False)


@torch.no_grad()
def encode(
    coder: Any, painted: Painted, *, device: str = "cpu", amp: bool = True
) -> Iterator[Float[Tensor, "b c h w"]]:
    """Means of the latents of all pictures, some at a time."""
    for start in range(0, len(painted), 100):
        x = painted.images(torch.arange(start, min(start + 100, len(painted))))
        x = (2 * x - 1).to(device, memory_format=torch.channels_last)
        with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=amp):
            moments = coder.quant_conv(coder.encoder(x))
        yield moments.float().chunk(2, 1)[0].contiguous().cpu()


class DenoiserTrainer(_Trainer):
    """Trains the UNet2DConditionModel to predict velocities of scaled latents under their captions' words.

    From nothing, or from the weights of `begin`, a model of the same architecture.

    Reference:
        Salimans and Ho, "Progressive distillation for fast sampling of diffusion models" (ICLR 2022).
    """

    def __init__(
        self, recipe: Recipe, latents: Float[Tensor, "n c _ _"], ids: Int[Tensor, "n _ _"], scorer: TowerScorer, *,
        begin: nn.Module | None = None, device: str = "cpu", amp: bool = True,
    ) -> None:  # fmt: skip
        from diffusers.models.attention_processor import AttnProcessor

        made = seeded(recipe.seed + 1, new_denoiser)
        if begin is not None:
            made.load_state_dict(begin.state_dict())
        made.set_attn_processor(AttnProcessor())  # on 6 x 6 places twice as fast as the fused kernels on a CPU
        super().__init__(recipe.stages[1], recipe.seed + 1, made, device=device, amp=amp)
        self.latents, self.ids = latents, ids
        self.reader = text_encoder(scorer.towers.text, scorer.towers.config).to(device)
        self.kept = new_scheduler().alphas_cumprod

    def loss(self, rng: Generator) -> tuple[Tensor, dict[str, float]]:
        """The squared error of the velocity at random times; a tenth of the captions is left out."""
        count = self.stage.batch
        numbers = torch.randint(len(self.latents), (count,), generator=rng)
        x = self.latents[numbers].float()
        ids = self.ids[numbers, torch.randint(self.ids.shape[1], (count,), generator=rng)].long()
        ids[torch.rand(count, generator=rng) < 0.1] = PAD
        # One time in each of as many strata as there are pictures: less noise in the gradient.
        strata = (torch.randperm(count, generator=rng) + torch.rand(count, generator=rng)) / count
        times = (strata * TIMESTEPS).long().clamp(max=TIMESTEPS - 1)
        noise = torch.randn(x.shape, generator=rng)
        alpha = self.kept[times].sqrt()[:, None, None, None]
        sigma = (1 - self.kept[times]).sqrt()[:, None, None, None]
        x, noise, alpha, sigma, ids, at = (t.to(self.device) for t in (x, noise, alpha, sigma, ids, times))
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.amp):
            with torch.no_grad():
                said = self.reader(ids, attention_mask=(ids != PAD).long())[0]
            noisy = (alpha * x + sigma * noise).contiguous(memory_format=torch.channels_last)
            velocity = self.model(noisy, at, said).sample.float()
        error = (velocity - (alpha * noise - sigma * x)).square().mean((1, 2, 3))
        return error.mean(), {"late": float(error[at >= TIMESTEPS // 2].mean().detach())}


@dataclass(frozen=True)
class GeneratorTraining(training.Training):
    """Train the embedded generator from nothing, or further (--begin).

    Paints captioned pictures of 96 px (this needs Debian's fonts-noto-color-emoji and unicode-data, or the same files
    elsewhere), then trains an AutoencoderKL on crops of them, and a UNet2DConditionModel on its latents, under what
    the scorer's word transformer says of the captions. The folder that the last line names holds generator/, a
    standard folder of diffusers, which `clipopt latent` takes as --generator.

    The shipped settings take about two hours of one CPU core where bfloat16 is fast, and 2 GB of disk while they run.
    To try the machinery first: --share 0.005
    """

    begin: str | None = None
    """Begin at this generator instead of nothing: embedded, or the generator/ of an earlier training. Its coder of
    pictures stays as it is, and its denoiser learns the scorer's words as they are now."""
    scorer: str = "embedded"
    """Whose word transformer reads the captions: embedded, or a .safetensors of `train scorer`."""
    eye: str = "embedded-plain"
    """Whose first stages compare pictures while the coder is trained."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the training."""
        task, settings = training.settle(self)
        scorer, eye = (training.tower(settings[name], task.device) for name in ("scorer", "eye"))
        begin = _begin(settings["begin"])
        recipe = training.fit(Recipe(), settings)
        if task.pictures is not None:
            require(task.pictures, scorer.towers.config.vocabulary, seed=recipe.world, side=generator_models.SIDE)
        sprites.sprites()
        return lambda: _train(task, settings, recipe, scorer, eye, begin)


def _train(
    task: GeneratorTraining, settings: dict[str, Any], recipe: Recipe, scorer: TowerScorer, eye: TowerScorer,
    begin: Any | None,
) -> None:  # fmt: skip
    with training.folder(task, settings, "coder.pt", "denoiser.pt", "latents.pt") as out:
        pictures = task.pictures or out / "pictures"
        training.follow(task, paint(recipe, scorer, pictures), recipe.pictures)
        painted, amp = Painted(pictures, recipe.pictures), settings["precision"] == "bfloat16"
        batches, seconds = {}, 0.0
        coder: Any
        if begin is None:
            trainer = CoderTrainer(recipe, painted, eye, device=task.device, amp=amp)
            seconds += training.run(task, trainer, trainer.stage.batches, out / "coder.pt", name="coder")
            batches["coder"], coder = trainer.done, trainer.average
        else:
            coder = kept(begin.vae).to(task.device)
        latents = _latents(task, coder, painted, out / "latents.pt", amp=amp)
        scale = float(1 / latents.float().std())
        denoiser = DenoiserTrainer(
            recipe, (scale * latents.float()).half(), painted.ids, scorer,
            begin=begin and begin.unet, device=task.device, amp=amp,
        )  # fmt: skip
        seconds += training.run(task, denoiser, denoiser.stage.batches, out / "denoiser.pt", name="denoiser")
        batches["denoiser"] = denoiser.done
        coder.register_to_config(scaling_factor=scale)
        text, config = scorer.towers.text.cpu(), scorer.towers.config
        pipe = generator_models.pipeline(coder.cpu(), denoiser.average.cpu(), text, config)
        facts = generator_models.FACTS | {"seed": recipe.seed, "world": recipe.world, "scorer": scorer.fingerprint}
        made = out / "generator"
        generator_models.save(made, pipe, facts)
        (out / "latents.pt").unlink()
        size = sum(path.stat().st_size for path in made.rglob("*.safetensors"))
        training.finish(task, out, folder=str(made), bytes=size, batches=batches, seconds_of_training=round(seconds, 1))


def _latents(task: GeneratorTraining, coder: Any, painted: Painted, path: Path, *, amp: bool) -> Tensor:
    """Latents of all pictures, encoded once."""
    if not path.exists():
        found = encode(coder, painted, device=task.device, amp=amp)
        bar = progress(-(-len(painted) // 100), name="encoding", unit="batch", quiet=task.json)
        latents = torch.cat([each.half() for each in over(found, bar)])
        with files.atomic(path) as temporary:
            torch.save(latents, temporary)
    read: Tensor = torch.load(path, weights_only=True)
    return read


def _begin(spec: str | None) -> Any | None:
    """The pipeline that the training begins at; None begins at nothing."""
    if spec is None:
        return None
    if not facts_of(spec).get("embedded"):
        raise ValueError(f"--begin takes embedded or a generator/ of `train generator`, got {spec}")
    return load_pipeline(spec)
