"""What an augmentation is, and how several make one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from clipopt.types import check_generator

Draw = dict[str, Tensor]
Layers = Float[Tensor, "_ _ _ _"]
"""Images of three channels, or of four: the fourth is how opaque each pixel is, and colours do not contain it."""


@dataclass(frozen=True)
class Augment:
    """An augmentation: how to draw it and how to apply what was drawn.

    Attributes:
        draw: Maps (rows, rng) to a draw with that many rows.
        run: Maps (images, draw) to one view per row of the draw.
        views: Number of views of one image. 1 for a stage that changes views and makes none.
    """

    draw: Callable[[int, Generator], Draw]
    run: Callable[[Tensor, Draw], Tensor]
    views: int = 1

    def sample(self, rng: Generator, views: int | None = None) -> Draw:
        """Draws the views of one image; `views` rows, by default the augmentation's own number."""
        return self.draw(self.views if views is None else views, check_generator(rng))

    def apply(self, images: Layers, draw: Mapping[str, Tensor]) -> Layers:
        """One view per row of `draw`, in the order of its rows.

        Raises:
            ValueError: If the rows of the draw cannot be shared out evenly among the images.
        """
        count = length(draw)
        if count % images.shape[0]:
            raise ValueError(f"a draw of {count} views cannot be shared out evenly among {images.shape[0]} images")
        return self.run(images, dict(draw))

    def __call__(self, images: Layers, rng: Generator) -> Layers:
        """Draws and applies at once: `views` views of each image, those of one image together."""
        return self.apply(images, concat([self.sample(rng) for _ in range(images.shape[0])]))


def concat(draws: Sequence[Mapping[str, Tensor]]) -> Draw:
    """One draw that holds the rows of all `draws`, in their order."""
    return {name: torch.cat([draw[name] for draw in draws]) for name in draws[0]}


def rows(draw: Mapping[str, Tensor], index: slice) -> Draw:
    """The rows `index` of a draw."""
    return {name: values[index] for name, values in draw.items()}


def compose(*stages: Augment) -> Augment:
    """The stages one after the other. At most one of them, best the first, makes several views.

    Raises:
        ValueError: If there is no stage, or if two stages make views.
    """
    views = [stage.views for stage in stages if stage.views > 1]
    if not stages or len(views) > 1:
        raise ValueError(
            f"expected stages of which at most one makes views, got {len(stages)} of which {len(views)} do"
        )

    def draw(count: int, rng: Generator) -> Draw:
        return {
            f"{number}.{name}": values
            for number, stage in enumerate(stages)
            for name, values in stage.draw(count, rng).items()
        }

    def run(images: Tensor, draw: Draw) -> Tensor:
        for number, stage in enumerate(stages):
            images = stage.run(images, part(draw, number))
        return images

    return Augment(draw, run, max(views, default=1))


def mix(*stages: Augment) -> Augment:
    """Several populations of views side by side: those of the first stage, then those of the second, and so on.

    Their shares are the stages' own numbers of views, in whatever number the rows are drawn. What all views have in
    common (colours, noise) is cheaper behind the mix than within its stages.

    Raises:
        ValueError: If there is no stage; when applied, if the stages make views of different sizes.
    """
    if not stages:
        raise ValueError("expected one stage or more, got none")
    total = sum(stage.views for stage in stages)
    ends = [sum(stage.views for stage in stages[: number + 1]) for number in range(len(stages))]

    def draw(count: int, rng: Generator) -> Draw:
        population = torch.zeros(count, dtype=torch.long)
        mixed = {"population": population}
        first = 0
        for number, (stage, end) in enumerate(zip(stages, ends, strict=True)):
            last = round(count * end / total)
            population[first:last] = number
            for name, values in stage.draw(last - first, rng).items():
                rows = values.new_zeros(count, *values.shape[1:])
                rows[first:last] = values
                mixed[f"{number}.{name}"] = rows
            first = last
        return mixed

    def run(images: Tensor, draw: Draw) -> Tensor:
        per_image = length(draw) // len(images)
        views, first = [], 0
        for image in images.split(1):
            mine = draw["population"][first : first + per_image].tolist()
            for number, same in groupby(mine):
                last = first + len(list(same))
                views.append(stages[number].run(image, rows(part(draw, number), slice(first, last))))
                first = last
        sizes = {tuple(view.shape[1:]) for view in views}
        if len(sizes) > 1:
            raise ValueError(f"expected populations of one size, got {sorted(sizes)}: give every stage the same size")
        return torch.cat(views)

    return Augment(draw, run, total)


def part(draw: Mapping[str, Tensor], number: int) -> Draw:
    """What stage `number` of several drew."""
    prefix = f"{number}."
    return {name.removeprefix(prefix): values for name, values in draw.items() if name.startswith(prefix)}


def length(draw: Mapping[str, Tensor]) -> int:
    """The number of rows of a draw."""
    return len(next(iter(draw.values())))


def symmetric(bound: float, shape: tuple[int, ...], rng: Generator) -> Tensor:
    """Uniform numbers in [-bound, bound]."""
    return bound * (2 * torch.rand(shape, generator=rng) - 1)


def like(values: Tensor, images: Tensor) -> Tensor:
    """`values` on the device and in the precision of `images`."""
    return values.to(images.device, images.dtype)


def spread(images: Tensor, draw: Mapping[str, Tensor]) -> Tensor:
    """Repeats each image for its rows of the draw."""
    return images.repeat_interleave(length(draw) // len(images), 0) if length(draw) != len(images) else images
