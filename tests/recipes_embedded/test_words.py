import json

import pytest

from clipopt.embedded import concepts
from clipopt.embedded.concepts import things
from recipes.embedded import sources, sprites, words
from recipes.embedded.words import FORBIDDEN, clean, collect, lines

SYMBOLS = {
    "light bulb": "\U0001f4a1",
    "raccoon": "\U0001f99d",
    "pistol": "\U0001f52b",
    "twelve o\u2019clock": "\U0001f55b",
}
TOLD = {
    "1f4a1": ("light bulb", ("bulb", "idea", "Electric")),
    "1f99d": ("raccoon", ("animal", "curious", "drunk")),
    "1f52b": ("pistol", ("gun",)),
    "1f55b": ("twelve o\u2019clock", ("time",)),
    "1f600": ("grinning face", ("idea",)),
}
WHERE = dict.fromkeys(("1f4a1", "1f52b"), ("Objects", "tool")) | {
    "1f99d": ("Animals & Nature", "animal-mammal"),
    "1f55b": ("Travel & Places", "time"),
}
TITLES = [
    ("Trampoline 01", ("trampoline",)),
    ("trampoline", ("snow", "trampoline")),
    ("Simple trampoline", ()),
    ("Gatto", ("gatto",)),
]


@pytest.fixture
def found(monkeypatch):
    symbols = {t.emoji: chr(0xF0000 + n) for n, t in enumerate(things()) if t.emoji} | SYMBOLS
    monkeypatch.setattr(sprites, "symbols", lambda: symbols)
    sources.emoji.cache_clear()
    told = TOLD | {"f": ("", ("snow", "trampoline"))}
    yield {names.noun: names for names in collect(told, WHERE, dict.fromkeys(TOLD, 3), TITLES * 2)}
    sources.emoji.cache_clear()


def test_a_name_is_of_one_thing_and_a_keyword_of_many(found):
    bulb = found["light bulb"]
    assert not bulb.new
    assert "bulb" in bulb.synonyms
    assert {"idea", "electric"} <= {*bulb.about}


def test_new_things_are_drawn_by_several_hands_and_are_no_signs(found):
    assert found["raccoon"].new
    assert found["raccoon"].about == ("animal", "curious")  # nothing that is filtered
    assert found["trampoline"].emoji == ""
    assert not {"pistol", "twelve o'clock", "gatto", "grinning face"} & {*found}


def test_the_worlds_own_things_keep_their_numbers(found):
    assert [*found][: len(things())] == [thing.noun for thing in things()]


def test_the_list_reads_as_the_worlds_own(found):
    read = [concepts._parse(line) for line in lines([*found.values()]).splitlines() if not line.startswith("#")]
    assert [(t.noun, t.plural, t.emoji) for t in read[: len(things())]] == [
        (t.noun, t.plural, t.emoji) for t in things()
    ]
    assert {t.noun: t for t in read}["raccoon"].plural == "raccoons"
    assert "trampoline" not in {t.noun for t in read}


@pytest.mark.parametrize(
    ("name", "cleaned"),
    [
        ("T-Shirt", "t shirt"), ("Nikon camera", ""), ("guns", ""), ("woman\u2019s boot", "woman's boot"), ("1–2", ""),
        ("Tesla's coil", ""), ("a very long name of many words", ""), ("jar", "jar"),
    ],
)  # fmt: skip
def test_names_are_plain_and_none_is_forbidden(name, cleaned):
    assert clean(name) == cleaned


def test_the_world_says_nothing_that_is_filtered_from_what_is_new():
    assert not {"cat", "house", "apple", "king", "glasses"} & FORBIDDEN


def test_missing_annotations_say_what_to_install(tmp_path):
    with pytest.raises(ValueError, match="npm install --ignore-scripts cldr-annotations-full"):
        words.annotations(tmp_path)
    path = tmp_path / words._ANNOTATIONS
    path.parent.mkdir(parents=True)
    path.write_text(
        json.dumps({"annotations": {"annotations": {"\U0001f4a1": {"default": ["bulb"], "tts": ["light bulb"]}}}})
    )
    assert words.annotations(tmp_path) == {"1f4a1": ("light bulb", ("bulb",))}
