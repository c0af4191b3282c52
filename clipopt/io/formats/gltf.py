"""The outer form of glTF 2.0: one JSON tree, and the numbers that it points at.

Reference:
    Khronos, glTF 2.0 specification, chapters 3.6 and 4.4; ISO/IEC 12113:2022.
"""

import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from clipopt.io.formats.outside import Unreadable, beside, read_bytes

_TYPES = {5120: "<i1", 5121: "<u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
_MOST_VALUES = 50_000_000
_COMPRESSED = {
    "KHR_draco_mesh_compression": "Draco", "EXT_meshopt_compression": "meshopt", "KHR_meshopt_compression": "meshopt"
}  # fmt: skip


@dataclass(frozen=True)
class Gltf:
    """A glTF file, opened.

    Attributes:
        path: Where it is.
        tree: Its JSON.
        binary: The binary part of a GLB.
    """

    path: Path
    tree: Mapping[str, Any]
    binary: bytes = b""
    _buffers: dict[int, bytes] = field(default_factory=dict)

    def item(self, kind: str, number: Any) -> Mapping[str, Any]:
        """One of the tree's lists of things.

        Raises:
            Unreadable: There is no such thing.
        """
        things = self.tree.get(kind, [])
        if not (isinstance(things, list) and type(number) is int and 0 <= number < len(things)):
            raise Unreadable(f"expected one of its {kind}, got number {str(number)[:40]}; export it again")
        if not isinstance(things[number], dict):
            raise Unreadable(f"expected {kind} that are objects, got {type(things[number]).__name__}; export it again")
        return things[number]

    def buffer(self, number: Any) -> bytes:
        """The bytes of a buffer: of the file itself, or of one beside it.

        Raises:
            Unreadable: They are elsewhere, not there, or too few.
        """
        if number not in self._buffers:
            told = self.item("buffers", number)
            if "uri" in told:
                data = self.linked(str(told["uri"]), "its data")
            elif number == 0:
                data = self.binary
            else:
                data = b""
            if len(data) < told["byteLength"]:
                raise Unreadable(f"expected {told['byteLength']} bytes of data, got {len(data)}; is it cut short?")
            self._buffers[number] = data
        return self._buffers[number]

    def linked(self, uri: str, what: str) -> bytes:
        """What a URI stands for, be it data in itself or a file beside this one.

        Raises:
            Unreadable: It is elsewhere, or not there.
        """
        if uri.startswith("data:"):
            return base64.b64decode(uri.split(",", 1)[1], validate=False)
        found = beside(self.path, uri)
        if found is None:
            raise Unreadable(f"expected {what} beside it, got no file {uri[:80]!r}; put it there, or export a GLB")
        return read_bytes(found)

    def view(self, number: Any) -> bytes:
        """The bytes of a buffer view.

        Raises:
            Unreadable: They are compressed, or not there.
        """
        told = self.item("bufferViews", number)
        refuse_compression(told.get("extensions", {}))
        data, start = self.buffer(told["buffer"]), told.get("byteOffset", 0)
        end = start + told["byteLength"]
        if not 0 <= start <= end <= len(data):
            raise Unreadable(f"expected bytes {start} to {end} of its data, got {len(data)}; is it cut short?")
        return data[start:end]

    def accessor(self, number: Any, *widths: int) -> NDArray[Any]:
        """The numbers of an accessor, one row each; whole numbers that stand for parts of 1 become these.

        Args:
            number: Which.
            widths: How many numbers a row may have.

        Raises:
            Unreadable: They are not there, or of another shape.
        """
        told = self.item("accessors", number)
        dtype, width, count = np.dtype(_TYPES[told["componentType"]]), _WIDTHS[told["type"]], told["count"]
        if width not in widths:
            raise Unreadable(f"expected {' or '.join(map(str, widths))} numbers for each, got {told['type']}")
        if not (type(count) is int and 0 <= count * width <= _MOST_VALUES):
            raise Unreadable(f"expected at most {_MOST_VALUES // width} rows of numbers, got {str(count)[:40]}")
        if "bufferView" in told:
            stride = self.item("bufferViews", told["bufferView"]).get("byteStride") or width * dtype.itemsize
            found = self._rows(told, count, width, dtype, stride)
        else:
            found = np.zeros((count, width), dtype)
        if "sparse" in told:
            sparse = told["sparse"]
            some, indices = sparse["count"], sparse["indices"]
            if not (type(some) is int and 0 <= some <= count):
                raise Unreadable(f"expected at most {count} numbers to replace, got {str(some)[:40]}")
            kind = np.dtype(_TYPES[indices["componentType"]])
            where = self._rows(indices, some, 1, kind, kind.itemsize)[:, 0]
            if some and int(where.max()) >= count:
                raise Unreadable(f"expected numbers of rows below {count}, got {int(where.max())}")
            found[where] = self._rows(sparse["values"], some, width, dtype, width * dtype.itemsize)
        if told.get("normalized") and dtype.kind in "ui":
            return np.maximum(found / np.iinfo(dtype).max, -1.0)
        return found

    def _rows(
        self, told: Mapping[str, Any], count: int, width: int, dtype: "np.dtype[Any]", stride: int
    ) -> NDArray[Any]:
        data, start = self.view(told["bufferView"]), told.get("byteOffset", 0)
        needed = start + (stride * (count - 1) + width * dtype.itemsize if count else 0)
        if start < 0 or stride < width * dtype.itemsize or needed > len(data):
            raise Unreadable(f"expected {needed} bytes for {count} rows of numbers, got {len(data)}; is it cut short?")
        shaped = np.ndarray((count, width), dtype, data, start, (stride, dtype.itemsize))
        return shaped.copy()


def read_gltf(path: Path) -> Gltf:
    """Open a .glb or a .gltf.

    Raises:
        Unreadable: It is neither.
    """
    raw = read_bytes(path)
    binary = b""
    if raw[:4] == b"glTF":
        version, length = struct.unpack_from("<II", raw, 4) if len(raw) >= 20 else (2, 20)
        if version != 2:
            raise Unreadable(f"expected glTF 2, got version {version}; export it with a newer program")
        if length > len(raw):
            raise Unreadable(f"expected {length} bytes, as it says, got {len(raw)}; is it cut short?")
        text, binary = _chunks(raw)
    else:
        text = raw
    try:
        tree = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable("expected a glTF file, got no glTF JSON; is it another kind of file, or damaged?") from None
    if not isinstance(tree, dict):
        raise Unreadable(f"expected a glTF whose JSON is an object, got {type(tree).__name__}")
    return Gltf(path, tree, binary)


def _chunks(raw: bytes) -> tuple[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    at = 12
    while at + 8 <= len(raw) and len(found) < 2:
        length, kind = struct.unpack_from("<I4s", raw, at)
        if at + 8 + length > len(raw):
            raise Unreadable(f"expected {length} bytes in a part of it, got {len(raw) - at - 8}; is it cut short?")
        found.setdefault(kind, raw[at + 8 : at + 8 + length])
        at += 8 + length + -length % 4
    return found.get(b"JSON", b""), found.get(b"BIN\0", b"")


def refuse_compression(extensions: Any) -> None:
    """Names what a file is compressed with.

    Raises:
        Unreadable: It is compressed.
    """
    for name, plain in _COMPRESSED.items():
        if name in extensions:
            raise Unreadable(f"expected a mesh without compression, got {plain} ({name}); export it without")


def parents(gltf: Gltf) -> dict[int, int]:
    """The node above each node that has one.

    Raises:
        Unreadable: Nodes stand above themselves, or below several others.
    """
    above: dict[int, int] = {}
    nodes = gltf.tree.get("nodes", [])
    for number in range(len(nodes)):
        for child in gltf.item("nodes", number).get("children", []):
            gltf.item("nodes", child)
            if child in above:
                raise Unreadable(f"expected nodes below one other at most, got node {child} below two; export it again")
            above[child] = number
    reached = [number for number in range(len(nodes)) if number not in above]
    for number in reached:
        reached += nodes[number].get("children", [])
    if len(reached) < len(nodes):
        raise Unreadable(f"expected a tree of nodes, got {len(nodes) - len(reached)} in a circle; export it again")
    return above


def matrix(node: Mapping[str, Any]) -> Float[Tensor, "4 4"]:
    """How and where a node stands against the one above it, in double precision.

    Raises:
        Unreadable: Numbers are missing or not finite.
    """
    if "matrix" in node:
        made = _numbers(node["matrix"], 16).view(4, 4).T.contiguous()
    else:
        x, y, z, w = torch.nn.functional.normalize(_numbers(node.get("rotation", (0, 0, 0, 1)), 4), dim=0).tolist()
        made = torch.eye(4, dtype=torch.float64)
        made[:3, :3] = torch.tensor([
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ], dtype=torch.float64) * _numbers(node.get("scale", (1, 1, 1)), 3)  # fmt: skip
        made[:3, 3] = _numbers(node.get("translation", (0, 0, 0)), 3)
    return made


def _numbers(values: Any, count: int) -> Float[Tensor, " n"]:
    made = torch.tensor([float(value) for value in values], dtype=torch.float64)
    if len(made) != count or not bool(made.isfinite().all()):
        raise Unreadable(f"expected {count} finite numbers for where a node stands, got {str(values)[:60]}")
    return made
