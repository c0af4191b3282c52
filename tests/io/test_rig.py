"""Rigs of others: bones found by their names, and bent as the figure is bent."""

import json
import struct

import numpy as np
import pytest
import torch

from clipopt.embedded.people import stance
from clipopt.geometry.skeleton import JOINTS, joint_rotations
from clipopt.io import motion as motions
from clipopt.io.rig import find_bones, load_rig, retarget, save_rig
from clipopt.render.figure import pose

MIXAMO = {
    "pelvis": "Hips", "spine1": "Spine", "spine2": "Spine1", "spine3": "Spine2", "neck": "Neck", "head": "Head",
    "hip": "UpLeg", "knee": "Leg", "ankle": "Foot", "foot": "ToeBase", "collar": "Shoulder", "shoulder": "Arm",
    "elbow": "ForeArm", "wrist": "Hand",
}  # fmt: skip


BLENDER = [
    "hips",
    "thigh.L",
    "thigh.R",
    "spine",
    "shin.L",
    "shin.R",
    "spine.001",
    "foot.L",
    "foot.R",
    "chest",
    "toe.L",
    "toe.R",
    "neck",
    "shoulder.L",
    "shoulder.R",
    "head",
    "upper_arm.L",
    "upper_arm.R",
    "forearm.L",
    "forearm.R",
    "hand.L",
    "hand.R",
]


def mixamo(name):
    side, _, part = name.rpartition("_")
    return f"mixamorig:{side.capitalize()}{MIXAMO[part]}"


@pytest.fixture(scope="module")
def bent():
    poses = [
        stance(""),
        stance("L.raise 174 look 40 R.flex 80 R.knee 60"),
        stance("pitch 40 yaw 50 B.raise 90 B.elbow 70"),
    ]
    angles, root = torch.stack([p.angles for p in poses]), torch.stack([p.root for p in poses])
    return joint_rotations(angles, root), pose(angles, root)


def world(rig, local, hips):
    """Where the rig's joints are, by rotations against parents and the place of its hips."""
    places, turns = [], []
    for n, parent in enumerate(rig.parents):
        offset = rig.local[n, :3, 3]
        if parent < 0:
            places.append(hips if n == rig.bones[0] else offset.expand_as(hips))
            turns.append(local[:, n])
        else:
            places.append(hips if n == rig.bones[0] else places[parent] + turns[parent] @ offset)
            turns.append(turns[parent] @ local[:, n])
    return torch.stack(places, 1)


@pytest.mark.parametrize(
    "names",
    [
        [mixamo(n) for n in JOINTS],
        list(JOINTS),
        BLENDER,
    ],
    ids=["mixamo", "ours", "blender"],
)  # fmt: skip
def test_bones_are_found_by_the_usual_names(names):
    assert find_bones(names) == {n: n for n in range(22)}


def test_a_bvh_of_our_own_bones_moves_as_we_do(bent, tmp_path):
    rotations, posed = bent
    motions.save_bvh(tmp_path / "rig.bvh", rotations[:1], torch.zeros(1, 3), fps=30)
    text = (tmp_path / "rig.bvh").read_text()
    for name in JOINTS:
        text = text.replace(f" {name}\n", f" {mixamo(name)}\n")
    (tmp_path / "rig.bvh").write_text(text)
    rig = load_rig(tmp_path / "rig.bvh")
    local, hips = retarget(rig, posed.turns, posed.joints[:, 0])
    found = world(rig, local, hips)
    order = [rig.bones[j] for j in range(22)]
    apart = found[:, order] - posed.joints
    torch.testing.assert_close(apart, apart[:, :1].expand_as(apart), atol=1e-4, rtol=0)
    save_rig(tmp_path / "out.bvh", rig, posed.turns, posed.joints[:, 0], fps=24)
    again = load_rig(tmp_path / "out.bvh")
    assert again.names == rig.names
    rows = (tmp_path / "out.bvh").read_text().split("Frame Time:")[1].splitlines()[1:]
    assert len(rows) == 3
    assert len(rows[0].split()) == 6 + 21 * 3


