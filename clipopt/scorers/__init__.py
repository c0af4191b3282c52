"""Scorers: frozen models that say how well a picture and a text go together.

`load_scorer` makes one from a name, a file or a model's id; `target` encodes what a run should match. Every one
follows `Scorer`: pictures of any size in [0, 1] in, unit rows in float32 out, differentiable in the pictures.
"""

from clipopt.scorers.load import load_scorer
from clipopt.scorers.protocol import (
    Abstains,
    KnowsPercentiles,
    KnowsWords,
    Perceives,
    ReadsCharacters,
    Reentrant,
    Scorer,
    SeesFilms,
    at_a_time,
)
from clipopt.scorers.target import Target, target, text_off

__all__ = [
    "Abstains", "KnowsPercentiles", "KnowsWords", "Perceives", "ReadsCharacters", "Reentrant", "Scorer", "SeesFilms",
    "Target", "at_a_time", "load_scorer", "target", "text_off",
]  # fmt: skip
