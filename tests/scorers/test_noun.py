"""What a sentence names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipopt.scorers.noun import heard, singular, variants

NAMES = {
    "red fox": 0, "fox": 0, "cup": 1, "coffee": 2, "desk": 3, "dining table": 4, "table": 4, "mortar and pestle": 5,
    "castle": 6, "orange": 7, "daisy": 8, "ostrich": 9,
}  # fmt: skip
DICTIONARY = {said: (number,) for name, number in NAMES.items() for said in variants(name)}
HEADS = {"fox": (0,), "table": (4,), "boat": (10, 11)}


def noun(text: str):
    return heard(text, DICTIONARY, HEADS)


@pytest.mark.parametrize(
    ("text", "words", "classes"),
    [
        ("a red fox", "red fox", (0,)),
        ("a blue fox", "fox", (0,)),
        ("an orange", "orange", (7,)),
        ("an orange castle", "castle", (6,)),
        ("A RED FOX!", "red fox", (0,)),
        ("red-fox", "red fox", (0,)),
        ("a fox in front of a castle", "fox", (0,)),
        ("a castle behind a red fox", "castle", (6,)),
        ("mortar and pestle on a table", "mortar and pestle", (5,)),
        ("a photo of a castle", "castle", (6,)),
        ("an oil painting of two red foxes", "red foxes", (0,)),
        ("three daisies", "daisies", (8,)),
        ("some ostriches", "ostriches", (9,)),
        ("a fox running on a table", "fox", (0,)),
        ("a dining table", "dining table", (4,)),
    ],
)
def test_the_name_of_a_class_is_heard(text: str, words: str, classes: tuple[int, ...]):
    found = noun(text)
    assert (found.words, found.classes, found.exact) == (words, classes, True)
    assert found.whole == text


def test_of_a_cup_of_coffee_both_are_named():
    found = noun("a white cup of coffee")
    assert (found.words, found.classes, found.exact) == ("cup of coffee", (1, 2), True)
    assert noun("a crown of coffee").classes == (2,)


@pytest.mark.parametrize(
    ("text", "words", "head", "classes"),
    [
        ("a desk lamp", "desk lamp", "lamp", ()),
        ("a small green sailing boat", "sailing boat", "boat", (10, 11)),
        ("a griffin in a castle", "griffin", "griffin", ()),
        ("a crown of gold", "crown of gold", "", ()),
    ],
)
def test_another_thing_is_heard_by_its_last_word(text: str, words: str, head: str, classes: tuple[int, ...]):
    found = noun(text)
    assert (found.words, found.head, found.classes, found.exact) == (words, head, classes, False)


def test_adjectives_and_places_are_kept_beside_the_thing():
    assert noun("a blue fox in the snow").rest == "blue fox in snow"


@pytest.mark.parametrize(
    "text", ["", " ", "the", "in", "of", "red", "a photo of", "!?", "12", "of of", "of a", "🦊", "\0"]
)
def test_odd_texts_are_heard_as_something(text: str):
    found = noun(text)
    assert found.whole == text
    assert not found.exact
    assert found.classes == ()


WORDS = ["a", "red", "fox", "of", "in", "photo", "running", "cup", "-", "é"]


@given(st.text(max_size=40) | st.lists(st.sampled_from(WORDS)).map(" ".join))
def test_no_text_is_too_odd(text: str):
    found = noun(text)
    assert set(found.classes) <= {*NAMES.values(), 10, 11}
    assert found.words or not text


@given(st.text("abcefilosyx", min_size=1, max_size=8))
def test_a_plural_leads_back_to_its_singular(name: str):
    said = variants(name)
    assert said[0] == name
    assert all(plural.startswith(name[:-2]) for plural in said)


def test_plurals():
    assert variants("fox") == ["fox", "foxes"]
    assert variants("wolf") == ["wolf", "wolves"]
    assert variants("knife") == ["knife", "knives"]
    assert variants("grass") == ["grass", "grasses"]
    assert variants("jeans") == ["jeans"]
    for word in ("daisy", "wolf", "fox", "boat"):
        assert word in singular(variants(word)[-1])
