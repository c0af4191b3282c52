"""Captions read back: which scene the words of a sentence state."""

from collections.abc import Callable, Iterator, Sequence
from functools import cache

from clipopt.embedded.captions import COUNTS, PLACES, RELATIONS, SIZES, Scene
from clipopt.embedded.concepts import COLOUR_NAMES, concepts

_COUNT = {word: count for count, word in COUNTS.items()}
_SIZE = {word: size for size, words in SIZES.items() for word in words}
_PLACE = [(name.split(), place) for place, names in enumerate(PLACES) for name in names]
_BETWEEN = [(*told, name.split()) for told, names in RELATIONS.items() for name in names]


Names = Callable[[Sequence[str]], int | None]
"""The number of a concept for words that are no noun of the embedded world, or None."""


def parse(text: str, names: Names | None = None) -> Scene | None:
    """The scene that a caption in the words of `caption` states.

    Only words count, as towers read them: no hyphens, no capitals. A noun after a number may be singular.

    Args:
        text: The caption.
        names: Asked for what is no noun of the embedded world.

    Returns:
        None where that is no sentence of the embedded world: a word or a noun that it lacks, several of what is never
        several, a thing beside its like.
    """
    from clipopt.scorers.tower import words

    said, background = words(text), None
    if said[-1:] == ["background"] and len(said) > 4 and said[-4] == "on" and said[-2] in COLOUR_NAMES:
        said, background = said[:-4], said[-2]
    for relation, turned, first, second in _pairs(said):
        one, two = (_phrase(phrase, names) for phrase in ((second, first) if turned else (first, second)))
        if one and two and one[2:] == two[2:] == (1, None) and one[0] != two[0]:
            return Scene(one[0], one[1], 1, None, None, two[0], two[1], relation, background)
    end, place = next(((-len(name), place) for name, place in _PLACE if said[-len(name) :] == name), (None, None))
    single = _phrase(said[:end], names)
    return single and Scene(*single, place, background=background)


def _pairs(said: Sequence[str]) -> Iterator[tuple[str | None, bool, Sequence[str], Sequence[str]]]:
    """Every way to take words as one thing beside, over or and another; or, turned, as right of or under it."""
    for relation, turned, between in (*_BETWEEN, (None, False, ["and"])):
        for at in range(1, len(said) - len(between)):
            if said[at : at + len(between)] == between:
                yield relation, turned, said[:at], said[at + len(between) :]


def _phrase(said: Sequence[str], names: Names | None) -> tuple[int, str | None, int, str | None] | None:
    """Concept, colour, count and size of "a red apple", "two cats", "a small blue bird"."""
    count = _COUNT.get(said[0], 1) if said else 1
    rest = tuple(said[1:] if said and (said[0] in ("a", "an") or count > 1) else said)
    size = _SIZE.get(rest[0]) if rest and rest not in _nouns() else None
    rest = rest[1:] if size else rest
    for colour, noun in ((rest[0] if rest else "", rest[1:]), (None, rest)):
        if (colour is None or colour in COLOUR_NAMES) and noun in _nouns():
            number = _nouns()[noun]
            return None if count > 1 and concepts()[number].plural is None else (number, colour, count, size)
    colour = rest[0] if len(rest) > 1 and rest[0] in COLOUR_NAMES else None
    named = names(rest[1:] if colour else rest) if names and rest else None
    return None if named is None or (count > 1 and concepts()[named].plural is None) else (named, colour, count, size)


@cache
def _nouns() -> dict[tuple[str, ...], int]:
    """The number of every concept, by the words of its singular and of its plural."""
    from clipopt.scorers.tower import words

    plurals = {tuple(words(c.plural)): n for n, c in enumerate(concepts()) if c.plural}
    return plurals | {tuple(words(c.noun)): n for n, c in enumerate(concepts())}
