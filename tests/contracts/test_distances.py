"""What every distance between embeddings must do; a new one joins the table."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from clipopt import losses
from clipopt.types import generator


def units(count, seed, dtype=torch.float32):
    return F.normalize(torch.randn(count, 6, generator=generator(seed), dtype=dtype), dim=1)


def with_negatives(image, text, weights=None):
    return losses.softmax(image, text, weights, negatives=units(4, 99).to(image), scale=10.0)


def from_source(image, text, weights=None):
    return losses.directional(image, units(1, 98).to(image), text, units(1, 97).to(image), weights)


DISTANCES = {
    "cosine": losses.cosine,
    "spherical": losses.spherical,
    "softmax": with_negatives,
    "sigmoid": losses.sigmoid,
    "sigmoid of a trained SigLIP": partial(losses.sigmoid, scale=117.3, bias=-12.9),
    "directional": from_source,
}
EXACT = ["cosine", "spherical"]
every = pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)


@every
def test_one_value_per_image_whatever_the_neighbours(distance):
    image, text = units(5, 0), units(3, 1)
    whole = distance(image, text)
    assert whole.shape == (5,)
    torch.testing.assert_close(torch.cat([distance(row, text) for row in image.split(1)]), whole)


@every
def test_weights(distance):
    image, text = units(4, 0), units(3, 1)
    torch.testing.assert_close(distance(image, text, torch.full((3,), 1 / 3)), distance(image, text))
    weights = torch.tensor([1.0, 0.5, 0.25])
    single = torch.stack([distance(image, row) for row in text.split(1)], 1)
    torch.testing.assert_close(distance(image, text, weights), (single * weights).sum(1))
    torch.testing.assert_close(distance(image, text, weights.expand(4, 3)), distance(image, text, weights))


@every
def test_zero_sum_and_negative_weights_are_finite(distance):
    image = units(4, 0).requires_grad_()
    for weights in ([1.0, -1.0], [-1.0, -0.5], [0.0, 0.0]):
        value = distance(image, units(2, 1), torch.tensor(weights))
        (slope,) = torch.autograd.grad(value.sum(), image)
        assert torch.isfinite(value).all()
        assert torch.isfinite(slope).all()


@pytest.mark.parametrize("name", EXACT)
def test_zero_at_itself_with_zero_slope_along_the_sphere(name):
    row = units(1, 2).requires_grad_()
    value = DISTANCES[name](row, row.detach())
    (slope,) = torch.autograd.grad(value.sum(), row)
    torch.testing.assert_close(value, torch.zeros(1), atol=1e-6, rtol=0)
    along = slope - (slope * row).sum() * row
    torch.testing.assert_close(along, torch.zeros_like(along), atol=1e-6, rtol=0)


@every
def test_nearer_is_less(distance):
    """For the directional one "nearer" is along the text's change, for the others along the text itself."""
    text = units(1, 1)
    start = units(1, 98)
    goal = text - units(1, 97) if distance is from_source else text
    path = F.normalize(start + torch.linspace(0.05, 0.6, 8)[:, None] * goal, dim=1)
    if distance is from_source:
        path = start + torch.linspace(-0.6, 0.6, 8)[:, None] * goal + 0.1 * units(1, 5)
    values = distance(path, text)
    assert (values.diff() < 0).all()


@every
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_one_small_step_raises_the_cosine_and_a_negative_weight_lowers_it(distance, sign):
    text, image = units(1, 1), units(1, 3).requires_grad_()
    (slope,) = torch.autograd.grad(distance(image, text, torch.tensor([sign])).sum(), image)
    moved = F.normalize(image - 1e-2 * slope / slope.norm(), dim=1)
    before, after = (image * text).sum(), (moved * text).sum()
    if distance is from_source:
        change = text - units(1, 97)
        before, after = (image * change).sum(), (moved * change).sum()
    assert sign * (after - before).item() > 1e-4


@every
def test_gradcheck(distance):
    image = units(3, 0, torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda image: distance(image, units(2, 1, torch.float64)), image)
