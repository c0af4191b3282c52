"""`clipopt eval mesh`: meshes of a fixed suite of prompts, as the judge reads them with and without their colours."""

import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from clipopt import files, meshes
from clipopt.embedded.captions import Scene, caption, compatible, slots
from clipopt.embedded.concepts import number_of
from clipopt.embedded.suite import Prompt, Reading, bank, neighbour
from clipopt.geometry.mesh import Mesh
from clipopt.record import check_out, peak_memory, versions
from clipopt.record.folder import new_folder
from clipopt.scorers import Scorer, load_scorer
from clipopt.tasks.checks import require_positive, resolve_device
from clipopt.tasks.evaluate import by_group
from clipopt.tasks.modelling import Modelling
from clipopt.tasks.sculpting import Sculpting
from clipopt.tasks.sight import Item
from clipopt.tasks.solids import around, measure, portrait, shown
from clipopt.tasks.staging import Staging

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
def solid_bank() -> tuple[Prompt, ...]:
    """The captions that compete: those of `clipopt eval image`, the prompts, and a false neighbour of each of them."""
    scenes = [p.scene for p in solid_prompts()]
    scenes += [neighbour(p.scene, f"solid/{i}") for i, p in enumerate(solid_prompts())]
    known = {p.text: p for p in bank()}
    return tuple((known | {caption(scene): Prompt(caption(scene), scene, "bank") for scene in scenes}).values())


@torch.no_grad()
def read_solids(scorer: Scorer, views: Sequence[Tensor], asked: Sequence[Prompt]) -> list[Reading]:
    """Let `scorer` name things from the bank, by the mean over the views of each, (n, 3, h, w)."""
    texts = [p.text for p in solid_bank()]
    text = scorer.encode_text(texts)
    similarity = torch.stack([(scorer.encode_image(images.to(text.device)) @ text.T).mean(0) for images in views]).cpu()
    own = torch.tensor([texts.index(p.text) for p in asked])
    rivals = ~compatible(slots([p.scene for p in asked]), slots([p.scene for p in solid_bank()]))
    rivals[torch.arange(len(own)), own] = True
    ranked = similarity.masked_fill(~rivals, -2.0).argmax(1)
    return [
        Reading(texts[int(best)], int(best) == int(mine), float(similarity[row, mine]))
        for row, (best, mine) in enumerate(zip(ranked, own, strict=True))
    ]


