"""PLY, STL and OFF as parts, read by trimesh; a PLY's texture is found here."""

import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipopt.formats.outside import Texture, Unreadable, beside, read_bytes
from clipopt.formats.parts import Part


def read_plain(path: Path) -> tuple[list[Part], list[str]]:
    """The parts of a PLY, STL or OFF file, and what has to be said of them.

    Raises:
        Unreadable: Something in it is not as it should be.
    """
    import trimesh

    raw = read_bytes(path)
    kind = path.suffix.lower()[1:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        scene = trimesh.load_scene(io.BytesIO(raw), file_type=kind, process=False, skip_materials=True)
    said: list[str] = []
    texture = _texture(path, raw, said) if kind == "ply" else None
    found = [part for part in scene.geometry.values() if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    if not found and len(scene.geometry):
        raise Unreadable("expected a mesh with faces, got points or lines; make a surface of them first")
    return [_part(part, texture) for part in found], said


def _part(part: Any, texture: Texture | None) -> Part:
    vertices = torch.tensor(np.asarray(part.vertices), dtype=torch.float64)
    faces = torch.tensor(np.asarray(part.faces), dtype=torch.int64)
    if len(vertices) == 0 or int(faces.max()) >= len(vertices) or int(faces.min()) < 0:
        got = f"{int(faces.min())} to {int(faces.max())}"
        raise Unreadable(f"expected faces of vertices 0 to {len(vertices) - 1}, got {got}; export it again")
    visual = part.visual
    uv = None
    if texture is not None and visual.kind == "texture" and visual.uv is not None:
        uv = torch.tensor(np.asarray(visual.uv), dtype=torch.float64)[faces]
    colors: Tensor | None = None
    if visual.kind == "vertex":
        colors = _unit(visual.vertex_colors)[faces]
    elif visual.kind == "face":
        colors = _unit(visual.face_colors)[:, None].expand(-1, 3, -1)
    return Part(vertices, faces, None, colors, uv, texture if uv is not None else None)


def _unit(rgba: Any) -> Tensor:
    return torch.tensor(np.asarray(rgba)[:, :3], dtype=torch.float32) / 255


def _texture(path: Path, raw: bytes, said: list[str]) -> Texture | None:
    """The picture that a PLY names in a comment."""
    head = raw[: raw.find(b"end_header")].decode("utf-8", errors="replace")
    if (named := re.search(r"^comment\s+TextureFile\s+(.+?)\s*$", head, re.IGNORECASE | re.MULTILINE)) is None:
        return None
    try:
        found = beside(path, named[1])
    except Unreadable:
        found = None
    if found is None:
        said.append(f"left out the texture {named[1][:80]!r}: there is no such file beside the mesh")
        return None
    return Texture(read_bytes(found))
