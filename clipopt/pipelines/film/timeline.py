"""Which prompt holds when: a film's prompts along its seconds."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from clipopt.io.folders import read_text
from clipopt.pipelines.prompts import parse_prompt

_FORMAT = (
    'expected lines of second and prompt, such as "2.5 a green tree", '
    'or JSON such as [{"at": 0, "prompt": "a red apple"}, {"at": 2.5, "prompt": {"a tree": 1, "a leaf": -0.3}}]'
)


@dataclass(frozen=True)
class Key:
    """A prompt that holds from a second on.

    Attributes:
        at: Second of the film.
        prompt: Text to weight.
    """

    at: float | int
    prompt: Mapping[str, float]

    @property
    def label(self) -> str:
        """What a person reads below its picture: the texts, with weights other than 1."""
        return ", ".join(text if weight == 1 else f"{text} ({weight:g})" for text, weight in self.prompt.items())


@dataclass(frozen=True)
class Timeline:
    """Prompts one after the other, each blended into the next around the second where that begins.

    Attributes:
        keys: In the order of their seconds; the first begins at 0.
        end: Second at which the film ends.
        blend: Part of the shorter of two neighbouring stretches that their blend takes, 0 to 1.

    Raises:
        ValueError: The keys do not follow one another from second 0 to the end.
    """

    keys: Sequence[Key]
    end: float | int
    blend: float | int = 0.5

    def __post_init__(self) -> None:
        if not self.keys or self.keys[0].at != 0 or any(later <= at for at, later in self.spans()):
            shown = ", ".join(f"{at:g}" for at in [*(key.at for key in self.keys), self.end])
            raise ValueError(f"prompts must begin at second 0 and follow one another, got {shown} (the last: the end)")
        if not 0 <= self.blend <= 1:
            raise ValueError(f"--blend must lie in 0 to 1, got {self.blend}")

    def spans(self) -> list[tuple[float | int, float | int]]:
        """First and last second of each prompt."""
        return list(pairwise([*(key.at for key in self.keys), self.end]))

    def shares(self, second: float | int) -> list[float | int]:
        """How much each prompt holds at a second; they sum to 1."""
        rises = [1.0, *(_smoothstep(second, at, half) for at, half in self._turns()), 0.0]
        return [rise - later for rise, later in pairwise(rises)]

    def peaks(self) -> list[float | int]:
        """The last second at which each prompt holds alone, which is when its picture is ripest."""
        return [*(at - half for at, half in self._turns()), self.end]

    def _turns(self) -> list[tuple[float | int, float | int]]:
        """Where a prompt gives way to the next: the middle of each blend, and half of its length, in seconds."""
        lengths = [later - at for at, later in self.spans()]
        halves = [self.blend / 2 * min(pair) for pair in pairwise(lengths)]
        return list(zip((key.at for key in self.keys[1:]), halves, strict=True))


def read_keys(path: Path) -> list[Key]:
    """Read the prompts of a text or JSON file, with the seconds at which they begin.

    Raises:
        ValueError: The file cannot be read, or a line or an entry is not as expected; the message names it.
    """
    try:
        text = read_text(path)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ValueError(f"cannot read the timeline {path}: {reason}; {_FORMAT}") from error
    entries = _from_json(path, text) if path.suffix.lower() == ".json" else _from_lines(path, text)
    if not entries:
        raise ValueError(f"the timeline {path} holds no prompt: {_FORMAT}")
    return entries


def _from_lines(path: Path, text: str) -> list[Key]:
    keys = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            at, _, prompt = line.strip().partition(" ")
            keys.append(_key(f"{path}, line {number}", at, prompt.strip()))
    return keys


def _from_json(path: Path, text: str) -> list[Key]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the timeline {path} is no JSON ({error}): {_FORMAT}") from None
    if not isinstance(entries, list) or not all(isinstance(e, dict) and e.keys() == {"at", "prompt"} for e in entries):
        raise ValueError(f'the timeline {path} must be a list of objects with "at" and "prompt": {_FORMAT}')
    return [_key(f"{path}, entry {number}", e["at"], e["prompt"]) for number, e in enumerate(entries, 1)]


def _key(where: str, at: object, prompt: object) -> Key:
    try:
        second = math.nan if isinstance(at, bool) or not isinstance(at, str | int | float) else float(at)
    except (ValueError, OverflowError):
        second = math.nan
    if not math.isfinite(second):
        raise ValueError(f"{where}: {str(at)[:40]!r} is no second: {_FORMAT}")
    if not isinstance(prompt, str | dict):
        raise ValueError(f"{where}: a prompt must be text, or an object of text to weight, got {str(prompt)[:40]!r}")
    try:
        return Key(second, parse_prompt(prompt if isinstance(prompt, str) else json.dumps(prompt)))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


def _smoothstep(second: float | int, at: float | int, half: float | int) -> float:
    """From 0 to 1 around `at`, level at both ends."""
    if half == 0:
        return float(second >= at)
    x = min(max((second - at + half) / (2 * half), 0.0), 1.0)
    return x * x * (3 - 2 * x)
