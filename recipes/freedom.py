"""FreeDoM: Yu et al., "FreeDoM: training-free energy-guided conditional diffusion model" (2023), arXiv:2303.09833.

While a pipeline denoises, the gradient of a scorer's distance, at what the denoiser takes for the clean picture, moves
the latents. Its length follows that of classifier-free guidance, so no scale is tuned; the steps in the middle, where
the content is decided, are taken several times with fresh noise between.

    python recipes/freedom.py "a red fox in the snow" --generator stable-diffusion-v1-5/stable-diffusion-v1-5
    python recipes/freedom.py "a red apple" --generator embedded --scorer embedded --sample-steps 20 --guidance 2
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor

import clipopt as co
from clipopt import diffusion


@dataclass(frozen=True)
class Config:
    """A guided sample."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to show, and what the generator is told."""
    wish: str | None = None
    """What the scorer asks for, where that is something else: a style, for example."""
    generator: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    """Who draws: "embedded", a folder or an id of a pipeline of diffusers."""
    scorer: str = "openai/clip-vit-base-patch16"
    """Who guides."""
    sample_steps: int = 100
    """Steps of denoising."""
    guidance: float = 7.5
    """Classifier-free guidance."""
    scale: float = 0.2
    """Length of the steps, in those of classifier-free guidance."""
    window: tuple[float, float] = (0.3, 0.7)
    """Part of the denoising that is guided."""
    repeated: tuple[int, int] = (30, 60)
    """Part of the denoising, in percent, whose steps are taken several times."""
    repeats: int = 3
    """How often."""
    seed: int = 0
    """The same seed gives the same picture."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/freedom.png")
    """The picture to write."""
    overwrite: bool = False
    """Replace it where it exists."""


def main(config: Config) -> None:
    """Make the picture and write it."""
    if config.out.exists() and not config.overwrite:
        raise SystemExit(f"{config.out} exists: name another --out, or say --overwrite")
    scorer = co.load_scorer(config.scorer, device=config.device)
    wanted = co.target(scorer, config.wish or config.prompt)
    pipe = diffusion.load_pipeline(config.generator, device=config.device)
    sampler = diffusion.Sampler(
        pipe, [config.prompt], [config.seed], steps=config.sample_steps, guidance=config.guidance
    )

    def energy(latents: Tensor) -> Tensor:
        image = sampler.coder.decode(latents)
        return co.losses.cosine(scorer.encode_image(image), wanted.embeddings, wanted.weights)

    noise = sampler.noise().requires_grad_()

    def chain(some: slice) -> diffusion.Chain:
        return diffusion.Chain(
            pipe.scheduler,
            fresh=sampler.fresh(noise.shape, some, 0),
            guide=diffusion.free_dom(energy, scale=config.scale, window=config.window),
            repeats=diffusion.in_turn(config.repeated, config.repeats),
            guidance=sampler.guidance,
        )

    image = sampler(noise, chain=chain)
    with torch.no_grad():
        match = co.losses.cosine(scorer.encode_image(image), wanted.embeddings, wanted.weights)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    co.save(config.out, image.detach())
    print(f"match: {1 - float(match):.3f}")
    print(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
