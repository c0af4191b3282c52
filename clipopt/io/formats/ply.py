"""PLY as parts: polygons of any kinds, colours of any type, one texture or several.

Reference:
    Turk, "The PLY Polygon File Format" (1994).
"""

import re
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipopt.io.formats.outside import MOST_FACES, Texture, Unreadable, beside, read_bytes
from clipopt.io.formats.parts import Part

_TYPES = {
    "char": "i1", "uchar": "u1", "short": "i2", "ushort": "u2", "int": "i4", "uint": "u4", "float": "f4",
    "double": "f8", "int8": "i1", "uint8": "u1", "int16": "i2", "uint16": "u2", "int32": "i4", "uint32": "u4",
    "int64": "i8", "uint64": "u8", "float32": "f4", "float64": "f8",
}  # fmt: skip
_CORNERS = ("vertex_indices", "vertex_index")
_PLACES = (("s", "t"), ("u", "v"), ("texture_u", "texture_v"))
_COLOURS = (("red", "green", "blue"), ("diffuse_red", "diffuse_green", "diffuse_blue"), ("r", "g", "b"))


@dataclass(frozen=True)
class _Property:
    name: str
    kind: str
    counted: str | None = None
    """Type of the number of its values; None where it has one value."""


@dataclass(frozen=True)
class _Element:
    name: str
    count: int
    properties: list[_Property] = field(default_factory=list)


@dataclass(frozen=True)
class _Lists:
    """Values one after the other, and how many belong to each row."""

    counts: NDArray[np.int64]
    values: NDArray[Any]


_Columns = dict[str, NDArray[Any] | _Lists]


def read_ply(path: Path) -> tuple[list[Part], list[str]]:
    """The parts of a PLY file, one for each of its textures, and what has to be said of them.

    Raises:
        Unreadable: Something in it is not as it should be.
    """
    raw = read_bytes(path)
    order, elements, pictures, start = _header(raw)
    read = _text(raw, start, elements) if order is None else _binary(raw, start, elements, order)
    said: list[str] = []
    vertices, faces = read.get("vertex", {}), read.get("face", {})
    rows = [vertices.get(axis) for axis in "xyz"]
    points = np.stack([row for row in rows if isinstance(row, np.ndarray)] or [np.zeros(0)], -1).astype(np.float64)
    lists = next((faces[name] for name in _CORNERS if name in faces), None)
    if points.shape[1:] != (3,) or not isinstance(lists, _Lists):
        raise Unreadable("expected a mesh with faces, got points or lines; make a surface of them first")
    polygon, corners = _triangles(lists)
    if not bool(np.isfinite(lists.values).all()):
        raise Unreadable("expected faces of whole numbers, got NaN or infinity; export it again")
    index = lists.values.astype(np.int64)[corners]
    if len(index) and not (index.min() >= 0 and index.max() < len(points)):
        got = f"{index.min()} to {index.max()}"
        raise Unreadable(f"expected faces of vertices 0 to {len(points) - 1}, got {got}; export it again")
    triangles = torch.from_numpy(index)
    colors = _colours(vertices)
    shades = None if colors is None else colors[triangles]
    if shades is None and (own := _colours(faces)) is not None:
        shades = own[torch.from_numpy(polygon)][:, None].expand(-1, 3, -1)
    uv = _coordinates(vertices, faces, lists, corners, index)
    textures = [] if uv is None else [_texture(path, name, said) for name in pictures]
    return _split(torch.from_numpy(points), triangles, shades, uv, textures, faces.get("texnumber"), polygon), said


def _split(
    points: Tensor, triangles: Tensor, shades: Tensor | None, uv: Tensor | None, textures: Sequence[Texture | None],
    numbers: Any, polygon: NDArray[np.int64],
) -> list[Part]:  # fmt: skip
    """One part for each texture that faces name; one in all where there is one."""
    if len(textures) < 2 or not isinstance(numbers, np.ndarray):
        texture = textures[0] if textures else None
        return [Part(points, triangles, None, shades, None if texture is None else uv, texture)]
    which = torch.from_numpy(np.nan_to_num(numbers).clip(-1, len(textures)).astype(np.int64)[polygon])
    parts = []
    for number, texture in enumerate(textures):
        mine = which == number
        own = None if shades is None else shades[mine]
        parts.append(Part(points, triangles[mine], None, own, None if uv is None else uv[mine], texture))
    left = (which < 0) | (which >= len(textures))
    parts.append(Part(points, triangles[left], None, None if shades is None else shades[left]))
    return parts


