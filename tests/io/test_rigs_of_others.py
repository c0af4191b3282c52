"""Rigs as tools write them: what is written for them is read back by forward kinematics of its own."""

import json

import numpy as np
import pytest
import torch
from glb import Builder, pack

from clipopt.geometry.skeleton import PARENTS, about, default_skeleton, forward_kinematics, nearest_angles
from clipopt.io.formats.bvh import read_bvh
from clipopt.io.rig import load_rig, save_rig
from clipopt.types import generator

BONES = [
    ("Hips", None, (0, 95, 0)), ("Spine", "Hips", (0, 10, 0)), ("Neck", "Spine", (0, 40, 0)),
    ("Head", "Neck", (0, 10, 0)), ("LeftUpLeg", "Hips", (9, -5, 0)), ("LeftLeg", "LeftUpLeg", (0, -42, 0)),
    ("LeftFoot", "LeftLeg", (0, -42, 0)), ("RightUpLeg", "Hips", (-9, -5, 0)), ("RightLeg", "RightUpLeg", (0, -42, 0)),
    ("RightFoot", "RightLeg", (0, -42, 0)), ("LeftArm", "Spine", (17, 38, 0)), ("LeftForeArm", "LeftArm", (28, 0, 0)),
    ("LeftHand", "LeftForeArm", (25, 0, 0)), ("RightArm", "Spine", (-17, 38, 0)),
    ("RightForeArm", "RightArm", (-28, 0, 0)), ("RightHand", "RightForeArm", (-25, 0, 0)),
]  # fmt: skip
MOVED, TURNED = ["Xposition", "Yposition", "Zposition"], ["Zrotation", "Xrotation", "Yrotation"]
REST = {name: at for name, _, at in BONES}


def usual(name):
    return MOVED + TURNED if name == "Hips" else TURNED


