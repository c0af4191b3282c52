"""`clipopt story` as a user runs it; its files opened."""

import json
import signal
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
from PIL import Image as Picture

from clipopt.cli import main
from clipopt.io import files
from clipopt.pipelines.film.timeline import Key, Timeline, read_keys
from clipopt.record import Run

PROMPTS = ["a red apple", "a green tree", "a blue star"]
QUICK = [
    "--size", "32x24", "--fps", "4", "--seconds-per-prompt", "1", "--steps", "2", "--first-steps", "3", "--crops", "2",
    "--device", "cpu",
]  # fmt: skip


def story(*arguments: str | Path) -> int:
    return main(["story", *map(str, arguments)])


def pixels(path: Path) -> np.ndarray:
    with Picture.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def log(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    return lines


def test_as_a_user_runs_it(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    assert story(*PROMPTS, *QUICK, *towers, "--zoom", "1.05", "--rotate", "3", "--pan", "-0.01,0.02") == 0
    out, err = capsys.readouterr()
    assert "12 of 12 frames" in err
    folder = here / out.splitlines()[-1]
    assert folder.parent == here / "outputs" / "story"
    frames = sorted((folder / "frames").iterdir())
    assert [path.name for path in frames] == [f"{number:06d}.png" for number in range(12)]
    assert {pixels(path).shape for path in frames} == {(24, 32, 3)}
    assert all(abs(pixels(a) - pixels(b)).max() > 5 for a, b in pairwise(frames))
    assert imageio_ffmpeg.count_frames_and_secs(str(folder / "story.mp4")) == (12, pytest.approx(3, abs=0.1))
    with Picture.open(folder / "story.gif") as film:
        assert (film.n_frames, film.size) == (12, (32, 24))
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["task"], summary["steps"]) == ("done", "story", 12)
    assert summary["items"] == PROMPTS
    assert summary["scores"]["at second"] == [0.75, 1.75, 2.75]
    assert {len(values) for values in summary["scores"].values()} == {3}
    for number, peak in enumerate((3, 7, 11)):
        assert (pixels(folder / f"result-{number:02d}.png") == pixels(frames[peak])).all()
    assert len(log(folder)) == 12
    assert len(log(folder)[0]["score"]) == 3
    page = (folder / "report.html").read_text()
    assert "12 frames in" in page
    assert "data:video/mp4" in page
    for name in ("sheet.png", "result.png", "config.json", "checkpoint.pt"):
        assert (folder / name).stat().st_size > 0, name


def test_interrupted_and_resumed_is_the_same_film(
    here: Path, towers: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    options = [*PROMPTS, *QUICK, *towers, "--quiet"]
    assert story(*options, "--out", "whole") == 0
    written = Run.log

    def interrupt(run: Run, index: int, *arguments: object, **scores: object) -> None:
        written(run, index, *arguments, **scores)
        if index == 4:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Run, "log", interrupt)
    assert story(*options, "--out", "parts") == 130
    assert "clipopt story --resume parts" in capsys.readouterr().err
    summary = json.loads((here / "parts" / "summary.json").read_text())
    assert (summary["status"], summary["steps"], summary["items"]) == ("interrupted", 5, PROMPTS[:2])
    monkeypatch.setattr(Run, "log", written)
    (here / "parts" / "frames" / "000005.png").write_bytes(b"what a killed run left")
    assert story("--resume", "parts", "--quiet") == 0
    assert log(here / "parts") == log(here / "whole")
    for path in (here / "whole" / "frames").iterdir():
        assert path.read_bytes() == (here / "parts" / "frames" / path.name).read_bytes()
    whole, parts = (
        torch.load(here / name / "checkpoint.pt", weights_only=True)["state"] for name in ("whole", "parts")
    )
    for one, other in zip(whole["image"].values(), parts["image"].values(), strict=True):
        assert torch.equal(one, other)
    whole, parts = (json.loads((here / name / "summary.json").read_text()) for name in ("whole", "parts"))
    assert parts["scores"] == whole["scores"]
    before = (here / "parts" / "frames" / "000011.png").stat().st_mtime_ns
    assert story("--resume", "parts", "--quiet") == 0
    assert (here / "parts" / "frames" / "000011.png").stat().st_mtime_ns == before


def test_the_camera_moves_the_picture_and_the_optimizer_draws_on(here: Path, towers: list[str]):
    """With a learning rate of next to nothing each frame is the one before, moved and a little paler."""
    ramp = np.tile(np.linspace(60, 200, 32).astype(np.uint8)[None, :, None], (24, 1, 3))
    Picture.fromarray(ramp).save(here / "start.png")
    still = ["--init", "start.png", "--lr", "1e-9", "--zoom", "1", "--quiet", "--smooth", "0", "--fade"]
    assert story(PROMPTS[0], *QUICK, *towers, *still, "0", "--pan", "0.125", "--out", "pan") == 0
    frames = [pixels(path)[12, :, 0] for path in sorted((here / "pan" / "frames").iterdir())]
    assert abs(frames[0] - ramp[12, :, 0]).max() <= 1
    assert abs(frames[1][:26] - frames[0][4:30]).max() <= 3
    assert abs(frames[2][:22] - frames[0][8:30]).max() <= 3
    assert story(PROMPTS[0], *QUICK, *towers, *still, "0.5", "--out", "fade") == 0
    spread = [pixels(path).std() for path in sorted((here / "fade" / "frames").iterdir())]
    assert spread[1] == pytest.approx(spread[0] / 2, rel=0.05)


def test_each_prompt_is_asked_for_in_its_time(here: Path, towers: list[str]):
    """One film's second half has another prompt: until the blend begins it is the same film."""
    options = [*QUICK, *towers, "--quiet", "--judge", "none", "--out"]
    assert story(*PROMPTS[:2], *options, "one") == 0
    assert story(PROMPTS[0], PROMPTS[2], *options, "two") == 0
    differ = [
        (pixels(here / "one" / "frames" / name) != pixels(here / "two" / "frames" / name)).any()
        for name in (f"{number:06d}.png" for number in range(8))
    ]
    assert differ == [False] * 4 + [True] * 4
    assert "judge" not in json.loads((here / "two" / "summary.json").read_text())["scores"]


def test_not_finite_keeps_the_film_so_far(
    here: Path, towers: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    from clipopt.pipelines.film import loop as filming

    calls = []

    def spoiled(images: torch.Tensor) -> torch.Tensor:
        calls.append(0)
        return images.sum((1, 2, 3)) * (float("nan") if len(calls) == 8 else 0.0)

    monkeypatch.setattr(filming.losses, "total_variation", spoiled)
    assert story(*PROMPTS, *QUICK, *towers, "--quiet", "--out", "run") == 1
    assert "'smooth'" in capsys.readouterr().err
    summary = json.loads((here / "run" / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("failed", 3)
    assert (here / "run" / "story.gif").is_file()


def test_a_timeline_from_a_file(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    (here / "story.txt").write_text('# two prompts\n0 a red apple\n\n0.5 {"a tree": 1, "text": -0.3}\n')
    entries = [{"at": 0, "prompt": "a red apple"}, {"at": 0.5, "prompt": {"a tree": 1, "text": -0.3}}]
    (here / "story.json").write_text(json.dumps(entries))
    assert read_keys(here / "story.txt") == read_keys(here / "story.json")
    assert story("--timeline", "story.txt", *QUICK, *towers, "--out", "run", "--quiet", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["items"] == ["a red apple", "a tree, text (-0.3)"]
    assert summary["steps"] == 6
    (here / "story.txt").write_text("0 a fox\n")
    assert story("--resume", "run") == 2
    assert "timeline" in capsys.readouterr().err


def test_dry_run_writes_nothing(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    assert story(*PROMPTS, *QUICK, *towers, "--dry-run", "--out", "run") == 0
    plan = json.loads(capsys.readouterr().out)
    assert (plan["frames"], plan["steps"], plan["seconds"], plan["folder"]) == (12, 3 + 11 * 2, 3.0, "run")
    assert [key["peak"] for key in plan["timeline"]] == [0.75, 1.75, 3.0]
    assert list(here.iterdir()) == []


def test_overwrite_replaces_the_film_and_nothing_else(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    options = [*QUICK, *towers, "--quiet", "--out", "run"]
    assert story(*PROMPTS, *options) == 0
    assert story(PROMPTS[0], *options) == 2
    assert "--overwrite" in capsys.readouterr().err
    (here / "run" / "frames" / "mine.png").write_bytes(b"")
    assert story(PROMPTS[0], *options, "--overwrite") == 0
    left = sorted(path.name for path in (here / "run" / "frames").iterdir())
    assert left == ["000000.png", "000001.png", "000002.png", "000003.png", "mine.png"]
    assert not (here / "run" / "result-02.png").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "say what to show"),
        (["  "], "empty"),
        (["{broken"], "JSON object"),
        ([*PROMPTS, "--timeline", "good.txt"], "leave out the others"),
        (["--timeline", "missing.txt"], "missing.txt"),
        (["--timeline", "words.txt"], "line 1"),
        (["--timeline", "late.txt"], "begin at second 0"),
        (["--timeline", "back.txt"], "follow one another"),
        (["--timeline", "broken.json"], "no JSON"),
        (["--timeline", "other.json"], "list of objects"),
        (["--timeline", "number.json"], "must be text"),
        ([*PROMPTS, "--seconds-per-prompt", "0"], "--seconds-per-prompt"),
        ([*PROMPTS, "--seconds-per-prompt", "0.05"], "frame of its own"),
        ([*PROMPTS, "--blend", "2"], "--blend"),
        ([*PROMPTS, "--fps", "0"], "--fps"),
        ([*PROMPTS, "--zoom", "0"], "--zoom"),
        ([*PROMPTS, "--pan", "left"], "--pan"),
        ([*PROMPTS, "--pan", "1,2,3"], "--pan"),
        ([*PROMPTS, "--rotate", "nan"], "--rotate"),
        ([*PROMPTS, "--fade", "1"], "--fade"),
        ([*PROMPTS, "--steps", "0"], "--steps"),
        ([*PROMPTS, "--smooth", "-1"], "--smooth"),
        ([*PROMPTS, "--size", "1000000"], "TB of memory"),
        ([*PROMPTS, "--init", "words.txt"], "words.txt"),
        ([*PROMPTS, "--scorer", "no such scorer"], "no such scorer"),
        ([*PROMPTS, "--out", "."], "not empty"),
        (["--resume", "missing"], "missing"),
        (["--resume", ".", "--zoom", "2"], "leave out --zoom"),
        ([PROMPTS[0], "--resume", "."], "leave out a prompt"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    arguments: list[str], reason: str, here: Path, towers: list[str], capsys: pytest.CaptureFixture
):
    texts = {
        "good.txt": "0 a fox", "words.txt": "a fox", "late.txt": "1 a fox", "back.txt": "0 a fox\n0 a star",
        "broken.json": "[", "other.json": '[{"at": 0}]', "number.json": '[{"at": 0, "prompt": 3}]',
    }  # fmt: skip
    for name, text in texts.items():
        (here / name).write_text(text)
    given = [] if "--resume" in arguments or "--scorer" in arguments else towers
    assert story(*arguments, *given) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.startswith("clipopt: ")
    assert err.count("\n") == 1
    assert {path.name for path in here.iterdir()} == texts.keys()


def test_shares_pass_from_prompt_to_prompt():
    timeline = Timeline([Key(0, {"a": 1.0}), Key(2, {"b": 1.0}), Key(3, {"c": 1.0})], end=5, blend=0.5)
    assert timeline.shares(0) == [1, 0, 0]
    assert timeline.shares(1.75) == [1, 0, 0]
    assert timeline.shares(2) == pytest.approx([0.5, 0.5, 0])
    assert timeline.shares(2.25) == pytest.approx([0, 1, 0])
    assert timeline.shares(5) == [0, 0, 1]
    assert timeline.peaks() == [1.75, 2.75, 5]
    for second in np.linspace(0, 5, 101):
        shares = timeline.shares(second)
        assert sum(shares) == pytest.approx(1)
        assert min(shares) >= 0
        assert sum(share > 0 for share in shares) <= 2
    cut = Timeline([Key(0, {"a": 1.0}), Key(2, {"b": 1.0})], end=4, blend=0)
    assert (cut.shares(1.999), cut.shares(2)) == ([1, 0], [0, 1])


def test_the_contact_sheet_shows_the_film(here: Path, towers: list[str]):
    assert story(*PROMPTS, *QUICK, *towers, "--quiet", "--out", "run") == 0
    sheet = files.load_image(here / "run" / "sheet.png")
    assert sheet.shape[-1] == pytest.approx(6 * 192, rel=0.05)
    assert 2 * 144 < sheet.shape[-2] < 2 * 192
