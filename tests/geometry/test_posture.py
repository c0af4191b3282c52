"""Posture: who stands is in balance, who leans is not, and legs that cross are noticed."""

import pytest

from clipopt.embedded.people import poses, stance
from clipopt.geometry.posture import balance_point, crossing, imbalance, overturned
from clipopt.geometry.skeleton import JOINTS
from clipopt.render.figure import pose


def joints_of(angles=""):
    given = stance(angles)
    return pose(given.angles[None], given.root[None]).joints[0]


def test_people_are_in_balance():
    for one in poses():
        for posed in one.stances:
            assert float(imbalance(pose(posed.angles[None], posed.root[None]).joints[0])) < 0.09, one.phrase


@pytest.mark.parametrize("tilt", ["roll 24", "roll -24", "pitch 24", "pitch -24"])
def test_who_leans_as_a_whole_falls_the_more_the_further(tilt):
    way, _, degrees = tilt.partition(" ")
    little, much = (float(imbalance(joints_of(f"{way} {float(degrees) * share}"))) for share in (0.6, 1.0))
    assert 0.02 < little < much < 0.4


def test_in_the_air_nobody_is_out_of_balance():
    assert float(imbalance(joints_of("roll 24 lift 50"))) < 1e-3


def test_its_slope_rights_the_figure():
    joints = joints_of("roll 24").requires_grad_()
    imbalance(joints).backward()
    out = balance_point(joints.detach())[0] - joints.detach()[JOINTS.index("left_ankle"), 0]
    assert float(joints.grad[JOINTS.index("head"), 0] * out) > 0


def test_the_centre_of_mass_is_at_the_height_of_the_navel():
    at = balance_point(joints_of())
    assert abs(float(at[0])) < 0.01
    assert 0.9 < float(at[1]) < 1.15


def test_legs_that_cross_are_noticed_of_who_stands_alone():
    assert float(crossing(joints_of())) == 0
    crossed = joints_of("B.spread -20")
    assert float(crossing(crossed)) > 0.1
    assert float(crossing(joints_of("B.flex 96 B.spread 42 B.turn 60 B.knee 128 B.ankle -20"))) < 0.02


def test_only_who_has_both_feet_above_the_head_is_upside_down():
    assert float(overturned(joints_of("pitch 180 B.raise 176"))) > 1.2
    for angles in ("", "L.flex 90 L.knee 4", "pitch -90", "pitch 62 B.flex 62 bend 82", "pitch 78 L.flex -20"):
        assert float(overturned(joints_of(angles))) == 0, angles
