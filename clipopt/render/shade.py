"""Light on a surface, and the colour it has there."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clipopt.geometry.mesh import Mesh, face_areas, face_normals, take, vertex_normals
from clipopt.types import Images

#: Colour of a surface that has none of its own.
GREY = 0.7


@dataclass(frozen=True)
class Light:
    """A lamp far away, and light from everywhere.

    Attributes:
        toward: Unit vector to the lamp in each view.
        ambient: Share of the light that comes from everywhere, 0 to 1; the rest is the lamp's.
    """

    toward: Float[Tensor, "b 3"]
    ambient: float = 0.5


@torch.no_grad()
def faces_eye(mesh: Mesh, eyes: Float[Tensor, "b 3"]) -> Bool[Tensor, "b f"]:
    """Which faces show their outer side to each eye."""
    outward = face_areas(mesh.vertices, mesh.faces)
    return eyes @ outward.T > (outward * mesh.vertices[mesh.faces[:, 0]]).sum(1)


def lit(mesh: Mesh, facing: Bool[Tensor, "b f"], light: Light, *, smooth: bool = True) -> Float[Tensor, "b f 3"]:
    """Brightness at the corners of each face in each view, 0 to 1: Lambert's, the same from either side.

    Args:
        mesh: The surface.
        facing: Which faces are seen from outside, from `faces_eye`.
        light: The light.
        smooth: Interpolate over faces; False: each face is flat.
    """
    if smooth:
        cosine = take(light.toward @ vertex_normals(mesh.vertices, mesh.faces).T, mesh.faces, 1)
    else:
        cosine = (light.toward @ face_normals(mesh.vertices, mesh.faces).T)[..., None].expand(-1, -1, 3)
    cosine = torch.where(facing[..., None], cosine, -cosine)
    return light.ambient + (1 - light.ambient) * cosine.clamp_min(0)


def solid(color: Float[Tensor, "b 3"], size: tuple[int, int]) -> Images:
    """Backgrounds of one colour each."""
    return color[:, :, None, None].expand(-1, -1, *size)
