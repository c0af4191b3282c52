"""How noise and latents are learned by `clipopt latent`: the optimizer of each method, and what keeps noise noise."""

import math
from functools import partial

import torch
from torch import Tensor, nn

from clipopt import diffusion
from clipopt.pipelines.latent.methods import LatentPlan
from clipopt.types import PerItem, generator

_ORDERS = 3  # keeps the draws of the whiteness prior apart


def optimizer_for(plan: LatentPlan, param: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of a method, with gradients that are not longer than the plan allows."""
    learned = [*param.parameters()]
    for tensor in learned if plan.clip else ():
        tensor.register_hook(partial(_shortened, longest=float(plan.clip)))
    if plan.method == "noise":
        # In hundredths of the length of noise, so that a rate suits noise of any size.
        rate = plan.lr * learned[0][0].numel() ** 0.5 / 100
        return torch.optim.SGD(learned, lr=rate, momentum=0.9, nesterov=True)
    if plan.method == "chain":
        return torch.optim.AdamW(learned, lr=plan.lr, weight_decay=0.0)
    return torch.optim.Adam(learned, lr=plan.lr)


def set_rate(plan: LatentPlan, optimizer: torch.optim.Optimizer, step: int) -> None:
    """The learning rate of a step: of latents it falls to zero along a cosine, of noise it stays, as published."""
    if plan.method == "latent":
        for group in optimizer.param_groups:
            group["lr"] = plan.lr * (0.5 + 0.5 * math.cos(math.pi * step / plan.steps))


def penalties(plan: LatentPlan, param: nn.Module, step: int) -> dict[str, PerItem]:
    """What is added to the match: priors of noise, or how far latents are from their start."""
    terms: dict[str, PerItem] = {}
    if isinstance(param, diffusion.Latents):
        return {"drift": plan.drift * param.drift()} if plan.drift else terms
    noise = next(param.parameters())
    if plan.norm:
        terms["norm"] = plan.norm * (diffusion.norm_prior(noise) - _lowest(noise[0].numel()))
    if plan.white:
        terms["white"] = plan.white * diffusion.whiteness(noise, rng=generator(plan.seed, step, _ORDERS))
    return terms


def whiteness_of(plan: LatentPlan, param: nn.Module) -> PerItem:
    """How improbable the learned noise is as noise."""
    return diffusion.whiteness(next(param.parameters()).detach(), rng=generator(plan.seed, _ORDERS))


def _shortened(gradient: Tensor, longest: float) -> Tensor:
    """The gradient, no item's part of it longer than `longest`."""
    length = gradient.flatten(1).norm(dim=1).view(-1, *[1] * (gradient.ndim - 1))
    return gradient * (longest / length.clamp_min(1e-12)).clamp(max=1)


def _lowest(values: int) -> float:
    """The norm prior where it is lowest, so that its term tells how far away that is."""
    free = torch.tensor(values - 1.0, dtype=torch.float64)
    return float(free / 2 - free * free.log() / 2)
