"""A mesh as the report page shows it: turned by hand, without network."""

from base64 import b64encode

import torch
from torch import Tensor

from clipopt.geometry.mesh import Mesh, fit, vertex_normals
from clipopt.io import files


def solid(mesh: Mesh) -> dict[str, str]:
    """The mesh, centred and of radius 1, for solid.js.

    Returns:
        Base64 of positions (float32), normals (int8) and triangles (uint32); with "colors" (uint8), or "uv" (float32)
        and "texture", a data URI.
    """
    mesh = mesh.detach().to("cpu")
    vertices = fit(mesh.vertices)
    normals = (127 * vertex_normals(vertices, mesh.faces)).round().to(torch.int8)
    if mesh.uv is None or mesh.texture is None:
        colors = torch.full_like(vertices, 0.7) if mesh.colors is None else mesh.colors
        look = {"colors": _base64((255 * colors.clamp(0, 1)).round().to(torch.uint8))}
        faces = mesh.faces
    else:
        # A vertex for every corner: neighbours have different places in the texture.
        vertices, normals = vertices[mesh.faces].flatten(0, 1), normals[mesh.faces].flatten(0, 1)
        faces = torch.arange(len(vertices)).view(-1, 3)
        picture = b64encode(files.jpeg(mesh.texture[None].clamp(0, 1), longest=1024)).decode()
        look = {"uv": _base64(mesh.uv.flatten(0, 1)), "texture": f"data:image/jpeg;base64,{picture}"}
    return {"positions": _base64(vertices), "normals": _base64(normals), "faces": _base64(faces.int())} | look


def _base64(values: Tensor) -> str:
    return b64encode(values.contiguous().numpy().tobytes()).decode()
