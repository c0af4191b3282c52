"""What the scorers are asked of pictures in the making: of the whole, of regions, and what each took the words for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor

from clipopt.pipelines.asks import Asked, asks, hearing
from clipopt.pipelines.edits import Edit, fit, soften
from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.views import Item, Mask, Part, box
from clipopt.pipelines.vocabulary import unknown_words
from clipopt.scorers import Abstains, KnowsWords, Perceives, Scorer
from clipopt.scorers.classifier import Classifier
from clipopt.types import Images

IN_REGIONS = 0.2
"""Share of its gradient that the prompt of the whole picture keeps where a region has its own."""
FADE = 0.05
"""Least width of a region's soft edge, as a fraction of the shorter side: a hard one can be seen."""
CALM = 0.1
"""Share of its gradient that a natural scorer keeps far from the middle."""
BESIDE = 0.25
"""Weight of a scorer of a small vocabulary where a natural one changes a given picture: it knows flat drawings only."""


class Sights(NamedTuple):
    """What each scorer is asked, and how much it counts for each picture: (scorers, items)."""

    asked: Sequence[Asked]
    heard: Tensor


@dataclass(frozen=True)
class Questions:
    """Makes what scorers are asked.

    Attributes:
        plan: How pictures are made.
        edit: What is given beside the prompts.
        items: The pictures.
        said: Texts in other words, for scorers of a small vocabulary.
        device: Where.
    """

    plan: ImagePlan
    edit: Edit
    items: Sequence[Item]
    said: Mapping[str, str]
    device: torch.device

    def of(
        self, eyes: Sequence[Scorer], size: tuple[int, int], mask: Mask | None, given: Images | None, *, guides: bool
    ) -> dict[str, Sights]:
        """What scorers are asked, by the names of the terms of the loss.

        Args:
            eyes: The scorers.
            size: Height and width of the pictures.
            mask: Where they may change, if not everywhere.
            given: What they began as, if it was given.
            guides: Whether the scorers guide; else they judge.
        """
        edit, asked = self.edit, {}
        rest = torch.ones(1, 1, *size, device=self.device)
        for number, region in enumerate(edit.regions):
            inside = fit(region.mask, size).to(self.device)
            gain = soften(inside, round(max(edit.feather, FADE) * min(size)))
            rest = torch.minimum(rest, 1 - (1 - IN_REGIONS) * gain)
            said: list[tuple[str | Tensor, float]] = [*region.prompt.items()]
            items = [replace(item, prompt=dict(said)) for item in self.items]
            asked[f"region {number}"] = self._ask(eyes, items, size, guides, part=Part(box(inside), gain))
        whole, part = (0, size[0], 0, size[1]), None
        if mask is not None or edit.regions:
            part = Part(whole if mask is None or edit.tile else box(mask), rest if edit.regions else None)
        change = None if edit.was is None or given is None else (given, edit.was)
        more = {"part": part, "tile": edit.tile, "text_off": self.plan.text_off, "change": change}
        return {"match": self._ask(eyes, self.items, size, guides, **more)} | asked

    def _ask(
        self, eyes: Sequence[Scorer], items: Sequence[Item], size: tuple[int, int], guides: bool, **more: Any
    ) -> Sights:
        """What is asked of the pictures or of a part of them, of each scorer what it can hear."""
        free = self.edit.init is None and not self.edit.tile and more.get("part") is None
        said = [asks(eye, items, self.said, boxes=free and self.plan.begin == "sketch") for eye in eyes]
        if guides:
            said, heard = hearing(said, self.plan.weights, items)
            if self.edit.init is not None and self.edit.was is None and not self.plan.weights:
                seen = heard[[isinstance(eye, Perceives) for eye in eyes]].sum(0) > 0
                small = torch.tensor([isinstance(eye, KnowsWords) for eye in eyes])[:, None]
                heard = torch.where(small & seen, BESIDE * heard, heard)
        else:
            heard = hearing(said, (), items)[1]
        sights = []
        for eye, some in zip(eyes, said, strict=True):
            own = dict(more)
            if more.get("change"):
                own["change"] = self._change(eye, *more["change"])
            if free and self.plan.centre and isinstance(eye, Perceives):
                own["part"] = Part((0, size[0], 0, size[1]), _middle(size, self.plan.centre).to(self.device))
            sights.append(Asked(eye, some, len(items), size, **own))
        return Sights(sights, heard)

    def _change(self, eye: Scorer, given: Images, was: str) -> tuple[Images, str] | None:
        """What a picture showed, in words that a scorer knows; None where it knows none for it."""
        if unknown_words(eye, [was]):
            was = self.said.get(was, was)
        return None if not was or (isinstance(eye, Abstains) and eye.abstains(was)) else (given, was)


def readings(items: Sequence[Item], eyes: Sequence[Scorer], said: Mapping[str, str], images: Images) -> dict[str, Any]:
    """What scorers took the prompts for, where that is something else, and what classifiers see in the pictures."""
    rows = []
    for number, item in enumerate(items):
        row = {"item": item.label}
        for eye in eyes:
            texts = [part for part in item.prompt if isinstance(part, str)]
            if isinstance(eye, Classifier):
                read = {text: "nothing" if eye.abstains(text) else str(eye.reading(text)) for text in texts}
                row |= {f'{eye.name} reads "{text}" as': words for text, words in read.items()}
                row[f"{eye.name} sees"] = eye.names_in(images[number : number + 1])[0]
            else:
                other = {text: said[text] for text in texts if text in said and unknown_words(eye, [text])}
                row |= {f'{eye.name} reads "{text}" as': words or "nothing" for text, words in other.items()}
        rows.append(row)
    return {"readings": rows} if any(len(row) > 1 for row in rows) else {}


def _middle(size: tuple[int, int], radius: float | int) -> Tensor:
    """How much of its gradient each place gets, (1, 1, height, width): all in the middle, little far from it."""
    v, u = (torch.linspace(-1, 1, side) for side in size)
    near = torch.exp(-(v[:, None].square() + u.square()) / radius**2)
    return (CALM + (1 - CALM) * near)[None, None]
