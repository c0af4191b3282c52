"""Images as learnable parameters: raw pixels, a pyramid of resolutions, a Fourier spectrum.

All three are linear maps from their parameters to logits, followed by a sigmoid. So each can be set to any
given image exactly, and each is scaled so that a step of size `lr` in every parameter (what Adam does)
changes the logits by about `lr`: one learning rate suits all of them and all sizes.
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clipopt.types import Images

_START_STD = 0.03
# An init image is pulled this far off black and white, where a sigmoid no longer learns.
_MARGIN = 1 / 255
_COARSEST = 4


class Pixels(nn.Module):
    """An image as raw pixels: no prior at all.

    One item per generator. Without `init` every item starts as noise around mid-grey.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        rng: One generator per item, or a single one for a single item.
        init: Start image, shape (1 or items, 3, any, any), values in [0, 1]; resized where it does not fit.
        std: Standard deviation of the start noise, in units of the image. None: 0.03 without `init`, 0 with it.

    Raises:
        ValueError: If a size is not positive, or if `init` is not an image in [0, 1] for these items.
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        rng: Generator | Sequence[Generator],
        init: Images | None = None,
        std: float | None = None,
    ) -> None:
        super().__init__()
        streams = _streams(rng)
        start = _start(height, width, len(streams), init)
        self.logits = nn.Parameter(start)
        _add_noise([self.logits], self._decode, streams, _noise_std(std, init))

    def forward(self) -> Images:
        """The images, shape (items, 3, height, width), values in [0, 1]."""
        return torch.sigmoid(self._decode())

    def _decode(self) -> Tensor:
        return self.logits


