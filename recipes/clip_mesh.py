"""CLIP-Mesh: Mohammad Khalid, Xie, Belilovsky, Popa, "CLIP-Mesh" (2022), arXiv:2203.13333.

The vertices of a coarse sphere and a texture are learned; what is seen is the surface that Loop's subdivision makes of
them. Random backgrounds, places and light, and grey views in the first half, keep it from cheating. Not here: the
diffusion prior's picture embedding (weight 0.33) and the normal map.

    python recipes/clip_mesh.py "a red apple" --scorer embedded --size 96 --views 8 --steps 150
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import torch
import tyro
from kornia.filters import gaussian_blur2d
from torch import Generator, Tensor
from tqdm import tqdm

import clipopt as co
from clipopt.geometry import energy
from clipopt.geometry.camera import turntable
from clipopt.geometry.mesh import Mesh, icosphere, subdivide
from clipopt.render.draw import draw
from clipopt.render.views import Views


@dataclass(frozen=True)
class Config:
    """A mesh by CLIP-Mesh."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to make."""
    scorer: str = "openai/clip-vit-base-patch32"
    """Who guides: "embedded", a file of `recipes.embedded`, or a model by id."""
    vertices: int = 3
    """Subdivisions of the icosahedron whose vertices are learned: 3 gives 642. Published: about 600."""
    size: int = 356
    """Pixels of a view. Published: 512; 356 in its smaller setting."""
    views: int = 25
    """Views in a step."""
    steps: int = 2000
    """Steps of the optimizer. Published: 5000; 2000 in its smaller setting."""
    lr: float = 0.01
    """Learning rate of Adam, times 10^(-0.0002 step)."""
    laplacian: float = 30.0
    """Weight of the Laplacian at the start, which falls to 0.6; ours, relative to the edges, is divided by 100."""
    texture: int = 512
    """Side of the texture."""
    seed: int = 0
    """The same seed gives the same mesh."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/clip_mesh.glb")
    """The mesh to write: .glb, .obj, .ply or .stl; a .png of four sides stands beside it."""
    overwrite: bool = False
    """Replace it where it exists."""


def loop(mesh: Mesh) -> Mesh:
    """One step of Loop's subdivision of a closed mesh."""
    v, (a, b), (c, d) = mesh.vertices, mesh.edges.ends.unbind(1), mesh.edges.opposite[:, :2].unbind(1)
    count = torch.bincount(mesh.edges.ends.reshape(-1))[:, None]
    near = torch.zeros_like(v).index_add(0, a, v[b]).index_add(0, b, v[a])
    share = torch.where(count == 3, 3 / 16, 3 / (8 * count))
    old, new = (1 - count * share) * v + share * near, 3 / 8 * (v[a] + v[b]) + 1 / 8 * (v[c] + v[d])
    return replace(subdivide(mesh), vertices=torch.cat([old, new]))


def main(config: Config) -> None:
    """Make the mesh and write it."""
    picture = config.out.with_suffix(".png")
    for path in (config.out, picture):
        if path.exists() and not config.overwrite:
            raise SystemExit(f"{path} exists: name another --out, or say --overwrite")
    scorer = co.load_scorer(config.scorer, device=config.device)
    text = scorer.encode_text([config.prompt])
    control = icosphere(config.vertices).to(config.device)
    vertices = torch.nn.Parameter(control.vertices.clone())
    paint = co.params.Texture(loop(control), size=config.texture).to(config.device)

    def scene() -> Mesh:
        _, uv, texture = paint()
        smooth = gaussian_blur2d(texture[None], (5, 5), (3.0, 3.0))[0]
        return replace(loop(replace(control, vertices=vertices)), uv=uv, texture=smooth)

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        mesh = scene()
        grey = 0.5 if 2 * step < config.steps else 0.0
        views = Views(config.views, config.size, elevation=(0.0, 1.0), fov=(0.52, 1.57), textureless=grey)
        weight = 0.6 + (config.laplacian - 0.6) * 10 ** (-5e-7 * step * step)
        match = co.losses.cosine(scorer.encode_image(views(mesh, rng)), text).mean()
        return {"match": match, "laplacian": weight / 100 * energy.laplacian(replace(control, vertices=vertices))}

    optimizer = torch.optim.Adam([vertices, *paint.parameters()], lr=config.lr)
    bar = tqdm(co.optimize(loss, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        optimizer.param_groups[0]["lr"] = config.lr * 10 ** (-0.0002 * (step.index + 1))
        bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    with torch.no_grad():
        mesh = replace(scene(), colors=None).to("cpu")
        seen = draw(mesh, turntable(4), torch.ones(1, 3, 256, 256))
    co.save_mesh(config.out, mesh)
    co.save(picture, torch.cat([*seen], dim=2))
    print(config.out, picture, sep="\n")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
