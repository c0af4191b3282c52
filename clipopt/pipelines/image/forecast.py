"""What a run of `clipopt image` would take, and what it leaves."""

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.kinds import VECTORS
from clipopt.pipelines.resources import PROBED

if TYPE_CHECKING:
    from clipopt.pipelines.image.loop import ImageLoop


def forecast(drawing: "ImageLoop", start: int = 0) -> dict[str, Any]:
    """Measure a few steps of each size, and say what all steps from `start` on need. Spoils the drawing.

    Returns:
        Bytes of memory (the most that the process held), seconds of the steps, and of each size its pixels, number
        of steps, seconds of a step and of a look at the scores.
    """
    import torch

    from clipopt.record import peak_memory

    sizes, seconds = [], 0.0
    for stage, (first, last) in enumerate(drawing.plan.spans()):
        steps = last - max(first, start)
        if steps <= 0:
            continue
        drawing.enter(stage)
        ticks = [time.perf_counter()]
        for _ in drawing.steps(last - min(PROBED, steps), last):
            ticks.append(time.perf_counter())
        drawing.look(last)
        looks = time.perf_counter() - ticks[-1]
        took = sorted(after - before for before, after in pairwise(ticks))[(len(ticks) - 1) // 2]
        if stage == 0 and start == 0 and drawing.edit.init is None:
            seconds += drawing.plan.tries * min(drawing.plan.tried, last) * took
        seconds += steps * took + steps / drawing.look_every * looks
        height, width = drawing.pictures().shape[-2:]
        size = {"size": f"{width}x{height}", "steps": steps, "seconds_per_step": round(took, 4)}
        sizes.append(size | {"seconds_per_look": round(looks, 4)})
    cuda = drawing.device.type == "cuda"
    memory = torch.cuda.max_memory_allocated(drawing.device) if cuda else peak_memory()
    return {"memory_bytes": memory, "seconds": round(seconds, 1), "measured": sizes}


def expected_files(items: int, plan: ImagePlan) -> list[str]:
    """What a run leaves in its folder."""
    pictures = ["result.png", "best.png", "last.png"]
    if items > 1:
        pictures += [f"{name}-00.png ... {name}-{items - 1:02d}.png" for name in ("result", "last")]
    if plan.param in VECTORS:
        pictures += ["result.svg"] if items == 1 else [f"result-00.svg ... result-{items - 1:02d}.svg"]
    if plan.transparent:
        pictures += ["cutout.png"] if items == 1 else [f"cutout-00.png ... cutout-{items - 1:02d}.png"]
    film = ["progress.mp4", "progress.gif", "previews/"]
    return [*pictures, *film, "report.html", "summary.json", "steps.jsonl", "config.json", "checkpoint.pt"]
