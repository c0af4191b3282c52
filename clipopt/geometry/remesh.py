"""New triangles for a surface: about equally large, about equilateral, as many as asked for.

Everything works on many edges at once; of those that would get into each other's way, one goes first.
"""

import math

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clipopt.geometry.mesh import Edges, Mesh, face_areas, face_normals, find_edges, vertex_normals
from clipopt.types import generator

_LONG, _SHORT = 4 / 3, 4 / 5
_ROUNDS = 5
_COLLAPSES, _FLIPS = 12, 4
# A new face may not turn away from the old one by more than this cosine; two that are folded more are no flat quad.
_SAME_SIDE, _FLAT = 0.3, 0.7
_SMALLEST_CLOSED = 20


def edge_for(mesh: Mesh, faces: int) -> float:
    """The edge of the equilateral triangles of which `faces` cover the mesh, metres."""
    area = float(face_areas(mesh.vertices.detach().double(), mesh.faces).norm(dim=1).sum())
    return math.sqrt(4 * area / math.sqrt(3) / max(faces, 1))


@torch.no_grad()
def remesh(mesh: Mesh, edge: float, *, rounds: int = _ROUNDS) -> Mesh:
    """The surface with triangles whose edges are about `edge` long.

    Long edges are split, short ones collapsed, others flipped for even valences, vertices moved along the surface.
    Rims and edges of more than two faces are only split. Colours are interpolated, a texture is dropped; genus, rims
    and orientation stay.

    Args:
        mesh: The surface.
        edge: Length to come near to, metres.
        rounds: How often to do all that.

    Raises:
        ValueError: If `edge` is not positive and finite.

    Reference:
        Botsch and Kobbelt, "A Remeshing Approach to Multiresolution Modeling" (2004), section 4.
    """
    if not (math.isfinite(edge) and edge > 0):
        raise ValueError(f"expected an edge length above 0, got {edge}")
    values = mesh.vertices.detach() if mesh.colors is None else torch.cat([mesh.vertices, mesh.colors], 1).detach()
    faces = mesh.faces
    for _ in range(rounds if len(faces) else 0):
        values, faces = _split(values, faces, _LONG * edge)
        for number in range(_COLLAPSES):
            values, faces, again = _collapse(values, faces, _SHORT * edge, _LONG * edge, number)
            if not again:
                break
        for _ in range(_FLIPS):
            faces, again = _flip(values, faces)
            if not again:
                break
        values = _relax(values, faces)
    colors = None if mesh.colors is None else values[:, 3:].clamp(0, 1)
    return Mesh(values[:, :3].contiguous(), faces, colors, place=mesh.place)


def _split(values: Tensor, faces: Tensor, longest: float) -> tuple[Tensor, Tensor]:
    """Every face cut at the middles of those of its edges that are too long."""
    edges = find_edges(faces)
    a, b = values[edges.ends].unbind(1)
    long = (a - b)[:, :3].norm(dim=1) > longest
    if not long.any():
        return values, faces
    middle = torch.where(long, len(values) + long.cumsum(0) - 1, -1)
    keys, base = edges.ends[:, 0] * len(values) + edges.ends[:, 1], len(values)
    cut = []
    for start, end in ((0, 1), (1, 2), (2, 0)):
        pair = faces[:, [start, end]].sort(-1).values
        cut.append(middle[torch.searchsorted(keys, pair[:, 0] * base + pair[:, 1])])
    at = torch.stack(cut, 1)
    count = (at >= 0).sum(1)
    # Turned so that the only edge to cut is the first, or the only one to keep is the last.
    turn = torch.where(count == 1, (at >= 0).int().argmax(1), torch.where(count == 2, (at < 0).int().argmax(1) + 1, 0))
    order = (torch.arange(3, device=faces.device) + turn[:, None]) % 3
    (p, q, r), (pq, qr, rp) = faces.gather(1, order).unbind(1), at.gather(1, order).unbind(1)
    pieces = {
        0: ((p, q, r),),
        1: ((p, pq, r), (pq, q, r)),
        2: ((pq, q, qr), (p, pq, qr), (p, qr, r)),
        3: ((p, pq, rp), (pq, q, qr), (rp, qr, r), (pq, qr, rp)),
    }
    new = [torch.stack(corners, 1)[count == n] for n, some in pieces.items() for corners in some]
    return torch.cat([values, ((a + b) / 2)[long]]), torch.cat(new)


