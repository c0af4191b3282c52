"""What the embedded models know: things, shapes, colours, and the words for them."""

import json
import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 35),
    "orange": (245, 130, 20),
    "yellow": (250, 215, 40),
    "green": (40, 160, 60),
    "blue": (40, 85, 215),
    "purple": (130, 50, 165),
    "pink": (245, 140, 180),
    "brown": (125, 75, 40),
    "black": (18, 18, 20),
    "white": (246, 246, 246),
    "gray": (135, 135, 138),
}
COLOUR_NAMES = tuple(COLOURS)
SHAPES = (
    "circle",
    "square",
    "triangle",
    "star",
    "heart",
    "ring",
    "cross",
    "crescent",
    "hexagon",
    "arrow",
    "diamond",
    "rectangle",
)


@dataclass(frozen=True)
class Concept:
    """A thing or shape.

    Attributes:
        noun: Its singular, as captions say it.
        plural: Its plural, or None where the noun is plural or uncountable as it stands.
        synonyms: Other singulars.
        emoji: Its name in Unicode's emoji list; empty for a shape, and for what is drawn as a solid alone.
    """

    noun: str
    plural: str | None
    synonyms: tuple[str, ...] = ()
    emoji: str = ""


def pluralize(noun: str) -> str:
    """The regular English plural; of "glass of milk" it is "glasses of milk"."""
    if " of " in noun:
        head, _, tail = noun.partition(" of ")
        return f"{pluralize(head)} of {tail}"
    if re.search(r"(s|x|z|ch|sh)$", noun):
        return noun + "es"
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + "s"


def with_article(phrase: str) -> str:
    """`phrase` behind "a" or "an", by its sound."""
    if re.match(r"(hourglass|eight|18|8|11)", phrase):
        return "an " + phrase
    return ("an " if re.match(r"(?!uni|u[^a-z]|ufo|one|eu)[aeiou]", phrase) else "a ") + phrase


def _parse(line: str) -> Concept:
    line, _, tail = (part.strip() for part in line.partition(";"))
    line, _, plural = (part.strip() for part in line.partition("|"))
    emoji, _, noun = (part.strip() for part in line.partition("="))
    noun, emoji = noun or emoji, "" if emoji == "-" else emoji
    synonyms = tuple(s.strip() for s in tail.split(",") if s.strip())
    return Concept(noun.lower(), None if plural == "-" else (plural or pluralize(noun.lower())), synonyms, emoji)


@cache
def things() -> tuple[Concept, ...]:
    """The everyday things, in a fixed order."""
    lines = files("clipopt.embedded").joinpath("concepts.txt").read_text("utf-8").splitlines()
    return tuple(_parse(line) for line in lines if line.strip() and not line.startswith("#"))


@cache
def concepts() -> tuple[Concept, ...]:
    """All things, then all shapes; a concept's place in this tuple is its number everywhere."""
    return things() + tuple(Concept(s, pluralize(s)) for s in SHAPES)


@cache
def number_of(noun: str) -> int:
    """The number of the concept that is called `noun`."""
    return next(i for i, c in enumerate(concepts()) if c.noun == noun)


@cache
def learnt() -> tuple[int, ...]:
    """Numbers of the concepts whose names the shipped scorer and judge have read.

    What the world has been given since they were trained is for the next training; until then it enters no prompt,
    caption or bank.
    """
    known: list[set[str]] = []
    for name in ("scorer", "judge"):
        with files("clipopt.embedded").joinpath(f"weights/{name}.safetensors").open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        known.append(set(json.loads(header["__metadata__"]["clipopt_tower"])["vocabulary"]))
    return named_in(set.intersection(*known))


@cache
def solids() -> tuple[int, ...]:
    """Numbers of the things that the shipped models have also seen as solids, in a fixed order."""
    nouns = files("clipopt.embedded").joinpath("solids.txt").read_text("utf-8").splitlines()
    return tuple(map(number_of, nouns))


def named_in(vocabulary: Collection[str]) -> tuple[int, ...]:
    """Numbers of the concepts whose singular and plural are said in these words alone."""
    from clipopt.scorers.tower import words

    read = {*vocabulary}
    said = ((n, words(f"{c.noun} {c.plural or ''}")) for n, c in enumerate(concepts()))
    return tuple(n for n, names in said if read.issuperset(names))