def write(path, channels=usual, *, root=None, name=str, offset=lambda _, at: at, rows=None, frames=None, time="0.03"):
    """A BVH; `root` stands above the hips."""
    bones = BONES if root is None else [(root, None, (0, 0, 0)), *((n, p or root, at) for n, p, at in BONES)]
    lines, width = ["HIERARCHY"], 0

    def joint(own, depth):
        nonlocal width
        at = offset(own, next(at for n, _, at in bones if n == own))
        pad = "\t" * depth
        top = all(p is None for n, p, _ in bones if n == own)
        lines.extend([f"{pad}{'ROOT' if top else 'JOINT'} {name(own)}", pad + "{"])
        lines.append(f"{pad}\tOFFSET {' '.join(f'{v:g}' for v in at)}")
        if (said := channels(own)) is not None:
            lines.append(f"{pad}\tCHANNELS {len(said)} {' '.join(said)}")
            width += len(said)
        below = [n for n, p, _ in bones if p == own]
        for child in below:
            joint(child, depth + 1)
        if not below:
            lines.extend([f"{pad}\tEnd Site", pad + "\t{", f"{pad}\t\tOFFSET 0 5 0", pad + "\t}"])
        lines.append(pad + "}")

    joint(bones[0][0], 0)
    rows = [[0.0] * width] if rows is None else rows(width)
    lines += ["MOTION", f"Frames: {len(rows) if frames is None else frames}", f"Frame Time: {time}"]
    lines += [" ".join(map(str, row)) for row in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def read(path):
    """Names and world positions of joints in every frame, by the rules of the format alone."""
    lines = path.read_bytes().decode("utf-8-sig", "surrogateescape").split("\n")
    start = next(n for n, line in enumerate(lines) if line.strip() == "MOTION")
    names, above, offsets, channels, stack = [], [], [], [], []
    for line in lines[:start]:
        words = line.replace("{", " ").split()
        match words[:1]:
            case ["ROOT"] | ["JOINT"]:
                above.append(next((n for n in reversed(stack) if n >= 0), -1))
                stack.append(len(names))
                names.append(" ".join(words[1:]))
                channels.append([])
            case ["End"]:
                stack.append(-1)
            case ["}"]:
                stack.pop()
            case ["OFFSET"] if stack[-1] >= 0:
                offsets.append([float(w) for w in words[1:]])
            case ["CHANNELS"]:
                channels[stack[-1]] = words[2:]
    found = []
    for row in ([float(w) for w in line.split()] for line in lines[start + 3 :] if line.strip()):
        worlds, column = [], 0
        for number, offset in enumerate(offsets):
            own = np.eye(4)
            own[:3, 3] = offset
            turn = np.eye(3)
            for channel in channels[number]:
                value, axis = row[column], "xyz".index(channel[0].lower())
                column += 1
                if channel.lower().endswith("position"):
                    own[axis, 3] = value
                    continue
                sine, cosine = np.sin(np.radians(value)), np.cos(np.radians(value))
                one = np.eye(3)
                b, c = (axis + 1) % 3, (axis + 2) % 3
                one[b, b] = one[c, c] = cosine
                one[b, c], one[c, b] = -sine, sine
                turn = turn @ one
            own[:3, :3] = turn
            worlds.append(own if above[number] < 0 else worlds[above[number]] @ own)
        assert column == len(row)
        found.append([w[:3, 3] for w in worlds])
    return names, np.array(found)


@pytest.fixture(scope="module")
def squat():
    """Hips and knees bend, the body turns, the pelvis goes a metre forward: world turns, pelvis, our lowest foot."""
    frames = 5
    bend = torch.linspace(0, 1.2, frames)
    local = torch.eye(3).repeat(frames, 22, 1, 1)
    local[:, [1, 2]] = about(-bend[:, None], "x")[:, None]
    local[:, [4, 5]] = about(2 * bend[:, None], "x")[:, None]
    local[:, 0] = about(bend[:, None] / 3, "y")
    pelvis = torch.stack([torch.zeros(frames), 0.93 - bend / 4, torch.linspace(0, 1, frames)], 1)
    _, turns = forward_kinematics(default_skeleton(), local, pelvis)
    assert len(PARENTS) == 22
    return turns, pelvis


def moved(folder, path, squat):
    rig = load_rig(path)
    save_rig(folder / "out.bvh", rig, *squat, fps=30)
    names, places = read(folder / "out.bvh")
    return dict(
        zip((name.split(":")[-1].removeprefix("MOTION_") for name in names), places.swapaxes(0, 1), strict=True)
    )


@pytest.fixture(scope="module")
def standard(tmp_path_factory, squat):
    folder = tmp_path_factory.mktemp("standard")
    return moved(folder, write(folder / "a.bvh"), squat)


def hinged(name):
    return ["Xrotation"] if name in ("LeftLeg", "RightLeg") else usual(name)


def mixed(name):
    if name == "Hips":
        return [*TURNED[::-1], "Zposition", "Xposition", "Yposition"]
    return ["Xrotation", "Zrotation", "Yrotation"] if "Leg" in name else ["Yrotation", "Zrotation", "Xrotation"]


VARIANTS = {
    "knees of one channel": {"channels": hinged},
    "root with positions alone": {"channels": lambda n: MOVED if n == "Root" else TURNED, "root": "Root"},
    "root with all six": {"channels": lambda n: MOVED + TURNED if n == "Root" else TURNED, "root": "Root"},
    "hips without channels": {
        "channels": lambda n: MOVED + TURNED if n == "Root" else None if n == "Hips" else TURNED, "root": "Root"
    },
    "root away from the hips": {
        "channels": lambda n: MOVED + TURNED if n in ("Root", "Hips") else TURNED, "root": "Root",
        "offset": lambda n, at: (0, 30, 0) if n == "Root" else (0, 65, 0) if n == "Hips" else at,
    },
    "six channels everywhere": {"channels": lambda _: MOVED + TURNED},
    "mixed orders": {"channels": mixed},
    "lower case": {"channels": lambda n: [c.lower() for c in usual(n)]},
    "upper case": {"channels": lambda n: [c.upper() for c in usual(n)]},
    "a joint without channels": {"channels": lambda n: None if n == "Head" else usual(n)},
    "no channels, zero said": {"channels": lambda n: [] if n == "Head" else usual(n)},
    "MOTION in every name": {"name": lambda n: f"MOTION_{n}"},
    "namespaces": {"name": lambda n: f"mixamorig:{n}"},
    "no frames": {"rows": lambda _: []},
    "more frames said": {"frames": 999},
    "frames of too many numbers": {"rows": lambda width: [[0] * (width + 51)]},
    "frames of no numbers": {"rows": lambda width: [["nan"] * width, ["x"] * width, ["inf"] * width]},
    "no time": {"time": "0"},
}  # fmt: skip


@pytest.mark.parametrize("kind", VARIANTS)
def test_it_moves_as_the_usual_rig_does(tmp_path, squat, standard, kind):
    found = moved(tmp_path, write(tmp_path / "a.bvh", **VARIANTS[kind]), squat)
    for name, places in standard.items():
        np.testing.assert_allclose(found[name], places, atol=0.01, err_msg=name)


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw.replace(b"\n", b"\r\n"),
        lambda raw: raw.replace(b"\n", b"\r"),
        lambda raw: b"\xef\xbb\xbf" + raw,
        lambda raw: raw.replace(b"\t", b"  ").replace(b"\n{", b" {"),
        lambda raw: raw.replace(b" ", b"\t"),
        lambda raw: raw.replace(b"\n", b"\n\n"),
        lambda raw: raw.replace(b"Spine", b"Spine \x94\xc3\x8d\x5c"),
        lambda raw: raw[: raw.index(b"MOTION")],
    ],
    ids=["crlf", "cr", "bom", "inline braces", "tabs", "empty lines", "names in Shift-JIS", "no motion"],
)
def test_it_moves_as_the_usual_rig_does_however_it_is_typed(tmp_path, squat, standard, change):
    path = write(tmp_path / "a.bvh")
    path.write_bytes(change(path.read_bytes()))
    found = moved(tmp_path, path, squat)
    np.testing.assert_allclose(found["LeftFoot"], standard["LeftFoot"], atol=0.01)
    if b"\x94" in path.read_bytes():
        assert b"Spine \x94\xc3\x8d\x5c" in (tmp_path / "out.bvh").read_bytes()


