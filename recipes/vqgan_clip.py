"""VQGAN+CLIP: Crowson et al., "VQGAN-CLIP: open domain image generation and editing with natural language" (2022).

arXiv:2204.08583. The latents of a quantized coder are learned under many augmented cutouts; the nearest codes are
looked up in each step and the gradient passes straight through. No generator knows the words: the coder alone keeps
the picture together.

    python recipes/vqgan_clip.py "a red fox in the snow" --coder CompVis/ldm-super-resolution-4x-openimages
    python recipes/vqgan_clip.py "a red apple" --coder embedded --scorer embedded --size 96 --cuts 8 --steps 100
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Generator, Tensor
from tqdm import tqdm

import clipopt as co
from clipopt import diffusion
from clipopt.io.files import load_image


@dataclass(frozen=True)
class Config:
    """A picture from the latents of a coder."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to show."""
    coder: str = "CompVis/ldm-super-resolution-4x-openimages"
    """A VQModel or AutoencoderKL of diffusers, or the pipeline that has one; "embedded"."""
    scorer: str = "openai/clip-vit-base-patch32"
    """Who guides."""
    size: int = 256
    """Side of the picture in pixels."""
    init: Path | None = None
    """A picture to start from; without it random codes."""
    init_weight: float = 0.0
    """Weight of the squared distance to where it started. The originals measure it to zero, which is an error."""
    cuts: int = 32
    """Cutouts in a step."""
    steps: int = 300
    """Steps of the optimizer."""
    lr: float = 0.1
    """Learning rate of Adam."""
    seed: int = 0
    """The same seed gives the same picture."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/vqgan_clip.png")
    """The picture to write."""
    overwrite: bool = False
    """Replace it where it exists."""


def main(config: Config) -> None:
    """Make the picture and write it."""
    if config.out.exists() and not config.overwrite:
        raise SystemExit(f"{config.out} exists: name another --out, or say --overwrite")
    scorer = co.load_scorer(config.scorer, device=config.device)
    coder = diffusion.Coder(diffusion.load_coder(config.coder, device=config.device))
    init = None
    if config.init is not None:
        given = load_image(config.init)
        init = torch.nn.functional.interpolate(given, (config.size, config.size), mode="bicubic", antialias=True)
        init = init.clamp(0, 1)
    latents = diffusion.Latents(coder, config.size, config.size, rng=[co.generator(config.seed)], init=init)
    latents.to(config.device)
    views = co.augment.compose(
        co.augment.crops(config.cuts, scorer.image_size, scale=(0.3, 1.0)),
        co.augment.affine(rotate=0.26, shift=0.1, scale=(0.9, 1.1)),
        co.augment.color(),
        co.augment.noise(0.1),
    )
    match = co.Matching(latents, scorer, co.target(scorer, config.prompt), augment=views, distance=co.losses.spherical)

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        terms = match(step, rng)
        if config.init_weight:
            terms["drift"] = config.init_weight * latents.drift()
        return terms

    optimizer = torch.optim.Adam(latents.parameters(), lr=config.lr)
    bar = tqdm(co.optimize(loss, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        latents.clamp()
        bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    co.save(config.out, latents().detach())
    print(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
