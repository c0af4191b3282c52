"""Pictures that are given: what may not change does not, and what is asked where reaches that place alone."""

import json
import signal
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from toy import ToyScorer

from clipopt.cli import main
from clipopt.pipelines.edits import Edit, Region, enlarge, fit, soften
from clipopt.pipelines.image.loop import ImageLoop, ImagePlan, Item
from clipopt.pipelines.views import box, cover, resize, seam
from clipopt.record import Run
from clipopt.types import generator

PROMPT = "a red apple on a blue background"
QUICK = ["--steps", "6", "--crops", "2", "--device", "cpu", "--quiet"]
PLAN = ImagePlan(20, 20, "pixels", steps=8, lr=0.1, crops=3, smooth=0.0)


def image(*arguments: str | Path) -> int:
    return main(["image", *map(str, arguments)])


def pixels(path: Path) -> np.ndarray:
    with Picture.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def photo(path: Path, width: int, height: int) -> np.ndarray:
    """Writes a picture full of detail; returns it as a reader sees it."""
    values = torch.randint(256, (height, width, 3), generator=generator(width, height), dtype=torch.uint8)
    Picture.fromarray(values.numpy()).save(path)
    return pixels(path)


def draw_mask(path: Path, width: int, height: int, inside: tuple[int, int, int, int]) -> np.ndarray:
    """White within left, top, right, bottom, with the near-black noise that a JPEG would leave around."""
    values = np.full((height, width), 9, np.uint8)
    left, top, right, bottom = inside
    values[top:bottom, left:right] = 250
    Picture.fromarray(values).save(path)
    return values > 127


def mask(top: int, bottom: int, left: int, right: int, size: tuple[int, int] = (20, 20)) -> torch.Tensor:
    where = torch.zeros(1, 1, *size, dtype=torch.bool)
    where[..., top:bottom, left:right] = True
    return where


def noise(*key: int, size: tuple[int, int] = (20, 20)) -> torch.Tensor:
    return torch.rand(1, 3, *size, generator=generator(*key))


def drawing(edit: Edit, plan: ImagePlan = PLAN, prompts: Sequence[dict] = ({"a red fox": 1.0},)) -> ImageLoop:
    items = [Item(prompt, seed, "") for seed, prompt in enumerate(prompts)]
    return ImageLoop(plan, items, ToyScorer(), edit=edit)


def terms(made: ImageLoop, step: int = 0) -> dict[str, torch.Tensor]:
    return made.loss(step, generator(0, step))


def value(made: ImageLoop, name: str) -> float:
    return float(terms(made)[name].detach().sum())


def gradient(made: ImageLoop, name: str) -> torch.Tensor:
    return torch.autograd.grad(terms(made)[name].sum(), made.image.logits)[0]


@pytest.mark.parametrize(("suffix", "size"), [("png", (40, 24)), ("jpg", (37, 29))])
def test_outside_of_the_mask_every_byte_stays(suffix: str, size: tuple[int, int], here: Path, towers: list[str]):
    given = photo(here / f"photo.{suffix}", *size)
    inside = draw_mask(here / "mask.png", *size, (10, 6, 24, 20))
    options = ["--init", f"photo.{suffix}", "--mask", "mask.png", "--out", "run"]
    assert image(PROMPT, *QUICK, *towers, *options, "--lr", "0.5") == 0
    for name in ("result.png", "last.png"):
        assert (pixels(here / "run" / name)[~inside] == given[~inside]).all()
    assert (pixels(here / "run" / "last.png")[inside] != given[inside]).any(-1).mean() > 0.9


def test_at_another_size_it_is_the_resized_photo_that_stays(here: Path, towers: list[str]):
    given = torch.from_numpy(photo(here / "photo.png", 40, 24)).permute(2, 0, 1)[None] / 255
    draw_mask(here / "mask.png", 80, 48, (0, 0, 40, 48))
    options = ["--init", "photo.png", "--mask", "mask.png", "--size", "30x18", "--seeds", "2", "--out", "run"]
    assert image(PROMPT, *QUICK, *towers, *options) == 0
    expected = (resize(given, (18, 30))[0] * 255).round().permute(1, 2, 0).numpy()
    for item in (0, 1):
        assert (pixels(here / "run" / f"last-0{item}.png")[:, 15:] == expected[:, 15:]).all()


def test_the_loss_sees_the_composite_and_nothing_else_moves():
    inside = mask(4, 12, 5, 15)
    made = drawing(Edit(init=noise(1), mask=inside, feather=0.1))
    slope = gradient(made, "match")
    assert (slope[:, :, ~inside[0, 0]] == 0).all()
    assert slope[:, :, inside[0, 0]].abs().min() > 0
    with torch.no_grad():
        made.image.logits.add_(100)  # whatever is there, the loss must not see it
    assert torch.equal(made.scene()[:, :, ~inside[0, 0]], noise(1)[:, :, ~inside[0, 0]])


