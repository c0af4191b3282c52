import json
import os
import signal
from dataclasses import replace

import pytest
import torch

from clipopt.embedded.captions import vocabulary
from clipopt.record import check_out
from clipopt.scorers.tower import TowerConfig, Towers, load_tower
from recipes.embedded import scorer, scorer_trainer, training
from recipes.embedded.__main__ import main
from recipes.embedded.scorer import ScorerTraining
from recipes.embedded.scorer_trainer import Phase, Recipe, Trainer

CONFIG = TowerConfig(
    widths=(8, 16), depths=(1, 1), stem=4, dim=16, text_width=16, text_layers=1, vocabulary=vocabulary()
)


@pytest.fixture
def here(plain_world, tmp_path, monkeypatch):
    phases = (Phase("plain", 4, 2e-3), Phase("buffer", 3, 1e-3, eps=1.0, replays=2, buffer=0.5))
    plan = Recipe(CONFIG, phases, 0, world=0, pictures=64, batch=16)
    monkeypatch.setattr(scorer_trainer, "recipe", lambda which, *, further=False: plan)
    monkeypatch.setattr(scorer, "MEASURED", 40)
    monkeypatch.chdir(tmp_path)
    return tmp_path


SETTINGS = {"which": "scorer", "recipe": "1", "share": 1.0, "seed": None, "precision": "float32"}
COMMON = ["train", "scorer", "--workers", "1", "--precision", "float32"]


