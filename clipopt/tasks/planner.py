"""What a run needs: memory, time, files. And how it goes on when memory is short."""

import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, TypeVar

from clipopt.tasks.checks import amount
from clipopt.tasks.kinds import SUITS, VECTORS, Begin, Cutouts, Param

if TYPE_CHECKING:
    from clipopt.tasks.drawing import Drawing

T = TypeVar("T")

SMALL = 512
"""Up to this many pixels of the shorter side a picture is made at its own size from the start."""
PROBED = 3
"""Steps of each size that a forecast takes; the first one warms up."""
# Measured: torch and a small scorer, and per value of the pictures the parameters, Adam, the gradient, the film.
_BASE_BYTES, _BYTES_PER_VALUE = 0.4e9, 96
# How the allocators of the CPU and of Apple's GPU say it, in a plain RuntimeError.
_SAID = ("not enough memory", "can't allocate memory", "backend out of memory")


@dataclass(frozen=True)
class Plan:
    """How pictures are made; the defaults are those of `clipopt image`, with a single start.

    Attributes:
        width: Of the pictures, pixels.
        height: Of the pictures, pixels.
        param: What is learned.
        steps: Steps of the optimizer.
        seed: Of the run; every item has its own besides.
        lr: Adam's largest learning rate: it rises for a sixth of the steps, then falls to zero along a cosine.
        crops: Views of an item in a step.
        smooth: Weight of the total variation, as measured at the size that the scorer sees: the same picture at
            twice the resolution has the same penalty.
        stages: Resolutions to go through, each twice the one before.
        palette: Colours of a palette: a name, a number of colours to learn, or the colours by commas.
        cutouts: Which views the scorer gets.
        text_off: Weight of the way from pictures to the same with lettering, which repels.
        render: Height and width at which the result is drawn in the end; None: as it was made.
        transparent: Whether curves have no ground of their own: another random one lies behind them in each step.
        low_first: Part of the run in which the resolutions of a pyramid open one after another, coarse ones first.
        weights: How much each scorer counts; empty: all alike.
        starts: At which part of the run each scorer joins; empty: all from the beginning.
        begin: What items begin as: "noise", "samples" of the generator in the package, or a "sketch" by its sketcher.
        statistics: How much it counts that a natural scorer's layers see other statistics than in photographs.
        centre: How far from the middle a natural scorer draws, in half sides of the picture, so that one thing stands
            there before a calm background; 0 is everywhere alike.
        tries: Starts of each item: of noise, the one that the scorers like best after a fifth of the steps is drawn; of
            sketches and samples, the one that the embedded scorer likes best, or else the first.
        planned: Steps before the run was made longer; None: it was not.
    """

    width: int = 256
    height: int = 256
    param: Param = "pyramid"
    steps: int = SUITS["pyramid"][0]
    seed: int = 0
    lr: float = SUITS["pyramid"][1]
    crops: int = 6
    smooth: float = 0.5
    stages: int = 1
    palette: str = "16"
    cutouts: Cutouts = "crops"
    text_off: float | int = 0.0
    render: tuple[int, int] | None = None
    transparent: bool = False
    low_first: float | int = 0.0
    weights: tuple[float | int, ...] = ()
    starts: tuple[float | int, ...] = ()
    begin: Begin = "noise"
    statistics: float | int = 0.0
    centre: float | int = 0.0
    tries: int = 1
    planned: int | None = None

    @property
    def tried(self) -> int:
        """Steps that each start takes before one is chosen; 0 where there is only one."""
        return 0 if self.tries == 1 or self.begin != "noise" else max(1, self.steps // 5)

    def size(self, stage: int) -> tuple[int, int]:
        """Height and width of the pictures in a stage."""
        shrink = 2 ** (self.stages - 1 - stage)
        return math.ceil(self.height / shrink), math.ceil(self.width / shrink)

    def spans(self) -> list[tuple[int, int]]:
        """First step and end of each stage: half of the steps for the first one, the others share the rest.

        Steps by which a run was made longer are all of the last one.
        """
        steps, later = self.planned or self.steps, self.stages - 1
        ends = [steps - steps // 2 + steps // 2 * stage // later for stage in range(later)] + [self.steps]
        return list(zip([0, *ends[:-1]], ends, strict=True))


def stages_of(width: int, height: int) -> int:
    """How many resolutions lead to a size: as many as let the first one be small."""
    return max(1, math.ceil(math.log2(min(width, height) / SMALL)) + 1)


def memory_needed(items: int, plan: Plan) -> float:
    """About how many bytes a run holds at most, without its models."""
    return _BASE_BYTES + items * 3 * plan.height * plan.width * _BYTES_PER_VALUE


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is no memory left, on any device."""
    import torch

    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(said in str(error).lower() for said in _SAID)


def halving(work: Callable[[int], T], chunk: int) -> tuple[T, int]:
    """`work(chunk)`, done again with half of the chunk each time that memory runs out; returns the chunk that did.

    Raises:
        MemoryError: there is not even memory for a chunk of 1.
    """
    import torch

    while True:
        try:
            return work(chunk), chunk
        except (MemoryError, RuntimeError) as error:
            if not out_of_memory(error):
                raise
            if chunk == 1:
                raise MemoryError(_advice(error)) from error
        # Behind the handler, for the error's traceback holds what is in memory.
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        chunk //= 2
        sys.stderr.write(f"clipopt: note: out of memory; the scorer now sees {chunk} views at once\n")


def _advice(error: BaseException) -> str:
    reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
    return f"out of memory even with one view at a time ({reason}): ask for a smaller --size or fewer items"


def forecast(drawing: "Drawing", start: int = 0) -> dict[str, Any]:
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


def expected_files(items: int, plan: Plan) -> list[str]:
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


def in_words(plan: Mapping[str, Any]) -> str:
    """A plan with its forecast, for a person to read."""
    each = [
        f"{size['steps']} steps at {size['size']}, {size['seconds_per_step']:.2g} s each" for size in plan["measured"]
    ]
    memory = plan["memory_bytes"]
    lines = [
        "; ".join(plan["items"]),
        *([f"preset  {plan['preset']}"] if "preset" in plan else []),
        f"time    about {_duration(plan['seconds'])}: {', '.join(each) or 'nothing is left to do'}",
        f"memory  {'not told by this system' if memory is None else amount(memory)} at the most",
        f"        (measured: up to {PROBED} steps of each size, here and now)",
        f"files   in {plan['folder']}: {', '.join(plan['files'])}",
        "Nothing was written. --json says more.",
    ]
    return "\n".join(lines)


def _duration(seconds: float | int) -> str:
    if seconds < 90:
        return f"{seconds:.2g} s" if seconds < 9.5 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
