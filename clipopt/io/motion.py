"""Motion files that animators use: BVH, animated GLB, and NPZ of joint positions.

save_bvh("wave.bvh", rotations, position, fps=30)
save_glb("wave.glb", rotations, position, fps=30)
save_npz("wave.npz", joints, fps=30)
"""

import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.geometry.body import Clothes, Skin, default_clothes, default_skin
from clipopt.geometry.mesh import vertex_normals
from clipopt.geometry.skeleton import (
    JOINTS,
    PARENTS,
    Skeleton,
    default_skeleton,
    forward_kinematics,
    to_euler,
    to_quaternion,
)
from clipopt.io.files import atomic, write_text

_FLOAT, _BYTE, _INT = 5126, 5121, 5125
_ARRAY, _ELEMENTS = 34962, 34963


def save_bvh(
    path: str | Path,
    rotations: Float[Tensor, "f 22 3 3"],
    position: Float[Tensor, "f 3"],
    *,
    fps: float | int,
    skeleton: Skeleton | None = None,
) -> None:
    """Write a BVH: metres, y up, the rotations in the order Z X Y.

    Args:
        path: Ends in .bvh.
        rotations: Of each joint against its parent.
        position: Of the pelvis.
        fps: Frames per second.
        skeleton: The bones; None: the project's own.
    """
    skeleton = skeleton or default_skeleton()
    out = io.StringIO()
    out.write("HIERARCHY\n")
    order: list[int] = []

    def joint(number: int, depth: int) -> None:
        pad = "\t" * depth
        order.append(number)
        kind = "ROOT" if number == 0 else "JOINT"
        out.write(f"{pad}{kind} {JOINTS[number]}\n{pad}{{\n")
        out.write(f"{pad}\tOFFSET {' '.join(f'{v:.6f}' for v in skeleton.offsets[number].tolist())}\n")
        places = "6 Xposition Yposition Zposition" if number == 0 else "3"
        out.write(f"{pad}\tCHANNELS {places} Zrotation Xrotation Yrotation\n")
        below = [child for child, parent in enumerate(PARENTS) if parent == number]
        for child in below:
            joint(child, depth + 1)
        if not below:
            end = skeleton.ends[number].tolist()
            out.write(f"{pad}\tEnd Site\n{pad}\t{{\n{pad}\t\tOFFSET {' '.join(f'{v:.6f}' for v in end)}\n{pad}\t}}\n")
        out.write(f"{pad}}}\n")

    joint(0, 0)
    angles = to_euler(rotations.detach().double(), "zxy").rad2deg()[:, order].flatten(1)
    rows = torch.cat([position.detach().double(), angles], 1).tolist()
    out.write(f"MOTION\nFrames: {len(rows)}\nFrame Time: {1 / fps:.8f}\n")
    for row in rows:
        out.write(" ".join(f"{value:.6f}" for value in row) + "\n")
    write_text(Path(path), out.getvalue())


def save_npz(path: str | Path, joints: Float[Tensor, "f 22 3"], *, fps: float | int, **beside: Tensor) -> None:
    """Write joint positions, metres, in HumanML3D's order, with `fps`, `names` and what stands `beside`."""
    with atomic(Path(path)) as temporary, temporary.open("wb") as file:
        extra: dict[str, Any] = {name: value.detach().cpu().numpy() for name, value in beside.items()}
        np.savez_compressed(
            file, joints=joints.detach().float().numpy(), fps=np.float32(fps), names=np.array(JOINTS), **extra
        )


