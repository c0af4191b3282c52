"""Vector drawings as learnable parameters: Bezier strokes with round caps, or closed and filled Bezier shapes."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clipopt.geometry.strokes import draw
from clipopt.params.start import MARGIN, add_noise, fit, noise_std, start_logits
from clipopt.types import Images, streams

# What a step of 1 moves: a point, in shorter sides of the canvas; the logarithm of a width.
_POINT_GAIN, _WIDTH_GAIN = 0.05, 0.5
_OPACITY = 0.8
_FIT_STEPS, _FIT_SIDE = 60, 64


class Strokes(nn.Module):
    """A drawing of Bezier curves on a plain ground, each with its colour and opacity, later ones on top.

    One item per generator. Without `init` every item starts with curves strewn over the canvas, around mid-grey.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        rng: One generator per item, or a single one for a single item.
        init: Start image, shape (1 or items, 3, any, any), values in [0, 1]; resized where it does not fit. Curves
            are put where it has edges, in its colours, and then fitted to it, which takes seconds.
        std: Standard deviation of the start noise, in units of the image: how far the colours differ. None: 0.03
            without `init`, 0 with it.
        kind: "strokes" are open lines with round caps and a width, "shapes" are closed and filled (even-odd rule).
        count: Number of curves.
        segments: Cubic pieces of a curve. None: 2 for strokes, 4 for shapes, which start as circles.
        background: Red, green and blue of the ground, in [0, 1]. None: learned.

    Raises:
        ValueError: If a size, `count` or `segments` is not positive, if shapes have less than 2 segments, if `kind`
            is unknown, if `background` is no colour, or if `init` is not an image in [0, 1] for these items.

    Reference:
        Frans, Soros, Witkowski, "CLIPDraw" (2021), arXiv:2106.14843. Edges that choose where strokes begin:
        Vinker et al., "CLIPasso" (2022), arXiv:2202.05822.
    """

    paper: Tensor

    def __init__(
        self,
        height: int,
        width: int,
        *,
        rng: Generator | Sequence[Generator],
        init: Images | None = None,
        std: float | None = None,
        kind: Literal["strokes", "shapes"] = "strokes",
        count: int = 64,
        segments: int | None = None,
        background: Sequence[float | int] | None = None,
    ) -> None:
        super().__init__()
        if kind not in ("strokes", "shapes"):
            raise ValueError(f'kind must be "strokes" or "shapes", got "{kind}"')
        self.kind, self.height, self.width = kind, height, width
        self.segments = segments if segments is not None else 2 if kind == "strokes" else 4
        if count < 1 or self.segments < (1 if kind == "strokes" else 2):
            raise ValueError(f"expected at least 1 curve, of 1 segment or 2 where closed, got {count}, {self.segments}")
        rngs = streams(rng)
        image = start_logits(height, width, len(rngs), init).sigmoid()
        follow = init is not None
        strewn = [self._strewn(part, count, stream, follow=follow) for part, stream in zip(image, rngs, strict=True)]
        points, colours = (torch.stack(values) for values in zip(*strewn, strict=True))
        self.points = nn.Parameter(points / _POINT_GAIN)
        thin = torch.log(_sizes(count) / 5).expand(len(rngs), count)
        self.widths = nn.Parameter(thin / _WIDTH_GAIN) if kind == "strokes" else None
        self.colours = nn.Parameter(_to_logits(colours))
        self.opacity = nn.Parameter(torch.full((len(rngs), count, 1), math.log(_OPACITY / (1 - _OPACITY))))
        learned = _to_logits(image.mean((2, 3), keepdim=True))
        self.ground = nn.Parameter(learned) if background is None else None
        if background is not None:
            paper = _colour(background).expand(len(rngs), -1, -1, -1)
            self.register_buffer("paper", paper, persistent=False)
        if init is not None:
            self._fit(image)
        add_noise([self.colours], lambda: self._draw(height, width, self.colours)[:, :3], rngs, noise_std(std, init))

    def forward(self) -> Images:
        """The images, shape (items, 3, height, width), values in [0, 1]."""
        return self.render(self.height, self.width)

    def render(self, height: int, width: int, *, ground: Images | None = None) -> Images:
        """The same drawing at any size, shape (items, 3, height, width), values in [0, 1]; sharp at every one.

        Args:
            height: In pixels.
            width: In pixels.
            ground: What lies behind it, (1 or items, 3, 1 or height, 1 or width). None: the drawing's own ground.

        Raises:
            ValueError: If a size is not positive.
        """
        drawn = self._draw(height, width, torch.sigmoid(self.colours))
        # Sums of parts round.
        return (drawn[:, :3] + (1 - drawn[:, 3:]) * (self._ground() if ground is None else ground.to(drawn))).clamp(
            0, 1
        )

    def layers(self, height: int | None = None, width: int | None = None) -> Float[Tensor, "_ 4 _ _"]:
        """The drawing without its ground: red, green, blue and opacity, in [0, 1]; as large as the images, or other.

        Raises:
            ValueError: If a size is not positive.
        """
        drawn = self._draw(height or self.height, width or self.width, torch.sigmoid(self.colours))
        colours = drawn[:, :3] / drawn[:, 3:].clamp_min(1e-6)
        return torch.cat((colours, drawn[:, 3:]), 1).clamp(0, 1)

    @torch.no_grad()
    def svg(self, item: int = 0, *, ground: bool = True) -> str:
        """One item as a file that browsers and drawing programs open, with its ground or transparent."""
        points = (self.points[item] * _POINT_GAIN * min(self.height, self.width)).tolist()
        colours, opacity = torch.sigmoid(self.colours[item]), torch.sigmoid(self.opacity[item, :, 0]).tolist()
        filled = self.kind == "shapes"
        style = 'fill-rule="evenodd"' if filled else 'fill="none" stroke-linecap="round" stroke-linejoin="round"'
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" {style}>',
        ]
        if ground:
            paper = _hex(self._ground()[item].flatten())
            lines.append(f'<rect width="{self.width}" height="{self.height}" fill="{paper}"/>')
        widths = self._pixel_widths()
        for number, curve in enumerate(points):
            path = f"M{_xy(curve[0])}C{' '.join(map(_xy, [*curve[1:], *curve[: int(filled)]]))}"
            paint, how = _hex(colours[number]), f"{opacity[number]:.4f}"
            if widths is None:
                lines.append(f'<path d="{path}Z" fill="{paint}" fill-opacity="{how}"/>')
            else:
                line = f'stroke="{paint}" stroke-opacity="{how}" stroke-width="{float(widths[item, number]):.4f}"'
                lines.append(f'<path d="{path}" {line}/>')
        return "\n".join([*lines, "</svg>", ""])

    def _fit(self, image: Tensor) -> None:
        scale = min(1.0, _FIT_SIDE / max(self.height, self.width))
        height, width = (math.ceil(scale * side) for side in (self.height, self.width))
        goal = F.interpolate(image, (height, width), mode="area")
        fit(
            self.parameters(),
            lambda _: (self.render(height, width) - goal).square().mean((1, 2, 3)).sum(),
            steps=_FIT_STEPS,
        )

    def _draw(self, height: int, width: int, colours: Tensor) -> Tensor:
        """Red, green and blue times opacity, and opacity, shape (items, 4, height, width)."""
        if height < 1 or width < 1:
            raise ValueError(f"an image needs a positive height and width, got {height} x {width}")
        stretch = self.points.new_tensor([width / self.width, height / self.height])
        # So many straight pieces that none is a tenth of a pixel off its curve.
        pieces = math.ceil(0.6 * math.sqrt(max(height, width)))
        curve = _bezier(self.segments, pieces, closed=self.kind == "shapes").to(self.points)
        outlines = curve @ self.points * (_POINT_GAIN * min(self.height, self.width) * stretch)
        widths = self._pixel_widths()
        if widths is not None:
            widths = widths * float(stretch.prod().sqrt())
        return draw(outlines, torch.cat((colours, torch.sigmoid(self.opacity)), 2), widths, height, width)

    def _pixel_widths(self) -> Tensor | None:
        return None if self.widths is None else torch.exp(_WIDTH_GAIN * self.widths) * min(self.height, self.width)

    def _ground(self) -> Tensor:
        return self.paper if self.ground is None else torch.sigmoid(self.ground)

    def _strewn(self, image: Tensor, count: int, rng: Generator, *, follow: bool) -> tuple[Tensor, Tensor]:
        """Control points, in shorter sides, and colours of curves all over an image, small ones above large ones.

        Told to follow, two in three begin at its edges, and lie along them.
        """
        size = image.shape[1:]
        places = torch.rand(count, 2, generator=rng)
        angles = 2 * math.pi * torch.rand(count, generator=rng)
        down, across = _slopes(image.mean(0))
        steep = torch.hypot(down, across).flatten()
        if follow and float(steep.max()) > 0:
            pixels = torch.multinomial(steep, count, replacement=True, generator=rng)
            spots = torch.stack((pixels % size[1], pixels // size[1]), 1)
            detail = torch.arange(count) >= count / 3
            places = torch.where(detail[:, None], (spots + places) / torch.tensor([size[1], size[0]]), places)
            along = torch.atan2(-across.flatten()[pixels], down.flatten()[pixels])
            angles = torch.where(detail, along, angles)
        x, y = (places * torch.tensor([size[1], size[0]])).long().unbind(1)
        corners = self._outline() * _sizes(count)[:, None, None]
        wobble = 0.1 * _sizes(count)[:, None, None] * torch.randn(corners.shape, generator=rng)
        cosine, sine = angles.cos(), angles.sin()
        turn = torch.stack((torch.stack((cosine, sine), 1), torch.stack((-sine, cosine), 1)), 1)
        centres = places * torch.tensor([size[1], size[0]]) / min(size)
        return centres[:, None] + corners @ turn + wobble, image[:, y, x].T

    def _outline(self) -> Tensor:
        """Control points of a curve of size 1: a straight line, or a circle."""
        if self.kind == "strokes":
            x = torch.linspace(-1, 1, 3 * self.segments + 1)
            return torch.stack((x, torch.zeros_like(x)), 1)
        angles = 2 * math.pi * torch.arange(self.segments) / self.segments
        radius = torch.stack((angles.cos(), angles.sin()), 1) / 2
        handle = 4 / 3 * math.tan(math.pi / 2 / self.segments) * torch.stack((-radius[:, 1], radius[:, 0]), 1)
        after = radius.roll(-1, 0) - handle.roll(-1, 0)
        return torch.stack((radius, radius + handle, after), 1).flatten(0, 1)


def _sizes(count: int) -> Tensor:
    """Sizes of the curves as they begin, in shorter sides of the canvas: the lowest is the largest."""
    return 0.4 * 0.2 ** torch.linspace(0, 1, count)


def _slopes(values: Tensor) -> tuple[Tensor, Tensor]:
    """Differences of the neighbours above and below, and beside, shape (height, width) each."""
    around = F.pad(values[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    return around[2:, 1:-1] - around[:-2, 1:-1], around[1:-1, 2:] - around[1:-1, :-2]


def _bezier(segments: int, pieces: int, *, closed: bool) -> Tensor:
    """Points along a chain of cubic curves as weights of its control points: (segments * pieces + 1, points)."""
    t = (torch.arange(segments * pieces + 1) / pieces)[:, None]
    number = t.long().clamp_max(segments - 1)
    t = t - number
    weights = torch.cat(((1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3), 1)
    points = 3 * segments + (not closed)
    return torch.zeros(len(t), points).scatter_(1, (3 * number + torch.arange(4)) % points, weights)


def _colour(values: Sequence[float | int]) -> Tensor:
    colour = torch.tensor([float(value) for value in values])
    if colour.shape != (3,) or not ((colour >= 0) & (colour <= 1)).all():
        raise ValueError(f"background must be red, green and blue in [0, 1], got {tuple(values)}; divide bytes by 255")
    return colour[:, None, None]


def _to_logits(values: Tensor) -> Tensor:
    return torch.logit(values.clamp(MARGIN, 1 - MARGIN))


def _hex(colour: Tensor) -> str:
    return "#" + "".join(f"{value:02x}" for value in (255 * colour).round().int().tolist())


def _xy(point: Sequence[float]) -> str:
    return f"{point[0]:.3f},{point[1]:.3f}"
