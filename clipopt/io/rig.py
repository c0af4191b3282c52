"""Motions for rigs of one's own: a BVH or GLB skeleton, whose bones are found by their names.

rig = load_rig("hero.glb")
save_rig("rig.glb", rig, posed.turns, posed.joints[:, 0], fps=30)

The rig stands upright at rest, faces +z, and may hold its arms level or lowered.
"""

import json
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.geometry.skeleton import JOINTS, PARENTS, about, default_skeleton, nearest_angles, to_quaternion
from clipopt.io.files import atomic
from clipopt.io.formats.bvh import MOST_JOINTS, Bvh, read_bvh
from clipopt.io.formats.gltf import matrix, parents, read_gltf
from clipopt.io.formats.outside import Unreadable

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
        channels: Of each joint of a BVH, in the order of the file and in lower case.
        floor: How high the lowest of its feet stands on the ground; None: as at rest.
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
    floor: float | None = None
    tree: Mapping[str, Any] = field(default_factory=dict)
    data: bytes = b""
    nodes: tuple[int, ...] = ()

    def world(self) -> Float[Tensor, "n 4 4"]:
        """Where and how each joint stands at rest."""
        made: list[Tensor] = []
        for own, parent in zip(self.local, self.parents, strict=True):
            made.append(own if parent < 0 else made[parent] @ own)
        return torch.stack(made)

    def axes(self, joint: int) -> str:
        """The axes that a joint can turn about, such as "zxy", the outer ones first."""
        return "".join(c[0] for c in self.channels[joint] if c.endswith("rotation")) if self.channels else "zxy"

    def carrier(self, what: str) -> int | None:
        """The joint that carries the whole figure: the hips, or the nearest above with three channels of this kind."""
        joint = self.bones[0]
        while joint >= 0 and self.channels and sum(c.endswith(what) for c in self.channels[joint]) < 3:
            joint = self.parents[joint]
        return joint if joint >= 0 else None

    def feet(self) -> list[int]:
        """Joints of the feet; the hips where it has none."""
        return [self.bones[j] for j in (7, 8, 10, 11) if j in self.bones] or [self.bones[0]]


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
        _check(rig)
    except Unreadable as error:
        raise ValueError(f"cannot read the rig {path}: {error}") from None
    except Exception as error:  # a damaged file fails in its own way
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        wanted = f"expected a whole {path.suffix} with a skeleton"
        raise ValueError(f"cannot read the rig {path}: {wanted}, got {reason}; export it again") from error
    return rig


def _check(rig: Rig) -> None:
    """Raises where a rig cannot move as our figure does."""
    if lacking := [name for name in _NEEDED if JOINTS.index(name) not in rig.bones]:
        got = ", ".join(name[:40] for name in rig.names[:12]) or "none"
        raise Unreadable(
            f"it lacks bones for {', '.join(lacking)}: expected names such as LeftUpLeg, thigh.L or left_hip, got {got}"
        )
    rest = rig.world()
    turns, places = rest[[*rig.bones.values()], :3, :3], rest[:, :3, 3]
    if not rest.isfinite().all() or (torch.linalg.det(turns.double()) <= 0).any() or turns.norm(dim=1).min() < 1e-9:
        raise Unreadable("expected bones of a size above 0 that are not mirrored, got others; apply their scale first")
    used = places[[*rig.bones.values()]]
    extent = float((used.amax(0) - used.amin(0)).amax())
    above = float(places[rig.bones[0], 1] - places[rig.feet(), 1].amin())
    if above <= 0.1 * extent:
        raise Unreadable(
            f"expected a rig that stands upright at rest, y up, got hips {above:.3g} above the feet of a figure "
            f"{extent:.3g} large; turn it so that y is up, and stretch its legs"
        )
    for what in ("position", "rotation"):
        if rig.carrier(what) is None:
            raise Unreadable(f"expected three channels of {what} at the hips or above, got fewer; export it with them")


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
    if (carrier := rig.carrier("rotation")) is not None:
        ours.setdefault(carrier, 0)
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
        turned = above.mT @ own
        if len(axes := rig.axes(number)) < 3:  # what is below sets right what it cannot do
            turned = about(nearest_angles(turned.double(), axes), axes).to(turned)
            own = above @ turned
        world.append(own)
        local.append(turned)
    hips, feet = rig.bones[0], rig.feet()
    floor = float(places[feet, 1].amin())
    scale = (float(places[hips, 1]) - floor) / 0.91  # ours: from the toes' joints to the pelvis
    floor = floor if rig.floor is None else rig.floor
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
    bvh = read_bvh(path)
    local = torch.eye(4).repeat(len(bvh.names), 1, 1)
    local[:, :3, 3] = torch.from_numpy(bvh.offsets)
    rig = Rig(bvh.names, bvh.parents, local, find_bones(bvh.names), bvh.lines, bvh.channels)
    return replace(rig, floor=_floor(rig, bvh)) if 0 in rig.bones else rig


