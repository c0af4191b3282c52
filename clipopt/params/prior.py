"""Images as convolutional networks of a fixed noise: the network's own liking for pictures is the prior."""

import math
from collections.abc import Sequence

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clipopt.params.start import add_noise, fit, noise_std, start_logits
from clipopt.types import Images, streams

_COARSEST = 4
_NOISE = 4
# How far a step of 1 moves a weight, in units of its start.
_GAIN = 0.2
_EPSILON = 1e-5
_FIT_STEPS = 200


class DeepPrior(nn.Module):
    """An image as what a small convolutional network makes of noise that never changes; the network is learned.

    One item per generator, each with a network of its own. Without `init` every item starts as soft noise around
    mid-grey. The noise enters at every resolution, each twice the one before, as an hourglass network would have
    made it of noise at the finest.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        rng: One generator per item, or a single one for a single item.
        init: Start image, shape (1 or items, 3, any, any), values in [0, 1]; resized where it does not fit. The
            network is fitted to it, which takes as long as 200 steps.
        std: Standard deviation of the start noise, in units of the image. None: 0.03 without `init`, 0 with it.
        channels: Channels of the network at every resolution.

    Raises:
        ValueError: If a size or `channels` is not positive, or if `init` is not an image in [0, 1] for these items.

    Reference:
        Ulyanov, Vedaldi, Lempitsky, "Deep Image Prior" (2018), arXiv:1711.10925; a decoder alone: Heckel, Hand,
        "Deep Decoder" (2019), arXiv:1810.03982.
    """

    noise0: Tensor

    def __init__(
        self,
        height: int,
        width: int,
        *,
        rng: Generator | Sequence[Generator],
        init: Images | None = None,
        std: float | None = None,
        channels: int = 16,
    ) -> None:
        super().__init__()
        if channels < 1:
            raise ValueError(f"channels must be at least 1, got {channels}")
        rngs = streams(rng)
        start = start_logits(height, width, len(rngs), init)
        octaves = max(0, math.ceil(math.log2(min(height, width) / _COARSEST)))
        weights, biases = [], []
        for level in range(octaves + 1):
            size = [math.ceil(side / 2 ** (octaves - level)) for side in (height, width)]
            self.register_buffer(f"noise{level}", _normal(rngs, _NOISE, *size))
            inputs = _NOISE + (channels if level else 0)
            weights.append(_normal(rngs, channels, inputs, 3, 3))
            biases.append(torch.zeros(len(rngs), channels))
        self.weights = nn.ParameterList([weight / _GAIN for weight in weights])
        self.biases = nn.ParameterList([bias / _GAIN for bias in biases])
        self.colour = nn.Parameter(torch.zeros(len(rngs), 3, channels))
        self.base = nn.Parameter(torch.zeros(len(rngs), 3, 1))
        if init is not None:
            image = start.sigmoid()
            fit(self.parameters(), lambda _: (self() - image).square().mean((1, 2, 3)).sum(), steps=_FIT_STEPS)
        add_noise([self.colour], self._decode, rngs, noise_std(std, init))

    def forward(self) -> Images:
        """The images, shape (items, 3, height, width), values in [0, 1]."""
        return torch.sigmoid(self._decode())

    def _decode(self) -> Tensor:
        items = len(self.base)
        values = self.noise0[:, :0]
        for level, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            noise = self.get_buffer(f"noise{level}")
            if level:
                values = F.interpolate(values, noise.shape[-2:], mode="bilinear")
            # One group per item: no item sees another's channels.
            kernel = (_GAIN / math.sqrt(weight[0, 0].numel()) * weight).flatten(0, 1)
            padded = F.pad(torch.cat((values, noise), 1).flatten(0, 1)[None], (1, 1, 1, 1), mode="replicate")
            values = F.conv2d(padded, kernel, groups=items).unflatten(1, (items, -1))[0]
            variance, mean = torch.var_mean(values, (2, 3), correction=0, keepdim=True)
            values = F.silu((values - mean) * torch.rsqrt(variance + _EPSILON) + _GAIN * bias[..., None, None])
        logits = torch.baddbmm(self.base, self.colour * math.sqrt(2 / self.colour.shape[2]), values.flatten(2))
        return logits.unflatten(2, values.shape[2:])


def _normal(rngs: Sequence[Generator], *shape: int) -> Tensor:
    return torch.stack([torch.randn(shape, generator=stream) for stream in rngs])
