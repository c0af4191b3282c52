"""What a run of `clipopt latent` would take, and what it leaves."""

import time
from typing import Any

import torch

from clipopt.pipelines.latent.loop import LatentLoop
from clipopt.pipelines.resources import in_words
from clipopt.record import peak_memory

__all__ = ["expected_files", "forecast", "in_words"]


def forecast(making: LatentLoop, start: int = 0) -> dict[str, Any]:
    """Measure one step after a first one that warms up, and say what all from `start` on need. Spoils the pictures."""
    plan, took = making.plan, [0.0]
    steps = plan.steps - start
    if steps > 0:
        began = time.perf_counter()
        for number, _ in enumerate(making.draw(max(start, plan.steps - 2)), 1):
            took.append((time.perf_counter() - began) / number)
    more = (plan.tries - 1) / 3 if plan.method == "noise" and start == 0 else 0
    height, width = making.before.shape[-2:]
    size = {"size": f"{width}x{height}", "steps": steps, "seconds_per_step": round(took[-1], 4)}
    memory = torch.cuda.max_memory_allocated(making.device) if making.device.type == "cuda" else peak_memory()
    return {
        "memory_bytes": memory, "seconds": round((steps + more) * took[-1], 1), "measured": [size] if steps > 0 else [],
    }  # fmt: skip


def expected_files(items: int) -> list[str]:
    """What a run leaves in its folder."""
    pictures = ["result.png", "before.png", "sheet.png", "best.png", "last.png"]
    if items > 1:
        pictures += [f"{name}-00.png ... {name}-{items - 1:02d}.png" for name in ("result", "last")]
    film = ["progress.mp4", "progress.gif", "previews/"]
    return [*pictures, *film, "report.html", "summary.json", "steps.jsonl", "config.json", "checkpoint.pt"]
