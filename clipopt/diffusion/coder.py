"""Latents to pictures and back, for every coder of diffusers that has `encode` and `decode`."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.types import Images


class Coder:
    """A frozen AutoencoderKL, VQModel or other coder as two plain functions: `decode` is differentiable.

    Latents are as a denoiser sees them: centred and scaled as the coder's settings say. Those of a VQModel are the
    features before its quantizer; `decode` looks up the nearest codes and passes the gradient straight through.

    Args:
        coder: The model of diffusers.

    Reference:
        Straight-through: van den Oord et al., "Neural discrete representation learning" (2017), arXiv:1711.00937.
    """

    def __init__(self, coder: Any) -> None:
        self.model = coder
        config = coder.config
        self.channels: int = config.get("latent_channels") or config.get("z_channels") or config["in_channels"]
        self.factor: int = getattr(coder, "spatial_compression_ratio", None) or _factor(config)
        scaling = _number(config, "scaling_factor")
        # A VQModel has a scaling factor among its settings, of which no pipeline makes use.
        self.quantized = hasattr(coder, "quantize")
        self._scale = scaling if scaling and not self.quantized else 1.0
        self._shift = _number(config, "shift_factor") or 0.0
        self._mean, self._std = (_row(config, name, self.channels) for name in ("latents_mean", "latents_std"))

    @property
    def dtype(self) -> torch.dtype:
        """What the coder computes in."""
        return next(self.model.parameters()).dtype

    def decode(self, latents: Float[Tensor, "b c h w"]) -> Images:
        """Pictures (b, 3, height, width) in [0, 1] of latents, float32; differentiable."""
        z = latents
        if self._mean is not None and self._std is not None:
            z = z * self._std.to(z) / self._scale + self._mean.to(z)
        else:
            z = z / self._scale + self._shift
        sample = self.model.decode(z.to(self.dtype), return_dict=False)[0]
        return (sample.float() / 2 + 0.5).clamp(0, 1)

    @torch.no_grad()
    def encode(self, images: Images) -> Float[Tensor, "b c h w"]:
        """The latents, float32, of pictures whose sides the coder can halve: of a distribution its mean."""
        made = self.model.encode((2 * images - 1).to(self.dtype))
        found = made.latent_dist.mode() if hasattr(made, "latent_dist") else getattr(made, "latents", None)
        if found is None:
            found = made.latent
        z: Tensor = found.float()
        if self._mean is not None and self._std is not None:
            return (z - self._mean.to(z)) * self._scale / self._std.to(z)
        return (z - self._shift) * self._scale

    def range(self) -> tuple[Tensor, Tensor] | None:
        """The lowest and highest values of the codes of a quantizer, (1, c, 1, 1) each; None where there is none."""
        if not self.quantized:
            return None
        codes: Tensor = self.model.quantize.embedding.weight.detach().float()
        return codes.amin(0).view(1, -1, 1, 1), codes.amax(0).view(1, -1, 1, 1)


def _number(config: Any, name: str) -> float | None:
    """A number among the settings of a coder."""
    value = config.get(name)
    if value is not None and not (isinstance(value, int | float) and math.isfinite(value)):
        raise ValueError(f"expected a number as {name} of the coder, got {value!r}")
    return None if value is None else float(value)


def _row(config: Any, name: str, channels: int) -> Float[Tensor, "1 c 1 1"] | None:
    """A number for each channel among the settings of a coder."""
    values = config.get(name)
    if values is None:
        return None
    try:
        row = torch.tensor(values, dtype=torch.float32).view(1, channels, 1, 1)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"expected {channels} numbers as {name} of the coder, got {str(values)[:80]}") from error
    return row


def _factor(config: Any) -> int:
    """How many pixels a side become one latent."""
    channels = config.get("block_out_channels") or config.get("encoder_block_out_channels") or (1,) * 4
    return 2 ** (len(channels) - 1)
