"""DNO: Tang et al., "Inference-time alignment of diffusion models with direct noise optimization" (2024).

arXiv:2405.18881. All noises of a stochastic DDIM chain are learned, not only the first. What keeps the picture in the
generator's domain is a penalty on noise that is improbable as noise, which also tells how far it has gone.

    python recipes/dno.py "a red fox in the snow" --generator stable-diffusion-v1-5/stable-diffusion-v1-5 --device cuda
    python recipes/dno.py "a red apple" --generator embedded --scorer embedded --sample-steps 8 --guidance 2
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


@dataclass(frozen=True)
class Config:
    """A picture from a chain of learned noises."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to show."""
    generator: str = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    """Who draws: "embedded", a folder or an id of a pipeline of diffusers with DDIM-like noise or a flow."""
    scorer: str = "yuvalkirstain/PickScore_v1"
    """Who guides."""
    sample_steps: int = 50
    """Steps of denoising; one noise for each, and the first."""
    guidance: float = 5.0
    """Classifier-free guidance."""
    steps: int = 100
    """Steps of the optimizer."""
    lr: float = 0.01
    """Learning rate of AdamW."""
    clip: float = 1.0
    """Longest gradient."""
    white: float = 1.0
    """Weight of the improbability of the noise, over its number of values. Published: 1; the code has 0."""
    orders: int = 100
    """Random orders in which the noise is looked at."""
    seed: int = 0
    """The same seed gives the same picture."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/dno.png")
    """The picture to write."""
    overwrite: bool = False
    """Replace it where it exists."""


def main(config: Config) -> None:
    """Make the picture and write it."""
    if config.out.exists() and not config.overwrite:
        raise SystemExit(f"{config.out} exists: name another --out, or say --overwrite")
    scorer = co.load_scorer(config.scorer, device=config.device)
    wanted = co.target(scorer, config.prompt)
    sampler = diffusion.Sampler(
        diffusion.load_pipeline(config.generator, device=config.device), [config.prompt], [config.seed],
        steps=config.sample_steps, guidance=config.guidance,
    )  # fmt: skip
    chain = diffusion.ChainNoise(sampler).to(config.device)
    values = chain.noise.numel()

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        match = co.losses.cosine(scorer.encode_image(chain()), wanted.embeddings, wanted.weights)
        white = diffusion.whiteness(chain.noise, rng=rng, permutations=config.orders)
        return {"match": match, "white": config.white / values * white}

    def shorten(gradient: Tensor) -> Tensor:
        return gradient * (config.clip / gradient.norm().clamp_min(1e-12)).clamp(max=1)

    chain.noise.register_hook(shorten)
    optimizer = torch.optim.AdamW(chain.parameters(), lr=config.lr)
    bar = tqdm(co.optimize(loss, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        bar.set_postfix(match=f"{float(step.terms['match']):.3f}", refresh=False)
    with torch.no_grad():
        image = chain()
        left = diffusion.whiteness(chain.noise, rng=co.generator(config.seed), permutations=config.orders)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    co.save(config.out, image)
    print(f"improbability of the noise: {float(left):.1f} (some units are ordinary, tens are no noise)")
    print(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
