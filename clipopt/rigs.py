"""Motions for rigs of one's own: a BVH or GLB skeleton, whose bones are found by their names.

rig = load_rig("hero.glb")
save_rig("rig.glb", rig, posed.turns, posed.joints[:, 0], fps=30)

The rig stands upright at rest, faces +z, and may hold its arms level or lowered.
"""

import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.files import atomic, write_text
from clipopt.geometry.skeleton import JOINTS, PARENTS, default_skeleton, to_euler, to_quaternion

_SIDED = {  # words of a bone's name, the surer ones first
    "hip": ("upperleg", "upleg", "thigh", "hip"), "knee": ("lowerleg", "shin", "calf", "knee", "leg"),
    "ankle": ("ankle", "foot"), "foot": ("toebase", "ball", "toe", "foot"),
    "collar": ("clavicle", "collar", "shoulder"),
    "shoulder": ("upperarm", "uparm", "shoulder", "arm"), "elbow": ("lowerarm", "forearm", "elbow"),
    "wrist": ("wrist", "hand"),
}  # fmt: skip
_NEEDED = ("pelvis", *(f"{s}_{p}" for s in ("left", "right") for p in ("hip", "knee", "shoulder", "elbow")))
_AIMED = tuple(j for j, n in enumerate(JOINTS) if n.split("_")[-1] in ("hip", "knee", "collar", "shoulder", "elbow"))


