"""The Open Clip Art Library: thousands of drawings by many people, each with a title and keywords."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from xml.etree import ElementTree

from clipopt.embedded.concepts import COLOUR_NAMES, pluralize, things

HELD_OUT = 575
"""Drawings that measure a search by their titles, some 500 that can be rendered: no training ever sees them."""
_RDF = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}"
_DC = "{http://purl.org/dc/elements/1.1/}"
_FREE = {"http://web.resource.org/cc/PublicDomain", "http://creativecommons.org/licenses/publicdomain/"}
_UNUSED = (  # icons of programs, abstract patterns, playing cards, emblems: no pictures of things
    "computer/icons/", "computer/buttons/", "buttons/", "decorations/", "logos/", "shapes/", "special/",
    "signs_and_symbols/flags/", "signs_and_symbols/map_symbols/", "signs_and_symbols/led/", "recreation/games/cards/",
    "recreation/religion/", "transportation/aiga-symbols/", "unsorted/duplicates/", "people/stickmen/",
    "tools/weapons/",
)  # fmt: skip
_LARGE = 400_000  # bytes: traced photographs
_FILLERS = {*COLOUR_NAMES, *re.findall(
    "[a-z]+",
    "a an the simple cartoon icon symbol sign clipart clip art drawing image picture outline silhouette silhouettes "
    "bw b w colour color coloured colored grey line lines lineart vector svg small big large little nice cute old new "
    "plain basic normal generic stylized stylised realistic glossy shiny another my funny happy sad angry smiling "
    "version remix fresh open closed side front view",
)}  # fmt: skip
_AMBIGUOUS = frozenset({"keyboard", "map", "pan", "can", "bat", "form", "key"})  # and so judged by whole titles
_ENDS = re.compile(r"\b(with|and|in|on|at|for|from|by|over|under|to|of|without|behind|no|holding|eating|wearing)\b")


@dataclass(frozen=True)
class Clip:
    """A drawing of the library.

    Attributes:
        name: Its path below the library's folder, without the ending.
        title: What its author called it.
        keywords: Lower case.
    """

    name: str
    title: str
    keywords: tuple[str, ...]


def read(folder: Path, path: Path) -> Clip | None:
    """A drawing's title and keywords; None if it has no title or its file does not say that it is free."""
    try:
        root = ElementTree.fromstring(path.read_bytes())
    except ElementTree.ParseError:
        return None
    stated = {value for node in root.iter() for name, value in node.attrib.items() if name == f"{_RDF}resource"}
    stated |= {node.get(f"{_RDF}about", "") for node in root.iter() if node.tag.endswith("}License")}
    title = next((" ".join(node.text.split()) for node in root.iter(f"{_DC}title") if node.text), "")
    if not title or not stated & _FREE or any("licenses/" in s and s not in _FREE for s in stated):
        return None
    keywords = (" ".join(node.text.lower().split()) for node in root.iter(f"{_RDF}li") if node.text)
    name = path.relative_to(folder).with_suffix("").as_posix()
    return Clip(name, title, tuple(dict.fromkeys(k for k in keywords if k)))


def library(folder: Path) -> Iterator[tuple[Clip, Path]]:
    """All drawings of things, in a fixed order.

    Raises:
        ValueError: there are none.
    """
    paths = sorted(folder.rglob("*.svg"))
    if not paths:
        raise ValueError(f"expected the drawings of Debian's openclipart-svg in {folder}, found none")
    for path in paths:
        below = path.relative_to(folder).as_posix()
        if below.startswith(_UNUSED) or "tux" in below or path.stat().st_size > _LARGE:
            continue
        clip = read(folder, path)
        if clip is not None:
            yield clip, path


def head(title: str) -> str:
    """What a title names: "A simple pig 01" is a pig, "angry monkey with hat" a monkey, "tree of life" nothing."""
    plain = re.sub(r"[^a-z' ]+", " ", re.sub(r"\([^)]*\)|&\w+;|[_\d]+", " ", title.lower()))
    before, *rest = _ENDS.split(plain, maxsplit=1)
    if rest and rest[0] in ("of", "and"):
        return ""
    return " ".join(w for w in before.split() if w not in _FILLERS)


@cache
def _nouns() -> dict[str, int]:
    known: dict[str, int] = {}
    for number, thing in enumerate(things()):
        for noun in (thing.noun, *thing.synonyms):
            known.setdefault(noun, number)
    return known


def thing(clip: Clip) -> int | None:
    """The number of the thing that a drawing shows, as its title says; None if it names none of the world.

    A title names a thing if nothing but fillers stands beside its noun, or if its last words do and a keyword agrees.
    """
    named = head(clip.title)
    known = _nouns()
    if named in known and named not in {"keyboard", "map", "pan"}:
        return known[named]
    words = named.split()
    for length in (3, 2, 1):
        noun = " ".join(words[-length:])
        if len(words) > length and noun in known and {noun, pluralize(noun)} & {*clip.keywords} - _AMBIGUOUS:
            return known[noun]
    return None


@cache
def _rank(name: str) -> str:
    return sha256(name.encode()).hexdigest()


def held_out(clips: list[Clip]) -> set[str]:
    """Names of the drawings that measure, no two of one title, in words that are keywords: most of them are English.

    It depends on the library alone.
    """
    said = {word for clip in clips for keyword in clip.keywords for word in keyword.split()}
    titled = {head(clip.title): clip for clip in sorted(clips, key=lambda clip: _rank(clip.name))}
    ranked = sorted(titled.items(), key=lambda item: _rank(item[0]))
    known = [clip.name for title, clip in ranked if title and said.issuperset(title.split())]
    return set(known[:HELD_OUT])
