"""STL and OFF as parts, read by trimesh: shapes without colours."""

import io
import logging
import warnings
from pathlib import Path

import numpy as np
import torch

from clipopt.io.formats.outside import MOST_FACES, Unreadable, read_bytes
from clipopt.io.formats.parts import Part

_MOST_TEXT = 128 * 2**20
_HEAD, _FACE = 84, 50


def read_plain(path: Path) -> list[Part]:
    """The parts of an STL or OFF file.

    Raises:
        Unreadable: Something in it is not as it should be.
    """
    import trimesh

    raw = read_bytes(path)
    kind = path.suffix.lower()[1:]
    count = int.from_bytes(raw[_HEAD - 4 : _HEAD], "little")
    if kind == "stl" and len(raw) == _HEAD + _FACE * count:
        if count > MOST_FACES:
            raise Unreadable(f"expected at most {MOST_FACES} faces, got {count}; simplify it first")
    elif len(raw) > _MOST_TEXT:
        raise Unreadable(f"expected at most {_MOST_TEXT >> 20} MB of text, got {len(raw) >> 20} MB; simplify it first")
    logger = logging.getLogger("trimesh")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # what it cannot read is told once, by us
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            scene = trimesh.load_scene(io.BytesIO(raw), file_type=kind, process=False)
    finally:
        logger.setLevel(level)
    parts = []
    for part in scene.geometry.values():
        if isinstance(part, trimesh.Trimesh) and len(part.faces):
            vertices = torch.tensor(np.asarray(part.vertices), dtype=torch.float64)
            parts.append(Part(vertices, torch.tensor(np.asarray(part.faces), dtype=torch.int64)))
    return parts
