"""Muon: gradient descent with momentum whose every step is an orthogonal matrix."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_STEPS, _A, _B, _C = 5, 3.4445, -4.7750, 2.0315  # of Newton-Schulz: all singular values near 1 after five


class Muon(torch.optim.Optimizer):
    """Muon for matrices and convolutions, whose kernels it takes as matrices of (outputs, inputs x taps).

    That of torch takes matrices only, and always computes in bfloat16, which not every processor has.

    Args:
        params: Weights of at least two dimensions.
        lr: Size of a step; every singular value of a weight moves by about this much.
        momentum: Of the gradients, in Nesterov's form.
        weight_decay: Share of `lr` by which weights shrink in a step.
        dtype: Precision of the orthogonalization; bfloat16 is enough where it is fast.

    Reference:
        Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024).
    """

    def __init__(
        self,
        params: Iterable[Tensor],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> None:  # type: ignore[override]
        """Move every weight that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                velocity = state.setdefault("velocity", torch.zeros_like(weight))
                velocity.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(velocity, group["momentum"])
                matrix = ahead.flatten(1)
                rows, columns = matrix.shape
                direction = orthogonal(matrix.to(self.dtype)).to(weight.dtype).view(weight.shape)
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(direction, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest orthogonal matrix: the same singular vectors, singular values between 0.7 and 1.2."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.mT if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_STEPS):
        gram = x @ x.mT
        x = _A * x + (_B * gram + _C * gram @ gram) @ x
    return x.mT if tall else x
