"""TextDeformer: Gao, Aigerman, Groueix, Kim, Hanocka, "TextDeformer" (2023), arXiv:2304.13348.

A mesh is deformed by the Jacobians of its faces, which keep its details; the vertices follow by a Poisson equation, of
any number of parts. The scorer is asked for what is there and for the change from what was there. Not here: the
agreement of patch features between near views.

    python recipes/text_deformer.py "a red apple" --scorer embedded --size 96 --views 8 --steps 150 --mesh pear.obj
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Generator, Tensor
from tqdm import tqdm

import clipopt as co
from clipopt.geometry import energy
from clipopt.geometry.camera import turntable
from clipopt.geometry.mesh import icosphere
from clipopt.render.draw import draw
from clipopt.render.views import Views


@dataclass(frozen=True)
class Config:
    """A mesh, deformed."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What it shall become."""
    was: str = "a ball"
    """What it is."""
    mesh: Path | None = None
    """The mesh; by default a sphere."""
    scorer: str = "openai/clip-vit-base-patch32"
    """Who guides: "embedded", a file of `recipes.embedded`, or a model by id."""
    size: int = 512
    """Pixels of a view."""
    views: int = 25
    """Views in a step."""
    steps: int = 2500
    """Steps of the optimizer."""
    lr: float = 0.0025
    """Learning rate of Adam. Fewer steps need more."""
    change: float = 1.0
    """Weight of the change's direction."""
    identity: float = 0.5
    """Weight of the Jacobians' distance to the identity."""
    seed: int = 0
    """The same seed gives the same mesh."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/text_deformer.glb")
    """The mesh to write: .glb, .obj, .ply or .stl; a .png of four sides stands beside it."""
    overwrite: bool = False
    """Replace it where it exists."""


def main(config: Config) -> None:
    """Deform the mesh and write it."""
    picture = config.out.with_suffix(".png")
    for path in (config.out, picture):
        if path.exists() and not config.overwrite:
            raise SystemExit(f"{path} exists: name another --out, or say --overwrite")
    scorer = co.load_scorer(config.scorer, device=config.device)
    text, before = scorer.encode_text([config.prompt]), scorer.encode_text([config.was])
    start = (icosphere(4) if config.mesh is None else co.load_mesh(config.mesh)[0]).to(config.device)
    shape = co.params.Jacobians(start).to(config.device)
    surface = co.params.Surface(start, shape, co.params.GivenLook(start))
    views = Views(config.views, config.size, elevation=(0.0, 1.05), fov=(0.52, 1.57), ambient=0.4)

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        mesh = surface()
        shot = views.sample(mesh, rng)
        images = scorer.encode_image(views.shoot(mesh, shot))
        with torch.no_grad():
            base = scorer.encode_image(views.shoot(start, shot))  # seen by the same cameras
        return {
            "match": co.losses.cosine(images, text).mean(),
            "change": config.change * co.losses.directional(images, base, text, before).mean(),
            "identity": config.identity * energy.jacobian_identity(shape.jacobians),
        }

    optimizer = torch.optim.Adam(shape.parameters(), lr=config.lr)
    bar = tqdm(co.optimize(loss, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        mesh = surface().to("cpu")
        seen = draw(mesh, turntable(4), torch.ones(1, 3, 256, 256))
    co.save_mesh(config.out, mesh)
    co.save(picture, torch.cat([*seen], dim=2))
    print(config.out, picture, sep="\n")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
