"""What a run needs: memory, time, files. And how it goes on when memory is short."""

import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from clipopt.pipelines.checks import amount

T = TypeVar("T")

PROBED = 3
"""Steps of each size that a forecast takes; the first one warms up."""
# How the allocators of the CPU and of Apple's GPU say it, in a plain RuntimeError.
_SAID = ("not enough memory", "can't allocate memory", "backend out of memory")


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
