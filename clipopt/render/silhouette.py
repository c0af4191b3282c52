"""Antialiasing along silhouettes, which is what gives a moving outline its gradient."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.geometry.mesh import Edges, take

# An edge must lie this much nearer than what is beside it, in units of depth, to occlude it.
_SLACK = 1e-5
_FLAT = 1e-4
# Nearer to a pixel's centre, in pixels, an outline's slope of colour there is not to be relied on.
_NEAR = 0.1


def antialias(
    image: Float[Tensor, "b h w c"],
    screen: Float[Tensor, "b v 3"],
    seen: Tensor,
    depth: Float[Tensor, "b h w"],
    edges: Edges,
    colors: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
) -> Float[Tensor, "b h w c"]:
    """Blends neighbouring pixels where a silhouette passes between them; differentiable in image and vertices.

    Every edge of the mesh whose faces all lie on one side of it on the screen is a silhouette, be it an outline, a
    fold, a boundary or a seam of several sheets. Where such an edge crosses the segment between two pixel centres
    and occludes what lies outside of it, the pixel nearer to it takes its share of the other one's colour. The
    crossings are found from the edges, not from the triangles that pixels happen to see: close to a silhouette these
    are slivers that are mostly missed, and the gradient with them.

    Args:
        image: Colours, one triangle or the background in each pixel.
        screen: Vertices on the screen, from `to_screen`.
        seen: Which vertices lie in front of the near plane, shape (b, v); edges with one behind it are left out.
        depth: Depth of each pixel, from `rasterize`.
        edges: The edges of the mesh.
        colors: Colours (n, c) of the surface on its edges, called with views (n,), edges (n,) and how far along on
            the screen (n,), 0 to 1. With them the gradient counts what the surface really shows at its outline, not
            what it shows at the next pixel, where a round surface looks different. None: as in that pixel.

    Reference:
        The blend: Laine et al., "Modular Primitives for High-Performance Differentiable Rendering" (2020),
        section 3.6; the silhouette edges themselves in place of the edges of visible triangles are this package's.
    """
    out = flat = image.reshape(-1, image.shape[-1])
    with torch.no_grad():
        view, edge = _silhouettes(screen, seen, edges)
        ends, across = edges.ends[edge], edges.opposite[edge, 0]
    if len(edge) == 0:
        return image
    base = view * screen.shape[1]
    points = screen.reshape(-1, 3)
    a, b, c = take(points, base + ends[:, 0]), take(points, base + ends[:, 1]), points[base + across].detach()
    with torch.no_grad():
        steep = (a - b)[:, 1].abs() >= (a - b)[:, 0].abs()
    for axis, chosen in ((0, steep), (1, ~steep)):
        some = chosen.nonzero()[:, 0]
        inner, outer, inward, share, k, t = _crossings(take(a, some), take(b, some), c[some], view[some], depth, axis)
        # How far the surface reaches beyond the middle between the two centres; negative where it falls short of it.
        reach = torch.where(inward, 0.5 - share, share - 0.5)[:, None]
        blend = reach * (take(flat, inner) - take(flat, outer))
        if colors is not None:
            with torch.no_grad():
                missed = colors(view[some][k], edge[some][k], t) - flat[inner]
                missed *= _unseen_share(reach + 0.5)
            blend = blend + (reach - reach.detach()) * missed
        out = out.index_add(0, torch.where(reach[:, 0] > 0, outer, inner), blend)
    return out.view_as(image)


def _unseen_share(distance: Tensor) -> Tensor:
    """How much of the way from the last pixel's colour to the edge's the other pixels' gradients leave to the edge.

    A surface that moves changes the pixels inside by minus its speed times the slope of its colour, and at its edge by
    its speed times the colour there. Near a round outline the colour runs like the root of the distance to it, and its
    slope at pixel centres, `distance` and whole pixels more away, does not add up to the rise as an integral would: the
    sum of 1 / (2 sqrt(d + j)) over j is sqrt(d + n) plus half of Hurwitz's zeta(1/2, d), which is about 1 / sqrt(d) -
    2 sqrt(d + 1/2). The edge takes the rest, or the gradient would depend on where the outline falls between pixels.
    """
    distance = distance.clamp_min(_NEAR)
    return 1 + 0.5 / distance - ((distance + 0.5) / distance).sqrt()


def _silhouettes(screen: Tensor, seen: Tensor, edges: Edges) -> tuple[Tensor, Tensor]:
    """The pairs (view, edge) of silhouettes."""
    x, y, _ = screen.unbind(-1)
    first, second = edges.ends.unbind(1)
    ax, ay = x[:, first], y[:, first]
    dx, dy = x[:, second] - ax, y[:, second] - ay
    positive = torch.ones_like(dx, dtype=torch.bool)
    negative = positive.clone()
    for across in edges.opposite.unbind(1):
        side = dx * (y[:, across] - ay) - dy * (x[:, across] - ax)
        positive &= side > 0
        negative &= side < 0
    found = (positive | negative) & seen[:, first] & seen[:, second] & seen[:, edges.opposite[:, 0]]
    view, edge = found.nonzero(as_tuple=True)
    return view, edge


def _crossings(
    a: Tensor, b: Tensor, c: Tensor, view: Tensor, depth: Tensor, axis: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Where edges from a to b, with the surface at c, pass between pixels that are neighbours along `axis`.

    Returns:
        The pixel on the surface's side and the other one, whether the first has the larger coordinate, where
        between the two centres the edge passes (0 to 1, differentiable), which edge, and how far along it.
    """
    height, width = depth.shape[1:]
    along, lines = (width, height) if axis == 0 else (height, width)
    step = 1 if axis == 0 else width
    u, v = axis, 1 - axis
    with torch.no_grad():
        # The lines of pixel centres, rows for axis 0, that each edge crosses.
        first = (torch.minimum(a[:, v], b[:, v]) - 0.5).ceil().clamp(0, lines).long()
        last = (torch.maximum(a[:, v], b[:, v]) - 0.5).floor().clamp(-1, lines - 1).long()
        count = (last - first + 1).clamp_min(0)
        k = torch.repeat_interleave(torch.arange(len(count), device=a.device), count)
        line = torch.arange(len(k), device=a.device) - (count.cumsum(0) - count - first)[k]
    rise = b[:, v] - a[:, v]
    rise = torch.where(rise.abs() < _FLAT, _FLAT, rise)
    lean = (b[:, u] - a[:, u]) / rise
    crossing = take(a[:, u], k) + (line + 0.5 - take(a[:, v], k)) * take(lean, k)
    with torch.no_grad():
        place = (crossing - 0.5).floor().clamp(-1, along).long()
        on_screen = (place >= 0) & (place < along - 1)
        place = place.clamp(0, along - 2)
        low = view[k] * (height * width) + (line * width + place if axis == 0 else place * width + line)
        inward = (c[:, u] - a[:, u] - (c[:, v] - a[:, v]) * lean)[k] > 0
        inner, outer = torch.where(inward, low + step, low), torch.where(inward, low, low + step)
        t = ((line + 0.5 - a[k, v]) / rise[k]).clamp(0, 1)
        at = torch.lerp(a[k, 2], b[k, 2], t)
        kept = (on_screen & (at < depth.reshape(-1)[outer] - _SLACK)).nonzero()[:, 0]
        # Of several that share a pair and a side, such as the zigzag of a tessellated outline, the outermost one
        # bounds the surface; the others lie before more of it.
        outward = torch.where(inward[kept], -crossing[kept], crossing[kept])
        order = outward.argsort(stable=True)
        pair, back = (2 * low[kept] + inward[kept])[order].sort(stable=True)
        final = torch.ones_like(pair, dtype=torch.bool)
        final[:-1] = pair[1:] != pair[:-1]
        kept = kept[order[back[final]]]
    share = (take(crossing, kept) - (place[kept] + 0.5)).clamp(0, 1)
    return inner[kept], outer[kept], inward[kept], share, k[kept], t[kept]
