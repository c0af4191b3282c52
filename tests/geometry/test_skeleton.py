"""What a figure's angles mean: sides, signs, limits, and that bones keep their lengths."""

import math

import numpy as np
import pytest
import torch

from clipopt.geometry.skeleton import (
    FREEDOMS,
    JOINTS,
    MIRRORED,
    NAMES,
    PARENTS,
    axis_rotation,
    bounded,
    default_skeleton,
    forward_kinematics,
    joint_rotations,
    limits,
    mirror_angles,
    mirror_root,
    to_euler,
    to_quaternion,
    unbounded,
)  # fmt: skip
from clipopt.types import generator


def joints(root=(), **degrees):
    """Where joints are, by name, when some angles are bent from the T."""
    angles = torch.tensor([f.rest for f in FREEDOMS], dtype=torch.float64)
    for name, value in degrees.items():
        angles[NAMES.index(name)] = math.radians(value)
    place = torch.zeros(6, dtype=torch.float64)
    for index, value in dict(root).items():
        place[index] = value
    found, _ = forward_kinematics(default_skeleton(), joint_rotations(angles, place), place[:3])
    return dict(zip(JOINTS, found.numpy(), strict=True))


def test_humanml3d_order():
    assert len(JOINTS) == len(PARENTS) == 22
    assert JOINTS[0] == "pelvis"
    assert [JOINTS.index(n) for n in ("left_hip", "right_knee", "head", "left_wrist", "right_wrist")] == [
        1,
        5,
        15,
        20,
        21,
    ]
    assert all(parent < joint for joint, parent in enumerate(PARENTS))


def test_rests_in_a_t_that_faces_z_with_its_left_at_x():
    rest = joints()
    assert rest["left_wrist"][0] > 0.6
    assert rest["right_wrist"][0] < -0.6
    assert abs(rest["left_wrist"][1] - rest["left_shoulder"][1]) < 1e-9
    assert rest["left_foot"][2] > rest["left_ankle"][2]  # toes point forward
    assert rest["head"][1] > rest["neck"][1] > rest["pelvis"][1] > rest["left_knee"][1]


@pytest.mark.parametrize(
    ("degrees", "joint", "axis", "sign"),
    [
        ({"left_arm_raise": 0}, "left_wrist", 1, -1),
        ({"right_arm_raise": 180}, "right_wrist", 1, 1),
        ({"left_arm_plane": 90}, "left_wrist", 2, 1),
        ({"right_arm_plane": -60}, "right_wrist", 2, -1),
        ({"left_elbow": 90}, "left_wrist", 2, 1),
        ({"left_elbow": 90, "left_arm_twist": -90}, "left_wrist", 1, 1),
        ({"right_elbow": 90, "right_arm_twist": 90}, "right_wrist", 1, -1),
        ({"left_hip_flex": 90}, "left_knee", 2, 1),
        ({"right_hip_flex": -40}, "right_knee", 2, -1),
        ({"left_hip_spread": 60}, "left_ankle", 0, 1),
        ({"right_hip_spread": 60}, "right_ankle", 0, -1),
        ({"right_knee": 90}, "right_ankle", 2, -1),
        ({"left_ankle": 30}, "left_foot", 1, 1),
        ({"left_hip_twist": 60}, "left_foot", 0, 1),
        ({"spine_bend": 80}, "head", 2, 1),
        ({"spine_lean": 40}, "head", 0, 1),
        ({"spine_twist": 60}, "left_wrist", 2, -1),
        ({"head_tilt": 40}, "head", 0, 1),
    ],
)  # fmt: skip
def test_signs(degrees, joint, axis, sign):
    assert sign * (joints(**degrees)[joint] - joints()[joint])[axis] > 0.01


def test_root_turns_left_bends_forward_and_rolls_left():
    assert joints({3: math.pi / 2})["left_foot"][0] > 0.1  # faces +x, its own left
    assert joints({4: math.pi / 2})["head"][2] > 0.5
    assert joints({5: math.pi / 2})["head"][0] > 0.5


