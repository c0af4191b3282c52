"""`clipopt image` as a user runs it; its files opened."""

import json
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from image_runs import PROMPT, QUICK, assert_same, child, image, log, pixels, state
from PIL import Image as Picture

from clipopt.pipelines import run_loop as recorded
from clipopt.pipelines.checks import parse_size
from clipopt.pipelines.edits import Edit
from clipopt.pipelines.image import loop as drawing
from clipopt.pipelines.image.loop import ImageLoop, ImagePlan, Item
from clipopt.pipelines.kinds import has_natural
from clipopt.record import Run
from clipopt.scorers import load_scorer


def test_as_a_user_runs_it(here: Path, towers: list[str]):
    process = child([PROMPT, *QUICK, *towers], cwd=here)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert "12 of 12 steps" in err
    assert "score 0." in err
    assert "judge " in err
    folder = here / out.splitlines()[-1]
    assert folder.parent == here / "outputs" / "image"
    assert folder.name.endswith("a-red-apple-on-a-blue-background")
    assert pixels(folder / "result.png").shape == (24, 40, 3)
    summary = json.loads((folder / "summary.json").read_text())
    assert summary["status"] == "done"
    assert summary["items"] == [PROMPT]
    assert summary["steps"] == 12
    assert len(summary["scores"]["score"]) == len(summary["scores"]["judge"]) == 1
    assert summary["fingerprints"].keys() == {"scorer", "judge"}
    assert len(log(folder)) == 12
    assert log(folder)[0]["terms"].keys() == {"match", "smooth"}
    for name in ("best.png", "last.png", "progress.mp4", "progress.gif", "report.html", "config.json"):
        assert (folder / name).stat().st_size > 0, name


def test_json_stands_alone_on_stdout(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    assert image(PROMPT, *QUICK, *towers, "--json", "--quiet", "--out", "run") == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["folder"] == "run"
    assert err == ""


def test_best_is_what_the_scorer_liked_best(here: Path, towers: list[str]):
    assert image(PROMPT, *QUICK, *towers, "--out", "run", "--quiet", "--lr", "3") == 0
    scores = {line["step"] + 1: line["score"][0] for line in log(here / "run") if "score" in line}
    summary = json.loads((here / "run" / "summary.json").read_text())
    (best,), (step,) = summary["scores"]["score"], summary["scores"]["best step"]
    assert best >= max(scores.values())
    assert step == 0 or scores[step] == best


def test_score_rises(here: Path, towers: list[str]):
    assert image(PROMPT, *QUICK, *towers, "--out", "run", "--quiet", "--steps", "30") == 0
    scores = [line["score"][0] for line in log(here / "run") if "score" in line]
    assert scores[-1] > scores[0] + 0.05


def test_interrupted_and_resumed_is_the_same_run(here: Path, towers: list[str], monkeypatch: pytest.MonkeyPatch):
    options = [PROMPT, "a green tree", "--seeds", "2", *QUICK, *towers, "--quiet"]
    assert image(*options, "--out", "whole") == 0
    written = Run.log

    def interrupt(run: Run, index: int, *arguments: object, **scores: object) -> None:
        written(run, index, *arguments, **scores)
        if index == 4:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "log", interrupt)
    assert image(*options, "--out", "parts") == 130
    assert json.loads((here / "parts" / "summary.json").read_text())["status"] == "interrupted"
    assert len(log(here / "parts")) == 5
    monkeypatch.setattr(Run, "log", written)
    assert image("--resume", "parts", "--quiet") == 0
    assert_same(state(here / "parts"), state(here / "whole"))
    assert log(here / "parts") == log(here / "whole")
    whole, parts = (json.loads((here / name / "summary.json").read_text()) for name in ("whole", "parts"))
    assert parts["status"] == "done"
    assert parts["scores"] == whole["scores"]
    for name in ("result.png", "last.png", "result-03.png"):
        assert (pixels(here / "parts" / name) == pixels(here / "whole" / name)).all()


def test_resuming_a_finished_run_changes_nothing(here: Path, towers: list[str]):
    assert image(PROMPT, *QUICK, *towers, "--out", "run", "--quiet") == 0
    before = state(here / "run")
    assert image("--resume", "run", "--quiet") == 0
    assert_same(state(here / "run"), before)
    assert len(log(here / "run")) == 12


