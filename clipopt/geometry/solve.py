"""Smoothing and integration on meshes: linear systems of their edges, solved by conjugate gradients.

Plain torch, so every device can do it and nothing is factorised anew when the mesh changes. Solved in float64; each
column converges by itself and stops by itself, so no right-hand side depends on its neighbours.
"""

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from clipopt.geometry.mesh import Edges, components, face_areas

_TOLERANCE = 1e-8
_SLOPE_TOLERANCE = 1e-5  # of gradients in float32, which are no better themselves
_MOST_STEPS = 2000
_TINY = 1e-12


@dataclass(frozen=True)
class System:
    """A symmetric matrix with one row per vertex, with entries at its edges.

    Attributes:
        diagonal: Entry of each vertex with itself.
        matrix: All entries, compressed by rows.
    """

    diagonal: Float[Tensor, " v"]
    matrix: Tensor

    def __call__(self, x: Float[Tensor, "v c"]) -> Float[Tensor, "v c"]:
        """The product with the columns of x."""
        return self.matrix @ x


def system(edges: Edges, vertices: int, weight: Float[Tensor, " e"], shift: float = 0.0) -> System:
    """The Laplacian with a weight per edge, plus `shift` times the identity: `diagonal * x - sum(weight * x_near)`."""
    weights = weight.double()
    ends = torch.cat([edges.ends, edges.ends.flip(1)])
    diagonal = torch.full((vertices,), shift, dtype=torch.float64, device=weights.device)
    diagonal = diagonal.index_add(0, ends[:, 0], weights.repeat(2))
    itself = torch.arange(vertices, device=weights.device).repeat(2, 1)
    place, values = torch.cat([ends.T, itself], 1), torch.cat([-weights.repeat(2), diagonal])
    order = (place[0] * vertices + place[1]).argsort(stable=True)
    row = torch.searchsorted(place[0, order], torch.arange(vertices + 1, device=weights.device))
    with warnings.catch_warnings():  # torch calls these matrices new
        warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta", UserWarning)
        matrix = torch.sparse_csr_tensor(
            row, place[1, order], values[order], (vertices, vertices), check_invariants=False
        )
    return System(diagonal, matrix)


def uniform(edges: Edges) -> Float[Tensor, " e"]:
    """Weight 1 for every edge: the combinatorial Laplacian."""
    return torch.ones(len(edges.ends), device=edges.ends.device)


def solve(matrix: System, right: Float[Tensor, "v c"], guess: Float[Tensor, "v c"] | None = None) -> Tensor:
    """x with `matrix(x) == right`, in the precision of `right`; differentiable in `right`.

    Of a singular matrix the right-hand side must lie in its range; the part of x that it does not fix is the guess's.

    Reference:
        Hestenes and Stiefel, "Methods of Conjugate Gradients for Solving Linear Systems" (1952).
    """
    return _Solve.apply(right, matrix, guess)  # type: ignore[no-untyped-call]


class _Solve(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, right: Tensor, matrix: System, guess: Tensor | None) -> Tensor:
        ctx.matrix = matrix
        return _conjugate_gradients(matrix, right, guess)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None, None]:
        tolerance = _TOLERANCE if slope.dtype == torch.float64 else _SLOPE_TOLERANCE
        return _conjugate_gradients(ctx.matrix, slope, None, tolerance), None, None


