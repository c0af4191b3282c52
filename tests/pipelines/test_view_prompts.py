"""Which side a view shows, and which words go with it."""

import math

import pytest
import torch
from toy import ToyScorer

from clipopt.geometry.camera import orbit
from clipopt.pipelines.mesh.staging import SAID
from clipopt.pipelines.mesh.view_prompts import Sided, shares, unpainted, worded


def toward(azimuth: float, elevation: float = 0.0) -> torch.Tensor:
    angles = torch.tensor([math.radians(azimuth)]), torch.tensor([math.radians(elevation)])
    return orbit(*angles, torch.ones(1))


@pytest.mark.parametrize(
    ("azimuth", "elevation", "side"),
    [(0, 0, "front"), (90, 0, "side"), (-90, 10, "side"), (180, 0, "back"), (30, 90, "top"), (0, -90, "bottom")],
)
def test_straight_views_are_of_one_side(azimuth: float, elevation: float, side: str):
    share = shares(toward(azimuth, elevation))[0]
    assert share[list(SAID).index(side)] == pytest.approx(1, abs=1e-4)


def test_passage_is_soft_and_whole():
    angles = torch.linspace(0, 2 * math.pi, 721)
    for elevation in (0.0, 0.8, 1.0, 1.2, -1.1):
        share = shares(orbit(angles, torch.full_like(angles, elevation), torch.ones_like(angles)))
        torch.testing.assert_close(share.sum(1), torch.ones(len(angles)))
        assert share.min() >= 0
        assert share.diff(dim=0).abs().max() < 0.02
    assert shares(toward(45))[0, :2].tolist() == pytest.approx([0.5, 0.5], abs=1e-5)


def test_words_of_a_side():
    prompt = {"a red car": 1.0, "rust": -0.3}
    assert worded(prompt, "back", sided=True, instead={}) == {"a red car, back view": 1.0, "rust": -0.3}
    assert worded(prompt, "back", sided=False, instead={}) == prompt
    assert worded(prompt, "back", sided=True, instead={"back": "tail lights"}) == {"tail lights": 1.0, "rust": -0.3}


def test_every_view_has_its_own_words():
    scorer = ToyScorer()
    sided = Sided(scorer, [{"a car": 1.0}, {"a cat": 2.0}], sided=True)
    goal = sided(torch.cat([toward(0), toward(45), toward(180), toward(90)]))
    texts = [f"{thing}, {said}" for thing in ("a car", "a cat") for said in SAID.values()]
    rows = scorer.encode_text(texts)
    wanted = goal.weights @ goal.embeddings
    expected = torch.stack([rows[0], (rows[0] + rows[1]) / 2, 2 * rows[7], 2 * rows[6]])
    torch.testing.assert_close(wanted, expected, atol=1e-5, rtol=0)


def test_without_sides_all_views_ask_alike():
    goal = Sided(ToyScorer(), [{"a car": 1.0}])(torch.cat([toward(0), toward(100, 60)]))
    torch.testing.assert_close(goal.weights, torch.ones(2, 1))


class Small(ToyScorer):
    """One that knows some words."""

    def __init__(self, *unknown: str) -> None:
        super().__init__()
        self.unknown = unknown

    def unknown_words(self, text: str) -> list[str]:
        return [word for word in text.split() if word in self.unknown]


def test_a_bare_shape_is_asked_for_in_gray():
    prompt = {"a red apple": 1.0, "an apple": 0.5, "rust": -0.3}
    assert unpainted(prompt, Small()) == {"a gray apple": 1.5, "rust": -0.3}
    assert unpainted({"a red apple on a blue background": 1.0}, Small()) == {"a gray apple on a blue background": 1}
    assert unpainted({"a red apple": 1.0, "a green apple": -1.0}, Small()) == {"a gray apple": 1.0}
    assert unpainted(prompt, Small("gray")) == prompt
    assert unpainted(prompt, ToyScorer()) == prompt  # what reads all words is asked for what was said


def test_bare_views_have_words_of_their_own():
    scorer = Small()
    sided = Sided(scorer, [{"a red apple": 1.0}, {"a blue car": 1.0}])
    goal = sided(torch.cat([toward(0)] * 4), torch.tensor([True, False, False, True]))
    expected = scorer.encode_text(["a gray apple", "a red apple", "a blue car", "a gray car"])
    torch.testing.assert_close(goal.weights @ goal.embeddings, expected, atol=1e-5, rtol=0)
