"""What `clipopt eval latent` does: sample, choose, optimize, and have the pictures named."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipopt.commands.eval_latent import EvaluateLatent
from clipopt.diffusion.load import facts_of, fingerprint, load_pipeline
from clipopt.evaluation.shares import by_group, each_with_seeds, evenly, finish, folder, in_words, read_all
from clipopt.evaluation.suite import Prompt, Reading, bank, interval, prompts
from clipopt.io import files
from clipopt.pipelines.checks import require_positive, resolve_device
from clipopt.pipelines.latent.loop import LatentLoop
from clipopt.pipelines.latent.methods import LatentPlan, settle, suited
from clipopt.pipelines.progress import progress
from clipopt.pipelines.views import Item
from clipopt.record import check_out
from clipopt.scorers import Scorer, load_scorer
from clipopt.types import Images

COMPOSITIONAL = ("counts", "relations")


def prepare(task: EvaluateLatent) -> Callable[[], None]:
    """Check everything, write nothing, and return the measurement."""
    require_positive(seeds=task.seeds, batch=task.batch)
    evenly(prompts(), task.prompts)
    check_out(task.out, overwrite=task.overwrite, kind="measurement")
    device = resolve_device(task.device)
    names = ("steps", "sample_steps", "guidance", "lr", "clip", "norm", "white", "crops", "tries", "scale")
    given, facts = {name: getattr(task, name) for name in names}, facts_of(task.generator)
    plan = replace(settle(task.method or suited(facts), task.generator, facts, given), seed=task.seed)
    pipe = load_pipeline(task.generator, device=str(device))
    scorer, judge = (load_scorer(name, device=str(device)) for name in (task.scorer, task.judge))
    return lambda: _measure(task, plan, pipe, scorer, judge, device)


def _measure(
    task: EvaluateLatent, plan: LatentPlan, pipe: Any, scorer: Scorer, judge: Scorer, device: torch.device
) -> None:
    asked = each_with_seeds(prompts(), task)
    made: dict[str, list[Tensor]] = {"before": [], "best of n": [], "optimized": []}
    spent, draws, taken = {"best of n": 0.0, "optimized": 0.0}, [], []
    bar = progress(len(asked), unit="picture", quiet=task.json)
    with bar:
        for start in range(0, len(asked), task.batch):
            some = asked[start : start + task.batch]
            items = [Item({prompt.text: 1.0}, seed, prompt.text) for prompt, seed in some]
            told = [prompt.text for prompt, _ in some]
            began = time.perf_counter()
            making = LatentLoop(plan, items, told, [scorer], pipe, device=device)
            for _ in making.draw():
                pass
            seconds = time.perf_counter() - began
            spent["optimized"] += seconds
            taken.append(seconds)
            made["before"].append(making.before.cpu())
            made["optimized"].append(making.best.images.cpu())
            drawn, count, seconds = _best_of(plan, items, told, scorer, pipe, device, seconds)
            spent["best of n"] += seconds
            draws.append(count)
            made["best of n"].append(drawn.cpu())
            bar.update(len(some))
    images = {name: torch.cat(parts) for name, parts in made.items()}
    order = [prompt for prompt, _ in asked]
    readings = {
        name: {who: read_all(eye, each.to(device), order) for who, eye in (("scorer", scorer), ("judge", judge))}
        for name, each in images.items()
    }
    with folder(task) as out:
        _write(out, images, asked, readings)
        summary = {
            "r_precision": {name: {who: shares(order, r) for who, r in r_.items()} for name, r_ in readings.items()},
            "samples_of_best_of_n": draws,
            "captions": len(bank()),
            "pictures": len(asked),
            "seconds": {name: round(value, 1) for name, value in spent.items()},
            "seconds_per_picture": round(spent["optimized"] / len(asked), 2),
            "plan": asdict(plan),
            "fingerprints": {"generator": fingerprint(task.generator)},
        }
        lines = []
        for name, r_ in readings.items():
            share = shares(order, r_["judge"])
            parts = (f"{group} {share[group]['share']:.1%}" for group in ("things", "compositional") if group in share)
            lines.append(f"R-Precision@1 by the judge, {name}: {in_words(share['all'])}; {', '.join(parts)}")
        finish(task, out, scorer, judge, summary, lines)


def shares(asked: Sequence[Prompt], readings: Sequence[Reading]) -> dict[str, dict[str, Any]]:
    """As of `clipopt eval image`, and of prompts that compose several things together, and of all others."""
    found = by_group(asked, readings)
    for name, wanted in (("compositional", True), ("all others", False)):
        right = [r.right for p, r in zip(asked, readings, strict=True) if (p.group in COMPOSITIONAL) is wanted]
        if right:
            found[name] = {"share": sum(right) / len(right), "interval": interval(right), "pictures": len(right)}
    return found


def _best_of(
    plan: LatentPlan, items: Sequence[Item], told: Sequence[str], scorer: Scorer, pipe: Any, device: torch.device,
    seconds: float,
) -> tuple[Images, int, float]:  # fmt: skip
    """The best of as many samples as some seconds allow; how many that were, and the seconds they took."""
    began = time.perf_counter()
    drawing = replace(plan, method="best-of-n", steps=1_000_000)
    making, count = LatentLoop(drawing, items, told, [scorer], pipe, device=device), 1
    for _ in making.draw(1):  # the first sample is the one before
        count += 1
        took = time.perf_counter() - began
        if took * (count + 1) / count > seconds:
            break
    return making.best.images, count, time.perf_counter() - began


def _write(
    out: Path,
    images: dict[str, Images],
    asked: Sequence[tuple[Prompt, int]],
    readings: dict[str, dict[str, list[Reading]]],
) -> None:
    lines: list[str] = []
    labels: dict[str, list[str]] = {name: [] for name in images}
    for index, (prompt, seed) in enumerate(asked):
        row: dict[str, Any] = {"prompt": prompt.text, "group": prompt.group, "seed": seed}
        for name in images:
            judged = readings[name]["judge"][index]
            labels[name].append(prompt.text if judged.right else f"{prompt.text} (judge: {judged.best})")
            row[name] = {who: asdict(reading[index]) for who, reading in readings[name].items()}
        lines.append(json.dumps(row))
    files.write_text(out / "pictures.jsonl", "\n".join(lines) + "\n")
    for name, each in images.items():
        files.save(out / f"{name.replace(' ', '-')}.png", files.sheet(each, labels[name], columns=12, cell=128))
    columns, rows, named = min(12, len(asked)), [], []
    for start in range(0, len(asked), columns):
        for name, each in images.items():
            some = each[start : start + columns]
            blank = torch.ones(columns - len(some), *some.shape[1:])
            rows.append(torch.cat([some, blank]))
            named += [f"{name}: {label}" for label in labels[name][start : start + columns]] + [""] * len(blank)
    files.save(out / "sheet.png", files.sheet(torch.cat(rows), named, columns=columns, cell=128))
