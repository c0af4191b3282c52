"""Adapters that are learned on rows alone: every picture goes through the scorer once, and the rest takes seconds."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F

from clipopt.adapt.examples import Examples, encode_pictures, starting_shift, zero_shot
from clipopt.loop import optimize
from clipopt.scorers import Scorer

PROBE_ANCHOR, TURN_ANCHOR = 0.3, 0.3
"""How strongly what is learned is held to its start: weight of the squared distance, beside the mean cross-entropy."""
_STEPS, _SEARCH = 10, 10


def probe(scorer: Scorer, examples: Examples, *, anchor: float = PROBE_ANCHOR) -> dict[str, Tensor]:
    """A linear probe on unit rows that starts at the labels' texts and is held to them.

    Minimises the mean cross-entropy of scale * cosine(row, text + shift), plus `anchor` times the mean over labels of
    the squared length of what was added to the start. The more examples, the less the anchor counts.

    Reference:
        Silva-Rodriguez et al., "A Closer Look at the Few-Shot Adaptation of Large Vision-Language Models" (2023),
        arXiv:2312.12730, whose anchor is likewise the text, with weights that adapt to each label.
    """
    rows, text, start = _prepared(scorer, examples)
    numbers = examples.numbers.to(rows.device)
    shift = start.clone().requires_grad_()

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        logits = scorer.logits(rows, F.normalize(text + shift, dim=1))
        held = anchor * (shift - start).square().sum(1).mean() / _per_label(examples)
        return {"match": F.cross_entropy(logits, numbers), "anchor": held}

    _descend(loss, shift)
    return {"shift": shift.detach()}


def projection(scorer: Scorer, examples: Examples, *, anchor: float = TURN_ANCHOR) -> dict[str, Tensor]:
    """A linear map of the picture rows that starts at the identity and is held to it; the texts stay as they are.

    Minimises the mean cross-entropy plus `anchor` times the squared Frobenius distance from the identity. The scorer's
    own last matrix followed by this one is again one matrix, so for a scorer that ends in a linear projection it is a
    tuning of that.

    Reference:
        Fahes et al., "CLIP's Visual Embedding Projector is a Few-shot Cornucopia" (ProLIP, 2024), arXiv:2410.05270.
    """
    rows, text, start = _prepared(scorer, examples)
    numbers = examples.numbers.to(rows.device)
    goal = F.normalize(text + start, dim=1)
    same = torch.eye(rows.shape[1], device=rows.device)
    more = torch.zeros_like(same).requires_grad_()

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        logits = scorer.logits(F.normalize(rows + rows @ more.T, dim=1), goal)
        held = anchor * more.square().sum() / len(examples.labels) / _per_label(examples)
        return {"match": F.cross_entropy(logits, numbers), "anchor": held}

    _descend(loss, more)
    return {"turn": same + more.detach(), "shift": start}


def tip(scorer: Scorer, examples: Examples) -> dict[str, Tensor]:
    """Tip-Adapter: the examples' rows as a cache beside the texts; nothing is trained.

    A picture's logit for a label is scale * cosine with its text + alpha * sum over its examples of
    exp(-beta * (1 - cosine)).

    Reference:
        Zhang et al., "Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification" (2022),
        arXiv:2207.09519.
    """
    rows, _, start = _prepared(scorer, examples)
    return {"keys": rows, "owners": examples.numbers, "shift": start}


def tip_f(
    scorer: Scorer, examples: Examples, *, alpha: float, beta: float, steps: int = 100, rate: float = 0.003
) -> dict[str, Tensor]:
    """Tip-Adapter-F: the keys of the cache are trained, too, by AdamW.

    The published training chooses its best epoch, alpha and beta with more labels at hand; here all are fixed.

    Reference:
        As `tip`.
    """
    rows, text, start = _prepared(scorer, examples)
    numbers = examples.numbers.to(rows.device)
    own = F.one_hot(numbers, len(examples.labels)).to(rows)
    keys = rows.clone().requires_grad_()
    plain = scorer.logits(rows, F.normalize(text + start, dim=1))

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        near = torch.exp(-beta * (1 - rows @ F.normalize(keys, dim=1).T))
        return {"match": F.cross_entropy(plain + alpha * near @ own, numbers)}

    optimizer = torch.optim.AdamW([keys], lr=rate, eps=1e-4)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in optimize(loss, optimizer, steps=steps, seed=0):
        schedule.step()
    return {"keys": F.normalize(keys.detach(), dim=1), "owners": examples.numbers, "shift": start}


@torch.no_grad()
def _prepared(
    scorer: Scorer, examples: Examples
) -> tuple[Float[Tensor, "n d"], Float[Tensor, "c d"], Float[Tensor, "c d"]]:
    """Rows of the pictures and of the labels, and what is added to these before anything is learned."""
    rows = encode_pictures(scorer, examples.pictures)
    text = zero_shot(scorer, examples.labels, examples.templates)
    return rows, text, starting_shift(scorer, examples.labels, text, rows, examples.numbers.to(rows.device))


def _per_label(examples: Examples) -> float:
    return len(examples.numbers) / len(examples.labels)


def _descend(loss: Callable[[int, Generator], dict[str, Tensor]], parameter: Tensor) -> None:
    """To the minimum of a smooth loss that draws nothing at random."""
    optimizer = torch.optim.LBFGS([parameter], max_iter=_SEARCH, line_search_fn="strong_wolfe")
    for _ in optimize(loss, optimizer, steps=_STEPS, seed=0):
        pass
