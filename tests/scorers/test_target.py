import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipopt.scorers import Scorer, Target, target
from clipopt.scorers.target import text_off


class Spy:
    """Embeds a text by its letters and a picture by its mean colour, and remembers what it was asked."""

    name = "spy"
    image_size = 8
    head: Literal["softmax", "sigmoid"] = "softmax"
    fingerprint = "0"

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.pictures = 0

    def encode_image(self, images: Tensor) -> Tensor:
        self.pictures += len(images)
        return F.normalize(torch.cat([images.mean((2, 3)), torch.ones(len(images), 1)], 1), dim=1)

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        self.texts += texts
        return F.normalize(torch.tensor([[float(t.count(c)) + 0.1 for c in "aeio"] for t in texts]), dim=1)

    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        return image @ text.T


def weights_of(goal: Target, scorer: Spy, item: int) -> dict[str, float]:
    """The weights of an item by text, for targets of texts only."""
    return {text: weight for text, weight in zip(scorer.texts, goal.weights[item].tolist(), strict=True) if weight}


def test_one_text() -> None:
    scorer = Spy()
    goal = target(scorer, "a cat")
    assert isinstance(scorer, Scorer)
    torch.testing.assert_close(goal.embeddings, scorer.encode_text(["a cat"]))
    assert goal.weights.tolist() == [[1.0]]


def test_weights_are_taken_as_they_are() -> None:
    scorer = Spy()
    goal = target(scorer, {"a fox": 2, "text": -0.25})
    assert weights_of(goal, scorer, 0) == {"a fox": 2.0, "text": -0.25}


def test_weights_that_sum_to_zero_stay_finite() -> None:
    scorer = Spy()
    goal = target(scorer, {"a fox": 1.0, "a dog": -1.0})
    assert weights_of(goal, scorer, 0) == {"a fox": 1.0, "a dog": -1.0}
    assert goal.embeddings.isfinite().all()


def test_several_items_share_the_prompts_that_they_share() -> None:
    scorer = Spy()
    goal = target(scorer, ["a cat", {"a dog": 1.0, "text": -0.5}, {"a cat": 0.5, "text": -0.5}])
    assert sorted(scorer.texts) == ["a cat", "a dog", "text"]
    assert goal.embeddings.shape == (3, 4)
    assert weights_of(goal, scorer, 0) == {"a cat": 1.0}
    assert weights_of(goal, scorer, 1) == {"a dog": 1.0, "text": -0.5}
    assert weights_of(goal, scorer, 2) == {"a cat": 0.5, "text": -0.5}


def test_every_weight_stands_beside_its_own_row() -> None:
    scorer, red, blue = Spy(), torch.zeros(3, 5, 9), torch.zeros(1, 3, 4, 4)
    red[0], blue[:, 2] = 1, 1
    goal = target(scorer, [red, {blue: 0.25, "io": 0.75}, "io"])
    assert scorer.texts == ["io"]
    assert scorer.pictures == 2
    for row, embedding in ((0, scorer.encode_image(red[None])), (2, scorer.encode_text(["io"]))):
        torch.testing.assert_close(goal.weights[row] @ goal.embeddings, embedding[0])
    mixed = 0.25 * scorer.encode_image(blue)[0] + 0.75 * scorer.encode_text(["io"])[0]
    torch.testing.assert_close(goal.weights[1] @ goal.embeddings, mixed)


def test_carries_no_gradient() -> None:
    picture = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert not target(Spy(), picture).embeddings.requires_grad


@pytest.mark.parametrize(
    ("prompts", "complaint"),
    [
        ("", "empty prompt"),
        (" \n", "empty prompt"),
        ([], "no prompts"),
        ({}, "at least one part"),
        ({"a cat": 0.0}, "at least one part"),
        (["a cat", ""], "empty prompt"),
        ({"a cat": math.nan}, "'a cat' must be a finite number"),
        ({"a cat": 1.0, "a dog": -math.inf}, "'a dog' must be a finite number"),
        (torch.zeros(2, 3, 4, 4), r"\(3, height, width\)"),
        (torch.zeros(1, 4, 4), r"\(3, height, width\)"),
        (torch.zeros(4, 4), r"\(3, height, width\)"),
        (torch.zeros(0), r"\(3, height, width\)"),
    ],
)
def test_bad_prompts(prompts: str | Mapping[Any, float] | list[str], complaint: str) -> None:
    scorer = Spy()
    with pytest.raises(ValueError, match=complaint):
        target(scorer, prompts)
    assert not scorer.texts


class Reader(Spy):
    """Puts how much a text speaks of lettering on an axis of its own."""

    def encode_text(self, texts: Sequence[str]) -> Tensor:
        written = [float(any(word in text for word in ("text", "word", "letter", "caption"))) for text in texts]
        subject = [len(text) % 3 + 1.0 for text in texts]
        return F.normalize(torch.tensor([[w, s, 0.0, 1.0] for w, s in zip(written, subject, strict=True)]), dim=1)


def test_text_off_pushes_along_the_axis_of_lettering_in_every_item() -> None:
    scorer = Reader()
    goal = target(scorer, ["a cat", {"a fox": 1.0, "snow": 0.5}])
    off = text_off(goal, scorer, 0.2)
    torch.testing.assert_close(off.embeddings[:-1], goal.embeddings)
    torch.testing.assert_close(off.weights[:, :-1], goal.weights)
    assert off.weights[:, -1].tolist() == pytest.approx([-0.2, -0.2])
    direction = off.embeddings[-1]
    assert direction.norm().item() == pytest.approx(1)
    assert direction[0] > 0.9
    lettered, plain = scorer.encode_text(["a dog with letters", "a dog"])
    assert lettered @ direction > plain @ direction
    assert text_off(goal, scorer).weights[0, -1].item() == pytest.approx(-0.1)


@pytest.mark.parametrize("weight", [0.0, -0.1, math.nan])
def test_text_off_needs_a_positive_weight(weight: float) -> None:
    scorer = Reader()
    with pytest.raises(ValueError, match="must be positive"):
        text_off(target(scorer, "a cat"), scorer, weight)
