"""Text2Mesh: Michel, Bar-On, Liu, Benaim, Hanocka, "Text2Mesh" (2022), arXiv:2112.03221.

A mesh gets another style: a small network says a colour and a height along the normal for every place. The scorer sees
views around one anchor, whole and in crops, coloured and in grey. Published renders had hard outlines.

    python recipes/text2mesh.py "a red apple" --scorer embedded --size 96 --crops 2 --steps 100 --mesh horse.obj
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Generator, Tensor, nn
from tqdm import tqdm

import clipopt as co
from clipopt.geometry.camera import Cameras, look_at, orbit, turntable
from clipopt.geometry.mesh import Mesh, fit, icosphere, vertex_normals
from clipopt.render.draw import draw


@dataclass(frozen=True)
class Config:
    """A mesh in another style."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What it shall look like."""
    mesh: Path | None = None
    """The mesh; by default a sphere."""
    scorer: str = "openai/clip-vit-base-patch32"
    """Who guides: "embedded", a file of `recipes.embedded`, or a model by id."""
    size: int = 224
    """Pixels of a view."""
    crops: int = 4
    """Close crops of each view."""
    anchor: tuple[float, float] = (0.0, 15.0)
    """Azimuth and elevation in degrees of the first of 5 views; the other ones lie around it."""
    steps: int = 1500
    """Steps of the optimizer."""
    lr: float = 5e-4
    """Learning rate of Adam, times 0.9 after every hundred steps."""
    seed: int = 0
    """The same seed gives the same mesh."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/text2mesh.glb")
    """The mesh to write: .glb, .obj, .ply or .stl; a .png of four sides stands beside it."""
    overwrite: bool = False
    """Replace it where it exists."""


def linear(inputs: int, outputs: int, rng: Generator, bound: float) -> nn.Linear:
    """A layer with uniform weights up to `bound`."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -bound, bound, generator=rng)
    return layer


class Style(nn.Module):
    """A colour and a height for every vertex, from a network that sees where it lies."""

    def __init__(self, vertices: Tensor, rng: Generator, width: int = 256) -> None:
        super().__init__()
        directions = 10 * torch.pi * torch.randn(3, width, generator=rng)  # sigma 5
        waves = vertices @ directions.to(vertices)
        self.register_buffer("features", torch.cat([vertices, waves.sin(), waves.cos()], 1))
        sizes = (3 + 2 * width, width, width, width)
        trunk = [(linear(inputs, width, rng, inputs**-0.5), nn.ReLU()) for inputs in sizes]
        self.trunk = nn.Sequential(*[layer for pair in trunk for layer in pair])
        self.color, self.height = (
            nn.Sequential(linear(width, width, rng, width**-0.5), nn.ReLU(), linear(width, outputs, rng, 0.0))
            for outputs in (3, 1)
        )

    def forward(self) -> tuple[Tensor, Tensor]:
        """Colours in [0, 1], and heights of at most a tenth."""
        hidden = self.trunk(self.features)
        return 0.5 + torch.tanh(self.color(hidden)) / 2, 0.1 * torch.tanh(self.height(hidden))


def main(config: Config) -> None:
    """Make the mesh and write it."""
    if config.out.exists() and not config.overwrite:
        raise SystemExit(f"{config.out} exists: name another --out, or say --overwrite")
    scorer = co.load_scorer(config.scorer, device=config.device)
    text = scorer.encode_text([config.prompt])
    start = icosphere(4) if config.mesh is None else co.load_mesh(config.mesh)[0]
    start = start.to(config.device)
    normals = vertex_normals(start.vertices, start.faces)
    network = Style(start.vertices, co.generator(config.seed, 1)).to(config.device)
    closer = co.augment.crops(config.crops, scorer.image_size, scale=(0.2, 0.5), shift=0.4, padding="border")
    white = torch.ones(1, 3, config.size, config.size, device=config.device)

    def scene() -> Mesh:
        color, height = network()
        return Mesh(fit(start.vertices + height * normals), start.faces, color, edges=start.edges, place=start.place)

    def views(rng: Generator) -> Cameras:
        """The anchor, and four cameras around it."""
        away = torch.randn(2, 5, generator=rng)
        away[:, 0] = 0
        spread = torch.tensor([[torch.pi / 2], [torch.pi / 4]])
        azimuths, elevations = torch.tensor(config.anchor).deg2rad()[:, None] + away * spread
        return look_at(orbit(azimuths, elevations, torch.full((5,), 2.4))).to(config.device)

    def match(images: Tensor) -> Tensor:
        """The distance of the mean over the views, as published."""
        mean = scorer.encode_image(images).mean(0, keepdim=True)
        return co.losses.cosine(nn.functional.normalize(mean, dim=1), text)

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        mesh, cameras = scene(), views(rng)
        coloured = draw(mesh, cameras, white)
        grey = draw(replace(mesh, colors=None), cameras, white)
        return {
            "colour": match(coloured),
            "colour, close": match(closer(coloured, rng)),
            "grey, close": match(closer(grey, rng)),
        }

    optimizer = torch.optim.Adam(network.parameters(), lr=config.lr)
    bar = tqdm(co.optimize(loss, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        optimizer.param_groups[0]["lr"] = config.lr * 0.9 ** ((step.index + 1) // 100)
        bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        mesh = scene().to("cpu")
        seen = draw(mesh, turntable(4), torch.ones(1, 3, 256, 256))
    co.save_mesh(config.out, mesh)
    co.save(config.out.with_suffix(".png"), torch.cat([*seen], dim=2))
    print(config.out, config.out.with_suffix(".png"), sep="\n")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
