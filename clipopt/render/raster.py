"""Which triangle each pixel sees, and what that triangle shows there.

Pixel (row r, column c) has its centre at x = c + 0.5, y = r + 0.5; y grows downwards on the screen.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipopt.geometry.mesh import take

#: Depth of a pixel that sees nothing.
NOTHING = 2.0

_ID_BITS = 31
_DEPTH_STEPS = 2**30
# A triangle thinner than this, in pixels, is left out: float32 cannot say where in it a pixel lies.
_THIN = 1e-3
_FRAGMENTS = 1 << 21


def to_screen(clip: Float[Tensor, "b v 4"], size: tuple[int, int]) -> Float[Tensor, "b v 3"]:
    """Clip coordinates to (x, y) in pixels and a depth that is -1 at the near plane and 1 at the far one.

    What lies behind the near plane has no place on the screen: its coordinates mean nothing.
    """
    height, width = size
    w = clip[..., 3]
    near = torch.where(seen(clip), 1 / torch.where(w.abs() < 1e-12, 1e-12, w), 1.0)
    x, y, z, _ = (clip * near[..., None]).unbind(-1)
    return torch.stack([(x + 1) * (width / 2), (1 - y) * (height / 2), z], -1)


def seen(clip: Float[Tensor, "b v 4"]) -> Tensor:
    """Which points lie in front of the near plane, shape (b, v)."""
    return (clip[..., 2] + clip[..., 3] > 0) & (clip[..., 3] > 0)


@torch.no_grad()
def rasterize(
    clip: Float[Tensor, "b v 4"], faces: Int[Tensor, "f 3"], size: tuple[int, int], *, fragments: int = _FRAGMENTS
) -> tuple[Int[Tensor, "b h w"], Float[Tensor, "b h w"]]:
    """The nearest triangle at each pixel's centre, from either side, and its depth.

    Triangles that cross the near plane are cut there. The result is the same on every run, on every device that
    rounds alike: of two triangles at one depth the one with the smaller number wins.

    Args:
        clip: Clip coordinates of the vertices in each view.
        faces: The triangles.
        size: Height and width in pixels.
        fragments: How many pairs of triangle and pixel are held at once; bounds the memory, about 50 bytes each.

    Returns:
        The triangle's number, -1 where there is none, and its depth in [-1, 1], `NOTHING` where there is none.
    """
    height, width = size
    views = len(clip)
    corners, view, number = _triangles(clip, faces, size)
    buffer = torch.full((views * height * width,), 2**62, dtype=torch.int64, device=clip.device)
    row, left, count, depth, slope, source = _spans(corners, size)
    start = (view[source] * height + row) * width
    low, high = (bound[source] for bound in corners[..., 2].aminmax(dim=1))
    number = number[source]
    total = count.cumsum(0)
    begin = 0
    while begin < len(count):
        done = int(total[begin - 1]) if begin else 0
        end = max(begin + 1, int(torch.searchsorted(total, done + fragments, right=True)))
        some = slice(begin, end)
        owner = torch.repeat_interleave(torch.arange(begin, end, device=clip.device), count[some])
        column = torch.arange(done, done + len(owner), device=clip.device)
        column -= (total - count - left).index_select(0, owner)
        z = torch.addcmul(depth.index_select(0, owner), slope.index_select(0, owner), column)
        z = torch.minimum(torch.maximum(z, low.index_select(0, owner)), high.index_select(0, owner))
        level = ((z * 0.5 + 0.5).clamp(0, 1) * (_DEPTH_STEPS - 1)).long()
        key = (level << _ID_BITS) | number.index_select(0, owner)
        buffer.scatter_reduce_(0, start.index_select(0, owner) + column, key, "amin")
        begin = end
    hit = buffer < 2**62
    ids = torch.where(hit, buffer & (2**_ID_BITS - 1), -1)
    depths = (buffer >> _ID_BITS).to(clip.dtype) * (2 / (_DEPTH_STEPS - 1)) - 1
    depths = torch.where(hit, depths, NOTHING)
    return ids.view(views, height, width), depths.view(views, height, width)


def _triangles(clip: Tensor, faces: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """The triangles that may be seen: their corners on the screen (n, 3, 3), their views and their numbers."""
    inside = seen(clip)[:, faces]
    whole = inside.all(-1)
    screen = to_screen(clip, size)
    view, number = whole.nonzero(as_tuple=True)
    corners = screen[view[:, None], faces[number]]
    part_view, part_number = (inside.any(-1) & ~whole).nonzero(as_tuple=True)
    if len(part_view):
        cut, which = _cut(clip[part_view[:, None], faces[part_number]], inside[part_view, part_number])
        corners = torch.cat([corners, to_screen(cut, size)])
        view, number = torch.cat([view, part_view[which]]), torch.cat([number, part_number[which]])
    (x0, y0, _), (x1, y1, _), (x2, y2, _) = (corner.unbind(-1) for corner in corners.unbind(1))
    area = ((x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)).abs()
    low, high = corners.aminmax(dim=1)
    longest = (high - low)[:, :2].amax(1)
    height, width = size
    on_screen = (high[:, 0] > 0) & (low[:, 0] < width) & (high[:, 1] > 0) & (low[:, 1] < height)
    keep = ((area > _THIN * longest) & (area < torch.inf) & on_screen).nonzero()[:, 0]
    return corners[keep], view[keep], number[keep]


def _cut(corners: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Cuts triangles (n, 3, 4) in clip space at the near plane; the pieces (m, 3, 4), and which they are cut from."""
    # Turned so that corner 0 is alone on its side of the plane.
    alone = torch.where(inside.sum(1) == 1, inside.int().argmax(1), (~inside).int().argmax(1))
    turn = (alone[:, None] + torch.arange(3, device=alone.device)) % 3
    a, b, c = corners.gather(1, turn[..., None].expand(-1, -1, 4)).unbind(1)
    above = [corner[:, 2] + corner[:, 3] for corner in (a, b, c)]
    # A hair inside the plane, so that rounding does not put the new corners behind it.
    ab = torch.lerp(a, b, (above[0] / (above[0] - above[1]))[:, None])
    ac = torch.lerp(a, c, (above[0] / (above[0] - above[2]))[:, None])
    ab, ac = (torch.cat([p[:, :2], p[:, 3:] * (1e-6 - 1), p[:, 3:]], -1) for p in (ab, ac))
    tip = inside.sum(1) == 1
    index = torch.arange(len(a), device=a.device)
    tips = torch.stack([a, ab, ac], 1)[tip]
    quads = [torch.stack(piece, 1)[~tip] for piece in ((ab, b, c), (ab, c, ac))]
    return torch.cat([tips, *quads]), torch.cat([index[tip], index[~tip], index[~tip]])


