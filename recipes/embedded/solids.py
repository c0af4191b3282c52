"""Solid things as the embedded world's painters paste them: shaded views of meshes, from many sides, without ground.

    bank = solid_sprites()                                # rendered once, minutes; then read from a file
    for solid in solids():
        picture = bank.picture(solid.number, view=3)      # in its own colours
        picture = bank.picture(solid.number, view=3, colour=(40, 85, 215))

A solid has the number of the concept that it shows: it is a second manner of drawing it.
"""

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch.nn import functional as F

from clipopt.embedded.concepts import number_of
from clipopt.geometry.camera import look_at, orbit
from clipopt.geometry.mesh import Mesh, fit
from clipopt.io.files import atomic, cache_folder
from clipopt.render.draw import draw, silhouettes
from clipopt.render.shade import GREY, Light
from recipes.embedded.props import MODELS

AZIMUTHS, ELEVATIONS = 12, (-0.2, 0.25, 0.75)
VIEWS = AZIMUTHS * len(ELEVATIONS)
"""Views of each solid: all azimuths from the front on, at each elevation in turn; of some, the front half alone."""
FACING = AZIMUTHS + 1
"""The view of a solid from a little beside and above its front."""
SIDE = 96
_FOV, _FILL, _AMBIENT = 0.6, 0.96, 0.5
_BRIGHT = 235.0  # what white becomes in full light
_FRONT = frozenset({"bookshelf", "watermelon", "skull"})  # nobody would name them from behind


@dataclass(frozen=True)
class Solid:
    """A thing with a mesh.

    Attributes:
        noun: As captions say it.
        make: Composes the mesh, in natural colours, y up, its front to +z or its head to +x.
    """

    noun: str
    make: Callable[[], Mesh]

    @property
    def number(self) -> int:
        """The number of the concept that it shows."""
        return number_of(self.noun)

    def mesh(self) -> Mesh:
        """The mesh, of radius 1 around the origin."""
        made = self.make()
        return Mesh(fit(made.vertices), made.faces, made.colors)


@cache
def solids() -> tuple[Solid, ...]:
    """All solids, in a fixed order."""
    return tuple(Solid(noun, make) for noun, make in MODELS.items())


@torch.no_grad()
def render(mesh: Mesh, *, front: bool = False) -> NDArray[np.uint8]:
    """Views of a mesh of radius 1, shape (VIEWS, SIDE, SIDE, 5): red, green, blue, light on it, coverage.

    With `front`, from 60 degrees on either side of the front, not from all around.
    """
    around = 2 * math.pi * torch.arange(AZIMUTHS) / AZIMUTHS
    azimuth = (torch.sin(around) * math.pi / 3 if front else around).repeat(len(ELEVATIONS))
    elevation = torch.tensor(ELEVATIONS).repeat_interleave(AZIMUTHS)
    distance = 1 / math.sin(math.atan(_FILL * math.tan(_FOV / 2)))
    eye = orbit(azimuth, elevation, torch.full((VIEWS,), distance))
    cameras = look_at(eye, fov=_FOV, near=distance - 1.5, far=distance + 1.5)
    toward = F.normalize(eye, dim=-1)
    up = torch.tensor([0.0, 1, 0]).expand_as(toward)
    left = torch.linalg.cross(up, toward)
    light = Light(F.normalize(toward + 0.7 * up - 0.5 * F.normalize(left, dim=-1), dim=-1), _AMBIENT)
    size = 2 * SIDE  # drawn at twice the size, for smooth edges
    black = torch.zeros(1, 3, size, size)
    coloured = draw(mesh, cameras, black, light=light)
    lit = draw(mesh, cameras, black, light=light, textureless=torch.ones(VIEWS, dtype=torch.bool))[:, :1] / GREY
    cover = silhouettes(mesh, cameras, (size, size))[:, None]
    fine = F.avg_pool2d(torch.cat([coloured, lit, cover], 1), 2)
    cover = fine[:, 4:].clamp(0, 1)
    values = torch.cat([fine[:, :4] / cover.clamp_min(1e-3) * (_BRIGHT / 255), cover], 1)
    return (values.clamp(0, 1) * 255 + 0.5).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


class SolidSprites:
    """Rendered views of all solids.

    Attributes:
        numbers: The concepts that have some.
    """

    def __init__(self, views: NDArray[np.uint8]) -> None:
        self._views = views
        self._rows = {solid.number: row for row, solid in enumerate(solids())}
        self.numbers = frozenset(self._rows)

    def picture(
        self, number: int, view: int, colour: Sequence[int] | Sequence[float] | NDArray[Any] | None = None
    ) -> Image.Image:
        """One view, with transparency, (SIDE, SIDE).

        Args:
            number: The concept.
            view: Which, 0 to VIEWS - 1.
            colour: All of it in this colour, 0 to 255, lit; None: in its own colours.
        """
        values = np.asarray(self._views[self._rows[number], view])
        rgb, lit, cover = values[..., :3], values[..., 3:4], values[..., 4:]
        if colour is not None:
            rgb = np.asarray(colour, np.float32) * (lit / _BRIGHT)
        return Image.fromarray(np.concatenate([np.clip(rgb, 0, 255).astype(np.uint8), cover], -1), "RGBA")


@cache
def solid_sprites() -> SolidSprites:
    """All solids as pictures; rendered at the first call and kept in the user's cache folder, about 170 MB."""
    known = f"{AZIMUTHS} {ELEVATIONS} {SIDE} {_FOV} {_FILL} {_AMBIENT} {_BRIGHT} {sorted(_FRONT)}"
    digest = hashlib.sha256(known.encode())
    for solid in solids():
        mesh = solid.mesh()
        for values in (mesh.vertices, mesh.faces, mesh.colors):
            digest.update(b"" if values is None else (values * 1e4).round().int().numpy().tobytes())
    path = cache_folder() / f"solids-{digest.hexdigest()[:12]}.npy"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        rendered = np.stack([render(s.mesh(), front=s.noun in _FRONT) for s in solids()])
        with atomic(path) as part:
            np.save(part, rendered)
    return SolidSprites(np.load(path, mmap_mode="r"))
