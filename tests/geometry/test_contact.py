"""Feet: what slides is measured, what stands is not, and a figure travels by what it stands on."""

import pytest
import torch

from clipopt.geometry.contact import fallen, foot_skate, footsteps, jerk, slides, touching, travel
from clipopt.geometry.spline import catmull_rom, cosines
from clipopt.types import generator


def standing(frames=20):
    joints = torch.ones(frames, 22, 3)
    joints[:, [7, 8], 1], joints[:, [10, 11], 1] = 0.076, 0.026
    return joints


def test_a_foot_that_slides_on_the_ground_is_measured_in_cm_per_second():
    joints = standing()
    assert foot_skate(joints, 30.0) == pytest.approx(0, abs=0.01)
    joints[:, [7, 10], 0] += 0.01 * torch.arange(20)[:, None]  # the left foot, 1 cm a frame
    assert foot_skate(joints, 30.0) == pytest.approx(15, rel=1e-3)  # the mean of both feet
    torch.testing.assert_close(slides(joints, 30.0)[:, 0], torch.full((19,), 0.3), atol=1e-3, rtol=0)


def test_a_foot_in_the_air_may_go_where_it_wants():
    joints = standing()
    joints[:, [7, 10], 0] += 0.05 * torch.arange(20)[:, None]
    joints[:, [7, 10], 1] += 0.2
    assert foot_skate(joints, 30.0) == pytest.approx(0, abs=0.01)
    assert float(touching(joints)[:, 0].max()) < 0.01 < 0.9 < float(touching(joints)[:, 1].min())


def test_travels_against_the_foot_it_stands_on():
    spots = torch.zeros(10, 2, 3)
    spots[:, 0, 2] = -0.02 * torch.arange(10)  # on the ground, going back
    spots[:, 1, 2] = 0.05 * torch.arange(10)
    heights = torch.tensor([0.0, 0.2]).expand(10, 2)
    way = travel(spots, heights)
    torch.testing.assert_close(way[:, 1], 0.02 * torch.arange(10), atol=1e-4, rtol=0)
    assert float(way[:, 0].abs().max()) == 0


def test_in_the_air_it_goes_on_as_it_took_off():
    spots = torch.zeros(21, 1, 3)
    spots[:, 0, 2] = -0.03 * torch.arange(21)
    heights = torch.zeros(21, 1)
    heights[8:12] = 0.3
    spots[9:12, 0, 2] += torch.tensor([0.05, 0.1, 0.05])  # a leg that swings carries nobody
    step = travel(spots, heights)[:, 1].diff()
    torch.testing.assert_close(step, torch.full((20,), 0.03), atol=2e-3, rtol=0)


def test_what_hangs_in_the_air_lands_and_a_jump_is_a_parabola():
    assert float(fallen(torch.full((90,), 0.15), 30.0).max()) == 0
    slow = 0.1 * torch.sin(torch.linspace(0, torch.pi, 90))
    assert float(fallen(slow, 30.0).max()) == 0
    jump = torch.zeros(90)
    jump[30:54] = 0.4 * torch.sin(torch.linspace(0, torch.pi, 24))
    made = fallen(jump, 30.0)
    assert float(made.max()) == pytest.approx(0.4, abs=0.01)
    flight = made[made > 0]
    assert len(flight) / 30 == pytest.approx(2 * (2 * 0.4 / 9.81) ** 0.5, abs=0.07)
    torch.testing.assert_close(flight.diff(n=2) * 900, torch.full((len(flight) - 2,), -9.81), atol=0.02, rtol=0)
    twice = torch.cat([jump, jump])
    assert float(fallen(twice, 30.0)[90:].max()) == pytest.approx(0.4, abs=0.01)


def test_a_foot_that_slides_far_takes_steps_and_one_that_stands_stays():
    joints = standing(60)
    joints[:, [7, 10], 0] += 0.01 * torch.arange(60)[:, None]  # the left foot, 30 cm/s
    made = footsteps(joints, 30.0)
    assert bool((made.stands[:, [1, 3]] == 1).all())
    torch.testing.assert_close(made.places[:, [1, 3]], joints[:, [8, 11]][..., [0, 2]])
    held = made.stands[1:, 0] * made.stands[:-1, 0]
    moved = made.places[:, 0].diff(dim=0).norm(dim=1)
    assert float((held * moved).max()) < 1e-6
    steps = int((made.stands[:, 0].diff() < 0).sum())
    assert 2 <= steps <= 6
    assert float(made.above[made.stands[:, 0] == 0, 0].max()) > 0.05  # it is lifted on its way
    assert float((made.places[:, 0, 0] - joints[:, 7, 0]).abs().max()) < 0.15


def test_jerk_of_a_cubic():
    joints = torch.zeros(30, 22, 3)
    joints[..., 0] = (2 * (torch.arange(30) / 30) ** 3)[:, None]
    assert jerk(joints, 30.0) == pytest.approx(12, rel=1e-2)


def test_spline_meets_its_keys_and_closes_its_loop():
    keys, times = torch.randn(5, 3, generator=generator(0)), torch.tensor([0.0, 0.4, 1.0, 1.3, 2.0])
    torch.testing.assert_close(catmull_rom(keys, times, times), keys)
    torch.testing.assert_close(catmull_rom(keys, times, torch.tensor([-1.0, 9.0])), keys[[0, 4]])
    torch.testing.assert_close(catmull_rom(keys, times, torch.tensor([2.5, 5.0]), loop=2.5), keys[[0, 0]])
    around = catmull_rom(keys, times, torch.linspace(2.3, 2.7, 400), loop=2.5)
    speed = around.diff(dim=0) / (0.4 / 399)
    assert float(speed.diff(dim=0).norm(dim=1).max()) < 1.0  # no kink where it closes


def test_spline_is_differentiable_and_says_what_is_wrong():
    keys = torch.randn(4, 2, dtype=torch.float64, generator=generator(1)).requires_grad_(True)
    times = torch.tensor([0.0, 1.0, 2.5, 3.0], dtype=torch.float64)
    at = torch.tensor([0.3, 1.7, 2.9], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda k: catmull_rom(k, times, at), keys)
    with pytest.raises(ValueError, match="rising"):
        catmull_rom(keys, times.flip(0), at)
    with pytest.raises(ValueError, match="longer"):
        catmull_rom(keys, times, at, loop=2.0)


def test_cosines_are_orthogonal():
    gram = cosines(40, 6).T @ cosines(40, 6)
    torch.testing.assert_close(gram, 20 * torch.eye(6), atol=1e-4, rtol=0)


def test_a_foot_that_turns_where_it_stands_keeps_its_length():
    joints = standing(30)
    angle = torch.linspace(-0.2, 0.2, 30)  # 5 cm at the ball: not far enough for a step
    joints[:, 10, 0], joints[:, 10, 2] = 1 + 0.13 * angle.sin(), 1 + 0.13 * angle.cos()
    places = footsteps(joints, 30.0).places
    assert places[:, [0, 2]].std(0).max() < 1e-4
    assert (places[:, 2] - places[:, 0]).norm(dim=1) == pytest.approx(torch.full((30,), 0.13), abs=1e-4)
