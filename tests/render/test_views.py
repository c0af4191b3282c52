import math
from dataclasses import replace

import pytest
import torch

from clipopt.geometry.camera import turntable
from clipopt.geometry.mesh import icosphere
from clipopt.optimizers import AdamUniform
from clipopt.params import LargeSteps, Surface
from clipopt.render.draw import silhouettes
from clipopt.render.views import Views, soft_backgrounds
from clipopt.types import generator

PLAIN = Views(count=6, size=48, backgrounds="none", jitter=0.0, offset=0.0)


def test_the_same_draw_gives_the_same_pictures_and_leaves_the_global_stream_alone():
    before = torch.get_rng_state()
    views, sphere = Views(count=2, size=24), icosphere(1)
    assert torch.equal(views(sphere, generator(1, 5)), views(sphere, generator(1, 5)))
    assert not torch.equal(views(sphere, generator(1, 5)), views(sphere, generator(1, 6)))
    assert torch.equal(torch.get_rng_state(), before)


def test_an_item_does_not_depend_on_its_neighbours_and_owns_its_rows():
    views = Views(count=2, size=24)
    one, other = icosphere(1), replace(icosphere(1), vertices=icosphere(1).vertices * torch.tensor([1, 0.3, 1]))
    pictures = views([one, other], generator(3))
    assert pictures.shape == (4, 3, 24, 24)
    assert torch.equal(pictures[:2], views([one], generator(3)))
    assert torch.equal(pictures[2:], views([one, other, one], generator(3))[2:4])


def test_azimuths_go_all_around():
    eyes = PLAIN.cameras(icosphere(1), generator(2)).eye
    azimuth = torch.atan2(eyes[:, 0], eyes[:, 2]).sort().values
    gaps = torch.cat([azimuth.diff(), azimuth[:1] + 2 * math.pi - azimuth[-1:]])
    assert gaps.max() < 2 * 2 * math.pi / 6


@pytest.mark.parametrize("radius", [0.1, 1.0, 7.0])
def test_adaptive_distance_keeps_the_size_in_the_picture(radius):
    sphere = icosphere(2, radius)
    views = replace(PLAIN, fill=(0.7, 0.7))
    share = silhouettes(sphere, views.cameras(sphere, generator(0)), (48, 48)).mean((1, 2))
    assert share.sqrt().mean().item() == pytest.approx(0.7 * (math.pi / 4) ** 0.5, rel=0.03)


def test_the_offset_moves_the_object_and_shows_it_from_the_same_side():
    sphere = icosphere(1)
    centred, moved = (replace(PLAIN, offset=o).cameras(sphere, generator(4)) for o in (0.0, 0.3))
    assert torch.equal(centred.eye, moved.eye)
    middle = moved.project(torch.zeros(1, 3))[:, 0]
    assert 0.05 < (middle[:, :2] / middle[:, 3:]).abs().max() <= 0.3


def test_as_many_views_are_grey_as_asked_for():
    red = replace(icosphere(1), colors=torch.tensor([[1.0, 0, 0]]).expand(42, 3))
    pictures = replace(PLAIN, textureless=0.5)(red, generator(0))
    coloured = (pictures[:, 0] - pictures[:, 1]).amax((1, 2)) > 0.3
    assert coloured.sum() == 3


def test_a_sphere_takes_the_shape_of_a_silhouette():
    """Eight outlines of a bumpy solid, and nothing else."""
    start = icosphere(2)
    v = start.vertices
    goal = replace(start, vertices=v * (1 + 0.25 * torch.sin(4 * v[:, :1]) * torch.cos(3 * v[:, 1:2])))
    cameras = turntable(8)
    wanted = silhouettes(goal, cameras, (40, 40))
    surface = Surface(start, LargeSteps(start, smooth=5.0))
    optimizer = AdamUniform(surface.parameters(), lr=0.05)
    errors = []
    for _ in range(25):
        optimizer.zero_grad()
        error = (silhouettes(surface(), cameras, (40, 40)) - wanted).square().mean()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.6 * errors[0]


def test_soft_backgrounds_pass_from_colour_to_colour():
    made = soft_backgrounds(40, 24, generator(1))
    assert made.shape == (40, 3, 24, 24)
    assert made.min() >= 0
    assert made.max() <= 1
    assert max(made.diff(dim=axis).abs().max() for axis in (2, 3)) < 0.08
    assert (made.std((2, 3)).amax(1) > 0.02).float().mean() > 0.5
    assert made.mean((2, 3)).std(0).min() > 0.2


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="offset below 1"):
        Views(offset=2.0)


def test_another_mesh_can_be_shown_in_the_same_shot():
    views, sphere = Views(count=4, size=32, textureless=0.5), icosphere(2)
    flat = replace(sphere, vertices=sphere.vertices * torch.tensor([1.0, 0.4, 1.0]))
    shot = views.sample(sphere, generator(3))
    assert torch.equal(views.shoot(sphere, shot), views.shoot(sphere, shot))
    assert int(shot.textureless.sum()) == 2
    one, other = views.shoot(sphere, shot), views.shoot(flat, shot)
    # What both leave free is the same background.
    assert ((one == other).all(1).float().mean((1, 2)) > 0.2).all()
    assert not torch.equal(one, other)
    torch.testing.assert_close(shot.toward, torch.nn.functional.normalize(shot.cameras.eye, dim=1), atol=1e-5, rtol=0)
