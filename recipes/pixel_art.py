"""Pixel art: White, "pixray" (2021), and Russell, "PyTTI" (2021), the limited palette; no paper.

A coarse grid of cells, each in one colour of a small palette that is learned along with them. With so few things
to say, even a scorer that is not robust can hardly be fooled by texture.

    python recipes/pixel_art.py "a red apple" --scorer embedded --text-off 0 --views 10 --steps 120
    python recipes/pixel_art.py "a castle" --colours gameboy --cells 40x36
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from tqdm import tqdm

import clipopt as co
from clipopt.scorers import text_off


@dataclass(frozen=True)
class Config:
    """A picture of cells in few colours."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to show."""
    scorer: str = "openai/clip-vit-base-patch32"
    """Who guides: "embedded", a file of `recipes.embedded`, or a model by id. Published: up to five together."""
    cells: str = "32x32"
    """Cells across x down. Published: 80 x 45 for wide pictures, which is finer."""
    cell: int = 8
    """Pixels of a cell's side in the picture."""
    colours: int | str = 16
    """How many colours are learned; or a palette: mono, grey, gameboy, cga, pico8."""
    steps: int = 250
    """Steps of the optimizer."""
    lr: float = 0.2
    """Learning rate, a tenth of it in the last quarter."""
    views: int = 30
    """Views in a step: two in five show the whole picture, the others parts of it at a slant."""
    noise: float = 0.1
    """Standard deviation of each view's noise."""
    text_off: float = 0.1
    """How much lettering is kept away; 0 for scorers that know no words for it, such as the embedded one."""
    seed: int = 0
    """The same seed gives the same picture."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/pixel_art.png")
    """The picture to write."""
    overwrite: bool = False
    """Replace it where it exists."""


def main(config: Config) -> None:
    """Make the picture and write it."""
    if config.out.exists() and not config.overwrite:
        raise SystemExit(f"{config.out} exists: name another --out, or say --overwrite")
    columns, rows = map(int, config.cells.split("x"))
    scorer = co.load_scorer(config.scorer, device=config.device)
    image = co.params.Palette(
        rows * config.cell,
        columns * config.cell,
        rng=co.generator(config.seed),
        cell=config.cell,
        colours=config.colours,
    ).to(config.device)
    views = co.augment.compose(
        co.augment.wide_and_zoom(config.views, scorer.image_size),
        co.augment.color(hue=0.1, saturation=0.1, brightness=0.0, contrast=0.0),
        co.augment.noise(config.noise),
    )
    target = co.target(scorer, config.prompt)
    if config.text_off:
        target = text_off(target, scorer, config.text_off)
    match = co.Matching(image, scorer, target, augment=views, distance=co.losses.spherical)
    optimizer = torch.optim.Adam(image.parameters(), lr=config.lr)
    bar = tqdm(co.optimize(match, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
        if step.index + 1 == 3 * config.steps // 4:
            optimizer.param_groups[0]["lr"] /= 10
    config.out.parent.mkdir(parents=True, exist_ok=True)
    co.save(config.out, image().detach())
    print(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
