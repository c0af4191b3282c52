"""Everything that can be learned, by the name of --param."""

import json
from dataclasses import replace
from pathlib import Path
from typing import get_args
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from toy import ToyScorer

from clipopt.cli import main
from clipopt.params.palette import PALETTES
from clipopt.pipelines.edits import Edit
from clipopt.pipelines.image.loop import ImageLoop, Item
from clipopt.pipelines.image.parameters import parse_palette
from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.kinds import ANY_SIZE, GRIDS, SUITS, VECTORS, Param
from clipopt.types import generator

PROMPT = "a red apple"
QUICK = ["--crops", "2", "--device", "cpu", "--quiet", "--judge", "none"]
KINDS = get_args(Param)


def image(*arguments: str | Path) -> int:
    return main(["image", *map(str, arguments)])


def pixels(path: Path) -> np.ndarray:
    with Picture.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def drawing(param: Param, **more: object) -> ImageLoop:
    items = [Item({"a red fox": 1.0}, 3, ""), Item({"snow": 1.0}, 4, "")]
    render = (30, 45) if param in ANY_SIZE else None
    plan = ImagePlan(18, 12, param, steps=4, lr=SUITS[param][1], crops=2, render=render)
    return ImageLoop(plan, items, ToyScorer(), **more)


@pytest.mark.parametrize("param", KINDS)
def test_each_is_drawn_and_taken_up_again(param: Param, tmp_path: Path):
    whole, first = drawing(param), drawing(param)
    before = whole.best.score.clone()
    for _ in whole.draw():
        pass
    assert (whole.best.score > before).all()
    for step, _ in first.draw():
        if step.index == 1:
            break
    torch.save(first.state(), tmp_path / "state.pt")
    second = drawing(param)
    second.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    for _ in second.draw(2):
        pass
    results = [made.best.result(made.image, made.plan.render, tmp_path) for made in (whole, second)]
    assert torch.equal(*results)
    assert results[0].shape == (2, 3, *(whole.plan.render or (12, 18)))
    assert (tmp_path / "result-01.svg").exists() == (param in VECTORS)


@pytest.mark.parametrize("param", KINDS)
def test_each_starts_from_a_picture(param: Param):
    given = torch.zeros(1, 3, 12, 18)
    given[:, 0, :, :9] = given[:, 2, :, 9:] = 1
    start = drawing(param, edit=Edit(init=given)).pictures()
    assert (start - given).abs().mean() < 0.15
    assert (drawing(param).pictures() - given).abs().mean() > 0.3


def test_the_result_is_drawn_of_the_best_step():
    made = drawing("siren")
    made.plan = replace(made.plan, render=None)
    for _ in made.draw():
        pass
    best = made.best.images.clone()
    with torch.no_grad():
        for parameter in made.image.parameters():
            parameter.mul_(1.5)
    assert torch.allclose(made.best.result(made.image, (12, 18), Path()), best, atol=1e-6)


