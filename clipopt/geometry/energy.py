"""What a smooth mesh has little of, and how much of it crosses itself; all to be minimised.

Each is a mean, so that a finer mesh of the same shape has about as much.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipopt.geometry.mesh import Mesh, face_normals, take

_TINY = 1e-12


def laplacian(mesh: Mesh) -> Float[Tensor, ""]:
    """Mean squared distance of a vertex to the middle of its neighbours, relative to the mean edge.

    Reference:
        Nealen et al., "Laplacian Mesh Optimization" (2006).
    """
    first, second = mesh.edges.ends.unbind(1)
    v = mesh.vertices
    count = torch.bincount(mesh.edges.ends.reshape(-1), minlength=len(v)).clamp_min(1)[:, None]
    around = torch.zeros_like(v).index_add(0, first, take(v, second)).index_add(0, second, take(v, first)) / count
    used = (torch.bincount(mesh.edges.ends.reshape(-1), minlength=len(v)) > 0)[:, None]
    scale = (take(v, first) - take(v, second)).square().sum(1).mean().detach().clamp_min(_TINY)
    return torch.where(used, around - v, 0.0).square().sum() / (len(v) * scale)


def normal_consistency(mesh: Mesh) -> Float[Tensor, ""]:
    """Mean of 1 - cosine between the normals of neighbouring faces: 0 where flat, 2 where folded."""
    normals = face_normals(mesh.vertices, mesh.faces)
    inner = mesh.edges.count == 2
    first, second = mesh.edges.sides[inner, :2].unbind(1) if inner.any() else (mesh.faces[:0, 0],) * 2
    return (1 - (take(normals, first) * take(normals, second)).sum(1)).sum() / max(1, len(first))


def edge_length(mesh: Mesh) -> Float[Tensor, ""]:
    """Mean squared edge relative to the squared mean edge, less 1: 0 where all edges are equally long."""
    a, b = take(mesh.vertices, mesh.edges.ends).unbind(1)
    lengths = (a - b).square().sum(1).clamp_min(_TINY).sqrt()
    return lengths.square().mean() / lengths.mean().square().clamp_min(_TINY) - 1


def jacobian_identity(jacobians: Float[Tensor, "f 3 3"]) -> Float[Tensor, ""]:
    """Mean squared distance of the Jacobians to the identity, summed over their entries.

    Reference:
        Gao et al., "TextDeformer" (2023), arXiv:2304.13348, section 3.3.
    """
    return (jacobians - torch.eye(3).to(jacobians)).square().sum((1, 2)).mean()


@torch.no_grad()
def self_intersection(mesh: Mesh) -> float:
    """Share of the faces, 0 to 1, that are pierced by an edge of another face or pierce one.

    Faces that share an edge are not compared; of faces that share a corner, the edges across it are.
    """
    faces = mesh.faces
    if len(faces) == 0:
        return 0.0
    points = mesh.vertices.detach().double()[faces]
    first, second = _near_pairs(points)
    shared = (faces[first][:, :, None] == faces[second][:, None]).sum((1, 2))
    first, second = first[shared < 2], second[shared < 2]
    hit = torch.zeros(len(faces), dtype=torch.bool, device=faces.device)
    for one, other in ((first, second), (second, first)):
        for a, b in ((0, 1), (1, 2), (2, 0)):
            ends = faces[one][:, [a, b]]
            touches = (ends[:, :, None] == faces[other][:, None]).any(2).any(1)
            crossed = _pierces(points[one, a], points[one, b], points[other]) & ~touches
            hit[one[crossed]] = True
            hit[other[crossed]] = True
    return float(hit.double().mean())


def _near_pairs(points: Float[Tensor, "f 3 3"]) -> tuple[Int[Tensor, " n"], Int[Tensor, " n"]]:
    """Pairs of faces whose boxes overlap: swept along the longest axis."""
    low, high = points.amin(1), points.amax(1)
    axis = int((high.amax(0) - low.amin(0)).argmax())
    order = low[:, axis].argsort(stable=True)
    low, high = low[order], high[order]
    # Those that begin before this one ends.
    until = torch.searchsorted(low[:, axis].contiguous(), high[:, axis].contiguous(), right=True)
    start = torch.arange(len(order), device=order.device) + 1
    count = (until - start).clamp_min(0)
    pairs = []
    # About a million at a time, so that a large mesh does not fill the memory.
    total = count.cumsum(0)
    begin = 0
    while begin < len(order):
        done = int(total[begin - 1]) if begin else 0
        end = max(begin + 1, int(torch.searchsorted(total, done + 1_000_000, right=True)))
        one = torch.repeat_interleave(torch.arange(begin, end, device=order.device), count[begin:end])
        other = torch.arange(len(one), device=order.device) + done - (total - count)[one] + start[one]
        near = ((low[one] <= high[other]) & (low[other] <= high[one])).all(1)
        pairs.append(torch.stack([order[one[near]], order[other[near]]]))
        begin = end
    first, second = torch.cat(pairs, 1)
    return first, second


def _pierces(a: Tensor, b: Tensor, triangle: Tensor) -> Tensor:
    """Whether the segment from a to b goes through the triangle."""
    p, q, r = triangle.unbind(1)
    normal = torch.linalg.cross(q - p, r - p)
    above, below = ((a - p) * normal).sum(1), ((b - p) * normal).sum(1)
    crosses = above * below < 0
    t = above / torch.where(crosses, above - below, 1.0)
    x = a + t[:, None] * (b - a)
    sides = [(torch.linalg.cross(e - s, x - s) * normal).sum(1) for s, e in ((p, q), (q, r), (r, p))]
    return crosses & (sides[0] > 0) & (sides[1] > 0) & (sides[2] > 0)
