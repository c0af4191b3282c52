"""A story on film: Epstein, "illustrip" (2021), and the story mode of "VQGAN-CLIP": Crowson et al., arXiv:2204.08583.

A line of text is drawn while the camera moves, then the next one over it: every frame is the one before, a little
closer and turned, and one more step of the optimizer. In the second half of a line, the next one fades in.

    python recipes/story.py "a red apple" "a green tree" "a blue house" --scorer embedded --size 128x128 --frames 48
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from tqdm import tqdm

import clipopt as co
from clipopt.io.files import write_video


@dataclass(frozen=True)
class Config:
    """A film along lines of text."""

    lines: Annotated[tuple[str, ...], tyro.conf.Positional]
    """What to show, one after the other."""
    scorer: str = "openai/clip-vit-base-patch32"
    """Who guides: "embedded", a file of `recipes.embedded`, or a model by id."""
    size: str = "1280x720"
    """Width x height of a frame in pixels."""
    frames: int = 300
    """Frames of each line, one step of the optimizer each."""
    fps: float = 25.0
    """Frames per second."""
    lr: float = 0.1
    """Learning rate."""
    samples: int = 100
    """Crops in a step."""
    macro: float = 0.3
    """Share of the crops that see nearly the whole picture."""
    zoom: float = 1.012
    """Of each frame over the one before. Published: up to this, in slow waves; ours, all along."""
    rotate: float = 0.2
    """Degrees by which a frame turns. Published: waves of up to 0.8."""
    smooth: float = 0.5
    """Weight of the total variation, in place of the published contrast and sharpness."""
    seed: int = 0
    """The same seed gives the same film."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/story.mp4")
    """The film to write; each line at its half goes beside it, as one .png."""
    overwrite: bool = False
    """Replace them where they exist."""


def main(config: Config) -> None:
    """Make the film and write it."""
    stills = config.out.with_suffix(".png")
    for path in (config.out, stills):
        if path.exists() and not config.overwrite:
            raise SystemExit(f"{path} exists: name another --out, or say --overwrite")
    width, height = map(int, config.size.split("x"))
    scorer = co.load_scorer(config.scorer, device=config.device)
    target = co.target(scorer, list(config.lines))
    # Published: raw pixels; ours are a pyramid, which stays calm with a step for each frame.
    image = co.params.Pyramid(height, width, rng=co.generator(config.seed)).to(config.device)
    wide = max(1, round(config.macro * config.samples))
    views = co.augment.mix(
        co.augment.crops(wide, scorer.image_size, scale=(0.9, 1.1), padding="border"),
        co.augment.details(max(1, config.samples - wide), scorer.image_size),
    )
    detail = config.smooth * min(height, width) / scorer.image_size
    penalties = {"smooth": lambda picture: detail * co.losses.total_variation(picture)}
    match = co.Matching(image, scorer, target, augment=views, penalties=penalties)
    optimizer = torch.optim.Adam(image.parameters(), lr=config.lr)
    film, last = [], len(config.lines) - 1
    for frame in tqdm(range(len(config.lines) * config.frames), unit="frame"):
        line, within = divmod(frame / config.frames, 1)
        weights = torch.zeros(1, len(config.lines))
        fade = max(0.0, 2 * within - 1)  # published: all along the line
        weights[0, int(line)] = 1 - fade
        weights[0, min(int(line) + 1, last)] += fade
        now = replace(match, target=replace(target, embeddings=target.embeddings, weights=weights.to(config.device)))
        for _ in co.optimize(now, optimizer, steps=frame + 1, seed=config.seed, start=frame):
            film.append(image().detach()[0].cpu())
        moved = co.augment.warp(image().detach(), zoom=config.zoom, rotate=math.radians(config.rotate))
        # The optimizer keeps its momentum: the new picture takes the place of the old one in the same parameters.
        stepped = co.params.Pyramid(height, width, rng=co.generator(config.seed), init=moved)
        image.load_state_dict(stepped.state_dict())
    config.out.parent.mkdir(parents=True, exist_ok=True)
    write_video(config.out, film, fps=config.fps)
    co.save(stills, torch.stack(film[config.frames // 2 :: config.frames]))
    print(config.out, stills, sep="\n")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
