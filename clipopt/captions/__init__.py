"""Captions: who proposes them, and how one is chosen.

encode = TextEncoder(scorer)
captioner = Captioner(scorer, [Beam(encode, Template("a {colour} {thing}", slots))], Weights(prior=0.5), encode=encode)
captioner([picture], count=3)[0][0].text
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipopt.captions.candidates import Beam, Candidate, Corpus, Generator, Grammar, Template, TextEncoder
    from clipopt.captions.classes import Classes, TwoThings
    from clipopt.captions.rerank import Caption, Captioner, encode_views, probabilities
    from clipopt.captions.weights import Weights

__all__ = [
    "Beam",
    "Candidate",
    "Caption",
    "Captioner",
    "Classes",
    "Corpus",
    "Generator",
    "Grammar",
    "Template",
    "TextEncoder",
    "TwoThings",
    "Weights",
    "encode_views",
    "probabilities",
]

_HOMES = {
    "Beam": "candidates", "Candidate": "candidates", "Caption": "rerank", "Captioner": "rerank", "Classes": "classes",
    "Corpus": "candidates", "Generator": "candidates", "Grammar": "candidates", "Template": "candidates",
    "TextEncoder": "candidates", "TwoThings": "classes", "Weights": "weights", "encode_views": "rerank",
    "probabilities": "rerank",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """A public name, read from its module when it is first asked for: a command's help need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'clipopt.captions' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"clipopt.captions.{_HOMES[name]}"), name)
    return value
