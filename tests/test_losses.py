import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from clipopt import losses
from clipopt.types import generator


def units(count, dim=8, seed=0, dtype=torch.float32):
    return F.normalize(torch.randn(count, dim, generator=generator(seed), dtype=dtype), dim=1)


def test_published_constants():
    assert math.isclose(losses.CLIP_SCALE_INIT, 14.285714, rel_tol=1e-6)
    assert losses.CLIP_SCALE_MAX == 100
    assert (losses.SIGLIP_SCALE_INIT, losses.SIGLIP_BIAS_INIT) == (10, -10)
    assert (losses.CLIPSCORE_WEIGHT, losses.CLIPSCORE_PREFIX) == (2.5, "A photo depicts ")


def test_cosine_and_spherical_at_known_angles():
    angles = torch.tensor([0.0, 1e-3, 1.0, math.pi / 2, math.pi])
    image = torch.stack((angles.cos(), angles.sin()), 1)
    text = torch.tensor([[1.0, 0]])
    torch.testing.assert_close(losses.cosine(image, text), 1 - angles.cos())
    torch.testing.assert_close(losses.spherical(image, text), angles**2 / 2)


def test_spherical_against_numpy():
    image, text = units(5, seed=1), units(3, seed=2)
    chord = np.linalg.norm(image.numpy()[:, None] - text.numpy()[None], axis=-1)
    summed = np.linalg.norm(image.numpy()[:, None] + text.numpy()[None], axis=-1)
    expected = ((2 * np.arctan2(chord, summed)) ** 2 / 2).mean(1)
    np.testing.assert_allclose(losses.spherical(image, text), expected, rtol=1e-6)
    np.testing.assert_allclose(losses.spherical(image, text), (2 * np.arcsin(chord / 2) ** 2).mean(1), rtol=1e-5)


@pytest.mark.parametrize("off", [0.0, 1e-12, 1e-6])
def test_spherical_is_finite_at_the_antipode(off):
    text = units(1, seed=3)
    image = (-text + off).requires_grad_()
    value = losses.spherical(image, text)
    (slope,) = torch.autograd.grad(value.sum(), image)
    assert math.isclose(value.item(), math.pi**2 / 2, rel_tol=1e-4)
    assert torch.isfinite(slope).all()


def test_spherical_gradient_length_is_the_angle():
    text = units(1, seed=4, dtype=torch.float64)
    side = F.normalize(units(1, seed=5, dtype=torch.float64) @ (torch.eye(8, dtype=torch.float64) - text.T @ text))
    for angle in (0.01, 1.0, 3.0):
        image = (math.cos(angle) * text + math.sin(angle) * side).requires_grad_()
        (slope,) = torch.autograd.grad(losses.spherical(image, text).sum(), image)
        along = slope - (slope * image).sum() * image
        assert math.isclose(along.norm().item(), angle, rel_tol=1e-6)


def test_softmax_is_cross_entropy():
    image, text, negatives = units(4, seed=1), units(1, seed=2), units(5, seed=3)
    logits = 20 * image @ torch.cat((text, negatives)).T
    expected = F.cross_entropy(logits, torch.zeros(4, dtype=torch.long), reduction="none")
    torch.testing.assert_close(losses.softmax(image, text, negatives=negatives, scale=20.0), expected)


def test_softmax_does_not_overflow():
    row = torch.tensor([[1.0, 0]])
    value = losses.softmax(row, -row, negatives=row, scale=100.0)
    torch.testing.assert_close(value, torch.tensor([200.0]))


def test_sigmoid_is_siglips_pair_loss():
    image, text = units(4, seed=1), units(4, seed=2)
    labels = 2 * torch.eye(4) - 1
    expected = -F.logsigmoid(labels * (10 * image @ text.T - 10)).sum() / 4
    torch.testing.assert_close(losses.sigmoid(image, text, labels).sum() / 4, expected)


def test_negative_weight_repels_and_stays_bounded_in_sigmoid():
    text = units(1, seed=2)
    value = losses.sigmoid(-text, text, torch.tensor([-1.0]))
    assert 0 <= float(value) < 1e-6


def test_directional_ignores_where_the_edit_starts_from():
    source, text, source_text = units(1, seed=1), units(1, seed=2), units(1, seed=3)
    change = text - source_text
    aligned = losses.directional(source + 0.3 * change, source, text, source_text)
    against = losses.directional(source - 0.3 * change, source, text, source_text)
    torch.testing.assert_close(aligned, torch.zeros(1), atol=1e-4, rtol=0)
    torch.testing.assert_close(against, torch.full((1,), 2.0), atol=1e-4, rtol=0)


def test_directional_at_the_source_is_one_and_points_to_the_change():
    source, text, source_text = units(1, seed=1), units(1, seed=2), units(1, seed=3)
    image = source.clone().requires_grad_()
    value = losses.directional(image, source, text, source_text)
    (slope,) = torch.autograd.grad(value.sum(), image)
    assert value.item() == 1
    torch.testing.assert_close(F.normalize(-slope), F.normalize(text - source_text))


def total_variation_oracle(images):
    out = []
    for image in images:
        down, right = np.zeros_like(image), np.zeros_like(image)
        down[:, :-1] = image[:, 1:] - image[:, :-1]
        right[:, :, :-1] = image[:, :, 1:] - image[:, :, :-1]
        out.append(np.sqrt(down**2 + right**2).mean())
    return np.array(out)


def test_total_variation_against_numpy():
    images = torch.rand(2, 3, 7, 5, generator=generator(0))
    np.testing.assert_allclose(losses.total_variation(images), total_variation_oracle(images.numpy()), rtol=1e-5)


def test_total_variation_is_isotropic():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    slope, turned = x / 64, (x + y) / 64 / math.sqrt(2)
    values = losses.total_variation(torch.stack((slope, turned))[:, None].expand(2, 3, 64, 64))
    torch.testing.assert_close(values, torch.full((2,), 1 / 64), rtol=0.03, atol=0)


def test_total_variation_is_flat_and_finite_on_flat_images():
    images = torch.full((1, 3, 5, 6), 0.4, requires_grad=True)
    (slope,) = torch.autograd.grad(losses.total_variation(images).sum(), images)
    assert losses.total_variation(images).item() == 0
    assert (slope == 0).all()


def test_l2_pulls_to_the_reference_and_not_to_zero():
    reference = torch.rand(1, 3, 4, 5, generator=generator(0))
    at = reference.clone().requires_grad_()
    (slope,) = torch.autograd.grad(losses.l2(at, reference).sum(), at)
    assert (slope == 0).all()
    torch.testing.assert_close(losses.l2(reference + 0.1, reference), torch.tensor([0.01]))
    with pytest.raises(ValueError, match="shape of the images"):
        losses.l2(torch.rand(2, 3, 4, 5), torch.rand(2, 3, 5, 4))


def test_range_penalty():
    images = torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.2, 0.3]).view(1, 3, 1, 2)
    torch.testing.assert_close(losses.range_penalty(images), torch.tensor([(0.01 + 0.04) / 6]))


@pytest.mark.parametrize("prior", [losses.total_variation, losses.range_penalty])
def test_priors_gradcheck_and_do_not_couple_items(prior):
    images = (1.5 * torch.rand(2, 3, 4, 5, generator=generator(1), dtype=torch.float64) - 0.25).requires_grad_()
    assert torch.autograd.gradcheck(prior, images)
    torch.testing.assert_close(prior(images)[:1], prior(images[:1]))
