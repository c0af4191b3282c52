"""The loop: a generator that yields after every step, so that everything else is the caller's own `for`."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from clipopt.types import LossFn, generator


@dataclass(frozen=True)
class Step:
    """One step that was taken.

    Attributes:
        index: Number of the step, from 0.
        loss: What was minimised: the sum over terms and items, as it was *before* the step; a scalar.
        terms: The weighted terms it is the sum of, each of shape (items,) or a scalar; detached.
    """

    index: int
    loss: Tensor
    terms: Mapping[str, Tensor]


def optimize(
    loss: LossFn, optimizer: torch.optim.Optimizer, *, steps: int, seed: int, start: int = 0
) -> Iterator[Step]:
    """Minimises `loss`, yielding after each step.

    Step `k` draws its randomness from `generator(seed, k)` and from nothing else. So a run that is continued with
    `start=k` from saved parameters and a saved optimizer is the same run, and an optimizer that evaluates the loss
    several times in a step (LBFGS) sees the same draw each time.

    Args:
        loss: Maps (step, rng) to named terms, already weighted. Their sum over terms and items is minimised.
        optimizer: Any torch optimizer over the parameters that `loss` depends on.
        steps: Number of steps of the whole run.
        seed: Seed of the run.
        start: First step; the number of steps already taken when a run is continued.

    Yields:
        A `Step` after each update.

    Raises:
        FloatingPointError: If a term, a gradient or what the step makes of a parameter is not finite. The parameters
            are left as they were before the step.
        TypeError: If what `loss` returns is no mapping of names to tensors.
        ValueError: If `start` does not lie in 0..steps, if the terms are no scalars or vectors that depend on a
            parameter, or if no gradient reaches the optimizer's parameters.

    Example:
        >>> x = torch.nn.Parameter(torch.tensor([3.0]))
        >>> optimizer = torch.optim.SGD([x], lr=0.5)
        >>> for step in optimize(lambda k, rng: {"half square": x**2 / 2}, optimizer, steps=3, seed=0):
        ...     print(step.index, float(step.loss))
        0 4.5
        1 1.125
        2 0.28125
    """
    if not isinstance(optimizer, torch.optim.Optimizer) or not callable(loss):
        raise TypeError(
            f"expected a loss that can be called and a torch optimizer, got a {type(loss).__name__} and a "
            f"{type(optimizer).__name__}"
        )
    if not 0 <= start <= steps:
        raise ValueError(f"start must lie in 0..{steps} (steps), got {start}")
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index in range(start, steps):
        before = [parameter.detach().clone() for parameter in parameters]
        evaluations: list[tuple[Tensor, Mapping[str, Tensor]]] = []

        def evaluate(index: int = index, evaluations: list[tuple[Tensor, Mapping[str, Tensor]]] = evaluations) -> float:
            optimizer.zero_grad(set_to_none=True)
            with torch.enable_grad():
                terms = loss(index, generator(seed, index))
                total = _total(terms, index)
                total.backward()
            _check_gradients(parameters, index)
            if not evaluations:
                evaluations.append((total.detach(), {name: term.detach() for name, term in terms.items()}))
            return float(total.detach())

        try:
            optimizer.step(evaluate)
            _check_parameters(parameters, index)
        except FloatingPointError:
            with torch.no_grad():
                for parameter, value in zip(parameters, before, strict=True):
                    parameter.copy_(value)
            raise
        except RuntimeError as error:
            if "overflow" in str(error):
                raise FloatingPointError(f"step {index}: {error}; lower the learning rate") from error
            raise
        yield Step(index, *evaluations[0])


def _total(terms: Mapping[str, Tensor], index: int) -> Tensor:
    if not isinstance(terms, Mapping):
        raise TypeError(
            f"the loss must return terms by name, got a {type(terms).__name__}: return {{'loss': it}} in place of it"
        )
    if not terms:
        raise ValueError("the loss returned no terms; expected at least one, such as {'match': distances}")
    for name, term in terms.items():
        if not isinstance(term, Tensor):
            raise TypeError(f"term {name!r} must be a tensor that depends on a parameter, got a {type(term).__name__}")
        if term.ndim > 1:
            raise ValueError(f"term {name!r} must be a scalar or have shape (items,), got {tuple(term.shape)}")
        if not torch.isfinite(term).all():
            raise FloatingPointError(
                f"step {index}: term {name!r} is {term.tolist()}; lower the learning rate or look at that term"
            )
    total = torch.stack([term.sum() for term in terms.values()]).sum()
    if not total.requires_grad:
        raise ValueError(f"no term depends on a parameter ({', '.join(terms)}); was one detached?")
    return total


def _check_gradients(parameters: list[Tensor], index: int) -> None:
    if all(parameter.grad is None for parameter in parameters):
        raise ValueError(
            f"no gradient reaches the optimizer's {len(parameters)} tensors: the loss depends on others; give the "
            "optimizer the parameters() of what the loss calls"
        )
    # The sums first: they take one pass and one answer from the device, and hide nothing that is not finite.
    sums = [parameter.grad.sum() for parameter in parameters if parameter.grad is not None]
    if bool(torch.isfinite(torch.stack(sums).sum())):
        return
    for number, parameter in enumerate(parameters):
        if parameter.grad is not None and not torch.isfinite(parameter.grad).all():
            raise FloatingPointError(
                f"step {index}: the gradient of parameter {number}, shape {tuple(parameter.shape)}, is not finite "
                "although every term is; a root or a norm at 0 is the usual cause"
            )


def _check_parameters(parameters: list[Tensor], index: int) -> None:
    if bool(torch.isfinite(torch.stack([parameter.detach().sum().float() for parameter in parameters]).sum())):
        return
    for number, parameter in enumerate(parameters):
        if not torch.isfinite(parameter).all():
            raise FloatingPointError(
                f"step {index}: it makes parameter {number}, shape {tuple(parameter.shape)}, not finite; "
                "lower the learning rate"
            )
