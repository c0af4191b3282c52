"""What each part of `clipopt mesh` does for a mesh: the same prompts without it. See README.md beside this file.

    python benchmarks/mesh_parts.py [--prompts N] [--steps N] [--without PART ...] [--out FOLDER]

Prints progress on stderr and one JSON object on stdout; with --out it writes that and a picture of all meshes.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from clipopt.evaluation.mesh import read_solids, solid_prompts
from clipopt.evaluation.shares import evenly
from clipopt.evaluation.suite import Prompt
from clipopt.geometry.mesh import Mesh
from clipopt.io import files
from clipopt.io.mesh import forms, primitive
from clipopt.pipelines.mesh.loop import MeshLoop
from clipopt.pipelines.mesh.plan import RATES, MeshPlan
from clipopt.pipelines.mesh.results import around, measure, portrait, shown
from clipopt.pipelines.mesh.staging import Staging
from clipopt.pipelines.views import Item
from clipopt.render import draw
from clipopt.scorers import Scorer, load_scorer

WITHOUT: dict[str, Callable[[MeshPlan], MeshPlan]] = {
    "all parts": lambda plan: plan,
    "no large steps": lambda plan: replace(plan, shape="vertices", lr=RATES["vertices"]),
    "no offset": lambda plan: replace(plan, views=replace(plan.views, offset=0.0)),
    "no bare views": lambda plan: replace(plan, views=replace(plan.views, textureless=0.0)),
    "no silhouette edges": lambda plan: plan,
    "busy backgrounds": lambda plan: replace(plan, views=replace(plan.views, backgrounds="busy")),
    "always from a sphere": lambda plan: plan,
}


@contextmanager
def without_edges(off: bool) -> Iterator[None]:
    """Pictures as the pixels' centres see them: an outline passes no gradient."""
    whole = draw.antialias
    if off:
        draw.antialias = lambda image, *_: image
    try:
        yield
    finally:
        draw.antialias = whole


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=12, help="how many of the suite of `clipopt eval mesh`")
    parser.add_argument("--steps", type=int, default=MeshPlan.steps)
    parser.add_argument("--without", nargs="+", choices=list(WITHOUT), default=list(WITHOUT))
    parser.add_argument("--batch", type=int, default=6, help="meshes at once")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    scorer, judge = load_scorer("embedded"), load_scorer("embedded-judge")
    plan = MeshPlan(steps=given.steps, views=Staging().make(scorer, textured=True))
    asked = evenly(solid_prompts(), given.prompts)
    found: dict[str, dict[str, float]] = {}
    pictures: list[Tensor] = []
    labels: list[str] = []
    for name in given.without:
        started = time.process_time()
        best = [
            mesh
            for first in range(0, len(asked), given.batch)
            for mesh in make(name, WITHOUT[name](plan), asked[first : first + given.batch], scorer)
        ]
        seconds = time.process_time() - started
        found[name] = {}
        for look in ("colour", "bare shape"):
            bare = look == "bare shape"
            views = [shown(mesh, around(8), 224, textureless=bare) for mesh in best]
            for role, eye in (("scorer", scorer), ("judge", judge)):
                read = read_solids(eye, views, asked, bare=bare)
                found[name][f"named by the {role}, {look}"] = sum(r.right for r in read) / len(read)
                found[name][f"cosine of the {role}, {look}"] = sum(r.cosine for r in read) / len(read)
        found[name]["faces that cross others"] = sum(float(measure(m)["self-intersection"]) for m in best) / len(best)
        found[name]["seconds per mesh"] = round(seconds / len(best), 1)
        print(name, found[name], file=sys.stderr)
        for mesh, prompt in zip(best, asked, strict=True):
            pictures += [portrait(mesh, 160), shown(mesh, around(1), 160, textureless=True)]
            labels += [f"{name}: {prompt.text}", ""]
    report = {"prompts": [prompt.text for prompt in asked], "steps": given.steps, "means": found}
    print(json.dumps(report, indent=2))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        files.write_text(given.out / "mesh_parts.json", json.dumps(report, indent=2) + "\n")
        columns = 2 * len(asked)
        files.save(given.out / "sheet.png", files.sheet(torch.cat(pictures), labels, columns=columns, cell=128))


def make(name: str, plan: MeshPlan, asked: Sequence[Prompt], scorer: Scorer) -> list[Mesh]:
    """The meshes of some prompts, made without the part that `name` says."""
    items = [Item({prompt.text: 1.0}, 0, prompt.text) for prompt in asked]
    with without_edges(name == "no silhouette edges"):
        sculpting = MeshLoop(plan, items, primitive("sphere", plan.faces[0]), [scorer])
        if name != "always from a sphere":
            sculpting.choose(forms())
        for _ in sculpting.draw():
            pass
    return sculpting.best.meshes


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