def test_a_glb_in_centimetres_under_a_turned_node_moves_as_we_do(bent, tmp_path):
    rotations, posed = bent
    motions.save_glb(tmp_path / "a.glb", rotations[:1], torch.zeros(1, 3), fps=30)
    raw = (tmp_path / "a.glb").read_bytes()
    length = struct.unpack_from("<I", raw, 12)[0]
    tree = json.loads(raw[20 : 20 + length])
    for number, node in enumerate(tree["nodes"][:22]):
        node["translation"] = [100 * v for v in node["translation"]]
        node["name"] = mixamo(JOINTS[number])
    tree["nodes"].append({"name": "Armature", "children": [0], "scale": [0.01] * 3, "rotation": [0, 0, 0, 1]})
    text = json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    body = raw[20 + length :]
    head = struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(body), len(text), b"JSON")
    (tmp_path / "b.glb").write_bytes(head + text + body)
    rig = load_rig(tmp_path / "b.glb")
    save_rig(tmp_path / "c.glb", rig, posed.turns, posed.joints[:, 0], fps=30)
    import pygltflib

    made = pygltflib.GLTF2().load(str(tmp_path / "c.glb"))
    (animation,) = made.animations
    found = {}
    for channel in animation.channels:
        told = made.accessors[animation.samplers[channel.sampler].output]
        width = {"VEC3": 3, "VEC4": 4}[told.type]
        start = made.bufferViews[told.bufferView].byteOffset
        values = np.frombuffer(made.binary_blob(), np.float32, told.count * width, start).reshape(-1, width)
        found[made.nodes[channel.target.node].name, channel.target.path] = values
    hips = found[mixamo("pelvis"), "translation"]
    np.testing.assert_allclose(np.diff(hips[:, 1]) / 100, np.diff(posed.joints[:, 0, 1]), atol=0.05)
    expected = rotations[:, JOINTS.index("right_knee")]
    x, _, z, _ = found[mixamo("right_knee"), "rotation"].T
    np.testing.assert_allclose(1 - 2 * (x * x + z * z), expected[:, 1, 1], atol=1e-5)
    assert len(made.skins) == 1


def test_lowered_arms_at_rest_are_lifted_first(bent):
    """A rig that rests with its arms hanging must still raise them to where ours are."""
    _, posed = bent
    from clipopt.geometry.skeleton import PARENTS, default_skeleton
    from clipopt.io.rig import Rig

    offsets = default_skeleton().offsets.clone()
    for side, name in ((1, "left"), (-1, "right")):
        for part, length in (("elbow", 0.27), ("wrist", 0.25)):
            offsets[JOINTS.index(f"{name}_{part}")] = torch.tensor([side * length * 0.6, -length * 0.8, 0.0])
    local = torch.eye(4).repeat(22, 1, 1)
    local[:, :3, 3] = offsets
    rig = Rig(JOINTS, PARENTS, local, find_bones(list(JOINTS)), lines=("x",))
    found = world(rig, *retarget(rig, posed.turns, posed.joints[:, 0]))
    apart = found - posed.joints
    torch.testing.assert_close(apart, apart[:, :1].expand_as(apart), atol=1e-4, rtol=0)


def test_what_is_no_rig_says_so(tmp_path):
    with pytest.raises(ValueError, match="that exists"):
        load_rig(tmp_path / "none.glb")
    (tmp_path / "a.bvh").write_text(
        "HIERARCHY\nROOT box\n{\nOFFSET 0 0 0\nCHANNELS 3 Zrotation Xrotation Yrotation\n}\n"
    )
    with pytest.raises(ValueError, match="lacks bones for pelvis"):
        load_rig(tmp_path / "a.bvh")
    (tmp_path / "a.glb").write_bytes(b"glTF")
    with pytest.raises(ValueError, match="cut short"):
        load_rig(tmp_path / "a.glb")
