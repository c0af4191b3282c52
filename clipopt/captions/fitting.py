"""Whether a picture is like anything that its scorer knows, told by how well its own best sentence fits it."""

import torch

from clipopt.captions.rerank import Caption
from clipopt.scorers import Scorer
from clipopt.scorers.classifier import NaturalClassifier
from clipopt.scorers.tower import TowerScorer

OWN_WORLD = 3.0
"""Percentile, among pictures of the embedded world and their captions, below which a match is of no such picture."""
NAMED = 0.195
"""Match of the natural scorer's best caption below which it has no name for what is shown."""


def is_unlike(scorer: Scorer, best: Caption) -> bool:
    """Whether a picture is unlike everything that `scorer` knows, by its best caption.

    Told by sentences of the scorer's own alone, for other texts may not fit a picture that it knows well: of the
    embedded scorers by the percentile of the match, of the natural ones by the match itself. Of all others False.
    Measured in docs/choosing.md.
    """
    match = best.parts["match"]
    if isinstance(scorer, TowerScorer) and best.source in ("grammar", "describer"):
        return float(scorer.percentile(torch.tensor([match]))[0]) < OWN_WORLD
    return isinstance(scorer, NaturalClassifier) and best.source == "classes" and match < NAMED