def _floor(rig: Rig, bvh: Bvh) -> float | None:
    """Where the feet of a BVH stand: in its own motion, else at rest, else on the ground if they are far below it.

    Many have their hips at the origin at rest, and are put on the ground by their motion alone.
    """
    rest = rig.world()[:, 1, 3]
    lowest = float(rest[rig.feet()].amin())
    depth = float(rest[rig.bones[0]]) - lowest
    places = bvh.places()[:, :, 1]
    below = lowest < -0.5 * depth
    if len(places) and np.abs(places[:, rig.bones[0]]).max() > 1e-6 * depth:
        moved = float(places[:, rig.feet()].min())
        # Positions that are told from the rest, as some tools write them, are not where it stands.
        return moved if below or moved > -0.5 * depth else None
    return 0.026 * depth / 0.91 if below else None


def _write_bvh(path: Path, rig: Rig, local: Tensor, hips: Tensor, fps: float | int) -> None:
    carrier = rig.carrier("position")
    offsets = rig.local[:, :3, 3].double()
    turns: list[Tensor] = []
    places: list[Tensor] = []
    for number, parent in enumerate(rig.parents):
        own = local[:, number].double()
        at = offsets[number].expand(len(hips), 3)
        turns.append(own if parent < 0 else turns[parent] @ own)
        places.append(at if parent < 0 else places[parent] + (turns[parent] @ at[..., None])[..., 0])
    columns: list[Tensor] = []
    for number, channels in enumerate(rig.channels):
        axes = rig.axes(number)
        angles = nearest_angles(local[:, number].double(), axes).rad2deg()
        place = offsets[number].expand(len(hips), 3)
        if number == carrier:
            moved = (hips.double() - places[rig.bones[0]])[..., None]
            parent = rig.parents[number]
            place = place + (moved if parent < 0 else turns[parent].mT @ moved)[..., 0]
        for channel in channels:
            axis = channel[0]
            columns.append(angles[:, axes.index(axis)] if channel.endswith("rotation") else place[:, "xyz".index(axis)])
    rows = torch.stack(columns, 1).tolist()
    lines = [*rig.lines, "MOTION", f"Frames: {len(rows)}", f"Frame Time: {1 / fps:.8f}"]
    lines += [" ".join(f"{v:.6f}" for v in row) for row in rows]
    with atomic(path) as temporary:  # names may be in any encoding, and stay so
        temporary.write_bytes(("\n".join(lines) + "\n").encode("utf-8", errors="surrogateescape"))


def _read_glb(path: Path) -> Rig:
    gltf = read_gltf(path)
    tree = gltf.tree
    if not tree.get("skins"):
        raise Unreadable("expected a GLB with a skin, got none; export it with its skeleton")
    for kind in ("buffers", "images"):
        for number in range(len(tree.get(kind, []))):
            uri = str(gltf.item(kind, number).get("uri", "data:"))
            if not uri.startswith("data:"):
                raise Unreadable(f"expected a GLB that holds all of its data, got one that names {uri[:80]!r}")
    if tree.get("buffers"):
        gltf.buffer(0)
    above = parents(gltf)
    joints = dict.fromkeys(
        joint for number in range(len(tree["skins"])) for joint in gltf.item("skins", number)["joints"]
    )
    wanted: dict[int, int] = {}
    for joint in joints:
        gltf.item("nodes", joint)
        chain = [joint]
        while chain[-1] in above and above[chain[-1]] not in wanted:
            chain.append(above[chain[-1]])  # whatever stands above a joint, too: it may turn or scale it
        for number in reversed(chain):
            wanted.setdefault(number, len(wanted))
        if len(wanted) > MOST_JOINTS:
            raise Unreadable(f"expected at most {MOST_JOINTS} joints, got more")
    if not wanted:
        raise Unreadable("expected a skin with joints, got none; export it with its skeleton")
    names = [str(gltf.item("nodes", n).get("name", "")) if n in joints else "" for n in wanted]
    over = tuple(wanted[above[n]] if n in above else -1 for n in wanted)
    local = torch.stack([matrix(gltf.item("nodes", n)) for n in wanted]).float()
    return Rig(tuple(names), over, local, find_bones(names), tree=tree, data=gltf.binary, nodes=tuple(wanted))


def _write_glb(path: Path, rig: Rig, local: Tensor, hips: Tensor, fps: float | int) -> None:
    tree = json.loads(json.dumps(rig.tree))
    data = bytearray(rig.data)
    for kind in ("bufferViews", "accessors"):
        tree.setdefault(kind, [])
    if not tree.get("buffers"):
        tree["buffers"] = [{}]

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
