"""Motion files, read back by libraries that know nothing of this project."""

import json

import bvh
import numpy as np
import pygltflib
import pytest
import torch

from clipopt.embedded.people import stance
from clipopt.geometry.body import default_clothes
from clipopt.geometry.skeleton import JOINTS, PARENTS, default_skeleton, joint_rotations
from clipopt.io import motion as motions
from clipopt.params.motion import Key, Motion
from clipopt.render.figure import pose, surface


@pytest.fixture(scope="module")
def moved():
    """Rotations and joints of a motion that bends and turns everything."""
    poses = [
        stance(""),
        stance("B.raise 174 look 50 twist 40 yaw 170 R.turn 30"),
        stance("pitch -80 L.flex 90 lean 30 R.elbow 90"),
    ]
    keys = [Key(0, 0), Key(0.4, 1), Key(1, 2)]
    motion = Motion(
        torch.stack([p.angles for p in poses]), torch.stack([p.root for p in poses]), keys, seconds=1.0, fps=25
    )
    with torch.no_grad():
        made = motion()
        return joint_rotations(made.angles, made.root), pose(made.angles, made.root)


def test_bvh_read_by_another_parser_puts_every_joint_where_it_was(moved, tmp_path):
    rotations, posed = moved
    motions.save_bvh(tmp_path / "a.bvh", rotations, posed.joints[:, 0], fps=25)
    read = bvh.Bvh((tmp_path / "a.bvh").read_text())
    assert read.nframes == 25
    assert read.frame_time == pytest.approx(0.04)
    assert sorted(read.get_joints_names()) == sorted(JOINTS)

    def about(axis, degrees):
        c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        rows = {"X": [[1, 0, 0], [0, c, -s], [0, s, c]], "Y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
                "Z": [[c, -s, 0], [s, c, 0], [0, 0, 1]]}  # fmt: skip
        return np.array(rows[axis])

    worst = 0.0
    for frame in range(0, 25, 4):
        places, turns = {}, {}
        for name in read.get_joints_names():  # each behind its parent
            parent = read.joint_parent(name)
            turn = np.eye(3)
            for channel in read.joint_channels(name):
                if channel.endswith("rotation"):
                    turn = turn @ about(channel[0], read.frame_joint_channel(frame, name, channel))
            if parent is None:
                places[name] = np.array([read.frame_joint_channel(frame, name, f"{a}position") for a in "XYZ"])
                turns[name] = turn
            else:
                places[name] = places[parent.name] + turns[parent.name] @ np.array(read.joint_offset(name))
                turns[name] = turns[parent.name] @ turn
            worst = max(worst, np.abs(places[name] - posed.joints[frame, JOINTS.index(name)].numpy()).max())
    assert worst < 1e-4


def accessor(tree, number):
    """Values of an accessor, by the specification alone."""
    told = tree.accessors[number]
    view = tree.bufferViews[told.bufferView]
    kind = {5126: np.float32, 5121: np.uint8, 5125: np.uint32}[told.componentType]
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}[told.type]
    start = view.byteOffset + (told.byteOffset or 0)
    return np.frombuffer(tree.binary_blob(), kind, told.count * width, start).reshape(told.count, width)


def turned(quaternion, vectors):
    u, w = quaternion[:3], quaternion[3]
    return vectors + 2 * np.cross(u, np.cross(u, vectors) + w * vectors)


