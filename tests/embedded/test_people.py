"""Named poses and actions: their words and their sides."""

import re

import pytest
import torch

from clipopt.embedded import moves as m
from clipopt.embedded.people import exchanged, poses, stance
from clipopt.geometry.skeleton import JOINTS, limits
from clipopt.render.figure import pose


def joints(one):
    return dict(zip(JOINTS, pose(one.angles[None], one.root[None]).joints[0].numpy(), strict=True))


def named(phrase):
    return next(one for one in poses() if one.phrase == phrase).stances[0]


def test_there_are_enough_and_each_has_a_name_of_its_own():
    assert len(poses()) >= 60
    assert len(m.moves()) >= 30
    assert len({one.phrase for one in poses()}) == len(poses())
    assert len({one.phrase for one in m.moves()}) == len(m.moves())
    low, high = limits()
    for one in poses():
        for s in one.stances:
            assert bool(((s.angles >= low - 1e-5) & (s.angles <= high + 1e-5)).all()), one.phrase


def test_left_is_the_figure_s_own_left():
    up = joints(named("raising the left arm"))
    assert up["left_wrist"][1] > up["head"][1] > up["right_wrist"][1]
    assert joints(named("pointing to the left"))["left_wrist"][0] > 0.6
    assert joints(named("leaning to the left"))["head"][0] > 0.1
    kick = joints(named("kicking with the right leg"))
    assert kick["right_ankle"][2] > 0.4 > kick["left_ankle"][2]
    assert joints(named("kneeling on the left knee"))["left_knee"][1] < 0.2
    assert (
        joints(named("lunging to the right side"))["right_ankle"][0] < joints(named("standing"))["right_ankle"][0] - 0.2
    )


def test_the_other_side_is_the_mirror_image():
    for one in poses():
        other = exchanged(one.phrase)
        if other != one.phrase:
            assert torch.allclose(named(other).angles, one.stances[0].mirrored().angles, atol=1e-6), one.phrase


def test_poses_are_what_they_are_called():
    assert joints(named("squatting"))["pelvis"][1] < 0.4
    assert joints(named("lying on the back"))["head"][1] < 0.2
    hand = joints(named("doing a handstand"))
    assert hand["left_wrist"][1] < 0.25 < 1.2 < hand["left_ankle"][1]
    toes = joints(named("touching the toes"))
    assert toes["left_wrist"][1] < 0.4
    assert abs(joints(named("praying"))["left_wrist"] - joints(named("praying"))["right_wrist"]).max() < 0.25


def test_a_wrong_angle_says_so():
    with pytest.raises(ValueError, match=r"B\.wing"):
        stance("B.wing 20")
    with pytest.raises(ValueError, match="beyond"):
        stance("L.knee 170")


def test_what_is_backward_comes_back():
    table = {one.phrase: one for one in m.moves()}
    for one in table.values():
        if one.backward not in ("", "!"):
            assert table[one.backward].backward == one.phrase
    assert table["walking"].backward == "walking backward"
    assert table["turning to the left"].backward == "turning to the right"


def test_turning_to_the_left_turns_left_and_walking_steps_forward():
    table = {one.phrase: one for one in m.moves()}
    yaw = table["turning to the left"].at(torch.linspace(0, 1, 9))[:, -3]
    assert float(yaw[-1] - yaw[0]) > 2
    around = table["turning around to the left"].at(torch.linspace(0, 2, 17))[:, -3]
    assert bool((around.diff() > 0).all())
    assert float(around[-1] - around[0]) > 11  # twice around
    walk = table["walking"].at(torch.linspace(0, 1, 40))
    posed = pose(walk[:, :-6], walk[:, -6:])
    foot = posed.joints[:, JOINTS.index("left_ankle")]
    low = foot[:, 1] < 0.1
    moved = foot[1:, 2] - foot[:-1, 2]
    assert float(moved[low[1:] & low[:-1]].mean()) < 0  # a foot on the ground goes back under the figure


@pytest.mark.parametrize(
    ("phrase", "said"),
    [
        ("raising both arms", "raises both arms"), ("sitting and hugging the knees", "sits and hugs the knees"),
        ("carrying something", "carries something"), ("doing squats", "does squats"), ("boxing", "boxes"),
        ("lying down", "lies down"), ("with crossed arms", "has crossed arms"), ("on all fours", "is on all fours"),
        ("saluting with the left hand", "salutes with the left hand"),
        ("putting something down", "puts something down"),
    ],
)  # fmt: skip
def test_third_person(phrase, said):
    assert m.third_person(phrase) == said


def test_sentences():
    assert m.sentence(["clapping", "bowing"]) == "a person clapping, then bowing"
    from random import Random

    said = {m.sentence(["raising the left arm"], Random(n)) for n in range(40)}
    assert len(said) > 10
    assert all("left" in text and not re.search(r"\bright\b", text) for text in said)
