"""Images as sine networks: a small network maps every point of the canvas to its colour."""

import math
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Generator, Tensor, nn

from clipopt.geometry.checkpointing import recompute
from clipopt.params.start import add_noise, fit, noise_std, start_logits
from clipopt.types import Images, generator, streams

# Points that are computed at once: what bounds the memory, forward and backward.
_CHUNK = 8192
# Points of all items whose inside is kept for the way back: 130 MB at 64 sines and 4 layers.
_KEPT = 65536
# How far a step of 1 moves a weight inside the network: about 0.1 published steps at a learning rate of 0.1.
_GAIN = 0.03
_FIT_STEPS, _FIT_POINTS = 400, 4096


class Siren(nn.Module):
    """An image as a function of the point: a network with sines, which can be drawn at any size.

    One item per generator, each with weights of its own. Without `init` every item starts as soft waves around
    mid-grey. Memory does not grow with depth: parts of a large picture are computed again on
    the way back.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        rng: One generator per item, or a single one for a single item.
        init: Start image, shape (1 or items, 3, any, any), values in [0, 1]; resized where it does not fit. The
            network is fitted to it, which takes a second or two.
        std: Standard deviation of the start noise, in units of the image. None: 0.03 without `init`, 0 with it.
        hidden: Sines in each layer.
        depth: Layers of sines.
        frequency: Of the first layer, in radians over half the longer side at most; more is finer from the start.

    Raises:
        ValueError: If a size, `hidden`, `depth` or `frequency` is not positive, or if `init` is not an image in
            [0, 1] for these items.

    Reference:
        Sitzmann et al., "Implicit Neural Representations with Periodic Activation Functions" (2020),
        arXiv:2006.09661; its factor of 30 in the sines is part of the weights here.
    """

    def __init__(
        self,
        height: int,
        width: int,
        *,
        rng: Generator | Sequence[Generator],
        init: Images | None = None,
        std: float | None = None,
        hidden: int = 64,
        depth: int = 4,
        frequency: float | int = 15.0,
    ) -> None:
        super().__init__()
        if hidden < 1 or depth < 1:
            raise ValueError(f"a network needs at least 1 layer of 1 sine, got {depth} of {hidden}")
        if frequency <= 0:
            raise ValueError(f"frequency must be above 0, got {frequency}; 15 is the usual choice")
        rngs = streams(rng)
        start = start_logits(height, width, len(rngs), init)
        self.height, self.width = height, width
        inputs = [2] + [hidden] * (depth - 1)
        bounds = [frequency] + [math.sqrt(6 / hidden)] * (depth - 1)
        weights, biases = [], []
        for count, bound in zip(inputs, bounds, strict=True):
            weights.append(torch.stack([_uniform((hidden, count), bound, stream) for stream in rngs]))
            biases.append(torch.stack([_uniform((hidden, 1), math.pi, stream) for stream in rngs]))
        self.weights = nn.ParameterList([weight / _GAIN for weight in weights])
        self.biases = nn.ParameterList([bias / _GAIN for bias in biases])
        self.colour = nn.Parameter(torch.zeros(len(rngs), 3, hidden))
        self.base = nn.Parameter(torch.zeros(len(rngs), 3, 1))
        if init is not None:
            self._fit(start.sigmoid())
        add_noise([self.colour], self._decode, rngs, noise_std(std, init))

    def forward(self) -> Images:
        """The images, shape (items, 3, height, width), values in [0, 1]."""
        return torch.sigmoid(self._decode())

    def render(self, height: int, width: int) -> Images:
        """The same picture at any size, shape (items, 3, height, width), values in [0, 1].

        Raises:
            ValueError: If a size is not positive.
        """
        if height < 1 or width < 1:
            raise ValueError(f"an image needs a positive height and width, got {height} x {width}")
        return torch.sigmoid(self._draw(height, width))

    def _decode(self) -> Tensor:
        return self._draw(self.height, self.width)

    def _draw(self, height: int, width: int) -> Tensor:
        # Computing again takes a quarter of the time; a small picture's inside can as well be kept.
        keep = len(self.base) * height * width <= _KEPT
        run = _colours if keep else partial(recompute, _colours)
        parts = [run(some, *self._network()) for some in self._points(height, width).split(_CHUNK, 1)]
        return torch.cat(parts, 2).unflatten(2, (height, width))

    def _network(self) -> list[Tensor]:
        return [*self.weights, self.colour, *self.biases, self.base]

    def _points(self, height: int, width: int) -> Tensor:
        """The centres of the pixels, shape (2, points); the longer side of this picture is 2 long."""
        longest = max(self.height, self.width)
        y, x = (
            ((torch.arange(count).to(self.base) + 0.5) / count * 2 - 1) * side / longest
            for count, side in ((height, self.height), (width, self.width))
        )
        return torch.stack((x.repeat(height), y.repeat_interleave(width)))

    def _fit(self, image: Tensor) -> None:
        points, colours = self._points(self.height, self.width), image.flatten(2)
        picks = self._picks(points.shape[1])

        def error(step: int) -> Tensor:
            some = next(picks)
            return (
                (torch.sigmoid(_colours(points[:, some], *self._network())) - colours[..., some])
                .square()
                .mean((1, 2))
                .sum()
            )

        fit(self.parameters(), error, steps=_FIT_STEPS)

    def _picks(self, count: int) -> Iterator[Tensor]:
        """Points of one step after another: all where they are few, a random share of them otherwise."""
        rng = generator(count)
        while True:
            yield torch.arange(count) if count <= _FIT_POINTS else torch.randint(count, (_FIT_POINTS,), generator=rng)


def _colours(points: Tensor, *network: Tensor) -> Tensor:
    """The logits at points, shape (2, n) -> (items, 3, n); the network is its weights, then its biases."""
    weights, biases = network[: len(network) // 2], network[len(network) // 2 :]
    values = points.expand(len(weights[0]), -1, -1)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        values = torch.sin(torch.baddbmm(_GAIN * bias, _GAIN * weight, values))
    # Sines have a mean square of 1/2.
    return torch.baddbmm(biases[-1], weights[-1] * math.sqrt(2 / values.shape[1]), values)


def _uniform(shape: tuple[int, ...], bound: float, rng: Generator) -> Tensor:
    return bound * (2 * torch.rand(shape, generator=rng) - 1)
