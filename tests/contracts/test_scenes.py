"""What every scene with its renderer must do: meshes, motions, latents and noise; a new one joins the table."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import diffusers_models as tiny
import pytest
import torch
from torch import Tensor, nn

from clipopt.diffusion import ChainNoise, Coder, Latents, Noise, Sampler, load_pipeline
from clipopt.geometry.body import default_clothes
from clipopt.geometry.camera import look_at, orbit, turntable
from clipopt.geometry.mesh import icosphere
from clipopt.geometry.skeleton import limits
from clipopt.params import (
    GivenLook,
    Jacobians,
    LargeSteps,
    NormalField,
    Surface,
    Texture,
    VertexColors,
    Vertices,
)
from clipopt.params.motion import Key, Motion
from clipopt.render.draw import draw
from clipopt.render.figure import pose, shoot
from clipopt.render.views import Views
from clipopt.types import generator

SIDE = 16


@dataclass(frozen=True)
class Scene:
    """How a scene is made, by a seed, and how it becomes pictures, (n, 3, SIDE, SIDE)."""

    make: Callable[[int], nn.Module]
    render: Callable[[Any], Tensor]


def shown(mesh: Any) -> Tensor:
    return draw(mesh, turntable(2), torch.ones(1, 3, SIDE, SIDE))


def viewed(mesh: Any) -> Tensor:
    views = Views(count=2, size=SIDE, backgrounds="none")
    return views.shoot(mesh, views.sample(mesh, generator(0)))


def surface(shape: Any, look: Any) -> Callable[[int], nn.Module]:
    def make(seed: int) -> nn.Module:
        ball = icosphere(1)
        made = Surface(ball, shape(ball), look(ball))
        with torch.no_grad():
            for number, parameter in enumerate(made.parameters()):
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator(seed, number))
        return made

    return make


def motion(seed: int) -> nn.Module:
    angles = 0.3 * torch.rand(2, len(limits()[0]), generator=generator(seed))
    return Motion(angles, torch.zeros(2, 6), [Key(0.0, 0), Key(0.5, 1)], seconds=0.5, fps=4.0, waves=2)


def filmed(stances: Any) -> Tensor:
    posed = pose(stances.angles, stances.root)
    cameras = look_at(orbit(*torch.tensor([[0.3], [0.1], [3.0]]).expand(3, len(posed)))).to("cpu")
    return shoot(posed, cameras, torch.ones(1, 3, SIDE, SIDE), default_clothes(), ground=False)


@cache
def sampler(seed: int, folder: Path) -> Sampler:
    pipe = load_pipeline(str(tiny.stable_diffusion(folder)))
    return Sampler(pipe, ["a red apple"], [seed], steps=2, guidance=1.0, size=(SIDE, SIDE))


def same(images: Tensor) -> Tensor:
    return images


@pytest.fixture(scope="module", params=["large steps", "vertices", "jacobians", "normals", "texture", "views", "motion",
                                        "latents", "noise", "chain"])  # fmt: skip
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """Each of the table."""
    folder = tmp_path_factory.getbasetemp() / "generator of scenes"
    table = {
        "large steps": Scene(surface(LargeSteps, VertexColors), shown),
        "vertices": Scene(surface(Vertices, VertexColors), shown),
        "jacobians": Scene(surface(Jacobians, GivenLook), shown),
        "normals": Scene(surface(NormalField, VertexColors), shown),
        "texture": Scene(surface(Vertices, lambda ball: Texture(ball, size=64)), shown),
        "views": Scene(surface(LargeSteps, VertexColors), viewed),
        "motion": Scene(motion, filmed),
        "latents": Scene(lambda seed: Latents(Coder(tiny.kl_coder()), SIDE, SIDE, rng=generator(seed)), same),
        "noise": Scene(lambda seed: Noise(sampler(seed, folder)), same),
        "chain": Scene(lambda seed: ChainNoise(sampler(seed, folder)), same),
    }
    return table[request.param]


def test_pictures_are_in_range_and_the_same_again(scene: Scene):
    before = torch.get_rng_state()
    made = scene.make(0)
    images = scene.render(made())
    assert images.shape[1:] == (3, SIDE, SIDE)
    assert images.dtype == torch.float32
    assert -1e-5 <= images.min().item() <= images.max().item() <= 1 + 1e-5
    assert torch.equal(images, scene.render(made()))
    assert torch.equal(images, scene.render(scene.make(0)()))
    assert not torch.equal(images, scene.render(scene.make(1)()))
    assert torch.equal(torch.get_rng_state(), before)


def test_every_parameter_gets_a_gradient_through_the_pictures(scene: Scene):
    made = scene.make(0)
    images = scene.render(made())
    (images * torch.randn(images.shape, generator=generator(1))).sum().backward()
    for name, parameter in made.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_state_round_trips(scene: Scene):
    made, other = scene.make(0), scene.make(1)
    other.load_state_dict(made.state_dict())
    assert torch.equal(scene.render(other()), scene.render(made()))


def test_falls_under_optimization(scene: Scene):
    with torch.no_grad():
        goal = scene.render(scene.make(1)())
    made = scene.make(0)
    optimizer, errors = torch.optim.Adam(made.parameters(), lr=0.003), []
    for _ in range(12):
        optimizer.zero_grad()
        error = (scene.render(made()) - goal).square().mean()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert min(errors[1:]) < 0.95 * errors[0]
