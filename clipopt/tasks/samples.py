"""Rough pictures of the words to begin with, by the generator in the package."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import torch
from torch.nn import functional as F

from clipopt.diffusion import Sampler, load_pipeline
from clipopt.scorers.tower import words
from clipopt.tasks.sight import Item, resize
from clipopt.types import Images, PerItem

_STEPS, _GUIDANCE = 4, 2.0  # of a sample: layout and colours are what is wanted of it


def best_samples(
    items: Sequence[Item], tries: int, otherwise: Images, score: Callable[[Images], PerItem], device: torch.device
) -> Images:
    """The best of some samples for each item, as large as the pictures that stand in where there is none.

    A generator that knows few words is told the heaviest text of an item. Where that has a word it does not know, or
    where there is no text, the picture is the one of `otherwise`.

    Args:
        items: What is asked of each picture.
        tries: Samples of each.
        otherwise: Pictures (items, 3, height, width).
        score: How good pictures are; higher is better.
        device: Where to sample.
    """
    pipe = _pipeline(str(device))
    known = set(pipe.tokenizer.get_vocab())
    told = [_heaviest(item) for item in items]
    rows = [row for row, text in enumerate(told) if text and known.issuperset(words(text))]
    best, scores = otherwise, torch.full((len(items),), -torch.inf)
    if not rows:
        return best
    # One at a time, so that no neighbour changes the last bit.
    told_to, seeds = [told[row] for row in rows], [items[row].seed for row in rows]
    sampler = Sampler(pipe, told_to, seeds, steps=_STEPS, guidance=_GUIDANCE, at_once=1)
    for number in range(tries):
        with torch.no_grad():
            made = otherwise.clone()
            made[rows] = _fit(sampler(sampler.noise(number)), (otherwise.shape[-2], otherwise.shape[-1])).to(made)
        found = score(made)
        better = torch.zeros(len(items), dtype=torch.bool)
        better[rows] = found[rows] > scores[rows]
        best = torch.where(better.to(best.device)[:, None, None, None], made, best)
        scores = torch.where(better, found, scores)
    return best


@cache
def _pipeline(device: str) -> Any:
    return load_pipeline("embedded", device=device)


def _heaviest(item: Item) -> str:
    texts = {prompt: weight for prompt, weight in item.prompt.items() if isinstance(prompt, str) and weight > 0}
    return max(texts, key=lambda text: texts[text], default="")


def _fit(images: Images, size: tuple[int, int]) -> Images:
    """Squares in the middle of pictures of any shape, their borders continued."""
    side = min(size)
    high, wide = size[0] - side, size[1] - side
    edges = (wide // 2, wide - wide // 2, high // 2, high - high // 2)
    return F.pad(resize(images.clamp(0, 1), (side, side)), edges, mode="replicate")
