"""Deep Daze: Wang and Murdock, "Deep Daze" (2021), on SIREN: Sitzmann et al. (2020), arXiv:2006.09661.

A picture is a small network of sines that maps every point to its colour, so it can be drawn at any size when it
is done. The scorer sees squares of it, close ones first and wider ones later.

    python recipes/deep_daze.py "a red apple" --scorer embedded --size 64 --depth 3 --hidden 48 --frequency 8 \\
        --lr 0.03 --steps 150 --views 6
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Generator, Tensor
from tqdm import tqdm

import clipopt as co


@dataclass(frozen=True)
class Config:
    """A picture from a network of sines."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to show."""
    scorer: str = "openai/clip-vit-base-patch32"
    """Who guides: "embedded", a file of `recipes.embedded`, or a model by id."""
    size: int = 512
    """Pixels of the picture while it is made."""
    depth: int = 16
    """Layers of sines."""
    hidden: int = 256
    """Sines in a layer."""
    frequency: float = 30.0
    """Of the first layer: more is finer from the start."""
    steps: int = 1050
    """Steps of the optimizer. Published: 20 rounds of as many."""
    lr: float = 0.01
    """Learning rate. Published: 0.00001; the same step, for their weights count 30 times and ours 0.03 times."""
    views: int = 16
    """Squares in a step. Published: 4 times 4, gathered."""
    closest: float = 0.39
    """Side of the smallest squares, as a part of the picture."""
    enlarge: float = 2.0
    """How much larger the picture is written than it was made."""
    seed: int = 0
    """The same seed gives the same picture."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/deep_daze.png")
    """The picture to write."""
    overwrite: bool = False
    """Replace it where it exists."""


def main(config: Config) -> None:
    """Make the picture and write it."""
    if config.out.exists() and not config.overwrite:
        raise SystemExit(f"{config.out} exists: name another --out, or say --overwrite")
    scorer = co.load_scorer(config.scorer, device=config.device)
    image = co.params.Siren(
        config.size,
        config.size,
        rng=co.generator(config.seed),
        depth=config.depth,
        hidden=config.hidden,
        frequency=config.frequency,
    ).to(config.device)
    match = co.Matching(image, scorer, co.target(scorer, config.prompt))

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        # Published: a table of six sizes whose shares change every 500 steps, from mostly close to mostly wide.
        closest = config.closest + (1 - config.closest) / 2 * step / config.steps
        squares = co.augment.crops(config.views, scorer.image_size, scale=(closest, 0.98), shift=0.0, rotate=0.0)
        return replace(match, augment=squares)(step, rng)

    optimizer = torch.optim.Adam(image.parameters(), lr=config.lr)
    bar = tqdm(co.optimize(loss, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    side = round(config.enlarge * config.size)
    with torch.no_grad():
        co.save(config.out, image.render(side, side))
    print(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
