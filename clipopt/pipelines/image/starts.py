"""Rough pictures of the words to begin with: by the sketcher or by the generator in the package."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from clipopt.diffusion import Sampler, load_pipeline
from clipopt.embedded.composing import compose, parts
from clipopt.embedded.sketcher import Sketcher, load_sketcher
from clipopt.pipelines.kinds import Begin
from clipopt.pipelines.views import Item, resize
from clipopt.scorers.tower import words
from clipopt.types import Images, PerItem, generator

_STEPS, _GUIDANCE = 4, 2.0  # of a sample: layout and colours are what is wanted of it
_SCALE, _SHIFT, _TURN = 0.12, 0.04, 0.06  # of a sketch: of its size in octaves, of its side, in radians
_SMALLEST, _LARGEST = -0.4, 0.25  # size of a sketch by its seed, in octaves
_LOOK = 1  # keeps the draws of how a seed's sketches look apart from those of where a try puts them


def best_starts(
    begin: Begin, items: Sequence[Item], tries: int, otherwise: Images, score: Callable[[Images], PerItem],
    device: torch.device, least: float = -torch.inf,
) -> tuple[Images, Bool[Tensor, " n"]]:  # fmt: skip
    """The best of some rough pictures for each item, as large as the pictures that stand in where there is none.

    Also which of them are rough pictures.

    Who knows few words is told the heaviest text of an item. Where that has a word that it does not know, or where
    there is no text, the picture is the one of `otherwise`.

    Args:
        begin: "samples" of the generator, each of another noise, or the "sketch", each time moved a little.
        items: What is asked of each picture.
        tries: Rough pictures of each.
        otherwise: Pictures (items, 3, height, width).
        score: How good pictures are; higher is better.
        device: Where to make them.
        least: A rough picture whose score is lower is not taken.
    """
    maker: _Maker = _Sketches(device) if begin == "sketch" else _Samples(device)
    told = [_heaviest(item) for item in items]
    rows = [row for row, text in enumerate(told) if text and maker.knows(text)]
    best, scores = otherwise, torch.full((len(items),), -torch.inf)
    drawn = torch.zeros(len(items), dtype=torch.bool)
    drawn[rows] = True
    if not rows:
        return best, drawn
    draw = maker.of([told[row] for row in rows], [items[row].seed for row in rows])
    for number in range(tries):
        with torch.no_grad():
            made = otherwise.clone()
            made[rows] = _fit(draw(number), (otherwise.shape[-2], otherwise.shape[-1])).to(made)
        found = score(made)
        better = torch.zeros(len(items), dtype=torch.bool)
        better[rows] = found[rows] > scores[rows]
        best = torch.where(better.to(best.device)[:, None, None, None], made, best)
        scores = torch.where(better, found, scores)
    drawn &= scores >= least
    return torch.where(drawn.to(best.device)[:, None, None, None], best, otherwise), drawn


class _Maker(Protocol):
    def knows(self, text: str) -> bool:
        """Whether it knows all words of `text`."""

    def of(self, texts: Sequence[str], seeds: Sequence[int]) -> Callable[[int], Images]:
        """The pictures of a try by its number; each made alone, so that no neighbour changes the last bit."""


class _Samples:
    def __init__(self, device: torch.device) -> None:
        self._pipe = _pipeline(str(device))
        self._known = set(self._pipe.tokenizer.get_vocab())

    def knows(self, text: str) -> bool:
        return self._known.issuperset(words(text))

    def of(self, texts: Sequence[str], seeds: Sequence[int]) -> Callable[[int], Images]:
        sampler = Sampler(self._pipe, texts, seeds, steps=_STEPS, guidance=_GUIDANCE, at_once=1)
        return lambda number: sampler(sampler.noise(number))


class _Sketches:
    def __init__(self, device: torch.device) -> None:
        self._sketcher, self._coder = _sketcher(str(device)), _pipeline(str(device)).vae

    def knows(self, text: str) -> bool:
        return self._sketcher.knows(text)

    def of(self, texts: Sequence[str], seeds: Sequence[int]) -> Callable[[int], Images]:
        with torch.no_grad():
            pictures = [self._drawn(text) for text in texts]
        free = [not parts(text) and not {"left", "right"} & set(words(text)) for text in texts]
        each = list(zip(pictures, seeds, free, strict=True))
        return lambda number: torch.cat([_moved(picture, seed, number, free) for picture, seed, free in each])

    def _drawn(self, text: str) -> Images:
        """What `text` says; of several things each is drawn by itself."""
        if where := parts(text):
            alone = {part.text: self._sketch(part.text) for part in where}
            return compose([alone[part.text] for part in where], where)
        return self._sketch(text)

    def _sketch(self, text: str) -> Images:
        ids = self._sketcher.tokenize([text]).to(self._sketcher.out.weight.device)
        latents = self._sketcher(ids) / self._coder.config.scaling_factor
        made: Images = self._coder.decode(latents).sample / 2 + 0.5
        return made.clamp(0, 1)


def _moved(picture: Float[Tensor, "1 3 _ _"], seed: int, number: int, free: bool) -> Images:
    """`picture` a little smaller or larger, aside and turned, its border continued: so tries differ.

    So do seeds where the text leaves it `free`: their sketches face either side and are of several sizes.
    """
    rng = generator(seed, number)
    scale, across, down, turn = torch.randn(4, generator=rng).clamp(-2, 2).tolist()
    size, angle = 2 ** (_SCALE * scale), _TURN * turn
    if free:
        face, share = torch.rand(2, generator=generator(seed, 0, _LOOK)).tolist()
        size *= 2 ** (_SMALLEST + (_LARGEST - _SMALLEST) * share)
        picture = picture.flip(-1) if face < 0.5 else picture
    c, s = math.cos(angle) / size, math.sin(angle) / size
    matrix = picture.new_tensor([[[c, -s, 2 * _SHIFT * across], [s, c, 2 * _SHIFT * down]]])
    grid = F.affine_grid(matrix, list(picture.shape), align_corners=False)
    return F.grid_sample(picture, grid, mode="bicubic", padding_mode="border", align_corners=False).clamp(0, 1)


@cache
def _pipeline(device: str) -> Any:
    return load_pipeline("embedded", device=device)


@cache
def _sketcher(device: str) -> Sketcher:
    return load_sketcher().to(device)


def _heaviest(item: Item) -> str:
    texts = {prompt: weight for prompt, weight in item.prompt.items() if isinstance(prompt, str) and weight > 0}
    return max(texts, key=lambda text: texts[text], default="")


def _fit(images: Images, size: tuple[int, int]) -> Images:
    """Squares in the middle of pictures of any shape, their borders continued."""
    side = min(size)
    high, wide = size[0] - side, size[1] - side
    edges = (wide // 2, wide - wide // 2, high // 2, high - high // 2)
    return F.pad(resize(images.clamp(0, 1), (side, side)), edges, mode="replicate")
