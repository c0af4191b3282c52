"""The figure: it stands on the ground, shows its own left on the picture's right, and passes gradients."""

import math

import pytest
import torch

from clipopt.embedded.people import stance
from clipopt.geometry.body import coarse_skin, default_clothes, default_skin
from clipopt.geometry.mesh import volume
from clipopt.geometry.skeleton import JOINTS
from clipopt.render.figure import cameras, look, pose, shoot, surface


def posed(text, **root):
    one = stance(text)
    return pose(one.angles[None], one.root[None])


@pytest.mark.parametrize("text", ["", "B.flex 110 B.knee 120", "pitch -90", "pitch 180 B.raise 175", "roll 90"])
def test_the_lowest_point_of_the_surface_is_on_the_ground(text):
    mesh = surface(posed(text), 0, default_clothes(), ground=False)
    assert float(mesh.vertices[:, 1].min()) == pytest.approx(0, abs=0.012)  # facets of a capsule
    assert float(mesh.vertices[:, 1].min()) >= -1e-5


def test_lift_is_the_height_over_the_ground():
    mesh = surface(posed("lift 40"), 0, default_clothes(), ground=False)
    assert float(mesh.vertices[:, 1].min()) == pytest.approx(0.4, abs=0.012)
    mesh = surface(posed("lift -40"), 0, default_clothes(), ground=False)
    assert float(mesh.vertices[:, 1].min()) == pytest.approx(0, abs=0.012)  # nothing goes into the ground


def test_is_as_tall_as_a_person_and_closed():
    mesh = surface(posed(""), 0, default_clothes(), ground=False)
    assert 1.65 < float(mesh.vertices[:, 1].max()) < 1.85
    assert 0.03 < float(volume(mesh.vertices, mesh.faces)) < 0.15
    assert int(default_skin().edges.count.min()) == int(default_skin().edges.count.max()) == 2


def test_from_in_front_its_left_hand_is_on_the_right_of_the_picture():
    figure = posed("L.raise 90 R.raise 0")
    shots = cameras(torch.zeros(1), torch.zeros(1), look(figure))
    picture = shoot(figure, shots, torch.zeros(1, 3, 64, 64), default_clothes(), ground=False)[0]
    assert float(picture[:, :, 36:].sum()) > 1.3 * float(picture[:, :, :28].sum())
    # The camera at azimuth 90 degrees stands on its left: its toes point to the left of the picture.
    side = cameras(torch.tensor([math.pi / 2]), torch.zeros(1), look(figure))
    foot, heel = (side.project(figure.joints[0])[0, JOINTS.index(f"left_{n}")] for n in ("foot", "ankle"))
    assert float(foot[0] / foot[3]) < float(heel[0] / heel[3])


def test_the_ground_is_darker_below_the_figure():
    mesh = surface(posed(""), 0, default_clothes())
    floor = mesh.vertices[len(default_skin().vertices) :]
    shade = mesh.colors[len(default_skin().vertices) :].mean(1)
    near, far = floor[:, [0, 2]].norm(dim=1) < 0.2, floor[:, [0, 2]].norm(dim=1) > 1
    assert float(shade[near].mean()) < 0.85 * float(shade[far].mean())


def test_gradient_of_the_picture_reaches_every_angle():
    angles = (stance("B.raise 60 B.elbow 40 B.flex 30 B.knee 40").angles + 0.05)[None].requires_grad_(True)
    root = torch.zeros(1, 6, requires_grad=True)
    figure = pose(angles, root)
    weights = torch.linspace(0, 1, 96)[None, None] * torch.linspace(1, 0.2, 96)[None, :, None]
    shots = cameras(torch.tensor([0.6]), torch.tensor([0.2]), look(figure))
    (shoot(figure, shots, torch.full((1, 3, 96, 96), 0.4), default_clothes()) * weights).sum().backward()
    assert bool((angles.grad.abs() > 1e-3).all())
    assert bool((root.grad[0, 3:].abs() > 1e-3).all())


def test_one_camera_for_each_frame():
    with pytest.raises(ValueError, match="1 frames"):
        shoot(
            posed(""),
            cameras(torch.zeros(2), torch.zeros(2), torch.zeros(2, 3)),
            torch.zeros(1, 3, 8, 8),
            default_clothes(),
        )


def test_frames_drawn_together_are_those_drawn_one_by_one():
    from clipopt.render.tiles import shoot_together

    figures = [stance(t) for t in ("", "B.raise 170", "pitch -90", "lift 40 B.raise 170", "L.raise 90 R.flex 80")]
    joints = torch.stack([f.angles for f in figures]).requires_grad_(True)
    posed_ = pose(joints, torch.stack([f.root for f in figures]))
    turn = torch.tensor([0.0, 0.5, 1.2, -0.7, 0.2])
    shots = cameras(turn, torch.full((5,), 0.15), look(posed_))
    back, lamp = torch.full((1, 3, 48, 40), 0.6), torch.nn.functional.normalize(torch.tensor([0.3, 0.8, 0.5]), dim=0)
    one = shoot(posed_, shots, back, default_clothes(), ground=False, lamp=lamp.expand(5, -1), skin=coarse_skin())
    together = shoot_together(posed_, shots, back, default_clothes(), lamp)
    assert together.shape == (5, 3, 48, 40)
    assert float((one - together).detach().abs().mean()) < 1e-4
    weights = torch.linspace(0, 1, 40) * torch.ones(5, 3, 48, 1)
    slopes = [torch.autograd.grad((p * weights).sum(), joints, retain_graph=True)[0] for p in (one, together)]
    assert float((slopes[0] - slopes[1]).norm()) < 0.02 * float(slopes[0].norm())
