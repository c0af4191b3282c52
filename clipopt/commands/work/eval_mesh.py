"""What `clipopt eval mesh` does: make the meshes of the suite, and have them named."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from clipopt.commands.eval_mesh import EvaluateMesh
from clipopt.evaluation.mesh import bare_bank, read_solids, solid_bank, solid_prompts
from clipopt.evaluation.shares import by_group, each_with_seeds, evenly, finish, folder, in_words
from clipopt.evaluation.suite import Prompt, Reading
from clipopt.geometry.mesh import Mesh
from clipopt.io import files
from clipopt.io import mesh as meshes
from clipopt.pipelines.checks import require_positive, resolve_device
from clipopt.pipelines.mesh.loop import MeshLoop
from clipopt.pipelines.mesh.plan import MeshPlan
from clipopt.pipelines.mesh.results import around, measure, portrait, shown
from clipopt.pipelines.progress import progress
from clipopt.pipelines.views import Item
from clipopt.record import check_out
from clipopt.scorers import Scorer, load_scorer

_VIEWS, _SIDE = 8, 224


def prepare(task: EvaluateMesh) -> Callable[[], None]:
    """Check everything, write nothing, and return the measurement."""
    require_positive(
        seeds=task.seeds, batch=task.batch, steps=task.steps, lr=task.lr,
        lr_color=task.lr_color,
    )  # fmt: skip
    evenly(solid_prompts(), task.prompts)
    if task.mesh not in (known := ("auto", *meshes.PRIMITIVES)):
        raise ValueError(f"--mesh must be one of {', '.join(known)}, got {task.mesh}")
    if task.faces < 80 or not 0 <= task.remesh <= 20:
        raise ValueError(f"--faces must be 80 or more, --remesh in 0 to 20; got {task.faces} and {task.remesh}")
    check_out(task.out, overwrite=task.overwrite, kind="measurement")
    device = resolve_device(task.device)
    scorer, judge = (load_scorer(name, device=str(device)) for name in (task.scorer, task.judge))
    views = task.staging.make(scorer, textured=True)
    plan = MeshPlan(steps=task.steps, seed=task.seed, lr=task.lr, lr_color=task.lr_color, views=views)
    rising = (max(80, task.faces >> (task.remesh - stage)) for stage in range(task.remesh + 1))
    return lambda: _measure(task, replace(plan, faces=tuple(rising)), scorer, judge, device)


def _measure(task: EvaluateMesh, plan: MeshPlan, scorer: Scorer, judge: Scorer, device: torch.device) -> None:
    asked = each_with_seeds(solid_prompts(), task)
    start = meshes.primitive("sphere" if task.mesh == "auto" else task.mesh, plan.faces[0])
    sided, instead = task.staging.sided([scorer]), dict(task.staging.view)
    made: list[Mesh] = []
    started = time.perf_counter()
    with progress(len(asked) * plan.steps, unit="mesh-step", quiet=task.json) as bar:
        for first in range(0, len(asked), task.batch):
            some = asked[first : first + task.batch]
            items = [Item({prompt.text: 1.0}, seed, prompt.text) for prompt, seed in some]
            sculpting = MeshLoop(plan, items, start, [scorer], sided=sided, instead=instead, device=device)
            if task.mesh == "auto":
                sculpting.choose(meshes.forms())
            for _ in sculpting.draw():
                bar.update(len(some))
            made += [mesh.to("cpu") for mesh in sculpting.best.meshes]
    seconds = time.perf_counter() - started
    order = [prompt for prompt, _ in asked]
    seen = {
        look: [shown(mesh, around(_VIEWS), _SIDE, textureless=look == "bare shape") for mesh in made]
        for look in ("colour", "bare shape")
    }

    def read(*, solids: bool) -> dict[str, dict[str, list[Reading]]]:
        return {
            name: {
                look: read_solids(who, views, order, bare=look == "bare shape", solids=solids)
                for look, views in seen.items()
            }
            for name, who in (("scorer", scorer), ("judge", judge))
        }

    def shares(readings: Mapping[str, Mapping[str, Sequence[Reading]]]) -> dict[str, Any]:
        return {name: {look: by_group(order, r) for look, r in looks.items()} for name, looks in readings.items()}

    readings, among_solids = read(solids=False), shares(read(solids=True))
    measured = [measure(mesh) for mesh in made]
    with folder(task) as out:
        _write(out, made, asked, readings, measured)
        among_all = shares(readings)
        summary = {
            "r_precision": among_all,
            "captions": {"colour": len(solid_bank()), "bare shape": len(bare_bank())},
            "r_precision_among_solids": among_solids,
            "captions_of_solids": {"colour": len(solid_bank(solids=True)), "bare shape": len(bare_bank(solids=True))},
            "meshes": len(asked),
            "self_intersection": sum(m["self-intersection"] for m in measured) / len(measured),
            "watertight": sum(m["watertight"] for m in measured) / len(measured),
            "seconds": round(seconds, 1),
            "seconds_per_mesh": round(seconds / len(asked), 2),
            "plan": asdict(plan),
        }
        lines = [
            f"R-Precision@1 by the {name}, {look}: {in_words(groups['all'])}; "
            f"among solids: {in_words(among_solids[name][look]['all'])}"
            for name, looks in among_all.items()
            for look, groups in looks.items()
        ]
        finish(task, out, scorer, judge, summary, lines)


def _write(
    out: Path,
    made: Sequence[Mesh],
    asked: Sequence[tuple[Prompt, int]],
    readings: Mapping[str, Mapping[str, Sequence[Reading]]],
    measured: Sequence[Mapping[str, Any]],
) -> None:
    lines, labels = [], []
    for index, (prompt, seed) in enumerate(asked):
        judged = readings["judge"]["colour"][index]
        labels += [prompt.text if judged.right else f"{prompt.text} (judge: {judged.best})", ""]
        row = {name: {look: asdict(r[index]) for look, r in looks.items()} for name, looks in readings.items()}
        lines.append(json.dumps({"prompt": prompt.text, "group": prompt.group, "seed": seed, **row, **measured[index]}))
        meshes.save_mesh(out / f"mesh-{index:03d}.glb", made[index])
    files.write_text(out / "meshes.jsonl", "\n".join(lines) + "\n")
    pairs = [torch.cat([portrait(mesh, 160), shown(mesh, around(1), 160, textureless=True)]) for mesh in made]
    files.save(out / "sheet.png", files.sheet(torch.cat(pairs), labels, columns=12, cell=128))
