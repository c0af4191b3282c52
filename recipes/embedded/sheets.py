"""Contact sheets: what the hands drew, to be looked at."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from recipes.embedded.manners import MANNERS

_GROUND = (214, 222, 232)


def sheet(rows: Sequence[Sequence[Image.Image | None]], side: int = 64) -> Image.Image:
    """Drawings in rows on a pale ground; an empty place where there is none."""
    page = Image.new("RGB", (side * max(map(len, rows)), side * len(rows)), _GROUND)
    for y, row in enumerate(rows):
        for x, image in enumerate(row):
            if image is not None:
                small = image.resize((side - 4, side - 4), Image.Resampling.LANCZOS)
                page.paste(small, (x * side + 2, y * side + 2), small)
    return page


def manners(pictures: Sequence[Image.Image], seeds: Sequence[int] = (0, 1)) -> list[list[Image.Image | None]]:
    """Rows of a sheet: the drawings, then each manner of them by each seed."""
    rows: list[list[Image.Image | None]] = [list(pictures)]
    return rows + [[draw(picture, seed) for picture in pictures] for draw in MANNERS.values() for seed in seeds]


def painted(pictures: Sequence[np.ndarray], wide: int = 16) -> Image.Image:
    """Finished pictures, side by side."""
    height = len(pictures[0])
    page = Image.new("RGB", (wide * height, -(-len(pictures) // wide) * height))
    for n, picture in enumerate(pictures):
        page.paste(Image.fromarray(picture), (n % wide * height, n // wide * height))
    return page


def save(page: Image.Image, path: Path) -> None:
    """Write a sheet, and its folder if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    page.save(path)
