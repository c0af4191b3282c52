"""Training of the embedded describer: it learns, and resumes exactly."""

import json
import os
import signal

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from clipopt.embedded.captions import Scene, caption, vocabulary
from clipopt.embedded.describer import (
    Describer,
    DescriberConfig,
    WorldCaptioner,
    last_stages,
    load_describer,
    new_describer,
    save_describer,
)
from clipopt.embedded.parsing import parse
from clipopt.scorers.tower import TowerConfig, Towers, load_tower, words
from clipopt.types import generator
from recipes.embedded import describer
from recipes.embedded.__main__ import main
from recipes.embedded.describer import DescriberTrainer, Recipe, grown
from recipes.embedded.pictures import Pictures, paint
from recipes.embedded.trainer import Stage

CONFIG = TowerConfig(
    widths=(8, 16, 32), depths=(1, 1, 1), stem=4, dim=16, text_width=16, text_layers=1, vocabulary=vocabulary()
)
SMALL = Recipe(Stage("describer", 3, 8, 1e-3, 20.0), world=0, pictures=12)


@pytest.fixture
def scorer(tmp_path):
    """A tower that was never trained sees well enough."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        Towers(CONFIG).save(tmp_path / "eyes.safetensors")
    return load_tower(tmp_path / "eyes.safetensors")


@pytest.mark.slow
def test_it_learns_to_say_what_it_saw_and_how_likely_that_is(scorer, plain_world, tmp_path):
    list(paint(0, 6, tmp_path / "pictures", workers=1))
    pictures = Pictures(tmp_path / "pictures")
    trainer = DescriberTrainer(Recipe(Stage("describer", 70, 12, 3e-3, 12.0), world=0), pictures, scorer, amp=False)
    losses = [float(figures["loss"]) for figures in trainer.run()]
    assert sum(losses[-5:]) < 0.2 * sum(losses[:5])
    captioner = WorldCaptioner(scorer, trainer.average, width=4)
    images = pictures.images(torch.arange(6)).float() / 255
    truths = [
        caption(Scene(**{**vars(Scene.of(row)), "size": None, "place": None}))
        for row in pictures.batch(torch.arange(6), torch.zeros(6, dtype=torch.long)).scenes.tolist()
    ]
    said = captioner(list(images), torch.zeros(6, 16))
    assert sum(c[0].text == truth for c, truth in zip(said, truths, strict=True)) >= 5
    for picture, candidates in zip(images, said, strict=True):
        assert 1 <= len(candidates) <= 4
        assert [c.text for c in candidates] == [caption(parse(c.text)) for c in candidates]
        assert [c.likelihood for c in candidates[:1]] > [-1.0]
        told = captioner.likelihood(picture, [c.text for c in candidates])
        assert told[0] == max(told)
        assert told[0] / (len(words(candidates[0].text)) + 1) == pytest.approx(candidates[0].likelihood, abs=1e-3)
    assert captioner.likelihood(images[0], ["a zeppelin"]) == [-100.0]


def test_an_earlier_describer_of_fewer_parts_goes_on_as_one_of_all(scorer, tmp_path):
    whole = new_describer(scorer).config
    earlier = Describer(DescriberConfig(whole.words, whole.stages[:2], looking=0))
    path = tmp_path / "earlier.safetensors"
    save_describer(earlier, scorer, path, {})
    with safe_open(path, "pt") as file:
        told, tensors = file.metadata(), {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    fields = json.loads(told["clipopt_describer"])
    del fields["looking"]  # which its config did not have yet
    save_file(tensors, path, metadata={**told, "clipopt_describer": json.dumps(fields)})
    earlier = load_describer(scorer, path)
    assert earlier.config == DescriberConfig(whole.words, whole.stages[:2], looking=0)
    later = grown(earlier, scorer)
    assert later.config == whole
    assert len(later.looking) == 2
    for name, value in earlier.state_dict().items():
        assert torch.equal(later.state_dict()[name], value), name
    stages = last_stages(scorer, torch.rand(2, 3, 64, 64, generator=generator(1)))
    assert [tuple(s.shape[1:]) for s in stages] == [(16, 8, 8), (32, 4, 4), (32, 8, 8)]
    with torch.no_grad():  # new layers relate no places before they have learnt to
        assert torch.allclose(later.look(stages)[:, :80], earlier.look(stages), atol=1e-6)


def test_trained_killed_and_resumed_it_is_the_same(scorer, plain_world, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(describer, "Recipe", lambda: SMALL)
    monkeypatch.chdir(tmp_path)
    common = ["train", "describer", "--precision", "float32", "--pictures", "painted", "--workers", "1"]
    assert main([*common, "--scorer", "eyes.safetensors", "--out", "whole", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["batches"] == 3

    def interrupted(self, rng, whole=DescriberTrainer.loss):
        if self.done == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(self, rng)

    with monkeypatch.context() as patch:
        patch.setattr(DescriberTrainer, "loss", interrupted)
        assert main([*common, "--scorer", "eyes.safetensors", "--out", "cut"]) == 130
    assert "train describer --resume cut" in capsys.readouterr().err
    assert main(["train", "describer", "--resume", "cut"]) == 0
    one, other = (load_describer(scorer, tmp_path / name / "describer.safetensors") for name in ("whole", "cut"))
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    further = ["--scorer", "eyes.safetensors", "--begin", "whole/describer.safetensors", "--out", "further"]
    monkeypatch.setattr(describer, "Recipe", lambda: Recipe(Stage("still", 1, 8, 0.0, 20.0), 0, 0, 12))
    assert main([*common, *further]) == 0
    other = load_describer(scorer, tmp_path / "further" / "describer.safetensors")
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=0.01, atol=1e-3)
    capsys.readouterr()
    assert main([*common, "--workers", "0"]) == 2
    assert "--workers" in capsys.readouterr().err
    assert main([*common, "--scorer", "missing.safetensors"]) == 2
    assert "missing.safetensors" in capsys.readouterr().err
