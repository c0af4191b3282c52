"""Prompts that depend on the side a thing is seen from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from clipopt.embedded.captions import caption
from clipopt.embedded.parsing import parse
from clipopt.pipelines.mesh.staging import SAID, Side
from clipopt.pipelines.vocabulary import unknown_words
from clipopt.scorers import KnowsWords, Scorer, Target, target

# Sine of the elevation from which on a thing begins to be seen from above, and from which on from nowhere else.
_ABOVE, _OVERHEAD = math.sin(math.radians(40)), math.sin(math.radians(70))


def shares(toward: Float[Tensor, "b 3"]) -> Float[Tensor, "b 5"]:
    """How much each view shows of each side, in the order of `SAID`: a soft choice, its sum is 1.

    Args:
        toward: Unit vectors from the thing to the cameras; +z is its front, +y its top.
    """
    x, y, z = toward.unbind(1)
    level = (x.square() + z.square()).clamp_min(1e-12)
    steep = ((y.abs() - _ABOVE) / (_OVERHEAD - _ABOVE)).clamp(0, 1)
    steep = steep * steep * (3 - 2 * steep)
    # Squares of cosine and sine of the azimuth.
    front, back, side = z.clamp_min(0).square() / level, z.clamp_max(0).square() / level, x.square() / level
    around = torch.stack([front, side, back], 1) * (1 - steep[:, None])
    above = torch.stack([steep * (y > 0), steep * (y <= 0)], 1)
    # Straight from above there is no azimuth.
    return torch.cat([around, above], 1) / torch.cat([around, above], 1).sum(1, keepdim=True).clamp_min(1e-12)


def worded(prompt: Mapping[str, float], side: Side, *, sided: bool, instead: Mapping[Side, str]) -> dict[str, float]:
    """The prompt for one side: what is wanted with the side behind it, or in other words; what repels as it is."""
    attracts = sum(weight for weight in prompt.values() if weight > 0)
    if side in instead and attracts:
        return {instead[side]: attracts} | {text: weight for text, weight in prompt.items() if weight < 0}
    return {f"{text}, {SAID[side]}" if sided and weight > 0 else text: weight for text, weight in prompt.items()}


def unpainted(prompt: Mapping[str, float], scorer: Scorer) -> dict[str, float]:
    """The prompt for a bare shape: where `scorer` reads the embedded world's words, in gray; for others as it is.

    Texts that become one text add their weights; what repels by its colour alone says nothing of a bare shape.
    """
    named = [(_in_gray(text, scorer), weight) for text, weight in prompt.items()]
    wanted, said = {bare for bare, weight in named if weight > 0}, dict[str, float]()
    for bare, weight in named:
        if weight > 0 or bare not in wanted:
            said[bare] = said.get(bare, 0.0) + weight
    return said


def _in_gray(text: str, scorer: Scorer) -> str:
    scene = parse(text) if isinstance(scorer, KnowsWords) else None
    if scene is None:
        return text
    said = caption(replace(scene, colour="gray", other_colour=None if scene.other is None else "gray"))
    return text if unknown_words(scorer, [said]) else said


class Sided:
    """The prompts of several items as a target for each view of them, in colour or bare.

    Args:
        scorer: Who reads them.
        prompts: One for each item.
        sided: Whether the side is added to the words.
        instead: Sides that have a prompt of their own.
    """

    def __init__(
        self,
        scorer: Scorer,
        prompts: Sequence[Mapping[str, float]],
        *,
        sided: bool = False,
        instead: Mapping[Side, str] | None = None,
    ) -> None:
        self.scorer = scorer
        every: list[dict[str, float]] = []
        for prompt in prompts:
            said = [worded(prompt, side, sided=sided, instead=instead or {}) for side in SAID]
            every += [*said, *(unpainted(words, scorer) for words in said)]
        self._target = target(scorer, every)
        self._items = len(prompts)

    def __call__(self, toward: Float[Tensor, "n 3"], bare: Bool[Tensor, " n"] | None = None) -> Target:
        """What the views shall match, as many of each item, seen from `toward`; those of an item together.

        Args:
            toward: Unit vectors from the thing to the cameras.
            bare: Which of them show it without colours; None: none.
        """
        weights = self._target.weights.view(self._items, 2 * len(SAID), -1)
        seen = shares(toward)
        grey = torch.zeros(len(seen), 1) if bare is None else bare[:, None].to(seen)
        seen = torch.cat([seen * (1 - grey), seen * grey], 1).to(weights).view(self._items, -1, 2 * len(SAID))
        return Target(self._target.embeddings, (seen @ weights).flatten(0, 1))
