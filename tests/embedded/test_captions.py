from dataclasses import replace
from random import Random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clipopt.embedded.captions import (
    Scene,
    caption,
    compatible,
    describe,
    falsify,
    shape_number,
    slots,
    true_of,
    vocabulary,
)
from clipopt.embedded.concepts import COLOUR_NAMES, concepts, number_of, pluralize, things, with_article
from clipopt.scorers.tower import words

STAR, CIRCLE = shape_number("star"), shape_number("circle")


def scene(seed: int) -> Scene:
    rng = Random(seed)
    number, other = rng.sample(range(len(concepts())), 2)
    colour = rng.choice((*COLOUR_NAMES, ""))
    ground = rng.choice([c for c in (*COLOUR_NAMES, "") if c != colour])
    if rng.random() < 0.4:
        relation = rng.choice(("beside", "over"))
        return Scene(number, colour, 1, "medium", None, other, rng.choice(COLOUR_NAMES), relation, ground)
    count = rng.randint(1, 4) if concepts()[number].plural else 1
    return Scene(number, colour, count, rng.choice(("small", "medium", "large")), rng.randint(0, 8), background=ground)


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_descriptions_are_true_and_falsifications_false(seed):
    shown = scene(seed)
    said = describe(shown, Random(seed))
    wrong = falsify(said, Random(seed + 1))
    assert true_of(slots([said]), slots([shown])).all()
    assert not true_of(slots([wrong]), slots([shown])).any()
    assert compatible(slots([said]), slots([said])).all()
    assert not compatible(slots([said]), slots([wrong])).any()


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_a_colour_that_is_not_the_things_own_is_always_said(seed):
    shown = scene(seed)
    tinted = replace(shown, tinted=bool(shown.colour), other_tinted=shown.other is not None)
    said = describe(tinted, Random(seed))
    assert said.colour == (shown.colour or None)
    assert said.other_colour == shown.other_colour
    assert not said.tinted


@given(st.integers(0, 10**6))
@settings(max_examples=60, deadline=None)
def test_every_word_of_every_caption_is_known(seed):
    rng = Random(seed)
    assert set(words(caption(describe(scene(seed), rng), rng))) <= set(vocabulary())


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (Scene(number_of("apple"), "red", background="blue"), "a red apple on a blue background"),
        (Scene(number_of("apple"), background="orange"), "an apple on an orange background"),
        (Scene(STAR, "yellow", 3), "three yellow stars"),
        (Scene(number_of("mouse"), count=2), "two mice"),
        (Scene(number_of("glasses")), "glasses"),
        (Scene(number_of("broccoli")), "a broccoli"),
        (Scene(number_of("unicorn")), "a unicorn"),
        (Scene(number_of("ufo")), "a ufo"),
        (Scene(number_of("hourglass")), "an hourglass"),
        (Scene(number_of("umbrella")), "an umbrella"),
        (Scene(number_of("cat"), size="small", place=6), "a small cat in the top right corner"),
        (Scene(STAR, "red", other=CIRCLE, other_colour="blue", relation="beside"), "a red star left of a blue circle"),
        (Scene(STAR, "red", other=CIRCLE, other_colour="blue", relation="over"), "a red star above a blue circle"),
    ],
)
def test_sentences(said, text):
    assert caption(said) == text


@pytest.mark.parametrize(
    ("noun", "plural"),
    [("cherry", "cherries"), ("toy", "toys"), ("fox", "foxes"), ("glass of milk", "glasses of milk")],
)
def test_plurals(noun, plural):
    assert pluralize(noun) == plural


@pytest.mark.parametrize(("noun", "phrase"), [("eel", "an eel"), ("onion", "an onion"), ("yak", "a yak")])
def test_articles(noun, phrase):
    assert with_article(noun) == phrase


def test_either_side_of_a_relation_says_the_same():
    rng = Random(0)
    said = Scene(STAR, "red", other=CIRCLE, other_colour="blue", relation="beside")
    texts = {caption(said, rng) for _ in range(200)}
    assert "a red star left of a blue circle" in texts
    assert "a blue circle right of a red star" in texts
    assert not any("blue circle left" in t or "blue circle to the left" in t for t in texts)


def test_a_pair_without_relation_is_true_in_both_orders():
    one = Scene(STAR, "red", 1, "medium", None, CIRCLE, "blue", "beside", "white")
    other = Scene(CIRCLE, "blue", 1, "medium", None, STAR, "red", "over", "white")
    both = Scene(STAR, "red", other=CIRCLE, other_colour="blue")
    assert true_of(slots([both]), slots([one, other])).all()
    mixed = replace(both, colour="blue", other_colour="red")
    assert not true_of(slots([mixed]), slots([one, other])).any()


def test_what_is_unstated_is_compatible_and_what_differs_is_not():
    plain, yellow, two = Scene(STAR), Scene(STAR, "yellow"), Scene(STAR, "yellow", 2)
    table = compatible(slots([plain, yellow, two]), slots([plain, yellow, two]))
    assert torch.equal(table, torch.tensor([[True, True, False], [True, True, False], [False, False, True]]))


def test_names_are_unique():
    nouns = [c.noun for c in concepts()]
    assert len(set(nouns)) == len(nouns)
    assert len(things()) >= 500
    said = [n for c in things() for n in (c.noun, *c.synonyms)]
    assert len(set(said)) == len(said)
