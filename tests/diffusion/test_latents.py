"""Coders as functions, quantized latents with straight-through, priors of noise against plain NumPy."""

import diffusers_models as tiny
import numpy as np
import pytest
import torch

from clipopt import diffusion
from clipopt.types import generator


@pytest.fixture(scope="module", params=["kl", "vq"])
def coder(request: pytest.FixtureRequest) -> diffusion.Coder:
    return diffusion.Coder(tiny.kl_coder() if request.param == "kl" else tiny.vq_coder())


def test_latents_start_at_the_encoded_picture_and_learn(coder: diffusion.Coder):
    picture = torch.rand(1, 3, 16, 16, generator=generator(0))
    latents = diffusion.Latents(coder, 16, 16, rng=[generator(1), generator(2)], init=picture)
    assert coder.factor == 2
    assert latents.latents.shape == (2, 4, 8, 8)
    assert torch.equal(latents.drift(), torch.zeros(2))
    images = latents()
    assert images.shape == (2, 3, 16, 16)
    assert 0 <= float(images.min().detach()) <= float(images.max().detach()) <= 1
    images.square().sum().backward()
    assert (latents.latents.grad.flatten(1).norm(dim=1) > 1e-3).all()
    optimizer = torch.optim.Adam(latents.parameters(), lr=0.2)
    wish, errors = torch.full_like(images, 0.2), []
    for _ in range(15):
        optimizer.zero_grad()
        error = (latents() - wish).square().mean()
        error.backward()
        optimizer.step()
        latents.clamp()
        errors.append(float(error.detach()))
    assert errors[-1] < 0.97 * errors[0]


def test_codes_are_looked_up_and_stay_in_their_range():
    coder = diffusion.Coder(tiny.vq_coder())
    codes = coder.model.quantize.embedding.weight.detach()
    latents = diffusion.Latents(coder, 8, 8, rng=[generator(0)])
    flat = latents.latents.detach().permute(0, 2, 3, 1).reshape(-1, 4)
    assert float(torch.cdist(flat, codes).min(1).values.max()) < 1e-6
    before = latents().detach()
    with torch.no_grad():
        latents.latents.add_(1e-4)
    assert torch.allclose(latents().detach(), before, atol=1e-5)  # the nearest codes are the same
    with torch.no_grad():
        latents.latents.add_(100.0)
    latents.clamp()
    assert torch.allclose(latents.latents.amax((0, 2, 3)), codes.amax(0))


def test_scaled_latents_come_back(coder: diffusion.Coder):
    picture = torch.rand(1, 3, 16, 16, generator=generator(0))
    model = coder.model
    made = model.encode(2 * picture - 1)
    plain = made.latent_dist.mode() if hasattr(made, "latent_dist") else made.latents
    factor = 1.0 if coder.quantized else 0.5
    assert torch.allclose(coder.encode(picture), factor * plain)
    expected = (model.decode(plain).sample / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(coder.decode(coder.encode(picture)), expected, rtol=1e-4, atol=1e-5)


def test_the_norm_prior_is_lowest_at_the_root_of_the_dimension_less_one():
    z = torch.randn(3, 4, 5, 5, generator=generator(0), dtype=torch.float64)
    flat = z.flatten(1).numpy()
    norm = np.linalg.norm(flat, axis=1)
    np.testing.assert_allclose(diffusion.norm_prior(z), norm**2 / 2 - 99 * np.log(norm), rtol=1e-5)
    at = z / z.flatten(1).norm(dim=1).view(-1, 1, 1, 1) * 99**0.5
    at.requires_grad_()
    diffusion.norm_prior(at).sum().backward()
    assert float(at.grad.abs().max()) < 1e-5
    assert diffusion.norm_prior(torch.ones(1, 4, 4).half()).dtype == torch.float32


def test_whiteness_is_the_published_bound_and_tells_noise_from_what_is_none():
    z = torch.randn(2, 8, 12, 12, generator=generator(0))
    got = diffusion.whiteness(z, rng=generator(1), permutations=5)
    stream = generator(1)
    orders = [torch.randperm(1152, generator=stream).numpy() for _ in range(5)]

    def bound(flat: np.ndarray) -> float:
        vectors = flat.reshape(-1, 4).astype(np.float64)
        m = len(vectors)
        mean = np.square(vectors.mean(0)).sum()
        off = np.linalg.norm(vectors.T @ vectors / m - np.eye(4), 2)
        return m * mean / 8 + m * max(np.sqrt(1 + off) - 1 - np.sqrt(4 / m), 0.0) ** 2 / 2

    for row, value in zip(z.flatten(1).numpy(), got.tolist(), strict=True):
        assert value == pytest.approx(bound(row) + np.mean([bound(row[order]) for order in orders]), rel=1e-3)
    assert (got < 10).all()
    smooth = torch.nn.functional.avg_pool2d(z, 3, 1, 1) * 3
    assert (diffusion.whiteness(smooth, rng=generator(1)) > 10 * got.max()).all()
    learned = z.clone().requires_grad_()
    diffusion.whiteness(2 * learned, rng=generator(1)).sum().backward()
    assert float((learned.grad * z).sum()) > 0
    with pytest.raises(ValueError, match="two blocks"):
        diffusion.whiteness(torch.zeros(1, 4), rng=generator(0))
