"""Mends a mesh from outside so that it can be optimised, and says what it did."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Int
from torch import Tensor

from clipopt.geometry.mesh import Edges, Mesh, components, face_areas, find_edges, fit, volume

# Vertices nearer than this share of the mesh's size are one vertex.
_SAME = 1e-6
_NO_AREA = 1e-12


@dataclass(frozen=True)
class Health:
    """What can be counted on a mesh.

    Attributes:
        components: Number of parts that do not touch.
        boundary: Number of edges with one face.
        tangled: Number of edges with more than two faces.
        genus: Number of handles, summed over the parts; None where the mesh is not watertight.
    """

    components: int
    boundary: int
    tangled: int
    genus: int | None

    @property
    def watertight(self) -> bool:
        """Whether every edge has two faces."""
        return self.boundary == 0 and self.tangled == 0


def examine(mesh: Mesh) -> Health:
    """Counts the parts, holes and handles of a mesh."""
    used = mesh.faces.unique()
    parts = len(components(mesh.edges, len(mesh.vertices))[used].unique())
    boundary, tangled = int((mesh.edges.count == 1).sum()), int((mesh.edges.count > 2).sum())
    euler = len(used) - len(mesh.edges.ends) + len(mesh.faces)
    closed = boundary == 0 and tangled == 0 and parts > 0
    return Health(parts, boundary, tangled, parts - euler // 2 if closed else None)


def mend(mesh: Mesh, *, radius: float = 1.0) -> tuple[Mesh, list[str]]:
    """Merges equal vertices, removes faces that are none, orients outward, centres and scales to `radius`.

    What cannot be mended, such as holes, is named and left; the renderer and every parameter can live with it.

    Returns:
        The mesh, and one plain sentence for each change and each oddity; none for a mesh that is as it should be.

    Raises:
        ValueError: If a face points at a vertex that is not there, or if a vertex is not finite.
    """
    if not torch.isfinite(mesh.vertices).all():
        raise ValueError("expected finite vertices, got NaN or infinity; mend the mesh in the program that made it")
    if len(mesh.faces) and not 0 <= int(mesh.faces.min()) <= int(mesh.faces.max()) < len(mesh.vertices):
        raise ValueError(
            f"expected faces of vertices 0 to {len(mesh.vertices) - 1}, got {int(mesh.faces.min())} to "
            f"{int(mesh.faces.max())}"
        )
    said: list[str] = []
    mesh = _merged(mesh, said)
    mesh = _without_bad_faces(mesh, said)
    mesh = _without_lone_vertices(mesh, said)
    if len(mesh.faces) == 0:
        return mesh, said
    mesh = _oriented(mesh, said)
    health = examine(mesh)
    if health.components > 1:
        said.append(f"it has {health.components} parts that do not touch; each moves by itself")
    if health.boundary:
        said.append(f"it has holes or open rims, {health.boundary} edges with one face; they are kept")
    if health.tangled:
        said.append(f"{health.tangled} edges have more than two faces; they are kept")
    fitted = fit(mesh.vertices, radius)
    if (fitted - mesh.vertices).abs().max() > 1e-3 * radius:
        low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
        size = " x ".join(f"{x:.3g}" for x in (high - low).tolist())
        said.append(f"centred and scaled from {size} to radius {radius:g}")
    return replace(mesh, vertices=fitted), said


def _merged(mesh: Mesh, said: list[str]) -> Mesh:
    """One vertex for each place; where corners meet with several colours, the first one's stays."""
    if len(mesh.vertices) == 0:
        return mesh
    size = float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).amax().clamp_min(1e-30))
    cells = ((mesh.vertices - mesh.vertices.amin(0)).double() / (size * _SAME)).round().long()
    _, which = cells.unique(dim=0, return_inverse=True)
    count = int(which.max()) + 1
    if count == len(mesh.vertices):
        return mesh
    said.append(f"merged {len(mesh.vertices) - count} vertices that lay on others")
    index = torch.arange(len(which), device=which.device)
    first = torch.full((count,), len(which), device=which.device).scatter_reduce(0, which, index, "amin")
    # In their old order.
    order = first.argsort()
    rank = torch.zeros_like(order).index_copy(0, order, torch.arange(count, device=which.device))
    keep = first[order]
    colors = None if mesh.colors is None else mesh.colors[keep]
    return Mesh(mesh.vertices[keep], rank[which][mesh.faces], colors, mesh.uv, mesh.texture)