def _collapse(
    values: Tensor, faces: Tensor, shortest: float, longest: float, number: int
) -> tuple[Tensor, Tensor, bool]:
    """Short edges become points, where the surface stays what it is; whether there is more to do."""
    edges = find_edges(faces)
    if len(faces) <= _SMALLEST_CLOSED:
        return values, faces, False
    first, second = edges.ends.unbind(1)
    length = (values[first] - values[second])[:, :3].norm(dim=1)
    fixed = _on_rims(edges, len(values))
    wanted = (length < shortest) & (edges.count == 2) & ~fixed[first] & ~fixed[second]
    wanted[wanted.clone()] = _two_in_common(edges, len(values), edges.ends[wanted])
    # By lot, another one each time: an edge that must stay would else hold up its neighbours for ever.
    lot = torch.rand(len(length), generator=generator(number)).to(length)
    chosen = _apart(wanted, lot, edges, len(values))
    if not chosen.any():
        return values, faces, False
    new, target = _joined(values, edges.ends[chosen])
    # Faces that would turn over or grow too long keep their edges as they are.
    moved, before = target[faces], face_normals(values[:, :3], faces)
    gone = (moved[:, 0] == moved[:, 1]) | (moved[:, 1] == moved[:, 2]) | (moved[:, 2] == moved[:, 0])
    corners = new[moved][..., :3]
    reach = (corners - corners[:, [1, 2, 0]]).norm(dim=2).amax(1)
    turned = (face_normals(new[:, :3], moved) * before).sum(1) < _SAME_SIDE
    touched = (moved != faces).any(1) | (corners != values[faces][..., :3]).flatten(1).any(1)
    bad = ~gone & touched & (turned | (reach > longest))
    spoiled = torch.zeros(len(values), dtype=torch.bool, device=faces.device)
    spoiled[moved[bad].reshape(-1)] = True
    ends = edges.ends[chosen]
    ends = ends[~spoiled[ends[:, 0]]]
    if len(ends) == 0:
        return values, faces, True
    values, target = _joined(values, ends)
    faces = target[faces]
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    used = torch.zeros(len(values), dtype=torch.bool, device=faces.device)
    used[faces.reshape(-1)] = True
    return values[used], (used.cumsum(0) - 1)[faces], True


def _joined(values: Tensor, ends: Int[Tensor, "n 2"]) -> tuple[Tensor, Int[Tensor, " v"]]:
    """The first end of each edge moved to its middle, and the vertex that stands for each."""
    target = torch.arange(len(values), device=values.device).index_copy(0, ends[:, 1], ends[:, 0])
    return values.index_copy(0, ends[:, 0], values[ends].mean(1)), target


def _two_in_common(edges: Edges, vertices: int, ends: Int[Tensor, "n 2"]) -> Bool[Tensor, " n"]:
    """Whether two vertices are the only ones next to both ends, and have neighbours to spare."""
    pairs = torch.cat([edges.ends, edges.ends.flip(1)])
    start, order = pairs[:, 0].sort(stable=True)
    count = torch.bincount(start, minlength=vertices)
    near = torch.full((vertices, int(count.max())), -1, device=start.device)
    near[start, torch.arange(len(start), device=start.device) - (count.cumsum(0) - count)[start]] = pairs[order, 1]
    one, other = near[ends[:, 0]], near[ends[:, 1]]
    both = ((one[:, :, None] == other[:, None]) & (one >= 0)[:, :, None]).any(2)
    spare = torch.where(both, count[one.clamp_min(0)], 9).amin(1) > 3
    return (both.sum(1) == 2) & spare


