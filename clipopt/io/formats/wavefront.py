"""Wavefront OBJ and its material files as parts.

Reference:
    Alias/Wavefront, "Advanced Visualizer Manual" (1995), appendix B1 (object files) and its companion on .mtl.
"""

import io
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clipopt.io.formats.outside import MOST_FACES, Texture, Unreadable, beside, read_bytes
from clipopt.io.formats.parts import Part

# Options of a texture in a .mtl, with the number of words that follow each; -s, -o and -t take one to three.
_OPTIONS = {"-blendu": 1, "-blendv": 1, "-boost": 1, "-mm": 2, "-texres": 1, "-clamp": 1, "-bm": 1, "-imfchan": 1,
            "-cc": 1, "-type": 1}  # fmt: skip
_VECTORS = ("-s", "-o", "-t")


@dataclass
class _Material:
    factor: tuple[float, float, float] | None = None
    texture: Texture | None = None
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)


@dataclass
class _Faces:
    """Corners of triangles of one material: numbers of vertices and of texture coordinates, -1 for none."""

    points: "array[int]" = field(default_factory=lambda: array("q"))
    places: "array[int]" = field(default_factory=lambda: array("q"))


def read_obj(path: Path) -> tuple[list[Part], list[str]]:
    """The parts of an OBJ file, one for each material, and what has to be said of them.

    Raises:
        Unreadable: Something in it is not as it should be.
    """
    said: list[str] = []
    points, shades, places = (array("d") for _ in range(3))  # lists of numbers would take ten times the memory
    materials: dict[str, _Material] = {}
    groups: dict[str, _Faces] = {}
    current = groups.setdefault("", _Faces())
    corners = 0
    for number, line in _lines(read_bytes(path)):
        key, _, rest = line.partition(" ")
        match key:
            case "v":
                values = _floats(rest, 3, number)
                points.extend(values[:3])
                if len(values) >= 6:  # a fourth alone is a weight
                    shades.extend(values[3:6])
            case "f":
                words = rest.split("#")[0].split()
                found = [_corner(word, len(points) // 3, len(places) // 2, number) for word in words]
                if len(found) < 3:
                    raise Unreadable(f"expected faces of three corners or more, got {len(found)} in line {number}")
                corners += len(found) - 2
                if corners > MOST_FACES:
                    raise Unreadable(f"expected at most {MOST_FACES} faces, got more; simplify it first")
                for second, third in pairwise(found[1:]):
                    for point, place in (found[0], second, third):
                        current.points.append(point)
                        current.places.append(place)
            case "vt":
                values = _floats(rest, 1, number)
                places.extend([*values, 0.0][:2])
            case "usemtl":
                current = groups.setdefault(rest.strip(), _Faces())
            case "mtllib":
                materials |= _libraries(path, rest.strip(), said)
    vertices = torch.from_numpy(np.array(points).reshape(-1, 3))
    coordinates = torch.from_numpy(np.array(places).reshape(-1, 2))
    colors = _colours(np.array(shades).reshape(-1, 3)) if len(shades) == len(points) > 0 else None
    parts = []
    groups = {name: group for name, group in groups.items() if group.points}
    if lost := [name for name in groups if name and name not in materials]:
        said.append(f"{len(lost)} of its materials are nowhere to be found ({lost[0][:60]!r} first): they are grey")
    for name, group in groups.items():
        parts.append(_part(group, vertices, colors, coordinates, materials.get(name, _Material()), said))
    return parts, said


def _lines(raw: bytes) -> Iterator[tuple[int, str]]:
    """Numbers and texts of lines; one that ends in a backslash goes on in the next."""
    begun = ""
    for number, line in enumerate(io.TextIOWrapper(io.BytesIO(raw), "utf-8-sig", errors="replace"), 1):
        whole = begun + line.replace("\t", " ").strip()
        begun = ""
        if whole.endswith("\\"):
            begun = whole[:-1] + " "
        elif whole:
            yield number, whole


def _corner(word: str, points: int, places: int, line: int) -> tuple[int, int]:
    """Numbers of vertex and texture coordinate from 0 on; those given count from 1, or from the last one back."""
    try:
        point, place = (int(part) if part else 0 for part in [*word.split("/"), ""][:2])
    except ValueError:
        raise Unreadable(f"expected whole numbers for the corners of faces, got {word[:40]!r} in line {line}") from None
    at = point - 1 if point > 0 else points + point
    if point == 0 or not 0 <= at < 2**31:
        raise Unreadable(f"expected vertices of 1 to {points}, got {point} in line {line}; export it again")
    return at, -1 if place == 0 else place - 1 if place > 0 else places + place


def _floats(words: str, least: int, line: int) -> list[float]:
    try:
        values = [float(word) for word in words.split("#")[0].split()]
    except ValueError:
        values = []
    if len(values) < least:
        raise Unreadable(f"expected {least} numbers or more, got {words[:40]!r} in line {line}; export it again")
    return values


def _colours(values: NDArray[np.float64]) -> Tensor:
    values = np.nan_to_num(values)
    values = values / 255 if values.max(initial=0) > 1 else values
    return torch.from_numpy(values.clip(0, 1).astype(np.float32))


def _part(
    group: _Faces, vertices: Tensor, shades: Tensor | None, coordinates: Tensor, material: _Material, said: list[str]
) -> Part:
    faces = torch.from_numpy(np.array(group.points)).view(-1, 3)
    if int(faces.max()) >= len(vertices):
        raise Unreadable(f"expected vertices of 1 to {len(vertices)}, got {int(faces.max()) + 1}; export it again")
    used, own = faces.unique(return_inverse=True)
    uv = None
    place = torch.from_numpy(np.array(group.places)).view(-1, 3)
    if material.texture is not None:
        if int(place.min()) < 0 or int(place.max()) >= len(coordinates):
            said.append("left out a texture: not all of its faces have texture coordinates")
        else:
            uv = coordinates[place] * torch.tensor(material.scale) + torch.tensor(material.offset)
    colors = None if shades is None else shades[faces]
    return Part(vertices[used], own, material.factor, colors, uv, None if uv is None else material.texture)


def _libraries(path: Path, names: str, said: list[str]) -> dict[str, _Material]:
    """The materials of one file, or of several whose names hold no spaces."""
    found: dict[str, _Material] = {}
    whole = _linked(path, names, said, "material file", quiet=" " in names)
    tried = [whole] if whole is not None or " " not in names else [
        _linked(path, name, said, "material file") for name in names.split()
    ]  # fmt: skip
    for file in tried:
        if file is not None:
            found |= _materials(path, file, said)
    return found


def _linked(path: Path, name: str, said: list[str], what: str, *, quiet: bool = False) -> Path | None:
    """A file that is named, if it lies beside; what is elsewhere is not read, and that is said."""
    try:
        found = beside(path, name)
        reason = "there is no such file beside it"
    except Unreadable:
        found, reason = None, "it leads out of the mesh's folder; put the file beside the mesh"
    if found is None and not quiet:
        said.append(f"left out the {what} {name[:80]!r}: {reason}")
    return found


def _materials(path: Path, file: Path, said: list[str]) -> dict[str, _Material]:
    found: dict[str, _Material] = {}
    current = _Material()
    for _, line in _lines(read_bytes(file)):
        key, _, rest = line.partition(" ")
        match key.lower():
            case "newmtl":
                current = found.setdefault(rest.strip(), _Material())
            case "kd":
                words = rest.split()
                try:
                    red, green, blue = (float(word) for word in (words[:3] if len(words) > 2 else words[:1] * 3))
                except ValueError:
                    raise Unreadable(f"expected Kd and three numbers in {file.name}, got Kd {rest[:40]!r}") from None
                if not all(0 <= value <= 1 for value in (red, green, blue)):
                    raise Unreadable(f"expected Kd of 0 to 1 in {file.name}, got {red:g} {green:g} {blue:g}")
                current.factor = (red, green, blue)
            case "map_kd":
                _read_map(current, rest, path, said)
    for name, material in found.items():
        if material.texture is not None and material.factor == (0.0, 0.0, 0.0):
            said.append(f"took Kd 0 0 0 of the material {name[:60]!r} for 1 1 1, or its texture would be black")
            material.factor = None
    return found


def _read_map(material: _Material, rest: str, path: Path, said: list[str]) -> None:
    words = rest.split()
    clamped = False
    while words and words[0].lower() in (*_OPTIONS, *_VECTORS):
        option = words.pop(0).lower()
        if option in _VECTORS:
            values: list[float] = []
            while words and len(values) < 3 and (number := _number(words[0])) is not None:
                values.append(number)
                words.pop(0)
            if option == "-t" and any(values):
                said.append("left out the turbulence of a texture")
            elif option in ("-s", "-o") and values:
                pair = (values[0], values[1] if len(values) > 1 else (1.0 if option == "-s" else 0.0))
                material.scale, material.offset = (pair, material.offset) if option == "-s" else (material.scale, pair)
        else:
            taken, words = words[: _OPTIONS[option]], words[_OPTIONS[option] :]
            clamped |= option == "-clamp" and taken == ["on"]
    name = " ".join(words).strip('"')
    if name and (found := _linked(path, name, said, "texture")) is not None:
        wrap = "clamp" if clamped else "repeat"
        material.texture = Texture(read_bytes(found), (wrap, wrap))


def _number(word: str) -> float | None:
    try:
        return float(word)
    except ValueError:
        return None
