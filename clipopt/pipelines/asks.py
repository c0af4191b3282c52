"""What each scorer is asked: the part of a prompt that it understands, at the place where that part stands."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F

from clipopt.embedded.composing import Part, parts
from clipopt.objective import Matching
from clipopt.pipelines.kinds import Cutouts
from clipopt.pipelines.views import HELD_OUT_VIEWS, Item, Sight
from clipopt.pipelines.vocabulary import unknown_words
from clipopt.scorers import Abstains, Scorer
from clipopt.scorers.classifier import Classifier
from clipopt.types import Images, PerItem

_ROOM = 1.25
"""How much of its surroundings a thing is shown with, in its own sizes."""


@dataclass(frozen=True)
class Ask:
    """What a scorer is asked of one picture, or of one of the things in it.

    Attributes:
        row: Number of the picture.
        item: Prompt and seed.
        part: The thing, where the prompt says where it stands; None for the whole picture.
    """

    row: int
    item: Item
    part: Part | None = None

    def box(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Top, bottom, left and right of the thing in a picture of `size` (height, width), with some room around it."""
        height, width = size
        if self.part is None:
            return 0, height, 0, width
        side = min(size)
        half = max(2.0, side * self.part.share * _ROOM / 2)
        middle, across = height / 2 + self.part.v * side, width / 2 + self.part.u * side
        top, left = max(0, round(middle - half)), max(0, round(across - half))
        return top, min(height, round(middle + half)), left, min(width, round(across + half))


def asks(
    scorer: Scorer, items: Sequence[Item], said: Mapping[str, str] | None = None, *, boxes: bool = False
) -> list[Ask]:
    """What `scorer` is asked of each picture that it can say something of.

    A scorer that abstains (`clipopt.scorers.Abstains`) hears the texts that it has something near for. Another one
    hears all texts, in the words of `said`.

    Args:
        scorer: Who is asked.
        items: The pictures.
        said: Texts in other words, for a scorer of a small vocabulary; "" where it has none for them.
        boxes: Whether the things of a prompt that the embedded world's grammar takes apart stand where a sketch has
            them, so that a scorer that abstains is asked of each by itself.
    """
    # Who knows a text's words is told the text itself.
    words = {text: other for text, other in (said or {}).items() if unknown_words(scorer, [text])}
    found = []
    for row, item in enumerate(items):
        if isinstance(scorer, Abstains):
            (only, weight), *more = item.prompt.items()
            alone = only if boxes and isinstance(only, str) and weight > 0 and not more else ""
            things = parts((said or {}).get(alone, alone))
            if alone in (said or {}) and len({thing.text for thing in things}) == 1:
                # All are of one kind, which the text itself names best.
                things = [thing._replace(text=alone) for thing in things]
            if known := [thing for thing in things if not scorer.abstains(thing.text)]:
                found += [Ask(row, replace(item, prompt={thing.text: weight}), thing) for thing in known]
                continue
            heard = {p: w for p, w in item.prompt.items() if not isinstance(p, str) or not scorer.abstains(p)}
        else:
            heard = reworded(item.prompt, words)
        if any(weight > 0 for weight in heard.values()):
            found.append(Ask(row, replace(item, prompt=heard)))
    return found


def reworded(prompt: Mapping[str | Tensor, float], said: Mapping[str, str]) -> dict[str | Tensor, float]:
    """A prompt in other words; texts for which there are none are left out, and those that become one add up."""
    told: dict[str | Tensor, float] = {}
    for part, weight in prompt.items():
        other = said.get(part, part) if isinstance(part, str) else part
        if not isinstance(other, str) or other:
            told[other] = told.get(other, 0.0) + weight
    return told


def hearing(
    asked: Sequence[Sequence[Ask]], weights: Sequence[float | int], items: Sequence[Item]
) -> tuple[list[list[Ask]], Float[Tensor, "s n"]]:
    """Who is asked what, where everything is asked by somebody, and how much each scorer counts for each picture.

    A picture that none can say anything of is left to the first, which is then asked all.
    """
    heard = torch.zeros(len(asked), len(items))
    for who, some in enumerate(asked):
        heard[who, [ask.row for ask in some]] = weights[who] if weights else 1.0
    unheard = (heard.sum(0) == 0).nonzero().flatten().tolist()
    heard[0, unheard] = 1.0
    first = sorted([*asked[0], *(Ask(row, items[row]) for row in unheard)], key=lambda ask: ask.row)
    return [first, *map(list, asked[1:])], heard