def _header(raw: bytes) -> tuple[str | None, list[_Element], list[str], int]:
    """The order of bytes, None for text; the elements; names of textures; where the data begin."""
    end = re.search(rb"^end_header[ \t]*(\r\n|\n|\r)", raw[: 1 << 20], re.MULTILINE)
    if end is None or not raw.startswith(b"ply"):
        raise Unreadable(
            "expected a PLY file, which begins with ply and a header, got none; is it another kind of file?"
        )
    order, elements, pictures = None, list[_Element](), list[str]()
    for line in re.split(r"[\r\n]+", raw[: end.start()].decode("utf-8", errors="replace")):
        words = line.split()
        match words:
            case ["format", kind, *_]:
                order = {"binary_little_endian": "<", "binary_big_endian": ">"}.get(kind)
            case ["element", name, count]:
                if not count.isdecimal() or len(count) > 18 or int(count) > 4 * MOST_FACES:
                    raise Unreadable(f"expected at most {4 * MOST_FACES} of each element, got {count[:40]}")
                elements.append(_Element(name, int(count)))
            case ["property", "list", counted, kind, name] if elements and {counted, kind} <= _TYPES.keys():
                elements[-1].properties.append(_Property(name, _TYPES[kind], _TYPES[counted]))
            case ["property", kind, name] if elements and kind in _TYPES:
                elements[-1].properties.append(_Property(name, _TYPES[kind]))
            case ["comment", key, *_] if key.lower() == "texturefile":
                pictures.append(line.split(None, 2)[2].strip() if len(words) > 2 else "")
            case ["ply"] | ["comment" | "obj_info", *_] | []:
                continue
            case _:
                raise Unreadable(f"expected the header of a PLY file, got {line[:60]!r} in it; export it again")
    return order, elements, pictures, end.end()


def _binary(raw: bytes, at: int, elements: Sequence[_Element], order: str) -> dict[str, _Columns]:
    read: dict[str, _Columns] = {}
    for element in elements:
        read[element.name], at = _rows(raw, at, element, order)
    return read


def _rows(raw: bytes, at: int, element: _Element, order: str) -> tuple[_Columns, int]:
    """As one table where all rows are alike, else row by row."""
    sizes, end = [], at
    for prop in element.properties:
        size = 1
        if prop.counted is not None:
            size = int(_one(raw, end, order + prop.counted)) if element.count else 0
            end += np.dtype(prop.counted).itemsize
        sizes.append(size)
        end += max(0, size) * np.dtype(prop.kind).itemsize
    table = np.dtype([
        part
        for number, (prop, size) in enumerate(zip(element.properties, sizes, strict=True))
        for part in (
            [(f"{number}", order + prop.kind)]
            if prop.counted is None
            else [(f"count {number}", order + prop.counted), (f"{number}", order + prop.kind, (max(0, min(size, 64)),))]
        )
    ])  # fmt: skip
    if at + element.count * table.itemsize <= len(raw) and all(0 <= size <= 64 for size in sizes):
        found = np.frombuffer(raw, table, element.count, at)
        lists = [n for n, prop in enumerate(element.properties) if prop.counted is not None]
        if all(bool((found[f"count {n}"] == sizes[n]).all()) for n in lists):
            columns: _Columns = {}
            for number, prop in enumerate(element.properties):
                values = found[f"{number}"]
                counts = np.full(element.count, sizes[number])
                columns[prop.name] = values if number not in lists else _Lists(counts, values.reshape(-1))
            return columns, at + element.count * table.itemsize
    lengths, numbers = [array("q") for _ in sizes], [array("d") for _ in sizes]
    for _ in range(element.count):
        for number, prop in enumerate(element.properties):
            size = 1
            if prop.counted is not None:
                size = int(_one(raw, at, order + prop.counted))
                at += np.dtype(prop.counted).itemsize
            width = np.dtype(prop.kind).itemsize
            if size < 0 or at + size * width > len(raw):
                raise Unreadable(f"expected {element.count} rows of {element.name[:40]}, got fewer; is it cut short?")
            lengths[number].append(size)
            numbers[number].extend(np.frombuffer(raw, order + prop.kind, size, at).tolist())
            at += size * width
    return _columns(element, lengths, numbers), at


