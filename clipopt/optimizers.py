"""Optimizers that torch does not have."""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor


class AdamUniform(torch.optim.Optimizer):
    """Adam with one step size for a whole tensor: the largest second moment stands for all.

    Adam's own step of every coordinate is about as long as its neighbour's whatever their gradients are, which
    roughens a surface. Here the gradient keeps its direction.

    Args:
        params: Parameters, or groups of them; each tensor has its own scale.
        lr: Step size; no coordinate moves much farther in a step.
        uniform: False for Adam's usual step, each value by its own scale: for a group of colours, for example.
        betas: Decay of the first and the second moment.
        eps: Below this size a gradient is nothing.

    Raises:
        ValueError: If a number is out of its range.

    Reference:
        Nicolet, Jacobson, Jakob, "Large Steps in Inverse Rendering of Geometry" (2021), section 3.4.
    """

    def __init__(
        self,
        params: Iterable[Tensor] | Iterable[dict[str, Any]],
        lr: float = 0.01,
        *,
        uniform: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-12,
    ) -> None:
        if not (lr >= 0 and 0 <= betas[0] < 1 and 0 <= betas[1] < 1 and eps > 0):
            raise ValueError(f"expected lr >= 0, betas in [0, 1) and eps > 0, got lr={lr}, betas={betas}, eps={eps}")
        super().__init__(params, {"lr": lr, "uniform": uniform, "betas": betas, "eps": eps})

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One update, after `closure`, where there is one, has worked out the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            first, second = group["betas"]
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state["mean"] = torch.zeros_like(parameter)
                    state["square"] = torch.zeros_like(parameter)
                state["step"] += 1
                steps = float(state["step"])
                state["mean"].lerp_(parameter.grad, 1 - first)
                state["square"].lerp_(parameter.grad.square(), 1 - second)
                square = state["square"].max() if group["uniform"] else state["square"]
                size = (square / (1 - second**steps)).sqrt() + group["eps"]
                parameter.sub_(state["mean"] / size * (group["lr"] / (1 - first**steps)))
        return loss