def test_it_trains_measures_and_cleans_up(here, capsys):
    assert main([*COMMON, "--out", "run", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["batches"] == 7
    assert 0 <= summary["accuracy"] <= 1
    assert set(summary["accuracy_under_attack"]) == {"0.5", "1.0", "2.0"}
    assert load_tower(here / "run" / "scorer.safetensors").fingerprint == summary["fingerprint"]
    assert not (here / "run" / "pictures").exists()
    assert len((here / "run" / "train.jsonl").read_text().splitlines()) == 7


def test_interrupted_and_resumed_it_ends_in_the_same_weights(here, monkeypatch, capsys):
    assert main([*COMMON, "--out", "whole", "--pictures", "painted"]) == 0

    def interrupted(self, phase, index, whole=Trainer._batch):
        if self.done == 4:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(self, phase, index)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_batch", interrupted)
        assert main([*COMMON, "--out", "cut", "--pictures", "painted"]) == 130
    assert "python -m recipes.embedded train scorer --resume cut" in capsys.readouterr().err
    assert torch.load(here / "cut" / "checkpoint.pt", weights_only=True)["done"] == 5
    assert not (here / "cut" / "scorer.safetensors").exists()
    for contradiction in (["--share", "0.5"], ["--begin", "embedded"], ["--out", "elsewhere"]):
        assert main([*COMMON, "--resume", "cut", *contradiction]) == 2
        assert f"leave {contradiction[0]} out" in capsys.readouterr().err
    other = replace(scorer_trainer.recipe("scorer"), phases=(Phase("plain", 7, 2e-3),))
    with monkeypatch.context() as patch:
        patch.setattr(scorer_trainer, "recipe", lambda which, *, further=False: other)
        assert main([*COMMON, "--resume", "cut"]) == 2
    assert "another recipe" in capsys.readouterr().err
    state = torch.load(here / "cut" / "checkpoint.pt", weights_only=True)
    torch.save(state | {"seconds": state["seconds"] + 1000}, here / "cut" / "checkpoint.pt")
    assert main([*COMMON, "--resume", "cut"]) == 0
    assert json.loads((here / "cut" / "summary.json").read_text())["seconds_of_training"] > 1000
    assert not (here / "cut" / "pictures").exists()  # it went on with those that were painted
    whole, cut = (load_tower(here / name / "scorer.safetensors") for name in ("whole", "cut"))
    for one, other in zip(whole.parameters(), cut.parameters(), strict=True):
        assert torch.equal(one, other)
    assert (here / "painted").exists()


def test_a_training_begins_at_the_weights_of_an_earlier_one(here, monkeypatch, capsys):
    """What it left it finds; words are added; the phases are those for what has learnt before."""
    small = replace(CONFIG, vocabulary=tuple(w for w in CONFIG.vocabulary if w != "banana"))
    earlier = Towers(small)
    with torch.no_grad():
        for p in earlier.parameters():
            p.copy_(torch.randn(p.shape).half())
    earlier.save(here / "earlier.safetensors")
    plan = Recipe(replace(CONFIG, places=True), (Phase("plain", 5, 2e-3),), 0, world=0, pictures=64, batch=16)
    more = replace(plan, phases=(Phase("plain", 1, 0.0),))
    monkeypatch.setattr(scorer_trainer, "recipe", lambda which, *, further=False: more if further else plan)
    monkeypatch.setattr(Trainer, "_set_lr", lambda self, peak, progress: None)
    assert main([*COMMON, "--begin", "earlier.safetensors", "--out", "later", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["batches"] == 1
    one, other = (load_tower(here / name).towers for name in ("earlier.safetensors", "later/scorer.safetensors"))
    texts = ["a red circle", "two cats"]
    assert torch.allclose(one.text(one.tokenize(texts)), other.text(other.tokenize(texts)), atol=1e-5)
    images = torch.rand(2, 3, 64, 64)
    assert torch.allclose(one.image(images), other.image(images), atol=1e-5)
    assert not torch.equal(*other.text(other.tokenize(["a banana", "a zeppelin"])))

    Towers(replace(CONFIG, dim=8)).save(here / "strange.safetensors")
    for spec, said in (("strange.safetensors", "architecture"), ("nowhere.safetensors", "nowhere")):
        assert main([*COMMON, "--begin", spec, "--out", "never"]) == 2
        assert said in capsys.readouterr().err
    assert not (here / "never").exists()


@pytest.mark.parametrize(
    "which", ["scorer", "judge", "plain", "describer", "sketcher", "generator", "motion", "motion-judge"]
)
def test_every_training_teaches(which, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", which, "--help"])
    assert not stop.value.code
    out = capsys.readouterr().out
    assert f"usage: python -m recipes.embedded train {which}" in out
    assert "--share" in out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--share", "0"], "--share"),
        (["--share", "2"], "--share"),
        (["--save-every", "0"], "--save-every"),
        (["--workers", "0"], "--workers"),
        (["--resume", "nowhere"], "no training to resume"),
        (["--device", "abacus"], "abacus"),
    ],
)
def test_bad_input_is_refused_in_one_line(here, capsys, options, said):
    assert main([*COMMON, *options]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(here.iterdir())


def test_pictures_of_another_world_are_refused_before_anything_is_written(here, capsys):
    (here / "old").mkdir()
    (here / "old" / "0000-images.npy").write_bytes(b"")
    for which in ("scorer", "generator", "describer", "sketcher"):
        assert main(["train", which, "--pictures", "old", "--out", "run"]) == 2
        assert "delete the folder" in capsys.readouterr().err
    assert [path.name for path in here.iterdir()] == ["old"]


def test_a_training_has_one_writer_and_replaces_nothing_else(here, capsys):
    (here / "mine").mkdir()
    (here / "mine" / "photo.jpg").touch()
    assert main([*COMMON, "--out", "mine", "--overwrite"]) == 2
    assert "holds no training of clipopt" in capsys.readouterr().err
    asked = ScorerTraining("scorer", out=here / "run", json=True)
    with training.folder(asked, SETTINGS) as out:
        for options in (["--out", "run", "--overwrite"], ["--resume", "run"]):
            assert main([*COMMON, *options]) == 2
            assert "another process is writing" in capsys.readouterr().err
        training.finish(asked, out)
    check_out(out, overwrite=True, kind="training")
