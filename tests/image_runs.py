"""`clipopt image` as a user runs it, and what is in a folder afterwards."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Picture

import clipopt.cli
from clipopt.cli import main

PROMPT = "a red apple on a blue background"
QUICK = ["--steps", "12", "--size", "40x24", "--crops", "2", "--device", "cpu"]


def image(*arguments: str | Path) -> int:
    return main(["image", *map(str, arguments)])


def child(arguments: Sequence[str | Path], **options: object) -> subprocess.Popen:
    source = Path(clipopt.cli.__file__).parents[1]
    environment = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "clipopt", "image", *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )


def pixels(path: Path) -> np.ndarray:
    with Picture.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


def log(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    return lines


def state(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)["state"]


def assert_same(a: object, b: object) -> None:
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list):
        for left, right in zip(a, b, strict=True):
            assert_same(left, right)
    else:
        assert a == b
