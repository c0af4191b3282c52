"""Pixel art as learnable parameters: a small grid whose cells choose among the colours of a palette."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clipopt.params.start import MARGIN, noise_std, start_logits
from clipopt.types import Images, streams

PALETTES = {
    "mono": "000000 ffffff",
    "grey": "000000 555555 aaaaaa ffffff",
    "gameboy": "0f380f 306230 8bac0f 9bbc0f",
    "cga": "000000 0000aa 00aa00 00aaaa aa0000 aa00aa aa5500 aaaaaa "
    "555555 5555ff 55ff55 55ffff ff5555 ff55ff ffff55 ffffff",
    "pico8": "000000 1d2b53 7e2553 008751 ab5236 5f574f c2c3c7 fff1e8 "
    "ff004d ffa300 ffec27 00e436 29adff 83769c ff77a8 ffccaa",
}
"""Colours that go by a name: black and white, four greys, and those of three machines."""

# The squared distance of colours at which a choice is e times less likely.
_SOFTNESS = 0.3
# How far a step of 1 moves a colour's logits: faster, and all cells would share one colour before they choose.
_COLOUR_GAIN = 0.2
_ROUNDS = 20


class Palette(nn.Module):
    """Pixel art: a grid of square cells, each in one colour of a palette.

    Forward shows each cell's likeliest colour; on the way back the gradient is that of the mixture of all colours
    by their likelihood (straight-through). One item per generator. Without `init` all cells start at the colours
    nearest to mid-grey noise.

    Args:
        height: Height in pixels.
        width: Width in pixels.
        rng: One generator per item, or a single one for a single item.
        init: Start image, shape (1 or items, 3, any, any), values in [0, 1]; resized to the grid. Every cell takes
            the nearest colour; a learned palette is made of the image's colours.
        std: Standard deviation of the start noise before the choice, in units of the image. None: 0.03 without
            `init`, 0 with it.
        cell: Side of a cell in pixels. None: a 32nd of the longer side, rounded up. Where it does not divide a
            side, the last cells are cut.
        colours: A name of `PALETTES`; given colours, shape (n, 3), values in [0, 1]; or their number, and they are
            learned too, by each item for itself.

    Raises:
        ValueError: If a size or `cell` is not positive, if the palette is unknown, out of [0, 1] or has less than 2
            colours, or if `init` is not an image in [0, 1] for these items.

    Reference:
        Bengio, Léonard, Courville, "Estimating or Propagating Gradients Through Stochastic Neurons" (2013),
        arXiv:1308.3432: the straight-through gradient.
    """

    colours: Tensor | None

    def __init__(
        self,
        height: int,
        width: int,
        *,
        rng: Generator | Sequence[Generator],
        init: Images | None = None,
        std: float | None = None,
        cell: int | None = None,
        colours: str | int | Float[Tensor, "_ 3"] = 16,
    ) -> None:
        super().__init__()
        if cell is None:
            cell = math.ceil(max(height, width, 1) / 32)
        if cell < 1:
            raise ValueError(f"cell must be at least 1 pixel, got {cell}")
        rngs = streams(rng)
        self.height, self.width, self.cell = height, width, cell
        grid = start_logits(math.ceil(height / cell), math.ceil(width / cell), len(rngs), init).sigmoid()
        if isinstance(colours, int):
            _check_count(colours)
            palette = _spread(colours).expand(len(rngs), -1, -1) if init is None else _clusters(grid, colours)
            palette = palette.clamp(MARGIN, 1 - MARGIN)
            self.palette = nn.Parameter(torch.logit(palette) / _COLOUR_GAIN)
            self.register_buffer("colours", None)
        else:
            palette = fixed_colours(colours).expand(len(rngs), -1, -1)
            self.register_buffer("colours", palette[:1].clone(), persistent=False)
        noise = torch.stack([torch.randn(grid.shape[1:], generator=stream) for stream in rngs])
        grid = grid + noise_std(std, init) * noise
        distances = torch.cdist(palette, grid.flatten(2).mT).square()
        self.logits = nn.Parameter(-distances.view(*palette.shape[:2], *grid.shape[2:]) / _SOFTNESS)

    def forward(self) -> Images:
        """The images, shape (items, 3, height, width), values in [0, 1]."""
        grid = self.cells().repeat_interleave(self.cell, 2).repeat_interleave(self.cell, 3)
        return grid[..., : self.height, : self.width]

    def render(self, height: int, width: int) -> Images:
        """The same picture at any size, shape (items, 3, height, width); cells are alike at multiples of its own.

        Raises:
            ValueError: If a size is not positive.
        """
        if height < 1 or width < 1:
            raise ValueError(f"an image needs a positive height and width, got {height} x {width}")
        return F.interpolate(self(), (height, width), mode="nearest-exact")

    def cells(self) -> Images:
        """The picture with one pixel per cell, shape (items, 3, rows, columns), values in [0, 1]."""
        logits = self.logits.flatten(2)
        soft = logits.softmax(1)
        hard = F.one_hot(logits.argmax(1), logits.shape[1]).mT.to(soft)
        palette = self.colours if self.colours is not None else torch.sigmoid(_COLOUR_GAIN * self.palette)
        # The bracket is 0, and carries the gradient.
        cells: Tensor = palette.mT @ (hard + (soft - soft.detach()))
        return cells.unflatten(2, self.logits.shape[2:])


def fixed_colours(colours: str | Tensor) -> Tensor:
    """A palette that is not learned, shape (n, 3): a name of `PALETTES`, or colours in [0, 1].

    Raises:
        ValueError: It is none.
    """
    if isinstance(colours, str):
        if colours not in PALETTES:
            raise ValueError(f'expected a palette of {", ".join(PALETTES)}, or colours, got "{colours}"')
        return torch.tensor([[*bytes.fromhex(colour)] for colour in PALETTES[colours].split()]) / 255
    _check_count(len(colours))
    if not ((colours >= 0) & (colours <= 1)).all():
        raise ValueError("the colours of a palette must lie in [0, 1]; divide bytes by 255")
    return colours.detach().to("cpu", torch.float32)


def _check_count(count: int) -> None:
    if count < 2:
        raise ValueError(f"a palette needs at least 2 colours, got {count}")


def _spread(count: int) -> Tensor:
    """Colours evenly spread over the cube, shape (count, 3), the first mid-grey: the R3 sequence."""
    ratio = 1.2207440846057596  # the root of x^4 = x + 1
    steps = torch.tensor([ratio**-1, ratio**-2, ratio**-3])
    return (0.5 + torch.arange(count)[:, None] * steps) % 1


def _clusters(grid: Tensor, count: int) -> Tensor:
    """The palette of each item's cells, shape (items, count, 3): k-means from far-apart cells."""
    cells = grid.flatten(2).mT
    centres = cells.mean(1, keepdim=True)
    for _ in range(count):
        farthest = torch.cdist(cells, centres).amin(2).argmax(1)
        centres = torch.cat((centres, cells[torch.arange(len(cells)), farthest][:, None]), 1)
    centres = centres[:, 1:]
    for _ in range(_ROUNDS):
        nearest = F.one_hot(torch.cdist(cells, centres).argmin(2), count).to(cells)
        sizes = nearest.sum(1)[..., None]
        centres = torch.where(sizes > 0, nearest.mT @ cells / sizes.clamp_min(1), centres)
    return centres
