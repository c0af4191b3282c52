"""What else a run can ask for: other views, no lettering."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from toy import ToyScorer

from clipopt.cli import main
from clipopt.io.files import load_image
from clipopt.pipelines.edits import Edit
from clipopt.pipelines.image.loop import ImageLoop, Item
from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.views import Sight
from clipopt.scorers.tower import load_tower
from clipopt.types import generator

PLAN = ImagePlan(20, 14, "pixels", steps=10, crops=4, smooth=0.0)


def terms(plan: ImagePlan, prompt: dict, init: torch.Tensor, step: int = 0) -> dict[str, float]:
    made = ImageLoop(plan, [Item(prompt, 0, "")], ToyScorer(), edit=Edit(init=init))
    return {name: float(term.detach()) for name, term in made.loss(step, generator(0, step)).items()}


def noise(*key: int) -> torch.Tensor:
    return torch.rand(1, 3, 14, 20, generator=generator(*key))


def test_lettering_repels_beside_texts_and_pictures():
    for prompt in ({"a fox": 1.0}, {"a fox": 1.0, noise(2)[0]: 0.5}):
        item = [Item(prompt, 0, "")]
        plain, away = (Sight(ToyScorer(), item, size=(14, 20), text_off=weight) for weight in (0.0, 0.4))
        assert away.target.weights[0, -1] == pytest.approx(-0.4)
        found = [terms(replace(PLAN, text_off=weight), prompt, noise(1))["match"] for weight in (0.0, 0.4)]
        views = plain.matching(lambda: noise(1), 4, chunk=8).augment(noise(1), generator(0, 0, 1))
        cosine = float((ToyScorer().encode_image(views) @ away.target.embeddings[-1]).mean())
        assert found[1] - found[0] == pytest.approx(-0.4 * (1 - cosine), abs=0.01)


def test_percentiles_are_for_single_texts(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    known = load_tower(towers[1]).towers
    known.save(here / "known.safetensors", {"matches": json.dumps([-1.0, 1.0])})
    scorer = load_tower(here / "known.safetensors")
    items = [Item(prompt, 0, "") for prompt in ({"a fox": 1.0}, {"a fox": 0.5}, {"a fox": 1.0, noise(2)[0]: 0.5})]
    pictures = torch.cat([noise(1)] * 3)
    ranks = Sight(scorer, items, size=(14, 20)).percentile(pictures)
    whole = (scorer.encode_image(noise(1)) @ scorer.encode_text(["a fox"]).T).item()
    assert ranks[0].item() == pytest.approx(50 + 50 * whole, abs=0.01)
    assert ranks[1:].isnan().all()
    for sight in (
        Sight(scorer, items, size=(14, 20), text_off=0.1),
        Sight(scorer, items, change=(noise(1), "a tree")),
        Sight(load_tower(towers[1]), items),
    ):
        assert sight.percentile(pictures).isnan().all()
    options = ["a fox", "--scorer", "known.safetensors", *towers[2:], "--size", "24", "--steps", "2", "--crops", "2"]
    assert main(["image", *options, "--out", "run", "--json", "--quiet"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    made = (scorer.encode_image(load_image(here / "run" / "best.png")) @ scorer.encode_text(["a fox"]).T).item()
    assert scores["score percentile"] == [pytest.approx(50 + 50 * made, abs=0.5)]
    assert "judge percentile" not in scores
    assert " % of the drawings of its world)" in (here / "run" / "report.html").read_text()


def test_overviews_come_first_and_details_later():
    sight = Sight(ToyScorer(), [Item({"a fox": 1.0}, 0, "")], size=(14, 20))
    early, late = (
        sight.matching(lambda: noise(1), 8, chunk=8, cutouts="overview", progress=progress).augment
        for progress in (0.0, 0.9)
    )
    assert early.views == late.views == 8
    assert early(noise(1), generator(0)).shape == (8, 3, 16, 16)
    assert early.sample(generator(0)).keys() == late.sample(generator(0)).keys()
    plan = replace(PLAN, cutouts="overview")
    assert terms(plan, {"a fox": 1.0}, noise(1)) == terms(plan, {"a fox": 1.0}, noise(1))
    assert terms(plan, {"a fox": 1.0}, noise(1), 1) != terms(plan, {"a fox": 1.0}, noise(1), 9)


def test_on_the_command_line(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    options = ["a fox", *towers[:2], "--judge", "none", "--size", "24", "--steps", "3", "--crops", "4", "--quiet"]
    extras = ["--cutouts", "overview", "--text-off", "0.1", "--out", "run"]
    assert main(["image", *options, *extras]) == 0
    line = json.loads((here / "run" / "steps.jsonl").read_text().splitlines()[0])
    assert line["terms"].keys() == {"match", "smooth"}
    assert main(["image", "--resume", "run", "--quiet"]) == 0
    capsys.readouterr()
    for wrong in (["--cutouts", "overview", "--crops", "1"], ["--symmetry", "-1"], ["--cutouts", "overview", "--tile"]):
        assert main(["image", *options, *wrong]) == 2
        assert wrong[0] in capsys.readouterr().err
