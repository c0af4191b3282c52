"""Pipelines from Python: the same bytes as the commands, step by step, with models of one's own."""

import json
from pathlib import Path

import pytest
import torch
from diffusers_models import stable_diffusion
from toy import ToyScorer

import clipopt as co
from clipopt.cli import main
from clipopt.pipelines.pipeline import Pipeline

SMALL = {
    "image": (co.pipelines.Image, ("a red apple", "a green tree"), {
        "size": 24, "steps": 4, "crops": 2, "param": "pyramid",
    }),
    "mesh": (co.pipelines.Mesh, ("a red apple",), {"faces": 80, "steps": 2, "views": 2, "mesh": "cube"}),
    "story": (co.pipelines.Film, ("a red apple", "a green tree"), {
        "size": "24x16", "fps": 2.0, "steps": 1, "first_steps": 2, "crops": 2, "seconds_per_prompt": 1.0,
    }),
}  # fmt: skip
RESULTS = {"image": ("result-00.png", "result-01.png"), "mesh": ("result.glb", "result.png"), "story": ("result.png",)}


def words(settings: dict) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


@pytest.mark.parametrize("task", SMALL)
def test_the_same_bytes_as_the_command(task: str, towers: list[str], here: Path):
    kind, prompts, settings = SMALL[task]
    assert main([task, *prompts, *words(settings), *towers, "--seed", "3", "--out", "told", "--quiet"]) == 0
    pipe = kind(scorer=towers[1], judge=towers[3], **settings)
    result = pipe(*prompts, seed=3, quiet=True)
    assert result.save("made") == Path("made")
    for name in (*RESULTS[task], "previews/0000000.jpg"):
        if (here / "told" / name).exists() or not name.startswith("previews"):
            assert (here / "made" / name).read_bytes() == (here / "told" / name).read_bytes()
    told, made = (json.loads((here / folder / "config.json").read_text()) for folder in ("told", "made"))
    assert made["config"] == told["config"]
    assert {"report.html", "summary.json", "steps.jsonl"} <= {path.name for path in (here / "made").iterdir()}
    assert len(result.images) == len(prompts)
    assert len(result.scores["score"]) == len(prompts)


def test_step_by_step_with_models_of_ones_own(here: Path):
    scorer = ToyScorer()
    pipe = co.pipelines.Image(
        scorer=scorer, judge="none", param="pyramid", size=16, steps=5, crops=2, begin="noise", tries=1
    )
    seen = []
    for progress in pipe.steps("a red apple", {"a tree": 1.0, "snow": -0.5}, seed=1):
        assert set(progress.terms) == {"match", "smooth"}
        assert progress.images.shape == (2, 3, 16, 16)
        seen.append(progress.done)
        if progress.done == 3:
            break
    assert seen == [1, 2, 3]
    assert progress.loop.items[1].prompt == {"a tree": 1.0, "snow": -0.5}
    assert pipe.loop("a red apple").sights["score"]["match"].asked[0].scorer is scorer
    assert not list(here.iterdir())


def test_settings_are_read_as_a_person_writes_them(here: Path):
    picture = here / "given.png"
    co.save(picture, torch.rand(1, 3, 16, 16))
    pipe = co.pipelines.Image(scorer=[ToyScorer(), ToyScorer()], init=str(picture), size=(16), negative="snow")
    asked = pipe._told(("a fox",), {"was": "a cat", "seed": 2})
    assert (asked.size, asked.negative, asked.editing.init, asked.editing.was) == ("16", ("snow",), picture, "a cat")
    assert len(set(asked.scorer)) == 2
    with pytest.raises(TypeError, match="no setting 'stepz', did you mean 'steps'"):
        pipe("a fox", stepz=3)
    with pytest.raises(ValueError, match="--steps must be above 0"):
        pipe("a fox", steps=0)


def test_a_result_never_overwrites_what_it_does_not_know(towers: list[str], here: Path):
    result = co.pipelines.Image(scorer=towers[1], judge="none", param="pyramid", size=16, steps=1, crops=1)(
        "a fox", quiet=True
    )
    (here / "mine").mkdir()
    (here / "mine" / "letter.txt").write_text("keep")
    with pytest.raises(ValueError, match="mine"):
        result.save("mine")
    assert [path.name for path in (here / "mine").iterdir()] == ["letter.txt"]
    result.save("run")
    result.save("run", overwrite=True)
    assert main(["image", "--resume", "run", "--steps", "2", "--quiet"]) == 0
    assert json.loads((here / "run" / "summary.json").read_text())["steps"] == 2


@pytest.mark.parametrize(
    "kind", [co.pipelines.Image, co.pipelines.Latent, co.pipelines.Mesh, co.pipelines.Motion, co.pipelines.Film]
)
def test_every_pipeline_says_what_is_missing(kind: type[Pipeline]):
    with pytest.raises(ValueError, match="say what to"):
        kind()()


def test_a_generator_that_is_loaded_is_the_one_by_its_name(tmp_path: Path, towers: list[str]):
    folder = stable_diffusion(tmp_path)
    common = {"scorer": towers[1], "judge": "none", "size": 16, "sample_steps": 1, "steps": 2, "crops": 2}
    named = co.pipelines.Latent(generator=str(folder), **common)("a red apple", quiet=True)
    given = co.pipelines.Latent(generator=co.diffusion.load_pipeline(str(folder)), **common)
    assert torch.equal(given("a red apple", quiet=True).images, named.images)
    assert [progress.done for progress in given.steps("a red apple", method="best-of-n")] == [1, 2]