def _flip(values: Tensor, faces: Tensor) -> tuple[Tensor, bool]:
    """Edges turned within their two faces where that brings valences nearer to six; whether there were any."""
    edges = find_edges(faces)
    if not (edges.count == 2).any():
        return faces, False
    (a, b), (left, right) = edges.ends.unbind(1), edges.sides[:, :2].unbind(1)
    c, d = edges.opposite[:, :2].unbind(1)
    # The face on the left runs from a to b.
    start = (faces[left] == a[:, None]).int().argmax(1)
    forward = faces[left].gather(1, ((start + 1) % 3)[:, None])[:, 0] == b
    c, d = torch.where(forward, c, d), torch.where(forward, d, c)
    left, right = torch.where(forward, left, right), torch.where(forward, right, left)
    valence = torch.bincount(edges.ends.reshape(-1), minlength=len(values))
    ideal = torch.where(_on_rims(edges, len(values)), 4, 6)

    def strain(change: int) -> Tensor:
        off = [((valence[v] + change * sign - ideal[v]).square()) for v, sign in ((a, -1), (b, -1), (c, 1), (d, 1))]
        return torch.stack(off).sum(0)

    gain = strain(0) - strain(1)
    keys = edges.ends[:, 0] * len(values) + edges.ends[:, 1]
    across = torch.stack([c, d], 1).sort(1).values
    key = across[:, 0] * len(values) + across[:, 1]
    exists = keys[torch.searchsorted(keys, key).clamp(max=len(keys) - 1)] == key
    normals, points = face_normals(values[:, :3], faces), values[:, :3]
    old = normals[left] + normals[right]
    new = [face_normals(points, torch.stack(corners, 1)) for corners in ((a, d, c), (d, b, c))]
    fair = (normals[left] * normals[right]).sum(1) > _FLAT
    for normal in new:
        fair &= (normal * old).sum(1) > 2 * _FLAT
    wanted = (gain > 0) & (edges.count == 2) & (c != d) & ~exists & fair & (valence[a] > 3) & (valence[b] > 3)
    quads = torch.stack([a, b, c, d], 1)
    chosen = _first(wanted, -gain, quads, len(values))
    if not chosen.any():
        return faces, False
    a, b, c, d = quads[chosen].unbind(1)
    faces = faces.index_copy(0, left[chosen], torch.stack([a, d, c], 1))
    return faces.index_copy(0, right[chosen], torch.stack([d, b, c], 1)), True


def _relax(values: Tensor, faces: Tensor) -> Tensor:
    """Vertices moved toward the middle of their neighbours, along the surface only."""
    edges = find_edges(faces)
    first, second = edges.ends.unbind(1)
    count = torch.bincount(edges.ends.reshape(-1), minlength=len(values)).clamp_min(1)[:, None]
    total = torch.zeros_like(values).index_add(0, first, values[second]).index_add(0, second, values[first])
    step = 0.5 * (total / count - values)
    normal = vertex_normals(values[:, :3], faces)
    upward = (step[:, :3] * normal).sum(1, keepdim=True) * normal
    step = torch.cat([step[:, :3] - upward, step[:, 3:]], 1)
    return torch.where(_on_rims(edges, len(values))[:, None], values, values + step)


def _on_rims(edges: Edges, vertices: int) -> Bool[Tensor, " v"]:
    """The vertices of edges that have not exactly two faces."""
    fixed = torch.zeros(vertices, dtype=torch.bool, device=edges.ends.device)
    fixed[edges.ends[edges.count != 2].reshape(-1)] = True
    return fixed


def _apart(wanted: Bool[Tensor, " e"], cost: Tensor, edges: Edges, vertices: int) -> Bool[Tensor, " e"]:
    """Those of the wanted edges that are cheapest as far as their neighbours' neighbours: all can go at once."""
    rank = _ranks(wanted, cost)
    least = _least(rank, edges.ends, vertices)
    around = torch.minimum(least[edges.ends[:, 0]], least[edges.ends[:, 1]])
    least = torch.minimum(least, _least(around, edges.ends, vertices))
    return wanted & (least[edges.ends] == rank[:, None]).all(1)


def _first(wanted: Bool[Tensor, " e"], cost: Tensor, groups: Int[Tensor, "e k"], vertices: int) -> Bool[Tensor, " e"]:
    """Those of the wanted that are cheapest at all of their vertices."""
    rank = _ranks(wanted, cost)
    return wanted & (_least(rank, groups, vertices)[groups] == rank[:, None]).all(1)


def _ranks(wanted: Bool[Tensor, " e"], cost: Float[Tensor, " e"] | Int[Tensor, " e"]) -> Int[Tensor, " e"]:
    """Place of each by cost; behind all others for what is not wanted."""
    order = cost.argsort(stable=True)
    rank = torch.zeros_like(order).index_copy(0, order, torch.arange(len(order), device=order.device))
    return torch.where(wanted, rank, len(rank))


def _least(rank: Int[Tensor, " e"], groups: Int[Tensor, "e k"], vertices: int) -> Int[Tensor, " v"]:
    """The least rank at each vertex."""
    least = torch.full((vertices,), len(rank), device=rank.device)
    return least.scatter_reduce(0, groups.reshape(-1), rank[:, None].expand_as(groups).reshape(-1), "amin")


def with_faces(mesh: Mesh, faces: int) -> Mesh:
    """The mesh with about so many triangles of about one size; see `remesh`."""
    return remesh(mesh, edge_for(mesh, faces))
