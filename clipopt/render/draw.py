"""Pictures of a mesh as given cameras see it; differentiable in its vertices, colours and texture.

rasterize -> interpolate -> shade -> composite -> antialias. Plain torch: the same code on every device.
"""

from collections.abc import Callable
from typing import cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from clipopt.geometry.camera import Cameras
from clipopt.geometry.mesh import Mesh, take
from clipopt.geometry.texture import sample_texture
from clipopt.render.raster import interpolate, rasterize, seen, to_screen
from clipopt.render.shade import GREY, Light, faces_eye, lit
from clipopt.render.silhouette import antialias
from clipopt.types import Images

# Bytes that one pixel and one face of a view cost while the gradient is kept, as measured.
_PIXEL, _FACE = 160, 600


def draw(
    mesh: Mesh,
    cameras: Cameras,
    background: Images,
    *,
    light: Light | None = None,
    textureless: Bool[Tensor, " b"] | None = None,
    smooth: bool = True,
    memory: float = 1e9,
) -> Images:
    """One picture of the mesh per camera, over its background, with smooth silhouettes.

    Args:
        mesh: What is seen, from either side of its faces.
        cameras: Where it is seen from.
        background: What lies behind, one picture or one per camera; its size is that of the pictures, in [0, 1].
        light: The light; None: the lamp is at each camera.
        textureless: Which pictures show the surface in plain grey instead of its colours; None: none of them.
        smooth: Shade across faces; False: each face is flat.
        memory: Bytes that the gradient's history may take; beyond that, views are drawn in groups, and drawn again
            on the way back.

    Returns:
        Pictures in [0, 1], shape (cameras, 3, h, w).

    Raises:
        ValueError: If the background or `textureless` do not fit the number of cameras.
    """
    views, (height, width) = len(cameras), background.shape[-2:]
    if len(background) not in (1, views) or (textureless is not None and len(textureless) != views):
        raise ValueError(
            f"expected backgrounds for 1 or {views} cameras and `textureless` for {views}, got {len(background)} "
            f"backgrounds{'' if textureless is None else f' and {len(textureless)}'}"
        )
    light = light or Light(torch.nn.functional.normalize(cameras.eye, dim=-1))
    background = background.expand(views, -1, -1, -1).permute(0, 2, 3, 1)
    plain = torch.zeros(views, dtype=torch.bool) if textureless is None else textureless
    plain = plain.to(mesh.vertices.device)

    def some(part: slice) -> Tensor:
        return _draw(
            mesh, cameras[part], background[part], Light(light.toward[part], light.ambient), plain[part], smooth
        )

    image = _grouped(some, views, _PIXEL * height * width + _FACE * len(mesh.faces), memory)
    return image.permute(0, 3, 1, 2)


def silhouettes(mesh: Mesh, cameras: Cameras, size: tuple[int, int], *, memory: float = 1e9) -> Float[Tensor, "b h w"]:
    """How much of each pixel the mesh covers, 0 to 1; differentiable in its vertices.

    Args:
        mesh: What is seen.
        cameras: Where it is seen from.
        size: Height and width in pixels.
        memory: As in `draw`.
    """

    def some(part: slice) -> Tensor:
        clip = cameras[part].project(mesh.vertices)
        ids, depth = rasterize(clip.detach(), mesh.faces, size)
        mask = (ids >= 0).to(clip.dtype)[..., None]
        return antialias(mask, to_screen(clip, size), seen(clip), depth, mesh.edges)[..., 0]

    return _grouped(some, len(cameras), 50 * size[0] * size[1] + _FACE * len(mesh.faces), memory)


def _draw(mesh: Mesh, cameras: Cameras, background: Tensor, light: Light, plain: Tensor, smooth: bool) -> Tensor:
    size = (background.shape[1], background.shape[2])
    clip = cameras.project(mesh.vertices)
    ids, depth = rasterize(clip.detach(), mesh.faces, size)
    facing = faces_eye(mesh, cameras.eye)
    corners = lit(mesh, facing, light, smooth=smooth)[..., None]
    if mesh.texture is not None and mesh.uv is not None:
        corners = torch.cat([corners, mesh.uv.expand(len(clip), -1, -1, -1)], -1)
    else:
        albedo = torch.full_like(mesh.vertices, GREY) if mesh.colors is None else mesh.colors
        corners = corners * torch.where(plain[:, None, None, None], GREY, take(albedo, mesh.faces))

    def colors(view: Tensor, values: Tensor) -> Tensor:
        if mesh.texture is None or mesh.uv is None:
            return values
        texels = sample_texture(mesh.texture, values[:, 1:])
        return torch.where(plain[view, None], GREY, texels) * values[:, :1]

    def on_edges(view: Tensor, edge: Tensor, t: Tensor) -> Tensor:
        ends, sides = mesh.edges.ends[edge], mesh.edges.sides[edge]
        face = torch.where(facing[view, sides[:, 0]], sides[:, 0], sides[:, -1])
        # Weights that are linear on the screen, made correct in perspective.
        near, far = (1 - t) * clip[view, ends[:, 1], 3], t * clip[view, ends[:, 0], 3]
        share = (far / (near + far))[:, None]
        first, second = ((mesh.faces[face] == end[:, None]).int().argmax(1) for end in ends.unbind(1))
        return colors(view, torch.lerp(corners[view, face, first], corners[view, face, second], share))

    pixels, values = interpolate(clip, mesh.faces, ids, corners)
    shaded = colors(pixels // (size[0] * size[1]), values)
    image = background.reshape(-1, 3).index_copy(0, pixels, shaded).view_as(background)
    return antialias(image, to_screen(clip, size), seen(clip), depth, mesh.edges, on_edges)


def _grouped(some: Callable[[slice], Tensor], views: int, bytes_per_view: int, memory: float) -> Tensor:
    """All views at once where they fit into memory, else in groups whose history is worked out again."""
    together = max(1, int(memory // bytes_per_view))
    if together >= views:
        return some(slice(0, views))
    parts = [slice(first, min(first + together, views)) for first in range(0, views, together)]
    return torch.cat([cast(Tensor, checkpoint(some, part, use_reentrant=False)) for part in parts])
