"""The thing that a sentence names: its noun without colours, counts, places and manner."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

_BEHIND = {
    "in", "on", "at", "with", "without", "under", "over", "near", "beside", "behind", "by", "from", "and", "against",
    "above", "below", "inside", "outside", "through", "during", "among", "between", "around", "before", "after",
    "across", "while", "that", "who", "which", "made", "covered", "wearing", "holding", "full", "next", "to", "into",
    "onto", "along", "is", "are", "as", "for",
}  # fmt: skip
_ARTICLES = {
    "a", "an", "the", "some", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "several",
    "many", "few", "my", "your",
}  # fmt: skip
_COLOURS = {
    "red", "orange", "yellow", "green", "blue", "purple", "violet", "pink", "brown", "black", "white", "grey", "gray",
    "golden", "silver", "gold", "beige", "turquoise", "crimson", "scarlet", "teal", "cyan", "magenta", "colorful",
    "colourful", "dark", "bright", "pale", "light",
}  # fmt: skip
_SIZES = {
    "small", "little", "tiny", "large", "big", "huge", "giant", "old", "new", "young", "cute", "beautiful", "single",
}  # fmt: skip
_VERBS = {"sits", "stands", "flies", "jumps", "runs", "swims", "sleeps", "eats", "lies", "walks", "plays", "looks"}
_MANNER = re.compile(
    r"^(?:an?|the)?\s*(?:[\w-]+\s+){0,2}?"
    r"(?:photo|photograph|picture|image|painting|drawing|sketch|illustration|close-?up|portrait)s?\s+(?:of|showing)\s+"
)
_LONGEST = 5
_OTHERWISE = {
    "kite": "toy kite",
    "mouse": "small rodent",
    "mice": "small rodents",
    "plane": "airplane",
    "planes": "airplanes",
}
"""What everyday English means by a word by which a class is called, too."""


@dataclass(frozen=True)
class Noun:
    """What a sentence names.

    Attributes:
        words: The thing, as it is said.
        rest: The same with its adjectives and with what stands behind it.
        whole: The text.
        head: The word that says what it is: "boat" of a sailing boat.
        classes: Numbers of the classes that have this name, or whose names end with its last word.
        exact: Whether it is their whole name.
    """

    words: str
    rest: str
    whole: str
    head: str
    classes: tuple[int, ...]
    exact: bool


def heard(text: str, dictionary: Mapping[str, tuple[int, ...]], heads: Mapping[str, tuple[int, ...]]) -> Noun:
    """The thing that `text` names.

    A name of a class is taken whole, colours and all: "a red fox" is one. It must end what stands before the first
    preposition: a desk lamp is no desk. Of a vase of flowers both are named.

    Args:
        text: A sentence or a phrase.
        dictionary: Classes by their names.
        heads: Classes by the last words of their names.
    """
    said = _MANNER.sub("", text.lower().strip())
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)?", said.replace("-", " "))
    rest = " ".join(word for word in words if word not in _ARTICLES) or text
    phrase = words[: _end(words, dictionary)]
    for end in _ends(phrase):
        if found := _named(phrase[:end], dictionary):
            classes = dictionary[found]
            if "of" in phrase[:end] and (holder := _named(phrase[: phrase.index("of")], dictionary)):
                found, classes = f"{holder} of {found}", (*dictionary[holder], *classes)
            return Noun(found, rest, text, found.rsplit(" ", 1)[-1], classes, True)
    plain = [word for word in phrase if word not in _ARTICLES | _COLOURS | _SIZES] or phrase or [text]
    if plain[-1] == "of":  # a pot of gold
        plain.append(phrase[-1])
    end = next((end for end in _ends(plain) if plain[end - 1] in heads or plain[end - 1] in _OTHERWISE), len(plain))
    head = plain[end - 1]
    if head in _OTHERWISE:
        meant = _OTHERWISE[head]
        named, rest, whole = (
            re.sub(rf"\b{head}\b", meant, each) for each in (" ".join(plain[:end]), rest, text.lower())
        )
        return Noun(named, rest, whole, meant.rsplit(" ", 1)[-1], (), False)
    # What a cup of coffee is counts, not the coffee alone: then no word says it.
    return Noun(" ".join(plain[:end]), rest, text, "" if "of" in plain[:end] else head, heads.get(head, ()), False)


def variants(name: str) -> list[str]:
    """A name in singular and plural."""
    if name.endswith("s") and not name.endswith("ss"):
        return [name]
    if name.endswith(("ch", "sh", "x", "ss")):
        return [name, f"{name}es"]
    if name.endswith("y") and name[-2:-1] not in ("a", "e", "o", "u"):
        return [name, f"{name[:-1]}ies"]
    if name.endswith("fe"):
        return [name, f"{name[:-2]}ves"]
    if name.endswith("lf"):
        return [name, f"{name[:-1]}ves"]
    return [name, f"{name}s", f"{name}es"] if name.endswith("o") else [name, f"{name}s"]


def singular(word: str) -> set[str]:
    """`word`, and what it may be the plural of."""
    found = {word}
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        found |= {word[:-1], word.removesuffix("es"), re.sub("ies$", "y", word), re.sub("ves$", "f", word)}
    return found


def _end(words: Sequence[str], dictionary: Mapping[str, tuple[int, ...]]) -> int:
    """Where the first preposition stands that is no part of a name, such as mortar and pestle."""
    for place, word in enumerate(words):
        spans = (words[start:end] for start in range(max(0, place - 3), place) for end in range(place + 2, place + 4))
        if place and word in _BEHIND and not any(" ".join(span) in dictionary for span in spans):
            return place
    return len(words)


def _ends(words: Sequence[str]) -> Iterator[int]:
    """Where the thing may end: behind all words, or before a verb, as in "a dog running"."""
    yield len(words)
    for place, word in enumerate(words):
        if place and (word in _VERBS or (len(word) > 4 and word.endswith(("ing", "ed")))):
            yield place


def _named(words: Sequence[str], dictionary: Mapping[str, tuple[int, ...]]) -> str:
    """The longest name that ends the words."""
    first = len(words) - words[::-1].index("of") if "of" in words else 0
    for start in range(max(first, len(words) - _LONGEST), len(words)):
        if (name := " ".join(words[start:])) in dictionary and name not in _OTHERWISE:
            return name
    return ""