def _one(raw: bytes, at: int, kind: str) -> Any:
    if at + np.dtype(kind).itemsize > len(raw):
        raise Unreadable("expected more rows than there are; is it cut short?")
    return np.frombuffer(raw, kind, 1, at)[0]


def _text(raw: bytes, start: int, elements: Sequence[_Element]) -> dict[str, _Columns]:
    lines = (words for line in re.finditer(rb"[^\r\n]+", raw[start:]) if (words := line[0].split()))
    return {element.name: _lines(lines, element) for element in elements}


def _lines(lines: Iterator[list[bytes]], element: _Element) -> _Columns:
    counts, values = [array("q") for _ in element.properties], [array("d") for _ in element.properties]
    for row in range(element.count):
        words, at = next(lines, []), 0
        for number, prop in enumerate(element.properties):
            try:
                size = 1 if prop.counted is None else int(words[at])
                at += prop.counted is not None
                numbers = [float(word) for word in words[at : at + size]]
            except (ValueError, IndexError):
                numbers, size = [], -1
            if size < 0 or len(numbers) < size:
                got = b" ".join(words)[:40].decode("utf-8", errors="replace")
                raise Unreadable(f"expected numbers in row {row} of {element.name[:40]}, got {got!r}; is it cut short?")
            counts[number].append(size)
            values[number].extend(numbers)
            at += size
    return _columns(element, counts, values)


def _columns(element: _Element, counts: Sequence["array[int]"], values: Sequence["array[float]"]) -> _Columns:
    columns: _Columns = {}
    for prop, count, value in zip(element.properties, counts, values, strict=True):
        numbers = np.array(value, np.float64)
        if prop.counted is not None:
            columns[prop.name] = _Lists(np.array(count, np.int64), numbers)
        else:  # their type says what stands for 1 in a colour
            whole = prop.kind in ("u1", "u2", "u4")
            numbers = np.nan_to_num(numbers).clip(0, np.iinfo(prop.kind).max).astype(prop.kind) if whole else numbers
            columns[prop.name] = numbers
    return columns


def _triangles(lists: _Lists) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The polygon of each triangle, and which values are its corners, (t, 3): fans around first corners."""
    each = np.maximum(lists.counts - 2, 0)
    if (total := int(each.sum())) > MOST_FACES:
        raise Unreadable(f"expected at most {MOST_FACES} faces, got {total}; simplify it first")
    polygon = np.repeat(np.arange(len(each)), each)
    first = (lists.counts.cumsum() - lists.counts)[polygon]
    step = np.arange(total) - (each.cumsum() - each)[polygon]
    return polygon, np.stack([first, first + step + 1, first + step + 2], 1)


def _colours(columns: Mapping[str, NDArray[Any] | _Lists]) -> Tensor | None:
    """Colours of rows in [0, 1], whole numbers by what is most of their type."""
    for names in _COLOURS:
        found = [own for name in names if isinstance(own := columns.get(name), np.ndarray)]
        if len(found) == 3:
            values = np.stack(found, 1)
            if values.dtype.kind in "ui":
                full = float(np.iinfo(values.dtype).max)
            else:
                full = 255.0 if np.nanmax(values, initial=0) > 1 else 1.0
            return torch.from_numpy(values.astype(np.float32) / full)
    return None


def _coordinates(
    vertices: _Columns, faces: _Columns, lists: _Lists, corners: NDArray[np.int64], index: NDArray[np.int64]
) -> Tensor | None:
    """Texture coordinates of the corners of triangles: told by faces, or by vertices."""
    told = faces.get("texcoord")
    if isinstance(told, _Lists) and bool((told.counts == 2 * lists.counts).all()):
        return torch.from_numpy(told.values.astype(np.float64).reshape(-1, 2)[corners])
    for names in _PLACES:
        found = [own for name in names if isinstance(own := vertices.get(name), np.ndarray)]
        if len(found) == 2:
            return torch.from_numpy(np.stack(found, 1).astype(np.float64)[index])
    return None


def _texture(path: Path, name: str, said: list[str]) -> Texture | None:
    try:
        found = beside(path, name)
    except Unreadable:
        found = None
    if found is None:
        said.append(f"left out the texture {name[:80]!r}: there is no such file beside the mesh")
        return None
    return Texture(read_bytes(found))
