"""Colours of a surface by texture coordinates."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F


def sample_texture(texture: Float[Tensor, "3 _ _"], uv: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
    """Colours of a texture at `uv`, interpolated between its texels; (0, 0) is its lower left corner."""
    grid = torch.stack([2 * uv[:, 0] - 1, 1 - 2 * uv[:, 1]], -1)
    colors = F.grid_sample(texture[None], grid[None, :, None], padding_mode="border", align_corners=False)
    return colors[0, :, :, 0].T
