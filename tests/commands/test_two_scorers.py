"""A small scorer and a natural one that guide together; the natural one is a toy, and once the real one."""

import copy
import json
from pathlib import Path

import pytest
import torch
from toy import ToyNatural, ToyScorer

from clipopt.cli import main
from clipopt.params import Fourier, Phases
from clipopt.pipelines.image.loop import ImageLoop, Item
from clipopt.pipelines.image.parameters import Several
from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.kinds import Param, has_natural
from clipopt.scorers import efficientnet, load_scorer, sentences

EYES = [ToyScorer(), ToyNatural(seed=1)]
ITEMS = [Item({text: 1.0}, seed, "") for seed, text in enumerate(("a red fox", "a boat", "two red apples"), start=3)]
PLAN = ImagePlan(
    20, 14, "fourier", steps=6, crops=4, lr=0.05, statistics=0.5, centre=0.7, weights=(1, 0.5), starts=(0, 0.3)
)


def drawn(made: ImageLoop, start: int = 0) -> ImageLoop:
    for _ in made.draw(start):
        pass
    return made


def halfway(made: ImageLoop) -> ImageLoop:
    for step, _ in made.draw():
        if step.index == 2:
            break
    return made


@pytest.mark.parametrize("param", ["fourier", "pyramid", "siren"])
def test_a_run_is_taken_up_bit_for_bit(param: Param, tmp_path: Path):
    def new() -> ImageLoop:
        plan = ImagePlan(20, 14, param, steps=6, crops=4, statistics=0.5, centre=0.7, weights=(1, 0.5), starts=(0, 0.3))
        return ImageLoop(plan, ITEMS, EYES, judge=ToyNatural(seed=2))

    whole = drawn(new())
    torch.save(halfway(new()).state(), tmp_path / "state.pt")
    second = new()
    second.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    drawn(second, 3)
    assert torch.equal(second.pictures(), whole.pictures())
    assert torch.equal(second.best.images, whole.best.images)
    assert torch.equal(second.best.score, whole.best.score)


@pytest.mark.parametrize(("param", "last"), [("fourier", 1), ("phases", 1), ("phases", 0)])
def test_from_a_sketch_with_stages_it_is_taken_up_bit_for_bit(param: Param, last: int):
    items = [Item({"two red apples": 1.0}, 1, ""), Item({"a poodle": 1.0}, 2, ""), Item({"a zeppelin": 1.0}, 3, "")]
    plan = ImagePlan(32, 32, param, steps=4, crops=2, stages=2, statistics=0.5, centre=0.7, begin="sketch", tries=2)
    said = {"a poodle": "a dog", "a zeppelin": ""}
    eyes = [load_scorer("embedded"), ToyNatural(knows=("apple", "zeppelin"))]

    def new() -> ImageLoop:
        return ImageLoop(plan, items, eyes, said=said)

    whole, first = drawn(new()), new()
    for step, _ in first.draw():
        if step.index == last:
            break
    second = new()
    second.load_state(copy.deepcopy(first.state()))
    drawn(second, last + 1)
    assert torch.equal(second.pictures(), whole.pictures())
    assert whole.sights["score"]["match"].heard.tolist() == [[1, 1, 0], [1, 0, 1]]


def test_a_picture_is_the_same_alone():
    batch = drawn(ImageLoop(PLAN, ITEMS, EYES))
    for number, item in enumerate(ITEMS):
        alone = drawn(ImageLoop(PLAN, [item], EYES))
        torch.testing.assert_close(batch.pictures()[number : number + 1], alone.pictures(), atol=1e-5, rtol=0)
        torch.testing.assert_close(batch.best.score[number : number + 1], alone.best.score, atol=1e-5, rtol=0)


def test_phases_where_nothing_can_be_sketched_beside_sketches_as_alone():
    items = [Item({"a zeppelin": 1.0}, 3, ""), Item({"a cat": 1.0}, 1, ""), Item({"a zeppelin": 1.0}, 4, "")]
    plan = ImagePlan(32, 32, "phases", steps=2, crops=2, begin="sketch")
    said, eyes = {"a zeppelin": ""}, [load_scorer("embedded"), ToyNatural()]
    batch = drawn(ImageLoop(plan, items, eyes, said=said))
    assert isinstance(batch.image, Several)
    assert [type(kind) for kind in batch.image.kinds] == [Fourier, Phases]
    for number, item in enumerate(items):
        alone = drawn(ImageLoop(plan, [item], eyes, said=said))
        torch.testing.assert_close(batch.pictures()[number : number + 1], alone.pictures(), atol=1e-5, rtol=0)