@pytest.mark.parametrize("scale", [0.01, 1 / 2.54, 10.0])
def test_units_do_not_matter(tmp_path, squat, standard, scale):
    path = write(tmp_path / "a.bvh", offset=lambda _, at: [scale * v for v in at])
    found = moved(tmp_path, path, squat)
    np.testing.assert_allclose(found["LeftHand"] / scale, standard["LeftHand"], atol=0.05)


@pytest.mark.parametrize("height", [95.0, 300.0, -20.0])
def test_feet_stand_where_they_stood_though_the_hips_rest_at_the_origin(tmp_path, squat, height):
    def rows(width):
        return [[x, height + up, 3 * x, *[0] * (width - 3)] for x, up in ((0, 0), (5, 2), (10, 7))]

    path = write(tmp_path / "a.bvh", offset=lambda n, at: (0, 0, 0) if n == "Hips" else at, rows=rows)
    _, before = read(path)
    found = moved(tmp_path, path, squat)
    feet = min(found["LeftFoot"][0, 1], found["RightFoot"][0, 1])
    assert feet == pytest.approx(before[0, :, 1].min(), abs=3)
    assert before[0, :, 1].min() == pytest.approx(height - 89)


def test_hips_at_the_origin_and_no_motion_end_on_the_ground(tmp_path, squat):
    path = write(tmp_path / "a.bvh", offset=lambda n, at: (0, 0, 0) if n == "Hips" else at)
    found = moved(tmp_path, path, squat)
    assert min(found["LeftFoot"][0, 1], found["RightFoot"][0, 1]) == pytest.approx(0, abs=6)


def test_two_axes_come_as_near_as_they_can():
    wanted = about(torch.rand(40, 3, generator=generator(0)).double() * 4 - 2, "xyz")
    grid = torch.cartesian_prod(*[torch.linspace(-3.1416, 3.1416, 121).double()] * 2)
    for axes in ("zx", "xz", "yx"):
        found = about(nearest_angles(wanted, axes), axes)
        tried = about(grid, axes)
        best = (wanted.flatten(1) @ tried.flatten(1).T).amax(1)
        assert ((wanted * found).sum((1, 2)) > best - 0.02).all()
        exact = about(torch.tensor([[0.7, -1.2]]).double(), axes)
        torch.testing.assert_close(about(nearest_angles(exact, axes), axes), exact)
    assert nearest_angles(wanted, "").shape == (40, 0)


