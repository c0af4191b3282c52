"""Pictures for a blind check: things at random, drawn with the default settings, numbered and without their names.

    python benchmarks/blind.py --out blind [--count 40] [--seed 0] [--begin sketch|samples|noise]

Writes blind/01.png ... and, beside the folder, blind.key.json with what they were made for. Whoever names them sees the
folder alone, and no list to choose from.
"""

import argparse
import json
import sys
from pathlib import Path
from random import Random
from typing import get_args

from clipopt.embedded.captions import Scene, caption
from clipopt.embedded.concepts import concepts, learnt, things
from clipopt.io import files
from clipopt.pipelines.image.loop import ImageLoop, Item
from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.image.presets import SETTLED, settle
from clipopt.pipelines.kinds import Begin
from clipopt.scorers import load_scorer


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--count", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--begin", choices=get_args(Begin), help="as in clipopt image")
    parser.add_argument("--steps", type=int, help="as in clipopt image; 1 all but keeps what a picture begins as")
    options = parser.parse_args()
    known = [number for number in learnt() if number < len(things())]
    chosen = Random(options.seed).sample(known, options.count)
    prompts = [caption(Scene(number)) for number in chosen]
    scorer = load_scorer("embedded")
    given = {"begin": options.begin, "steps": options.steps}
    plan = ImagePlan(256, 256, seed=options.seed, **settle("embedded", "auto", dict.fromkeys(SETTLED) | given))
    for start in range(0, options.count, 20):
        some = range(options.count)[start : start + 20]
        drawing = ImageLoop(plan, [Item({prompts[n]: 1.0}, options.seed, prompts[n]) for n in some], scorer)
        for step, _ in enumerate(drawing.draw()):
            print(f"pictures {start + 1} to {start + len(some)}, step {step}", end="\r", file=sys.stderr)
        options.out.mkdir(parents=True, exist_ok=True)
        for number, image in zip(some, drawing.best.images, strict=True):
            files.save(options.out / f"{number + 1:02d}.png", image)
    key = {f"{n + 1:02d}": [concepts()[c].noun, *concepts()[c].synonyms] for n, c in enumerate(chosen)}
    files.write_text(options.out.with_suffix(".key.json"), json.dumps(key, indent=2) + "\n")


if __name__ == "__main__":
    main()
