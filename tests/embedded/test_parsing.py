"""Captions read back are the scenes that they state; anything else is none."""

import pytest

from clipopt.embedded.captions import Scene, caption
from clipopt.embedded.concepts import COLOUR_NAMES, concepts
from clipopt.embedded.parsing import parse

SAID = [
    Scene(number, colour, count, background=background)
    for number, concept in enumerate(concepts())
    for count in (1, 3)
    if count == 1 or concept.plural
    for colour, background in ((None, None), (COLOUR_NAMES[number % len(COLOUR_NAMES)], "blue"))
] + [
    Scene(number, colour, 1, None, None, (number + 7) % len(concepts()), "pink", relation, background)
    for number in range(0, len(concepts()), 5)
    for colour, background in ((None, "white"), ("orange", None))
    for relation in ("beside", "over", None)
]


def test_every_sentence_is_read_back_as_itself():
    texts = [caption(scene) for scene in SAID]
    assert [caption(parse(text) or Scene(0)) for text in texts] == texts
    # Two names for one thing ("heart") aside, the scene is the same, too.
    assert sum(parse(text) == scene for text, scene in zip(texts, SAID, strict=True)) > 0.98 * len(SAID)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("a red yo yo on a white background", "a red yo-yo on a white background"),
        ("three gray mug", "three gray mugs"),
        ("A yellow SKIS", "yellow skis"),
        ("a orange owl", "an orange owl"),
    ],
)
def test_it_reads_words_and_not_spelling(text, spelled):
    scene = parse(text)
    assert scene is not None
    assert caption(scene) == spelled


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "red",
        "a zeppelin",
        "two red",
        "on a red background",
        "a cat on a plaid background",
        "a red flag of spaghetti",
        "two cats and a dog",
        "a green circle above a red circle",
        "a cat left of a dog left of a cat",
        "a picture of a cat",
    ],
)
def test_what_the_world_does_not_say_is_none(text):
    assert parse(text) is None


@pytest.mark.parametrize(
    ("turned", "said"),
    [
        ("a cat right of a dog", "a dog left of a cat"),
        ("a red apple to the right of a key", "a key left of a red apple"),
        ("a moon under a tree on a pink background", "a tree above a moon on a pink background"),
        (
            "a little cat in the top left on a blue background",
            "a small cat in the top left corner on a blue background",
        ),
    ],
)
def test_the_other_way_round_is_the_same(turned, said):
    assert parse(turned) == parse(said) is not None