def test_bones_keep_their_lengths_and_rotations_are_rotations():
    low, high = (edge.double() for edge in limits())
    share = torch.rand(50, len(FREEDOMS), generator=generator(1), dtype=torch.float64)
    rotations = joint_rotations(low + share * (high - low), torch.randn(50, 6, generator=generator(2)).double())
    places, turns = forward_kinematics(default_skeleton(), rotations, torch.zeros(50, 3).double())
    lengths = (places[:, 1:] - places[:, list(PARENTS[1:])]).norm(dim=-1)
    torch.testing.assert_close(lengths, default_skeleton().offsets[1:].double().norm(dim=1).expand(50, -1))
    torch.testing.assert_close(torch.linalg.det(turns), torch.ones(50, 22).double())


def test_mirror_image_is_the_mirror_image():
    low, high = limits()
    angles = low + torch.rand(9, len(FREEDOMS), generator=generator(3)) * (high - low)
    root = torch.randn(9, 6, generator=generator(4))
    here, _ = forward_kinematics(default_skeleton(), joint_rotations(angles, root), root[:, :3])
    other = mirror_root(root)
    there, _ = forward_kinematics(default_skeleton(), joint_rotations(mirror_angles(angles), other), other[:, :3])
    torch.testing.assert_close(there, here[:, list(MIRRORED)] * torch.tensor([-1.0, 1, 1]), atol=1e-5, rtol=0)


def test_limits_hold_for_any_number_and_come_back():
    low, high = limits()
    wild = bounded(50 * torch.randn(100, len(FREEDOMS), generator=generator(5)))
    assert bool(((wild >= low - 1e-6) & (wild <= high + 1e-6)).all())
    inner = low + 0.02 * (high - low) + 0.96 * torch.rand(20, len(low), generator=generator(6)) * (high - low)
    torch.testing.assert_close(bounded(unbounded(inner, 1e-3)), inner, atol=1e-4, rtol=0)


@pytest.mark.parametrize("order", ["zxy", "xyz", "yzx", "zyx", "xzy", "yxz"])
def test_euler_angles_against_numpy(order):
    def about(axis, angle):
        c, s = np.cos(angle), np.sin(angle)
        i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
        made = np.eye(3)
        made[i, i] = made[j, j] = c
        made[j, i], made[i, j] = s, -s
        return made

    angles = torch.randn(40, 3, generator=generator(7)).double() * 1.2
    angles[0, 1], angles[1, 1] = math.pi / 2, -math.pi / 2  # where the outer axes coincide
    given = np.stack([about(order[0], a) @ about(order[1], b) @ about(order[2], c) for a, b, c in angles.numpy()])
    found = to_euler(torch.from_numpy(given), order).numpy()
    again = np.stack([about(order[0], a) @ about(order[1], b) @ about(order[2], c) for a, b, c in found])
    np.testing.assert_allclose(again, given, atol=1e-6)


def test_quaternions_turn_vectors_as_matrices_do():
    angles = 3 * torch.randn(60, 3, generator=generator(8)).double()
    turns = axis_rotation(0, angles[:, 0]) @ axis_rotation(1, angles[:, 1]) @ axis_rotation(2, angles[:, 2])
    x, y, z, w = to_quaternion(turns).unbind(-1)
    v = torch.tensor([0.3, -0.5, 0.8]).double().expand(60, 3)
    u = torch.stack([x, y, z], -1)
    turned = v + 2 * torch.linalg.cross(u, torch.linalg.cross(u, v) + w[:, None] * v)
    torch.testing.assert_close(turned, turns @ v[0])
    assert bool((w >= 0).all())


def test_wrong_order_says_so():
    with pytest.raises(ValueError, match="zxy"):
        to_euler(torch.eye(3), "zzy")