def _spans(corners: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The runs of pixels in a row that each triangle covers.

    Each edge meets a row at the same place in both triangles that share it, so neighbours leave no gap.

    Returns:
        Row, first column, length, depth at column 0 and its slope per column, and the triangle, of each run.
    """
    height, width = size
    (x0, y0, z0), (x1, y1, z1), (x2, y2, z2) = (corner.unbind(-1) for corner in corners.unbind(1))
    first = (corners[..., 1].amin(1) - 0.5).ceil().clamp(0, height).long()
    last = (corners[..., 1].amax(1) - 0.5).floor().clamp(-1, height - 1).long()
    count = (last - first + 1).clamp_min(0)
    owner = torch.repeat_interleave(torch.arange(len(count), device=count.device), count)
    row = torch.arange(len(owner), device=count.device) - (count.cumsum(0) - count - first).index_select(0, owner)
    # From top to bottom a row meets the long edge and one of the two short ones, each reckoned from its upper end.
    a, b, c = (x0, y0), (x1, y1), (x2, y2)
    a, b = _by_height(a, b)
    b, c = _by_height(b, c)
    a, b = _by_height(a, b)
    area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
    slope = ((z1 - z0) * (y2 - y0) - (z2 - z0) * (y1 - y0)) / area
    rise = ((x1 - x0) * (z2 - z0) - (x2 - x0) * (z1 - z0)) / area
    depth = z0 + rise * (0.5 - y0) + slope * (0.5 - x0)
    table = torch.stack([*a, *b, _lean(a, b), _lean(b, c), _lean(a, c), depth, rise, slope])
    ax, ay, bx, by, ab, bc, ac, depth, rise, slope = table.index_select(1, owner).unbind(0)
    y = row + 0.5
    upper = y < by
    short = torch.where(upper, ax, bx) + (y - torch.where(upper, ay, by)) * torch.where(upper, ab, bc)
    long = ax + (y - ay) * ac
    begin = (torch.minimum(short, long) - 0.5).ceil().clamp(0, width).long()
    end = (torch.maximum(short, long) - 0.5).floor().clamp(-1, width - 1).long()
    keep = (end >= begin).nonzero()[:, 0]
    row, begin, depth, rise, slope = (t.index_select(0, keep) for t in (row, begin, depth, rise, slope))
    count = end.index_select(0, keep) - begin + 1
    return row, begin, count, depth + rise * row, slope, owner.index_select(0, keep)


def _by_height(p: tuple[Tensor, Tensor], q: tuple[Tensor, Tensor]) -> tuple[tuple[Tensor, Tensor], ...]:
    """Two points (x, y), the one with the smaller y first."""
    swap = q[1] < p[1]
    return (
        (torch.where(swap, q[0], p[0]), torch.where(swap, q[1], p[1])),
        (torch.where(swap, p[0], q[0]), torch.where(swap, p[1], q[1])),
    )


def _lean(p: tuple[Tensor, Tensor], q: tuple[Tensor, Tensor]) -> Tensor:
    """Change of x per row from p down to q; 0 on one level."""
    fall = q[1] - p[1]
    return torch.where(fall > 0, (q[0] - p[0]) / torch.where(fall > 0, fall, 1.0), 0.0)


def interpolate(
    clip: Float[Tensor, "b v 4"],
    faces: Int[Tensor, "f 3"],
    ids: Int[Tensor, "b h w"],
    values: Float[Tensor, "b f 3 c"] | Float[Tensor, "f 3 c"],
) -> tuple[Int[Tensor, " n"], Float[Tensor, "n c"]]:
    """Values of the corners at each pixel that sees a triangle, correct in perspective; differentiable.

    Args:
        clip: Clip coordinates of the vertices in each view.
        faces: The triangles.
        ids: The triangle that each pixel sees, from `rasterize`.
        values: Values at the corners of each triangle, in each view or in all.

    Returns:
        The pixels that see a triangle, counted through views, rows and columns, and the values there.
    """
    views, height, width = ids.shape
    view, row, column = (ids >= 0).nonzero(as_tuple=True)
    pixels = (view * height + row) * width + column
    # One row per triangle and view that is seen; the work per pixel is then small.
    key = view * len(faces) + ids.reshape(-1).index_select(0, pixels)
    mark = torch.zeros(views * len(faces), dtype=torch.bool, device=ids.device)
    mark[key] = True
    slot = (mark.cumsum(0) - 1).index_select(0, key)
    pairs = mark.nonzero()[:, 0]
    pair_view, pair_face = pairs // len(faces), pairs % len(faces)
    corners = take(clip.reshape(-1, 4), faces[pair_face] + (pair_view * clip.shape[1])[:, None])
    x, y, w = corners[..., 0], corners[..., 1], corners[..., 3]
    # Coordinates relative to a pixel of the triangle, or float32 would lose small triangles.
    across, down = (column + 0.5) * (2 / width) - 1, 1 - (row + 0.5) * (2 / height)
    some = torch.zeros_like(pairs).scatter_reduce(0, slot, torch.arange(len(slot), device=ids.device), "amax")
    origin_x, origin_y = (t.to(w.dtype).index_select(0, some) for t in (across, down))
    x, y = x - origin_x[:, None] * w, y - origin_y[:, None] * w
    across, down = across - origin_x.index_select(0, slot), down - origin_y.index_select(0, slot)
    # Row k is zero on the edge opposite to corner k: the homogeneous edge functions.
    point = torch.stack([x, y, w], -1)
    edge = torch.linalg.cross(point[:, [1, 2, 0]], point[:, [2, 0, 1]])
    table = take(values, pair_face) if values.ndim == 3 else take(values.flatten(0, 1), pairs)
    sums = torch.cat([table, torch.ones_like(table[..., :1])], -1).mT @ edge
    rows = take(sums.flatten(1), slot).view(len(pixels), sums.shape[1], 3)
    at = torch.addcmul(torch.addcmul(rows[..., 2], rows[..., 0], across[:, None]), rows[..., 1], down[:, None])
    return pixels, at[:, :-1] / at[:, -1:]
