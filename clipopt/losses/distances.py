"""Distances between embeddings, un-reduced over the batch; all are minimised.

A distance compares unit rows: `distance(image (b, d), text (n, d), weights) -> (b,)`. Weights of shape (n,) or
(b, n) weigh the texts, and the result is the weighted sum; None weighs all texts alike with sum 1. A negative
weight repels.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

#: CLIP's logit scale before training, and the cap it is trained under (Radford et al. 2021, section 2.5).
CLIP_SCALE_INIT = 1 / 0.07
CLIP_SCALE_MAX = 100.0
#: SigLIP's logit scale and bias before training (Zhai et al. 2023, algorithm 1).
SIGLIP_SCALE_INIT = 10.0
SIGLIP_BIAS_INIT = -10.0
#: CLIPScore is `CLIPSCORE_WEIGHT * max(cosine, 0)` of a caption behind this prefix (Hessel et al. 2021).
CLIPSCORE_WEIGHT = 2.5
CLIPSCORE_PREFIX = "A photo depicts "

# Below this length a difference of embeddings has no direction.
_DIRECTION_EPS = 1e-3

Weights = Float[Tensor, " n"] | Float[Tensor, "b n"] | None


def cosine(image: Float[Tensor, "b d"], text: Float[Tensor, "n d"], weights: Weights = None) -> Float[Tensor, " b"]:
    """1 - cosine, the usual choice: 0 where image and text agree, 2 where they are opposite.

    Example:
        >>> image, text = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.6, 0.8]])
        >>> cosine(image, text, torch.tensor([1.0]))
        tensor([0.4000])
    """
    return _weigh(1 - image @ text.T, weights)


def spherical(image: Float[Tensor, "b d"], text: Float[Tensor, "n d"], weights: Weights = None) -> Float[Tensor, " b"]:
    """Half the squared angle: unlike the cosine's, its gradient grows with the angle all the way to opposite.

    Computed with atan2, so it is exact at small angles and finite at opposite rows, where the published
    arcsine form 2 * arcsin(|u - v| / 2)^2 has an infinite slope.

    Reference:
        Crowson, "CLIP Guided Diffusion" (2021); the stable angle: Kahan, "How futile are mindless assessments of
        roundoff in floating-point computation?" (2006), section 12.
    """
    rows, columns = image[:, None], text[None]
    angle = 2 * torch.atan2(
        torch.linalg.vector_norm(rows - columns, dim=-1), torch.linalg.vector_norm(rows + columns, dim=-1)
    )
    return _weigh(angle.square() / 2, weights)


def softmax(
    image: Float[Tensor, "b d"],
    text: Float[Tensor, "n d"],
    weights: Weights = None,
    *,
    negatives: Float[Tensor, "m d"],
    scale: float = CLIP_SCALE_MAX,
) -> Float[Tensor, " b"]:
    """Minus log probability of each text against the negatives, as CLIP was trained: InfoNCE.

    Args:
        image: Unit rows.
        text: Unit rows, each of which competes with the negatives only.
        weights: Weight of each text.
        negatives: Unit rows of texts that the image should match less.
        scale: The logit scale, exp(t) in CLIP's terms.

    Reference:
        Radford et al., "Learning Transferable Visual Models From Natural Language Supervision" (2021),
        arXiv:2103.00020.
    """
    logits = scale * image @ text.T
    others = torch.logsumexp(scale * image @ negatives.T, dim=1, keepdim=True)
    return _weigh(F.softplus(others - logits), weights)


def sigmoid(
    image: Float[Tensor, "b d"],
    text: Float[Tensor, "n d"],
    weights: Weights = None,
    *,
    scale: float = SIGLIP_SCALE_INIT,
    bias: float = SIGLIP_BIAS_INIT,
) -> Float[Tensor, " b"]:
    """Minus log probability that image and text are a pair, as SigLIP was trained.

    A negative weight makes the text a wrong pair, -log(1 - p), which is bounded below; it does not flip the sign.

    Args:
        image: Unit rows.
        text: Unit rows.
        weights: Weight of each text.
        scale: The logit scale.
        bias: The logit bias.

    Reference:
        Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (2023), arXiv:2303.15343, algorithm 1.
    """
    logits = scale * image @ text.T + bias
    if weights is None:
        return F.softplus(-logits).mean(dim=1)
    return (weights.abs() * F.softplus(-torch.sign(weights) * logits)).sum(dim=1)


def directional(
    image: Float[Tensor, "b d"],
    source_image: Float[Tensor, "#b d"],
    text: Float[Tensor, "n d"],
    source_text: Float[Tensor, "#n d"],
    weights: Weights = None,
) -> Float[Tensor, " b"]:
    """1 - cosine between the change of the image and the change of the text: an edit, not a destination.

    Where the image has not moved yet its change has no direction; the distance is 1 there, with a finite gradient
    towards the text's change.

    Args:
        image: Unit rows of the edited images.
        source_image: Unit rows of the images before the edit.
        text: Unit rows of what the edit should reach.
        source_text: Unit rows of what the images show before.
        weights: Weight of each text.

    Reference:
        Gal et al., "StyleGAN-NADA" (2021), arXiv:2108.00946.
    """
    return _weigh(1 - _direction(image - source_image) @ _direction(text - source_text).T, weights)


def _weigh(distances: Float[Tensor, "b n"], weights: Weights) -> Float[Tensor, " b"]:
    if weights is None:
        return distances.mean(dim=1)
    return (distances * weights).sum(dim=1)


def _direction(difference: Float[Tensor, "b d"]) -> Float[Tensor, "b d"]:
    length = torch.sqrt(difference.square().sum(dim=1, keepdim=True) + _DIRECTION_EPS * _DIRECTION_EPS)
    return difference / length
