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
    """The lines of a run's steps.jsonl, each step once; what a kill cut short or what is no such line is left out."""
    lines: dict[int, dict[str, Any]] = {}
    path = folder / "steps.jsonl"
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.is_file() else []:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if _is_line(entry):
            lines[entry["step"]] = entry
    return [lines[step] for step in sorted(lines)]


def _is_line(entry: object) -> bool:
    if not isinstance(entry, dict) or not _is_number(entry.get("loss")) or not isinstance(entry.get("terms"), dict):
        return False
    step = entry.get("step")
    columns = [*entry["terms"].values(), *(entry[name] for name in ("score", "judge") if name in entry)]
    return (
        isinstance(step, int)
        and not isinstance(step, bool)
        and 0 <= step < 2**53
        and all(isinstance(column, list) and all(map(_is_number, column)) for column in columns)
    )


def _is_number(value: object) -> bool:
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def numbers(value: Numbers) -> list[float | None]:
    """Numbers for JSON: seven digits, what float32 holds; None for what is not finite."""
    if isinstance(value, Tensor):
        value = value.detach().double().reshape(-1).tolist()
    elif not isinstance(value, Sequence):
        value = [value]
    return [float(f"{number:.7g}") if math.isfinite(number) else None for number in value]