def test_ctrl_c_saves_and_kill_leaves_a_run_to_resume(here: Path, towers: list[str]):
    process = child([PROMPT, *QUICK, *towers, "--steps", "5000", "--out", "run"], cwd=here)
    _wait_for_steps(here / "run", 5)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out == ""
    assert "clipopt image --resume run" in err.splitlines()[-1]
    assert "Traceback" not in err
    steps = len(log(here / "run"))
    assert json.loads((here / "run" / "summary.json").read_text())["steps"] == steps
    process = child(["--resume", "run"], cwd=here)
    _wait_for_steps(here / "run", steps + 5)
    process.kill()
    process.communicate()
    assert image("--resume", "run", "--dry-run") == 0
    assert Run.resume(here / "run", "image").step == steps


def _wait_for_steps(folder: Path, count: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if (folder / "steps.jsonl").exists() and (folder / "steps.jsonl").read_text().count("\n") >= count:
            return
        time.sleep(0.05)
    raise TimeoutError(folder)


def test_neighbours_do_not_matter(here: Path, towers: list[str]):
    options = [*QUICK, *towers, "--quiet", "--out"]
    assert image(PROMPT, "--seed", "1", *options, "alone") == 0
    assert image("a green tree", PROMPT, "--seeds", "2", *options, "batch") == 0
    alone, batched = pixels(here / "alone" / "last.png"), pixels(here / "batch" / "last-03.png")
    assert abs(alone - batched).max() <= 1
    assert abs(pixels(here / "batch" / "last-02.png") - batched).max() > 1


@pytest.mark.usefixtures("unnatural")
def test_several_scorers_guide_together(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    first, second = towers[1], towers[3]
    options = ["--scorer", first, "--scorer", second, "--judge", "none", "--quiet"]
    assert image("a cyberpunk fox", *QUICK, *options, "--out", "run") == 0
    assert capsys.readouterr().err.count("cyberpunk") == 2
    assert log(here / "run")[0]["terms"].keys() == {"match", "match 2", "smooth"}
    config = json.loads((here / "run" / "config.json").read_text())
    assert config["config"]["scorer"] == [first, second]
    assert config["fingerprints"].keys() == {"scorer", "scorer 1"}
    one, both = log(here / "run")[0]["score"], log(here / "run")[-1]["score"]
    assert both > one
    assert image("--resume", "run", "--quiet") == 0


def test_scorers_have_weights_and_join_later(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    options = ["a red fox", *QUICK, "--scorer", towers[1], "--scorer", towers[3], "--judge", "none", "--quiet"]
    late = ["--scorer-weight", "3", "--scorer-weight", "1", "--scorer-start", "0", "--scorer-start", "0.5"]
    assert image(*options, *late, "--out", "late") == 0
    assert image(*options, *late[:4], "--out", "both") == 0
    late_terms, terms = ([line["terms"] for line in log(here / name)] for name in ("late", "both"))
    joined = [float(np.sum(line["match 2"])) > 0 for line in late_terms]
    assert joined == [False] * 6 + [True] * 6
    # The same picture in the first step, where alone a scorer counts for all, and beside the other for 3 of 4.
    assert np.sum(terms[0]["match"]) == pytest.approx(0.75 * np.sum(late_terms[0]["match"]), rel=1e-4)
    assert image("--resume", "late", "--quiet") == 0
    capsys.readouterr()
    for wrong, reason in (
        (["--scorer-weight", "1"], "once for each of 2 --scorer"),
        (["--scorer-weight", "1", "--scorer-weight", "0"], "--scorer-weight must be above 0"),
        (["--scorer-start", "0.5", "--scorer-start", "0"], "--scorer-start must be 0 for the first"),
    ):
        assert image(*options, *wrong) == 2
        assert reason in capsys.readouterr().err


def test_the_best_of_several_starts_is_drawn(here: Path, towers: list[str]):
    """Each item by itself, and resumed without choosing anew."""
    scorer = load_scorer(towers[1])
    plan = ImagePlan(40, 24, steps=20, crops=2)
    items = [Item({PROMPT: 1.0}, seed, "") for seed in (0, 1)]

    def after(start: int) -> torch.Tensor:
        made = ImageLoop(plan, items, scorer)
        made._starts = [start] * 2
        made.enter(0)
        list(made.steps(0, 4))
        return made._score(made.pictures())

    alone = torch.stack([after(start) for start in range(3)])
    made = ImageLoop(replace(plan, tries=3), items, scorer)
    assert len(list(made.draw())) == 20
    assert made._starts == alone.argmax(0).tolist()
    assert len(set(alone.flatten().tolist())) == 6
    single = ImageLoop(replace(plan, tries=3), items[1:], scorer)
    list(single.draw())
    assert single._starts == made._starts[1:]
    torch.testing.assert_close(single.pictures(), made.pictures()[1:], atol=1e-2, rtol=0)
    given = ImageLoop(replace(plan, tries=3), items, scorer, edit=Edit(init=torch.full((1, 3, 24, 40), 0.5)))
    list(given.draw())
    assert given._starts == [0, 0]


def test_checkpoints_take_a_small_share_of_the_time(here: Path, towers: list[str], monkeypatch: pytest.MonkeyPatch):
    def saves(share: float) -> int:
        made: list[int] = []
        save = Run.save
        with monkeypatch.context() as patch:
            patch.setattr(recorded, "CHECKPOINT_SECONDS", 0.0)
            patch.setattr(recorded, "SAVING", share)
            patch.setattr(Run, "save", lambda run, state: (made.append(1), save(run, state)))
            assert image(PROMPT, *QUICK, *towers, "--quiet", "--out", f"share {share}") == 0
        return len(made)

    assert saves(1e9) == 12 + 1
    assert saves(1e-9) == 1 + 1


def test_starts_from_a_picture(here: Path, towers: list[str]):
    ramp = np.linspace(0, 255, 40 * 24 * 3).reshape(24, 40, 3).astype(np.uint8)
    Picture.fromarray(ramp).save(here / "start.png")
    assert image(PROMPT, *QUICK, *towers, "--init", "start.png", "--lr", "1e-9", "--quiet", "--out", "run") == 0
    assert abs(pixels(here / "run" / "last.png") - ramp).max() <= 3


def test_every_parameterization_and_odd_sizes(here: Path, towers: list[str]):
    for kind in ("pixels", "pyramid", "fourier"):
        assert image(PROMPT, *QUICK, *towers, "--param", kind, "--size", "33x47", "--quiet", "--out", kind) == 0
        assert pixels(here / kind / "result.png").shape == (47, 33, 3)


def test_weights_negatives_and_image_prompts_reach_the_target(here: Path, towers: list[str]):
    Picture.new("RGB", (8, 8), "red").save(here / "red.png")
    options = [*QUICK, *towers, "--quiet", "--image-prompt", "red.png"]
    assert image('{"a fox": 2, "snow": -0.5}', "--negative", "text", *options, "--out", "both") == 0
    assert json.loads((here / "both" / "summary.json").read_text())["items"] == [
        "a fox (2), snow (-0.5), text (-0.3), like red.png"
    ]
    assert image(*options, "--out", "picture") == 0
    config = json.loads((here / "picture" / "config.json").read_text())
    assert config["config"]["prompts"] == []
    assert "image-prompt 0" in config["fingerprints"]
    Picture.new("RGB", (8, 8), "blue").save(here / "red.png")
    assert image("--resume", "picture") == 2


@pytest.mark.usefixtures("unnatural")
def test_unknown_words_are_named(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    assert image("a cyberpunk fox in the rain", *QUICK, *towers, "--quiet", "--json", "--out", "run") == 0
    out, err = capsys.readouterr()
    assert '"cyberpunk", "rain"' in err
    assert "--scorer openai/clip-vit-base-patch32" in err
    assert err.count("\n") == 1
    assert "judge" not in json.loads(out)["scores"]


@pytest.mark.skipif(not has_natural(), reason="needs the packages of clipopt[natural]")
def test_unknown_words_are_carried_to_known_ones(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    assert image("a cyberpunk fox in the rain", *QUICK, *towers, "--quiet", "--json", "--out", "run") == 0
    out, err = capsys.readouterr()
    assert err.endswith('reads "a cyberpunk fox in the rain" as "a fox"\n')
    summary = json.loads(out)
    assert summary["scores"]["judge"][0] is not None
    assert any("a fox" in words for words in summary["readings"][0].values())


def test_dry_run_writes_nothing(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    assert image(PROMPT, *QUICK, *towers, "--dry-run", "--json", "--out", "run") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["folder"] == "run"
    assert plan["settings"]["steps"] == 12
    assert list(here.iterdir()) == []


def test_out_is_never_overwritten_unasked(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    options = [PROMPT, *QUICK, *towers, "--quiet", "--out", "run"]
    assert image(*options) == 0
    before = (here / "run" / "summary.json").read_bytes()
    assert image(*options, "--seed", "1") == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (here / "run" / "summary.json").read_bytes() == before
    assert image(*options, "--seed", "1", "--overwrite") == 0
    assert json.loads((here / "run" / "config.json").read_text())["config"]["seed"] == 1


def test_not_finite_keeps_the_best_and_names_step_and_term(
    here: Path, towers: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def spoiled(images: torch.Tensor) -> torch.Tensor:
        calls.append(0)
        return images.sum((1, 2, 3)) * (float("nan") if len(calls) == 8 else 0.0)

    monkeypatch.setattr(drawing.losses, "total_variation", spoiled)
    assert image(PROMPT, *QUICK, *towers, "--tries", "1", "--quiet", "--out", "run") == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "step 7" in err
    assert "'smooth'" in err
    assert "run" in err
    summary = json.loads((here / "run" / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("failed", 7)
    assert "'smooth'" in summary["reason"]
    assert pixels(here / "run" / "result.png").shape == (24, 40, 3)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "say what to show"),
        ([""], "empty"),
        (["  "], "empty"),
        (["{broken"], "JSON object"),
        ([PROMPT, "--negative", ""], "empty"),
        ([PROMPT, "--negative", PROMPT], "both wanted and negative"),
        ([PROMPT, "--init", "missing.png"], "missing.png"),
        ([PROMPT, "--init", "words.txt"], "words.txt"),
        ([PROMPT, "--init", "."], "folder"),
        ([PROMPT, "--image-prompt", "words.txt"], "words.txt"),
        ([PROMPT, "--steps", "0"], "--steps"),
        ([PROMPT, "--steps", "-3"], "--steps"),
        ([PROMPT, "--steps", "many"], "--steps"),
        ([PROMPT, "--seeds", "0"], "--seeds"),
        ([PROMPT, "--crops", "0"], "--crops"),
        ([PROMPT, "--lr", "0"], "--lr"),
        ([PROMPT, "--lr", "nan"], "--lr"),
        ([PROMPT, "--smooth", "inf"], "--smooth"),
        ([PROMPT, "--scorer", "no such scorer"], "no such scorer"),
        ([PROMPT, "--scorer", "words.txt"], "words.txt"),
        ([PROMPT, "--scorer", "missing.safetensors"], "missing.safetensors"),
        ([PROMPT, "--judge", "no such judge"], "no such judge"),
        ([PROMPT, "--param", "oil"], "oil"),
        ([PROMPT, "--size", "0"], "--size"),
        ([PROMPT, "--size", "256x0"], "--size"),
        ([PROMPT, "--size", "-5"], "--size"),
        ([PROMPT, "--size", "large"], "--size"),
        ([PROMPT, "--size", "1000000"], "288 TB of memory"),
        ([PROMPT, "--seeds", "1000000"], "TB of memory"),
        ([PROMPT, "--device", "abacus"], "abacus"),
        ([PROMPT, "--out", "words.txt"], "words.txt"),
        ([PROMPT, "--out", "words.txt/run"], "words.txt"),
        ([PROMPT, "--out", "."], "not empty"),
        ([PROMPT, "--nonsense"], "--nonsense"),
        (["--resume", "missing"], "missing"),
        (["--resume", "."], "config.json"),
        (["--resume", ".", "--lr", "5"], "leave out --lr"),
        ([PROMPT, "--resume", "."], "leave out a prompt"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    arguments: list[str], reason: str, here: Path, towers: list[str], capsys: pytest.CaptureFixture
):
    (here / "words.txt").write_text("no picture")
    given = [] if "--resume" in arguments else [o for o in towers if towers[towers.index(o) - 1] not in arguments]
    given = [o for o in given if o not in arguments]
    assert image(*arguments, *given) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.startswith("clipopt: ")
    assert err.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["words.txt"]


def test_a_checkpoint_cut_short_is_refused(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    assert image(PROMPT, *QUICK, *towers, "--quiet", "--out", "run") == 0
    checkpoint = here / "run" / "checkpoint.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    before = sorted((path.name, path.stat().st_mtime_ns) for path in (here / "run").iterdir())
    capsys.readouterr()
    assert image("--resume", "run") == 2
    assert "checkpoint" in capsys.readouterr().err
    assert sorted((path.name, path.stat().st_mtime_ns) for path in (here / "run").iterdir()) == before


@pytest.mark.parametrize(("text", "size"), [("256", (256, 256)), ("384x256", (384, 256)), ("3×5", (3, 5))])
def test_sizes(text: str, size: tuple[int, int]):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "x", "3x", "x3", "1x2x3", "1.5", "²", "٣", " 3", "1e3", "9" * 30])
def test_no_sizes(text: str):
    with pytest.raises(ValueError, match="--size"):
        parse_size(text)
