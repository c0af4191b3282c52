"""Room for every triangle in one square texture."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipopt.geometry.mesh import Mesh

# Texels between a triangle and the rim of its half of a cell, so that its neighbours do not shine through.
_GUTTER = 1.0
LEAST_CELL = 6
"""Fewest texels along a side of the cell that two triangles share."""


def atlas(faces: int, size: int) -> Float[Tensor, "f 3 2"]:
    """Texture coordinates for `faces` triangles in a texture of `size` x `size`: two share each cell of a grid.

    Raises:
        ValueError: If a triangle would have less than two texels along its sides.
    """
    cells = _cells(faces)
    if size < LEAST_CELL * cells:
        raise ValueError(f"a texture for {faces} faces needs a size of at least {LEAST_CELL * cells}, got {size}")
    p = _GUTTER * cells / size
    lower = torch.tensor([[p, p], [1 - 3 * p, p], [p, 1 - 3 * p]])
    index = torch.arange(faces)
    corner = torch.stack([index // 2 % cells, index // 2 // cells], -1)[:, None]
    return (corner + torch.where(index[:, None, None] % 2 == 0, lower, 1 - lower)) / cells


def texels(
    faces: int, size: int, rows: range
) -> tuple[Float[Tensor, "f 3 2"], Int[Tensor, "r s"], Float[Tensor, "r s 3"]]:
    """What the texels of some rows of an `atlas` show.

    Returns:
        The atlas; the face of each texel, and how much of each of its corners.
    """
    cells = _cells(faces)
    step = (torch.arange(size) + 0.5) / size * cells
    y, x = torch.meshgrid(step.flip(0)[rows.start : rows.stop], step, indexing="ij")
    inside = torch.stack([x % 1, y % 1], -1)
    upper = inside.sum(-1) > 1
    face = (2 * (y.long() * cells + x.long()) + upper).clamp(max=max(0, faces - 1))
    p = _GUTTER * cells / size
    b, c = ((torch.where(upper[..., None], 1 - inside, inside) - p) / (1 - 4 * p)).clamp(0, 1).unbind(-1)
    over = (b + c).clamp_min(1)
    return atlas(faces, size), face, torch.stack([1 - (b + c) / over, b / over, c / over], -1)


def bake(mesh: Mesh, size: int = 1024) -> Mesh:
    """The same mesh with its vertex colours, interpolated, as a texture.

    Raises:
        ValueError: If the mesh has no vertex colours, or if the texture is too small for it.
    """
    if mesh.colors is None:
        raise ValueError("expected a mesh with vertex colours, got one without; there is nothing to bake")
    uv, face, weight = (part.to(mesh.vertices.device) for part in texels(len(mesh.faces), size, range(size)))
    texture = (weight[..., None] * mesh.colors[mesh.faces][face]).sum(-2)
    return replace(mesh, colors=None, uv=uv, texture=texture.permute(2, 0, 1))


def _cells(faces: int) -> int:
    return max(1, math.ceil(math.sqrt(math.ceil(faces / 2))))
