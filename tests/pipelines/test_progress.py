import io
import time
from pathlib import Path

import pytest

from clipopt.pipelines import progress as module
from clipopt.pipelines.progress import Progress, over, progress


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in a list of one."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_away_from_terminals_there_is_a_line_for_every_tenth(clock: list[float], capsys: pytest.CaptureFixture):
    with progress(100, unit="step") as bar:
        for number in range(100):
            clock[0] += 1
            bar.set_postfix(loss=f"{number}", refresh=False)
            bar.update()
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"{10 * n} of 100 steps, {10 * n} s, loss {10 * n - 1}" for n in range(1, 11)]


def test_slow_work_is_heard_of_and_quick_work_does_not_chatter(clock: list[float], capsys: pytest.CaptureFixture):
    with progress(100_000, initial=10, unit="batch", name="training") as bar:
        for _ in range(70):
            clock[0] += 1
            bar.update()
    assert capsys.readouterr().err.splitlines() == [
        f"training: {10 + n} of 100000 batches, {n} s" for n in (30, 60, 70)
    ]
    with progress(100_000, unit="picture") as bar:
        for _ in range(1000):
            clock[0] += 0.001
            bar.update(100)
    assert capsys.readouterr().err == "100000 of 100000 pictures, 1 s\n"
    with progress(None, unit="file") as bar:
        bar.total = None
        bar.update(3)
    assert capsys.readouterr().err == "3 files, 0 s\n"


def test_quiet_is_quiet_and_nothing_done_is_nothing_said(capsys: pytest.CaptureFixture):
    assert [*over("abc", progress(3, unit="letter", quiet=True))] == ["a", "b", "c"]
    with progress(3, unit="letter"):
        pass
    assert capsys.readouterr() == ("", "")


def test_on_a_terminal_there_is_a_bar(monkeypatch: pytest.MonkeyPatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    bar = progress(3, unit="letter", name="spelling")
    assert isinstance(bar, Progress)
    assert [*over("abc", bar)] == ["a", "b", "c"]
    assert "\r" in terminal.getvalue()
    assert "3/3" in terminal.getvalue()


def test_who_stops_reading_stops_no_work(monkeypatch: pytest.MonkeyPatch):
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Gone())
    assert [*over("abc", progress(3, unit="letter"))] == ["a", "b", "c"]


def test_no_work_makes_a_bar_of_its_own():
    for path in Path(module.__file__).parent.glob("*.py"):
        assert path.name == "progress.py" or "tqdm" not in path.read_text(encoding="utf-8"), path
