"""What is shown, measured and written of a finished mesh."""

import math
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from clipopt.geometry.camera import Cameras, look_at, orbit
from clipopt.geometry.energy import self_intersection
from clipopt.geometry.mesh import Mesh, fit
from clipopt.geometry.repair import examine
from clipopt.io import files
from clipopt.io.mesh import save_mesh
from clipopt.render.draw import draw
from clipopt.render.shade import Light
from clipopt.types import Images

FORMATS = (".glb", ".obj", ".ply")
"""Files that each result is written as."""
SIDES = 8
"""Views of a sheet."""
_ELEVATION, _FOV, _FILL = 0.35, math.radians(40), 0.95
_PAPER, _AMBIENT = 0.93, 0.55
# The front is seen a little from its left, so that it has depth.
_ASKEW = 0.35
_TURN_FRAMES, _TURN_FPS, _TURN_SIDE = 60, 20, 256


def portrait(mesh: Mesh, size: int) -> Images:
    """The mesh from its front, (1, 3, size, size)."""
    return shown(mesh, [_ASKEW], size)


@torch.no_grad()
def shown(mesh: Mesh, azimuths: Sequence[float], size: int, *, textureless: bool = False) -> Images:
    """The mesh from several sides, over light grey, as large as fits; azimuths in radians, 0 is the front."""
    centred = replace(mesh.to("cpu"), vertices=fit(mesh.vertices.cpu()))
    cameras = _cameras(azimuths)
    up = torch.tensor([0.0, 1, 0])
    aside = torch.linalg.cross(up.expand_as(cameras.eye), cameras.eye)
    lamp = torch.nn.functional.normalize(cameras.eye + 1.0 * up - 0.5 * aside, dim=1)  # from the upper left
    background = torch.full((1, 3, size, size), _PAPER)
    grey = torch.full((len(cameras),), textureless)
    return draw(centred, cameras, background, light=Light(lamp, _AMBIENT), textureless=grey).clamp(0, 1)


def _cameras(azimuths: Sequence[float]) -> Cameras:
    azimuth = torch.tensor([*azimuths], dtype=torch.float32)
    distance = 1 / math.sin(math.atan(_FILL * math.tan(_FOV / 2)))
    level = torch.full_like(azimuth, _ELEVATION)
    return look_at(orbit(azimuth, level, torch.full_like(azimuth, distance)), fov=_FOV)


def around(count: int) -> list[float]:
    """So many azimuths evenly around, the portrait's first."""
    return [_ASKEW + 2 * math.pi * number / count for number in range(count)]


def sheet(meshes: Sequence[Mesh], size: int = 192) -> Images:
    """Eight views of each mesh in a row, and below it the same without colours."""
    rows = [shown(mesh, around(SIDES), size, textureless=grey) for mesh in meshes for grey in (False, True)]
    return files.sheet(torch.cat(rows), columns=SIDES, cell=size)


def measure(mesh: Mesh) -> dict[str, Any]:
    """Numbers of vertices and faces, whether it is closed, its handles, and how much of it crosses itself."""
    health = examine(mesh)
    return {
        "faces": len(mesh.faces),
        "parts": health.components,
        "watertight": health.watertight,
        "genus": health.genus,
        "self-intersection": round(self_intersection(mesh), 5),
    }


def expected_files(items: int) -> list[str]:
    """What a run leaves in its folder."""
    names = ["result"] if items == 1 else [f"result-00 ... result-{items - 1:02d}"]
    models = [f"{name}{suffix}" for name in names for suffix in (*FORMATS, ".mtl", "-texture.png")]
    pictures = [
        "result.png",
        "sheet.png",
        "turntable.mp4",
        "turntable.gif",
        "progress.mp4",
        "progress.gif",
        "previews/",
    ]
    return [*models, *pictures, "report.html", "summary.json", "steps.jsonl", "config.json", "checkpoint.pt"]


def write_models(folder: Path, meshes: Sequence[Mesh]) -> None:
    """Write each mesh in every format."""
    for number, mesh in enumerate(meshes):
        name = "result" if len(meshes) == 1 else f"result-{number:02d}"
        for suffix in FORMATS:
            save_mesh(folder / f"{name}{suffix}", mesh)


def write_turntable(folder: Path, meshes: Sequence[Mesh]) -> None:
    """Write turntable.mp4 and .gif: one turn, all meshes side by side."""
    side = max(64, _TURN_SIDE // math.ceil(len(meshes) ** 0.5)) if len(meshes) > 4 else _TURN_SIDE
    turns = torch.stack([shown(mesh, around(_TURN_FRAMES), side) for mesh in meshes], 1)
    frames = [files.sheet(frame, columns=math.ceil(len(meshes) ** 0.5))[0] for frame in turns]
    try:
        files.write_video(folder / "turntable.mp4", frames, fps=_TURN_FPS, hold=0)
    except (RuntimeError, ImportError) as error:
        warnings.warn(f"turntable.mp4 is not written, turntable.gif is: {error}", UserWarning, stacklevel=2)
    files.write_gif(folder / "turntable.gif", frames, fps=_TURN_FPS, hold=0)