def test_the_soft_edge_lies_inside():
    where = mask(4, 16, 4, 16)
    soft = soften(where, 3)
    assert (soft[~where] == 0).all()
    assert soft[0, 0, 10, 3:9].tolist() == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1])
    assert (soften(mask(4, 5, 0, 20), 5)[0, 0, 4] == 1).all()  # as narrow as can be
    assert (soften(mask(0, 20, 0, 20), 3) == 1).all()  # the picture's border is no edge
    assert torch.equal(soften(where, 0), where.float())


def test_masks_fit_any_size_and_never_vanish():
    assert torch.equal(fit(mask(4, 16, 4, 16), (40, 10)), mask(8, 32, 2, 8, (40, 10)))
    assert fit(mask(7, 8, 7, 8), (5, 5)).sum() == 1
    assert box(mask(8, 12, 8, 12)) == (7, 13, 7, 13)
    assert box(mask(0, 4, 2, 20)) == (0, 5, 0, 20)


def test_a_region_moves_its_own_pixels():
    left, right = mask(0, 20, 0, 8), mask(0, 20, 12, 20)
    made = drawing(Edit(regions=[Region(left, {"snow": 1.0}), Region(right, {"a tree": 1.0})], feather=0))
    for number, inside in enumerate((left, right)):
        slope = gradient(made, f"region {number}")[0].abs().sum(0)
        assert (slope[~inside[0, 0]] == 0).all()
        assert (slope[inside[0, 0]] > 0).float().mean() > 0.5  # three views need not reach every corner
    # What the whole is asked for moves the rest more than the middle of a region.
    plain, shared = gradient(drawing(Edit()), "match"), gradient(made, "match")
    assert torch.allclose(shared[..., 8:12], plain[..., 8:12])
    assert torch.allclose(shared[..., 2:6], 0.2 * plain[..., 2:6])
    assert terms(made).keys() == {"match", "region 0", "region 1"}


def test_regions_get_what_they_are_asked_for():
    sides = [mask(0, 20, 0, 10), mask(0, 20, 10, 20)]
    regions = [Region(side, {text: 1.0}) for side, text in zip(sides, ("snow", "a tree"), strict=True)]
    made = drawing(Edit(regions=regions), replace(PLAN, steps=25))
    before = [value(made, f"region {number}") for number in (0, 1)]
    for _ in made.draw():
        pass
    after = [value(made, f"region {number}") for number in (0, 1)]
    assert all(end < start - 0.1 for start, end in zip(before, after, strict=True))


def test_an_edit_asks_for_the_change():
    made = drawing(Edit(init=noise(2), was="a blue fox"), replace(PLAN, steps=25))
    assert value(made, "match") == pytest.approx(1, abs=0.1)  # nothing has changed yet but by rounding
    assert float(made.best.score) == pytest.approx(0, abs=0.1)
    for _ in made.draw():
        pass
    assert value(made, "match") < 0.7
    assert float(made.best.score) > 0.15


def test_keep_pulls_to_the_given_picture():
    moved = []
    for keep in (0.0, 300.0):
        made = drawing(Edit(init=noise(3), keep=keep), replace(PLAN, steps=15))
        if keep:
            assert value(made, "keep") < 1e-2
        for _ in made.draw():
            pass
        moved.append(float((made.pictures() - noise(3)).square().mean()))
    assert moved[1] < moved[0] / 2


def test_a_picture_to_resemble_gets_the_same_views():
    alike = drawing(Edit(init=noise(4)), prompts=[{noise(4)[0]: 1.0}])
    assert value(alike, "match") < 1e-3  # through any crop, colour and noise
    other = drawing(Edit(init=noise(5)), prompts=[{noise(4)[0]: 1.0}])
    assert value(other, "match") > 0.1
    assert float(alike.best.score) > 0.999 > float(other.best.score)


def test_text_and_picture_stand_side_by_side():
    both = drawing(Edit(init=noise(4)), prompts=[{"a red fox": 1.0, noise(5)[0]: 0.5}, {"snow": 2.0}])
    alone = drawing(Edit(init=noise(4)), prompts=[{"a red fox": 1.0}, {"snow": 2.0}])
    like = drawing(Edit(init=noise(4)), prompts=[{noise(5)[0]: 0.5}, {"snow": 2.0}])
    (first, second), (words, snow), (picture, _) = (terms(made)["match"].tolist() for made in (both, alone, like))
    assert first == pytest.approx(words + picture, abs=1e-5)
    assert second == pytest.approx(snow, abs=1e-5)


def test_covering_keeps_the_proportions():
    picture = torch.zeros(1, 3, 10, 30)
    picture[..., 10:20] = 1
    assert cover(picture, (20, 20)).min() > 0.9
    assert torch.equal(cover(picture, (10, 30)), picture)


