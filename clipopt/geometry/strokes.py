"""Soft rasterizer of strokes and filled shapes: differentiable in their vertices, widths, colours and opacities.

Every outline is a polyline. How much of a pixel it covers follows from the pixel's distance to the nearest of its
pieces, as if the edge were straight within the pixel. The nearest piece is searched without gradient; the distance
to the point found there has the gradient of the shortest distance. Work and memory are spent only on the squares of
the canvas that an outline reaches, and on a band of them at a time.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipopt.geometry.checkpointing import recompute

_TILE = 16
_TILES = 32
# Pixels times outlines in a band.
_BAND = 2**22
_TINY = 1e-12


def draw(
    outlines: Float[Tensor, "items n _ 2"],
    colours: Float[Tensor, "items n 4"],
    widths: Float[Tensor, "items n"] | None,
    height: int,
    width: int,
) -> Float[Tensor, "items 4 {height} {width}"]:
    """Draws outlines over one another, the last on top, on a transparent canvas.

    Edges are one pixel soft, so a line thinner than a pixel is fainter. Lines have round caps and joins.

    Args:
        outlines: Vertices (x, y) in pixels; (0, 0) is the upper left corner of the canvas. To be filled, the last
            must be the first.
        colours: Red, green, blue and opacity, in [0, 1].
        widths: Of the lines, in pixels, above 0. None: filled by the even-odd rule.
        height: Of the canvas, pixels.
        width: Of the canvas, pixels.

    Returns:
        Red, green and blue, each times the opacity, and the opacity, in [0, 1].
    """
    tile = max(_TILE, -(-max(height, width) // _TILES))
    rows = tile * max(1, _BAND // (outlines.shape[1] * width * tile))
    tops = range(0, height, rows)
    pictures = []
    for item, (outline, paint) in enumerate(zip(outlines, colours, strict=True)):
        bands = []
        for top in tops:
            band = partial(_band, top=top, size=(min(rows, height - top), width), tile=tile)
            learned = (outline, paint) if widths is None else (outline, paint, widths[item])
            bands.append(band(*learned) if len(outlines) * len(tops) == 1 else recompute(band, *learned))
        pictures.append(torch.cat(bands, 1))
    return torch.stack(pictures)


def _band(
    vertices: Tensor, colours: Tensor, widths: Tensor | None = None, *, top: int, size: tuple[int, int], tile: int
) -> Tensor:
    """The rows of the canvas from `top`, shape (4, *size), tile by tile."""
    vertices = vertices - vertices.new_tensor([0, top])
    rows, columns = (-(-side // tile) for side in size)
    reach = vertices.new_zeros(len(vertices)) if widths is None else widths.detach() / 2
    near = _near(vertices.detach(), reach + 1, rows, columns, tile)
    busy = near.any(2)
    if widths is None:
        filled = _inside(vertices.detach(), rows * tile, columns * tile)
        filled = filled.unflatten(2, (columns, tile)).unflatten(1, (rows, tile)).transpose(2, 3)
        filled = filled.flatten(3).flatten(1, 2).transpose(0, 1)
        busy = busy | filled.any(2)
    # Pairs of a tile and an outline there; those of a tile stand together, the lowest outline first.
    tiles, outlines = busy.nonzero(as_tuple=True)
    if len(tiles) == 0:
        return (0 * vertices.sum()).expand(4, *size)
    distance = _distance(vertices, near[tiles, outlines], tiles, outlines, columns, tile)
    if widths is None:
        cover = _ramp(torch.where(filled[tiles, outlines], distance, -distance))
    else:
        radius = widths[outlines, None] / 2
        cover = _ramp(radius - distance) - _ramp(-radius - distance)
    layers = cover * colours[outlines, 3:]
    pixels = _over(layers, colours[:, :3], busy, outlines)
    canvas = pixels.unflatten(2, (tile, tile)).unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4)
    return canvas.flatten(3).flatten(1, 2)[:, : size[0], : size[1]]


def _ramp(distance: Tensor) -> Tensor:
    """How much of a pixel lies within an edge at this distance from its centre, outside is negative."""
    return (distance + 0.5).clamp(0, 1)


def _near(vertices: Tensor, reach: Tensor, rows: int, columns: int, tile: int) -> Tensor:
    """Which pieces can touch which tiles, shape (tiles, outlines, pieces): their boxes overlap."""
    first, last = vertices[:, :-1], vertices[:, 1:]
    low = torch.minimum(first, last) - reach[:, None, None]
    high = torch.maximum(first, last) + reach[:, None, None]
    across, down = (torch.arange(count, device=vertices.device)[:, None, None] * tile for count in (columns, rows))
    hits = [(low[..., i] < edge + tile) & (high[..., i] > edge) for i, edge in enumerate((across, down))]
    return (hits[1][:, None] & hits[0][None]).flatten(0, 1)


def _inside(vertices: Tensor, height: int, width: int) -> Tensor:
    """Which pixels each closed outline fills by the even-odd rule, shape (outlines, height, width)."""
    first, last = vertices[:, None, :-1], vertices[:, None, 1:]
    y = torch.arange(height, device=vertices.device)[:, None] + 0.5
    crosses = (first[..., 1] <= y) != (last[..., 1] <= y)
    slope = (last[..., 0] - first[..., 0]) / torch.where(crosses, last[..., 1] - first[..., 1], 1)
    x = first[..., 0] + (y - first[..., 1]) * slope
    # The first pixel with its centre to the right of the crossing; one column more for those beyond.
    pixel = (x - 0.5).ceil().clamp(0, width).long()
    edges = torch.zeros(len(vertices), height, width + 1, dtype=torch.int32, device=vertices.device)
    edges.scatter_add_(2, pixel, crosses.int())
    return edges[..., :width].cumsum(2, dtype=torch.int32) % 2 == 1


def _distance(vertices: Tensor, near: Tensor, tiles: Tensor, outlines: Tensor, columns: int, tile: int) -> Tensor:
    """From every pixel of each pair's tile to the outline, shape (pairs, tile * tile); far away where none is near."""
    # The pieces at hand come first; a pair has few of all.
    order = near.byte().sort(dim=1, descending=True, stable=True).indices[:, : int(near.sum(1).max())]
    ends = vertices[outlines[:, None, None], torch.stack((order, order + 1), 2)]
    steps = torch.arange(tile, device=vertices.device, dtype=vertices.dtype) + 0.5
    x = (tiles % columns * tile)[:, None] + steps.repeat(tile)
    y = (tiles // columns * tile)[:, None] + steps.repeat_interleave(tile)
    piece, share = _nearest(ends.detach(), near.gather(1, order), x, y)
    # The nearest point as a weighted sum of vertices: one product of matrices, forward and backward.
    weights = ends.new_zeros(*x.shape, 2 * order.shape[1])
    weights.scatter_(2, 2 * piece[..., None], (1 - share)[..., None])
    weights.scatter_(2, 2 * piece[..., None] + 1, share[..., None])
    point = weights @ ends.flatten(1, 2)
    distance = ((x - point[..., 0]).square() + (y - point[..., 1]).square() + _TINY).sqrt()
    return torch.where(near.any(1)[:, None], distance, float("inf"))


@torch.no_grad()
def _nearest(ends: Tensor, valid: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest piece of each pixel, and how far along it the nearest point lies, in [0, 1]."""
    best = torch.full_like(x, float("inf"))
    piece, share = torch.zeros_like(x, dtype=torch.long), torch.zeros_like(x)
    for number in range(ends.shape[1]):
        first, along = ends[:, number, 0, :, None], ends[:, number].diff(dim=1)[:, 0, :, None]
        right, down = x - first[:, 0], y - first[:, 1]
        length = along.square().sum(1).clamp_min(_TINY)
        part = ((right * along[:, 0] + down * along[:, 1]) / length).clamp(0, 1)
        distance = (right - part * along[:, 0]).square() + (down - part * along[:, 1]).square()
        nearer = (distance < best) & valid[:, number, None]
        best = torch.where(nearer, distance, best)
        share = torch.where(nearer, part, share)
        piece = torch.where(nearer, number, piece)
    return piece, share


def _over(layers: Tensor, colours: Tensor, busy: Tensor, outlines: Tensor) -> Tensor:
    """Lays the pairs of each tile over one another, the last on top: shape (tiles, 4, pixels)."""
    counts = busy.sum(1)
    place = torch.arange(int(counts.max()), device=counts.device)
    # Of each tile its pairs, then an empty one as often as needed.
    table = (counts.cumsum(0) - counts)[:, None] + place
    table = torch.where(place < counts[:, None], table, len(layers))
    opacity = torch.cat((layers, torch.zeros_like(layers[:1])))[table]
    light = torch.ones_like(opacity[:, 0])
    shares: list[Tensor] = []
    for number in reversed(range(len(place))):
        shares.insert(0, light * opacity[:, number])
        light = light * (1 - opacity[:, number])
    paints = F.pad(torch.cat((colours[outlines], torch.zeros_like(colours[:1])))[table], (0, 1), value=1.0)
    return paints.mT @ torch.stack(shares, 1)
