"""A prompt is taken to the letter, or refused with a reason."""

import json
import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from clipopt.pipelines.prompts import NEGATIVE_WEIGHT, parse_prompt, with_negatives

PLAIN = [
    "a red apple on a blue background",
    "a clock at 12:30",
    "Dune: part two",
    "a fox:2",
    "a fox:-1:0.5",
    "a | b",
    "a -- b",
    "https://example.org/a.png?x=1&y={2}",
    r"C:\pictures\fox.png",
    " {not an object}",
    '"quoted"',
    "[1, 2]",
    "  spaces kept  ",
    "ein Fuchs im Schnee ❄",
    "--help me",
]


@pytest.mark.parametrize("text", PLAIN)
def test_plain_text_is_kept_to_the_letter(text: str):
    assert parse_prompt(text) == {text: 1.0}


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a fox:2", '{"a fox": 2}'),
        ("a fox:1.5 | snow:-0.3", '{"a fox": 1.5, "snow": -0.3}'),
        ("a fox | snow", '{"a fox": 1, "snow": 1}'),
        ("a fox::2 snow::1", '{"a fox": 2, "snow": 1}'),
        ("(a fox:1.3), snow", '{"a fox": 2, "snow": 1}'),
        ("a fox:0", '{"a fox": 2, "snow": 1}'),
    ],
)
def test_what_looks_weighted_gets_a_hint(text: str, written: str, capsys: pytest.CaptureFixture):
    assert parse_prompt(text) == {text: 1.0}
    said = capsys.readouterr().err
    assert said.startswith("clipopt: note: ")
    assert said.count("\n") == 1
    assert f"'{written}'" in said
    assert parse_prompt(written)


@pytest.mark.parametrize(
    "text", ["a clock at 12:30", "Dune: part two", "John 3:16", "16:9, wide", "http://a:80", "a |"]
)
def test_what_does_not_gets_none(text: str, capsys: pytest.CaptureFixture):
    parse_prompt(text)
    assert capsys.readouterr().err == ""


def test_weighted_form_is_the_python_dict():
    assert parse_prompt('{"a red fox in the snow": 1, "text": -0.3}') == {"a red fox in the snow": 1.0, "text": -0.3}


@pytest.mark.parametrize(
    ("argument", "reason"),
    [
        ("", "empty"),
        (" \t\n", "empty"),
        ("{", "JSON object"),
        ("{a fox}", "JSON object"),
        ("{}", "nothing has a weight"),
        ('{"a fox": 0}', "nothing has a weight"),
        ('{"a fox": "1"}', "finite number"),
        ('{"a fox": true}', "finite number"),
        ('{"a fox": null}', "finite number"),
        ('{"a fox": NaN}', "finite number"),
        ('{"a fox": -Infinity}', "finite number"),
        ('{"a fox": 1e999}', "finite number"),
        ('{"a fox": 1' + "0" * 400 + "}", "finite number"),
        ('{"a fox": 1' + "0" * 9000 + "}", "JSON object"),
        ('{"a fox": {"b": 1}}', "finite number"),
        ('{"a fox": 1, "a fox": 2}', "twice"),
        ('{"": 1}', "empty"),
        ('{"a fox": 1} and more', "JSON object"),
        ('{"\\ud800": 1}', "Unicode"),
        ("a \udcff fox", "Unicode"),
        ('{"a":' * 100_000, "JSON object"),
    ],
)
def test_refused_with_a_short_reason(argument: str, reason: str):
    with pytest.raises(ValueError, match=reason) as caught:
        parse_prompt(argument)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 350


@given(st.text())
@example("{")
@example('{"a": [[[')
def test_never_anything_but_the_text_or_a_value_error(argument: str):
    try:
        prompt = parse_prompt(argument)
    except ValueError:
        assert not argument.strip() or argument.startswith("{")
    else:
        assert argument.startswith("{") or prompt == {argument: 1.0}


@given(st.text(alphabet='{}[]":,-.0123456789eE \\ntrufalsn', max_size=40).map(lambda tail: "{" + tail))
def test_nothing_after_a_brace_crashes(argument: str):
    try:
        prompt = parse_prompt(argument)
    except ValueError:
        return
    assert prompt == json.loads(argument)


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1).filter(str.strip)
weights = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**6), 10**6)


@given(st.dictionaries(texts, weights, min_size=1).filter(lambda prompt: any(prompt.values())), st.booleans())
def test_a_python_dict_survives_the_command_line(prompt: dict[str, float], ascii_only: bool):
    parsed = parse_prompt(json.dumps(prompt, ensure_ascii=ascii_only))
    assert parsed == prompt  # the texts are the keys, untouched: no weight is left in them
    assert all(isinstance(weight, float) and math.isfinite(weight) for weight in parsed.values())


@given(texts, st.lists(texts, unique=True))
def test_negatives_join_the_prompt(text: str, negatives: list[str]):
    if text in negatives:
        with pytest.raises(ValueError, match="both wanted and negative"):
            with_negatives({text: 1.0}, negatives)
    else:
        assert with_negatives({text: 1.0}, negatives) == {text: 1.0} | dict.fromkeys(negatives, NEGATIVE_WEIGHT)


def test_negatives_are_refused_when_empty():
    with pytest.raises(ValueError, match="empty"):
        with_negatives({"a fox": 1.0}, [" "])
