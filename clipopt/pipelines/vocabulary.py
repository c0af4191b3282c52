"""Words that a scorer of a small vocabulary does not know."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from clipopt.pipelines.kinds import has_natural

if TYPE_CHECKING:
    from clipopt.scorers import Scorer

REAL_SCORER = "openai/clip-vit-base-patch32"
"""What is recommended where the embedded scorer lacks words."""


def check_words(texts: Iterable[str], scorer: "Scorer", judge: "Scorer | None") -> "Scorer | None":
    """Warn about words that the scorer lacks; returns the judge, or None where it lacks some itself."""
    texts = list(texts)
    say_unread(texts, [scorer])
    if lacked := unknown_words(scorer, texts):
        sys.stderr.write(
            f"clipopt: warning: the scorer {scorer.name} does not know {_quoted(lacked)}: expect nothing of it. "
            f"For any words, use a real model, for example --scorer {REAL_SCORER}\n"
        )
    if judge is None or not (unjudged := unknown_words(judge, texts)):
        return judge
    if unjudged != lacked:
        sys.stderr.write(
            f"clipopt: note: the judge {judge.name} does not know {_quoted(unjudged)}: it does not judge this run\n"
        )
    return None


def understand(
    texts: Iterable[str], scorers: "Sequence[Scorer]", judge: "Scorer | None"
) -> tuple[dict[str, str], "Scorer | None"]:
    """What those of a small vocabulary are told in place of texts with words unknown to them, and the judge.

    Says on stderr what they are told, and what the first scorer that abstains takes the texts for.

    Returns:
        For each text with unknown words the words that all such scorers know, "" where there are none; and the judge.
        Without the packages of natural sight no text is reworded, and the judge is None where it lacks words.
    """
    from clipopt.scorers import Abstains, KnowsWords

    texts = list(dict.fromkeys(texts))
    say_unread(texts, scorers)
    everyone: list[Scorer] = [*scorers, *([] if judge is None else [judge])]
    small = [eye for eye in everyone if isinstance(eye, KnowsWords)]
    lacking = [text for text in texts if any(unknown_words(eye, [text]) for eye in small)]
    if lacking and not has_natural():
        for scorer in scorers[1:]:
            check_words(texts, scorer, None)
        return {}, check_words(texts, scorers[0], judge)
    said: dict[str, str] = {}
    if lacking:
        from clipopt.embedded.language import carry
        from clipopt.scorers.sentences import load_sentences

        carried = {text: carry(text, load_sentences()) for text in lacking}
        # Another vocabulary than the embedded one may lack what is near.
        said = {t: "" if any(unknown_words(eye, [near]) for eye in small) else near for t, near in carried.items()}
        for text, words in said.items():
            told = f'reads {_short(text)} as "{words}"' if words else f"knows nothing near {_short(text)}"
            sys.stderr.write(f"clipopt: {small[0].name} {told}\n")
    for natural in [eye for eye in scorers if isinstance(eye, Abstains)][:1]:
        for text in texts:
            told = f"knows nothing near {_short(text)}" if natural.abstains(text) else _taken(natural, text)
            sys.stderr.write(f"clipopt: {natural.name} {told}\n")
    if not any(said.get(text, text) for text in texts) and len(small) == len(scorers) + (judge is not None):
        check_words(texts, scorers[0], None)
    return said, judge


def say_unread(texts: Iterable[str], scorers: "Sequence[Scorer]") -> None:
    """Say on stderr which characters none of the scorers reads, unless each of them lacks whole words, too.

    Those of a small vocabulary count such characters among their unknown words, which are said anyway.
    """
    from clipopt.scorers import KnowsWords, ReadsCharacters
    from clipopt.scorers.characters import runs

    if all(isinstance(scorer, KnowsWords) for scorer in scorers):
        return
    lost: list[str] = []
    for text in dict.fromkeys(texts):
        unread = [set(scorer.unread(text)) if isinstance(scorer, ReadsCharacters) else set() for scorer in scorers]
        lost += runs(text, set.intersection(*unread))
    if lost := list(dict.fromkeys(lost)):
        who = f"the scorer {scorers[0].name} cannot read" if len(scorers) == 1 else "no scorer of this run can read"
        sys.stderr.write(f"clipopt: warning: {who} {_quoted(lost)}: expect nothing of it\n")


def _taken(eye: "Scorer", text: str) -> str:
    """What a scorer takes a text for, as far as it says so."""
    reading = getattr(eye, "reading", None)
    return f"reads {_short(text)}" + (f" as {reading(text)}" if reading else "")


def _short(text: str) -> str:
    shown = ascii(text) if not text.isprintable() else text
    return f'"{shown if len(shown) <= 60 else shown[:57] + "..."}"'


def unknown_words(scorer: "Scorer", texts: Sequence[str]) -> list[str]:
    """The words that a scorer of a small vocabulary lacks, each once; a scorer that reads all words lacks none."""
    from clipopt.scorers import KnowsWords

    lacks = scorer.unknown_words if isinstance(scorer, KnowsWords) else None
    return [] if lacks is None else list(dict.fromkeys(word for text in texts for word in lacks(text)))


def _quoted(words: Sequence[str], most: int = 5) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(_short(word) for word in words[:most]) + more
