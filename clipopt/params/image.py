"""Images as learnable parameters: raw pixels, a pyramid of resolutions, a Fourier spectrum.

All three are linear maps from their parameters to logits, followed by a sigmoid. So each can be set to any
given image exactly, and each is scaled so that a step of size `lr` in every parameter (what Adam does)
changes the logits by about `lr`: one learning rate suits all of them and all sizes.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clipopt.params.start import add_noise, noise_std, start_logits
from clipopt.types import Images, streams

# The square root of the covariance of colours over photographs, one column per axis: about luminance, blue-red,
# green-magenta, with their spreads. Published with lucid, the code of Olah et al. (2017).
_PHOTOGRAPHS = ((0.26, 0.09, 0.02), (0.27, 0.0, -0.05), (0.27, -0.09, 0.03))

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
        rngs = streams(rng)
        start = start_logits(height, width, len(rngs), init)
        self.logits = nn.Parameter(start)
        add_noise([self.logits], self._decode, rngs, noise_std(std, init))

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
        rngs = streams(rng)
        residual = start_logits(height, width, len(rngs), init)
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
        add_noise(levels, self._decode, rngs, noise_std(std, init))

    def forward(self) -> Images:
        """The images, shape (items, 3, height, width), values in [0, 1]."""
        return torch.sigmoid(self._decode())

    def open(self, progress: float | int) -> None:
        """Lets only the coarse resolutions learn: the coarsest at 0, one after another, all of them at 1.

        The picture does not change; the others keep what they hold. Closed levels get no gradient (None), so an
        optimizer passes over them and starts each afresh when it opens. A schedule from low to high frequencies
        over the first half of a run: `image.open(min(1, 2 * step / steps))` before each step, also of a resumed run.

        Args:
            progress: 0 to 1.

        Raises:
            ValueError: If `progress` is out of its range.
        """
        if not 0 <= progress <= 1:
            raise ValueError(f"progress must lie in [0, 1], got {progress}; step / steps, for example")
        for number, level in enumerate(self.levels):
            level.requires_grad_(number <= progress * (len(self.levels) - 1))

    def _decode(self) -> Tensor:
        image: Tensor = self.gains[0] * self.levels[0]
        for gain, level in zip(self.gains[1:], self.levels[1:], strict=True):
            smooth = F.interpolate(image, level.shape[-2:], mode="bilinear")
            image = torch.add(smooth, level, alpha=gain)
        return image


_CONTRAST = 0.16
"""Standard deviation of a start of full contrast, in units of the image."""
_TURN = 8
"""Radians of a unit of the phases, with which learning rates that suit the other params suit these."""


class Fourier(nn.Module):
    """An image as its spectrum, with amplitudes that fall as 1 / frequency^decay like those of photographs.

    One item per generator. Without `init` every item starts as cloudy noise around mid-grey. Colour is held in
    luminance and two colour axes, which are nearly uncorrelated in natural images.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        rng: One generator per item, or a single one for a single item.
        init: Start image, shape (1 or items, 3, any, any), values in [0, 1]; resized where it does not fit.
        std: Standard deviation of the start noise, in units of the image. None: 0.03 without `init`, 0 with it.
        decay: Exponent of the amplitude's fall, 0 or more; 0 is white, more is smoother.
        chroma: Weight of the two colour axes, above 0; less is greyer. None: 0.5 for "opponent", 1 for "natural".
        colours: The axes of colour. "opponent": grey, red - blue, green - magenta, of equal length before `chroma`.
            "natural": the axes of the colours of photographs, as long as colours spread along them, which is
            about 3 and 7 times less than along luminance.

    Raises:
        ValueError: If a size or `chroma` is not positive, if `decay` is negative, if `colours` is unknown, or if
            `init` is not an image in [0, 1] for these items.

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
        chroma: float | None = None,
        colours: Literal["opponent", "natural"] = "opponent",
    ) -> None:
        super().__init__()
        if decay < 0:
            raise ValueError(f"decay must be 0 or more, got {decay}; 1.0 is the spectrum of photographs")
        if chroma is None:
            chroma = 1.0 if colours == "natural" else 0.5
        if chroma <= 0:
            raise ValueError(f"chroma must be above 0, got {chroma}; 1.0 weighs colour like luminance")
        rngs = streams(rng)
        start = start_logits(height, width, len(rngs), init)
        self.height, self.width = height, width
        self.register_buffer("scale", _amplitudes(height, width, decay), persistent=False)
        axes = _colour_axes(colours, chroma)
        self.register_buffer("axes", axes, persistent=False)
        opponent = (torch.linalg.inv(axes).T @ start.flatten(2)).view_as(start)
        spectrum = torch.fft.rfft2(opponent, norm="ortho") / self.scale
        self.spectrum = nn.Parameter(torch.view_as_real(spectrum).contiguous())
        add_noise([self.spectrum], self._decode, rngs, noise_std(std, init))

    def forward(self) -> Images:
        """The images, shape (items, 3, height, width), values in [0, 1]."""
        return torch.sigmoid(self._decode())

    def render(self, height: int, width: int) -> Images:
        """The same picture at any size, shape (items, 3, height, width): no new detail, but sharp.

        Its spectrum is continued with zeros, or cut off where fewer pixels cannot hold it.

        Raises:
            ValueError: If a size is not positive.
        """
        if height < 1 or width < 1:
            raise ValueError(f"an image needs a positive height and width, got {height} x {width}")
        return torch.sigmoid(_resample(_resample(self._decode(), height, -2), width, -1))

    def _decode(self) -> Tensor:
        opponent = torch.fft.irfft2(self._spectrum() * self.scale, s=(self.height, self.width), norm="ortho")
        logits: Tensor = self.axes.T @ opponent.flatten(2)
        return logits.view_as(opponent)

    def _spectrum(self) -> Tensor:
        return torch.view_as_complex(self.spectrum)


