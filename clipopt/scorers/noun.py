"""The thing that a sentence names: its noun without colours, counts, places and manner."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_BEHIND = {
    "in", "on", "at", "with", "without", "under", "over", "near", "beside", "behind", "by", "from", "and", "against",
    "above", "below", "inside", "outside", "through", "during", "among", "between", "around", "before", "after",
    "across", "while", "that", "who", "which", "made", "covered", "wearing", "holding", "full",
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
_MANNER = re.compile(
    r"^(?:an?|the)?\s*(?:\w+\s+){0,2}?(?:photo|photograph|picture|image|painting|drawing|sketch|illustration|close-?up|portrait)"
    r"s?\s+(?:of|showing)\s+"
)
_LONGEST = 4


@dataclass(frozen=True)
class Noun:
    """What a sentence names.

    Attributes:
        words: The thing, as it is said.
        rest: The same with its adjectives and with what stands behind it.
        classes: Numbers of the classes that have this name, or whose names end with its last word.
        exact: Whether it is their whole name.
    """

    words: str
    rest: str
    classes: tuple[int, ...]
    exact: bool


def heard(text: str, dictionary: Mapping[str, tuple[int, ...]], heads: Mapping[str, tuple[int, ...]]) -> Noun:
    """The thing that `text` names.

    A name of a class is taken whole, colours and all: "a red fox" is one. What stands before the first preposition
    counts first.

    Args:
        text: A sentence or a phrase.
        dictionary: Classes by their names.
        heads: Classes by the last words of their names.
    """
    said = _MANNER.sub("", text.lower().strip())
    words = re.findall(r"[^\W_]+(?:'[^\W_]+)?", said.replace("-", " "))
    rest = " ".join(word for word in words if word not in _ARTICLES) or text
    end = next((n for n, word in enumerate(words) if word in _BEHIND and n), len(words))
    if found := _named(words[:end], dictionary):
        return Noun(found, rest, dictionary[found], True)
    plain = [word for word in words[:end] if word not in _ARTICLES | _COLOURS | _SIZES]
    # A verb ends the thing: "a dog running".
    head = next((n for n, word in enumerate(plain) if word.endswith("ing") and n), len(plain))
    plain = plain[:head] or words[:end] or words
    return Noun(" ".join(plain) or text, rest, heads.get(plain[-1], ()) if plain else (), False)


def variants(name: str) -> list[str]:
    """A name in singular and plural."""
    if name.endswith("s"):
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


def _named(words: list[str], dictionary: Mapping[str, tuple[int, ...]]) -> str:
    """The longest name among the words; of several the last, which is the head of a phrase."""
    # What a cup of coffee is made of counts, not the cup alone.
    first = len(words) - words[::-1].index("of") if "of" in words else 0
    for length in range(min(_LONGEST, len(words)), 0, -1):
        for start in range(len(words) - length, first - 1, -1):
            if (name := " ".join(words[start : start + length])) in dictionary:
                return name
    return ""
