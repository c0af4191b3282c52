"""Training of the scorers of films: what they are shown repeats, and the training resumes exactly."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from clipopt.geometry.skeleton import limits
from clipopt.scorers import load_scorer
from recipes.embedded import films as films_module
from recipes.embedded import motion
from recipes.embedded.__main__ import main
from recipes.embedded.films import FRAMES, Films, draw, plan, show


def test_films_depend_on_seed_and_index_alone():
    one, again, other = plan(3, 5), plan(3, 5), plan(4, 5)
    assert one.phrases == again.phrases
    assert torch.equal(one.rows, again.rows)
    assert not torch.equal(one.rows, other.rows)
    low, high = limits()
    for index in range(12):
        film = plan(0, index)
        assert bool(((film.rows[:, :-6] >= low - 1e-5) & (film.rows[:, :-6] <= high + 1e-5)).all())
        assert len(film.rows) == FRAMES
    picture = show(one.rows[:2], one.aside, 3, 5, side=24)
    np.testing.assert_array_equal(picture, show(one.rows[:2], one.aside, 3, 5, side=24))


def small(which):
    lesson = motion.lesson(which)
    towers = replace(lesson.towers, dim=16, text_width=16, text_layers=1)
    film = replace(lesson.film, width=16, layers=1, hidden=16)
    return replace(lesson, towers=towers, film=film, batches=(2, 2), films=1, stills=1, batch=(3, 4))


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    patch = pytest.MonkeyPatch()
    patch.setattr(films_module, "FILMS", 4)
    patch.setattr(films_module, "STILLS", 6)
    assert [done for done, _ in draw(11, 1, 1, folder)] == [1, 2]
    yield Films(11, folder)
    patch.undo()


@pytest.mark.parametrize("which", ["motion", "motion-judge"])
def test_training_goes_on_where_it_stopped(which, films, tmp_path):
    whole, first, second = (motion.Trainer(small(which), films, amp=False) for _ in range(3))
    figures = list(whole.run())
    assert len(figures) == 4
    assert all(v == v for row in figures for v in row.values())
    run = first.run()
    for _ in range(3):
        next(run)
    torch.save(first.state(), tmp_path / "c.pt")
    second.resume(torch.load(tmp_path / "c.pt", weights_only=True))
    list(second.run())
    for a, b in zip(whole.average.parameters(), second.average.parameters(), strict=True):
        assert torch.equal(a, b)


def test_scorer_and_judge_share_nothing():
    one, other = motion.lesson("motion"), motion.lesson("motion-judge")
    assert one.seed != other.seed
    assert one.world != other.world
    assert one.film.kind != other.film.kind
    assert one.film.convolutions != other.film.convolutions


def test_trains_from_nothing_and_the_result_guides(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(films_module, "FILMS", 6)
    monkeypatch.setattr(films_module, "STILLS", 20)
    assert main(["train", "motion-judge", "--share", "0.0005", "--out", "t", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["batches"] == 4
    assert {"stills", "films", "backward", "held"} <= told.keys()
    assert not (tmp_path / "t/pictures").exists()
    model = load_scorer("t/motion-judge.safetensors")
    assert model.encode_video(torch.rand(1, 12, 3, 64, 64)).shape == (1, 112)
    assert main(["train", "motion", "--resume", "t"]) == 2
