"""Pictures that begin as samples of the generator in the package, or as what its sketcher draws."""

import copy
import json
from pathlib import Path

import pytest
import torch
from toy import ToyScorer

from clipopt.cli import main
from clipopt.io.files import load_image, save
from clipopt.pipelines.edits import Edit
from clipopt.pipelines.image.loop import FAINT, ImageLoop
from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.image.starts import best_starts
from clipopt.pipelines.kinds import Begin, Param
from clipopt.pipelines.views import Item, Sight
from clipopt.scorers import load_scorer
from clipopt.types import generator

CIRCLE, UNKNOWN = Item({"a red circle on a green background": 1.0}, 5, ""), Item({"a zeppelin": 1.0}, 6, "")
CPU = torch.device("cpu")


def grey(count: int, height: int = 40, width: int = 64) -> torch.Tensor:
    return torch.full((count, 3, height, width), 0.5)


def green(images: torch.Tensor) -> torch.Tensor:
    return images[:, 1].mean((1, 2)) - images[:, 2].mean((1, 2))


@pytest.mark.parametrize("begin", ["samples", "sketch"])
def test_words_become_rough_pictures_and_unknown_ones_stay(begin: Begin):
    made, drawn = best_starts(begin, [CIRCLE, UNKNOWN], 1, grey(2), green, CPU)
    assert drawn.tolist() == [True, False]
    assert made.shape == (2, 3, 40, 64)
    assert float(made[0, 1].mean() - made[0, 2].mean()) > 0.1  # green for the most part
    assert torch.equal(made[1], grey(1)[0])
    assert torch.equal(made[0, :, :, 0], made[0, :, :, 12])  # the square's border goes on to the sides


@pytest.mark.parametrize("begin", ["samples", "sketch"])
def test_the_best_is_taken_and_no_neighbour_matters(begin: Begin):
    alone, _ = best_starts(begin, [CIRCLE], 1, grey(1), green, CPU)
    three, _ = best_starts(begin, [UNKNOWN, CIRCLE], 3, grey(2), green, CPU)
    assert green(three)[1] >= green(alone)[0]
    assert torch.equal(best_starts(begin, [CIRCLE], 3, grey(1), green, CPU)[0][0], three[1])
    other, _ = best_starts(begin, [Item(CIRCLE.prompt, 9, "")], 1, grey(1), green, CPU)
    assert not torch.equal(other, alone)


def test_a_sketch_of_nothing_is_not_taken():
    """The sketcher knows the word, and draws an empty page."""
    scorer, items = load_scorer("embedded"), [Item({f"a {thing}": 1.0}, 0, "") for thing in ("bicycle", "fire truck")]
    sight = Sight(scorer, items, size=(64, 64))
    made, drawn = best_starts("sketch", items, 2, grey(2, 64, 64), sight.score, CPU, FAINT)
    assert drawn.tolist() == [False, True]
    assert torch.equal(made[0], grey(1, 64, 64)[0])


@pytest.mark.parametrize("param", ["pyramid", "palette", "prior", "strokes"])
def test_a_drawing_begins_there_unless_it_is_given_a_picture(param: Param):
    scorer = load_scorer("embedded")
    plan = ImagePlan(40, 40, param=param, steps=2, crops=2, lr=0.02, begin="sketch", tries=1)
    made = ImageLoop(plan, [CIRCLE], scorer)
    assert abs(green(made.pictures())) < 0.1
    next(made.draw())
    assert green(made.pictures()) > 0.1
    again = ImageLoop(plan, [CIRCLE], scorer)
    next(again.draw())
    assert torch.equal(again.pictures(), made.pictures())
    on = ImageLoop(plan, [CIRCLE], scorer)
    on.load_state(copy.deepcopy(made.state()))
    for each in (on, made):
        list(each.steps(1, 2))
    assert torch.equal(on.pictures(), made.pictures())
    given = ImageLoop(plan, [CIRCLE], scorer, edit=Edit(init=grey(1, 40, 40)))
    next(given.draw())
    assert abs(green(given.pictures())) < 0.1