@dataclass(frozen=True)
class Rig:
    """A skeleton of another's.

    Attributes:
        names: Of its joints, each behind its parent.
        parents: -1: none.
        local: Where and how each stands against its parent at rest.
        bones: The joints of this project's figure that drive it: number of ours to number of its.
        lines: The hierarchy of a BVH, as it was written; empty for a GLB.
        channels: Of each joint of a BVH, in the order of the file.
        tree: The JSON of a GLB.
        data: Its binary part.
        nodes: The node of each joint.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    local: Float[Tensor, "n 4 4"]
    bones: Mapping[int, int]
    lines: tuple[str, ...] = ()
    channels: tuple[tuple[str, ...], ...] = ()
    tree: Mapping[str, Any] = field(default_factory=dict)
    data: bytes = b""
    nodes: tuple[int, ...] = ()

    def world(self) -> Float[Tensor, "n 4 4"]:
        """Where and how each joint stands at rest."""
        made: list[Tensor] = []
        for own, parent in zip(self.local, self.parents, strict=True):
            made.append(own if parent < 0 else made[parent] @ own)
        return torch.stack(made)


def load_rig(path: str | Path) -> Rig:
    """Read the skeleton of a BVH or a GLB.

    Raises:
        ValueError: The file is missing, holds no skeleton, or bones that are needed cannot be found by their names.
    """
    path = Path(path)
    if not path.is_file() or path.suffix.lower() not in (".bvh", ".glb"):
        raise ValueError(f"cannot read the rig {path}: expected a .bvh or .glb file that exists")
    try:
        rig = _read_bvh(path) if path.suffix.lower() == ".bvh" else _read_glb(path)
    except (KeyError, IndexError, struct.error, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ValueError(f"cannot read the rig {path}: expected a whole {path.suffix} with a skeleton") from error
    if lacking := [name for name in _NEEDED if JOINTS.index(name) not in rig.bones]:
        raise ValueError(
            f"the rig {path} lacks bones for {', '.join(lacking)}: expected names such as LeftUpLeg, thigh.L or "
            f"left_hip, got {', '.join(rig.names[:12])}"
        )
    return rig


def find_bones(names: Sequence[str]) -> dict[int, int]:
    """Which of our joints is which of the named: number of ours to number of theirs."""
    plain = [re.sub(r"^.*[:|]", "", name) for name in names]
    sides = [_side(name) for name in plain]
    words = [re.sub(r"left|right|[^a-z]|(?<![a-z])[lr](?![a-z])", "", name.lower()) for name in plain]
    found: dict[int, int] = {}

    def first(side: str, options: Sequence[str], taken: set[int]) -> int | None:
        for option in options:
            for number, word in enumerate(words):
                if sides[number] == side and option in word and number not in taken and "end" not in word:
                    return number
        return None

    for side in ("left", "right"):
        taken: set[int] = set()
        armed = any(sides[n] == side and "arm" in w and "fore" not in w and "low" not in w for n, w in enumerate(words))
        for part in ("hip", "knee", "ankle", "foot", "elbow", "shoulder", "wrist", "collar"):
            options: Sequence[str] = _SIDED[part]
            if part == "shoulder" and armed:
                options = ("upperarm", "uparm", "arm")
            if (number := first(side, options, taken)) is not None:
                found[JOINTS.index(f"{side}_{part}")] = number
                taken.add(number)
    for part, options in (("pelvis", ("hips", "pelvis", "hip")), ("neck", ("neck",)), ("head", ("head",))):
        if (number := first("", options, set())) is not None:
            found[JOINTS.index(part)] = number
    backs = [n for n, w in enumerate(words) if not sides[n] and any(o in w for o in ("spine", "chest", "torso"))]
    targets = {1: (9,), 2: (6, 9)}.get(len(backs), (3, 6, 9))
    return found | dict(zip(targets, backs[:2] + backs[-1:] if len(backs) > 2 else backs, strict=False))


def _side(name: str) -> str:
    low = name.lower()
    for side in ("left", "right"):
        if side in low or re.search(rf"(^|[^a-z]){side[0]}([^a-z]|$)", low) or re.match(rf"{side[0]}[A-Z]", name):
            return side
    return ""


def retarget(
    rig: Rig, turns: Float[Tensor, "f 22 3 3"], pelvis: Float[Tensor, "f 3"]
) -> tuple[Float[Tensor, "f n 3 3"], Float[Tensor, "f 3"]]:
    """The rig's rotations against its parents, and where its hips are in the world, when it moves as our figure does.

    Args:
        rig: The rig.
        turns: How our joints are turned in the world.
        pelvis: Where our pelvis is.
    """
    rest = rig.world()
    places = rest[:, :3, 3]
    turned0 = torch.nn.functional.normalize(rest[:, :3, :3], dim=1)  # columns: without scale
    ours = {theirs: mine for mine, theirs in rig.bones.items()}
    offsets = default_skeleton().offsets
    world: list[Tensor] = []
    local: list[Tensor] = []
    for number, parent in enumerate(rig.parents):
        above = turned0.new_tensor(np.eye(3)).expand(len(turns), 3, 3) if parent < 0 else world[parent]
        before = torch.eye(3) if parent < 0 else turned0[parent]
        own = above @ (before.T @ turned0[number])
        if number in ours:
            mine = ours[number]
            aim = torch.eye(3)
            child = next((c for c, p in enumerate(PARENTS) if p == mine), None)
            if mine in _AIMED and child is not None and child in rig.bones:
                aim = _shortest(places[rig.bones[child]] - places[number], offsets[child])
            own = turns[:, mine] @ (aim @ turned0[number])
        world.append(own)
        local.append(above.mT @ own)
    hips = rig.bones[0]
    feet = [rig.bones[j] for j in (7, 8, 10, 11) if j in rig.bones] or [hips]
    floor = float(places[feet, 1].amin())
    scale = (float(places[hips, 1]) - floor) / 0.91  # ours: from the toes' joints to the pelvis
    moved = pelvis * scale
    moved = moved + torch.tensor([float(places[hips, 0]), floor - 0.026 * scale, float(places[hips, 2])])
    return torch.stack(local, 1), moved


def _shortest(one: Tensor, other: Tensor) -> Float[Tensor, "3 3"]:
    """The rotation by the smallest angle that takes one direction to another."""
    a, b = (torch.nn.functional.normalize(v, dim=0) for v in (one, other))
    v, c = torch.linalg.cross(a, b), float(a @ b)
    if c < -0.999:
        return torch.diag(torch.tensor([-1.0, -1.0, 1.0]))
    x, y, z = v.tolist()
    k = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return torch.eye(3) + k + k @ k / (1 + c)


def save_rig(
    path: str | Path, rig: Rig, turns: Float[Tensor, "f 22 3 3"], pelvis: Float[Tensor, "f 3"], *, fps: float | int
) -> None:
    """Write the rig with the motion, as the kind of file that it came from."""
    local, hips = retarget(rig, turns.detach().float(), pelvis.detach().float())
    if rig.lines:
        _write_bvh(Path(path), rig, local, hips, fps)
    else:
        _write_glb(Path(path), rig, local, hips, fps)


def _read_bvh(path: Path) -> Rig:
    text = path.read_text("utf-8").split("MOTION")[0]
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float]] = []
    channels: list[tuple[str, ...]] = []
    stack: list[int] = []
    for line in text.splitlines():
        words = line.split()
        match words[:1]:
            case ["ROOT"] | ["JOINT"]:
                names.append(" ".join(words[1:]))
                parents.append(next((n for n in reversed(stack) if n >= 0), -1))
                stack.append(len(names) - 1)
            case ["End"]:
                stack.append(-1)
            case ["}"]:
                stack.pop()
            case ["OFFSET"] if stack[-1] >= 0:
                offsets.append([float(w) for w in words[1:4]])
            case ["CHANNELS"]:
                channels.append(tuple(words[2 : 2 + int(words[1])]))
    local = torch.eye(4).repeat(len(names), 1, 1)
    local[:, :3, 3] = torch.tensor(offsets)
    return Rig(tuple(names), tuple(parents), local, find_bones(names), tuple(text.splitlines()), tuple(channels))


def _write_bvh(path: Path, rig: Rig, local: Tensor, hips: Tensor, fps: float | int) -> None:
    columns: list[Tensor] = []
    for number, channels in enumerate(rig.channels):
        order = "".join(c[0].lower() for c in channels if c.endswith("rotation"))
        angles = to_euler(local[:, number].double(), order).rad2deg() if len(order) == 3 else torch.zeros(len(hips), 3)
        place = hips if number == rig.bones[0] else rig.local[number, :3, 3].expand(len(hips), 3)
        for channel in channels:
            axis = channel[0].lower()
            value = angles[:, order.index(axis)] if channel.endswith("rotation") else place[:, "xyz".index(axis)]
            columns.append(value.double())
    rows = torch.stack(columns, 1).tolist()
    lines = [*rig.lines, "MOTION", f"Frames: {len(rows)}", f"Frame Time: {1 / fps:.8f}"]
    lines += [" ".join(f"{v:.6f}" for v in row) for row in rows]
    write_text(path, "\n".join(lines) + "\n")


def _read_glb(path: Path) -> Rig:
    raw = path.read_bytes()
    length = struct.unpack_from("<I", raw, 12)[0]
    tree = json.loads(raw[20 : 20 + length])
    data = raw[20 + length + 8 :]
    if not tree.get("skins"):
        raise ValueError(f"cannot read the rig {path}: expected a GLB with a skin, got none")
    nodes = tree["nodes"]
    above = {child: number for number, node in enumerate(nodes) for child in node.get("children", [])}
    wanted: list[int] = []

    def add(number: int) -> None:  # whatever stands above a joint, too: it may turn or scale it
        if number in above and above[number] not in wanted:
            add(above[number])
        if number not in wanted:
            wanted.append(number)

    for joint in tree["skins"][0]["joints"]:
        add(joint)
    names = [nodes[n].get("name", "") if n in tree["skins"][0]["joints"] else "" for n in wanted]
    parents = tuple(wanted.index(above[n]) if n in above else -1 for n in wanted)
    local = torch.stack([_matrix(nodes[n]) for n in wanted])
    return Rig(tuple(names), parents, local, find_bones(names), tree=tree, data=data, nodes=tuple(wanted))


def _matrix(node: Mapping[str, Any]) -> Float[Tensor, "4 4"]:
    if "matrix" in node:
        return torch.tensor(node["matrix"], dtype=torch.float32).view(4, 4).T
    x, y, z, w = node.get("rotation", (0.0, 0.0, 0.0, 1.0))
    made = torch.eye(4)
    made[:3, :3] = torch.tensor([
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]) * torch.tensor(node.get("scale", (1.0, 1.0, 1.0)))  # fmt: skip
    made[:3, 3] = torch.tensor(node.get("translation", (0.0, 0.0, 0.0)))
    return made


def _write_glb(path: Path, rig: Rig, local: Tensor, hips: Tensor, fps: float | int) -> None:
    tree = json.loads(json.dumps(rig.tree))
    data = bytearray(rig.data)

    def add(values: Tensor, kind: str) -> int:
        data.extend(b"\0" * (-len(data) % 4))
        raw = values.float().contiguous().numpy().tobytes()
        tree["bufferViews"].append({"buffer": 0, "byteOffset": len(data), "byteLength": len(raw)})
        data.extend(raw)
        told = {"bufferView": len(tree["bufferViews"]) - 1, "componentType": 5126, "count": len(values), "type": kind}
        tree["accessors"].append(told | ({"min": [0.0], "max": [float(values[-1])]} if kind == "SCALAR" else {}))
        return len(tree["accessors"]) - 1

    times = add(torch.arange(len(hips)) / fps, "SCALAR")
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []

    def track(number: int, what: str, values: Tensor, kind: str) -> None:
        channels.append({"sampler": len(samplers), "target": {"node": rig.nodes[number], "path": what}})
        samplers.append({"input": times, "output": add(values, kind), "interpolation": "LINEAR"})

    for number in rig.bones.values():
        turned = to_quaternion(local[:, number].double())
        flips = torch.where((turned[1:] * turned[:-1]).sum(-1) < 0, -1.0, 1.0).cumprod(0)
        track(number, "rotation", torch.cat([turned[:1], turned[1:] * flips[:, None]]), "VEC4")
    root = rig.bones[0]
    parent = rig.parents[root]
    inverse = torch.linalg.inv(rig.world()[parent]) if parent >= 0 else torch.eye(4)
    track(root, "translation", hips @ inverse[:3, :3].T + inverse[:3, 3], "VEC3")
    for number in rig.bones.values():  # a matrix cannot be animated
        node = tree["nodes"][rig.nodes[number]]
        if node.pop("matrix", None) is not None:
            node["translation"] = rig.local[number, :3, 3].tolist()
            node["scale"] = rig.local[number, :3, :3].norm(dim=0).tolist()
    tree["animations"] = [{"name": "motion", "samplers": samplers, "channels": channels}]
    tree["buffers"][0]["byteLength"] = len(data)
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    data.extend(b"\0" * (-len(data) % 4))
    head = struct.pack("<4sIII4s", b"glTF", 2, 28 + len(text) + len(data), len(text), b"JSON")
    with atomic(path) as temporary:
        temporary.write_bytes(head + text + struct.pack("<I4s", len(data), b"BIN\0") + bytes(data))
