"""What is done to training pictures: shifts and colours, hybrids, steps in the L2 ball."""

import math

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clipopt.types import Images


def unit(x: Images) -> Images:
    """Each picture's values divided by their L2 norm."""
    return x / _norm(x)


def project(x: Images, radius: float) -> Images:
    """Each picture's values pulled back into the L2 ball."""
    return x * (radius / _norm(x)).clamp(max=1)


def _norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)[:, None, None, None] + 1e-12


def jitter(images: Images, rng: Generator) -> Images:
    """Shift by up to 5 pixels and change contrast, brightness and colour a little."""
    side, count = images.shape[-1], len(images)
    dy, dx = torch.randint(0, 11, (2,), generator=rng).tolist()
    images = F.pad(images, (5, 5, 5, 5), mode="replicate")[..., dy : dy + side, dx : dx + side]

    def normal(channels: int, std: float) -> Tensor:
        return std * torch.randn(count, channels, 1, 1, generator=rng).to(images)

    return ((images - 0.5) * (1 + normal(1, 0.15)) + 0.5 + normal(1, 0.05) + normal(3, 0.03)).clamp(0, 1)


def hybrids(images: Images, rng: Generator) -> Images:
    """Each picture's edges over the soft colours of another, or over one colour.

    Captions must prefer the pictures themselves. Otherwise a tower may read the colour of a thing at its rim alone,
    and then its gradient paints no more than the rim.

    Reference:
        Oliva, Torralba, Schyns, "Hybrid images" (SIGGRAPH 2006); there to be read twice, here not at all.
    """
    count = len(images)
    if not count:
        return images
    sigma = float(torch.rand((), generator=rng)) * 2.5 + 1.5
    reach = math.ceil(2 * sigma)
    taps = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2)).to(images)
    kernel = (taps / taps.sum()).expand(3, 1, -1)
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    soft = F.conv2d(F.conv2d(padded, kernel[..., None], groups=3), kernel[..., None, :], groups=3)
    plain = torch.rand(count, 3, 1, 1, generator=rng).to(images)
    one = (torch.rand(count, 1, 1, 1, generator=rng) < 0.5).to(images.device)
    return (images - soft + torch.where(one, plain, soft.roll(1, 0))).clamp(0, 1)
