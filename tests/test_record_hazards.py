"""A run's folder among other writers, full disks, and what others put into it."""

import errno
import json
import os
import pickle
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import pytest
import torch
from test_record import loop, names, without_time

from clipopt import record
from clipopt.io import files, folders
from clipopt.record.run import Run


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    loop(folder)
    return folder


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of a finished run."""
    return Path(shutil.copytree(whole, tmp_path / "run"))


def test_a_run_has_one_writer(tmp_path):
    folder = tmp_path / "run"
    with Run.create(folder, "image", "a", {}, command=["clipopt"]):
        for again in (
            lambda: Run.resume(folder, "image"),
            lambda: Run.create(folder, "image", "a", {}, command=["clipopt"], overwrite=True),
            lambda: record.check_out(folder, overwrite=True),
        ):
            with pytest.raises(folders.BusyError, match="another process"):
                again()
        assert Run.resume(folder, "image", dry=True).step == 0, "to look is no harm"
    Run.resume(folder, "image").close()


def test_of_two_that_begin_at_once_one_is_refused(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    monkeypatch.setattr("clipopt.record.run.check_out", lambda *_, **__: None)  # both had looked before
    first = Run.create(folder, "image", "first", {}, command=["clipopt"])
    written = (folder / "config.json").read_text()
    with pytest.raises(folders.BusyError):
        Run.create(folder, "image", "second", {}, command=["clipopt"])
    first.close()
    with pytest.raises(folders.BusyError):
        Run.create(folder, "image", "second", {}, command=["clipopt"])
    assert (folder / "config.json").read_text() == written


def test_a_killed_writer_leaves_no_lock(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from clipopt.record import Run\n"
        "run = Run.create(Path(sys.argv[1]), 'image', 'a', {}, command=['clipopt']); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], check=False)
    assert done.returncode == -9
    Run.resume(tmp_path / "run", "image").close()


def test_links_are_not_followed(run, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("000001.jpg", "000099.jpg", ".x.tmp.y"):
        (photos / name).write_text("mine")
    for name in ("previews", "frames", "steps.jsonl", "config.json", "checkpoint.pt", "result.png"):
        path, aside = run / name, run / f"{name}.aside"
        if path.exists():
            path.rename(aside)
        target = photos if name in ("previews", "frames") else photos / "000001.jpg"
        if name in ("config.json", "checkpoint.pt"):
            target = aside
        path.symlink_to(target)
        with pytest.raises(ValueError, match=f"{name} is a link"):
            Run.resume(run, "image")
        with pytest.raises(ValueError, match=f"{name} is a link"):
            Run.create(run, "image", "a", {}, command=["clipopt"], overwrite=True)
        path.unlink()
        if aside.exists():
            aside.rename(path)
    assert sorted(path.name for path in photos.iterdir()) == [".x.tmp.y", "000001.jpg", "000099.jpg"]
    assert {path.read_text() for path in photos.iterdir()} == {"mine"}
    (run / "previews" / "000001.jpg").unlink()
    (run / "previews" / "000001.jpg").symlink_to(photos / "000001.jpg")
    with pytest.warns(UserWarning, match="1 of 13 pictures"):
        loop(run)
    assert (photos / "000001.jpg").read_text() == "mine"


def test_a_lock_that_is_a_link_is_refused(run, tmp_path):
    (tmp_path / "mine").write_text("mine")
    (run / ".lock").unlink()
    (run / ".lock").symlink_to(tmp_path / "mine")
    with pytest.raises(OSError, match=r"\.lock"):
        Run.resume(run, "image")
    assert (tmp_path / "mine").read_text() == "mine"


@pytest.mark.parametrize("name", [".", "..", "a" * 300])
def test_an_out_that_cannot_be_written_is_told(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").touch()
    with pytest.raises(ValueError, match=r"not empty|cannot write"):
        record.check_out(Path(name))


def test_an_out_that_is_a_link_to_nothing_or_on_a_full_disk_is_told(tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(ValueError, match="a link to nothing"):
        record.check_out(tmp_path / "link")

    class Full:
        def __enter__(self):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def __exit__(self, *_):
            pass

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(ValueError, match=r"cannot write .*No space left"):
        record.check_out(tmp_path / "run")
    assert names(tmp_path) == ["link"]


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_a_checkpoint_is_never_executed(run, tmp_path):
    path = run / "checkpoint.pt"
    kept = torch.load(path, weights_only=True)
    torch.save(kept | {"state": {"x": Evil(tmp_path / "owned")}}, path)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is cut short or damaged"):
        Run.resume(run, "image")
    path.write_bytes(pickle.dumps(Evil(tmp_path / "owned")))
    with pytest.raises(ValueError, match=r"checkpoint\.pt is cut short or damaged"):
        Run.resume(run, "image")

    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(Twice(), torch.ones(1)), path)
    with pytest.raises(ValueError, match=r"checkpoint\.pt is cut short or damaged"):
        Run.resume(run, "image")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "changed",
    [
        {"step": -1}, {"step": "6"}, {"step": True}, {"step": 2**70}, {"seconds": float("nan")}, {"seconds": 3},
        {"frames": ["../../x"]}, {"frames": None}, {"peak_memory": "much"}, {"state": 3}, {"run": 5},
    ],
    ids=str,
)  # fmt: skip
def test_a_checkpoint_of_other_kinds_is_told(run, changed):
    path = run / "checkpoint.pt"
    torch.save(torch.load(path, weights_only=True) | changed, path)
    with pytest.raises(ValueError, match=r"cut short or damaged .*; delete"):
        Run.resume(run, "image")


def test_a_compressed_checkpoint_is_refused(run):
    """What unpacks to more than it is could fill the memory."""
    path = run / "checkpoint.pt"
    with zipfile.ZipFile(path) as archive:
        parts = {part.filename: archive.read(part) for part in archive.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in parts.items():
            archive.writestr(name, data)
    with pytest.raises(ValueError, match="it is compressed"):
        Run.resume(run, "image")


@pytest.mark.parametrize(
    "changed",
    [
        {"versions": None}, {"versions": [1]}, {"command": "rm -rf"}, {"command": ["rm", "-rf"]}, {"command": [1]},
        {"config": []}, {"fingerprints": {"a": 1}}, {"task": 3}, {"task": "image; rm"}, {"extended": [[1]]},
        {"extended": "x"}, {"extended": [[1, -2]]}, {"extended": [[1, True]]},
    ],
    ids=str,
)  # fmt: skip
def test_a_config_of_other_kinds_is_told(run, changed):
    path = run / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changed))
    with pytest.raises(ValueError, match=r"no run to resume .*config\.json is damaged"):
        Run.resume(run, "image")


@pytest.mark.parametrize(
    "text", ["[" * 100000, '{"a": ' + "9" * 5000 + "}", "\ud800", "NaN", "{}", '{"config": 1e999}', "\x00"]
)
def test_a_config_that_is_no_record_is_told(run, text):
    before = (run / "steps.jsonl").read_bytes()
    (run / "config.json").write_text(text, encoding="utf-8", errors="surrogatepass")
    with pytest.raises(ValueError, match="no run to resume"):
        Run.resume(run, "image")
    assert (run / "steps.jsonl").read_bytes() == before


def test_lines_that_are_no_steps_are_dropped(run, whole):
    good = (run / "steps.jsonl").read_text().splitlines()
    bad = [
        "{}", "[]", "3", '{"step": 1}', '{"step": 1, "loss": "x", "terms": {}}',
        '{"step": "1", "loss": 1, "terms": {}}',
        '{"step": true, "loss": 1, "terms": {}}', '{"step": -1, "loss": 1, "terms": {}}',
        '{"step": 1, "loss": 1, "terms": {"a": 1}}', '{"step": 1, "loss": 1, "terms": {"a": ["x"]}}',
        '{"step": 1, "loss": 1, "terms": {}, "score": 3}', '{"step": 1, "loss": 1e999, "terms": {}}', "[" * 100000,
        '{"step": 1, "loss": ' + "9" * 5000 + ', "terms": {}}', "\x00\x01",
    ]  # fmt: skip
    (run / "steps.jsonl").write_text("\n".join([*bad, *good, *bad]) + "\n")
    loop(run)
    assert without_time(run) == without_time(whole)
    assert "</html>" in (run / "report.html").read_text()


def test_damaged_pictures_are_left_out_of_the_film(run):
    previews = sorted((run / "previews").iterdir())
    previews[1].write_bytes(previews[1].read_bytes()[:300])
    previews[2].write_text("no picture")
    previews[3].unlink()
    files.save(previews[4], torch.ones(1, 3, 5, 7))
    (run / "previews" / "000005.jpg").unlink()
    (run / "previews" / "000005.jpg").mkdir()
    with pytest.warns(UserWarning, match=r"5 of 13 pictures in .*previews are lost or damaged"):
        loop(run)
    assert json.loads((run / "summary.json").read_text())["status"] == "done"


def test_a_damaged_summary_is_written_again(run):
    (run / "summary.json").write_text("{")
    loop(run)
    assert json.loads((run / "summary.json").read_text())["status"] == "done"


def test_done_is_not_said_before_all_is_written(run, monkeypatch):
    def stopped(*_args, **_options):
        assert not (run / "summary.json").exists()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files, "write_video", stopped)
    with pytest.raises(OSError, match="No space left"):
        loop(run)
    assert not (run / "summary.json").exists()
    monkeypatch.undo()
    (run / "progress.mp4").unlink()
    loop(run)
    assert (run / "progress.mp4").is_file()
    assert json.loads((run / "summary.json").read_text())["status"] == "done"


def test_a_full_disk_keeps_the_checkpoint_before(run, monkeypatch):
    before = (run / "checkpoint.pt").read_bytes()

    def save(_value: object, _file: object) -> None:
        """As torch does it: what the disk said stands behind what it says."""
        try:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos 768 vs 662")  # noqa: B904

    with Run.resume(run, "image") as resumed, monkeypatch.context() as patch:
        patch.setattr(torch, "save", save)
        with pytest.raises(OSError, match="No space left"):
            resumed.save({})
    assert (run / "checkpoint.pt").read_bytes() == before
    assert not [path for path in run.iterdir() if path.match(files.TEMPORARY)]


def test_a_finished_run_can_be_made_longer(run):
    steps = 12
    with pytest.raises(ValueError, match="less than the 12"):
        Run.resume(run, "image", steps=steps - 1)
    written = (run / "config.json").read_text()
    Run.resume(run, "image", steps=steps).close()
    with Run.resume(run, "image", steps=steps + 6) as longer:
        assert longer.total == steps + 6
        assert (run / "config.json").read_text() == written, "nothing is written before the first step"
        longer.log(steps, 1.0, {})
    with pytest.raises(ValueError, match=r"12 of its 18 steps: resume it without --steps first"):
        Run.resume(run, "image", steps=20)
    with Run.resume(run, "image", steps=steps + 6) as again:
        assert (again.step, again.total, again.extended) == (steps, steps + 6, [[steps, steps + 6]])
    with Run.resume(run, "image") as again:
        assert again.total == steps + 6, "it is known without being said"


def test_peak_memory_has_what_writing_takes(run, monkeypatch):
    grown = iter(range(10**9, 10**10))
    monkeypatch.setattr("clipopt.record.run.peak_memory", lambda: next(grown))
    monkeypatch.setattr("clipopt.record.results.write_page", lambda *_, **__: [next(grown) for _ in range(1000)])
    loop(run)
    assert json.loads((run / "summary.json").read_text())["peak_memory_bytes"] > 10**9 + 1000


def test_names_that_are_no_text_are_kept(tmp_path):
    odd = "caf\udce9.png"
    with Run.create(tmp_path / "run", "image", "a", {"init": odd}, command=["clipopt", "image", odd]) as begun:
        begun.log(0, 1.0, {})
        begun.save({})
        ones = torch.ones(1, 3, 8, 8)
        begun.finish(best=ones, last=ones, labels=[odd], scores={})
    with Run.resume(tmp_path / "run", "image") as resumed:
        assert resumed.config == {"init": odd}
        assert resumed.step == 1
