"""Mends a mesh from outside so that it can be optimised, and says what it did."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from clipopt.geometry.mesh import Edges, Mesh, Place, components, face_areas

# Vertices nearer than this share of the mesh's size are one vertex.
_SAME = 1e-6
_NO_AREA = 1e-12
# A mesh that is centred and scaled but for this much is left as it is.
_NEAR = 1e-6


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

    What cannot be mended, such as holes, is named and left; the renderer and every parameter can live with it. Give
    vertices in double precision where they may lie far from the origin; those of the result are single.

    Returns:
        The mesh, which knows its old place, and one plain sentence for each change and each oddity; none for a mesh
        that is as it should be.

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
    before, given = mesh.place, len(mesh.vertices)
    # Before all else, for one lone vertex far away would make everything else small.
    mesh = _without_lone_vertices(replace(mesh, place=Place()))
    alone = given - len(mesh.vertices)
    if len(mesh.faces) == 0:
        return _single(mesh), said
    mesh = _centred(mesh, radius)
    merged = _merged(mesh, said)
    mesh = _without_bad_faces(merged, said)
    mesh = _without_lone_vertices(mesh)
    if alone := alone + len(merged.vertices) - len(mesh.vertices):
        said.append(f"removed {alone} vertices without a face")
    if len(mesh.faces) == 0:
        return _single(mesh), said
    mesh = _oriented(mesh, said)
    health = examine(mesh)
    if health.components > 1:
        said.append(f"it has {health.components} parts that do not touch; each moves by itself")
    if health.boundary:
        said.append(f"it has holes or open rims, {health.boundary} edges with one face; they are kept")
    if health.tangled:
        said.append(f"{health.tangled} edges have more than two faces; they are kept")
    mesh = _centred(mesh, radius)
    if max(abs(mesh.place.size - 1), *map(abs, mesh.place.centre)) > 1e-3:
        wide = (mesh.vertices.amax(0) - mesh.vertices.amin(0)).double() * mesh.place.size
        size = " x ".join(f"{x:.3g}" for x in wide.tolist())
        away = f" at {', '.join(f'{x:.10g}' for x in mesh.place.centre)}" if _far(mesh.place) else ""
        said.append(f"centred and scaled from {size}{away} to radius {radius:g}; files get its old place and size")
    return _single(replace(mesh, place=before.within(mesh.place))), said


def _far(place: Place) -> bool:
    """Whether the mesh lies so far from the origin, for its size, that this is worth a word."""
    return max(map(abs, place.centre)) > 100 * place.size


def _single(mesh: Mesh) -> Mesh:
    return replace(mesh, vertices=mesh.vertices.float())


def _centred(mesh: Mesh, radius: float) -> Mesh:
    """As `fit`, and what was done to it is in its place; a mesh that lies as it should stays as it is."""
    vertices = mesh.vertices.double()
    low, high = vertices.amin(0), vertices.amax(0)
    middle = low / 2 + high / 2  # halves first: the sum of the largest numbers is infinite
    half = float((high / 2 - low / 2).amax())
    if half == 0:
        return mesh
    around = (vertices - middle) / half
    size = half * float(around.norm(dim=1).amax()) / radius
    if float(middle.abs().amax()) < _NEAR * radius and abs(size - 1) < _NEAR:
        return mesh
    x, y, z = middle.tolist()
    return replace(mesh, vertices=around * (half / size), place=mesh.place.within(Place((x, y, z), size)))


def same_places(vertices: Float[Tensor, "v 3"]) -> Int[Tensor, " v"]:
    """A number for each vertex, from 0 on, that it shares with those that lie where it does."""
    if len(vertices) == 0:
        return torch.zeros(0, dtype=torch.int64)
    low = vertices.amin(0)
    step = float((vertices.amax(0) - low).amax().clamp_min(1e-300)) * _SAME
    x, y, z = ((vertices - low).double() / step).round().long().unbind(1)
    most = round(1 / _SAME) + 2
    which: Tensor = ((x * most + y) * most + z).unique(return_inverse=True)[1]
    return which


def _merged(mesh: Mesh, said: list[str]) -> Mesh:
    """One vertex for each place; where corners meet with several colours, the first one's stays."""
    which = same_places(mesh.vertices)
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
    return replace(mesh, vertices=mesh.vertices[keep], faces=rank[which][mesh.faces], colors=colors)


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


def _without_lone_vertices(mesh: Mesh) -> Mesh:
    used = torch.zeros(len(mesh.vertices), dtype=torch.bool, device=mesh.faces.device)
    used[mesh.faces.reshape(-1)] = True
    if used.all():
        return mesh
    colors = None if mesh.colors is None else mesh.colors[used]
    return replace(mesh, vertices=mesh.vertices[used], faces=(used.cumsum(0) - 1)[mesh.faces], colors=colors)


def _oriented(mesh: Mesh, said: list[str]) -> Mesh:
    """Neighbouring faces turned alike, closed parts outward, open ones as most of their faces were."""
    turned, name = _turns(mesh.faces, mesh.edges)
    part: Tensor = name.unique(return_inverse=True)[1]
    count = int(part.max()) + 1

    def total(values: Tensor) -> Tensor:
        return torch.zeros(count, dtype=values.dtype, device=values.device).index_add(0, part, values)

    a, b, c = mesh.vertices[torch.where(turned[:, None], mesh.faces.flip(1), mesh.faces)].double().unbind(1)
    inside_out = total((torch.linalg.cross(a, b) * c).sum(1)) < 0
    mostly = total(turned.long()) > total(torch.ones_like(part)) // 2
    wrong = torch.where(_closed(mesh.faces, part), inside_out, mostly)
    turned = turned ^ wrong[part]
    if not turned.any():
        return mesh
    said.append(f"turned {int(turned.sum())} faces over so that the outside is outside")
    uv = None if mesh.uv is None else torch.where(turned[:, None, None], mesh.uv.flip(1), mesh.uv)
    return replace(mesh, faces=torch.where(turned[:, None], mesh.faces.flip(1), mesh.faces), uv=uv)


def _closed(faces: Int[Tensor, "f 3"], part: Int[Tensor, " f"]) -> Bool[Tensor, " p"]:
    """Whether each part by itself has two faces at all of its edges."""
    low, high = torch.stack([faces, faces.roll(-1, 1)]).view(2, -1).aminmax(dim=0)
    base = int(faces.max()) + 1
    owner = part[:, None].expand(-1, 3).reshape(-1)
    pairs: Tensor = (low * base + high).unique(return_inverse=True)[1]
    keys, count = (owner * (int(pairs.max()) + 1) + pairs).unique(return_counts=True)
    owners = keys // (int(pairs.max()) + 1)
    open_edges = torch.zeros(int(part.max()) + 1, device=faces.device).index_add(0, owners, (count != 2).float())
    return open_edges == 0


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