def save_glb(
    path: str | Path,
    rotations: Float[Tensor, "f 22 3 3"],
    position: Float[Tensor, "f 3"],
    *,
    fps: float | int,
    skeleton: Skeleton | None = None,
    skin: Skin | None = None,
    clothes: Clothes | None = None,
) -> None:
    """Write a GLB with the figure, its skeleton and one animation; metres, y up.

    Args:
        path: Ends in .glb.
        rotations: Of each joint against its parent.
        position: Of the pelvis.
        fps: Frames per second.
        skeleton: The bones; None: the project's own.
        skin: The surface; None: the project's own.
        clothes: Its colours; None: the default ones.
    """
    skeleton, skin, clothes = skeleton or default_skeleton(), skin or default_skin(), clothes or default_clothes()
    rest, _ = forward_kinematics(skeleton, torch.eye(3).expand(len(JOINTS), 3, 3), torch.zeros(3))
    points = skin.vertices + rest[skin.joint]
    joints = torch.zeros(len(points), 4, dtype=torch.uint8)
    joints[:, 0] = skin.joint
    weights = torch.zeros(len(points), 4)
    weights[:, 0] = 1
    colors = clothes.parts[skin.part]
    linear = torch.where(colors <= 0.04045, colors / 12.92, ((colors + 0.055) / 1.055) ** 2.4)
    inverse = torch.eye(4).repeat(len(JOINTS), 1, 1)
    inverse[:, :3, 3] = -rest
    pack = _Pack()
    primitive = {
        "attributes": {
            "POSITION": pack.add(points, "VEC3", _FLOAT, _ARRAY, bounds=True),
            "NORMAL": pack.add(vertex_normals(points, skin.faces), "VEC3", _FLOAT, _ARRAY),
            "COLOR_0": pack.add(linear, "VEC3", _FLOAT, _ARRAY),
            "JOINTS_0": pack.add(joints, "VEC4", _BYTE, _ARRAY),
            "WEIGHTS_0": pack.add(weights, "VEC4", _FLOAT, _ARRAY),
        },
        "indices": pack.add(skin.faces.reshape(-1).int(), "SCALAR", _INT, _ELEMENTS),
        "material": 0,
    }
    bind = pack.add(inverse.mT.reshape(-1, 16), "MAT4", _FLOAT, None)  # by columns
    animation = _animation(pack, rotations, position, fps)
    nodes: list[dict[str, Any]] = []
    for number, name in enumerate(JOINTS):
        node: dict[str, Any] = {"name": name, "translation": skeleton.offsets[number].tolist()}
        if below := [child for child, parent in enumerate(PARENTS) if parent == number]:
            node["children"] = below
        nodes.append(node)
    nodes[0] |= {"translation": position[0].tolist()}
    nodes.append({"name": "figure", "mesh": 0, "skin": 0})
    tree = {
        "asset": {"version": "2.0", "generator": "clipopt"},
        "scene": 0,
        "scenes": [{"nodes": [0, len(JOINTS)]}],
        "nodes": nodes,
        "meshes": [{"primitives": [primitive]}],
        "skins": [{"joints": list(range(len(JOINTS))), "skeleton": 0, "inverseBindMatrices": bind}],
        "materials": [{"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 0.9}}],
        "animations": [animation],
        "accessors": pack.accessors,
        "bufferViews": pack.views,
        "buffers": [{"byteLength": len(pack.data)}],
    }
    _write(Path(path), tree, bytes(pack.data))


def _animation(
    pack: "_Pack", rotations: Float[Tensor, "f 22 3 3"], position: Float[Tensor, "f 3"], fps: float | int
) -> dict[str, Any]:
    """The motion as glTF has it, its numbers in `pack`."""
    times = pack.add(torch.arange(len(position)) / fps, "SCALAR", _FLOAT, None, bounds=True)
    turned = _continuous(to_quaternion(rotations.detach().double())).float()
    samplers: list[dict[str, Any]] = []
    channels: list[dict[str, Any]] = []
    tracks = [(0, "translation", position.detach().float(), "VEC3")]
    tracks += [(joint, "rotation", turned[:, joint], "VEC4") for joint in range(len(JOINTS))]
    for joint, what, values, kind in tracks:
        output = pack.add(values, kind, _FLOAT, None)
        channels.append({"sampler": len(samplers), "target": {"node": joint, "path": what}})
        samplers.append({"input": times, "output": output, "interpolation": "LINEAR"})
    return {"name": "motion", "samplers": samplers, "channels": channels}


def _write(path: Path, tree: dict[str, Any], data: bytes) -> None:
    """A GLB of a tree and its buffer."""
    text = json.dumps(tree, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 4)
    body = data + b"\0" * (-len(data) % 4)
    head = struct.pack("<4sII", b"glTF", 2, 28 + len(text) + len(body))
    with atomic(path) as temporary:
        temporary.write_bytes(
            head + struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(body), b"BIN\0") + body
        )


def _continuous(turns: Float[Tensor, "f j 4"]) -> Float[Tensor, "f j 4"]:
    """The same rotations with signs that never jump, so that what lies between two frames is the short way."""
    flips = torch.where((turns[1:] * turns[:-1]).sum(-1) < 0, -1.0, 1.0).cumprod(0)
    return torch.cat([turns[:1], turns[1:] * flips[..., None]])


class _Pack:
    """The binary part of a GLB."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def add(self, values: Tensor, kind: str, component: int, target: int | None, *, bounds: bool = False) -> int:
        """Appends values and returns the number of their accessor."""
        raw = values.contiguous().numpy().tobytes()
        self.data += b"\0" * (-len(self.data) % 4)
        view = {"buffer": 0, "byteOffset": len(self.data), "byteLength": len(raw)}
        self.views.append(view if target is None else view | {"target": target})
        self.data += raw
        flat = values.reshape(len(values), -1)
        told: dict[str, Any] = {
            "bufferView": len(self.views) - 1, "componentType": component, "count": len(values), "type": kind
        }  # fmt: skip
        if bounds:
            told |= {"min": flat.amin(0).tolist(), "max": flat.amax(0).tolist()}
        self.accessors.append(told)
        return len(self.accessors) - 1
