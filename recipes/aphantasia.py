"""Aphantasia: Epstein, "Aphantasia" (2021), after Olah et al., "Feature Visualization" (2017).

A picture is its Fourier spectrum, with amplitudes that fall as in photographs and colours along their axes; a
scorer looks at very many crops, from its own resolution up to the whole picture. Made for large pictures: they
fill with detail everywhere, more a tapestry of the words than one thing.

    python recipes/aphantasia.py "a red apple" --scorer embedded --size 256x256
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
    """A picture from its spectrum."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to show."""
    scorer: str = "openai/clip-vit-base-patch32"
    """Who guides: "embedded", a file of `recipes.embedded`, or a model by id."""
    size: str = "1280x720"
    """Width x height of the picture in pixels."""
    steps: int = 200
    """Steps of the optimizer."""
    lr: float = 0.05
    """Learning rate."""
    samples: int = 200
    """Crops in a step. Published: 200 with ViT-B/32, a quarter with ViT-B/16, half with ResNet-50."""
    macro: float = 0.4
    """Share of the crops that see nearly the whole picture."""
    decay: float = 1.5
    """How fast amplitudes fall with frequency: more is softer."""
    contrast: float = 1.1
    """Standard deviation of the picture's logits, which stays the same all along."""
    spherical: float = 0.25
    """Weight of the spherical distance beside the cosine."""
    seed: int = 0
    """The same seed gives the same picture. (The original has none.)"""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/aphantasia.png")
    """The picture to write."""
    overwrite: bool = False
    """Replace it where it exists."""


def main(config: Config) -> None:
    """Make the picture and write it."""
    if config.out.exists() and not config.overwrite:
        raise SystemExit(f"{config.out} exists: name another --out, or say --overwrite")
    width, height = map(int, config.size.split("x"))
    scorer = co.load_scorer(config.scorer, device=config.device)
    spectrum = co.params.Fourier(
        height, width, rng=co.generator(config.seed), decay=config.decay, colours="natural"
    ).to(config.device)

    def picture() -> Tensor:
        # The scale of the spectrum does not matter then: as it grows, steps become relatively smaller by themselves.
        logits = torch.logit(spectrum(), eps=1e-6)
        return torch.sigmoid(config.contrast * logits / logits.std(dim=(1, 2, 3), keepdim=True))

    def mixed(image: Tensor, text: Tensor, weights: Tensor) -> Tensor:
        # The original adds its spherical distance with the sign of a similarity, and so works against itself.
        near, far = co.losses.cosine(image, text, weights), co.losses.spherical(image, text, weights)
        return near + config.spherical * far

    wide = max(1, round(config.macro * config.samples))
    side = scorer.image_size
    views = co.augment.compose(
        co.augment.mix(
            co.augment.crops(wide, side, scale=(0.9, 1.0), shift=0.0, rotate=0.0),
            co.augment.details(max(1, config.samples - wide), side, rotate=0.0),
        ),
        # Published: each of these with a probability of 0.2, the turn up to 30 degrees; ours, every view a little.
        co.augment.affine(rotate=0.1, shift=0.0, scale=(1.0, 1.0)),
        co.augment.cutout(0.2),
    )
    match = co.Matching(picture, scorer, co.target(scorer, config.prompt), augment=views, distance=mixed)
    # Without momentum, as published: the views of one step say little about those of the next.
    optimizer = torch.optim.Adam(spectrum.parameters(), lr=config.lr, betas=(0.0, 0.999))
    bar = tqdm(co.optimize(match, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    co.save(config.out, picture().detach())
    print(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
