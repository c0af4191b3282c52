"""How a parameter begins: the streams of its items, the start image, noise of a given size, a fit to an image."""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clipopt.types import check_images

MARGIN = 1 / 255
"""How far a start is pulled off black and white, where a sigmoid no longer learns."""
_START_STD = 0.03


def noise_std(std: float | None, init: Tensor | None) -> float:
    """The standard deviation of the start noise, in units of the image: little without `init`, none with it.

    Raises:
        ValueError: If `std` is negative.
    """
    if std is None:
        return _START_STD if init is None else 0.0
    if std < 0:
        raise ValueError(f"std must be 0 or more, got {std}")
    return std


def start_logits(height: int, width: int, items: int, init: Tensor | None) -> Tensor:
    """The logits of the start image without its noise, shape (items, 3, height, width): mid-grey or `init`.

    Raises:
        ValueError: If a size is not positive, or if `init` is not an image in [0, 1] for these items.
    """
    if height < 1 or width < 1:
        raise ValueError(f"an image needs a positive height and width, got {height} x {width}")
    if init is None:
        return torch.zeros(items, 3, height, width)
    image = check_images(init, "init", values=True).detach().cpu()
    if image.shape[0] not in (1, items):
        raise ValueError(f"init must hold 1 or {items} images for {items} items, got {image.shape[0]}")
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"init must lie in [0, 1], got values from {low:.3g} to {high:.3g}; divide bytes by 255")
    if image.shape[-2:] != (height, width):
        image = F.interpolate(image, (height, width), mode="bicubic", antialias=True)
    return torch.logit(image.clamp(MARGIN, 1 - MARGIN)).repeat(items // image.shape[0], 1, 1, 1)


@torch.no_grad()
def add_noise(
    parameters: Sequence[nn.Parameter], decode: Callable[[], Tensor], streams: Sequence[Generator], std: float
) -> None:
    """Adds noise to linear parameters so that each item's image varies by `std` around its start."""
    if std == 0:
        return
    start = [parameter.clone() for parameter in parameters]
    for item, stream in enumerate(streams):
        for parameter in parameters:
            parameter[item] = torch.randn(parameter.shape[1:], generator=stream)
    # The slope of a sigmoid at mid-grey is 1/4. Each item by itself: nothing may couple the batch.
    spread = 4 * std / decode().flatten(1).std(dim=1, correction=0).clamp_min(1e-12)
    for parameter, before in zip(parameters, start, strict=True):
        parameter.mul_(spread.view(-1, *[1] * (parameter.ndim - 1))).add_(before)


@torch.enable_grad()
def fit(parameters: Iterable[nn.Parameter], error: Callable[[int], Tensor], *, steps: int, lr: float = 0.1) -> None:
    """Minimises `error(step)`, of which the items' own parameters each have their own share, by Adam."""
    optimizer = torch.optim.Adam(parameters, lr=lr)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * (0.5 + 0.5 * math.cos(math.pi * step / steps))
        optimizer.zero_grad()
        error(step).backward()
        optimizer.step()
    optimizer.zero_grad()