def faulty(path, name):
    raw = write(path).read_text()
    first = raw.index("CHANNELS")
    match name:
        case "empty":
            return ""
        case "another file":
            return "solid mesh\nfacet normal 0 0 1\n"
        case "cut short":
            return raw[: raw.index("JOINT RightLeg")]
        case "too many braces":
            return raw.replace("MOTION", "}\nMOTION")
        case "offset of two":
            return raw.replace("OFFSET 0 95 0", "OFFSET 0 95")
        case "offset nan":
            return raw.replace("OFFSET 0 95 0", "OFFSET 0 nan 0")
        case "offset huge":
            return raw.replace("OFFSET 0 95 0", "OFFSET 0 1e300 0")
        case "no offset":
            return raw.replace("OFFSET 0 95 0", "")
        case "channels beyond":
            return raw[:first] + raw[first:].replace("CHANNELS 6", "CHANNELS 999999999", 1)
        case "unknown channel":
            return raw.replace("Zposition", "Wposition")
        case "channel twice":
            return raw.replace("Zrotation Xrotation Yrotation", "Zrotation Xrotation Zrotation")
        case "no positions":
            return raw.replace("6 Xposition Yposition Zposition", "3")
        case "lying":
            return raw.replace("OFFSET 0 -42 0", "OFFSET 0 0 -42").replace("OFFSET 0 95 0", "OFFSET 0 0 95")
        case "no legs":
            return raw.replace("UpLeg", "Wing").replace("Leg", "Feather")
        case "very many joints":
            deep = "".join(f"JOINT j{n}\n{{\nOFFSET 0 0 0\n" for n in range(5000))
            return f"HIERARCHY\nROOT Hips\n{{\nOFFSET 0 0 0\n{deep}"
    raise KeyError(name)


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("empty", "empty"), ("another file", "'solid mesh'"), ("cut short", "cut short"),
        ("too many braces", "got '}'"),
        ("offset of two", "OFFSET and three"), ("offset nan", "finite"), ("offset huge", "finite"),
        ("no offset", "none for 'Hips'"), ("channels beyond", "999999999"), ("unknown channel", "Wposition"),
        ("channel twice", "once"), ("no positions", "channels of position"), ("lying", "y is up"),
        ("no legs", "lacks bones for"), ("very many joints", "at most 4096"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_bvh_is_named_in_one_line(tmp_path, name, word):
    path = tmp_path / "a.bvh"
    path.write_text(faulty(path, name))
    with pytest.raises(ValueError, match=r"the rig .*a\.bvh") as caught:
        load_rig(path)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def skinned():
    """A GLB rig of the same bones, in metres, without a mesh."""
    made = Builder()
    names = [name for name, _, _ in BONES]
    for name, _, at in BONES:
        node = {"name": name, "translation": [v / 100 for v in at]}
        below = [names.index(n) for n, p, _ in BONES if p == name]
        made.tree["nodes"].append(node | ({"children": below} if below else {}))
    made.tree["scenes"][0]["nodes"] = [0]
    made.tree["skins"] = [{"joints": list(range(len(BONES)))}]
    return made


def test_a_glb_of_bones_alone_gets_its_motion(tmp_path, squat):
    rig = load_rig(skinned().write(tmp_path / "a.glb"))
    save_rig(tmp_path / "b.glb", rig, *squat, fps=30)
    raw = (tmp_path / "b.glb").read_bytes()
    tree = json.loads(raw[20 : 20 + int.from_bytes(raw[12:16], "little")])
    assert len(tree["animations"][0]["channels"]) == len(rig.bones) + 1
    assert load_rig(tmp_path / "b.glb").names == rig.names


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda t: t.pop("skins"), "with a skin"),
        (lambda t: t["skins"][0].update(joints=[]), "skin with joints"),
        (lambda t: t["skins"][0].update(joints=[99]), "got number 99"),
        (lambda t: t["skins"][0].update(joints="all"), "got number a"),
        (lambda t: t["skins"][0].update(joints={"a": 1}), "got number a"),
        (lambda t: t.update(skins=[[0, 1]]), "objects"),
        (lambda t: t["nodes"][3].update(children=[0]), "circle"),
        (lambda t: t["nodes"][0].update(children=[0]), "circle"),
        (lambda t: t["nodes"][1].update(children=[4, 2]), "below two"),
        (lambda t: t.update(nodes="nodes"), "expected"),
        (lambda t: t["nodes"][0].update(translation=[0, float("nan"), 0]), "finite"),
        (lambda t: t["nodes"][0].update(translation=[0, 1]), "3 finite numbers"),
        (lambda t: t["nodes"][0].update(matrix=[1, 2, 3]), "16 finite numbers"),
        (lambda t: t["nodes"][0].update(scale=[0, 0, 0]), "size above 0"),
        (lambda t: t["nodes"][0].update(scale=[-1, 1, 1]), "mirrored"),
        (lambda t: t.update(buffers=[{"byteLength": 4, "uri": "../secret.bin"}]), "holds all of its data"),
        (lambda t: t.update(images=[{"uri": "https://example.org/a.png"}]), "holds all of its data"),
        (lambda t: t.update(buffers=[{"byteLength": 4000}]), "cut short"),
        (lambda t: [n.update(name=["Hips"]) for n in t["nodes"]], "lacks bones"),
    ],
)
def test_what_is_wrong_with_a_glb_rig_is_named_in_one_line(tmp_path, change, word):
    tree = skinned().tree
    change(tree)
    (tmp_path / "a.glb").write_bytes(pack({name: value for name, value in tree.items() if value != []}))
    with pytest.raises(ValueError, match=r"the rig .*a\.glb") as caught:
        load_rig(tmp_path / "a.glb")
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_bvh_is_placed_by_its_own_frames(tmp_path):
    path = write(tmp_path / "a.bvh", rows=lambda width: [[1, 2, 3, 10, 20, 30, *range(width - 6)]])
    _, expected = read(path)
    np.testing.assert_allclose(read_bvh(path).places(), expected, atol=1e-9)