def test_strokes_become_files_of_curves(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    options = [PROMPT, *QUICK, *towers[:2], "--param", "strokes", "--size", "24x16", "--steps", "3"]
    options += ["--render-size", "90x60", "--out", "run"]
    assert image(*options, "--dry-run", "--json") == 0
    assert "result.svg" in json.loads(capsys.readouterr().out)["files"]
    assert image(*options) == 0
    assert pixels(here / "run" / "result.png").shape == (60, 90, 3)
    assert pixels(here / "run" / "last.png").shape == (16, 24, 3)
    drawn = ElementTree.parse(here / "run" / "result.svg").getroot()
    assert drawn.get("viewBox") == "0 0 24 16"
    assert len(drawn.findall("{*}path")) > 8


@pytest.mark.parametrize("param", VECTORS)
def test_transparent_drawings_have_an_alpha_channel(param: Param, here: Path, towers: list[str]):
    options = [PROMPT, *QUICK, *towers[:2], "--param", param, "--size", "24x16", "--steps", "3", "--transparent"]
    assert image(*options, "--seeds", "2", "--render-size", "90x60", "--out", "run") == 0
    with Picture.open(here / "run" / "cutout-01.png") as picture:
        assert (picture.mode, picture.size) == ("RGBA", (90, 60))
        layers = np.asarray(picture).astype(float) / 255
    assert layers[..., 3].min() < 0.5 < layers[..., 3].max()
    assert ElementTree.parse(here / "run" / "result-01.svg").getroot().find("{*}rect") is None
    on_white = layers[..., :3] * layers[..., 3:] + 1 - layers[..., 3:]
    assert abs(on_white - pixels(here / "run" / "result-01.png") / 255).max() < 0.02
    assert image("--resume", "run", "--quiet") == 0


def test_transparent_drawings_lie_on_another_ground_in_each_step():
    plan = ImagePlan(18, 12, "strokes", steps=4, crops=2, transparent=True)
    made = ImageLoop(plan, [Item({"a red fox": 1.0}, 3, ""), Item({"a red fox": 1.0}, 4, "")], ToyScorer())
    seen = [made.scene(step).detach() for step in (0, 0, 1, None)]
    assert torch.equal(seen[0], seen[1])
    assert (seen[0] - seen[2]).abs().mean() > 0.05
    assert not torch.allclose(seen[0][0] - seen[3][0], seen[0][1] - seen[3][1], atol=0.05)
    sum(term.sum() for term in made.loss(0, generator(0)).values()).backward()
    assert made.image.ground.grad is None
    assert made.image.opacity.grad.abs().max() > 0


def test_resolutions_open_one_after_another():
    plan = ImagePlan(32, 32, "pyramid", steps=8, crops=2, low_first=0.5)
    made = ImageLoop(plan, [Item({"a red fox": 1.0}, 3, "")], ToyScorer())
    before, moved = [level.detach().clone() for level in made.image.levels], []
    for _ in made.draw():
        levels = zip(made.image.levels, before, strict=True)
        moved.append([not torch.equal(level.detach(), start) for level, start in levels])
    assert moved[0] == [True, False, False, False]
    assert moved[2] == [True, True, False, False]
    assert moved[4] == moved[-1] == [True] * 4
    half, whole = (ImageLoop(plan, [Item({"a red fox": 1.0}, 3, "")], ToyScorer()) for _ in range(2))
    for step, _ in half.draw():
        if step.index == 1:
            break
    whole.load_state(half.state())
    for _ in whole.draw(2):
        pass
    assert torch.equal(whole.pictures(), made.pictures())


def test_pixel_art_has_the_colours_of_its_palette(here: Path, towers: list[str]):
    options = [PROMPT, *QUICK, *towers[:2], "--param", "palette", "--size", "64", "--steps", "3", "--out", "run"]
    assert image(*options, "--palette", "gameboy") == 0
    found = {bytes(colour).hex() for colour in pixels(here / "run" / "result.png").reshape(-1, 3)}
    assert found <= set(PALETTES["gameboy"].split())
    config = json.loads((here / "run" / "config.json").read_text())["config"]
    assert (config["palette"], config["steps"], config["lr"]) == ("gameboy", 3, SUITS["palette"][1])


def test_palettes():
    assert parse_palette("pico8") == "pico8"
    assert parse_palette("7") == 7
    assert parse_palette("#000000, ff0000").tolist() == [[0, 0, 0], [1, 0, 0]]
    for wrong in ("", "1", "red", "000000", "00,11", "12345"):
        with pytest.raises(ValueError, match="--palette"):
            parse_palette(wrong)


@pytest.mark.parametrize(
    "options",
    [
        ["--param", "siren", "--tile"],
        ["--param", "strokes", "--stages", "2"],
        ["--param", "pixels", "--render-size", "64"],
        ["--param", "fourier", "--render-size", "64", "--tile"],
        ["--param", "siren", "--render-size", "0"],
        ["--palette", "pink"],
        ["--param", "pixels", "--low-first", "0.5"],
        ["--param", "palette", "--transparent"],
    ],
)
def test_what_does_not_go_together(options: list[str], here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    assert image(PROMPT, *QUICK, *towers[:2], *options) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert options[-2 if options[-1] in "640" else -1] in err or options[1] in err
    assert list(here.iterdir()) == []


def test_large_ones_go_through_stages_only_where_they_can():
    assert {*GRIDS} | {*ANY_SIZE} | {"prior"} == {*KINDS} == {*SUITS}
