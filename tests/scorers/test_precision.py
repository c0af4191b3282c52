import json
import subprocess
from pathlib import Path

import pytest
import torch

from clipopt.scorers import precision

CPU = torch.device("cpu")
CRASH = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "clipopt" / "bfloat16.json"


def forbid_children(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a child process was started")

    monkeypatch.setattr(subprocess, "run", refuse)


def test_a_crash_in_the_child_means_float32(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(precision, "_PROBE", CRASH)
    assert precision.cpu_speedup() is None
    assert precision.resolve_dtype("auto", CPU) == torch.float32
    with pytest.raises(ValueError, match="float32"):
        precision.resolve_dtype("bfloat16", CPU)
    assert list(json.loads(cache.read_text()).values()) == [None]


@pytest.mark.parametrize(("factor", "expected"), [(2.5, torch.bfloat16), (1.05, torch.float32), (0.5, torch.float32)])
def test_takes_bfloat16_where_it_is_worthwhile(
    monkeypatch: pytest.MonkeyPatch, factor: float, expected: torch.dtype
) -> None:
    monkeypatch.setattr(precision, "_PROBE", f"print({factor})")
    assert precision.resolve_dtype("auto", CPU) == expected
    assert precision.resolve_dtype("bfloat16", CPU) == torch.bfloat16


def test_measures_once_per_processor_torch_and_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_PROBE", "print(3.0)")
    assert precision.cpu_speedup() == 3.0
    with monkeypatch.context() as patch:
        forbid_children(patch)
        assert precision.cpu_speedup() == 3.0
    monkeypatch.setattr(torch, "get_num_threads", lambda: 77)
    monkeypatch.setattr(precision, "_PROBE", "import sys; print(sys.argv[1])")
    assert precision.cpu_speedup() == 77.0
    monkeypatch.setattr(torch, "__version__", "0.0")
    monkeypatch.setattr(precision, "_PROBE", "print(5.0)")
    assert precision.cpu_speedup() == 5.0


def test_no_verdict_is_kept_of_a_child_that_was_too_slow(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    monkeypatch.setattr(precision, "_PROBE", "import time; time.sleep(60)")
    monkeypatch.setattr(precision, "_TIMEOUT_S", 0.1)
    assert precision.resolve_dtype("auto", CPU) == torch.float32
    assert not cache.exists()


@pytest.mark.parametrize("content", ["{", "[1]", '"text"', ""])
def test_a_broken_cache_is_replaced(monkeypatch: pytest.MonkeyPatch, cache: Path, content: str) -> None:
    cache.parent.mkdir(parents=True)
    cache.write_text(content)
    monkeypatch.setattr(precision, "_PROBE", "print(2.0)")
    assert precision.cpu_speedup() == 2.0
    assert list(json.loads(cache.read_text()).values()) == [2.0]


def test_works_without_a_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(precision, "_PROBE", "print(2.0)")
    assert precision.cpu_speedup() == 2.0


def test_the_probe_itself_gives_a_verdict_and_spares_this_process(cache: Path) -> None:
    factor = precision.cpu_speedup()
    assert factor is None or 0 < factor < 1000  # a hundredth where it is only emulated
    assert list(json.loads(cache.read_text()).values()) == [factor]


def test_float32_and_other_devices_need_no_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_children(monkeypatch)
    assert precision.resolve_dtype("float32", CPU) == torch.float32
    assert precision.resolve_dtype("auto", torch.device("mps")) == torch.float32
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert precision.resolve_dtype("auto", torch.device("cuda")) == torch.bfloat16
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    assert precision.resolve_dtype("auto", torch.device("cuda")) == torch.float32


def test_unknown_dtype() -> None:
    with pytest.raises(ValueError, match="expected auto, float32, bfloat16 or float16"):
        precision.resolve_dtype("float8", CPU)
