"""Training of the embedded generator: its reader of words is the scorer's, it learns, and resumes exactly."""

import json
import os
import signal
from dataclasses import replace
from functools import partial

import pytest
import torch

from clipopt import diffusion
from clipopt.scorers import load_scorer
from recipes.embedded import generator, generator_models
from recipes.embedded.__main__ import main
from recipes.embedded.generator import CoderTrainer, Recipe, Stage

SMALL = Recipe(stages=(Stage("coder", 3, 4, 1e-3, 10.0), Stage("denoiser", 3, 4, 1e-3, 20.0)), pictures=12)


def test_the_words_are_read_exactly_as_the_scorer_reads_them():
    towers = load_scorer("embedded").towers
    reader, tokenizer = (
        generator_models.text_encoder(towers.text, towers.config),
        generator_models.new_tokenizer(towers.config),
    )
    texts = ["A red cat, left of 2 dogs!", "two green apples on a blue background"]
    told = tokenizer(texts, padding="max_length", max_length=24, truncation=True, return_tensors="pt")
    ids = towers.tokenize(texts)
    assert torch.equal(told.input_ids[:, : ids.shape[1]], ids)
    seen = reader(told.input_ids, attention_mask=told.attention_mask)[0][:, : ids.shape[1]]
    kept = (ids != 0).float().unsqueeze(-1)
    pooled = (seen * kept).sum(1) / kept.sum(1)
    rows = torch.nn.functional.normalize(towers.text.head(pooled), dim=-1)
    torch.testing.assert_close(rows, towers.text(ids), rtol=1e-4, atol=1e-5)


@pytest.fixture
def here(plain_world, tmp_path, monkeypatch):
    monkeypatch.setattr(generator, "Recipe", lambda: SMALL)
    monkeypatch.setattr(generator_models, "SIDE", 64)
    monkeypatch.setattr(generator, "paint", partial(generator.paint, side=64))
    make = partial(generator_models.new_coder, channels=(8, 8, 8, 8), side=64)
    monkeypatch.setattr(generator, "new_coder", make)
    denoiser = partial(generator_models.new_denoiser, channels=(16, 32), side=8)
    monkeypatch.setattr(generator, "new_denoiser", denoiser)
    monkeypatch.chdir(tmp_path)
    return tmp_path


STILL = Stage("denoiser", 1, 8, 0.0, 20.0)
COMMON = ["train", "generator", "--precision", "float32", "--pictures", "painted", "--save-every", "1"]


def test_trained_killed_and_resumed_it_is_one_pipeline_of_diffusers(here, monkeypatch, capsys):
    assert main([*COMMON, "--out", "whole", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["batches"] == {"coder": 3, "denoiser": 3}
    assert summary["seconds_of_training"] > 0
    pipe = diffusion.load_pipeline(str(here / "whole" / "generator"))
    assert type(pipe).__name__ == "StableDiffusionPipeline"
    images = diffusion.Sampler(pipe, ["a red circle"], [0], steps=2, guidance=2.0)(torch.zeros(1, 8, 8, 8))
    assert images.shape == (1, 3, 64, 64)
    assert diffusion.load.facts_of(str(here / "whole" / "generator"))["embedded"] is True
    assert not (here / "whole" / "latents.pt").exists()

    def interrupted(self, rng, whole=CoderTrainer.loss):
        if self.done == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(self, rng)

    with monkeypatch.context() as patch:
        patch.setattr(CoderTrainer, "loss", interrupted)
        assert main([*COMMON, "--out", "cut"]) == 130
    assert "--resume cut" in capsys.readouterr().err
    assert main([*COMMON[:2], "--resume", "cut", "--pictures", "painted"]) == 0
    other = diffusion.load_pipeline(str(here / "cut" / "generator"))
    for part in ("vae", "unet"):
        for one, two in zip(getattr(pipe, part).parameters(), getattr(other, part).parameters(), strict=True):
            assert torch.equal(one, two)


def test_it_begins_at_an_earlier_one_and_keeps_its_coder(here, monkeypatch, capsys):
    assert main([*COMMON, "--out", "whole"]) == 0
    monkeypatch.setattr(generator, "Recipe", lambda: replace(SMALL, stages=(SMALL.stages[0], STILL)))
    capsys.readouterr()
    assert main([*COMMON, "--begin", "whole/generator", "--out", "later", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["batches"] == {"denoiser": 1}
    one, other = (diffusion.load_pipeline(str(here / name / "generator")) for name in ("whole", "later"))
    for part, near in (("vae", 0.0), ("unet", 1e-3)):
        for a, b in zip(getattr(one, part).parameters(), getattr(other, part).parameters(), strict=True):
            assert torch.allclose(a, b, rtol=0, atol=near)
    assert str(here) not in "".join(p.read_text() for p in (here / "later" / "generator").rglob("config.json"))
    assert main([*COMMON, "--begin", "whole", "--out", "never"]) == 2
    assert "--begin takes" in capsys.readouterr().err


@pytest.mark.slow
def test_both_models_learn(here):
    scorer, eye = load_scorer("embedded"), load_scorer("embedded-plain")
    recipe = Recipe(stages=(Stage("coder", 24, 8, 1e-2, 10.0), Stage("denoiser", 25, 8, 1e-2, 20.0)), pictures=12)
    list(generator.paint(recipe, scorer, here / "painted"))
    painted = generator.Painted(here / "painted")
    coder = CoderTrainer(recipe, painted, eye, amp=False)
    losses = [figures["pixels"] for figures in coder.run()]
    assert sum(losses[-4:]) < 0.95 * sum(losses[:4])
    latents = torch.cat(list(generator.encode(coder.average, painted, amp=False)))
    denoiser = generator.DenoiserTrainer(recipe, latents / latents.std(), painted.ids, scorer, amp=False)
    losses = [figures["loss"] for figures in denoiser.run()]
    assert sum(losses[-4:]) < 0.95 * sum(losses[:4])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--share", "2"], "--share must lie above 0"),
        (["--resume", "nowhere"], "no training to resume"),
        (["--scorer", "missing.safetensors"], "missing.safetensors"),
    ],
)
def test_bad_input_is_told_in_one_line(here, arguments, said, capsys):
    assert main(["train", "generator", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(here.iterdir())
