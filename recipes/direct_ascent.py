"""Direct ascent synthesis: Fort and Whitaker, "Direct Ascent Synthesis" (2025), arXiv:2502.07753.

A picture is a sum of layers of every resolution; several CLIPs at once look at shifted, noisy copies of it. No
generator, no training: that all resolutions learn together is the only prior, and natural 1/f spectra come of it.

    python recipes/direct_ascent.py "a red apple" --scorer embedded
    python recipes/direct_ascent.py "a castle" --negative "multiple exposure" "optical character recognition"
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Generator, Tensor
from tqdm import tqdm

import clipopt as co


@dataclass(frozen=True)
class Config:
    """A picture by direct ascent."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to show."""
    scorer: tuple[str, ...] = (
        "openai/clip-vit-base-patch32",
        "open_clip:ViT-B-32/laion400m_e32",
        "open_clip:ViT-B-32/laion2b_s34b_b79k",
    )
    """Who guides, all together: "embedded", files of `recipes.embedded`, or models by id. Published: these three."""
    negative: tuple[str, ...] = ()
    """Texts to stay away from, weight -0.3; those of the example above are what users found to help."""
    size: int = 224
    """Pixels of the picture. It is the middle of a canvas with a quarter of it around as margin: 336."""
    steps: int = 100
    """Steps of the optimizer."""
    lr: float = 0.1
    """Learning rate of Adam. Published: SGD at 0.1, whose steps mean something else for other layers."""
    views: int = 16
    """Shifted copies in a step. Published: 8 to 16."""
    noise: float = 0.06
    """Standard deviation of each copy's noise. Published: uniform in 0 to 0.2, which has this one, but also
    brightens; ours has mean 0."""
    seed: int = 0
    """The same seed gives the same picture."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/direct_ascent.png")
    """The picture to write."""
    overwrite: bool = False
    """Replace it where it exists."""


def main(config: Config) -> None:
    """Make the picture and write it."""
    if config.out.exists() and not config.overwrite:
        raise SystemExit(f"{config.out} exists: name another --out, or say --overwrite")
    margin = config.size // 4
    canvas = config.size + 2 * margin
    # Octaves in place of all resolutions from 1 to 336, which are 40 times the work for the same prior.
    image = co.params.Pyramid(canvas, canvas, rng=co.generator(config.seed)).to(config.device)
    prompts = {config.prompt: 1.0} | dict.fromkeys(config.negative, -0.3)
    window = config.size / canvas
    matchings = []
    for name in config.scorer:
        scorer = co.load_scorer(name, device=config.device)
        shifted = co.augment.crops(
            config.views, scorer.image_size, scale=(window, window), shift=0.0, rotate=0.0, padding="border"
        )
        views = co.augment.compose(shifted, co.augment.noise(config.noise))
        matchings.append(co.Matching(image, scorer, co.target(scorer, prompts), augment=views))

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        picture = image()
        each = {name: some.match(picture, step, rng) for name, some in zip(config.scorer, matchings, strict=True)}
        return {name: term / len(each) for name, term in each.items()}

    optimizer = torch.optim.Adam(image.parameters(), lr=config.lr)
    bar = tqdm(co.optimize(loss, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    co.save(config.out, image().detach()[..., margin : margin + config.size, margin : margin + config.size])
    print(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