def test_on_the_command_line(here: Path):
    quick = ["--scorer", "embedded", "--size", "48", "--crops", "2", "--judge", "none", "--quiet", "--steps", "6"]
    assert main(["image", "a red circle", *quick, "--out", "whole"]) == 0
    assert json.loads((here / "whole" / "config.json").read_text())["config"]["begin"] == "sketch"
    for begin in ("noise", "samples"):
        assert main(["image", "a red circle", *quick, "--begin", begin, "--out", begin]) == 0
    assert len({(here / name / "result.png").read_bytes() for name in ("whole", "noise", "samples")}) == 3


def test_a_sketch_has_what_the_words_say_where_they_say_it():
    items = [
        Item({text: 1.0}, 0, "")
        for text in ("a red circle left of a blue square", "a green star on a black background")
    ]
    (pair, star), _ = best_starts("sketch", items, 1, grey(2, 96, 96), green, CPU)
    left, right = pair[:, 30:66, 12:36].mean((1, 2)), pair[:, 30:66, 60:84].mean((1, 2))
    assert left[0] > right[0] + 0.3
    assert right[2] > left[2] + 0.3
    assert star[:, :8, :8].mean() < 0.2
    assert star[1, 40:56, 40:56].mean() > star[0, 40:56, 40:56].mean() + 0.2


def test_seeds_and_tries_move_a_sketch():
    items = [[Item(CIRCLE.prompt, seed, "")] for seed in (1, 2)]
    one, other = (best_starts("sketch", item, 1, grey(1), green, CPU)[0] for item in items)
    assert 0.001 < float((one - other).abs().mean()) < 0.2


def test_the_film_and_the_page_begin_at_the_true_start(here: Path):
    size = ["--size", "64", "--crops", "2", "--steps", "3", "--param", "pixels", "--lr", "0.001", "--quiet"]
    common = ["image", "a red circle on a green background", "--scorer", "embedded", *size]
    assert main([*common, "--out", "sketched"]) == 0
    first = load_image(here / "sketched" / "previews" / "000000.jpg")
    assert float(green(first)) > 0.1
    scores = json.loads((here / "sketched" / "summary.json").read_text())["scores"]
    assert 0.3 < scores["score of start"][0] <= scores["score"][0]
    assert scores["judge of start"][0] > 0.3
    assert "Scorer and judge " in (here / "sketched" / "report.html").read_text(encoding="utf-8")
    save(here / "blue.png", torch.tensor([0.1, 0.2, 0.9])[:, None, None].expand(3, 64, 64))
    assert main([*common, "--init", "blue.png", "--out", "given"]) == 0
    given = load_image(here / "given" / "previews" / "000000.jpg")
    assert torch.allclose(given.mean((0, 2, 3)), torch.tensor([0.1, 0.2, 0.9]), atol=0.03)


def test_who_knows_the_words_of_the_drawings_chooses_among_sketches(monkeypatch: pytest.MonkeyPatch):
    embedded, chosen = load_scorer("embedded"), []

    def best(begin, items, tries, otherwise, score, device, least):
        chosen.append(score)
        return otherwise, torch.zeros(len(items), dtype=torch.bool)

    monkeypatch.setattr("clipopt.pipelines.image.starts.best_starts", best)
    plan = ImagePlan(32, 32, param="pixels", steps=2, crops=2, begin="sketch", tries=2)
    for scorers in ([embedded], [ToyScorer(), embedded], [embedded, ToyScorer()]):
        ImageLoop(plan, [CIRCLE], scorers).prepare()
    pictures = torch.rand(1, 3, 32, 32, generator=generator(0))
    alone, last, first = (score(pictures) for score in chosen)
    assert torch.equal(alone, last)
    assert torch.equal(alone, first)
