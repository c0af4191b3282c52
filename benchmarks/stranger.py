"""What a judge that grew up with another hand's emoji reads in the pictures of `clipopt eval image`.

    python benchmarks/stranger.py EMOJI --pictures FOLDER [FOLDER ...] --work FOLDER --out docs/stranger.json

EMOJI is a folder of pictures named by code points, or a font, as for hands.py; FOLDER holds picture-000.png and so on,
as `clipopt eval image` leaves them. Scorer, judge and sketcher all know things as one font draws them, so that they
might agree on what nobody else would recognise. This judge has the shipped one's architecture and has never seen that
font: its world shows things as the other hand draws them, and no solids. See README.md beside this file.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import hands
import torch
from tqdm import tqdm

from clipopt.embedded.captions import shape_number
from clipopt.embedded.concepts import SHAPES
from clipopt.evaluation.suite import Prompt, interval, prompts, read
from clipopt.io import files
from clipopt.scorers import Scorer, load_scorer
from recipes.embedded import pictures, scorer_trainer
from recipes.embedded.painters import Painter, What, coloured
from recipes.embedded.sprites import FONT, symbols

WORLD = 7


def painter(seed: int, side: int, *, hand: Path) -> Painter:
    """A painter of a world without solids in which flat things are as this hand draws them."""
    drawn = hands.drawn(hand, symbols())

    def look(number: int, rng: Random) -> What:
        return coloured(number, drawn[number], rng)

    return Painter(seed, side, sorted(drawn), solids=False, look=look)


def train(hand: Path, share: float, work: Path) -> Path:
    """The judge's file; one that stands there is kept."""
    path = work / "stranger.safetensors"
    if path.exists():
        return path
    recipe = replace(scorer_trainer.recipe("judge"), seed=WORLD, world=WORLD).shortened(share)
    make = partial(painter, hand=hand)
    with tqdm(total=recipe.pictures, desc="painting", file=sys.stderr) as bar:
        for done in pictures.paint(WORLD, recipe.pictures, work / "pictures", workers=1, make=make):
            bar.update(done - bar.n)
    trainer = scorer_trainer.Trainer(recipe, pictures.Pictures(work / "pictures", recipe.pictures), amp=False)
    kept = work / "checkpoint.pt"
    if kept.exists():
        trainer.resume(torch.load(kept, weights_only=True))
    for _ in tqdm(trainer.run(), total=recipe.batches, initial=trainer.done, desc="training", file=sys.stderr):
        if trainer.done % 50 == 0:
            with files.atomic(kept) as temporary:
                torch.save(trainer.state(), temporary)
    towers, facts = trainer.result()
    with files.atomic(path) as temporary:
        towers.save(temporary, facts)
    return path


def seen(judge: Scorer, images: torch.Tensor, asked: Sequence[Prompt]) -> dict[str, object]:
    """Shares of the pictures in which this judge reads the prompt, by group."""
    right = [reading.right for reading in read(judge, images, asked)]
    rows: dict[str, object] = {}
    for group in ("all", *dict.fromkeys(p.group for p in asked)):
        some = [r for r, p in zip(right, asked, strict=True) if group in ("all", p.group)]
        rows[group] = {"share": sum(some) / len(some), "interval": interval(some), "pictures": len(some)}
    return rows


def main() -> None:
    """Paint, train, read and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("emoji", type=Path, help="folder of pictures named by code points, or font")
    parser.add_argument("--pictures", type=Path, nargs="+", required=True, help="folders of clipopt eval image")
    parser.add_argument("--work", type=Path, required=True, help="where to keep the world and the judge of these emoji")
    parser.add_argument("--out", type=Path, required=True, help="what to write")
    parser.add_argument("--share", type=float, default=1.0, help="of the batches and pictures of the judge's recipe")
    options = parser.parse_args()
    path = train(options.emoji, options.share, options.work)
    emoji = symbols()
    own, other = (hands.drawn(hand, emoji) for hand in (FONT, options.emoji))
    common = sorted({*own} & {*other})
    known = {*common, None, *(shape_number(s) for s in SHAPES)}
    rows: dict[str, object] = {
        name: hands.named(str(path), *hands.pictures(hand, common, 2))
        for name, hand in (("own hand", other), ("the world's hand", own))
    }
    asked = [(n, p) for n, p in enumerate(prompts()) if {p.scene.concept, p.scene.other} <= known]
    plain = [p for _, p in asked if p.group == "things" for _ in range(4)]
    drawn = hands.pictures(own, [p.scene.concept for p in plain[::4]], 4)[0]
    for judge in (load_scorer(str(path)), load_scorer("embedded-judge")):
        told: dict[str, object] = {"the world's hand": seen(judge, drawn, plain)}
        for folder in options.pictures:
            images = torch.cat([files.load_image(folder / f"picture-{n:03d}.png") for n, _ in asked])
            told[folder.name] = seen(judge, images, [p for _, p in asked])
        rows[judge.name] = told
    files.write_text(options.out, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
