"""Time for memory: a function whose inside is computed again on the way back."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def recompute(run: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """Calls `run(*inputs)` and keeps nothing but the inputs for the gradient.

    `run` must give the same each time, and depend on no other tensor that learns. `torch.utils.checkpoint` does more,
    and takes a second to import the compiler.
    """
    result: Tensor = _Recompute.apply(run, *inputs)  # type: ignore[no-untyped-call]
    return result


class _Recompute(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, run: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        ctx.run = run
        ctx.save_for_backward(*inputs)
        return run(*inputs)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, ...]:
        wanted = ctx.needs_input_grad[1:]
        inputs = [part.detach().requires_grad_(want) for part, want in zip(ctx.saved_tensors, wanted, strict=True)]
        with torch.enable_grad():
            result = ctx.run(*inputs)
        learned = [part for part in inputs if part.requires_grad]
        slopes = iter(torch.autograd.grad(result, learned, slope, allow_unused=True))
        return None, *(next(slopes) if want else None for want in wanted)
