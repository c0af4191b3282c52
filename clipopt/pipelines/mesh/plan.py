"""How meshes are made: what is learned of them, in how many steps, what holds it together, and what it costs."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from clipopt.geometry.mesh import Mesh
    from clipopt.params import Surface
    from clipopt.render.views import Views

Shape = Literal["large-steps", "vertices", "jacobians", "normals"]
Look = Literal["vertex", "texture", "none"]
Mode = Literal["generate", "deform", "style"]


def _views() -> "Views":
    from clipopt.render.views import Views

    return Views(textureless=0.5)


@dataclass(frozen=True)
class MeshPlan:
    """How meshes are made; the defaults are those of `clipopt mesh` without a mesh.

    Attributes:
        shape: What of the vertices is learned.
        look: What of the colours is learned.
        steps: Steps of the optimizer.
        seed: Of the run; every item has its own besides.
        lr: Learning rate of the shape at the start, about metres a step; it falls to zero along a cosine.
        lr_color: Learning rate of the colours, likewise.
        faces: Number of triangles to remesh to at equal intervals, the first at the start; none: as they are given.
        spread: How far a step spreads over the vertices, as of `LargeSteps`.
        spread_color: Likewise for their colours, of each layer.
        relief: Largest height of `NormalField`, metres.
        texture: Side of the texture in texels.
        laplacian: Weight of the vertices' distance to the middle of their neighbours.
        normals: Weight of the angle between neighbouring faces.
        edges: Weight of how unequal the edges are.
        identity: Weight of the Jacobians' distance to the identity.
        views: The views of an item in a step; their share of grey ones is that of the first half of the run.
        noise: Standard deviation of the noise on each view.
        memory: Bytes that the history of all views may take.
    """

    shape: Shape = "large-steps"
    look: Look = "vertex"
    steps: int = 240
    seed: int = 0
    lr: float = 0.2
    lr_color: float = 0.2
    faces: tuple[int, ...] = (1280, 2560, 5120)
    spread: float = 10.0
    spread_color: tuple[float, ...] = (0.3, 5.0, 50.0)
    relief: float = 0.1
    texture: int = 512
    laplacian: float = 0.0
    normals: float = 0.0
    edges: float = 0.0
    identity: float = 0.0
    views: "Views" = field(default_factory=_views)
    noise: float = 0.02
    memory: float = 1e9
    planned: int | None = None

    def spans(self) -> list[tuple[int, int]]:
        """First step and end of each stage between two remeshings."""
        count, steps = max(1, len(self.faces)), self.planned or self.steps
        ends = [steps * (stage + 1) // count for stage in range(count - 1)] + [self.steps]
        return list(zip([0, *ends[:-1]], ends, strict=True))

    def surface(self, start: "Mesh") -> "Surface":
        """The learnable mesh that begins as `start`."""
        from clipopt import params

        shapes: dict[Shape, Any] = {
            "large-steps": partial(params.LargeSteps, smooth=self.spread),
            "vertices": params.Vertices,
            "jacobians": params.Jacobians,
            "normals": partial(params.NormalField, limit=self.relief),
        }
        if self.look == "none":
            return params.Surface(start, shapes[self.shape](start), params.GivenLook(start))
        colors = partial(params.VertexColors, spreads=self.spread_color)
        look = colors(start) if self.look == "vertex" else params.Texture(start, size=self.texture)
        return params.Surface(start, shapes[self.shape](start), look)


FREE: tuple[Shape, ...] = ("large-steps", "vertices")
"""Those that can go on with other triangles."""
RATES: dict[Shape, float] = {"large-steps": MeshPlan.lr, "vertices": 0.005, "jacobians": 0.01, "normals": 0.01}
"""Learning rate that suits each."""
FACES = 5120
"""Triangles of a result that does not begin as a file."""
MODES: dict[Mode, Callable[[], MeshPlan]] = {
    "generate": MeshPlan,
    "deform": partial(MeshPlan, shape="jacobians", look="none", identity=0.5),
    "style": partial(MeshPlan, shape="normals"),
}
"""What each mode of `clipopt mesh` learns, and how."""
# Measured: torch and a small scorer; per face of an item the parameters, their moments, edges and linear systems.
_BASE_BYTES, _BYTES_PER_FACE = 0.5e9, 4000


def staged(plan: MeshPlan, given: "Mesh | None", faces: int | None, remesh: int | None) -> MeshPlan:
    """The plan with the triangles of each of its stages.

    Args:
        plan: Without them.
        given: The mesh of a file to start from; None: a simple shape.
        faces: Triangles of the result; None: those of the file, or `FACES`.
        remesh: How often the surface gets new ones; None: as suits.

    Raises:
        ValueError: a number is out of its range, or what is learned cannot go on with other triangles.
    """
    textured = plan.look == "texture"
    times = remesh if remesh is not None else 2 if plan.shape in FREE and given is None and not textured else 0
    count = faces if faces is not None else FACES if given is None else len(given.faces)
    if (given is None or faces is not None) and not 20 <= count <= 2_000_000:
        raise ValueError(f"--faces must lie in 20 to 2000000, got {count}")
    if not 0 <= times <= 20:
        raise ValueError(f"--remesh must lie in 0 to 20, got {times}")
    if times and (plan.shape not in FREE or textured):
        raise ValueError(
            f"--remesh needs --shape {' or '.join(FREE)} and no texture to learn, got --shape {plan.shape} and "
            f"--look {plan.look}: these belong to the triangles they began with"
        )
    if given is not None:
        unasked = faces is None and not times
        return replace(plan, faces=() if unasked else (count,) * (times + 1))
    rising = (max(80, count >> (times - stage)) for stage in range(times))
    return replace(plan, faces=(*rising, count))


def memory_needed(items: int, plan: MeshPlan, start: "Mesh") -> float:
    """About how many bytes a run holds at most, without its models."""
    faces = max(len(start.faces), *plan.faces, 0)
    drawn = min(plan.memory, items * plan.views.count * (160 * plan.views.size**2 + 600 * faces))
    return _BASE_BYTES + drawn + items * faces * _BYTES_PER_FACE