def test_the_seam_is_about_1_where_a_tile_meets_itself():
    across = torch.linspace(0, 2 * torch.pi, 65)[:-1]
    wave = (torch.sin(across) + torch.cos(across[:, None])).expand(1, 3, 64, 64) / 4 + 0.5
    assert 0.5 < float(seam(wave)) < 1.6
    ramp = torch.linspace(0, 1, 64).expand(1, 3, 64, 64)
    assert float(seam(ramp)) > 50
    assert float(seam(ramp.mT)) > 50
    assert float(seam(torch.full((1, 3, 8, 8), 0.5))) == 0


def test_tiles_have_no_seam(here: Path, towers: list[str]):
    seams = []
    for options in ([], ["--tile"]):
        assert image(PROMPT, *QUICK, *towers, "--size", "33x48", *options, "--out", "run", "--overwrite") == 0
        scores = json.loads((here / "run" / "summary.json").read_text())["scores"]
        assert ("seam" in scores) == bool(options)
        values = torch.from_numpy(pixels(here / "run" / "last.png")).permute(2, 0, 1)[None] / 255
        assert values.shape[-2:] == (48, 33)
        seams.append(float(seam(values)))
    assert seams[1] < 1.5 < 2 < seams[0]
    assert scores["seam"][0] < 1.5


def test_a_tile_starts_as_the_given_picture():
    made = drawing(Edit(init=noise(7), tile=True))
    assert made.image().shape[-2:] == (22, 22)
    assert (made.pictures() - noise(7)).abs().max() < 0.005


def test_larger_pictures_keep_the_detail_of_the_given_one():
    given = noise(6, size=(32, 48))
    small = resize(given, (8, 12))
    assert (enlarge(small, (32, 48), given) - given).abs().max() < 1e-5
    assert (enlarge(small, (32, 48), None) - given).abs().max() > 0.1


def test_every_option_resumes_as_the_same_run(here: Path, towers: list[str], monkeypatch: pytest.MonkeyPatch):
    photo(here / "photo.png", 40, 24)
    draw_mask(here / "mask.png", 40, 24, (4, 4, 36, 20))
    draw_mask(here / "region.png", 40, 24, (0, 0, 20, 24))
    files = ["--init", "photo.png", "--mask", "mask.png", "--image-prompt", "photo.png", "--region", "region.png"]
    options = [*files, '{"a tree": 2}', "--was", "a fox", "--keep", "1", "--tile", "--stages", "2", "--seeds", "2"]
    assert image(PROMPT, *QUICK, *towers, *options, "--out", "whole") == 0
    written = Run.log

    def interrupt_after(step: int, run: Run, index: int, *arguments: object, **scores: object) -> None:
        written(run, index, *arguments, **scores)
        if index == step:
            signal.raise_signal(signal.SIGINT)

    for step in (2, 4):  # at the end of the first stage, in the second
        with monkeypatch.context() as patched:
            log = partial(interrupt_after, step)
            patched.setattr(Run, "log", lambda run, *arguments, log=log, **scores: log(run, *arguments, **scores))
            assert image(PROMPT, *QUICK, *towers, *options, "--out", "parts", "--overwrite") == 130
        assert image("--resume", "parts", "--quiet") == 0
        ends = [torch.load(here / name / "checkpoint.pt", weights_only=True)["state"] for name in ("whole", "parts")]
        assert all(torch.equal(a, b) for a, b in zip(*(end["image"].values() for end in ends), strict=True))
        assert torch.equal(*(end["best"]["images"] for end in ends))
    Picture.new("L", (40, 24), 255).save(here / "region.png")
    assert image("--resume", "parts", "--quiet") == 2


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--mask", "mask.png"], "--init"),
        (["--was", "a fox"], "--init"),
        (["--keep", "1"], "--init"),
        (["--init", "photo.png", "--mask", "black.png"], "black.png is black"),
        (["--init", "photo.png", "--mask", "photo.txt"], "photo.txt"),
        (["--init", "photo.png", "--mask", "mask.png", "--size", "40"], "another shape"),
        (["--init", "photo.png", "--was", " "], "--was is empty"),
        (["--init", "photo.png", "--was", PROMPT], "the same"),
        (["--init", "photo.png", "--keep", "-1"], "--keep"),
        (["--init", "photo.png", "--feather", "2"], "--feather"),
        (["--region", "mask.png"], "--region"),
        (["--region", "mask.png", "a fox", "--size", "40"], "another shape"),
        (["--region", "mask.png", ""], "empty"),
        (["--stages", "0"], "--stages"),
        (["--stages", "40"], "--stages"),
        (["--resume", ".", "--tile"], "leave out --tile"),
    ],
)
def test_bad_input_is_one_line(
    options: list[str], reason: str, here: Path, towers: list[str], capsys: pytest.CaptureFixture
):
    photo(here / "photo.png", 40, 24)
    (here / "photo.txt").write_text("no picture")
    draw_mask(here / "mask.png", 40, 24, (4, 4, 20, 20))
    Picture.new("L", (40, 24)).save(here / "black.png")
    before = sorted(here.iterdir())
    resumes = "--resume" in options
    assert image(*([] if resumes else [PROMPT, *QUICK, *towers]), *options) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.count("\n") == 1
    assert sorted(here.iterdir()) == before
