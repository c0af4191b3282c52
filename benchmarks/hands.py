"""What the embedded scorers make of things as another hand draws them: other emoji than those that they grew up with.

    python benchmarks/hands.py NAME=EMOJI [NAME=EMOJI ...] --out docs/hands.json [--sheet hands.png]

EMOJI is a font, or a folder of pictures named by code points (1f431.png), as the makers of emoji publish them. Needs
the emoji font that training needs, too: the things that all of them draw are named among everything that the world has
names for, in pictures of the same sizes and places. See README.md beside this file.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from random import Random

import torch
import unseen
from PIL import Image, ImageDraw, ImageFont

from clipopt.embedded.captions import vocabulary
from clipopt.embedded.concepts import things
from clipopt.evaluation.suite import interval
from clipopt.io import files
from clipopt.scorers import load_scorer
from clipopt.types import generator
from recipes.embedded import measure
from recipes.embedded.sprites import FONT, STRIKE, Sprite, symbols


def glyph(hand: Path, symbol: str) -> Image.Image | None:
    """An emoji as this hand draws it; None if it does not."""
    if hand.is_dir():
        points = [f"{ord(c):04x}" for c in symbol]
        paths = [hand / f"{'-'.join(some)}.png" for some in (points, [p for p in points if p != "fe0f"])]
        found = [path for path in paths if path.is_file()]
        return Image.open(found[0]).convert("RGBA") if found else None
    font = ImageFont.truetype(str(hand), STRIKE)
    symbol = symbol.rstrip("\ufe0f")
    missing = bytes(font.getmask("\U0010fffd"))  # a box, or nothing
    if len(symbol) > 1 or font.getmask(symbol).getbbox() is None or bytes(font.getmask(symbol)) == missing:
        return None
    image = Image.new("RGBA", (240, 240))
    ImageDraw.Draw(image).text((40, 40), symbol, font=font, embedded_color=True, fill="black")
    return image


def drawn(hand: Path, emoji: dict[str, str]) -> dict[int, Sprite]:
    """Sprites of the flat things, by number."""
    made = {n: glyph(hand, emoji[thing.emoji]) for n, thing in enumerate(things()) if thing.emoji}
    return {n: Sprite(image, own_colour=True) for n, image in made.items() if image and image.getbbox()}


def pictures(hand: dict[int, Sprite], numbers: Sequence[int], count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """`count` pictures of each of these things, and whose they are."""
    images = [unseen.picture(hand[n], Random(f"{n}/{i}"), generator(n, i)) for n in numbers for i in range(count)]
    return torch.stack(images), torch.tensor(numbers).repeat_interleave(count)


def named(spec: str, images: torch.Tensor, right: torch.Tensor) -> dict[str, object]:
    """Shares of the pictures with the right name first, and among the first five."""
    scorer = load_scorer(spec)
    text = scorer.encode_text(measure.unseen(1, vocabulary())[2])
    with torch.no_grad():
        seen = torch.cat([scorer.encode_image(some) for some in images.split(100)])
    top = (seen @ text.T).topk(5).indices == right[:, None]
    first = top[:, 0].tolist()
    return {"first": sum(first) / len(first), "interval": interval(first), "of five": float(top.any(1).float().mean())}


def main() -> None:
    """Draw, name and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "emoji", nargs="+", metavar="NAME=EMOJI", help="font, or folder of pictures named by code points"
    )
    parser.add_argument("--out", type=Path, required=True, help="what to write")
    parser.add_argument("--count", type=int, default=2, help="pictures of every thing")
    parser.add_argument("--scorers", nargs="+", default=["embedded", "embedded-judge", "embedded-plain"])
    parser.add_argument("--sheet", type=Path, help="some of the pictures, to look at")
    options = parser.parse_args()
    given = {name: Path(path) for name, _, path in (emoji.partition("=") for emoji in options.emoji)}
    for name, path in given.items():
        if not path.name or not path.exists():
            parser.error(f"expected NAME=EMOJI with a font or folder that is there, got {name}={path}")
    hands = {name: drawn(path, symbols()) for name, path in {"the world's": FONT, **given}.items()}
    common = sorted(set.intersection(*(set(hand) for hand in hands.values())))
    if not common:
        parser.error(f"nothing that the world knows is drawn by all of {', '.join(hands)}")
    rows: dict[str, object] = {"things": [things()[n].noun for n in common]}
    sheet = []
    for name, hand in hands.items():
        images, right = pictures(hand, common, options.count)
        rows[name] = {spec: named(spec, images, right) for spec in options.scorers}
        sheet.append(images[:: max(1, len(images) // 24)][:24])
    files.write_text(options.out, json.dumps(rows, indent=1) + "\n")
    if options.sheet:
        lines = [torch.cat([*line], 2) for line in sheet]
        files.save(options.sheet, torch.cat(lines, 1))


if __name__ == "__main__":
    main()
