"""Adapters that are learned through the towers: prompt vectors, low-rank additions, whole weights."""

import copy
import math
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from clipopt.adapt.examples import Examples, encode_pictures, starting_shift, unread, zero_shot
from clipopt.adapt.options import CONTEXT
from clipopt.loop import optimize
from clipopt.scorers import Scorer
from clipopt.scorers.adapted import read_behind
from clipopt.scorers.reading import TextTower, open_text
from clipopt.types import generator

BATCH = 32


def coop(
    scorer: Scorer,
    examples: Examples,
    *,
    context: str = CONTEXT,
    per_label: bool | None = None,
    steps: int = 100,
    rate: float = 0.05,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Prompt vectors: embeddings of tokens before a label, learned through the text tower.

    They start as the words `context`. The rate is in units of the typical size of the tower's own token embeddings.

    Args:
        scorer: Whose text tower reads.
        examples: What to learn from.
        context: The words to start from.
        per_label: Whether every label gets vectors of its own. None: only where the scorer does not know the label's
            words, which it could not tell apart otherwise.
        steps: Steps over all examples.
        rate: Learning rate of Adam.
        seed: Seed of the run.

    Raises:
        ValueError: if the text tower cannot be opened.

    Reference:
        Zhou et al., "Learning to Prompt for Vision-Language Models" (CoOp, 2022), arXiv:2109.01134.
    """
    tower = open_text(scorer)
    own = any(unread(scorer, examples.labels)) if per_label is None else per_label
    start = first_context(tower, context)
    vectors = start.repeat(len(examples.labels), 1, 1) if own else start.clone()
    vectors.requires_grad_()
    with torch.no_grad():
        rows = encode_pictures(scorer, examples.pictures)
    numbers = examples.numbers.to(rows.device)

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        each = vectors if own else vectors.expand(len(examples.labels), -1, -1)
        text = read_behind(scorer, each, examples.labels)
        return {"match": F.cross_entropy(scorer.logits(rows, text), numbers)}

    optimizer = torch.optim.Adam([vectors], lr=rate * float(_size(start)))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in optimize(loss, optimizer, steps=steps, seed=seed):
        schedule.step()
    return {"context": vectors.detach()}


def first_context(tower: TextTower, context: str) -> Float[Tensor, "m w"]:
    """The embeddings of the words that a learned context starts from.

    Raises:
        ValueError: there are none.
    """
    ids = tower.tokenize([context])[0, tower.first : tower.first + tower.length(context)]
    return tower.table[ids].detach().float()


def low_rank(
    scorer: Scorer,
    examples: Examples,
    *,
    rank: int = 4,
    objective: Literal["auto", "contrastive", "sigmoid"] = "auto",
    steps: int = 50,
    rate: float = 0.02,
    seed: int = 0,
) -> dict[str, Tensor]:
    """LoRA: to every matrix and kernel of both towers a product of two thin matrices is added, which starts at 0.

    The rate says by what part of its typical size a weight may change in a step.

    Args:
        scorer: A module whose towers can be opened.
        examples: What to learn from.
        rank: Columns of the first factor.
        objective: As in `whole`.
        steps: Steps, each over a batch.
        rate: Learning rate of Adam.
        seed: Seed of the batches and of the factors.

    Raises:
        ValueError: if the text tower cannot be opened.

    Reference:
        Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models" (2021), arXiv:2106.09685; for CLIP with few
        shots: Zanella and Ben Ayed (2024), arXiv:2405.18541.
    """
    tuned: Any = copy.deepcopy(scorer)
    added: dict[str, _Product] = {}
    for number, (name, module, part) in enumerate(_matrices(tuned)):
        weight = getattr(module, part)
        added[name] = _Product(weight, rank, generator(seed, number, -1))
        parametrize.register_parametrization(module, part, added[name])
    groups = [group for product in added.values() for group in product.groups(rate)]
    _tune(tuned, scorer, examples, groups, steps=steps, seed=seed, objective=objective)
    factors = {f"low.{name}": product.low.detach() for name, product in added.items()}
    factors |= {f"high.{name}": product.high.detach() for name, product in added.items()}
    return factors | _start(scorer, examples)


def whole(
    scorer: Scorer,
    examples: Examples,
    *,
    objective: Literal["auto", "contrastive", "sigmoid"] = "auto",
    steps: int = 50,
    rate: float = 0.006,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Fine-tunes all weights of both towers as they were trained: pictures against the sentences of their labels.

    The rate says by what part of its typical size a weight may change in a step.

    Args:
        scorer: A module whose towers can be opened.
        examples: What to learn from.
        objective: "contrastive" (softmax over the batch both ways), "sigmoid" (every pair by itself), or "auto" for
            what the scorer was trained with. Pictures of one label in a batch fit each other's sentences.
        steps: Steps, each over a batch.
        rate: Learning rate of Adam.
        seed: Seed of the batches.

    Raises:
        ValueError: if the text tower cannot be opened.

    Reference:
        Goyal et al., "Finetune like you pretrain" (2022), arXiv:2212.00638; several positives: Yang et al., "Unified
        Contrastive Learning in Image-Text-Label Space" (2022), arXiv:2204.03610.
    """
    tuned: Any = copy.deepcopy(scorer)
    before = {name: weight.detach().clone() for name, weight in tuned.named_parameters()}
    tuned.requires_grad_(True)
    groups = [{"params": [p], "lr": rate * float(_size(p))} for p in tuned.parameters() if p.numel() > 1]
    _tune(tuned, scorer, examples, groups, steps=steps, seed=seed, objective=objective)
    deltas = {f"delta.{name}": weight.detach() - before[name] for name, weight in tuned.named_parameters()}
    return {name: delta for name, delta in deltas.items() if delta.any()} | _start(scorer, examples)


class _Product(nn.Module):
    """A weight plus a product of two thin matrices."""

    def __init__(self, weight: Tensor, rank: int, rng: Generator) -> None:
        super().__init__()
        rows, columns = len(weight), weight[0].numel()
        rank = min(rank, rows, columns)
        self.size = float(_size(weight))
        low = torch.randn(rank, columns, generator=rng) / math.sqrt(rank)
        self.low = nn.Parameter(low.to(weight))
        self.high = nn.Parameter(weight.new_zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.high @ self.low).view_as(weight)

    def groups(self, rate: float) -> list[dict[str, Any]]:
        """Both factors with rates at which the product changes by about `rate` of the weight's size in a step."""
        return [{"params": [self.high], "lr": rate * self.size}, {"params": [self.low], "lr": rate * 0.1}]


def _matrices(scorer: nn.Module) -> list[tuple[str, nn.Module, str]]:
    """Names, owners and attributes of the matrices and kernels that LoRA adds to; what looks up tokens is none."""
    found = []
    for place, module in scorer.named_modules():
        for part, weight in module.named_parameters(recurse=False):
            looked_up = isinstance(module, nn.Embedding) or part not in ("weight", "in_proj_weight")
            if weight.ndim >= 2 and not looked_up:
                found.append((f"{place}.{part}" if place else part, module, part))
    return found


def _tune(
    tuned: Any,
    base: Scorer,
    examples: Examples,
    groups: list[dict[str, Any]],
    *,
    steps: int,
    seed: int,
    objective: Literal["auto", "contrastive", "sigmoid"] = "auto",
) -> None:
    tower = open_text(tuned)
    shift = _start(base, examples).get("shift")
    kind = ("sigmoid" if base.head == "sigmoid" else "contrastive") if objective == "auto" else objective
    pictures = [_shrunk(picture, base.image_size) for picture in examples.pictures]

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        chosen = torch.randperm(len(pictures), generator=rng)[:BATCH].tolist()
        numbers = examples.numbers[torch.tensor(chosen)]
        which = torch.randint(len(examples.templates), (len(chosen),), generator=rng).tolist()
        said = [examples.templates[t].format(examples.labels[n]) for t, n in zip(which, numbers.tolist(), strict=True)]
        image = encode_pictures(tuned, [pictures[n] for n in chosen])
        text = tower.rows(tower.tokenize(said))
        if shift is not None:
            text = F.normalize(text + shift[numbers.to(shift.device)], dim=1)
        logits = base.logits(image, text)
        together = (numbers[:, None] == numbers[None]).to(logits.device)
        return {"match": _contrast(logits, together) if kind == "contrastive" else _pairs(logits, together)}

    optimizer = torch.optim.AdamW(groups, weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in optimize(loss, optimizer, steps=steps, seed=seed):
        schedule.step()


def _contrast(logits: Float[Tensor, "b b"], together: Tensor) -> Tensor:
    """Symmetric cross-entropy with the pairs that belong together as equal shares of the truth."""
    truth = together.float() / together.sum(1, keepdim=True)
    return (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2


def _pairs(logits: Float[Tensor, "b b"], together: Tensor) -> Tensor:
    """Minus the log probability of every pair by itself, over the number of pictures."""
    return -F.logsigmoid(torch.where(together, logits, -logits)).sum() / len(logits)


@torch.no_grad()
def _start(scorer: Scorer, examples: Examples) -> dict[str, Tensor]:
    """The starting shift, where there is any."""
    if not any(unread(scorer, examples.labels)):
        return {}
    rows = encode_pictures(scorer, examples.pictures)
    text = zero_shot(scorer, examples.labels, examples.templates)
    return {"shift": starting_shift(scorer, examples.labels, text, rows, examples.numbers.to(rows.device))}


def _shrunk(picture: Float[Tensor, "3 _ _"], side: int) -> Float[Tensor, "3 _ _"]:
    """A picture no larger than its scorer needs, its aspect kept."""
    height, width = picture.shape[-2:]
    scale = side / min(height, width)
    if scale >= 1:
        return picture
    size = (max(side, round(height * scale)), max(side, round(width * scale)))
    return F.interpolate(picture[None], size, mode="bicubic", antialias=True).clamp(0, 1)[0]


def _size(weight: Tensor) -> Tensor:
    """Root mean square, but not below a thousandth: what starts at zero could never leave it."""
    return weight.detach().float().square().mean().sqrt().clamp(min=1e-3)
