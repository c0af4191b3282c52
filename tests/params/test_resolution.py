"""Parameters that can be drawn at another size, and levels that open one after another."""

import pytest
import torch
from torch.nn import functional as F

from clipopt.params import Fourier, Pyramid, Siren, Strokes
from clipopt.types import generator


def strokes(kind):
    param = Strokes(40, 56, rng=[generator(0), generator(1)], std=0.3, kind=kind, count=12)
    return param.requires_grad_(False)


@pytest.mark.parametrize("size", [(24, 31), (33, 40), (5, 4)])
def test_fourier_at_a_multiple_goes_through_the_pixels(size):
    param = Fourier(*size, rng=generator(0), std=0.2, decay=0.5)
    assert torch.equal(param.render(*size), param())
    fine = param.render(3 * size[0], 5 * size[1])
    torch.testing.assert_close(fine[..., 1::3, 2::5], param())


def test_fourier_coarser_is_smoother():
    param = Fourier(64, 64, rng=generator(0), std=0.2, decay=2.0)
    assert (param.render(32, 32) - F.interpolate(param(), (32, 32), mode="area")).abs().mean() < 0.01


def test_fourier_in_the_colours_of_photographs_is_greyer_across_than_along():
    image = Fourier(64, 64, rng=generator(0), std=0.1, colours="natural")()
    white = Fourier(64, 64, rng=generator(0), std=0.1, chroma=1.0)()
    assert image.std(dim=1).mean() < 0.6 * white.std(dim=1).mean()


def test_siren_is_a_function_of_the_point():
    param = Siren(20, 28, rng=[generator(0), generator(1)], std=0.2, hidden=16, depth=2)
    assert torch.equal(param.render(20, 28), param())
    torch.testing.assert_close(param.render(60, 84)[..., 1::3, 1::3], param())


def test_siren_needs_no_more_memory_for_its_gradient(monkeypatch):
    param = Siren(9, 11, rng=generator(0), std=0.2, hidden=8, depth=2)
    whole = torch.autograd.grad(param().square().sum(), param.parameters())
    monkeypatch.setattr("clipopt.params.siren._CHUNK", 10)
    monkeypatch.setattr("clipopt.params.siren._KEPT", 0)
    parts = torch.autograd.grad(param().square().sum(), param.parameters())
    for part, slope in zip(parts, whole, strict=True):
        torch.testing.assert_close(part, slope)


@pytest.mark.parametrize("kind", ["strokes", "shapes"])
def test_strokes_at_another_size_are_the_same_drawing(kind):
    param = strokes(kind)
    large = F.interpolate(param.render(320, 448), (40, 56), mode="area")
    assert (large - param()).abs().mean() < 0.004
    # Sharper: edges take fewer of the pixels, and are steeper.
    steepest = [image.diff(dim=-1).abs().mean() * image.shape[-1] for image in (param(), param.render(320, 448))]
    assert steepest[1] > 0.95 * steepest[0]


def test_layers_lie_over_any_ground():
    param = strokes("strokes")
    layers, ground = param.layers(), torch.sigmoid(param.ground)
    assert layers.shape == (2, 4, 40, 56)
    assert 0 <= layers.min() <= layers.max() <= 1
    torch.testing.assert_close(layers[:, :3] * layers[:, 3:] + (1 - layers[:, 3:]) * ground, param())
    assert param.layers(10, 14).shape == (2, 4, 10, 14)


@pytest.mark.parametrize("param", [Fourier, Siren, Strokes])
def test_a_size_of_nothing_is_named(param):
    with pytest.raises(ValueError, match="positive height"):
        param(8, 8, rng=generator(0)).render(8, 0)


def test_pyramid_opens_from_coarse_to_fine():
    param = Pyramid(32, 40, rng=generator(0))
    start = param()
    for progress, count in ((0.0, 1), (0.4, 2), (0.7, 3), (1.0, 4)):
        param.open(progress)
        param.zero_grad()
        (param() * torch.randn(1, 3, 32, 40, generator=generator(1))).sum().backward()
        assert [level.grad is not None for level in param.levels] == [number < count for number in range(4)]
        assert torch.equal(param(), start)
    with pytest.raises(ValueError, match="progress"):
        param.open(1.5)


def test_a_level_that_opens_late_starts_afresh():
    """Adam's first step on it is as long as any first step."""
    param = Pyramid(16, 16, rng=generator(0), std=0.0)
    optimizer = torch.optim.Adam(param.parameters(), lr=0.1)
    for step in range(6):
        before = param.levels[-1].detach().clone()
        param.open(float(step == 5))
        optimizer.zero_grad()
        (param() - torch.rand(1, 3, 16, 16, generator=generator(2))).square().sum().backward()
        optimizer.step()
        moved = (param.levels[-1] - before).abs().mean().item()
        assert moved == (0 if step < 5 else pytest.approx(0.1, rel=1e-3))
