"""Words that a scorer of a small vocabulary does not know."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clipopt.scorers import Scorer

REAL_SCORER = "openai/clip-vit-base-patch32"
"""What is recommended where the embedded scorer lacks words."""


def check_words(texts: Iterable[str], scorer: "Scorer", judge: "Scorer | None") -> "Scorer | None":
    """Warn about words that the scorer lacks; returns the judge, or None where it lacks some itself."""
    texts = list(texts)
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


def unknown_words(scorer: "Scorer", texts: Sequence[str]) -> list[str]:
    """The words that a scorer of a small vocabulary lacks, each once; a scorer that reads all words lacks none."""
    lacks = getattr(scorer, "unknown_words", None)
    return [] if lacks is None else list(dict.fromkeys(word for text in texts for word in lacks(text)))


def _quoted(words: Sequence[str], most: int = 5) -> str:
    more = f" and {len(words) - most} more" if len(words) > most else ""
    return ", ".join(f'"{word}"' for word in words[:most]) + more
