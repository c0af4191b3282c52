"""Random views of meshes: cameras, backgrounds and light that change with every step.

What a picture shows must hold from all sides, over anything and in any light, so that only the shape and its colours
can satisfy a scorer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Generator, Tensor
from torch.nn import functional as F

from clipopt.geometry.camera import Cameras, look_at, orbit
from clipopt.geometry.mesh import Mesh
from clipopt.render.draw import draw
from clipopt.render.shade import Light
from clipopt.types import Images, generator

Backgrounds = Literal["busy", "soft", "none"]


@dataclass(frozen=True)
class Views:
    """Draws cameras, backgrounds and light, and renders each item from there; a `Render` for one mesh or several.

    Every item has views of its own, drawn from (the step's stream, its number) alone.

    Attributes:
        count: Views of each item.
        size: Side of a picture in pixels.
        elevation: Range of the camera's height over the horizon, radians.
        fov: Range of the vertical opening angle, radians.
        fill: Range of the object's size in the picture: its diameter over the picture's side.
        offset: How far the object may lie off the picture's middle, as a share of half the side; against patterns
            that only work in the middle.
        stratified: Spread the azimuths evenly around; False: each is drawn by itself.
        adaptive: Go nearer to small objects and away from large ones; False: as for one of radius 1.
        backgrounds: "busy": noise, checkers and plain colours; "soft": plain and graded colours; "none": light grey.
        jitter: Largest angle between lamp and camera, radians; 0: the lamp is at the camera.
        ambient: Share of light from everywhere.
        textureless: Share of the views that show the surface in grey, so that the shape must do without colours.
        smooth: Shade across faces.
        memory: Bytes that the gradient's history may take for each item.

    Raises:
        ValueError: If a number is out of its range.

    Reference:
        Offset, busy backgrounds and grey views: Mohammad Khalid et al., "CLIP-Mesh" (2022), arXiv:2203.13333.
    """

    count: int = 8
    size: int = 224
    elevation: tuple[float, float] = (-0.1, 0.9)
    fov: tuple[float, float] = (0.6, 1.1)
    fill: tuple[float, float] = (0.55, 0.9)
    offset: float = 0.2
    stratified: bool = True
    adaptive: bool = True
    backgrounds: Backgrounds = "busy"
    jitter: float = 0.8
    ambient: float = 0.5
    textureless: float = 0.0
    smooth: bool = True
    memory: float = 1e9

    def __post_init__(self) -> None:
        low, high = self.fill
        narrow, wide = self.fov
        if not (
            self.count >= 1
            and self.size >= 1
            and 0 < low <= high
            and 0 < narrow <= wide < math.pi
            and -math.pi / 2 <= self.elevation[0] <= self.elevation[1] <= math.pi / 2
            and 0 <= self.offset < 1
            and self.jitter >= 0
            and 0 <= self.ambient <= 1
            and 0 <= self.textureless <= 1
        ):
            raise ValueError(
                "expected count and size of 1 or more, rising ranges (elevation within -pi/2..pi/2, fov within "
                f"0..pi, fill above 0), offset below 1, and shares within 0..1, got {self}"
            )

    def __call__(self, scene: Mesh | Sequence[Mesh], rng: Generator) -> Images:
        """Pictures of each mesh, those of one mesh together; shape (meshes * count, 3, size, size)."""
        meshes = [scene] if isinstance(scene, Mesh) else list(scene)
        return torch.cat([self._item(mesh, generator(rng.initial_seed(), i)) for i, mesh in enumerate(meshes)])

    def _item(self, mesh: Mesh, rng: Generator) -> Images:
        return self.shoot(mesh, self.sample(mesh, rng))

    def sample(self, mesh: Mesh, rng: Generator) -> "Shot":
        """Draws the views of one mesh: what `shoot` needs to show it, or another mesh in its place."""
        cameras = self.cameras(mesh, rng)
        background = torch.full((1, 3, 1, 1), 0.9).expand(1, 3, self.size, self.size)
        if self.backgrounds != "none":
            make = busy_backgrounds if self.backgrounds == "busy" else soft_backgrounds
            background = make(self.count, self.size, rng)
        toward = F.normalize(cameras.eye - self._bounds(mesh)[0], dim=-1)
        sway = torch.randn(self.count, 3, generator=rng)
        aside = F.normalize(sway - (sway * toward).sum(1, keepdim=True) * toward, dim=-1)
        angle = self.jitter * torch.rand(self.count, 1, generator=rng)
        light = Light(toward * angle.cos() + aside * angle.sin(), self.ambient)
        # Evenly shared out, at places that the draw chooses: always as many as asked for.
        grey = torch.randperm(self.count, generator=rng) < round(self.textureless * self.count)
        return Shot(cameras, toward, background, light, grey)

    def shoot(self, mesh: Mesh, shot: "Shot") -> Images:
        """Pictures of the mesh as `shot` sees it; shape (count, 3, size, size)."""
        device = mesh.vertices.device
        return draw(
            mesh,
            shot.cameras.to(device),
            shot.background.to(device),
            light=Light(shot.light.toward.to(device), shot.light.ambient),
            textureless=shot.textureless,
            smooth=self.smooth,
            memory=self.memory,
        )

    def cameras(self, mesh: Mesh, rng: Generator) -> Cameras:
        """The cameras of one draw; they follow the mesh, and pass it no gradient."""
        place = torch.arange(self.count) + torch.rand(1, generator=rng)
        azimuth = 2 * math.pi * torch.rand(self.count, generator=rng)
        if self.stratified:
            wobble = torch.rand(self.count, generator=rng) - 0.5
            azimuth = 2 * math.pi * (place + wobble) / self.count
        low, high = (math.sin(angle) for angle in self.elevation)
        # Even on the sphere, not in the angle: or the poles would be crowded.
        elevation = torch.asin((low + (high - low) * torch.rand(self.count, generator=rng)).clamp(-1, 1))
        fov = _between(self.fov, self.count, rng)
        fill = _between(self.fill, self.count, rng)
        centre, radius = self._bounds(mesh)
        # From there a sphere of this radius fills that share of the picture.
        distance = radius / torch.sin(torch.atan(fill * torch.tan(fov / 2)))
        eye = centre + orbit(azimuth, elevation, distance)
        cameras = look_at(eye, centre, fov=fov, near=float(distance.amin()) / 50, far=float(distance.amax()) * 10)
        shift = self.offset * (2 * torch.rand(self.count, 2, generator=rng) - 1)
        # x and y of clip space move by a share of w: the object goes aside, and is seen from the same place.
        matrix = cameras.matrix.clone()
        matrix[:, :2] += shift[..., None] * matrix[:, 3:]
        return Cameras(matrix, cameras.eye)

    def _bounds(self, mesh: Mesh) -> tuple[Tensor, float]:
        """Centre (1, 3) and radius of what the cameras look at."""
        if not self.adaptive or len(mesh.vertices) == 0:
            return torch.zeros(1, 3), 1.0
        points = mesh.vertices.detach().cpu()
        centre = (points.amax(0, keepdim=True) + points.amin(0, keepdim=True)) / 2
        return centre, max(float((points - centre).norm(dim=1).amax()), 1e-3)


@dataclass(frozen=True)
class Shot:
    """Views that were drawn, on the CPU.

    Attributes:
        cameras: Where each stands.
        toward: Unit vector from the mesh's centre to each camera: the side that it sees.
        background: What lies behind, one for each or one for all.
        light: The light.
        textureless: Which of them show the surface in grey.
    """

    cameras: Cameras
    toward: Float[Tensor, "b 3"]
    background: Images
    light: Light
    textureless: Bool[Tensor, " b"]


def busy_backgrounds(count: int, size: int, rng: Generator) -> Images:
    """Soft noise, checkers and plain colours, one of them each, in [0, 1]."""
    pictures = []
    for kind in torch.randint(3, (count,), generator=rng).tolist():
        if kind == 0:
            cells = int(torch.randint(6, 24, (), generator=rng))
            coarse = torch.rand(1, 3, cells, cells, generator=rng)
            picture = F.interpolate(coarse, (size, size), mode="bicubic").clamp(0, 1)
        else:
            colors = torch.rand(2, 3, 1, 1, generator=rng)
            cells = int(torch.randint(4, 12, (), generator=rng)) if kind == 1 else 0
            wave = torch.floor(torch.arange(size) / size * cells)
            board = (wave[:, None] + wave) % 2
            picture = (colors[:1] * board + colors[1:] * (1 - board)) if cells else colors[:1].expand(1, 3, size, size)
        pictures.append(picture)
    return torch.cat(pictures)


def soft_backgrounds(count: int, size: int, rng: Generator) -> Images:
    """A colour that becomes another, near to it, along a direction; in [0, 1]."""
    start = torch.rand(count, 3, 1, 1, generator=rng)
    end = (start + 0.25 * torch.randn(count, 3, 1, 1, generator=rng)).clamp(0, 1)
    angle = 2 * math.pi * torch.rand(count, 1, 1, 1, generator=rng)
    line = torch.linspace(-0.5, 0.5, size)
    along = (line[:, None] * angle.sin() + line * angle.cos() + 0.5).clamp(0, 1)
    return torch.lerp(start, end, along)


def _between(span: tuple[float, float], count: int, rng: Generator) -> Tensor:
    return span[0] + (span[1] - span[0]) * torch.rand(count, generator=rng)
