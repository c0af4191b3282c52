"""What a person types for a prompt, made into the Python API's dict of text to weight."""

import json
import math
import re
import shlex
import sys
from collections.abc import Iterable, Mapping

_WEIGHTED = re.compile(r"([^:|()\[\],]*[^:|()\[\],\s\d])\s*::?([-+]?(?:\d+\.?\d*|\.\d+))(?=[\s)\],]|$)")
"""A text and its weight: "a fox:2", "snow::-0.5", "(fox:1.3)"; not 12:30."""
NEGATIVE_WEIGHT = -0.3
"""How strongly a `--negative` text repels: enough to clear it away, too little to become the subject."""


def parse_prompt(argument: str) -> dict[str, float]:
    """The texts of one prompt, each with its weight.

    Any argument is plain text of weight 1, taken to the letter: "a clock at 12:30", "Dune: part two", a URL.
    The one exception starts with a brace and is a JSON object of text to weight, which is also how Python writes
    it: `{"a red fox in the snow": 1, "text": -0.3}`. A negative weight repels. Of a text that looks weighted in the
    way of other programs, "a fox:2 | snow", stderr says how it is written here.

    Raises:
        ValueError: if it is empty, or starts with a brace without being such an object.
    """
    if argument.startswith("{"):
        return _parse_weighted(argument)
    text = _checked_text(argument)
    if "://" not in text and (_WEIGHTED.search(text) or re.search(r"\S\s*\|\s*\S", text)):
        written = shlex.quote(json.dumps(_meant(text)))
        sys.stderr.write(f"clipopt: note: {_shown(text)} is read to the letter; weights are given as in {written}\n")
    return {text: 1.0}


def with_negatives(prompt: Mapping[str, float], negatives: Iterable[str]) -> dict[str, float]:
    """The prompt together with texts to stay away from, each at `NEGATIVE_WEIGHT`.

    Raises:
        ValueError: if a negative text is empty or already part of the prompt.
    """
    combined = dict(prompt)
    for text in negatives:
        if _checked_text(text) in prompt:
            raise ValueError(f"{_shown(text)} is both wanted and negative: say it once")
        combined[text] = NEGATIVE_WEIGHT
    return combined


def _parse_weighted(argument: str) -> dict[str, float]:
    expected = 'a prompt that starts with "{" must be a JSON object of text to weight, such as \'{"a fox": 1}\''
    try:
        pairs = json.loads(argument, object_pairs_hook=_Pairs)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(f"{expected}; got {_shown(argument)}: {reason}") from None
    weights: dict[str, float] = {}
    for text, weight in pairs:
        if _checked_text(text) in weights:
            raise ValueError(f"{_shown(text)} stands twice in one prompt: give it one weight")
        weights[text] = _checked_weight(text, weight)
    if not any(weights.values()):
        raise ValueError(f"{expected}; got {_shown(argument)}, where nothing has a weight")
    return weights


def _meant(text: str) -> dict[str, float | int]:
    """The parts and weights of `text` in the syntax of neighbouring programs, or an example where it is in another."""
    weights: dict[str, float | int] = {}
    for part in text.split("|"):
        weighted = [
            (piece.strip(), int(weight) if weight.isdecimal() else float(weight))
            for piece, weight in _WEIGHTED.findall(part)
        ]
        rest = _WEIGHTED.sub("", part).strip(" ()[],")
        if bool(weighted) == bool(rest):
            return {"a fox": 2, "snow": 1}
        weights |= dict(weighted or [(rest, 1)])
    return weights if any(weights.values()) else {"a fox": 2, "snow": 1}


class _Pairs(list[tuple[str, object]]):
    """A JSON object as it was written, so that a text given twice is seen."""


def _checked_weight(text: str, weight: object) -> float:
    try:
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise ValueError
        return float(weight)
    except (ValueError, OverflowError):
        shown = "an object" if isinstance(weight, _Pairs) else _shown(str(weight))
        raise ValueError(f"the weight of {_shown(text)} must be a finite number, got {shown}") from None


def _checked_text(text: str) -> str:
    if not text.strip():
        raise ValueError('a prompt is empty: say what to show, for example "a red apple on a blue background"')
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"a prompt is no valid Unicode text: {_shown(text)}") from None
    return text


def _shown(text: str) -> str:
    """The text on one short line that any terminal can print."""
    shown = ascii(text)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
