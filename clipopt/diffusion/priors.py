"""How far noise is from noise: terms that keep optimized noise where a generator knows it, and a diagnostic."""

import math

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from clipopt.types import PerItem

Noises = Float[Tensor, "b ..."]


def norm_prior(noise: Noises) -> PerItem:
    """Minus the log-density of the norm of each item's noise, up to a constant; computed in float32.

    The norm of d normal numbers follows a chi distribution; the term is lowest at sqrt(d - 1). It says nothing of
    whether the numbers are independent, see `whiteness`.

    Args:
        noise: Shape (items, ...); the more than one number of an item together.

    Raises:
        ValueError: If an item has fewer than two numbers.

    Reference:
        Samuel et al., "Norm-guided latent space exploration" (NeurIPS 2023), arXiv:2306.08687; as in Eyring et al.,
        "ReNO" (2024), arXiv:2406.04312.
    """
    flat = noise.float().flatten(1)
    if flat.shape[1] < 2:
        raise ValueError(f"expected at least two numbers in an item's noise, got {flat.shape[1]}")
    square = flat.square().sum(1)
    return square / 2 - (flat.shape[1] - 1) * square.clamp_min(1e-12).log() / 2


def whiteness(noise: Noises, *, rng: Generator, block: int = 4, permutations: int = 100) -> PerItem:
    """How improbable it is that each item's noise is white: 0 where nothing speaks against it, more is worse.

    The numbers are cut into vectors of length `block`, in their order and in random ones. Of normal noise the mean
    of the vectors is near 0 and their covariance near the identity; two inequalities bound how likely larger
    deviations are, and minus the logarithms of these bounds are added, the random orders averaged. As a loss it
    keeps optimized noise in the domain of a generator, as a number it tells when it has left: some units are
    ordinary, tens are not noise.

    Args:
        noise: Shape (items, ...).
        rng: Draws the orders, which all items share.
        block: Length of a vector, at least 1; published: 4.
        permutations: Number of random orders, at least 1; published: 100.

    Raises:
        ValueError: If `block` or `permutations` is out of range, or an item has fewer than 2 vectors.

    Reference:
        Tang et al., "Inference-time alignment of diffusion models with direct noise optimization" (2024),
        arXiv:2405.18881, section 4: bounds from Wainwright, "High-dimensional statistics", theorem 6.1, example 2.28.
    """
    flat = noise.float().flatten(1)
    count = flat.shape[1] // max(block, 1)
    if block < 1 or permutations < 1 or count < 2:
        raise ValueError(
            f"expected block and permutations of at least 1 and two blocks of noise, got block {block}, permutations "
            f"{permutations} and {flat.shape[1]} numbers"
        )
    flat = flat[:, : count * block]
    in_order = _improbability(flat.view(len(flat), 1, count, block))[:, 0]
    orders = torch.stack([torch.randperm(count * block, generator=rng) for _ in range(permutations)]).to(flat.device)
    mixed = flat[:, orders].view(len(flat), permutations, count, block)
    return in_order + _improbability(mixed).mean(1)


def _improbability(vectors: Float[Tensor, "b p m k"]) -> Float[Tensor, "b p"]:
    """Minus the logarithms of the two bounds, for m vectors of length k."""
    count, block = vectors.shape[-2:]
    mean = vectors.mean(-2).square().sum(-1)
    covariance = vectors.mT @ vectors / count
    off = covariance - torch.eye(block, device=vectors.device)
    largest = torch.linalg.eigvalsh(off).abs().amax(-1)
    excess = ((1 + largest).sqrt() - 1 - math.sqrt(block / count)).clamp_min(0)
    return count * mean / (2 * block) + count * excess.square() / 2
