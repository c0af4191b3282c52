"""Captions: who proposes them, and how one is chosen.

encode = TextEncoder(scorer)
captioner = Captioner(scorer, [Beam(encode, Template("a {colour} {thing}", slots))], Weights(prior=0.5), encode=encode)
captioner([picture], count=3)[0][0].text
"""

from clipopt.captions.candidates import Beam, Candidate, Corpus, Generator, Grammar, Template, TextEncoder
from clipopt.captions.rerank import Caption, Captioner, Weights, encode_views, probabilities

__all__ = [
    "Beam",
    "Candidate",
    "Caption",
    "Captioner",
    "Corpus",
    "Generator",
    "Grammar",
    "Template",
    "TextEncoder",
    "Weights",
    "encode_views",
    "probabilities",
]
