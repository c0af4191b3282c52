"""`clipopt latent` as a user runs it, on tiny pipelines and coders of the real classes; its files opened."""

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import diffusers_models as tiny
import numpy as np
import pytest
import torch
from PIL import Image as Picture

from clipopt.cli import main
from clipopt.commands.latent import Latent
from clipopt.io.files import load_image, save
from clipopt.pipelines import run_loop as recorded
from clipopt.pipelines.latent import loop as generating
from clipopt.pipelines.latent.methods import EMBEDDED, METHODS, PUBLISHED, UNIVERSAL, settle
from clipopt.pipelines.models import Models
from clipopt.types import generator

QUICK = ["--size", "16", "--sample-steps", "2", "--crops", "1", "--guidance", "2", "--quiet", "--device", "cpu"]
STEPS = {"noise": "3", "latent": "3", "chain": "3", "guided": "2", "best-of-n": "4", "particles": "9"}


@pytest.fixture(scope="session")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny.stable_diffusion(tmp_path_factory.mktemp("pipeline")))


def latent(pipeline: str, *arguments: Any) -> int:
    return main(["latent", "--generator", pipeline, *map(str, arguments)])


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def log(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_leaves_a_run_with_before_and_after(method: str, pipeline: str, towers: list[str], here: Path):
    asked = ["a red apple", "a blue tree", "--method", method, "--steps", STEPS[method], *QUICK, *towers]
    assert latent(pipeline, *asked, "--out", "one") == 0
    summary = summary_of(here / "one")
    assert summary["status"] == "done"
    assert summary["steps"] == int(STEPS[method])
    for name in ("result.png", "before.png", "sheet.png", "report.html", "progress.gif", "checkpoint.pt"):
        assert (here / "one" / name).is_file(), name
    scores = summary["scores"]
    assert len(scores["judge before"]) == 2
    # The best is never worse than the sample before.
    assert all(best >= before for best, before in zip(scores["score"], scores["score before"], strict=True))
    assert load_image(here / "one" / "result-00.png").shape == (1, 3, 16, 16)
    assert (here / "one" / "result.png").read_bytes() != (here / "one" / "before.png").read_bytes()
    assert set(log(here / "one")[0]["terms"]) >= {"match"}


def test_a_seed_repeats_a_run_and_an_item_alone_is_what_it_is_among_others(
    pipeline: str, towers: list[str], here: Path
):
    asked = ["a red apple", "a blue tree", "--steps", "3", *QUICK, *towers]
    for name in ("one", "two"):
        assert latent(pipeline, *asked, "--out", name) == 0
    assert log(here / "one") == log(here / "two")
    for name in ("result-00.png", "last-01.png"):
        assert np.array_equal(pixels(here / "one" / name), pixels(here / "two" / name))
    assert latent(pipeline, *asked[1:], "--out", "alone") == 0
    alone, both = summary_of(here / "alone")["scores"], summary_of(here / "one")["scores"]
    assert alone["score before"][0] == pytest.approx(both["score before"][1], abs=1e-4)
    assert alone["score"][0] == pytest.approx(both["score"][1], abs=2e-3)


def test_both_rules_of_guidance_guide_each_its_own_way(pipeline: str, towers: list[str], here: Path):
    asked = ["a red apple", "--method", "guided", "--steps", "1", *QUICK, *towers]
    made = {}
    for rule in ("free-dom", "universal"):
        assert latent(pipeline, *asked, "--rule", rule, "--out", rule) == 0
        config = json.loads((here / rule / "config.json").read_text())["config"]
        assert config["rule"] == rule
        made[rule] = pixels(here / rule / "last.png")
        before = pixels(here / rule / "before.png")
        assert not np.array_equal(before, made[rule])
    assert config["scale"] == UNIVERSAL["scale"]
    assert config["backward"] == UNIVERSAL["backward"]
    assert not np.array_equal(*made.values())
    drawn = ["a red apple", "--method", "best-of-n", "--steps", "1", *QUICK, *towers]
    assert latent(pipeline, *drawn, "--out", "alone") == 0
    assert np.array_equal(before, pixels(here / "alone" / "before.png"))  # what the generator makes unguided
    assert latent(pipeline, *asked, "--rule", "universal", "--backward", "0", "--out", "forward") == 0
    assert not np.array_equal(pixels(here / "forward" / "last.png"), made["universal"])


def pixels(path: Path) -> np.ndarray:
    with Picture.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


@pytest.mark.parametrize("method", ["noise", "particles"])
def test_an_interrupted_run_goes_on_bit_for_bit(
    method: str, pipeline: str, towers: list[str], here: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
):
    asked = ["a red apple", "--method", method, "--steps", STEPS[method], *QUICK, *towers]
    assert latent(pipeline, *asked, "--out", "whole") == 0
    look, seen = generating.LatentLoop.look, []

    def once(self: Any, images: Any, step: int) -> Any:
        seen.append(step)
        if len(seen) == 2:
            signal.raise_signal(signal.SIGINT)
        return look(self, images, step)

    with monkeypatch.context() as patch:
        patch.setattr(generating.LatentLoop, "look", once)
        assert latent(pipeline, *asked, "--out", "parts") == 130
    assert "--resume parts" in capsys.readouterr().err
    assert len(log(here / "parts")) == 2
    assert main(["latent", "--resume", "parts", "--quiet"]) == 0
    assert log(here / "parts") == log(here / "whole")
    assert (pixels(here / "parts" / "result.png") == pixels(here / "whole" / "result.png")).all()
    whole, parts = summary_of(here / "whole"), summary_of(here / "parts")
    assert whole["scores"] == parts["scores"]


@pytest.mark.parametrize("method", ["noise", "latent", "guided"])
def test_outside_of_the_mask_the_picture_stays_to_the_bit(method: str, pipeline: str, towers: list[str], here: Path):
    picture = (torch.rand(1, 3, 16, 16, generator=generator(0)) * 255).round() / 255
    mask = torch.zeros(1, 3, 16, 16)
    mask[..., 8:] = 1
    save(here / "given.png", picture)
    save(here / "mask.png", mask)
    more = [] if method == "latent" else ["--strength", "1"]
    edit = ["--init", "given.png", "--mask", "mask.png", "--feather", "0", *more]
    steps = ["--method", method, "--steps", "2", "--out", "edit"]
    assert latent(pipeline, "a red apple", *QUICK, *towers, *edit, *steps) == 0
    result, given = pixels(here / "edit" / "result.png"), pixels(here / "given.png")
    assert (result[:, :8] == given[:, :8]).all()
    assert (result[:, 8:] != given[:, 8:]).any()


@pytest.mark.parametrize("make", [tiny.kl_coder, tiny.vq_coder])
def test_a_coder_alone_is_enough_for_latents(make: Any, towers: list[str], here: Path, capsys: Any):
    make().save_pretrained(here / "coder")
    asked = ["a red apple", *QUICK, *towers, "--out", "run"]
    assert latent("coder", *asked, "--method", "latent", "--steps", "4", "--drift", "0.1", "--lr", "0.3") == 0
    assert set(log(here / "run")[0]["terms"]) == {"match", "drift"}
    assert latent("coder", *asked, "--overwrite") == 2
    assert "model_index.json" in capsys.readouterr().err


def test_noise_rises_and_its_terms_are_what_was_asked_for(pipeline: str, towers: list[str], here: Path):
    more = ["--steps", "12", "--lr", "30", "--clip", "1", "--crops", "0", "--white", "0.001", "--seeds", "2"]
    assert latent(pipeline, "a red apple", *QUICK, *towers, *more, "--out", "run") == 0
    lines, scores = log(here / "run"), summary_of(here / "run")["scores"]
    assert set(lines[0]["terms"]) == {"match", "norm", "white"}
    assert sum(lines[-1]["terms"]["match"]) < sum(lines[0]["terms"]["match"])
    assert sum(scores["score"]) > sum(scores["score before"])
    assert len(scores["whiteness of last"]) == 2


def test_weights_and_negatives_reach_scorer_and_generator(pipeline: str, towers: list[str], here: Path):
    two = ["--scorer", towers[1], "--scorer", towers[3], "--scorer-weight", "2", "--scorer-weight", "1"]
    asked = ['{"a red apple": 1, "snow": -0.5}', "--negative", "text", *two, "--judge", "none", "--steps", "2"]
    assert latent(pipeline, *asked, *QUICK, "--out", "run") == 0
    assert summary_of(here / "run")["items"] == ["a red apple, snow (-0.5), text (-0.3)"]
    settings = Latent(
        ('{"a red apple": 1, "snow": -0.5}',), generator=pipeline, negative=("text",), scorer=(towers[1],),
        judge="none", size="16", sample_steps=1, device="cpu",
    )  # fmt: skip
    making, _ = settings.load(Models())
    assert making.sampler is not None
    assert making.sampler.prompts == ["a red apple"]
    assert making.sampler._negative == "text"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "say what to show"),
        (["a", "--steps", "0"], "--steps must be above 0"),
        (["a", "--norm", "-1"], "--norm must be 0 or more"),
        (["a", "--strength", "0.5"], "--init FILE"),
        (["a", "--mask", "missing.png"], "--init FILE"),
        (["a", "--method", "magic"], "magic"),
        (["a", "--generator", "no such folder"], "unknown generator"),
        (["a", "--scorer-weight", "1", "--scorer-weight", "1"], "once for each"),
        (["a", "--size", "0"], "--size"),
        (["a", "--resume", "run"], "leave out a prompt"),
    ],
)
def test_bad_input_is_told_in_one_line_and_writes_nothing(
    arguments: list[str], said: str, pipeline: str, here: Path, capsys: Any
):
    own = [] if {"--generator", "--resume"} & {*arguments} else ["--generator", pipeline]
    assert main(["latent", *arguments, *own]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert not list(here.iterdir())


def test_a_plan_is_said_and_nothing_written(pipeline: str, towers: list[str], here: Path, capsys: Any):
    assert latent(pipeline, "a red apple", *QUICK, *towers, "--dry-run", "--steps", "3") == 0
    said = capsys.readouterr().out
    assert "sheet.png" in said
    assert "3 steps at 16x16" in said
    assert not list(here.iterdir())


def test_settings_suit_the_generator():
    assert settle("noise", "stabilityai/sd-turbo", {}, {}).sample_steps == 1
    assert settle("best-of-n", "black-forest-labs/FLUX.1-schnell", {}, {}).sample_steps == 4
    assert settle("noise", "x", {"embedded": True, "steps": 3, "guidance": 1.5}, {}).guidance == 1.5
    assert settle("chain", "x", {}, {"sample_steps": 7}).sample_steps == 7
    assert set(PUBLISHED) == set(EMBEDDED) == set(METHODS)
    assert recorded.FRAMES


@pytest.mark.parametrize("method", ["latent", "noise"])
def test_a_pipeline_of_its_own_code_is_refused_by_every_method(method: str, pipeline: str, here: Path, capsys: Any):
    folder = Path(shutil.copytree(pipeline, here / "foreign"))
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"unet": ["evil", "Evil"]}))
    (folder / "unet" / "evil.py").write_text(f"open({str(here / 'ran')!r}, 'w')")
    assert main(["latent", "a cat", "--generator", "foreign", "--method", method]) == 2
    error = capsys.readouterr().err
    assert "never runs code that comes with a model" in error
    assert error.count("\n") == 1
    assert not (here / "ran").exists()
    assert not (here / "outputs").exists()
