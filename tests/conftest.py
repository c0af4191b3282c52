"""Tests run in two processes (`-n 2` in pyproject.toml; `-n 0` for one), each and its children on one thread."""

import os
import signal
import sys
from pathlib import Path

import pytest

# Nothing here imports torch: it reads the number of threads once, and the process that hands out tests needs none.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.append(str(Path(__file__).parents[1]))  # recipes.embedded, which is no part of the package
for number in (signal.SIGINT, signal.SIGHUP):  # below nohup, or behind an &, children would not hear them
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
os.fsync = lambda _: None  # no test cuts the power, and thousands of waits for the disk add up

WORDS = "a an the red green blue apple tree star stars fox snow text on in background it s home 0 5"


@pytest.fixture(scope="session")
def towers(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The options that name two small random towers: what a run does does not depend on what they learnt."""
    import torch

    from clipopt.scorers.tower import TowerConfig, Towers

    folder = tmp_path_factory.mktemp("towers")
    options = []
    for seed, role in enumerate(("scorer", "judge")):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            config = TowerConfig(
                image_size=16, widths=(8, 16), depths=(1, 1), dim=16, text_width=16, text_layers=1,
                vocabulary=tuple(WORDS.split()),
            )  # fmt: skip
            Towers(config).save(folder / f"{role}.safetensors")
        options += [f"--{role}", str(folder / f"{role}.safetensors")]
    return options


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to run in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def unnatural(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the packages of clipopt[natural] were not installed."""
    monkeypatch.setattr("clipopt.pipelines.kinds.find_spec", lambda _: None)