def test_what_a_scorer_is_not_asked_counts_for_nothing():
    made = ImageLoop(PLAN, ITEMS, EYES)
    terms = made.loss(3, torch.Generator().manual_seed(0))
    assert (terms["match"] > 0).all()
    assert (terms["match 2"] > 0).tolist() == [True, False, False]
    score = ImageLoop(PLAN, ITEMS, EYES[:1])._score(made.pictures())
    torch.testing.assert_close(made._score(made.pictures())[1:], score[1:], atol=1e-6, rtol=0)


def test_what_only_a_late_scorer_hears_is_drawn_from_the_beginning():
    plan = ImagePlan(20, 14, "pixels", steps=4, crops=4, smooth=0.0, starts=(0, 0.75))
    made = ImageLoop(plan, [Item({"a fox": 1.0}, 3, "")], EYES, said={"a fox": ""})
    before = made.pictures().clone()
    next(made.draw())
    assert not torch.equal(made.pictures(), before)


def test_a_judge_that_knows_nothing_near_says_nothing():
    judge = ToyNatural(seed=2)
    score = ImageLoop(PLAN, ITEMS, EYES, judge=judge)._score(torch.rand(3, 3, 14, 20), "judge")
    assert score.isnan().tolist() == [False, True, True]


def test_the_middle_learns_more_than_the_border():
    plan = ImagePlan(32, 32, "pixels", steps=4, crops=8, smooth=0.0, centre=0.3)
    made = ImageLoop(plan, [Item({"a fox": 1.0}, 0, "")], ToyNatural())
    sum(term.sum() for term in made.loss(0, torch.Generator().manual_seed(0)).values()).backward()
    gradient = next(made.image.parameters()).grad.abs().mean((0, 1))
    assert gradient[12:20, 12:20].mean() > 3 * gradient[:4, :4].mean()


@pytest.mark.usefixtures("unnatural")
def test_without_the_packages_the_embedded_scorer_guides_alone(here: Path, capsys: pytest.CaptureFixture):
    assert not has_natural()
    options = ["--size", "32", "--steps", "3", "--crops", "2", "--quiet"]
    assert main(["image", "a red apple", *options, "--out", "run"]) == 0
    config = json.loads((here / "run" / "config.json").read_text())["config"]
    assert (config["scorer"], config["judge"]) == (["embedded"], "embedded-judge")
    assert (config["param"], config["statistics"]) == ("pyramid", 0)
    assert main(["image", "--resume", "run", "--quiet"]) == 0
    assert main(["image", "a red apple", *options, "--scorer", "embedded", "--out", "asked"]) == 0
    assert (here / "asked" / "result.png").read_bytes() == (here / "run" / "result.png").read_bytes()
    capsys.readouterr()
    assert main(["image", "a poodle", *options, "--out", "poodle"]) == 0
    assert 'the scorer embedded does not know "poodle"' in capsys.readouterr().err


@pytest.mark.usefixtures("unnatural")
def test_without_the_packages_who_asks_for_them_is_told_what_to_install(
    here: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("clipopt.scorers.packages.find_spec", lambda _: None)
    for module, name in ((efficientnet, "_load"), (sentences, "_minilm")):  # whatever was loaded before
        monkeypatch.setattr(module, name, getattr(module, name).__wrapped__)
    assert main(["image", "a fox", "--scorer", "natural:lite0", "--size", "32", "--steps", "1", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert "clipopt[natural]" in said
    assert said.count("\n") == 1
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("options", [["--transparent", "--param", "strokes"], ["--param", "shapes"], ["--tile"]])
def test_curves_and_tiles_are_drawn_for_the_embedded_scorer_alone(options: list[str], capsys: pytest.CaptureFixture):
    quick = ["--size", "32", "--steps", "2", "--crops", "2", "--dry-run", "--json"]
    assert main(["image", "a red apple", *quick, *options]) == 0
    assert json.loads(capsys.readouterr().out)["settings"]["scorer"] == ["embedded"]


@pytest.mark.skipif(not has_natural(), reason="needs the packages of clipopt[natural]")
def test_both_eyes_are_the_default(here: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("clipopt.pipelines.views.HELD_OUT_VIEWS", 1)
    options = ["--size", "32", "--steps", "1", "--crops", "1", "--quiet", "--tries", "1"]
    assert main(["image", "a red poodle", "a zeppelin", *options, "--json", "--out", "run"]) == 0
    out, err = capsys.readouterr()
    assert 'reads "a red poodle" as "a red dog"' in err
    assert json.loads(out)["fingerprints"].keys() == {"scorer", "scorer 1", "judge"}
    config = json.loads((here / "run" / "config.json").read_text())["config"]
    assert (config["scorer"], config["judge"], config["begin"]) == (["embedded", "natural"], "natural-judge", "sketch")
    assert main(["image", "--resume", "run", "--quiet"]) == 0
