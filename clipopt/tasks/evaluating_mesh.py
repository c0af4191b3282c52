"""What `clipopt eval mesh` does: make the meshes of the suite, and have them named."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipopt import files, meshes
from clipopt.embedded.captions import Scene, caption, compatible, slots
from clipopt.embedded.concepts import number_of
from clipopt.embedded.concepts import solids as embedded_solids
from clipopt.embedded.suite import Prompt, Reading, bank, neighbour
from clipopt.geometry.mesh import Mesh
from clipopt.record import check_out
from clipopt.scorers import Scorer, load_scorer
from clipopt.tasks.checks import require_positive, resolve_device
from clipopt.tasks.evaluate_mesh import EvaluateMesh
from clipopt.tasks.evaluations import by_group, each_with_seeds, evenly, finish, folder, in_words
from clipopt.tasks.modelling import Modelling
from clipopt.tasks.progress import progress
from clipopt.tasks.sculpting import Sculpting
from clipopt.tasks.sight import Item
from clipopt.tasks.solids import around, measure, portrait, shown

_THINGS = (
    "snowman", "rocket", "tree", "cactus", "light bulb", "strawberry", "carrot", "pineapple", "watermelon", "cupcake",
    "hamburger", "donut", "soccer ball", "basketball", "bomb", "ghost", "skull", "robot", "penguin", "owl", "fish",
    "turtle", "castle", "trophy",
)  # fmt: skip
_COLOURED = (
    ("red", "apple"), ("yellow", "banana"), ("red", "mushroom"), ("green", "pear"), ("yellow", "lemon"),
    ("red", "balloon"), ("orange", "pumpkin"), ("red", "car"), ("blue", "teapot"), ("yellow", "bell"),
    ("purple", "octopus"), ("red", "heart"),
)  # fmt: skip
_VIEWS, _SIDE = 8, 224


@cache
def solid_prompts() -> tuple[Prompt, ...]:
    """The prompts in a fixed order: things of a solid form, by themselves and in a colour."""
    asked = [("things", Scene(number_of(noun))) for noun in _THINGS]
    asked += [("colours of things", Scene(number_of(noun), colour)) for colour, noun in _COLOURED]
    return tuple(Prompt(caption(scene), scene, group) for group, scene in asked)


@cache
def solid_bank(*, solids: bool = False) -> tuple[Prompt, ...]:
    """The captions that compete: those of `clipopt eval image`, the prompts, and a false neighbour of each of them.

    With `solids` only prompts, neighbours, and the things that the embedded world knows as solids.
    """
    scenes = [p.scene for p in solid_prompts()]
    scenes += [neighbour(p.scene, f"solid/{i}") for i, p in enumerate(solid_prompts())]
    known = [Scene(number) for number in embedded_solids()] if solids else [p.scene for p in bank()]
    return _captions(known + scenes)


@cache
def bare_bank(*, solids: bool = False) -> tuple[Prompt, ...]:
    """The captions that compete for bare shapes: every thing of `solid_bank`, once and in gray.

    All bare shapes are gray. Beside captions of other colours the few that say so would get them all.
    """
    numbers = dict.fromkeys(p.scene.concept for p in solid_bank(solids=solids) if p.scene.other is None)
    return _captions([Scene(number, "gray") for number in numbers])


def _captions(scenes: Sequence[Scene]) -> tuple[Prompt, ...]:
    unique = {caption(scene): scene for scene in scenes}
    return tuple(Prompt(text, scene, "bank") for text, scene in unique.items())


@torch.no_grad()
def read_solids(
    scorer: Scorer, views: Sequence[Tensor], asked: Sequence[Prompt], *, bare: bool = False, solids: bool = False
) -> list[Reading]:
    """Let `scorer` name things from the bank, by the mean over the views of each, (n, 3, h, w).

    A `bare` shape has lost its colours, so its name is its noun in gray: "a gray pumpkin" of an orange one.
    """
    among = bare_bank(solids=solids) if bare else solid_bank(solids=solids)
    scenes = [Scene(p.scene.concept, "gray") if bare else p.scene for p in asked]
    texts = [p.text for p in among]
    text = scorer.encode_text(texts)
    similarity = torch.stack([(scorer.encode_image(images.to(text.device)) @ text.T).mean(0) for images in views]).cpu()
    own = torch.tensor([texts.index(caption(scene)) for scene in scenes])
    rivals = ~compatible(slots(scenes), slots([p.scene for p in among]))
    rivals[torch.arange(len(own)), own] = True
    ranked = similarity.masked_fill(~rivals, -2.0).argmax(1).tolist()
    return [
        Reading(texts[best], best == int(own[row]), float(similarity[row, own[row]])) for row, best in enumerate(ranked)
    ]


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
    plan = Modelling(steps=task.steps, seed=task.seed, lr=task.lr, lr_color=task.lr_color, views=views)
    rising = (max(80, task.faces >> (task.remesh - stage)) for stage in range(task.remesh + 1))
    return lambda: _measure(task, replace(plan, faces=tuple(rising)), scorer, judge, device)


def _measure(task: EvaluateMesh, plan: Modelling, scorer: Scorer, judge: Scorer, device: torch.device) -> None:
    asked = each_with_seeds(solid_prompts(), task)
    start = meshes.primitive("sphere" if task.mesh == "auto" else task.mesh, plan.faces[0])
    sided, instead = task.staging.sided([scorer]), dict(task.staging.view)
    made: list[Mesh] = []
    started = time.perf_counter()
    with progress(len(asked) * plan.steps, unit="mesh-step", quiet=task.json) as bar:
        for first in range(0, len(asked), task.batch):
            some = asked[first : first + task.batch]
            items = [Item({prompt.text: 1.0}, seed, prompt.text) for prompt, seed in some]
            sculpting = Sculpting(plan, items, start, [scorer], sided=sided, instead=instead, device=device)
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
    out = folder(task)
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
