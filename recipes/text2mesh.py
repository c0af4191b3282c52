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
from clipopt.geometry.camera import look_at, orbit, turntable
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


def main(config: Config) -> None:
    """Make the mesh and write it."""
    if config.out.exists() and not config.overwrite:
        raise SystemExit(f"{config.out} exists: name another --out, or say --overwrite")
    scorer = co.load_scorer(config.scorer, device=config.device)
    text, rng, wide = scorer.encode_text([config.prompt]), co.generator(config.seed, 1), 256
    start = (icosphere(4) if config.mesh is None else co.load_mesh(config.mesh)[0]).to(config.device)
    normals = vertex_normals(start.vertices, start.faces)
    waves = start.vertices @ (10 * torch.pi * torch.randn(3, wide, generator=rng)).to(config.device)  # sigma 5
    features = torch.cat([start.vertices, waves.sin(), waves.cos()], 1)
    trunk = [m for n in (3 + 2 * wide, *[wide] * 3) for m in (linear(n, wide, rng, n**-0.5), nn.ReLU())]
    heads = [[linear(wide, wide, rng, wide**-0.5), nn.ReLU(), linear(wide, n, rng, 0.0)] for n in (3, 1)]
    network = nn.ModuleList([nn.Sequential(*layers) for layers in (trunk, *heads)]).to(config.device)
    closer = co.augment.crops(config.crops, scorer.image_size, scale=(0.2, 0.5), shift=0.4, padding="border")

    def scene() -> Mesh:
        hidden = network[0](features)
        color, height = 0.5 + torch.tanh(network[1](hidden)) / 2, 0.1 * torch.tanh(network[2](hidden))
        return Mesh(fit(start.vertices + height * normals), start.faces, color, edges=start.edges, place=start.place)

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        mesh, away = scene(), torch.randn(2, 5, generator=rng)
        away[:, 0] = 0
        angles = torch.tensor(config.anchor).deg2rad()[:, None] + away * torch.tensor([[torch.pi / 2], [torch.pi / 4]])
        cameras = look_at(orbit(*angles, torch.full_like(away[0], 2.4))).to(config.device)
        white, terms = torch.ones(1, 3, config.size, config.size, device=config.device), {}
        for name, shown in (("colour", mesh), ("grey", replace(mesh, colors=None))):
            images = draw(shown, cameras, white)
            for kind, seen in ((name, images), (f"{name}, close", closer(images, rng)))[name == "grey" :]:
                mean = nn.functional.normalize(scorer.encode_image(seen).mean(0, keepdim=True), dim=1)
                terms[kind] = co.losses.cosine(mean, text)  # of the mean over the views, as published
        return terms

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
