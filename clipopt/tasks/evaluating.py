"""What `clipopt eval image` does: make the pictures of the suite, and have them named."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch

from clipopt import files
from clipopt.embedded.suite import Prompt, Reading, bank, interval, prompts, read
from clipopt.record import check_out, peak_memory, versions
from clipopt.record.folder import new_folder
from clipopt.scorers import Scorer, load_scorer
from clipopt.tasks.checks import parse_size, require_positive, resolve_device
from clipopt.tasks.drawing import Drawing, Item
from clipopt.tasks.evaluate import Evaluate
from clipopt.tasks.planner import Plan
from clipopt.tasks.presets import SETTLED, settle
from clipopt.types import Images

T = TypeVar("T")


def prepare(task: Evaluate) -> Callable[[], None]:
    """Check everything, write nothing, and return the measurement."""
    width, height = parse_size(task.size)
    settled = settle(task.scorer, task.preset, {name: getattr(task, name) for name in SETTLED})
    require_positive(seeds=task.seeds, batch=task.batch)
    evenly(prompts(), task.prompts)
    check_out(task.out, overwrite=task.overwrite)
    device = resolve_device(task.device)
    scorer, judge = (load_scorer(name, device=str(device)) for name in (task.scorer, task.judge))
    plan = Plan(width, height, seed=task.seed, low_first=task.low_first, **settled)
    return lambda: _measure(task, plan, scorer, judge, device)


def _measure(task: Evaluate, plan: Plan, scorer: Scorer, judge: Scorer, device: torch.device) -> None:
    from tqdm import tqdm

    asked = [(prompt, task.seed + n) for prompt in evenly(prompts(), task.prompts) for n in range(task.seeds)]
    made, started = [], time.perf_counter()
    bar = tqdm(total=len(asked) * plan.steps, unit="picture-step", disable=task.json, file=sys.stderr)
    with bar:
        for start in range(0, len(asked), task.batch):
            some = asked[start : start + task.batch]
            items = [Item({prompt.text: 1.0}, seed, prompt.text) for prompt, seed in some]
            drawing = Drawing(plan, items, scorer, device=device)
            for _ in drawing.draw():
                bar.update(len(some))
            made.append(drawing.best.images.cpu())
    seconds = time.perf_counter() - started
    images = torch.cat(made)
    order = [prompt for prompt, _ in asked]
    readings = {name: _read_all(who, images.to(device), order) for name, who in (("scorer", scorer), ("judge", judge))}
    out = new_folder(Path("outputs/eval"), task.task) if task.out is None else task.out
    out.mkdir(parents=True, exist_ok=True)
    _write_pictures(out, images, asked, readings)
    shares = {name: by_group(order, r) for name, r in readings.items()}
    summary = {
        "r_precision": shares,
        "captions": len(bank()),
        "pictures": len(asked),
        "seconds": round(seconds, 1),
        "seconds_per_picture": round(seconds / len(asked), 2),
        "plan": asdict(plan),
        "fingerprints": {"scorer": scorer.fingerprint, "judge": judge.fingerprint},
        "peak_memory_bytes": peak_memory(),
        "versions": versions(),
    }
    files.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    if task.json:
        sys.stdout.write(json.dumps(summary) + "\n")
        return
    for name, groups in shares.items():
        low, high = groups["all"]["interval"]
        sys.stdout.write(f"R-Precision@1 by the {name}: {groups['all']['share']:.1%} [{low:.1%}, {high:.1%}]\n")
    sys.stdout.write(f"{out}\n")


def _read_all(scorer: Scorer, images: Images, asked: Sequence[Prompt]) -> list[Reading]:
    starts = range(0, len(images), 64)
    return [r for s in starts for r in read(scorer, images[s : s + 64], asked[s : s + 64])]


def evenly(suite: Sequence[T], count: int | None) -> list[T]:
    """So many prompts of a suite, evenly spaced; None: all.

    Raises:
        ValueError: it has fewer, or none is wanted.
    """
    count = len(suite) if count is None else count
    if not 1 <= count <= len(suite):
        raise ValueError(f"--prompts must lie in 1 to {len(suite)}, the suite has no more, got {count}")
    return [suite[i * len(suite) // count] for i in range(count)]


def by_group(asked: Sequence[Prompt], readings: Sequence[Reading]) -> dict[str, dict[str, Any]]:
    """Share and 95 % interval of all pictures, and of each group of prompts."""

    def rows() -> Iterator[tuple[str, list[bool]]]:
        yield "all", [r.right for r in readings]
        for group in dict.fromkeys(p.group for p in asked):
            yield group, [r.right for p, r in zip(asked, readings, strict=True) if p.group == group]

    return {
        group: {"share": sum(right) / len(right), "interval": interval(right), "pictures": len(right)}
        for group, right in rows()
    }


def _write_pictures(
    out: Path, images: Images, asked: Sequence[tuple[Prompt, int]], readings: dict[str, list[Reading]]
) -> None:
    lines, labels = [], []
    for index, (prompt, seed) in enumerate(asked):
        judged = readings["judge"][index]
        labels.append(prompt.text if judged.right else f"{prompt.text} (judge: {judged.best})")
        row = {name: asdict(reading[index]) for name, reading in readings.items()}
        lines.append(json.dumps({"prompt": prompt.text, "group": prompt.group, "seed": seed, **row}))
    files.write_text(out / "pictures.jsonl", "\n".join(lines) + "\n")
    files.save(out / "sheet.png", files.sheet(images, labels, columns=12, cell=128))
