"""What `clipopt eval image` does: make the pictures of the suite, and have them named."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from clipopt.commands.eval_image import Evaluate
from clipopt.evaluation.shares import by_group, each_with_seeds, evenly, finish, folder, in_words, read_all
from clipopt.evaluation.suite import Prompt, Reading, bank, prompts
from clipopt.io import files
from clipopt.pipelines.checks import parse_size, require_positive, resolve_device
from clipopt.pipelines.image.loop import ImageLoop, Item
from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.image.presets import SETTLED, settle
from clipopt.pipelines.kinds import default_scorers
from clipopt.pipelines.progress import progress
from clipopt.record import check_out
from clipopt.scorers import Scorer, load_scorer
from clipopt.types import Images


def prepare(task: Evaluate) -> Callable[[], None]:
    """Check everything, write nothing, and return the measurement."""
    width, height = parse_size(task.size)
    guides = task.scorer or default_scorers()
    settled = settle(guides, task.preset, {name: getattr(task, name) for name in SETTLED})
    require_positive(seeds=task.seeds, batch=task.batch)
    evenly(prompts(), task.prompts)
    check_out(task.out, overwrite=task.overwrite, kind="measurement")
    device = resolve_device(task.device)
    *scorers, judge = (load_scorer(name, device=str(device)) for name in (*guides, task.judge))
    plan = ImagePlan(width, height, seed=task.seed, low_first=task.low_first, **settled)
    return lambda: _measure(task, plan, scorers, judge, device)


def _measure(task: Evaluate, plan: ImagePlan, scorers: Sequence[Scorer], judge: Scorer, device: torch.device) -> None:
    asked = each_with_seeds(prompts(), task)
    made, started = [], time.perf_counter()
    bar = progress(len(asked) * plan.steps, unit="picture-step", quiet=task.json)
    with bar:
        for start in range(0, len(asked), task.batch):
            some = asked[start : start + task.batch]
            items = [Item({prompt.text: 1.0}, seed, prompt.text) for prompt, seed in some]
            drawing = ImageLoop(plan, items, scorers, device=device)
            for _ in drawing.draw():
                bar.update(len(some))
            made.append(drawing.best.images.cpu())
    seconds = time.perf_counter() - started
    images = torch.cat(made)
    order = [prompt for prompt, _ in asked]
    eyes = {f"scorer {i}" if i else "scorer": scorer for i, scorer in enumerate(scorers)} | {"judge": judge}
    readings = {name: read_all(who, images.to(device), order) for name, who in eyes.items()}
    with folder(task) as out:
        _write_pictures(out, images, asked, readings)
        shares = {name: by_group(order, r) for name, r in readings.items()}
        summary = {
            "r_precision": shares,
            "captions": len(bank()),
            "pictures": len(asked),
            "seconds": round(seconds, 1),
            "seconds_per_picture": round(seconds / len(asked), 2),
            "plan": asdict(plan),
            "fingerprints": {name: who.fingerprint for name, who in eyes.items()},
        }
        lines = [f"R-Precision@1 by the {name} {eyes[name].name}: {in_words(g['all'])}" for name, g in shares.items()]
        finish(task, out, scorers[0], judge, summary, lines)


def _write_pictures(
    out: Path, images: Images, asked: Sequence[tuple[Prompt, int]], readings: dict[str, list[Reading]]
) -> None:
    lines, labels = [], []
    for index, (prompt, seed) in enumerate(asked):
        judged = readings["judge"][index]
        labels.append(prompt.text if judged.right else f"{prompt.text} (judge: {judged.best})")
        row = {name: asdict(reading[index]) for name, reading in readings.items()}
        lines.append(json.dumps({"prompt": prompt.text, "group": prompt.group, "seed": seed, **row}))
        files.save(out / f"picture-{index:03d}.png", images[index])
    files.write_text(out / "pictures.jsonl", "\n".join(lines) + "\n")
    files.save(out / "sheet.png", files.sheet(images, labels, columns=12, cell=128))
