"""`clipopt eval latent` on a tiny pipeline: its files, its numbers, equal time for the baseline."""

import json
from pathlib import Path
from typing import Any

import diffusers_models as tiny
import pytest

from clipopt.cli import main
from clipopt.commands.work.eval_latent import shares
from clipopt.evaluation.suite import Reading, prompts


def test_it_measures_before_best_of_n_and_optimized(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = str(tiny.stable_diffusion(tmp_path / "pipeline"))
    few = ["--prompts", "3", "--steps", "2", "--tries", "1", "--sample-steps", "1", "--guidance", "1", "--crops", "0"]
    assert main(["eval", "latent", "--generator", folder, *few, "--out", "run", "--device", "cpu", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert set(summary["r_precision"]) == {"before", "best of n", "optimized"}
    assert summary["pictures"] == 3
    lines = [json.loads(line) for line in (here / "run" / "pictures.jsonl").read_text().splitlines()]
    for name, by in summary["r_precision"].items():
        for who in ("scorer", "judge"):
            assert by[who]["all"]["share"] == pytest.approx(sum(line[name][who]["right"] for line in lines) / 3)
    best, before = (sum(line[name]["scorer"]["cosine"] for line in lines) for name in ("best of n", "before"))
    assert best > before - 0.05
    assert summary["samples_of_best_of_n"][0] >= 2
    for name in ("sheet.png", "before.png", "best-of-n.png", "optimized.png"):
        assert (here / "run" / name).is_file()


def test_compositional_prompts_stand_apart():
    asked = [p for p in prompts() if p.group in ("things", "counts", "relations")]
    right = [p.group != "counts" for p in asked]
    found: dict[str, Any] = shares(asked, [Reading("", r, 0.5) for r in right])
    assert found["compositional"]["pictures"] == 44
    assert found["compositional"]["share"] == 0.5
    assert found["all others"]["share"] == 1


def test_bad_input_is_told(here: Path, capsys: pytest.CaptureFixture):
    assert main(["eval", "latent", "--prompts", "1000"]) == 2
    assert "the suite has" in capsys.readouterr().err
    assert main(["eval", "latent", "--generator", "nowhere"]) == 2
    assert "unknown generator" in capsys.readouterr().err
    assert not list(here.iterdir())
