"""Augmented scoring: Liu et al., "FuseDream" (2021), arXiv:2112.01573, without its GAN.

Two ideas that make any scorer harder to fool. The score is the mean over many random changes of the picture that
no person would mind. And the search starts from the best of many candidates, since it only climbs the nearest hill.

    python recipes/augclip.py "a red apple" --scorer embedded --starts 200 --steps 200
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Tensor
from tqdm import tqdm

import clipopt as co


@dataclass(frozen=True)
class Config:
    """A picture by augmented scoring from the best of many starts."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to show."""
    scorer: str = "openai/clip-vit-base-patch32"
    """Who guides: "embedded", a file of `recipes.embedded`, or a model by id."""
    size: int = 256
    """Pixels of the picture."""
    starts: int = 10_000
    """Candidates to start from."""
    basis: int = 5
    """How many of the best are blended, by how much they are liked. Published: the blend is then learned as well."""
    steps: int = 1000
    """Steps of the optimizer."""
    lr: float = 0.05
    """Learning rate of Adam. Published: 0.005 for the latents of a GAN; ours are the logits of a spectrum."""
    replicates: int = 50
    """Changed copies over which the score is averaged."""
    seed: int = 0
    """The same seed gives the same picture."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/augclip.png")
    """The picture to write."""
    overwrite: bool = False
    """Replace it where it exists."""


def main(config: Config) -> None:
    """Make the picture and write it."""
    if config.out.exists() and not config.overwrite:
        raise SystemExit(f"{config.out} exists: name another --out, or say --overwrite")
    scorer = co.load_scorer(config.scorer, device=config.device)
    target = co.target(scorer, config.prompt)
    # The published numbers. Here each copy has a resize of its own; there, one is drawn for all.
    copies = co.augment.compose(
        co.augment.crops(
            config.replicates, scorer.image_size, scale=(0.8, 1.2), shift=0.125, rotate=0.0, padding="zeros"
        ),
        co.augment.color(brightness=0.5, saturation=1.0, contrast=0.5),
        co.augment.cutout(0.5),
    )
    start = blend_of_best(config, scorer, target, copies)
    image = co.params.Fourier(config.size, config.size, rng=co.generator(config.seed), init=start, colours="natural")
    image.to(config.device)
    match = co.Matching(image, scorer, target, augment=copies)
    optimizer = torch.optim.Adam(image.parameters(), lr=config.lr)
    bar = tqdm(co.optimize(match, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    co.save(config.out, image().detach())
    print(config.out)


def candidate(config: Config, number: int, side: int) -> Tensor:
    """Candidate `number`, (1, 3, side, side): clouds with the spectrum and the colours of photographs.

    Published: pictures of BigGAN, which are things already; of clouds, one or the other has the right layout.
    """
    rng = co.generator(config.seed, number)
    return co.params.Fourier(side, side, rng=rng, std=0.2, decay=1.5, colours="natural")().detach()


@torch.no_grad()
def blend_of_best(config: Config, scorer: co.Scorer, target: co.Target, copies: co.augment.Augment) -> Tensor:
    """The candidates that the scorer likes best, blended: (1, 3, h, w) at the scorer's size."""
    side, scores = scorer.image_size, []
    draw = copies.sample(co.generator(config.seed), 4)  # few, and the same for all: candidates differ by far more
    for number in tqdm(range(config.starts), unit="start"):
        seen = copies.apply(candidate(config, number, side).to(config.device), draw)
        scores.append((scorer.encode_image(seen) @ target.embeddings[0]).mean())
    best = torch.stack(scores).cpu().topk(min(config.basis, config.starts))
    pictures = torch.cat([candidate(config, int(number), side) for number in best.indices])
    shares = (best.values / best.values.std(correction=0).clamp_min(1e-6)).softmax(0)
    return (shares[:, None, None, None] * pictures).sum(0, keepdim=True)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
