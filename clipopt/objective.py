"""The common loss: views of a scene, scored against a target."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor
from torch.autograd.function import once_differentiable

from clipopt import losses
from clipopt.augment import Augment, Draw, concat, rows
from clipopt.parallel import side_by_side
from clipopt.scorers import Perceives, Scorer, Target, at_a_time
from clipopt.types import Images, Render, check_generator, check_images, generator

_FIELDS: tuple[tuple[str, Any, str], ...] = (
    ("param", Callable, "a module of clipopt.params, or what else returns the scene when it is called,"),
    ("scorer", Scorer, "what clipopt.load_scorer returns"),
    ("target", Target, "what clipopt.target returns"),
)
"""What some of the fields must be, and how to say it."""
# Keeps the draws of the views apart from what else a run draws from a seed and a step, its cameras for example.
_VIEWS = 1


@dataclass(frozen=True)
class Matching:
    """How far a scene is from a target, as a loss for `optimize`: the term "match", and one per penalty.

    An item's match is the mean of the distance over its views. The gradient is gathered at the rendered images,
    chunk by chunk, and handed back through the renderer once. So memory does not grow with the number of views,
    and the gradient is that of the plain computation.

    Attributes:
        param: Returns the scene; a module of `clipopt.params`, for example.
        scorer: Embeds the views; frozen.
        target: What to match; one row of weights for each item, or one for all.
        render: Maps (scene, rng) to images, as many for each item, those of one item together. None: the scene is
            the images, one for each item.
        augment: Makes the views of each image. None: each image is its only view.
        distance: A distance of `clipopt.losses`, called with (embeddings, texts, weights), and with the embeddings of
            each of the `paired` pictures behind them.
        paired: Pictures that the scorer sees through the very views that it gets of the images: what differs in
            their embeddings then lies in the pictures. Each of the images' shape, or one item of it.
        penalties: Further terms by name: functions of the scene, already weighted.
        statistics: How much it counts that the layers of a scorer that tells (`clipopt.scorers.Perceives`) see other
            statistics than in photographs.
        seeds: A seed for each item, from which its views are drawn whatever its neighbours are. None: drawn from
            the run's seed and the item's place.
        chunk: Largest number of views that the scorer sees at once.

    Raises:
        TypeError: If what is given in place of param, scorer, target or rng is none; when called, if the images are no
            tensor of floats.
        ValueError: If `chunk` is not positive, a penalty is called "match", or the scorer does not know the
            statistics of photographs; when called, if images, weights and seeds do not fit one another, and in the
            first step if the images are not in [0, 1].
    """

    param: Callable[[], Any]
    scorer: Scorer
    target: Target
    _: KW_ONLY
    render: Render | None = None
    augment: Augment | None = None
    distance: Callable[..., Tensor] = losses.cosine
    paired: Sequence[Images] = ()
    penalties: Mapping[str, Callable[[Any], Tensor]] = field(default_factory=dict)
    statistics: float | int = 0.0
    seeds: Sequence[int] | None = None
    chunk: int = 64

    def __post_init__(self) -> None:
        for name, kind, instead in _FIELDS:
            if not isinstance(value := getattr(self, name), kind):
                raise TypeError(f"expected {instead} as {name}, got a {type(value).__name__}")
        if self.chunk < 1:
            raise ValueError(f"chunk must be at least 1 view, got {self.chunk}")
        if "match" in self.penalties:
            raise ValueError('a penalty cannot be called "match", the name of the distance itself')
        if self.statistics and not isinstance(self.scorer, Perceives):
            raise ValueError(f"{self.scorer.name} does not know the statistics of photographs: leave out `statistics`")

    def __call__(self, step: int, rng: Generator) -> dict[str, Tensor]:
        """The weighted terms of one step, each of shape (items,) or a scalar."""
        check_generator(rng)
        scene = self.param()
        images = scene if self.render is None else self.render(scene, rng)
        terms = {"match": self.match(images, step, rng)}
        return terms | {name: penalty(scene) for name, penalty in self.penalties.items()}

    def match(self, images: Images, step: int, rng: Generator) -> Tensor:
        """The term "match" alone, of images that are at hand: shape (items,)."""
        check_images(images, like=self.target.embeddings, values=step == 0)
        items = self._items(len(images))
        per_image = 1 if self.augment is None else self.augment.views
        per_item = len(images) // items * per_image
        draw = self._draw(items, len(images) // items, step, rng)
        weights = self.target.weights.expand(items, -1).repeat_interleave(per_item, 0)
        wants_gradient = torch.is_grad_enabled() and images.requires_grad

        def look(chunk: tuple[slice, slice]) -> tuple[Tensor, Tensor | None]:
            some, views = chunk
            part = images[some].detach().requires_grad_(wants_gradient)
            with torch.no_grad():
                paired = [self._embed(picture.expand_as(images)[some], rows(draw, views)) for picture in self.paired]
            embeddings, strangeness = self._perceive(part, rows(draw, views))
            distance = self.distance(embeddings, self.target.embeddings, weights[views], *paired) + strangeness
            slope = torch.autograd.grad(distance.sum() / per_item, part)[0] if wants_gradient else None
            return distance.detach(), slope

        at_once = at_a_time(self.scorer, images.device)
        chunk = min(max(1, self.chunk // at_once), math.ceil(len(images) * per_image / at_once))
        chunks = list(_chunks(len(images), per_image, chunk))
        gradient = torch.zeros_like(images)
        distances = []
        for (some, _), (distance, slope) in zip(chunks, side_by_side(look, chunks, at_once), strict=True):
            distances.append(distance)
            if slope is not None:
                gradient[some] += slope
        match = torch.cat(distances).view(items, per_item).mean(dim=1)
        handed: Tensor = _HandBack.apply(images, match, gradient)  # type: ignore[no-untyped-call]
        return handed

    def _embed(self, images: Images, draw: Draw) -> Tensor:
        return self.scorer.encode_image(self._views(images, draw))

    def _perceive(self, images: Images, draw: Draw) -> tuple[Tensor, Tensor | float]:
        """Embeddings, and what it costs that the views do not have the statistics of photographs."""
        if not (self.statistics and isinstance(self.scorer, Perceives)):
            return self._embed(images, draw), 0.0
        embeddings, strangeness = self.scorer.perceive(self._views(images, draw))
        return embeddings, self.statistics * strangeness

    def _views(self, images: Images, draw: Draw) -> Images:
        return images if self.augment is None else self.augment.apply(images, draw)

    def _items(self, images: int) -> int:
        listed = len(self.target.weights)
        unseeded = images if self.render is None else listed
        items = unseeded if self.seeds is None else len(self.seeds)
        fits = images == items if self.render is None else items > 0 and images % items == 0
        if not fits or listed not in (1, items):
            raise ValueError(
                f"expected as many images for each of {items} items (one, where nothing is rendered) and weights for "
                f"1 or {items} items, got {images} images and weights for {listed}"
            )
        return items

    def _draw(self, items: int, images_per_item: int, step: int, rng: Generator) -> Draw:
        if self.augment is None:
            return {}
        draws = []
        for item in range(items):
            keys = (rng.initial_seed(), item) if self.seeds is None else (self.seeds[item], step)
            stream = generator(*keys, _VIEWS)
            draws += [self.augment.sample(stream) for _ in range(images_per_item)]
        return concat(draws)


class _HandBack(torch.autograd.Function):
    """Returns the match of each item, and on the way back the gradient at the images that belongs to it."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, match: Tensor, gradient: Tensor) -> Tensor:
        ctx.save_for_backward(gradient)
        return match.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = ctx.saved_tensors
        spread = weight.repeat_interleave(len(gradient) // len(weight)).to(gradient)
        return gradient * spread[:, None, None, None], None, None


def _chunks(images: int, per_image: int, chunk: int) -> Iterator[tuple[slice, slice]]:
    """Slices of the images and of their views: several whole images, or some views of a single one."""
    at_once = max(1, chunk // per_image)
    for first in range(0, images, at_once):
        last = min(first + at_once, images)
        for start in range(first * per_image, last * per_image, max(chunk, 1)):
            yield slice(first, last), slice(start, min(start + chunk, last * per_image))
