"""The recipes of learned noise and latents, two steps each, on tiny models of the real classes."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import diffusers_models as tiny
import pytest
import torch
import tyro

from clipopt.io.files import load_image

FOLDER = Path(__file__).parents[1] / "recipes"
OPTIONS = {
    "reno": ["--generator", "TURBO", "--steps", "2", "--norm", "0.1"],
    "dno": ["--generator", "SD", "--steps", "2", "--sample-steps", "3", "--orders", "4"],
    "freedom": ["--generator", "SD", "--sample-steps", "6", "--repeats", "2"],
    "vqgan_clip": ["--coder", "VQ", "--size", "16", "--cuts", "2", "--steps", "2"],
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("models")
    tiny.vq_coder().save_pretrained(folder / "vq")
    return {
        "TURBO": str(tiny.stable_diffusion(folder / "turbo", turbo=True)),
        "SD": str(tiny.stable_diffusion(folder / "sd")),
        "VQ": str(folder / "vq"),
    }


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded  # dataclasses look their module up
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # diffusers' own, of Euler's schedule
@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_a_small_run_writes_a_picture_that_its_seed_repeats(
    name: str, models: dict[str, str], tmp_path: Path, capsys: Any
):
    recipe = module(name)
    pictures = []
    for folder in ("one", "two"):
        options = [models.get(option, option) for option in OPTIONS[name]]
        out = tmp_path / folder / f"{name}.png"
        config = tyro.cli(recipe.Config, args=["a red circle", *options, "--scorer", "embedded", "--out", str(out)])
        recipe.main(config)
        assert str(out) in capsys.readouterr().out
        pictures.append(load_image(out))
    assert pictures[0].shape == (1, 3, 16, 16)
    assert torch.equal(*pictures)
    with pytest.raises(SystemExit, match="exists"):
        recipe.main(config)
    if name == "reno":
        assert out.with_stem("reno-before").is_file()
