"""Distances between embeddings, priors on pictures and penalties, un-reduced over the batch; all are minimised.

A distance compares unit rows: `distance(image (b, d), text (n, d), weights) -> (b,)`. Weights of shape (n,) or
(b, n) weigh the texts, and the result is the weighted sum; None weighs all texts alike with sum 1. A negative
weight repels. A prior looks at pictures alone: `prior(images) -> (b,)`.
"""

from clipopt.losses.aesthetic import Aesthetic, load_aesthetic
from clipopt.losses.distances import (
    CLIP_SCALE_INIT,
    CLIP_SCALE_MAX,
    CLIPSCORE_PREFIX,
    CLIPSCORE_WEIGHT,
    SIGLIP_BIAS_INIT,
    SIGLIP_SCALE_INIT,
    cosine,
    directional,
    sigmoid,
    softmax,
    spherical,
)
from clipopt.losses.priors import (
    border,
    edge_strength,
    edges,
    l2,
    palette,
    perceptual,
    range_penalty,
    saturation,
    symmetry,
    total_variation,
)

__all__ = [
    "CLIPSCORE_PREFIX",
    "CLIPSCORE_WEIGHT",
    "CLIP_SCALE_INIT",
    "CLIP_SCALE_MAX",
    "SIGLIP_BIAS_INIT",
    "SIGLIP_SCALE_INIT",
    "Aesthetic",
    "border",
    "cosine",
    "directional",
    "edge_strength",
    "edges",
    "l2",
    "load_aesthetic",
    "palette",
    "perceptual",
    "range_penalty",
    "saturation",
    "sigmoid",
    "softmax",
    "spherical",
    "symmetry",
    "total_variation",
]