class Phases(Fourier):
    """An image as the phases of its spectrum, whose amplitudes stay near those of photographs.

    Where things are and what they look like lies in the phases; the amplitudes are what texture and glare change most.
    So pictures have the contrast and the detail of photographs from the first step on, and a scorer spends its gradient
    on form. One item per generator. Without `init` every item starts as clouds of full contrast.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        rng: One generator per item, or a single one for a single item.
        init: Start image, shape (1 or items, 3, any, any), values in [0, 1]; its amplitudes stay near its own.
        std: Contrast without `init`: the standard deviation of the start. None: 0.16 without `init`. With it, the
            standard deviation of the noise that is added, by default 0.
        decay: Exponent of the amplitudes' fall, see `Fourier`.
        chroma: Weight of the two colour axes, see `Fourier`.
        colours: The axes of colour, see `Fourier`.
        freedom: How fast the logarithm of an amplitude is learned, in parts of the speed of its phase; 0 holds it.

    Raises:
        ValueError: As `Fourier` does, or if `freedom` is negative.

    Reference:
        Fel et al., "Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization"
        (2023), arXiv:2306.06805.
    """

    amplitudes: Tensor

    def __init__(
        self,
        height: int,
        width: int,
        *,
        rng: Generator | Sequence[Generator],
        init: Images | None = None,
        std: float | None = None,
        decay: float = 1.3,
        chroma: float | None = None,
        colours: Literal["opponent", "natural"] = "natural",
        freedom: float | int = 0.05,
    ) -> None:
        if freedom < 0:
            raise ValueError(f"freedom must be 0 or more, got {freedom}; 0 holds the amplitudes")
        if std is None and init is None:
            std = _CONTRAST
        super().__init__(height, width, rng=rng, init=init, std=std, decay=decay, chroma=chroma, colours=colours)
        spectrum = torch.view_as_complex(self.spectrum.detach())
        del self.spectrum
        amplitudes = spectrum.abs()
        if init is None:
            amplitudes = amplitudes.square().mean((1, 2, 3), keepdim=True).sqrt().expand_as(amplitudes)
        self.freedom = freedom
        self.register_buffer("amplitudes", amplitudes.contiguous())
        self.phases = nn.Parameter(spectrum.angle() / _TURN)
        self.gains = nn.Parameter(torch.zeros_like(amplitudes)) if freedom else None
        if init is None and std:  # equal amplitudes give other contrast than noise does
            spread = self._decode().detach().flatten(1).std(dim=1, correction=0).clamp_min(1e-12)
            self.amplitudes *= (4 * std / spread).view(-1, 1, 1, 1)

    def _spectrum(self) -> Tensor:
        if not hasattr(self, "phases"):  # the start is being made
            return super()._spectrum()
        amplitudes = self.amplitudes
        if self.gains is not None:
            amplitudes = amplitudes * (_TURN * self.freedom * self.gains).exp()
        return torch.polar(amplitudes, _TURN * self.phases)


def _amplitudes(height: int, width: int, decay: float) -> Tensor:
    """1 / frequency^decay on the half spectrum, scaled so that unit noise gives an image of unit variance."""
    frequency = torch.hypot(torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(width))
    scale = frequency.clamp_min(1 / max(height, width)) ** -decay
    # Each coefficient has a real and an imaginary part, hence the 2.
    scale = scale / (2 * scale.square()).mean().sqrt()
    return scale[:, : width // 2 + 1].contiguous()


def _colour_axes(colours: str, chroma: float) -> Tensor:
    """The logits' three axes, one per row; unit noise along each gives logits of unit variance."""
    gains = torch.tensor([1.0, chroma, chroma])
    if colours == "opponent":
        axes = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]])
        return axes / axes.norm(dim=1, keepdim=True) * (gains / gains.square().mean().sqrt())[:, None]
    if colours != "natural":
        raise ValueError(f'colours must be "opponent" or "natural", got "{colours}"')
    axes = torch.tensor(_PHOTOGRAPHS).T * gains[:, None]
    return axes / axes.norm() * math.sqrt(3)


def _resample(signal: Tensor, size: int, dim: int) -> Tensor:
    """The periodic signal through the samples along `dim`, read at the centres of `size` pixels."""
    held = signal.shape[dim]
    if size == held:
        return signal
    spectrum = torch.fft.rfft(signal, dim=dim, norm="forward").movedim(dim, -1)
    if held % 2 == 0 and size > held:
        # The highest frequency, which stood for both its signs, gets its negative one back.
        spectrum = torch.cat((spectrum[..., :-1], spectrum[..., -1:] / 2), -1)
    spectrum = spectrum[..., : size // 2 + 1]
    # A smaller pixel has its centre nearer to the border.
    turns = torch.arange(spectrum.shape[-1], device=signal.device, dtype=signal.dtype) * (0.5 / size - 0.5 / held)
    spectrum = spectrum * torch.polar(torch.ones_like(turns), 2 * math.pi * turns)
    return torch.fft.irfft(spectrum.movedim(-1, dim), n=size, dim=dim, norm="forward")
