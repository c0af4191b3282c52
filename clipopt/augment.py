"""Random views of images, each differentiable; what is drawn stands apart from how it is applied.

A draw is a dict of small tensors with one row per view. So the same views can be applied again, to another image
or in chunks of any size, with the same result. Images may be fewer than the rows of a draw: image `i` then owns
rows `i * k` to `(i + 1) * k - 1`.

Nothing is clamped: a view may leave [0, 1] by what jitter and noise add, and no pixel loses its gradient.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clipopt.types import Images

Draw = dict[str, Tensor]
Padding = Literal["reflection", "border", "zeros"]

# Rec. 601, the luma of 8-bit pictures.
_LUMA = (0.299, 0.587, 0.114)


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
        return self.draw(self.views if views is None else views, rng)

    def apply(self, images: Images, draw: Mapping[str, Tensor]) -> Images:
        """One view per row of `draw`, in the order of its rows.

        Raises:
            ValueError: If the rows of the draw cannot be shared out evenly among the images.
        """
        rows = _rows(draw)
        if rows % images.shape[0]:
            raise ValueError(f"a draw of {rows} views cannot be shared out evenly among {images.shape[0]} images")
        return self.run(images, dict(draw))

    def __call__(self, images: Images, rng: Generator) -> Images:
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
            prefix = f"{number}."
            images = stage.run(
                images, {name.removeprefix(prefix): values for name, values in draw.items() if name.startswith(prefix)}
            )
        return images

    return Augment(draw, run, max(views, default=1))


def crops(
    views: int,
    size: int | None = None,
    *,
    scale: tuple[float, float] = (0.6, 1.1),
    shift: float = 0.1,
    rotate: float = 0.1,
    padding: Padding = "reflection",
) -> Augment:
    """Square views of random size, place and angle: the augmentation that matters most.

    Cropping, turning and resizing are one resampling. Where a view shrinks the image, it reads an averaged smaller
    copy, made once per image and not per view, so views of large images are cheap and every pixel is seen.

    Args:
        views: Number of views of each image.
        size: Side of a view in pixels, best the scorer's `image_size`. None: the shorter side of the image.
        scale: Range of a view's side, as a fraction of the image's shorter side.
        shift: How far a view may reach over the border, as a fraction of the image's shorter side.
        rotate: Largest angle to either side, radians.
        padding: What lies beyond the border: the mirrored image, its last pixels, or black.

    Raises:
        ValueError: If a number is out of its range.
    """
    low, high = scale
    if views < 1 or (size is not None and size < 1) or not 0 < low <= high or shift < 0 or rotate < 0:
        raise ValueError(
            "expected views >= 1, size >= 1, 0 < scale[0] <= scale[1], shift >= 0 and rotate >= 0, got "
            f"views={views}, size={size}, scale={scale}, shift={shift}, rotate={rotate}"
        )

    def draw(count: int, rng: Generator) -> Draw:
        return {
            # One view from each equal part of the range, the smallest first: no step sees only close-ups, and views
            # that read the same copy of the image stand together.
            "scale": low + (high - low) * (torch.arange(count) + torch.rand(count, generator=rng)) / count,
            "centre": _symmetric(1.0, (count, 2), rng),
            "angle": _symmetric(rotate, (count,), rng),
        }

    def run(images: Tensor, draw: Draw) -> Tensor:
        height, width = images.shape[-2:]
        shorter = min(height, width)
        side = size or shorter
        sides = torch.tensor([width, height], dtype=torch.float32)
        extent = draw["scale"] * shorter
        reach = (sides - extent[:, None]).abs() / 2 + shift * shorter
        linear = _turn(draw["angle"]) * extent[:, None, None] / sides[:, None]
        grid = _affine_grid(linear, 2 * draw["centre"] * reach / sides, (side, side))
        # The copy that comes nearest to one pixel per sample.
        levels = torch.log2(extent / side).round().clamp_min(0).long()
        return _resample(images, grid, padding, levels)

    return Augment(draw, run, views)


def affine(
    *,
    rotate: float = 0.2,
    shift: float = 0.1,
    scale: tuple[float, float] = (0.9, 1.1),
    shear: float = 0.0,
    padding: Padding = "reflection",
) -> Augment:
    """Turns, shifts, zooms and shears each view; its size in pixels stays.

    Args:
        rotate: Largest angle to either side, radians.
        shift: Largest shift to either side, as a fraction of the side.
        scale: Range of the zoom; above 1 enlarges what is seen.
        shear: Largest shear angle to either side, radians.
        padding: What lies beyond the border: the mirrored image, its last pixels, or black.

    Raises:
        ValueError: If a number is out of its range.
    """
    low, high = scale
    if rotate < 0 or shift < 0 or not 0 < low <= high or not 0 <= shear < math.pi / 2:
        raise ValueError(
            "expected rotate >= 0, shift >= 0, 0 < scale[0] <= scale[1] and shear in [0, pi/2), got "
            f"rotate={rotate}, shift={shift}, scale={scale}, shear={shear}"
        )

    def draw(count: int, rng: Generator) -> Draw:
        return {
            "angle": _symmetric(rotate, (count,), rng),
            "shift": _symmetric(shift, (count, 2), rng),
            "zoom": low + (high - low) * torch.rand(count, generator=rng),
            "shear": _symmetric(shear, (count,), rng),
        }

    def run(images: Tensor, draw: Draw) -> Tensor:
        height, width = images.shape[-2:]
        sides = torch.tensor([width, height], dtype=torch.float32)
        lean = torch.eye(2).repeat(len(draw["shear"]), 1, 1)
        lean[:, 0, 1] = torch.tan(draw["shear"])
        linear = _turn(draw["angle"]) @ lean / draw["zoom"][:, None, None]
        grid = _affine_grid(linear * sides / sides[:, None], 2 * draw["shift"], (height, width))
        return _resample(images, grid, padding)

    return Augment(draw, run)


def perspective(distortion: float = 0.3, *, padding: Padding = "reflection") -> Augment:
    """Looks at each view from a slant: every corner moves by itself.

    Args:
        distortion: Largest move of a corner along each side, as a fraction of half the side; 0 to below 1.
        padding: What lies beyond the border: the mirrored image, its last pixels, or black.

    Raises:
        ValueError: If `distortion` is out of its range.
    """
    if not 0 <= distortion < 1:
        raise ValueError(f"distortion must lie in [0, 1), got {distortion}")

    def draw(count: int, rng: Generator) -> Draw:
        return {"corners": _symmetric(distortion / 2, (count, 4, 2), rng)}

    def run(images: Tensor, draw: Draw) -> Tensor:
        import kornia

        height, width = images.shape[-2:]
        square = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]).repeat(len(draw["corners"]), 1, 1)
        matrix = kornia.geometry.get_perspective_transform(square, square + draw["corners"])
        axes = [(2 * torch.arange(side) + 1) / side - 1 for side in (height, width)]
        y, x = torch.meshgrid(*axes, indexing="ij")
        points = torch.stack((x, y, torch.ones_like(x)), -1).view(-1, 3) @ matrix.mT
        grid = (points[..., :2] / points[..., 2:]).view(-1, height, width, 2)
        return _resample(images, grid, padding)

    return Augment(draw, run)


def color(
    *,
    brightness: float = 0.1,
    contrast: float = 0.1,
    saturation: float = 0.1,
    hue: float = 0.0,
    gray: float = 0.0,
) -> Augment:
    """Jitters the colours of each view: one affine map of its RGB values.

    Args:
        brightness: Largest value added or taken away.
        contrast: Largest change of the contrast factor from 1; it acts around mid-grey.
        saturation: Largest change of the saturation factor from 1.
        hue: Largest turn of the hues to either side, radians.
        gray: Probability that a view loses its colours altogether.

    Raises:
        ValueError: If a number is negative or `gray` above 1.
    """
    if min(brightness, contrast, saturation, hue, gray) < 0 or gray > 1:
        raise ValueError(
            "expected numbers of 0 or more and gray in [0, 1], got "
            f"brightness={brightness}, contrast={contrast}, saturation={saturation}, hue={hue}, gray={gray}"
        )

    def draw(count: int, rng: Generator) -> Draw:
        return {
            "brightness": _symmetric(brightness, (count,), rng),
            "contrast": 1 + _symmetric(contrast, (count,), rng),
            "saturation": 1 + _symmetric(saturation, (count,), rng),
            "hue": _symmetric(hue, (count,), rng),
            "gray": torch.rand(count, generator=rng) < gray,
        }

    def run(images: Tensor, draw: Draw) -> Tensor:
        keep = (draw["saturation"] * ~draw["gray"])[:, None, None]
        luma = torch.tensor(_LUMA).expand(3, 3)
        matrix = luma + keep * (torch.eye(3) - luma)
        if hue:
            matrix = matrix @ _turn_hue(draw["hue"])
        matrix = draw["contrast"][:, None, None] * matrix
        offset = (1 - draw["contrast"]) / 2 + draw["brightness"]
        views = _spread(images, draw)
        flat = torch.baddbmm(_like(offset[:, None, None], views), _like(matrix, views), views.flatten(2))
        return flat.view_as(views)

    return Augment(draw, run)


def noise(std: float = 0.1) -> Augment:
    """Adds Gaussian noise of mean zero. A draw holds a seed per view; the noise is made where it is needed.

    Args:
        std: Its standard deviation, in units of the image.

    Raises:
        ValueError: If `std` is negative.
    """
    if std < 0:
        raise ValueError(f"std must be 0 or more, got {std}")

    def draw(count: int, rng: Generator) -> Draw:
        return {"seed": torch.randint(2**63 - 1, (count,), generator=rng)}

    def run(images: Tensor, draw: Draw) -> Tensor:
        views = _spread(images, draw)
        grain = torch.zeros(views.shape, dtype=views.dtype)
        for row, seed in zip(grain, draw["seed"].tolist(), strict=True):
            row.normal_(generator=Generator().manual_seed(seed))
        return torch.add(views, grain.to(views.device), alpha=std)

    return Augment(draw, run)


def blur(sigma: float = 1.0) -> Augment:
    """Blurs each view by a Gaussian of random width.

    Args:
        sigma: Largest standard deviation in pixels, above 0.

    Raises:
        ValueError: If `sigma` is not positive.
    """
    if sigma <= 0:
        raise ValueError(f"sigma must be above 0 pixels, got {sigma}; leave the stage out for no blur")
    radius = math.ceil(3 * sigma)

    def draw(count: int, rng: Generator) -> Draw:
        return {"sigma": sigma * (1 - torch.rand(count, generator=rng))}

    def run(images: Tensor, draw: Draw) -> Tensor:
        import kornia

        views = _spread(images, draw)
        # A mirror reaches as far as the image does.
        taps = [2 * min(radius, side - 1) + 1 for side in views.shape[-2:]]
        widths = _like(draw["sigma"].clamp_min(0.05)[:, None].expand(-1, 2), views)
        blurred: Tensor = kornia.filters.gaussian_blur2d(views, (taps[0], taps[1]), widths)
        return blurred

    return Augment(draw, run)


def cutout(fraction: float = 0.3) -> Augment:
    """Hides a square of each view behind mid-grey, so that no single part decides.

    Args:
        fraction: Side of the square, as a fraction of the view's shorter side; 0 to 1.

    Raises:
        ValueError: If `fraction` is out of its range.
    """
    if not 0 <= fraction <= 1:
        raise ValueError(f"fraction must lie in [0, 1], got {fraction}")

    def draw(count: int, rng: Generator) -> Draw:
        return {"centre": torch.rand(count, 2, generator=rng)}

    def run(images: Tensor, draw: Draw) -> Tensor:
        views = _spread(images, draw)
        height, width = views.shape[-2:]
        half = fraction * min(height, width) / 2
        inside = [
            (torch.arange(side) + 0.5 - draw["centre"][:, axis, None] * side).abs() < half
            for axis, side in enumerate((height, width))
        ]
        hole = (inside[0][:, None, :, None] & inside[1][:, None, None, :]).to(views.device)
        return views.masked_fill(hole, 0.5)

    return Augment(draw, run)


def _rows(draw: Mapping[str, Tensor]) -> int:
    return len(next(iter(draw.values())))


def _symmetric(bound: float, shape: tuple[int, ...], rng: Generator) -> Tensor:
    return bound * (2 * torch.rand(shape, generator=rng) - 1)


def _like(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images.device, images.dtype)


def _spread(images: Tensor, draw: Mapping[str, Tensor]) -> Tensor:
    """Repeats each image for its rows of the draw."""
    return images.repeat_interleave(_rows(draw) // len(images), 0) if _rows(draw) != len(images) else images


def _turn(angle: Tensor) -> Tensor:
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return torch.stack((torch.stack((cosine, -sine), -1), torch.stack((sine, cosine), -1)), -2)


def _turn_hue(angle: Tensor) -> Tensor:
    """Rotations of RGB space about the grey axis, shape (n, 3, 3)."""
    cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None] / math.sqrt(3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return cosine * torch.eye(3) + sine * cross + (1 - cosine) / 3


def _affine_grid(linear: Tensor, offset: Tensor, size: tuple[int, int]) -> Tensor:
    theta = torch.cat((linear, offset[:, :, None]), -1)
    return F.affine_grid(theta, [len(theta), 3, *size], align_corners=False)


def _resample(images: Tensor, grid: Tensor, padding: Padding, levels: Tensor | None = None) -> Tensor:
    """Views of the images at the points `grid`, shape (views, h, w, 2), in [-1, 1] from edge to edge.

    A view of level `l` reads a copy of its image that was halved `l` times. Neighbouring views of one image and
    level are one call of `grid_sample` on one image: the image is not repeated, forward or backward.
    """
    per_image = len(grid) // len(images)
    height, width = grid.shape[1:3]
    grid = _like(grid, images)
    views = []
    for number, image in enumerate(images.split(1)):
        mine = slice(number * per_image, (number + 1) * per_image)
        wanted = [0] * per_image if levels is None else levels[mine].tolist()
        copies = [image]
        for _ in range(max(wanted)):
            copies.append(_halve(copies[-1]))
        first = mine.start
        for level, run in groupby(wanted):
            count = len(list(run))
            points = grid[first : first + count].reshape(1, count * height, width, 2)
            view = F.grid_sample(copies[level], points, padding_mode=padding, align_corners=False)
            views.append(view.view(-1, count, height, width).transpose(0, 1))
            first += count
    return torch.cat(views)


def _halve(image: Tensor) -> Tensor:
    # At half the size bilinear taps are the mean of 2 x 2 pixels, and the fastest way to it.
    return F.interpolate(image, [math.ceil(side / 2) for side in image.shape[-2:]], mode="bilinear")