def test_animated_glb_read_by_pygltflib_bends_the_surface_as_it_was_drawn(moved, tmp_path):
    rotations, posed = moved
    motions.save_glb(tmp_path / "a.glb", rotations, posed.joints[:, 0], fps=25)
    tree = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    (animation,), (skin,), (mesh,) = tree.animations, tree.skins, tree.meshes
    assert [tree.nodes[n].name for n in skin.joints] == list(JOINTS)
    attributes = mesh.primitives[0].attributes
    points, joint = accessor(tree, attributes.POSITION), accessor(tree, attributes.JOINTS_0)[:, 0]
    np.testing.assert_array_equal(accessor(tree, attributes.WEIGHTS_0), [[1, 0, 0, 0]] * len(points))
    inverse = accessor(tree, skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1)
    parent = {child: n for n, node in enumerate(tree.nodes) for child in node.children or []}
    tracks = {}
    for channel in animation.channels:
        sampler = animation.samplers[channel.sampler]
        times = accessor(tree, sampler.input)[:, 0]
        tracks[channel.target.node, channel.target.path] = accessor(tree, sampler.output)
    np.testing.assert_allclose(times, np.arange(25) / 25, atol=1e-6)
    for frame in (0, 9, 17, 24):
        places, axes = {}, {}
        for n in range(22):
            local = tracks.get((n, "translation"), [tree.nodes[n].translation] * 25)[frame]
            own = np.stack([turned(tracks[n, "rotation"][frame], axis) for axis in np.eye(3)], 1)
            up = parent.get(n)
            places[n] = np.array(local) if up is None else places[up] + axes[up] @ local
            axes[n] = own if up is None else axes[up] @ own
        found = np.stack([places[n] for n in range(22)])
        np.testing.assert_allclose(found, posed.joints[frame].numpy(), atol=2e-5)
        local = np.einsum("vij,vj->vi", inverse[joint], np.c_[points, np.ones(len(points))])[:, :3]
        bent = np.stack([places[j] + axes[j] @ v for j, v in zip(joint, local, strict=True)])
        drawn = surface(posed, frame, default_clothes(), ground=False).vertices.numpy()
        np.testing.assert_allclose(bent, drawn, atol=5e-5)


def test_quaternions_of_neighbouring_frames_go_the_short_way(moved, tmp_path):
    rotations, posed = moved
    motions.save_glb(tmp_path / "a.glb", rotations, posed.joints[:, 0], fps=25)
    tree = pygltflib.GLTF2().load(str(tmp_path / "a.glb"))
    for channel in tree.animations[0].channels:
        if channel.target.path == "rotation":
            values = accessor(tree, tree.animations[0].samplers[channel.sampler].output)
            assert ((values[1:] * values[:-1]).sum(1) > 0).all()


def test_glb_opens_in_trimesh_with_its_colours(moved, tmp_path):
    trimesh = pytest.importorskip("trimesh")
    rotations, posed = moved
    motions.save_glb(tmp_path / "a.glb", rotations, posed.joints[:, 0], fps=25)
    (shape,) = trimesh.load_scene(tmp_path / "a.glb").geometry.values()
    assert len(shape.faces) == 1536
    assert shape.is_watertight


def test_npz_holds_the_joints_in_humanml3d_order(moved, tmp_path):
    _, posed = moved
    motions.save_npz(tmp_path / "a.npz", posed.joints, fps=25, more=torch.ones(2))
    with np.load(tmp_path / "a.npz") as read:
        np.testing.assert_array_equal(read["joints"], posed.joints.numpy())
        assert read["fps"] == 25
        assert list(read["names"][[0, 1, 15, 20]]) == ["pelvis", "left_hip", "head", "left_wrist"]
        assert read["more"].sum() == 2


def test_the_skeleton_of_the_files_is_the_figure_s(tmp_path, moved):
    rotations, posed = moved
    motions.save_bvh(tmp_path / "a.bvh", rotations, posed.joints[:, 0], fps=25)
    read = bvh.Bvh((tmp_path / "a.bvh").read_text())
    for joint in range(1, 22):
        np.testing.assert_allclose(
            read.joint_offset(JOINTS[joint]), default_skeleton().offsets[joint].numpy(), atol=1e-6
        )
        assert read.joint_parent(JOINTS[joint]).name == JOINTS[PARENTS[joint]]
    assert json.dumps(list(JOINTS))
