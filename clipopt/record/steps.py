"""The lines of steps.jsonl."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

Numbers = Tensor | float | int | Sequence[float | int]
"""A number for each item."""


def read_steps(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's steps.jsonl; one that a kill cut short is left out."""
    lines = []
    path = folder / "steps.jsonl"
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(entry, dict) and isinstance(entry.get("step"), int):
            lines.append(entry)
    return lines


def numbers(value: Numbers) -> list[float | None]:
    """Numbers for JSON: seven digits, what float32 holds; None for what is not finite."""
    if isinstance(value, Tensor):
        value = value.detach().double().reshape(-1).tolist()
    elif not isinstance(value, Sequence):
        value = [value]
    return [float(f"{number:.7g}") if math.isfinite(number) else None for number in value]
