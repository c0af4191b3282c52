"""Triangle meshes: what they are, their edges, normals and volume, and the sphere that most runs begin with."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

# Of an edge with more faces than this, the others are not looked at: a fan around one edge is no surface.
_FAN = 8
_TINY = 1e-20


@dataclass(frozen=True)
class Edges:
    """The undirected edges of a mesh.

    Attributes:
        faces: The faces they belong to.
        ends: The two vertices of each edge, the smaller index first; in rising order.
        sides: The faces of each edge; where it has fewer than there are columns, the first one is repeated.
        opposite: The vertex across the edge in each of these faces.
        count: Number of faces of each edge: 1 on a boundary, 2 inside a surface, more where sheets meet.
    """

    faces: Int[Tensor, "f 3"]
    ends: Int[Tensor, "e 2"]
    sides: Int[Tensor, "e k"]
    opposite: Int[Tensor, "e k"]
    count: Int[Tensor, " e"]


@dataclass(frozen=True)
class Place:
    """Where a mesh stands and how large it is, for whoever made it; vertices themselves lie around the origin.

    Attributes:
        centre: Where the origin of the vertices is.
        size: How long 1 of the vertices is.
    """

    centre: tuple[float, float, float] = (0.0, 0.0, 0.0)
    size: float = 1.0

    def of(self, vertices: Float[Tensor, "v 3"]) -> Float[Tensor, "v 3"]:
        """The vertices there, in double precision: far from the origin single precision has steps of its own."""
        return vertices.double() * self.size + torch.tensor(self.centre, dtype=torch.float64, device=vertices.device)

    def within(self, inner: "Place") -> "Place":
        """The place of what is at `inner` of what is here."""
        x, y, z = (c + self.size * i for c, i in zip(self.centre, inner.centre, strict=True))
        return Place((x, y, z), self.size * inner.size)


@dataclass(frozen=True)
class Mesh:
    """A triangle mesh; seen from outside, the corners of a face run counter-clockwise.

    Attributes:
        vertices: Positions.
        faces: The corners of each triangle.
        colors: Colour of each vertex in [0, 1]; None: none, or those of the texture.
        uv: Place of each corner of each face in the texture; (0, 0) is its lower left, (1, 1) its upper right.
        texture: Picture that `uv` points into, in [0, 1].
        edges: Worked out where it does not belong to `faces`; hand it on, and that is done once.
        place: Where the mesh of a file was; files are written there again.
    """

    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]
    colors: Float[Tensor, "v 3"] | None = None
    uv: Float[Tensor, "f 3 2"] | None = None
    texture: Float[Tensor, "3 _ _"] | None = None
    edges: Edges = None  # type: ignore[assignment]
    place: Place = Place()

    def __post_init__(self) -> None:
        if self.edges is None or self.edges.faces is not self.faces:
            object.__setattr__(self, "edges", find_edges(self.faces))

    def detach(self) -> "Mesh":
        """The same mesh without its history."""
        colors, texture = (None if t is None else t.detach() for t in (self.colors, self.texture))
        return replace(self, vertices=self.vertices.detach(), colors=colors, texture=texture)

    def to(self, device: torch.device | str) -> "Mesh":
        """The same mesh on another device."""
        colors, uv, texture = (None if t is None else t.to(device) for t in (self.colors, self.uv, self.texture))
        return Mesh(self.vertices.to(device), self.faces.to(device), colors, uv, texture, place=self.place)


def find_edges(faces: Int[Tensor, "f 3"]) -> Edges:
    """All edges of the faces; manifold, open or neither."""
    if len(faces) == 0:
        none = faces.new_zeros(0, 2)
        return Edges(faces, none, none, none, none[:, 0])
    low, high = torch.stack([faces[:, [1, 2, 0]], faces[:, [2, 0, 1]]]).view(2, -1).aminmax(dim=0)
    base = int(faces.max()) + 1
    keys, order = (low * base + high).sort(stable=True)
    unique, count = torch.unique_consecutive(keys, return_counts=True)
    first = count.cumsum(0) - count
    columns = min(_FAN, int(count.max()))
    slots = first[:, None] + torch.arange(columns, device=faces.device) * (
        torch.arange(columns, device=faces.device) < count[:, None]
    )
    corners = order[slots]
    ends = torch.stack([unique // base, unique % base], -1)
    return Edges(faces, ends, corners // 3, faces.reshape(-1)[corners], count)


def components(edges: Edges, vertices: int) -> Int[Tensor, " v"]:
    """The smallest vertex that each vertex is joined to by edges: the name of its component."""
    label = torch.arange(vertices, device=edges.ends.device)
    one, other = (ends.contiguous() for ends in edges.ends.unbind(1))
    while True:
        low = torch.minimum(label[one], label[other])
        new = label.scatter_reduce(0, one, low, "amin").scatter_reduce(0, other, low, "amin")
        new = new[new]
        if torch.equal(new, label):
            return label
        label = new


def take(values: Tensor, index: Int[Tensor, "*_"], dim: int = 0) -> Tensor:
    """`values[index]` along one dimension, with a gradient that is the same on any number of threads.

    Indexing adds up its gradient in whatever order threads come; this one in the order of `index`, and no slower.
    """
    return values.index_select(dim, index.reshape(-1)).unflatten(dim, index.shape)


def face_areas(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "f 3"]:
    """Vectors along the outward normals, as long as the faces are large."""
    a, b, c = take(vertices, faces).unbind(1)
    return torch.linalg.cross(b - a, c - a) / 2


def face_normals(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "f 3"]:
    """Unit outward normals; 0 for a face without area."""
    return F.normalize(face_areas(vertices, faces), dim=-1, eps=_TINY)


def vertex_normals(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, "v 3"]:
    """Unit normals, the mean over the faces around, weighed by area; 0 where there is none."""
    areas = face_areas(vertices, faces)
    total = torch.zeros_like(vertices)
    for column in range(3):
        total = total.index_add(0, faces[:, column], areas)
    return F.normalize(total, dim=-1, eps=_TINY)


def volume(vertices: Float[Tensor, "v 3"], faces: Int[Tensor, "f 3"]) -> Float[Tensor, ""]:
    """Signed volume of a closed mesh: above 0 where its faces look outward."""
    a, b, c = take(vertices, faces).unbind(1)
    return (torch.linalg.cross(a, b) * c).sum() / 6


def fit(vertices: Float[Tensor, "v 3"], radius: float = 1.0) -> Float[Tensor, "v 3"]:
    """The vertices moved and scaled so that their bounding box is centred and the farthest lies at `radius`."""
    centred = vertices - (vertices.amax(0) + vertices.amin(0)) / 2
    return centred * (radius / centred.norm(dim=1).amax().clamp_min(_TINY))


def icosphere(subdivisions: int = 4, radius: float = 1.0) -> Mesh:
    """A sphere of 20 * 4^subdivisions nearly equal triangles: 1280, 5120 and 20480 for 3, 4 and 5.

    Raises:
        ValueError: If `subdivisions` is negative.
    """
    if subdivisions < 0:
        raise ValueError(f"subdivisions must be 0 or more, got {subdivisions}")
    g = (1 + 5**0.5) / 2
    corners = [[-1, g, 0], [1, g, 0], [-1, -g, 0], [1, -g, 0], [0, -1, g], [0, 1, g]]
    corners += [[0, -1, -g], [0, 1, -g], [g, 0, -1], [g, 0, 1], [-g, 0, -1], [-g, 0, 1]]
    strip = [[0, 11, 5], [0, 5, 1], [0, 1, 7], [0, 7, 10], [0, 10, 11], [1, 5, 9], [5, 11, 4], [11, 10, 2]]
    strip += [[10, 7, 6], [7, 1, 8], [3, 9, 4], [3, 4, 2], [3, 2, 6], [3, 6, 8], [3, 8, 9], [4, 9, 5]]
    strip += [[2, 4, 11], [6, 2, 10], [8, 6, 7], [9, 8, 1]]
    mesh = Mesh(F.normalize(torch.tensor(corners, dtype=torch.float64), dim=-1), torch.tensor(strip))
    for _ in range(subdivisions):
        mesh = subdivide(mesh)
        mesh = replace(mesh, vertices=F.normalize(mesh.vertices, dim=-1))
    return replace(mesh, vertices=(radius * mesh.vertices).float())


def subdivide(mesh: Mesh) -> Mesh:
    """Each triangle cut into four at the middles of its edges; colours are interpolated, a texture is dropped."""
    ends, faces = mesh.edges.ends, mesh.faces
    base = len(mesh.vertices)
    keys = ends[:, 0] * base + ends[:, 1]
    middles: list[Tensor] = []
    for start, end in ((0, 1), (1, 2), (2, 0)):
        pair = faces[:, [start, end]].sort(-1).values
        middles.append(base + torch.searchsorted(keys, pair[:, 0] * base + pair[:, 1]))
    (a, b, c), (ab, bc, ca) = faces.unbind(1), middles
    split = [torch.stack(corners, -1) for corners in ((a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca))]

    def refined(values: Tensor) -> Tensor:
        return torch.cat([values, values[ends].mean(1)])

    colors = None if mesh.colors is None else refined(mesh.colors)
    return Mesh(refined(mesh.vertices), torch.cat(split), colors, place=mesh.place)
