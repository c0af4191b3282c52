import math

import pytest
import torch

from clipopt.geometry.camera import look_at, orbit, turntable


def place(cameras, point):
    x, y, z, w = cameras.project(torch.tensor([point]))[0, 0].tolist()
    return x / w, y / w, z / w


def camera(azimuth, elevation=0.0, distance=3.0):
    return look_at(orbit(torch.tensor([azimuth]), torch.tensor([elevation]), torch.tensor([distance])))


def test_a_camera_at_plus_x_sees_plus_z_on_its_left():
    side = camera(math.pi / 2)
    assert side.eye[0].tolist() == pytest.approx([3, 0, 0], abs=1e-6)
    x, y, _ = place(side, [0.0, 0.0, 0.5])
    assert x < -0.1
    assert abs(y) < 1e-6
    assert place(side, [0.0, 0.5, 0.0])[1] > 0.1, "y is not up"


def test_the_front_camera_sees_plus_x_on_its_right_and_what_is_nearer_has_less_depth():
    front = camera(0.0)
    assert front.eye[0].tolist() == pytest.approx([0, 0, 3], abs=1e-6)
    assert place(front, [0.5, 0.0, 0.0])[0] > 0.1
    assert place(front, [0.0, 0.0, 0.5])[2] < place(front, [0.0, 0.0, -0.5])[2]


def test_the_opening_angle_is_vertical_and_the_aspect_widens():
    edge = math.tan(math.radians(25)) * 3
    wide = look_at(torch.tensor([[0.0, 0, 3]]), fov=math.radians(50), aspect=2.0)
    assert place(wide, [0.0, edge, 0.0])[1] == pytest.approx(1)
    assert place(wide, [2 * edge, 0.0, 0.0])[0] == pytest.approx(1)


def test_near_and_far_planes_have_depth_minus_one_and_one():
    depth = look_at(torch.tensor([[0.0, 0, 3]]), near=0.5, far=9.0)
    assert place(depth, [0.0, 0.0, 2.5])[2] == pytest.approx(-1, abs=1e-5)
    assert place(depth, [0.0, 0.0, -6.0])[2] == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("elevation", [math.pi / 2, -math.pi / 2])
def test_straight_from_above_and_below_the_right_stays_right(elevation):
    x, y, _ = place(camera(0.0, elevation), [0.5, 0.0, 0.0])
    assert x > 0.1
    assert abs(y) < 1e-6
    assert math.copysign(1, elevation) * place(camera(0.0, elevation), [0.0, 0.0, -0.5])[1] > 0.1


def test_a_turntable_goes_round_by_plus_x():
    eyes = turntable(4, elevation=0.0, distance=2.0).eye
    assert torch.allclose(eyes, torch.tensor([[0.0, 0, 2], [2, 0, 0], [0, 0, -2], [-2, 0, 0]]), atol=1e-6)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="stands on its target"):
        look_at(torch.zeros(1, 3))
    with pytest.raises(ValueError, match="0 < near < far"):
        look_at(torch.ones(1, 3), near=2.0, far=1.0)
