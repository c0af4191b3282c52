"""Small files of every kind that a command reads, and runs, indexes, adapters and models to go on with."""

import json
import os
import signal
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

WORDS = "a an the red green blue apple tree star fox snow text on in background photo of"
_3MF = (
    '<model unit="meter" xmlns="http://schemas.microsoft.com/3dmanufacturing/core/2015/02"><resources>'
    '<object id="1" type="model"><mesh><vertices>{points}</vertices><triangles>{corners}</triangles></mesh></object>'
    '</resources><build><item objectid="1"/></build></model>'
)


def make(folder: Path | str) -> None:
    """Fill an empty folder."""
    from PIL import Image

    folder = Path(folder)
    rng = torch.Generator().manual_seed(0)
    for name in ("photos/apple/1.png", "photos/apple/2.jpg", "photos/tree/1.png", "photos/tree/2.webp", "photo.png",
                 "mask.png", "palette.gif", "scan.tiff"):  # fmt: skip
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(torch.randint(0, 256, (16, 16, 3), generator=rng).byte().numpy()).save(path)
    texts = {
        "texts.txt": "a red apple\na green tree\na blue star\n",
        "labels.txt": "apple\ntree\n",
        "data.csv": "path,label\nphotos/apple/1.png,apple\nphotos/apple/2.jpg,apple\nphotos/tree/1.png,tree\n",
        "captions.json": json.dumps({"1": "a red apple", "2": "a green tree"}),
        "references.json": json.dumps({"1": ["a red apple"], "2": ["a tree", "the green tree"]}),
        "slots.json": json.dumps({"colour": ["red", "green"], "thing": ["apple", "tree"]}),
        "timeline.json": json.dumps([{"at": 0, "prompt": "a red apple"}, {"at": 0.2, "prompt": "a green tree"}]),
        "timeline.txt": "0 a red apple\n0.2 a green tree\n",
    }  # fmt: skip
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    _solids(folder)
    _models(folder)
    _rigs(folder)
    _runs(folder)


def _solids(folder: Path) -> None:
    from clipopt.io.mesh import primitive, save_mesh

    mesh = primitive("cone", 80)
    for suffix in ("glb", "obj", "ply", "stl"):
        save_mesh(folder / f"mesh.{suffix}", mesh)
    points = "".join(f'<vertex x="{x}" y="{y}" z="{z}"/>' for x, y, z in mesh.vertices.tolist())
    corners = "".join(f'<triangle v1="{a}" v2="{b}" v3="{c}"/>' for a, b, c in mesh.faces.tolist())
    with zipfile.ZipFile(folder / "mesh.3mf", "w") as archive:
        archive.writestr("3D/3dmodel.model", _3MF.format(points=points, corners=corners))


def _models(folder: Path) -> None:
    from checkpoints import save_clip
    from diffusers_models import stable_diffusion

    from clipopt.embedded.moves import vocabulary
    from clipopt.scorers.film import FilmConfig, FilmTowers
    from clipopt.scorers.tower import TowerConfig, Towers

    plain: dict[str, Any] = {
        "image_size": 16, "widths": (8, 16), "depths": (1, 1), "dim": 16, "text_width": 16, "text_layers": 1,
    }  # fmt: skip
    for seed, role in enumerate(("scorer", "judge")):
        torch.manual_seed(seed)
        Towers(TowerConfig(**plain, vocabulary=tuple(WORDS.split()))).save(folder / f"{role}.safetensors")
        towers = TowerConfig(**plain, vocabulary=vocabulary())
        FilmTowers(towers, FilmConfig(frames=4, width=16, layers=1)).save(folder / f"film-{role}.safetensors")
    save_clip(folder / "clip")
    stable_diffusion(folder / "pipeline")
    torch.save({"weight": torch.zeros(1, 16), "bias": torch.zeros(1)}, folder / "head.pth")


def _rigs(folder: Path) -> None:
    from clipopt.embedded.people import stance
    from clipopt.geometry.skeleton import joint_rotations
    from clipopt.io import motion as motions
    from clipopt.render.figure import pose

    posed = [stance(""), stance("L.raise 174 look 40")]
    angles, root = torch.stack([one.angles for one in posed]), torch.stack([one.root for one in posed])
    rotations, joints = joint_rotations(angles, root), pose(angles, root).joints
    motions.save_bvh(folder / "rig.bvh", rotations, joints[:, 0], fps=10)
    motions.save_glb(folder / "rig.glb", rotations, joints[:, 0], fps=10)


def quick(command: str) -> list[str]:
    """Options that make a command's work tiny; its inputs are those of `make`."""
    eyes = ["--scorer", "scorer.safetensors", "--judge", "judge.safetensors"]
    film = ["--scorer", "film-scorer.safetensors", "--judge", "film-judge.safetensors"]
    brief = {
        "image": ["a red apple", *eyes, "--steps", "2", "--size", "16", "--crops", "2", "--tries", "1", "--begin",
        "noise"],
        "latent": ["a red apple", *eyes, "--generator", "pipeline", "--steps", "2", "--sample-steps", "2", "--size",
        "16",
                   "--crops", "1"],
        "mesh": ["a red apple", *eyes, "--mesh", "sphere", "--steps", "2", "--faces", "80", "--remesh", "0",
                 "--views", "1", "--size", "16"],
        "motion": ["a person raises both arms", *film, "--seconds", "0.5", "--fps", "10", "--bank", "20",
                   "--tries", "2", "--steps", "1", "--lock", "1"],
        "story": ["a red apple", "a green tree", *eyes, "--seconds-per-prompt", "0.2", "--fps", "10", "--steps", "1",
                  "--first-steps", "1", "--size", "16", "--crops", "2"],
        "caption": ["photo.png", *eyes[:2], "--texts", "texts.txt"],
        "rank": ["photo.png", *eyes[:2], "--texts", "texts.txt"],
        "score": ["captions.json", "photos/apple", *eyes[:2]],
        "index": ["photos", *eyes[:2]],
        "search": ["photos.index", "a red apple"],
        "classify": ["photos", *eyes[:2], "--labels", "apple,tree"],
        "adapt": ["photos", *eyes[:2], "--shots", "1"],
    }  # fmt: skip
    return [command, *brief[command]]


def _runs(folder: Path) -> None:
    """An index, an adapter, and a run of each kind that was interrupted after its first step."""
    from unittest.mock import patch

    from clipopt.cli import main
    from clipopt.record import Run

    log = Run.log

    def interrupt(run: Run, *values: Any, **named: Any) -> None:
        log(run, *values, **named)
        signal.raise_signal(signal.SIGINT)

    os.chdir(folder)
    for command in ("image", "latent", "mesh", "motion", "story", "index", "adapt"):
        out, status = {"index": ("photos.index", 0), "adapt": ("photos.adapter", 0)}.get(
            command, (f"{command}-run", 130)
        )
        sys.argv = ["clipopt", *quick(command), "--out", out]
        with patch.object(Run, "log", interrupt):
            if main(sys.argv[1:]) != status:
                raise RuntimeError(f"{' '.join(sys.argv)} did not end with {status}")
