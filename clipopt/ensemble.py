"""Several scorers behind one picture: what fools one of them seldom fools the others."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from clipopt.types import Images, PerItem, Render

_TINY = 1e-20


@runtime_checkable
class Member(Protocol):
    """What an ensemble needs of a `Matching`, or of what stands for one."""

    @property
    def param(self) -> Callable[[], Any]:
        """Returns the scene."""
        ...

    @property
    def render(self) -> Render | None:
        """Maps (scene, rng) to images."""
        ...

    @property
    def seeds(self) -> Sequence[int] | None:
        """One for each item."""
        ...

    @property
    def penalties(self) -> Mapping[str, Callable[[Any], Tensor]]:
        """Further terms by name."""
        ...

    def match(self, images: Images, step: int, rng: Generator) -> Tensor:
        """How far each item is from its target, shape (items,)."""
        ...


@dataclass(frozen=True)
class Ensemble:
    """Several matchings of one scene, as a loss for `optimize`: the terms "match", "match 2", ... and the penalties.

    One scorer's gradient may be a hundred times as long as another's, for no better reason than its training. So the
    gradient of each member at the images is brought to the root mean square that the first member's has there, item
    by item, before they are added up; scales, distances and kinds of head do not matter. A member then counts as
    its weight says, in shares of those that take part, so that penalties weigh against an ensemble as they do
    against its first member alone. An ensemble of one is that one.

    The terms are the members' own distances, times their shares. Their sum is what a run shows, but because of the
    balance its slope is not the gradient: a line search has nothing to go by. The members look at the images one
    after another, and the renderer is gone back through once, so memory is that of the largest member.

        scorers = [load_scorer(spec) for spec in specs]
        members = [Matching(param, s, target(s, prompts), augment=augment.crops(16, s.image_size)) for s in scorers]
        loss = Ensemble(members, weights=[1, 0.5], starts=[0, steps // 3])

    Attributes:
        members: Matchings of the same param and render, with the same seeds; only the first has penalties.
        weights: How much each member counts, one number or one for each item; 0 leaves an item to the others. None: all
            alike.
        starts: First step in which each member takes part; until then its term is 0, but of items that are left to
            late members alone. The first member's is 0. None: all from the beginning.

    Raises:
        ValueError: If there is no member, the members do not belong together, or weights or starts do not fit them.
    """

    members: Sequence[Member]
    _: KW_ONLY
    weights: Sequence[float | int | PerItem] | None = None
    starts: Sequence[int] | None = None

    def __post_init__(self) -> None:
        if not self.members:
            raise ValueError("an ensemble needs at least one member")
        first, *others = self.members
        if any(m.param is not first.param or m.render is not first.render or m.seeds != first.seeds for m in others):
            raise ValueError("the members of an ensemble must have the same param, render and seeds")
        if any(member.penalties for member in others):
            raise ValueError("only the first member of an ensemble can have penalties: they are paid once")
        if self.weights is not None and (len(self.weights) != len(self.members) or not _fair(self.weights)):
            raise ValueError(f"expected {len(self.members)} positive weights, got {list(self.weights)}")
        if self.starts is not None and (len(self.starts) != len(self.members) or self.starts[0] != 0):
            raise ValueError(f"expected {len(self.members)} starts, the first of them 0, got {list(self.starts)}")

    def __call__(self, step: int, rng: Generator) -> dict[str, Tensor]:
        """The weighted terms of one step, each of shape (items,) or a scalar."""
        first = self.members[0]
        scene = first.param()
        images = scene if first.render is None else first.render(scene, rng)
        terms = self._matches(images, step, rng)
        return terms | {name: penalty(scene) for name, penalty in first.penalties.items()}

    def _matches(self, images: Images, step: int, rng: Generator) -> dict[str, Tensor]:
        weights = self._weights(step)
        everything = weights.sum(0)
        seen = images.detach().requires_grad_(torch.is_grad_enabled() and images.requires_grad)
        terms: dict[str, Tensor] = {}
        size: Tensor | None = None
        for number, (member, weight) in enumerate(zip(self.members, weights, strict=True), start=1):
            name = "match" if number == 1 else f"match {number}"
            if not weight.any():
                terms[name] = torch.zeros((), device=images.device)
                continue
            match, share = member.match(seen, step, rng), (weight / everything).to(seen)
            terms[name] = share * match.detach()
            if seen.requires_grad:
                (gradient,) = torch.autograd.grad(match.sum(), seen)
                per_item = gradient.reshape(len(match), -1)
                own = torch.where(share > 0, per_item.square().mean(1).sqrt(), 0)
                # An item's measure is its first member that takes part.
                size = own if size is None else torch.where(size > 0, size, own)
                balanced = (share * size / own.clamp_min(_TINY))[:, None] * per_item
                # Adds nothing to the value, and the balanced gradient to that at the images.
                slope = (images.reshape(len(match), -1) * balanced).sum(1)
                terms[name] = terms[name] + (slope - slope.detach())
        return dict(zip(terms, torch.broadcast_tensors(*terms.values()), strict=True))

    def _weights(self, step: int) -> Tensor:
        """How much each member counts in a step, (members,) or (members, items)."""
        listed = self.weights or [1.0] * len(self.members)
        device = next((weight.device for weight in listed if isinstance(weight, Tensor)), None)
        each = [torch.as_tensor(weight, dtype=torch.float32, device=device) for weight in listed]
        given = torch.stack(torch.broadcast_tensors(*each))
        if self.starts is None:
            return given
        begun = given.clone()
        begun[[start > step for start in self.starts]] = 0
        # What only late ones are asked does not wait for them.
        return torch.where(begun.sum(0) > 0, begun, given)


def _fair(weights: Sequence[float | int | PerItem]) -> bool:
    """Whether no weight is negative, and every item has one above 0."""
    each = torch.broadcast_tensors(*[torch.as_tensor(weight, dtype=torch.float32, device="cpu") for weight in weights])
    return all(bool((weight >= 0).all()) for weight in each) and bool((torch.stack(each).sum(0) > 0).all())
