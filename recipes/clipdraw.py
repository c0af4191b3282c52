"""CLIPDraw: Frans, Soros, Witkowski, "CLIPDraw" (2021), arXiv:2106.14843.

A drawing of Bezier strokes on white paper. Their points, widths and colours are learned; the result is a file of
vectors as well as of pixels, sharp at every size.

    python recipes/clipdraw.py "a red apple" --scorer embedded --strokes 64 --steps 200
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from tqdm import tqdm

import clipopt as co
from clipopt.io.files import write_text


@dataclass(frozen=True)
class Config:
    """A drawing of strokes."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to show."""
    negative: tuple[str, ...] = ()
    """Texts to stay away from, weight -0.3. Published: "A badly drawn sketch.", "Many ugly, messy drawings."."""
    scorer: str = "openai/clip-vit-base-patch32"
    """Who guides: "embedded", a file of `recipes.embedded`, or a model by id."""
    size: int = 224
    """Pixels of the drawing while it is made."""
    strokes: int = 256
    """How many strokes."""
    steps: int = 1000
    """Steps of the optimizer."""
    lr_points: float = 0.09
    """Learning rate of the points. Published: a pixel of 224; ours learns them in twentieths of the side."""
    lr_widths: float = 0.04
    """Learning rate of the widths. Published: 0.1 pixels; ours learns their logarithm."""
    lr_colours: float = 0.04
    """Learning rate of colours and opacities. Published: 0.01; ours learns their logits, which move four times less."""
    views: int = 4
    """Views in a step."""
    seed: int = 0
    """The same seed gives the same drawing."""
    device: str = "cpu"
    """Where to compute."""
    enlarge: int = 4
    """How much larger the picture is written than it was made."""
    out: Path = Path("outputs/clipdraw.png")
    """The picture to write; the vectors go beside it, with the suffix .svg."""
    overwrite: bool = False
    """Replace them where they exist."""


def main(config: Config) -> None:
    """Make the drawing and write it twice, as pixels and as vectors."""
    vectors = config.out.with_suffix(".svg")
    for path in (config.out, vectors):
        if path.exists() and not config.overwrite:
            raise SystemExit(f"{path} exists: name another --out, or say --overwrite")
    scorer = co.load_scorer(config.scorer, device=config.device)
    drawing = co.params.Strokes(
        config.size,
        config.size,
        rng=co.generator(config.seed),
        count=config.strokes,
        segments=2,  # published: 1 to 3, by chance
        background=(1.0, 1.0, 1.0),
        std=0.3,  # strokes of all colours
    ).to(config.device)
    views = co.augment.compose(
        co.augment.crops(config.views, scorer.image_size, scale=(0.84, 0.95), shift=0.0, rotate=0.0),  # 70 to 90 % area
        co.augment.perspective(0.5),
    )
    prompts = {config.prompt: 1.0} | dict.fromkeys(config.negative, -0.3)
    match = co.Matching(drawing, scorer, co.target(scorer, prompts), augment=views)
    groups = [
        {"params": [drawing.points], "lr": config.lr_points},
        {"params": [drawing.widths], "lr": config.lr_widths},
        {"params": [drawing.colours, drawing.opacity], "lr": config.lr_colours},
    ]
    optimizer = torch.optim.Adam(groups)
    bar = tqdm(co.optimize(match, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
        done = step.index + 1
        for group in optimizer.param_groups:
            # To 0.4 at half time and 0.1 after three quarters.
            group["lr"] *= {config.steps // 2: 0.4, 3 * config.steps // 4: 0.25}.get(done, 1.0)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    side = config.enlarge * config.size
    with torch.no_grad():
        co.save(config.out, drawing.render(side, side))
    write_text(vectors, drawing.svg())
    print(config.out, vectors, sep="\n")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
