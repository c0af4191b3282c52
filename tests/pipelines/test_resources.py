"""What a run would need, and what it does when there is not enough memory."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture

from clipopt.cli import main
from clipopt.pipelines.image.plan import ImagePlan, stages_of
from clipopt.pipelines.resources import halving, in_words, out_of_memory
from clipopt.scorers.tower import TowerScorer

PROMPT = "a red apple"
QUICK = ["--steps", "4", "--size", "24", "--crops", "8", "--device", "cpu", "--quiet"]


def image(*arguments: str | Path) -> int:
    return main(["image", *map(str, arguments)])


def pixels(path: Path) -> np.ndarray:
    with Picture.open(path) as picture:
        return np.asarray(picture).astype(int)


ERRORS = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried"),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4000000000 bytes."),
    RuntimeError("MPS backend out of memory (MPS allocated: 18.00 GB)"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_every_device_is_understood(error: Exception):
    assert out_of_memory(error)
    asked = []

    def work(chunk: int) -> int:
        asked.append(chunk)
        if chunk > 3:
            raise error
        return 10 * chunk

    assert halving(work, 14) == (30, 3)
    assert asked == [14, 7, 3]


def test_other_errors_are_left_alone():
    def work(chunk: int) -> int:
        raise RuntimeError("size mismatch")

    with pytest.raises(RuntimeError, match="size mismatch"):
        halving(work, 8)
    assert not out_of_memory(ValueError("not enough memory"))


def test_the_last_word_says_what_to_do():
    def work(chunk: int) -> int:
        raise torch.OutOfMemoryError("CUDA out of memory.\nA second line")

    with pytest.raises(MemoryError, match="smaller --size") as caught:
        halving(work, 4)
    assert "\n" not in str(caught.value)


def _short_of_memory(monkeypatch: pytest.MonkeyPatch, most: int) -> list[int]:
    """A scorer whose memory ends beyond `most` views; returns the numbers of views that it saw."""
    encode, seen = TowerScorer.encode_image, []

    def encode_image(self: TowerScorer, images: torch.Tensor) -> torch.Tensor:
        if len(images) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        seen.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(TowerScorer, "encode_image", encode_image)
    return seen


def test_short_of_memory_it_goes_on_in_smaller_parts(
    here: Path, towers: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    assert image(PROMPT, *QUICK, *towers, "--out", "enough") == 0
    capsys.readouterr()
    seen = _short_of_memory(monkeypatch, 3)
    assert image(PROMPT, *QUICK, *towers, "--out", "short") == 0
    notes = capsys.readouterr().err.splitlines()
    assert notes[-1] == "clipopt: note: out of memory; the scorer now sees 2 views at once"
    assert len(notes) == 4  # 8 to 4 to 2, once for the looks and once for the steps
    assert max(seen) == 2
    assert abs(pixels(here / "enough" / "last.png") - pixels(here / "short" / "last.png")).max() <= 1


def test_without_any_memory_it_ends_with_a_word_and_a_folder(
    here: Path, towers: list[str], capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def total_variation(images: torch.Tensor) -> torch.Tensor:
        calls.append(0)
        if len(calls) == 3:
            raise RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes.")
        return images.mean((1, 2, 3))

    monkeypatch.setattr("clipopt.pipelines.image.loop.losses.total_variation", total_variation)
    assert image(PROMPT, *QUICK, *towers, "--tries", "1", "--out", "run") == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "not enough memory" in err
    assert "run" in err
    summary = json.loads((here / "run" / "summary.json").read_text())
    assert (summary["status"], summary["steps"]) == ("failed", 2)


def test_dry_run_tells_a_person(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    assert image(PROMPT, "a tree", *QUICK, *towers, "--stages", "2", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "a red apple; a tree" in out
    assert "2 steps at 12x12" in out
    assert "2 steps at 24x24" in out
    assert "measured: up to 3 steps" in out
    assert "result-00.png ... result-01.png" in out
    assert "outputs/image/<time>-<prompt>" in out
    assert list(here.iterdir()) == []


def test_dry_run_foretells_the_files_and_counts_what_is_left(
    here: Path, towers: list[str], capsys: pytest.CaptureFixture
):
    options = [PROMPT, *QUICK, *towers, "--out", "run"]
    assert image(*options, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["memory_bytes"] > 10_000_000
    assert plan["seconds"] > 0
    assert [size["steps"] for size in plan["measured"]] == [4]
    assert image(*options) == 0
    written = {path.name + "/" * path.is_dir() for path in (here / "run").glob("[!.]*")}
    assert written == set(plan["files"])
    capsys.readouterr()
    assert image("--resume", "run", "--dry-run") == 0
    assert "nothing is left to do" in capsys.readouterr().out


def test_stages_double_and_share_the_steps():
    plan = ImagePlan(300, 201, steps=10, stages=3)
    assert [plan.size(stage) for stage in range(3)] == [(51, 75), (101, 150), (201, 300)]
    assert plan.spans() == [(0, 5), (5, 7), (7, 10)]
    assert ImagePlan(steps=1, stages=4).spans()[-1][1] == 1
    assert ImagePlan().spans() == [(0, 120)]


@pytest.mark.parametrize(
    ("size", "stages"), [((256, 256), 1), ((4000, 512), 1), ((513, 600), 2), ((1024, 1024), 2), ((3840, 2160), 4)]
)
def test_large_pictures_start_small(size: tuple[int, int], stages: int):
    assert stages_of(*size) == stages
    assert stages_of(*size) == 1 or 256 < min(ImagePlan(*size, stages=stages).size(0)) <= 512


def test_long_runs_are_told_in_hours():
    plan = {"items": ["a"], "memory_bytes": None, "measured": [], "files": [], "folder": "run"}
    said = [in_words(plan | {"seconds": seconds}) for seconds in (3.21, 60, 600, 9000)]
    assert [text.splitlines()[1].split(":")[0] for text in said] == [
        f"time    about {words}" for words in ("3.2 s", "60 s", "10 min", "2.5 h")
    ]
    assert "not told" in said[0]
