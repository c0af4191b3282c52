import pytest
import torch

from clipopt.embedded.captions import Scene, caption, shape_number, slots, true_of, vocabulary
from clipopt.embedded.concepts import number_of
from clipopt.scorers.tower import TowerConfig, Towers, TowerScorer
from clipopt.types import generator
from recipes.embedded.measure import _rivals, accuracy, attributes, matches
from recipes.embedded.painters import Painter


@pytest.fixture
def tower():
    config = TowerConfig(
        widths=(8, 16), depths=(1, 1), stem=4, dim=16, text_width=16, text_layers=1, vocabulary=vocabulary()
    )
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(generator(3).get_state())
        return TowerScorer(Towers(config), "tiny", "0")


def test_only_the_first_of_the_rivals_is_true(plain_world):
    painter, seen = Painter(5), set()
    for index in range(150):
        _, scene = painter.paint(index)
        for name, candidates in _rivals(scene):
            true = true_of(slots(candidates), slots([scene]))[0].tolist()
            assert true == [True] + [False] * (len(candidates) - 1), (name, scene)
            assert len({caption(c) for c in candidates}) == len(candidates)
            seen.add(name)
    assert seen == {"order", "relation", "shape", "colour", "count", "place", "size", "background"}


def test_what_stands_against_what():
    star = Scene(shape_number("star"), "red", 2, "medium", None, background="blue")
    texts = {name: [caption(c) for c in candidates] for name, candidates in _rivals(star)}
    assert texts["count"] == ["two stars", "a star", "three stars", "four stars"]
    assert texts["colour"][0] == "two red stars"
    assert len(texts["colour"]) == 11
    assert len(texts["shape"]) == 12
    assert "place" not in texts
    pair = Scene(number_of("cat"), "", other=number_of("dog"), other_colour="", relation="over")
    texts = {name: [caption(c) for c in candidates] for name, candidates in _rivals(pair)}
    assert texts["order"] == ["a cat above a dog", "a dog above a cat"]
    assert len(texts["relation"]) == 4


def test_an_untrained_tower_guesses(tower, plain_world):
    shares = attributes(tower, 150)
    assert shares["colour"][0] < 0.4
    assert 0.2 < shares["order"][0] < 0.8
    assert sum(pictures for _, pictures in shares.values()) > 150


def test_an_attack_never_helps(tower, plain_world):
    clean = accuracy(tower, 60)
    assert accuracy(tower, 60, eps=0.0) == clean
    assert accuracy(tower, 60, eps=2.0, steps=3) <= clean


def test_matches_are_percentiles_of_the_cosine(tower, plain_world):
    real = matches(tower, 130)
    assert len(real) == 101
    assert real == sorted(real)
    assert -1 <= real[0] < real[-1] <= 1
    assert matches(tower, 130) == real
