"""What `clipopt eval motion` does: make the motions of the suite, and have them named."""

import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import torch

from clipopt.commands.eval_motion import EvaluateMotion
from clipopt.evaluation.motion import RIVALS, motion_prompts, name_films, pose_gate, shares
from clipopt.evaluation.shares import each_with_seeds, evenly, finish, folder
from clipopt.io import files
from clipopt.pipelines.checks import require_positive
from clipopt.pipelines.motion.loop import MotionLoop
from clipopt.pipelines.motion.phases import split_phases
from clipopt.pipelines.motion.plan import MotionPlan
from clipopt.pipelines.motion.results import film_embeddings, measure, order_gaps, over_time
from clipopt.pipelines.progress import over, progress
from clipopt.record import check_out
from clipopt.render.figure import pose
from clipopt.scorers import SeesFilms, load_scorer


def prepare(task: EvaluateMotion) -> Callable[[], None]:
    """Check everything, write nothing, and return the measurement."""
    require_positive(seeds=task.seeds, seconds=task.seconds, tries=task.tries, bank=task.bank)
    evenly(motion_prompts(), task.prompts)
    if min(task.steps, task.lock) < 0:
        raise ValueError("--steps and --lock must be 0 or more")
    check_out(task.out, overwrite=task.overwrite, kind="measurement")
    scorer, judge = load_scorer(task.scorer), load_scorer(task.judge)
    for name, who in (("scorer", scorer), ("judge", judge)):
        if not isinstance(who, SeesFilms):
            raise ValueError(f"--{name} must see films: expected embedded-motion or its judge, got {who.name}")
    return lambda: _measure(task, scorer, judge)


def _measure(task: EvaluateMotion, scorer: Any, judge: Any) -> None:
    suite = motion_prompts()
    asked = each_with_seeds(suite, task)
    plan = MotionPlan(seconds=task.seconds, bank=task.bank, tries=task.tries, steps=task.steps, lock=task.lock)
    with folder(task) as out:
        lines, rows, sheets, started = [], [], [], time.perf_counter()
        for prompt, seed in over(asked, progress(len(asked), unit="motion", quiet=task.json)):
            begun = time.perf_counter()
            moving = MotionLoop(replace(plan, seed=seed), prompt.text, split_phases(prompt.text), scorer, scorer, None)
            stances = moving.make()
            with torch.no_grad():
                posed = pose(stances.angles, stances.root)
            rows.append(film_embeddings(judge, posed))
            sheets.append(over_time(posed, 8, 96))
            line: dict[str, Any] = {
                "prompt": prompt.text,
                "group": prompt.group,
                "directed": prompt.directed,
                "seed": seed,
            }
            line |= measure(posed, stances, plan.fps) | {"seconds": round(time.perf_counter() - begun, 1)}
            line |= {"judge": order_gaps(judge, posed, prompt.text, rows[-1])}
            line |= {"scorer": order_gaps(scorer, posed, prompt.text)}
            lines.append(line)
        seen = torch.stack(rows)
        kinds = {
            "forward": seen,
            "backward": seen.flip(2),
            "held": seen[:, :, seen.shape[2] // 2, None].expand_as(seen),
        }
        ranks = {name: name_films(judge, some, [p for p, _ in asked]) for name, some in kinds.items()}
        for index, line in enumerate(lines):
            line["rank"] = {name: found[index][0] for name, found in ranks.items()}
            line["judge reads"] = ranks["forward"][index][1]
        files.write_text(out / "motions.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        labels = []
        for line in lines:
            read = "" if line["rank"]["forward"] == 1 else f" (judge: {line['judge reads']})"
            labels += [line["prompt"] + read, *[""] * 7]
        files.save(out / "sheet.png", files.sheet(torch.cat(sheets), labels, columns=16, cell=96))
        summary = {
            **shares(lines),
            "gate": pose_gate(scorer, judge, size=task.bank),
            "motions": len(lines),
            "rivals": min(RIVALS, len({p.text for p in suite})),
            "seconds": round(time.perf_counter() - started, 1),
            "plan": asdict(plan),
        }
        share = summary["r_precision"]["all"]["top 3"]
        finish(task, out, scorer, judge, summary, [f"R-Precision by the judge, top 3 of {RIVALS}: {share:.1%}"])
