"""What a run of `clipopt mesh` would take."""

import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from clipopt.pipelines.resources import PROBED

if TYPE_CHECKING:
    from clipopt.pipelines.mesh.loop import MeshLoop


def forecast(sculpting: "MeshLoop", start: int = 0) -> dict[str, Any]:
    """Measure a few steps with the triangles of each stage, and say what all steps from `start` on need.

    Spoils the meshes.

    Returns:
        Bytes of memory (the most that the process held), seconds of the steps, and of each stage its triangles, number
        of steps, seconds of a step and of a look at the scores.
    """
    import torch

    from clipopt.geometry.remesh import with_faces
    from clipopt.record import peak_memory

    plan, measured, seconds = sculpting.plan, [], 0.0
    for stage, (first, last) in enumerate(plan.spans()):
        steps = last - max(first, start)
        if steps <= 0:
            continue
        if plan.faces:
            sculpting.enter(stage, [with_faces(mesh, plan.faces[stage]) for mesh in sculpting.meshes()])
        ticks = [time.perf_counter()]
        for _ in sculpting.steps(last - min(PROBED, steps), last):
            ticks.append(time.perf_counter())
        sculpting.look(last)
        looks = time.perf_counter() - ticks[-1]
        took = sorted(after - before for before, after in pairwise(ticks))[(len(ticks) - 1) // 2]
        seconds += steps * took + steps / sculpting.look_every * looks
        size = f"{len(sculpting.meshes()[0].faces)} faces"
        measured.append({"size": size, "steps": steps, "seconds_per_step": round(took, 4), "seconds_per_look": looks})
    cuda = sculpting.device.type == "cuda"
    memory = torch.cuda.max_memory_allocated(sculpting.device) if cuda else peak_memory()
    return {"memory_bytes": memory, "seconds": round(seconds, 1), "measured": measured}
