"""Which characters of a text a scorer reads: nobody learns from bytes of a rare one what it means."""

import unicodedata
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

_SAYING = ("Lu", "Ll", "Lt", "Lm", "Lo", "Nd", "Nl", "No", "So", "Sm", "Sc")
"""Categories of Unicode that say something: letters, numbers, symbols such as emoji."""


def plain(text: str) -> str:
    """`text` without accents, and in ordinary letters where it has wide, small or joined ones.

    Example:
        >>> plain("a café")
        'a cafe'
    """
    if text.isascii():
        return text
    apart = unicodedata.normalize("NFKD", text)
    return "".join(c for c in apart if not unicodedata.combining(c))


def saying(text: str) -> list[str]:
    """The characters beyond ASCII that say something, in order, each once."""
    whole = dict.fromkeys(unicodedata.normalize("NFC", text))
    return [c for c in whole if not c.isascii() and unicodedata.category(c) in _SAYING]


def unread(text: str, pieces: Callable[[str], Iterable[str]]) -> list[str]:
    """The characters of `text` that a tokenizer has no token for, in order, each once.

    A character is read where a token of the text holds it whole, in lower case or without its accent, too. Where a
    tokenizer spells it in bytes, or has an unknown token in its place, it is not.

    Args:
        text: Any text.
        pieces: What each token of a text stands for.
    """
    characters = saying(text)
    read = _letters(pieces(text)) if characters else set()
    return [c for c in characters if c.casefold() not in read and not _alike(c, _letters(pieces(c)))]


def runs(text: str, characters: Collection[str]) -> list[str]:
    """The longest parts of `text` that are made of these characters, in order, each once."""
    found, run = [], ""
    for character in [*unicodedata.normalize("NFC", text), " "]:
        # What joins or changes a character belongs to it.
        if character in characters or (run and unicodedata.category(character) in ("Mn", "Me", "Cf", "Sk")):
            run += character
        elif run:
            found.append(run)
            run = ""
    return list(dict.fromkeys(found))


def pieces(tokenizer: Any, numbers: Sequence[int]) -> list[str]:
    """What each token stands for."""
    return [tokenizer.decode([number]) for number in numbers]


def _letters(pieces: Iterable[str]) -> set[str]:
    return {c for piece in pieces for c in piece.casefold()}


def _alike(character: str, read: set[str]) -> bool:
    """Whether what is read is the character in ordinary letters, or without its accent."""
    forms = (unicodedata.normalize("NFKC", character).casefold(), plain(character).casefold())
    return any(form and read.issuperset(form) for form in forms)
