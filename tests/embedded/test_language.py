"""Unknown words carried to known ones; a toy says what is near."""

import hashlib
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipopt.embedded.language import carry
from clipopt.types import generator

LIKE = {"poodle": "dog", "poodles": "dog", "villa": "house", "disc": "circle"}


class Meanings:
    """Each noun has a direction of its own; some mean the same."""

    fingerprint = "meanings"

    def __call__(self, texts: Sequence[str]) -> Tensor:
        return F.normalize(torch.stack([self._row(text.removeprefix("a photo of a ")) for text in texts]), dim=1)

    def _row(self, text: str) -> Tensor:
        key = int.from_bytes(hashlib.blake2b(LIKE.get(text, text).encode(), digest_size=6).digest(), "big")
        return torch.randn(64, generator=generator(key))


NEAR = Meanings()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a poodle", "a dog"),
        ("two red poodles on a white background", "two red dogs on a white background"),
        ("a small blue villa", "a small blue house"),
        ("a poodle left of a red villa", "a dog left of a red house"),
        ("a red apple", "a red apple"),
        ("a zeppelin", ""),
        ("a disc", ""),
        ("", ""),
        ("?!", ""),
    ],
)
def test_things_are_carried_with_their_colours_counts_and_places(text: str, told: str):
    assert carry(text, NEAR) == told