class Pyramid(nn.Module):
    """An image as a sum of resolutions, each twice the one before: large shapes are learned first.

    One item per generator. Without `init` every item starts as soft noise around mid-grey.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        rng: One generator per item, or a single one for a single item.
        init: Start image, shape (1 or items, 3, any, any), values in [0, 1]; resized where it does not fit.
        std: Standard deviation of the start noise, in units of the image. None: 0.03 without `init`, 0 with it.
        decay: Weight of each resolution relative to the next coarser one, above 0; less is smoother.

    Raises:
        ValueError: If a size or `decay` is not positive, or if `init` is not an image in [0, 1] for these items.

    Reference:
        Fort and Whitaker, "Direct Ascent Synthesis" (2025), arXiv:2502.07753; here with octaves in place of
        every resolution.
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        rng: Generator | Sequence[Generator],
        init: Images | None = None,
        std: float | None = None,
        decay: float = 0.7,
    ) -> None:
        super().__init__()
        if decay <= 0:
            raise ValueError(f"decay must be above 0, got {decay}; 0.7 is the usual choice")
        streams = _streams(rng)
        residual = _start(height, width, len(streams), init)
        octaves = max(0, math.ceil(math.log2(min(height, width) / _COARSEST)))
        gains = [decay**level for level in range(octaves + 1)]
        norm = math.hypot(*gains)
        self.gains = [gain / norm for gain in gains]
        levels: list[nn.Parameter] = []
        for level in range(octaves, -1, -1):
            coarse = torch.zeros_like(residual)
            if level:
                size = [math.ceil(side / 2 ** (octaves - level + 1)) for side in (height, width)]
                coarse = F.interpolate(residual, size, mode="bilinear", antialias=True)
            smooth = F.interpolate(coarse, residual.shape[-2:], mode="bilinear")
            levels.insert(0, nn.Parameter((residual - smooth) / self.gains[level]))
            residual = coarse
        self.levels = nn.ParameterList(levels)
        _add_noise(levels, self._decode, streams, _noise_std(std, init))

    def forward(self) -> Images:
        """The images, shape (items, 3, height, width), values in [0, 1]."""
        return torch.sigmoid(self._decode())

    def _decode(self) -> Tensor:
        image: Tensor = self.gains[0] * self.levels[0]
        for gain, level in zip(self.gains[1:], self.levels[1:], strict=True):
            smooth = F.interpolate(image, level.shape[-2:], mode="bilinear")
            image = torch.add(smooth, level, alpha=gain)
        return image


class Fourier(nn.Module):
    """An image as its spectrum, with amplitudes that fall as 1 / frequency^decay like those of photographs.

    One item per generator. Without `init` every item starts as cloudy noise around mid-grey. Colour is held in
    luminance and two opponent axes, which are nearly uncorrelated in natural images.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        rng: One generator per item, or a single one for a single item.
        init: Start image, shape (1 or items, 3, any, any), values in [0, 1]; resized where it does not fit.
        std: Standard deviation of the start noise, in units of the image. None: 0.03 without `init`, 0 with it.
        decay: Exponent of the amplitude's fall, 0 or more; 0 is white, more is smoother.
        chroma: Weight of the two colour axes relative to luminance, above 0; less is greyer.

    Raises:
        ValueError: If a size or `chroma` is not positive, if `decay` is negative, or if `init` is not an image
            in [0, 1] for these items.

    Reference:
        Olah, Mordvintsev, Schubert, "Feature Visualization", Distill (2017), doi:10.23915/distill.00007.
        The colour axes: Ohta, Kanade, Sakai, "Color information for region segmentation" (1980).
    """

    scale: Tensor
    axes: Tensor

    def __init__(
        self,
        height: int,
        width: int,
        *,
        rng: Generator | Sequence[Generator],
        init: Images | None = None,
        std: float | None = None,
        decay: float = 1.0,
        chroma: float = 0.5,
    ) -> None:
        super().__init__()
        if decay < 0:
            raise ValueError(f"decay must be 0 or more, got {decay}; 1.0 is the spectrum of photographs")
        if chroma <= 0:
            raise ValueError(f"chroma must be above 0, got {chroma}; 1.0 weighs colour like luminance")
        streams = _streams(rng)
        start = _start(height, width, len(streams), init)
        self.height, self.width = height, width
        self.register_buffer("scale", _amplitudes(height, width, decay), persistent=False)
        axes = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]])
        gains = torch.tensor([1.0, chroma, chroma])
        axes = axes / axes.norm(dim=1, keepdim=True) * (gains / gains.square().mean().sqrt())[:, None]
        self.register_buffer("axes", axes, persistent=False)
        opponent = (torch.linalg.inv(axes).T @ start.flatten(2)).view_as(start)
        spectrum = torch.fft.rfft2(opponent, norm="ortho") / self.scale
        self.spectrum = nn.Parameter(torch.view_as_real(spectrum).contiguous())
        _add_noise([self.spectrum], self._decode, streams, _noise_std(std, init))

    def forward(self) -> Images:
        """The images, shape (items, 3, height, width), values in [0, 1]."""
        return torch.sigmoid(self._decode())

    def _decode(self) -> Tensor:
        spectrum = torch.view_as_complex(self.spectrum * self.scale[..., None])
        opponent = torch.fft.irfft2(spectrum, s=(self.height, self.width), norm="ortho")
        logits: Tensor = self.axes.T @ opponent.flatten(2)
        return logits.view_as(opponent)


def _amplitudes(height: int, width: int, decay: float) -> Tensor:
    """1 / frequency^decay on the half spectrum, scaled so that unit noise gives an image of unit variance."""
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width))
    scale = frequency.clamp_min(1 / max(height, width)) ** -decay
    # Each coefficient has a real and an imaginary part, hence the 2.
    scale = scale / (2 * scale.square()).mean().sqrt()
    return scale[:, : width // 2 + 1].contiguous()


def _streams(rng: Generator | Sequence[Generator]) -> list[Generator]:
    streams = [rng] if isinstance(rng, Generator) else list(rng)
    if not streams:
        raise ValueError("expected one generator per item, got none; pass rng=generator(seed)")
    return streams


def _noise_std(std: float | None, init: Tensor | None) -> float:
    if std is None:
        return _START_STD if init is None else 0.0
    if std < 0:
        raise ValueError(f"std must be 0 or more, got {std}")
    return std


def _start(height: int, width: int, items: int, init: Tensor | None) -> Tensor:
    """The logits of the start image without its noise, shape (items, 3, height, width)."""
    if height < 1 or width < 1:
        raise ValueError(f"an image needs a positive height and width, got {height} x {width}")
    if init is None:
        return torch.zeros(items, 3, height, width)
    if init.shape[0] not in (1, items):
        raise ValueError(f"init must hold 1 or {items} images for {items} items, got {init.shape[0]}")
    image = init.detach().to("cpu", torch.float32)
    low, high = float(image.min()), float(image.max())
    if not (low >= 0 and high <= 1):
        raise ValueError(f"init must lie in [0, 1], got values from {low:.3g} to {high:.3g}; divide bytes by 255")
    if image.shape[-2:] != (height, width):
        image = F.interpolate(image, (height, width), mode="bicubic", antialias=True)
    return torch.logit(image.clamp(_MARGIN, 1 - _MARGIN)).repeat(items // image.shape[0], 1, 1, 1)


@torch.no_grad()
def _add_noise(
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