@torch.no_grad()
def _conjugate_gradients(matrix: System, right: Tensor, guess: Tensor | None, tolerance: float = _TOLERANCE) -> Tensor:
    """Preconditioned by the diagonal."""
    goal = right.double()
    inverse = torch.where(matrix.diagonal > _TINY, 1 / matrix.diagonal, 0.0)[:, None]
    x = torch.zeros_like(goal) if guess is None else guess.double().clone()
    rest = goal - matrix(x)
    ahead = inverse * rest
    direction = ahead.clone()
    size = (rest * ahead).sum(0)
    enough = tolerance**2 * torch.maximum((inverse * goal.square()).sum(0), size)
    for _ in range(_MOST_STEPS):
        going = size > enough
        if not bool(going.any()):
            break
        image = matrix(direction)
        bend = (direction * image).sum(0)
        length = torch.where(going & (bend > 0), size / bend, 0.0)
        x.addcmul_(length, direction)
        rest.addcmul_(length, image, value=-1)
        ahead = inverse * rest
        new = (rest * ahead).sum(0)
        direction = torch.addcmul(ahead, torch.where(going, new / size, 0.0), direction)
        size = torch.where(going & (bend > 0), new, 0.0)
    return x.to(right.dtype)


@dataclass(frozen=True)
class Poisson:
    """Finds the vertices whose faces are deformed as asked, as nearly as they can be.

    The gradient of a linear function on each face, 3 x 3 for the three coordinates, is the Jacobian of the map from
    the start mesh. Every component keeps its centre.

    Reference:
        Yu et al., "Mesh Editing with Poisson-Based Gradient Field Manipulation" (2004); Aigerman et al., "Neural
        Jacobian Fields" (2022), arXiv:2205.02904.
    """

    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]
    matrix: System
    hats: Float[Tensor, "f 3 3"]
    areas: Float[Tensor, " f"]
    component: Int[Tensor, " v"]

    def __call__(self, jacobians: Float[Tensor, "f 3 3"]) -> Float[Tensor, "v 3"]:
        """Vertices, from one Jacobian per face: rows are coordinates of the result, columns those of the start."""
        # How far each hat function's gradient, at a corner, agrees with the wanted gradient, times the area. In
        # float64: the matrix is singular, and what rounding leaves outside of its range would never be solved.
        pull = self.areas[:, None, None] * (self.hats @ jacobians.double().mT)
        start = self.vertices.double()
        right = torch.zeros_like(start).index_add(0, self.faces.reshape(-1), pull.reshape(-1, 3))
        moved = solve(self.matrix, right, start)
        return (moved - self._centre(moved - start)).to(jacobians.dtype)

    def _centre(self, x: Tensor) -> Tensor:
        """The mean over the component of each vertex."""
        count = torch.zeros_like(x[:, :1]).index_add(0, self.component, torch.ones_like(x[:, :1])).clamp_min(1)
        return (torch.zeros_like(x).index_add(0, self.component, x) / count)[self.component]


def poisson(vertices: Float[Tensor, "v 3"], edges: Edges) -> Poisson:
    """The system of a start mesh; faces without area do not take part."""
    faces = edges.faces
    points = vertices.double()
    area = face_areas(points, faces)
    twice = 2 * area.norm(dim=1)
    flat = twice <= 1e-10 * twice.amax().clamp_min(_TINY)
    normal = area / area.norm(dim=1, keepdim=True).clamp_min(_TINY)
    corner = points[faces]
    across = corner[:, [2, 0, 1]] - corner[:, [1, 2, 0]]
    hats = torch.linalg.cross(normal[:, None].expand_as(across), across)
    hats = hats / twice.clamp_min(_TINY)[:, None, None]
    hats[flat] = 0
    areas = torch.where(flat, 0.0, twice / 2)
    # The entries of the matrix are those of the same hat functions, so that a start mesh is its own solution.
    product = -(hats @ hats.mT) * areas[:, None, None]
    weight = torch.zeros(len(edges.ends), dtype=torch.float64, device=points.device)
    keys = edges.ends[:, 0] * len(vertices) + edges.ends[:, 1]
    for a, b in ((0, 1), (1, 2), (2, 0)):
        pair = faces[:, [a, b]].sort(-1).values
        weight.index_add_(0, torch.searchsorted(keys, pair[:, 0] * len(vertices) + pair[:, 1]), product[:, a, b])
    matrix = system(edges, len(vertices), weight)
    return Poisson(vertices, faces, matrix, hats, areas, components(edges, len(vertices)))