def _without_bad_faces(mesh: Mesh, said: list[str]) -> Mesh:
    faces = mesh.faces
    if len(faces) == 0:
        return mesh
    a, b, c = faces.unbind(1)
    size = (mesh.vertices.amax(0) - mesh.vertices.amin(0)).square().sum().double()
    flat = face_areas(mesh.vertices.double(), faces).norm(dim=1) <= _NO_AREA * size
    bad = flat | (a == b) | (b == c) | (c == a)
    _, same, count = faces.sort(1).values.unique(dim=0, return_inverse=True, return_counts=True)
    index = torch.arange(len(faces), device=faces.device)
    first = torch.full_like(count, len(faces)).scatter_reduce(0, same, index, "amin")
    twice = (first[same] != index) & ~bad
    if bad.any():
        said.append(f"removed {int(bad.sum())} faces without area")
    if twice.any():
        said.append(f"removed {int(twice.sum())} faces that were there twice")
    keep = ~(bad | twice)
    if keep.all():
        return mesh
    return replace(mesh, faces=faces[keep], uv=None if mesh.uv is None else mesh.uv[keep])


def _without_lone_vertices(mesh: Mesh, said: list[str]) -> Mesh:
    used = torch.zeros(len(mesh.vertices), dtype=torch.bool, device=mesh.faces.device)
    used[mesh.faces.reshape(-1)] = True
    if used.all():
        return mesh
    said.append(f"removed {int((~used).sum())} vertices without a face")
    colors = None if mesh.colors is None else mesh.colors[used]
    return Mesh(mesh.vertices[used], (used.cumsum(0) - 1)[mesh.faces], colors, mesh.uv, mesh.texture)


def _oriented(mesh: Mesh, said: list[str]) -> Mesh:
    """Neighbouring faces turned alike, closed parts outward, open ones as most of their faces were."""
    turned, part = _turns(mesh.faces, mesh.edges)
    order = torch.where(turned[:, None], mesh.faces.flip(1), mesh.faces)
    for number in part.unique().tolist():
        mine = part == number
        closed = bool((find_edges(order[mine]).count == 2).all())
        if closed:
            wrong = bool(volume(mesh.vertices, order[mine]) < 0)
        else:
            wrong = int(turned[mine].sum()) > int(mine.sum()) // 2
        if wrong:
            turned = turned ^ mine
    if not turned.any():
        return mesh
    said.append(f"turned {int(turned.sum())} faces over so that the outside is outside")
    uv = None if mesh.uv is None else torch.where(turned[:, None, None], mesh.uv.flip(1), mesh.uv)
    return replace(mesh, faces=torch.where(turned[:, None], mesh.faces.flip(1), mesh.faces), uv=uv)


def _turns(faces: Int[Tensor, "f 3"], edges: Edges) -> tuple[Tensor, Tensor]:
    """Which faces to turn so that neighbours agree, and the part each belongs to; a Moebius strip stays torn."""
    inner = edges.count == 2
    if not inner.any():
        return torch.zeros(len(faces), dtype=torch.bool, device=faces.device), torch.arange(len(faces))
    one, other = edges.sides[inner, :2].unbind(1)
    ends = edges.ends[inner]
    differ = _along(faces[one], ends) == _along(faces[other], ends)
    turned = torch.zeros(len(faces), dtype=torch.bool, device=faces.device)
    part = torch.full((len(faces),), -1, device=faces.device)
    neighbours: list[list[tuple[int, bool]]] = [[] for _ in range(len(faces))]
    for a, b, opposite in zip(one.tolist(), other.tolist(), differ.tolist(), strict=True):
        neighbours[a].append((b, opposite))
        neighbours[b].append((a, opposite))
    parts, turns = part.tolist(), turned.tolist()
    for seed in range(len(faces)):
        if parts[seed] >= 0:
            continue
        parts[seed], stack = seed, [seed]
        while stack:
            face = stack.pop()
            for near, opposite in neighbours[face]:
                if parts[near] < 0:
                    parts[near], turns[near] = seed, turns[face] ^ opposite
                    stack.append(near)
    return torch.tensor(turns, device=faces.device), torch.tensor(parts, device=faces.device)


def _along(faces: Int[Tensor, "n 3"], ends: Int[Tensor, "n 2"]) -> Tensor:
    """Whether each face runs from the first end to the second."""
    first = (faces == ends[:, :1]).int().argmax(1)
    following = faces.gather(1, ((first + 1) % 3)[:, None])[:, 0]
    return following == ends[:, 1]
