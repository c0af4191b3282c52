import pytest
import torch
from torch import nn

from clipopt.types import generator
from recipes.embedded.muon import Muon, orthogonal


@pytest.mark.parametrize("shape", [(8, 8), (5, 40), (40, 5)])
def test_a_step_is_nearly_orthogonal_and_keeps_the_directions(shape):
    matrix = torch.randn(shape, generator=generator(0))
    step = orthogonal(matrix)
    u, _, v = torch.linalg.svd(matrix, full_matrices=False)
    along = u.mT @ step @ v.mT
    assert along.diagonal().min() > 0.6
    assert along.diagonal().max() < 1.3
    assert (along - torch.diag(along.diagonal())).abs().max() < 0.05


def test_a_convolution_moves_like_the_matrix_of_its_kernels():
    kernels = torch.randn(6, 3, 3, 3, generator=generator(1))
    slope = torch.randn(6, 3, 3, 3, generator=generator(2))
    convolution, matrix = nn.Parameter(kernels.clone()), nn.Parameter(kernels.flatten(1).clone())
    convolution.grad, matrix.grad = slope, slope.flatten(1)
    for weight in (convolution, matrix):
        Muon([weight], lr=0.1).step()
    assert torch.equal(convolution.flatten(1), matrix)
    assert not torch.equal(convolution, kernels)


def test_the_size_of_a_step_is_the_rate_whatever_the_gradient():
    for scale in (1e-6, 1e6):
        weight = nn.Parameter(torch.zeros(4, 16))
        weight.grad = scale * torch.randn(4, 16, generator=generator(3))
        Muon([weight], lr=0.1).step()
        assert torch.linalg.svdvals(weight.detach()).mean() == pytest.approx(0.1, rel=0.3)


def test_without_gradient_nothing_moves_and_without_slope_weights_shrink():
    still, shrinking = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2, 2))
    shrinking.grad = torch.zeros(2, 2)
    Muon([still, shrinking], lr=0.5, weight_decay=0.1).step()
    assert torch.equal(still, torch.ones(2, 2))
    assert torch.allclose(shrinking, torch.full((2, 2), 0.95))


def test_it_solves_least_squares():
    a, b = (torch.randn(32, 8, generator=generator(seed)) for seed in (4, 5))
    weight = nn.Parameter(torch.zeros(8, 8))
    optimizer, losses = Muon([weight], lr=0.02, weight_decay=0.0), []
    for _ in range(200):
        loss = (a @ weight - b).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    best = float((a @ torch.linalg.lstsq(a, b).solution - b).square().mean())
    assert losses[-1] < 1.05 * best
