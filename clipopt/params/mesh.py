"""Meshes as learnable parameters: a shape, which says where the vertices are, and a look, which says their colours.

start = icosphere(4)
surface = Surface(start, LargeSteps(start), VertexColors(start))
shape, look = AdamUniform(surface.shape.parameters(), 0.02), Adam(surface.look.parameters(), 0.05)

A shape begins at the mesh it is given, exactly, and keeps its faces.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clipopt.geometry.atlas import atlas
from clipopt.geometry.mesh import Edges, Mesh, find_edges, vertex_normals
from clipopt.geometry.solve import Poisson, System, poisson, solve, system, uniform

_MARGIN = 1 / 255
_GREY = 0.7


class Surface(nn.Module):
    """A mesh with a learnable shape and a learnable look.

    Attributes:
        shape: Module that returns the vertices.
        look: Module that returns colours of the vertices, texture coordinates of all corners and a texture, each of
            them or None. None: the surface is grey.
    """

    faces: Tensor

    def __init__(self, start: Mesh, shape: nn.Module, look: nn.Module | None = None) -> None:
        super().__init__()
        self.shape, self.look, self.place = shape, look, start.place
        self.register_buffer("faces", start.faces.clone(), persistent=False)
        self._edges: Edges | None = None

    def forward(self) -> Mesh:
        """The mesh as it is now."""
        colors, uv, texture = self.look() if self.look is not None else (None, None, None)
        edges = find_edges(self.faces) if self._edges is None else self._edges
        mesh = Mesh(self.shape(), self.faces, colors, uv, texture, edges, self.place)
        self._edges = mesh.edges
        return mesh


class Vertices(nn.Module):
    """The vertices themselves: every one for itself. Fast to crumple; `LargeSteps` is the better choice mostly."""

    def __init__(self, start: Mesh) -> None:
        super().__init__()
        self.vertices = nn.Parameter(start.vertices.detach().clone())

    def forward(self) -> Tensor:
        """Vertices, shape (v, 3)."""
        return self.vertices * 1


class LargeSteps(nn.Module):
    """The vertices in coordinates in which a step moves whole regions together: large steps stay smooth.

    The parameter is u = (I + smooth * L) v, L the combinatorial Laplacian. Best with `AdamUniform`.

    Args:
        start: The mesh to begin with.
        smooth: How far a step spreads; about its root in edges.

    Raises:
        ValueError: If `smooth` is negative.

    Reference:
        Nicolet, Jacobson, Jakob, "Large Steps in Inverse Rendering of Geometry" (2021).
    """

    def __init__(self, start: Mesh, *, smooth: float = 19.0) -> None:
        super().__init__()
        if smooth < 0:
            raise ValueError(f"smooth must be 0 or more, got {smooth}; 19 is the usual choice")
        self._spread = _Spread(start.edges, smooth)
        self.spread = nn.Parameter(self._spread.inverse(start.vertices.detach()))

    def forward(self) -> Tensor:
        """Vertices, shape (v, 3)."""
        return self._spread(self.spread)


class _Spread:
    """Spreads values of vertices over their neighbours: the inverse of I + smooth * L."""

    def __init__(self, edges: Edges, smooth: float) -> None:
        self._edges, self._smooth = edges, smooth
        self._matrix: System | None = None

    def __call__(self, values: Tensor) -> Tensor:
        return solve(self._system(values), values) if self._smooth else values * 1

    def inverse(self, values: Tensor) -> Tensor:
        """What spreads to `values`."""
        return self._system(values)(values.double()).to(values.dtype)

    def _system(self, like: Tensor) -> System:
        if self._matrix is None or self._matrix.diagonal.device != like.device:
            edges = find_edges(self._edges.faces.to(like.device))
            self._matrix = system(edges, len(like), self._smooth * uniform(edges), 1.0)
        return self._matrix


class Jacobians(nn.Module):
    """How each face is stretched and turned; the vertices follow as nearly as they can. Keeps details and proportions.

    Any number of components: each keeps the centre that it has in the start mesh.

    Args:
        start: The mesh to begin with, which is also the one that Jacobians are measured from.

    Reference:
        Aigerman et al., "Neural Jacobian Fields" (2022), arXiv:2205.02904; Gao et al., "TextDeformer" (2023),
        arXiv:2304.13348.
    """

    def __init__(self, start: Mesh) -> None:
        super().__init__()
        self._start = start.detach()
        self._poisson: Poisson | None = None
        identity = torch.eye(3, dtype=start.vertices.dtype, device=start.vertices.device)
        self.jacobians = nn.Parameter(identity.repeat(len(start.faces), 1, 1))

    def forward(self) -> Tensor:
        """Vertices, shape (v, 3)."""
        device = self.jacobians.device
        if self._poisson is None or self._poisson.vertices.device != device:
            start = self._start.to(device)
            self._poisson = poisson(start.vertices, start.edges)
        return self._poisson(self.jacobians)


class NormalField(nn.Module):
    """A height over the start mesh along its normals: a relief that cannot go far.

    Args:
        start: The mesh to begin with.
        limit: Largest height to either side, metres.

    Raises:
        ValueError: If `limit` is not positive.

    Reference:
        Michel et al., "Text2Mesh" (2022), arXiv:2112.03221, whose limit is 0.1; here without a network.
    """

    start: Tensor
    normals: Tensor

    def __init__(self, start: Mesh, *, limit: float = 0.1) -> None:
        super().__init__()
        if limit <= 0:
            raise ValueError(f"limit must be above 0, got {limit}; 0.1 suits a mesh of radius 1")
        self.limit = limit
        vertices = start.vertices.detach().clone()
        self.register_buffer("start", vertices, persistent=False)
        self.register_buffer("normals", vertex_normals(vertices, start.faces), persistent=False)
        self.heights = nn.Parameter(torch.zeros_like(vertices[:, :1]))

    def forward(self) -> Tensor:
        """Vertices, shape (v, 3)."""
        return self.start + self.limit * torch.tanh(self.heights / self.limit) * self.normals


class VertexColors(nn.Module):
    """One colour per vertex, in [0, 1]: those of the start mesh, else grey.

    Args:
        start: The mesh to begin with.
        spreads: The logits are a sum of layers; a step in one of them spreads over the neighbours as in `LargeSteps`.
            So patches of all sizes are painted together. (0,): each vertex by itself.

    Raises:
        ValueError: If there is no layer, or if a spread is negative.
    """

    def __init__(self, start: Mesh, *, spreads: Sequence[float] = (0.0,)) -> None:
        super().__init__()
        if not spreads or min(spreads) < 0:
            raise ValueError(f"expected spreads of 0 or more, got {tuple(spreads)}; (0, 3, 30) paints patches and dots")
        colors = torch.full_like(start.vertices, _GREY) if start.colors is None else start.colors
        self._spreads = [_Spread(start.edges, spread) for spread in spreads]
        layers = torch.zeros(len(spreads), *start.vertices.shape).to(start.vertices)
        layers[0] = self._spreads[0].inverse(torch.logit(colors.detach().clamp(_MARGIN, 1 - _MARGIN)))
        self.layers = nn.Parameter(layers)

    def forward(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """The colours of the vertices, shape (v, 3)."""
        each = [spread(layer) for spread, layer in zip(self._spreads, self.layers, strict=True)]
        return torch.sigmoid(torch.stack(each).sum(0)), None, None


class Texture(nn.Module):
    """A texture, in [0, 1]: that of the start mesh, else grey.

    Where the start mesh has no texture coordinates, every face gets a place of its own, as large as any other's.

    Args:
        start: The mesh to begin with.
        size: Side of the texture in texels; not used where the start mesh has a texture.

    Raises:
        ValueError: If the texture is too small for the number of faces.
    """

    uv: Tensor

    def __init__(self, start: Mesh, *, size: int = 512) -> None:
        super().__init__()
        own = start.texture if start.uv is not None else None
        texture = torch.full((3, size, size), _GREY, device=start.vertices.device) if own is None else own
        uv = atlas(len(start.faces), size).to(texture) if start.uv is None else start.uv.detach().clone()
        self.register_buffer("uv", uv, persistent=False)
        self.logits = nn.Parameter(torch.logit(texture.detach().clamp(_MARGIN, 1 - _MARGIN)))

    def forward(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """Texture coordinates of the corners, shape (f, 3, 2), and the texture, shape (3, h, w)."""
        return None, self.uv, torch.sigmoid(self.logits)


class GivenLook(nn.Module):
    """The colours or the texture of the start mesh, as they are: nothing of them is learned."""

    colors: Tensor | None
    uv: Tensor | None
    texture: Tensor | None

    def __init__(self, start: Mesh) -> None:
        super().__init__()
        for name in ("colors", "uv", "texture"):
            value = getattr(start, name)
            self.register_buffer(name, None if value is None else value.detach().clone(), persistent=False)

    def forward(self) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        """What the start mesh has of colours of the vertices, texture coordinates of all corners and a texture."""
        return self.colors, self.uv, self.texture
