"""Many frames of a figure at once: side by side on one canvas, drawn together, cut apart again.

At the few pixels that a small scorer sees, most of the time of `draw` is spent on starting its operations: for twelve
frames together it takes little longer than for one.
"""

import math
from dataclasses import dataclass, replace
from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.geometry.body import Clothes, Skin, coarse_skin
from clipopt.geometry.camera import Cameras
from clipopt.geometry.mesh import Edges, Mesh
from clipopt.render.draw import draw
from clipopt.render.figure import Posed
from clipopt.render.shade import Light
from clipopt.types import Images

_MARGIN = 16  # pixels around a tile, so that what leaves a picture does not come into the next


@dataclass(frozen=True)
class _Canvas(Cameras):
    """One view of all frames, each in its tile: clip coordinates that were worked out before."""

    clip: Float[Tensor, "1 v 4"] = None  # type: ignore[assignment]

    def __getitem__(self, index: slice) -> "Cameras":
        return self

    def project(self, points: Float[Tensor, "v 3"]) -> Float[Tensor, "b v 4"]:
        return self.clip


def shoot_together(
    posed: Posed,
    shots: Cameras,
    background: Images,
    clothes: Clothes,
    lamp: Float[Tensor, " 3"],
    *,
    skin: Skin | None = None,
) -> Images:
    """One picture of every frame, each by its own camera, without a ground; as `shoot` draws them.

    Args:
        posed: The frames.
        shots: One camera each.
        background: One for all; its size is a picture's.
        clothes: The colours.
        lamp: Unit vector to the lamp.
        skin: The surface; None: the coarse one.

    Raises:
        ValueError: If the number of cameras is not that of the frames.
    """
    count, (height, width) = len(posed), background.shape[-2:]
    if len(shots) != count:
        raise ValueError(f"expected one camera for each of {count} frames, got {len(shots)}")
    skin = skin or coarse_skin()
    local = skin.vertices.to(posed.joints)
    points = posed.joints[:, skin.joint] + (posed.turns[:, skin.joint] @ local[..., None])[..., 0]
    clip = points @ shots.matrix[:, :, :3].mT + shots.matrix[:, None, :, 3]
    columns = math.ceil(count**0.5)
    rows = math.ceil(count / columns)
    tall, wide = height + 2 * _MARGIN, width + 2 * _MARGIN
    number = torch.arange(count)
    across = (2 * (number % columns) + 1) / columns - 1
    up = 1 - (2 * (number // columns) + 1) / rows
    x = clip[..., 0] * (width / (wide * columns)) + across[:, None] * clip[..., 3]
    y = clip[..., 1] * (height / (tall * rows)) + up[:, None] * clip[..., 3]
    clip = torch.stack([x, y, clip[..., 2], clip[..., 3]], -1)
    # As each camera sees them from the origin: so that which side of a face is seen can be told for all together.
    around = (points - shots.eye[:, None]).flatten(0, 1)
    faces, edges = _repeated(skin.faces, skin.edges, len(local), count)
    colors = clothes.parts.to(points)[skin.part].repeat(count, 1)
    canvas = torch.nn.functional.pad(background, (_MARGIN,) * 4, mode="replicate").repeat(1, 1, rows, columns)
    view = _Canvas(torch.eye(4)[None], torch.zeros(1, 3), clip.flatten(0, 1)[None])
    picture = draw(Mesh(around, faces, colors, edges=edges), view, canvas, light=Light(lamp[None], 0.6), memory=1e18)
    tiles = picture.unflatten(2, (rows, tall)).unflatten(4, (columns, wide))[0]
    tiles = tiles[:, :, _MARGIN : _MARGIN + height, :, _MARGIN : _MARGIN + width]
    return tiles.permute(1, 3, 0, 2, 4).flatten(0, 1)[:count]


@cache
def _cached(key: int, count: int) -> list[tuple[Tensor, Edges, Tensor]]:
    return []


def _repeated(faces: Tensor, edges: Edges, vertices: int, count: int) -> tuple[Tensor, Edges]:
    """Faces and edges of `count` copies of a mesh."""
    kept = _cached(id(faces), count)
    if not kept:

        def copies(values: Tensor, step: int) -> Tensor:
            shift = step * torch.arange(count).view(-1, *[1] * values.ndim)
            return (values[None] + shift).flatten(0, 1)

        all_faces = copies(faces, vertices)
        copied = replace(
            edges,
            faces=all_faces,
            ends=copies(edges.ends, vertices),
            sides=copies(edges.sides, len(faces)),
            opposite=copies(edges.opposite, vertices),
            count=edges.count.repeat(count),
        )
        kept.append((all_faces, copied, faces))  # the last is held so that its id stays its own
    return kept[0][:2]
