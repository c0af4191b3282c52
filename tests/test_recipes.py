"""Every recipe in two steps, as a user runs it: its files, their sizes, and that a seed repeats them."""

import importlib.util
import runpy
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
import torch
import tyro

from clipopt.io.files import load_image

FOLDER = Path(__file__).parents[1] / "recipes"
PROMPT = "a red apple"

# Options of a small run, and width and height of the picture that it writes.
SMALL = {
    "aphantasia": (["--size", "40x24", "--samples", "3", "--steps", "2"], (40, 24)),
    "augclip": (["--size", "32", "--starts", "3", "--basis", "2", "--replicates", "2", "--steps", "2"], (32, 32)),
    "clipag": (["--size", "32", "--starts", "3", "--views", "2", "--patches", "2", "--steps", "2"], (32, 32)),
    "clip_mesh": (
        ["--vertices", "1", "--size", "24", "--views", "2", "--steps", "2", "--lr", "0.05", "--texture", "128"],
        (1024, 256),
    ),
    "clipdraw": (["--size", "32", "--strokes", "6", "--views", "2", "--steps", "2", "--enlarge", "2"], (64, 64)),
    "deep_daze": (["--size", "24", "--depth", "2", "--hidden", "8", "--views", "2", "--steps", "2"], (48, 48)),
    "direct_ascent": (["--size", "32", "--views", "2", "--steps", "2", "--negative", "a green tree"], (32, 32)),
    "pixel_art": (["--cells", "6x4", "--cell", "8", "--colours", "4", "--views", "4", "--steps", "2"], (48, 32)),
    "text2mesh": (["--size", "24", "--crops", "1", "--steps", "2", "--lr", "0.02"], (1024, 256)),
    "text_deformer": (["--size", "24", "--views", "2", "--steps", "2", "--lr", "0.05"], (1024, 256)),
    "story": (["a green tree", "--size", "40x24", "--samples", "3", "--frames", "2"], None),
}


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"recipe_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded  # dataclasses look their module up
    spec.loader.exec_module(loaded)
    return loaded


def configured(recipe: ModuleType, options: Sequence[str], out: Path, *more: str) -> Any:
    arguments = [PROMPT, *options, "--scorer", "embedded", "--out", str(out), *more]
    return tyro.cli(recipe.Config, args=arguments)


@pytest.fixture(params=sorted(SMALL))
def run(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture) -> dict[str, Any]:
    """A small run of a recipe: its module, its configuration, its files, what it printed."""
    recipe = module(request.param)
    options, size = SMALL[request.param]
    config = configured(recipe, options, tmp_path / "new" / recipe.Config.out.name)
    recipe.main(config)
    written = sorted(config.out.parent.iterdir())
    return {"recipe": recipe, "config": config, "size": size, "files": written, "said": capsys.readouterr().out}


def test_every_recipe_is_tested():
    # What makes sounds has a scorer of its own: tests/commands/test_sounds.py.
    latent = {"reno", "dno", "freedom", "vqgan_clip"}  # tests/test_latent_recipes.py
    assert {path.stem for path in FOLDER.glob("*.py")} == {*SMALL, *latent, "clap_synth"}


@pytest.mark.parametrize("name", sorted(SMALL))
def test_recipe_is_a_page_that_names_its_source(name: str):
    lines = (FOLDER / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert "20" in lines[0]
    assert f'recipes/{name}.py "{PROMPT}"' in "\n".join(lines)


def test_writes_what_it_says(run: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture):
    recipe, config, size = run["recipe"], run["config"], run["size"]
    said = [Path(line) for line in run["said"].splitlines()]
    assert said[0] == config.out
    assert set(said) == set(run["files"])
    picture = load_image(config.out.with_suffix(".png"))
    if size is not None:
        assert tuple(picture.shape) == (1, 3, size[1], size[0])
    assert picture.std() > 0.002

    with pytest.raises(SystemExit, match="exists"):
        recipe.main(config)
    again = replace(config, out=tmp_path / "again" / config.out.name)
    recipe.main(again)
    for path in run["files"]:
        same = path.read_bytes() == (again.out.parent / path.name).read_bytes()
        assert same, path.name
    learning = learnt_nothing(config)
    recipe.main(learning)
    assert not torch.equal(load_image(config.out.with_suffix(".png")), load_image(learning.out.with_suffix(".png")))


def learnt_nothing(config: Any) -> Any:
    """The same run with learning rates of nothing: it writes its start."""
    rates = {name: 1e-12 for name in vars(config) if name.startswith("lr")}
    assert rates
    return replace(config, overwrite=True, out=config.out.with_name(f"start{config.out.suffix}"), **rates)


def test_another_seed_gives_another_picture(tmp_path: Path):
    recipe = module("direct_ascent")
    options, _ = SMALL["direct_ascent"]
    for seed in ("0", "1"):
        recipe.main(configured(recipe, options, tmp_path / f"{seed}.png", "--seed", seed))
    assert not torch.equal(load_image(tmp_path / "0.png"), load_image(tmp_path / "1.png"))


def test_several_scorers_guide_together(tmp_path: Path):
    recipe = module("direct_ascent")
    options, _ = SMALL["direct_ascent"]
    config = configured(recipe, options, tmp_path / "one.png")
    recipe.main(config)
    recipe.main(replace(config, scorer=("embedded", "embedded-judge"), out=tmp_path / "two.png"))
    assert not torch.equal(load_image(tmp_path / "one.png"), load_image(tmp_path / "two.png"))


def test_drawing_has_a_path_for_each_stroke(tmp_path: Path):
    recipe = module("clipdraw")
    options, _ = SMALL["clipdraw"]
    recipe.main(configured(recipe, options, tmp_path / "drawing.png"))
    root = ElementTree.parse(tmp_path / "drawing.svg").getroot()
    assert len(root.findall("{http://www.w3.org/2000/svg}path")) == 6
    assert root.get("viewBox") == "0 0 32 32"


def test_film_has_every_frame(tmp_path: Path):
    import imageio_ffmpeg

    recipe = module("story")
    options, _ = SMALL["story"]
    recipe.main(configured(recipe, options, tmp_path / "film.mp4"))
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(tmp_path / "film.mp4")
    config = configured(recipe, options, tmp_path / "film.mp4")
    assert frames == 4 + round(config.fps)  # the last one stays for a second
    assert seconds == pytest.approx(frames / config.fps, abs=0.1)
    reader = imageio_ffmpeg.read_frames(tmp_path / "film.mp4")
    assert next(reader)["size"] == (40, 24)
    reader.close()


def test_recipe_runs_as_a_script(tmp_path: Path):
    options, _ = SMALL["pixel_art"]
    command = [sys.executable, str(FOLDER / "pixel_art.py"), PROMPT, *options, "--scorer", "embedded"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["outputs/pixel_art.png"]
    assert (tmp_path / "outputs" / "pixel_art.png").is_file()
    assert "2/2" in done.stderr  # the progress bar
    # With its own name alone, importing it runs nothing.
    assert "main" in runpy.run_path(str(FOLDER / "pixel_art.py"))