@dataclass(frozen=True)
class EvaluateMesh:
    """Measure `clipopt mesh` on its fixed suite of prompts.

    Makes a mesh of every prompt with every seed, then lets the scorer and the judge name each from eight sides among
    some five hundred captions, in its colours and as a bare grey shape. R-Precision@1 is the share that they name by
    its own prompt. The scorer was in the loss, so its share says little; the judge's is the result, and that of the
    bare shape says how much of it is shape. Nothing is chosen by the judge.

    The folder that the last line names holds sheet.png (all meshes, with what the judge reads where it reads something
    else, and the bare shapes), meshes.jsonl, the meshes as GLB, and summary.json.

        clipopt eval mesh                                 all of it: about an hour on two cores
        clipopt eval mesh --prompts 12 --seeds 1 --steps 60
    """

    task: Literal["mesh"]
    """What to measure."""
    scorer: str = "embedded"
    """Who guides; see `clipopt image --help`."""
    judge: str = "embedded-judge"
    """Who judges."""
    prompts: int = len(_THINGS) + len(_COLOURED)
    """How many prompts of the suite to take, evenly spaced."""
    seeds: int = 2
    """Meshes of each prompt."""
    seed: int = 0
    """The first seed."""
    batch: int = 6
    """Meshes made at once; changes the time, not the meshes."""
    mesh: str = "sphere"
    """What they start from: sphere, cube, cylinder, cone, capsule or torus."""
    steps: int = Modelling.steps
    """As in `clipopt mesh`."""
    lr: float = Modelling.lr
    """As in `clipopt mesh`."""
    lr_color: float = Modelling.lr_color
    """As in `clipopt mesh`."""
    faces: int = Modelling.faces[-1]
    """As in `clipopt mesh`."""
    remesh: int = len(Modelling.faces) - 1
    """As in `clipopt mesh`."""
    staging: Staging = field(default_factory=Staging)
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Folder to write; by default a new one, outputs/eval/<time>-mesh."""
    overwrite: bool = False
    """Write into --out even though it holds something."""
    json: bool = False
    """Print the summary alone on stdout."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the measurement."""
        require_positive(
            prompts=self.prompts, seeds=self.seeds, batch=self.batch, steps=self.steps, lr=self.lr,
            lr_color=self.lr_color,
        )  # fmt: skip
        if self.prompts > len(solid_prompts()):
            raise ValueError(f"--prompts: the suite has {len(solid_prompts())}, got {self.prompts}")
        if self.mesh not in meshes.PRIMITIVES:
            raise ValueError(f"--mesh must be one of {', '.join(meshes.PRIMITIVES)}, got {self.mesh}")
        if self.faces < 80 or not 0 <= self.remesh <= 20:
            raise ValueError(f"--faces must be 80 or more, --remesh in 0 to 20; got {self.faces} and {self.remesh}")
        check_out(self.out, overwrite=self.overwrite)
        device = resolve_device(self.device)
        scorer, judge = (load_scorer(name, device=str(device)) for name in (self.scorer, self.judge))
        views = self.staging.make(scorer, textured=True)
        plan = Modelling(steps=self.steps, seed=self.seed, lr=self.lr, lr_color=self.lr_color, views=views)
        rising = (max(80, self.faces >> (self.remesh - stage)) for stage in range(self.remesh + 1))
        return lambda: self._measure(replace(plan, faces=tuple(rising)), scorer, judge, device)

    def _measure(self, plan: Modelling, scorer: Scorer, judge: Scorer, device: torch.device) -> None:
        from tqdm import tqdm

        suite = solid_prompts()
        chosen = [suite[i * len(suite) // self.prompts] for i in range(self.prompts)]
        asked = [(prompt, self.seed + n) for prompt in chosen for n in range(self.seeds)]
        start = meshes.primitive(self.mesh, plan.faces[0])
        sided, instead = self.staging.sided([scorer]), dict(self.staging.view)
        made: list[Mesh] = []
        started = time.perf_counter()
        with tqdm(total=len(asked) * plan.steps, unit="mesh-step", disable=self.json, file=sys.stderr) as bar:
            for first in range(0, len(asked), self.batch):
                some = asked[first : first + self.batch]
                items = [Item({prompt.text: 1.0}, seed, prompt.text) for prompt, seed in some]
                sculpting = Sculpting(plan, items, start, [scorer], sided=sided, instead=instead, device=device)
                for _ in sculpting.draw():
                    bar.update(len(some))
                made += [mesh.to("cpu") for mesh in sculpting.best.meshes]
        seconds = time.perf_counter() - started
        order = [prompt for prompt, _ in asked]
        seen = {
            look: [shown(mesh, around(_VIEWS), _SIDE, textureless=look == "bare shape") for mesh in made]
            for look in ("colour", "bare shape")
        }
        readings = {
            name: {look: read_solids(who, views, order) for look, views in seen.items()}
            for name, who in (("scorer", scorer), ("judge", judge))
        }
        measured = [measure(mesh) for mesh in made]
        out = new_folder(Path("outputs/eval"), self.task) if self.out is None else self.out
        out.mkdir(parents=True, exist_ok=True)
        _write(out, made, asked, readings, measured)
        shares = {name: {look: by_group(order, r) for look, r in looks.items()} for name, looks in readings.items()}
        summary = {
            "r_precision": shares,
            "captions": len(solid_bank()),
            "meshes": len(asked),
            "self_intersection": sum(m["self-intersection"] for m in measured) / len(measured),
            "watertight": sum(m["watertight"] for m in measured) / len(measured),
            "seconds": round(seconds, 1),
            "seconds_per_mesh": round(seconds / len(asked), 2),
            "plan": asdict(plan),
            "fingerprints": {"scorer": scorer.fingerprint, "judge": judge.fingerprint},
            "peak_memory_bytes": peak_memory(),
            "versions": versions(),
        }
        files.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
        if self.json:
            sys.stdout.write(json.dumps(summary) + "\n")
            return
        for name, looks in shares.items():
            for look, groups in looks.items():
                low, high = groups["all"]["interval"]
                told = f"{groups['all']['share']:.1%} [{low:.1%}, {high:.1%}]"
                sys.stdout.write(f"R-Precision@1 by the {name}, {look}: {told}\n")
        sys.stdout.write(f"{out}\n")


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
