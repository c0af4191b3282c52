"""Open language for the small scorers: unknown words are carried to the nearest ones that they know."""

from collections.abc import Sequence
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.embedded.captions import caption
from clipopt.embedded.concepts import SHAPES, concepts
from clipopt.embedded.parsing import parse
from clipopt.scorers.sentences import Sentences

NEAR = 0.72
"""Cosine with a known noun from which on words are taken for it: a poodle for a dog, a villa for a house."""
_ABOUT = "a photo of a {}"


def carry(text: str, sentences: Sentences) -> str:
    """`text` in the words of the embedded world: its colours, counts and places, and of its things the nearest known.

    Args:
        text: Any sentence.
        sentences: Says what is near.

    Returns:
        A caption; "" where nothing known is near.

    Example:
        >>> from clipopt.scorers.sentences import load_sentences
        >>> carry("two red poodles on a white background", load_sentences())
        'two red dogs on a white background'
    """

    def names(said: Sequence[str]) -> int | None:
        near = _known(sentences) @ sentences([_ABOUT.format(" ".join(said))])[0].cpu()
        best = int(near.argmax())
        return best if near[best] > NEAR else None

    scene = parse(text, names)
    return "" if scene is None else caption(scene)


@cache
def _known(sentences: Sentences) -> Float[Tensor, "n d"]:
    """The rows of all nouns; a shape is no thing that a photograph shows, and near to none."""
    rows = sentences([_ABOUT.format(concept.noun) for concept in concepts()]).cpu().clone()
    shapes = torch.tensor([concept.noun in SHAPES for concept in concepts()])
    rows[shapes] = 0
    return rows
