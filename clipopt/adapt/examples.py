"""What an adapter learns from, and where it starts."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from clipopt.scorers import Abstains, KnowsWords, Scorer
from clipopt.scorers.adapter_files import check_templates as check_templates
from clipopt.types import generator

TEMPLATES = (
    "a {}",
    "a photo of a {}",
    "a picture of a {}",
    "a drawing of a {}",
    "a painting of a {}",
    "an image of a {}",
)
"""Sentences for a label whose mean row stands for it: what varies between them is not the label."""
_AT_ONCE = 64


@dataclass(frozen=True)
class Examples:
    """Pictures with labels.

    Attributes:
        pictures: In [0, 1], of any sizes.
        numbers: The label of each.
        labels: What they are called.
        templates: Sentences with {} for a label.

    Raises:
        ValueError: if there is no picture of a label, or numbers and pictures do not belong together.
    """

    pictures: Sequence[Float[Tensor, "3 _ _"]]
    numbers: Int[Tensor, " n"]
    labels: tuple[str, ...]
    templates: tuple[str, ...] = TEMPLATES

    def __post_init__(self) -> None:
        if len(self.pictures) != len(self.numbers):
            raise ValueError(f"expected one label for each of {len(self.pictures)} pictures, got {len(self.numbers)}")
        seen = set(self.numbers.tolist())
        if lacking := [label for number, label in enumerate(self.labels) if number not in seen]:
            raise ValueError(f"no picture of {lacking[0]} to learn from ({len(lacking)} labels have none)")


def choose_shots(numbers: Int[Tensor, " n"], shots: int, seed: int) -> tuple[list[int], list[int]]:
    """Places of `shots` random examples of every label, or of all where there are fewer; and of the rest."""
    order = torch.randperm(len(numbers), generator=generator(seed, 0)).tolist()
    taken: dict[int, list[int]] = {}
    for place in order:
        own = taken.setdefault(int(numbers[place]), [])
        if len(own) < shots:
            own.append(place)
    chosen = {place for own in taken.values() for place in own}
    return sorted(chosen), [place for place in range(len(numbers)) if place not in chosen]


def encode_pictures(scorer: Scorer, pictures: Sequence[Float[Tensor, "3 _ _"]]) -> Float[Tensor, "n d"]:
    """Unit rows of pictures of any sizes; those of one size share batches. Differentiable."""
    sizes: dict[tuple[int, ...], list[int]] = {}
    for place, picture in enumerate(pictures):
        sizes.setdefault(tuple(picture.shape), []).append(place)
    places, rows = [], []
    for same in sizes.values():
        for start in range(0, len(same), _AT_ONCE):
            some = same[start : start + _AT_ONCE]
            rows.append(scorer.encode_image(torch.stack([pictures[place] for place in some])))
            places += some
    return torch.cat(rows)[torch.tensor(places).argsort()]


def zero_shot(scorer: Scorer, labels: Sequence[str], templates: Sequence[str] = TEMPLATES) -> Float[Tensor, "c d"]:
    """The row of each label: the mean of its rows in all templates, brought to unit length.

    Raises:
        ValueError: if a template has no place for the label.

    Reference:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021), section 3.1.4.
    """
    check_templates(templates)
    rows = scorer.encode_text([template.format(label) for label in labels for template in templates])
    return F.normalize(rows.view(len(labels), len(templates), -1).mean(1), dim=1)


def unread(scorer: Scorer, labels: Sequence[str]) -> list[bool]:
    """Which labels the scorer has nothing to say of: with words that it never learnt, or it abstains from them."""
    if isinstance(scorer, Abstains):
        return [scorer.abstains(label) for label in labels]
    return [isinstance(scorer, KnowsWords) and bool(scorer.unknown_words(label)) for label in labels]


def starting_shift(
    scorer: Scorer,
    labels: Sequence[str],
    text: Float[Tensor, "c d"],
    rows: Float[Tensor, "n d"],
    numbers: Int[Tensor, " n"],
) -> Float[Tensor, "c d"]:
    """What is added to the labels' rows before anything is learned.

    Nothing where the scorer knows the words: there the text is the start. Labels that it does not know all have the
    same row; these start as the mean row of their pictures. (Only the small scorers lack words, and in these a picture
    is as close to pictures of its kind as to their text.) So do labels from which a scorer abstains.
    """
    means = torch.stack([F.normalize(rows[numbers == n].mean(0), dim=0) for n in range(len(labels))])
    unknown = torch.tensor(unread(scorer, labels), device=rows.device)
    return torch.where(unknown[:, None], means - text, torch.zeros_like(means))