class Asked:
    """What a scorer is asked of some of the pictures, whole or thing by thing: a `Sight` for each of the two.

    Args:
        scorer: Who looks.
        asked: What it is asked.
        count: Number of pictures.
        size: Their height and width.
        more: What else `Sight` takes, for whole pictures.
    """

    def __init__(self, scorer: Scorer, asked: Sequence[Ask], count: int, size: tuple[int, int], **more: Any) -> None:
        self.scorer, self.count = scorer, count
        wholes, things = ([a for a in asked if (a.part is None) == whole] for whole in (True, False))
        self._sights: list[tuple[Sight, list[Ask], bool]] = []
        if wholes:
            self._sights.append((Sight(scorer, [a.item for a in wholes], size=size, **more), wholes, False))
        if things:
            side = (scorer.image_size, scorer.image_size)
            sight = Sight(scorer, [a.item for a in things], size=side, text_off=more.get("text_off", 0.0))
            self._sights.append((sight, things, True))

    def matching(
        self, param: Callable[[], Images], crops: int, seeds: Sequence[int], **more: Any
    ) -> "Matching | Partly":
        """The loss over `crops` views of each picture, as a member of an ensemble; `more` is for `Sight.matching`."""
        if isinstance(self.scorer, Classifier):
            # Its networks are large and see a picture whole; several of them see each view.
            crops = max(2, 2 * crops // (3 * len(self.scorer.networks)))
        if len(self._sights) == 1 and not self._sights[0][2] and len(self._sights[0][1]) == self.count:
            return self._sights[0][0].matching(param, crops, **more)
        cutouts: Cutouts = "crops"
        ready = [
            (
                sight.matching(param, max(1, crops // 2), **more | {"cutouts": cutouts})
                if boxed
                else sight.matching(param, crops, **more),
                some,
                boxed,
            )
            for sight, some, boxed in self._sights
        ]
        return Partly(ready, self.scorer, param, seeds)

    def score(self, images: Images, chunk: int = HELD_OUT_VIEWS) -> PerItem:
        """The weighted cosine of every picture with what is asked of it, see `Sight.score`; NaN where nothing is."""
        return self._each(images, lambda sight, seen: sight.score(seen, chunk))

    def percentile(self, images: Images) -> PerItem:
        """See `Sight.percentile`; NaN of pictures of which nothing is asked, or more than one thing."""
        return self._each(images, lambda sight, seen: sight.percentile(seen))

    def _each(self, images: Images, told: Callable[[Sight, Images], PerItem]) -> PerItem:
        total = torch.full((self.count,), torch.nan)
        for sight, some, boxed in self._sights:
            rows = [ask.row for ask in some]
            total[rows] = spread(told(sight, cut(images, some, boxed, self.scorer)).cpu(), rows, self.count)[rows]
        return total


@dataclass(frozen=True)
class Partly:
    """Matchings of some pictures, or of things in them, as a member of an ensemble; the match of the others is 0.

    Attributes:
        matchings: Of what `cut` makes of the pictures, with what is asked, and whether it is asked thing by thing.
        scorer: Who looks.
        param: Of the ensemble.
        seeds: Of all pictures.
    """

    matchings: Sequence[tuple[Matching, Sequence[Ask], bool]]
    scorer: Scorer
    param: Callable[[], Images]
    seeds: Sequence[int]
    render: None = None
    penalties: Mapping[str, Callable[[Any], Tensor]] = field(default_factory=dict)

    def match(self, images: Images, step: int, rng: Generator) -> PerItem:
        """The term "match" of all pictures: of one with several things their mean."""
        total = images.new_zeros(len(images))
        for matching, some, boxed in self.matchings:
            match = matching.match(cut(images, some, boxed, self.scorer), step, rng)
            total = total + spread(match, [ask.row for ask in some], len(images))
        return total


def cut(images: Images, some: Sequence[Ask], boxed: bool, scorer: Scorer) -> Images:
    """The pictures that are asked of, or the things in them in squares of the scorer's size; differentiable."""
    if not boxed:
        return images[[ask.row for ask in some]]
    size, side = (images.shape[-2], images.shape[-1]), (scorer.image_size, scorer.image_size)
    shown = []
    for ask in some:
        top, bottom, left, right = ask.box(size)
        thing = images[ask.row : ask.row + 1, :, top:bottom, left:right]
        shown.append(F.interpolate(thing, side, mode="bicubic", antialias=True))
    return torch.cat(shown)


def spread(values: PerItem, rows: Sequence[int], count: int) -> PerItem:
    """The mean of the values of each of `count` rows, 0 where there is none."""
    index = torch.tensor(rows, device=values.device)
    total = values.new_zeros(count).index_add(0, index, values)
    return total / torch.bincount(index, minlength=count).clamp_min(1)
