"""The rasterizer against a slow picture of the same thing, and its gradient against finite differences."""

import pytest
import torch

from clipopt.geometry.strokes import draw
from clipopt.types import generator


def inside(corners, x, y):
    """The even-odd rule, point by point."""
    crossings = torch.zeros_like(x, dtype=torch.long)
    for (x0, y0), (x1, y1) in zip(corners[:-1].tolist(), corners[1:].tolist(), strict=True):
        if y0 != y1:
            crossings += ((y0 <= y) != (y1 <= y)) & (x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x)
    return crossings % 2 == 1


def near(corners, radius, x, y):
    """Within `radius` of a line with round caps and joins, point by point."""
    found = torch.zeros_like(x, dtype=torch.bool)
    for (x0, y0), (x1, y1) in zip(corners[:-1].tolist(), corners[1:].tolist(), strict=True):
        dx, dy = x1 - x0, y1 - y0
        t = (((x - x0) * dx + (y - y0) * dy) / (dx * dx + dy * dy)).clamp(0, 1)
        found |= torch.hypot(x - x0 - t * dx, y - y0 - t * dy) <= radius
    return found


def painted(outlines, colours, widths, height, width, fine=8):
    """Every pixel as the mean of fine * fine points, each painted from the lowest outline to the highest."""
    y, x = torch.meshgrid(*((torch.arange(side * fine) + 0.5) / fine for side in (height, width)), indexing="ij")
    layers = [
        (inside(corners, x, y) if widths is None else near(corners, float(widths[number]) / 2, x, y)).float()
        for number, corners in enumerate(outlines)
    ]
    canvas = torch.zeros(4, height, width)
    for layer, (*rgb, opacity) in zip(layers, colours.tolist(), strict=True):
        cover = opacity * torch.nn.functional.avg_pool2d(layer[None], fine)[0]
        canvas = canvas * (1 - cover) + torch.tensor([*rgb, 1.0])[:, None, None] * cover
    return canvas


def scene(filled, count=5, height=36, width=50):
    rng = generator(7)
    outlines = torch.rand(1, count, 6, 2, generator=rng) * torch.tensor([width, height])
    if filled:
        outlines[:, :, -1] = outlines[:, :, 0]
    colours = torch.rand(1, count, 4, generator=rng)
    return outlines, colours, None if filled else 1 + 6 * torch.rand(1, count, generator=rng)


@pytest.mark.parametrize("filled", [False, True])
def test_agrees_with_a_slow_picture(filled):
    outlines, colours, widths = scene(filled)
    drawn = draw(outlines, colours, widths, 36, 50)
    error = drawn[0] - painted(outlines[0], colours[0], None if filled else widths[0], 36, 50)
    # Corners and crossings share pixels between edges; elsewhere edges agree to a few hundredths.
    assert error.abs().mean() < 0.006
    assert error.abs().max() < 0.5
    assert error.mean().abs() < 0.001


@pytest.mark.parametrize("filled", [False, True])
def test_bands_and_neighbours_change_nothing(filled, monkeypatch):
    outlines, colours, widths = scene(filled)
    for value in (outlines, colours):
        value.requires_grad_()
    alone = draw(outlines, colours, widths, 36, 50)
    slopes = torch.autograd.grad(alone.square().sum(), (outlines, colours))
    monkeypatch.setattr("clipopt.geometry.strokes._BAND", 1)
    twice = [None if value is None else torch.cat((value, value.flip(1))) for value in (outlines, colours, widths)]
    banded = draw(*twice, 36, 50)[:1]
    torch.testing.assert_close(banded, alone)
    for slope, other in zip(slopes, torch.autograd.grad(banded.square().sum(), (outlines, colours)), strict=True):
        torch.testing.assert_close(other, slope, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("filled", [False, True])
def test_gradcheck(filled):
    outlines, colours, widths = scene(filled, 2, 9, 11)
    values = [value.double().requires_grad_() for value in (outlines, colours, widths) if value is not None]

    def picture(outlines, colours, widths=None):
        closed = torch.cat((outlines[:, :, :-1], outlines[:, :, :1]), 2) if filled else outlines
        return draw(closed, colours, widths, 9, 11)

    assert torch.autograd.gradcheck(picture, values, eps=1e-7, atol=1e-4)


def test_the_last_is_on_top():
    square = torch.tensor([[2.0, 2], [10, 2], [10, 10], [2, 10], [2, 2]])
    outlines = torch.stack((square, square + 4))[None]
    colours = torch.tensor([[[1.0, 0, 0, 1], [0, 0, 1, 1]]])
    drawn = draw(outlines, colours, None, 16, 16)[0]
    assert drawn[:, 4, 4].tolist() == [1, 0, 0, 1]
    assert drawn[:, 8, 8].tolist() == [0, 0, 1, 1]
    assert drawn[:, 14, 3].tolist() == [0, 0, 0, 0]


def test_area_is_that_of_the_shape():
    """To the right is right, downwards is down, and a hairline is faint by its width."""
    box = torch.tensor([[[[3.25, 2.5], [9.5, 2.5], [9.5, 6.75], [3.25, 6.75], [3.25, 2.5]]]])
    paint = torch.ones(1, 1, 4)
    drawn = draw(box, paint, None, 12, 20)[0, 3]
    assert drawn.sum().item() == pytest.approx(6.25 * 4.25, rel=0.03)
    assert drawn[2, 5].item() == pytest.approx(0.5, abs=1e-5)
    assert drawn[4, 3].item() == pytest.approx(0.75, abs=1e-5)
    line = torch.tensor([[[[-5.0, 6.5], [25, 6.5]]]])
    for width in (0.25, 1.0, 3.0):
        drawn = draw(line, paint, torch.tensor([[width]]), 12, 20)[0, 3]
        assert drawn.sum().item() == pytest.approx(20 * width, rel=1e-4)


def test_off_canvas_is_empty_and_harmless():
    outlines = (torch.rand(1, 3, 5, 2, generator=generator(0)) - 9).requires_grad_()
    drawn = draw(outlines, torch.ones(1, 3, 4), torch.ones(1, 3), 8, 8)
    assert (drawn == 0).all()
    drawn.sum().backward()
    assert (outlines.grad == 0).all()
