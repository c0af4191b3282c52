"""Runs of commands that are stopped, fail, meet another writer, or are made longer."""

import errno
import html
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from image_runs import PROMPT, QUICK, assert_same, child, image, log, pixels, state

import clipopt.cli
from clipopt.io import files
from clipopt.pipelines import kinds
from clipopt.pipelines import vocabulary as words
from clipopt.pipelines.image import loop as drawing
from clipopt.record import Run

REPEAT = re.compile(r"Repeat this run.*?<pre>(.*?)</pre>", re.DOTALL)


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def told(capsys: pytest.CaptureFixture) -> str:
    """The one line that a command said."""
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1, err
    assert err.startswith("clipopt: ")
    return err


@pytest.fixture(scope="module")
def finished(towers: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert image(PROMPT, *QUICK, *towers, "--quiet", "--out", folder) == 0
    return folder


@pytest.fixture
def whole(finished: Path, here: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(finished, here / "whole"))


@pytest.mark.skipif(not hasattr(signal, "SIGTERM"), reason="needs the signals of POSIX")
def test_one_writer_at_a_time_and_sigterm_saves(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    process = child([PROMPT, *QUICK, *towers, "--steps", "5000", "--out", "run"], cwd=here)
    end = time.monotonic() + 60
    while not (here / "run" / "steps.jsonl").exists() or len(log(here / "run")) < 3:
        assert time.monotonic() < end
        time.sleep(0.05)
    for arguments in (["--resume", "run"], [PROMPT, *QUICK, *towers, "--out", "run", "--overwrite"]):
        assert image(*arguments, "--quiet") == 2
        assert "another process is writing run" in told(capsys)
    assert image("--resume", "run", "--dry-run", "--json") == 0
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (143, "")
    assert err.splitlines()[-1].endswith("continue with: clipopt image --resume run")
    summary = summary_of(here / "run")
    assert summary["status"] == "interrupted"
    assert Run.resume(here / "run", "image").step == summary["steps"]


@pytest.mark.skipif(not hasattr(os, "forkpty"), reason="needs a terminal")
def test_the_end_of_a_terminal_saves(here: Path, towers: list[str]):
    import pty

    source = str(Path(clipopt.cli.__file__).parents[1])
    command = [sys.executable, "-m", "clipopt", "image", PROMPT, *QUICK, *towers, "--steps", "5000", "--out", "run"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ |= {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
        os.execv(command[0], command)
    end = time.monotonic() + 60
    while not (here / "run" / "steps.jsonl").exists() or len(log(here / "run")) < 3:
        assert time.monotonic() < end
        os.set_blocking(terminal, False)
        try:
            os.read(terminal, 10000)
        except BlockingIOError:
            time.sleep(0.05)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 129
    assert summary_of(here / "run")["status"] == "interrupted"
    assert (here / "run" / "report.html").is_file()


FILM = """
import os, signal, sys, torch
from clipopt.io.files import write_video
from clipopt.pipelines.interrupt import exit_status, graceful_interrupt

def frames():
    for number in range(40):
        if number == 20:
            os.killpg(0, getattr(signal, sys.argv[2]))
        yield torch.full((3, 64, 64), number / 40)

with graceful_interrupt() as came:
    write_video(sys.argv[1], frames())
    print(came(), exit_status())
"""


@pytest.mark.parametrize(("name", "status"), [("SIGINT", 130), ("SIGHUP", 129)])
def test_a_film_is_whole_though_the_whole_group_is_asked_to_stop(tmp_path: Path, name: str, status: int):
    """As a terminal does it by Ctrl-C: ffmpeg, too, would get the signal."""
    import imageio_ffmpeg

    environment = os.environ | {"PYTHONPATH": str(Path(clipopt.cli.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", FILM, str(tmp_path / "film.mp4"), name],
        start_new_session=True, capture_output=True, text=True, env=environment, check=False,
    )  # fmt: skip
    assert done.stdout == f"True {status}\n", done.stderr
    assert imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "film.mp4"))[0] == 60


def test_a_film_that_was_stopped_is_made_when_the_run_is_resumed(
    here: Path, towers: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    def stopped(*_args: object, **_options: object) -> None:
        signal.raise_signal(signal.SIGTERM)
        raise InterruptedError("ffmpeg could not write progress.mp4: Exiting normally, received signal 15.")

    with monkeypatch.context() as patch:
        patch.setattr(files, "write_video", stopped)
        assert image(PROMPT, *QUICK, *towers, "--quiet", "--out", "run") == 143
    assert "interrupted and saved; continue with: clipopt image --resume run" in told(capsys)
    assert not (here / "run" / "summary.json").exists()
    assert image("--resume", "run", "--quiet") == 0
    assert (here / "run" / "progress.mp4").is_file()
    assert summary_of(here / "run")["status"] == "done"


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, "No space left on device"), KeyError("a bug\nof two lines")],
    ids=lambda error: type(error).__name__,
)
def test_whatever_fails_is_one_line_and_the_run_can_be_resumed(
    error: Exception, whole: Path, here: Path, towers: list[str], capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
):  # fmt: skip
    logged = Run.log

    def fail(run: Run, index: int, *arguments: object, **scores: object) -> None:
        if index == 7:
            raise error
        logged(run, index, *arguments, **scores)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log", fail)
        patch.setattr("clipopt.pipelines.run_loop.CHECKPOINT_SECONDS", 0.0)
        patch.setattr("clipopt.pipelines.run_loop.SAVING", 1e9)
        assert image(PROMPT, *QUICK, *towers, "--quiet", "--out", "run") == 1
    assert "the best so far is in run, go on with: clipopt image --resume run" in told(capsys)
    assert summary_of(here / "run")["status"] == "failed"
    assert pixels(here / "run" / "result.png").shape == (24, 40, 3)
    assert image("--resume", "run", "--quiet") == 0
    assert_same(state(here / "run"), state(whole))
    assert log(here / "run") == log(whole)


@pytest.mark.parametrize("lr", ["1e38", "1e300"])
def test_a_diverging_run_keeps_its_best(lr: str, here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    assert (
        image(PROMPT, *QUICK, *towers, "--lr", lr, "--begin", "noise", "--tries", "1", "--quiet", "--out", "run") == 1
    )
    assert "lower the learning rate" in told(capsys)
    assert summary_of(here / "run")["status"] == "failed"
    assert pixels(here / "run" / "result.png").shape == (24, 40, 3)


def test_a_finished_run_is_made_longer(whole: Path, here: Path, capsys: pytest.CaptureFixture):
    before = state(whole)
    shutil.copytree(whole, here / "parts")
    assert image("--resume", "whole", "--steps", "6") == 2
    assert "less than the 12" in told(capsys)
    assert image("--resume", "whole", "--steps", "20", "--quiet") == 0
    assert [line["step"] for line in log(whole)] == list(range(20))
    summary = summary_of(whole)
    assert (summary["status"], summary["steps"], summary["extended"]) == ("done", 20, [[12, 20]])
    assert not torch.equal(next(iter(state(whole)["image"].values())), next(iter(before["image"].values())))
    assert state(whole)["best"]["score"] >= before["best"]["score"]
    logged = Run.log

    def interrupt(run: Run, index: int, *arguments: object, **scores: object) -> None:
        logged(run, index, *arguments, **scores)
        if index == 15:
            signal.raise_signal(signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Run, "log", interrupt)
        assert image("--resume", "parts", "--steps", "20", "--quiet") == 130
    assert image("--resume", "parts", "--quiet") == 0, "the number of steps is known"
    assert_same(state(here / "parts"), state(whole))
    assert log(here / "parts") == log(whole)


def test_the_stages_of_a_longer_run_stay_where_they_were():
    plan = drawing.ImagePlan(300, 201, steps=10, stages=3)
    longer = drawing.ImagePlan(300, 201, steps=30, stages=3, planned=10)
    assert longer.spans()[:-1] == plan.spans()[:-1]
    assert longer.spans()[-1] == (plan.spans()[-1][0], 30)


def test_the_report_says_how_to_repeat_the_run(here: Path, towers: list[str], monkeypatch: pytest.MonkeyPatch):
    odd = 'it\'s a "red" $HOME apple\n-- on `blue`'
    relative = [os.path.relpath(word, here) if "/" in word else word for word in towers]
    options = [*QUICK[:4], *relative, "--negative", "-0 text", "--quiet"]
    assert image(*options, "--out", "run", "--", "-5 stars", odd) == 0
    assert image("--resume", "run", "--steps", "14", "--quiet") == 0
    line = html.unescape(REPEAT.search((here / "run" / "report.html").read_text())[1])
    source, elsewhere = Path(clipopt.cli.__file__).parents[1], here / "elsewhere"
    elsewhere.mkdir()
    bin_folder = here / "bin"
    bin_folder.mkdir()
    (bin_folder / "clipopt").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m clipopt "$@"\n')
    (bin_folder / "clipopt").chmod(0o755)
    environment = os.environ | {
        "PYTHONPATH": str(source), "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": str(torch.get_num_threads()),
    }  # fmt: skip
    done = subprocess.run(
        ["sh", "-c", line], cwd=elsewhere, env=environment, capture_output=True, text=True, check=True
    )
    again = elsewhere / done.stdout.splitlines()[-1]
    assert log(again) == log(here / "run")
    assert (pixels(again / "result-01.png") == pixels(here / "run" / "result-01.png")).all()
    monkeypatch.chdir(elsewhere)
    assert image("--resume", here / "run", "--quiet") == 0, "models are found from elsewhere"


def test_texts_are_read_as_when_the_run_began(
    here: Path, towers: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr(drawing, "reworded", lambda prompt, _said: prompt)
        patch.setattr(words, "understand", lambda _texts, _scorers, judge: ({"a crimson fox": "a red fox"}, judge))
        patch.setattr("clipopt.pipelines.image.settings.understand", words.understand)
        assert image("a crimson fox", *QUICK, *towers, "--quiet", "--out", "run") == 0
    monkeypatch.setattr(kinds, "find_spec", lambda _: None)
    capsys.readouterr()
    assert image("--resume", "run", "--quiet") == 2
    err = capsys.readouterr().err.splitlines()[-1]
    assert "'a crimson fox' was read as \"a red fox\" when it began, now by its own words" in err
    assert "clipopt[natural]" in err


def test_a_state_of_another_run_is_told(whole: Path, here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    path = whole / "checkpoint.pt"
    kept = torch.load(path, weights_only=True)
    for changed in ({}, {"stage": "x"}, {"image": {"a": torch.ones(1)}}, {"best": 3}, {"optimizer": [1]}):
        torch.save(kept | {"state": (kept["state"] | changed) if changed else {}}, path)
        assert image("--resume", "whole", "--quiet") == 2
        assert "checkpoint.pt does not fit this run" in told(capsys)


def test_settings_that_were_tampered_with_are_told(whole: Path, capsys: pytest.CaptureFixture):
    (whole / "checkpoint.pt").unlink()
    path = whole / "config.json"
    record = json.loads(path.read_text())
    for changed in (
        {"steps": "many"},
        {"prompts": 3},
        {"param": []},
        {"unheard": 1},
        {"device": "abacus"},
        {"size": "0"},
    ):
        path.write_text(json.dumps(record | {"config": record["config"] | changed}))
        assert image("--resume", "whole", "--quiet") == 2
        told(capsys)
