"""Likeness to a picture, as a scorer sees it: what an edit should keep beside what it changes."""

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from clipopt import losses
from clipopt.augment import Augment, concat
from clipopt.scorers import Scorer
from clipopt.types import Images, PerItem, generator


@runtime_checkable
class Features(Protocol):
    """A scorer that tells what its stages see."""

    def features(self, images: Images) -> list[Tensor]:
        """One tensor per stage, (b, channels, places...)."""
        ...


class Likeness:
    """How differently a scorer sees pictures and their reference, through the same views of both.

    A penalty of `Matching`: `penalties={"likeness": lambda images: 0.5 * likeness(images)}`. Compared are the
    features of the scorer's stages where it has a method `features`, its embeddings otherwise. The views are drawn
    once, so the reference is seen once.

    Args:
        scorer: Who looks; frozen.
        reference: Pictures to resemble, (1 or items, 3, h, w), of the size of the pictures.
        augment: Makes the views. None: each picture is its only view.
        seed: The views' seed.

    Reference:
        Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (2018),
        arXiv:1801.03924; here with the scorer as the network.
    """

    def __init__(self, scorer: Scorer, reference: Images, *, augment: Augment | None = None, seed: int = 0) -> None:
        self.scorer, self.augment = scorer, augment
        self._draw = {} if augment is None else augment.sample(generator(seed))
        with torch.no_grad():
            self._seen = self._look(reference)

    def __call__(self, images: Images) -> PerItem:
        """0 where a picture looks like its reference, at most 4.

        Raises:
            ValueError: If there are neither as many references as pictures nor one for all.
        """
        views = 1 if self.augment is None else self.augment.views
        references = len(self._seen[0]) // views
        if references not in (1, len(images)):
            raise ValueError(f"expected one reference, or one for each of {len(images)} pictures, got {references}")
        seen = [level.repeat(len(images) // references, *[1] * (level.ndim - 1)) for level in self._seen]
        return losses.perceptual(self._look(images), seen).view(len(images), views).mean(1)

    def _look(self, images: Images) -> list[Tensor]:
        if self.augment is not None:
            images = self.augment.apply(images, concat([self._draw] * len(images)))
        return self.scorer.features(images) if isinstance(self.scorer, Features) else [self.scorer.encode_image(images)]
