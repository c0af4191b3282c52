"""What each part of `clipopt mesh` does for a mesh: the same prompts without it. See README.md beside this file.

    python benchmarks/mesh_parts.py [--prompts TEXT ...] [--steps N] [--seeds N] [--out FOLDER]

Prints progress on stderr and one JSON object on stdout; with --out it writes that and a picture of all meshes.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from clipopt import files
from clipopt.meshes import primitive
from clipopt.render import draw
from clipopt.scorers import load_scorer
from clipopt.tasks.modelling import RATES, Modelling
from clipopt.tasks.sculpting import Sculpting
from clipopt.tasks.sight import Item
from clipopt.tasks.solids import around, measure, portrait, shown
from clipopt.tasks.staging import Staging

PROMPTS = ("a snowman", "a red mushroom", "a yellow banana")
WITHOUT: dict[str, Callable[[Modelling], Modelling]] = {
    "all parts": lambda plan: plan,
    "no large steps": lambda plan: replace(plan, shape="vertices", lr=RATES["vertices"]),
    "no offset": lambda plan: replace(plan, views=replace(plan.views, offset=0.0)),
    "no bare views": lambda plan: replace(plan, views=replace(plan.views, textureless=0.0)),
    "no silhouette edges": lambda plan: plan,
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
    parser.add_argument("--prompts", nargs="+", default=list(PROMPTS))
    parser.add_argument("--steps", type=int, default=Modelling.steps)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    scorer, judge = load_scorer("embedded"), load_scorer("embedded-judge")
    plan = Modelling(steps=given.steps, views=Staging().make(scorer, textured=True))
    items = [Item({text: 1.0}, seed, text) for text in given.prompts for seed in range(given.seeds)]
    found: dict[str, dict[str, float]] = {}
    pictures: list[Tensor] = []
    labels: list[str] = []
    for name, change in WITHOUT.items():
        started = time.process_time()
        with without_edges(name == "no silhouette edges"):
            sculpting = Sculpting(change(plan), items, primitive("sphere", plan.faces[0]), [scorer], judge=judge)
            for _ in sculpting.draw():
                pass
        seconds, best = time.process_time() - started, sculpting.best.meshes
        found[name] = {
            f"{role}{', bare shape' if bare else ''}": float(sculpting.score(best, role, textureless=bare).mean())
            for role in ("score", "judge")
            for bare in (False, True)
        }
        found[name]["faces that cross others"] = sum(float(measure(m)["self-intersection"]) for m in best) / len(best)
        found[name]["seconds per mesh"] = round(seconds / len(best), 1)
        print(name, found[name], file=sys.stderr)
        for mesh, item in zip(best, items, strict=True):
            pictures += [portrait(mesh, 160), shown(mesh, around(1), 160, textureless=True)]
            labels += [f"{name}: {item.label}", ""]
    report = {"prompts": given.prompts, "seeds": given.seeds, "steps": given.steps, "means": found}
    print(json.dumps(report, indent=2))
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        files.write_text(given.out / "mesh_parts.json", json.dumps(report, indent=2) + "\n")
        columns = 2 * len(items)
        files.save(given.out / "sheet.png", files.sheet(torch.cat(pictures), labels, columns=columns, cell=128))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
