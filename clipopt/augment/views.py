"""Stages that choose what of an image a view shows, and from where."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from clipopt.augment.resampling import Padding, affine_grid, resample, turn
from clipopt.augment.stage import Augment, Draw, symmetric


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

    Example:
        >>> from clipopt.types import generator
        >>> crops(4, 32)(torch.rand(1, 3, 64, 64), generator(0)).shape
        torch.Size([4, 3, 32, 32])
    """

    def extent(scale: Tensor, shorter: int, longer: int, side: int) -> Tensor:
        return scale * shorter

    return _squares(views, size, scale, extent, shift, rotate, padding)


def details(
    views: int, size: int, *, shift: float = 0.0, rotate: float = 0.1, padding: Padding = "reflection"
) -> Augment:
    """Square views at native resolution: from `size` pixels of the image, one for one, up to its shorter side.

    So the larger the image, the closer they come. An image that is smaller than `size` is seen whole.

    Args:
        views: Number of views of each image.
        size: Side of a view in pixels, best the scorer's `image_size`.
        shift: How far a view may reach over the border, as a fraction of the image's shorter side.
        rotate: Largest angle to either side, radians.
        padding: What lies beyond the border: the mirrored image, its last pixels, or black.

    Raises:
        ValueError: If a number is out of its range.

    Reference:
        The inner cutouts of Crowson and Letts, "Disco Diffusion" (2022).
    """

    def extent(scale: Tensor, shorter: int, longer: int, side: int) -> Tensor:
        native = min(side, shorter)
        return native + (shorter - native) * (scale - 1)

    # Drawn in [1, 2], for a range of scales starts above 0.
    return _squares(views, size, (1.0, 2.0), extent, shift, rotate, padding)


def overview(
    views: int,
    size: int,
    *,
    scale: tuple[float, float] = (1.0, 1.1),
    shift: float = 0.05,
    rotate: float = 0.05,
    padding: Padding = "border",
) -> Augment:
    """The whole image in a square, of whatever shape it is, each time a little elsewhere.

    Args:
        views: Number of views of each image.
        size: Side of a view in pixels, best the scorer's `image_size`.
        scale: Range of a view's side, as a fraction of the image's longer side.
        shift: How far a view may reach further over the border, as a fraction of the image's shorter side.
        rotate: Largest angle to either side, radians.
        padding: What lies beyond the border: the mirrored image, its last pixels, or black.

    Raises:
        ValueError: If a number is out of its range.

    Reference:
        The overview cutouts of Crowson and Letts, "Disco Diffusion" (2022).
    """

    def extent(scale: Tensor, shorter: int, longer: int, side: int) -> Tensor:
        return scale * longer

    return _squares(views, size, scale, extent, shift, rotate, padding)


def _squares(
    views: int,
    size: int | None,
    scale: tuple[float, float],
    extent: Callable[[Tensor, int, int, int], Tensor],
    shift: float,
    rotate: float,
    padding: Padding,
) -> Augment:
    """Square views whose side in the image's pixels is `extent(scale, shorter side, longer side, side of a view)`."""
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
            "centre": symmetric(1.0, (count, 2), rng),
            "angle": symmetric(rotate, (count,), rng),
        }

    def run(images: Tensor, draw: Draw) -> Tensor:
        height, width = images.shape[-2:]
        shorter = min(height, width)
        side = size or shorter
        sides = torch.tensor([width, height], dtype=torch.float32)
        seen = extent(draw["scale"], shorter, max(height, width), side)
        reach = (sides - seen[:, None]).abs() / 2 + shift * shorter
        linear = turn(draw["angle"]) * seen[:, None, None] / sides[:, None]
        grid = affine_grid(linear, 2 * draw["centre"] * reach / sides, (side, side))
        # The copy that comes nearest to one pixel per sample.
        levels = torch.log2(seen / side).round().clamp_min(0).long()
        return resample(images, grid, padding, levels)

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
            "angle": symmetric(rotate, (count,), rng),
            "shift": symmetric(shift, (count, 2), rng),
            "zoom": low + (high - low) * torch.rand(count, generator=rng),
            "shear": symmetric(shear, (count,), rng),
        }

    def run(images: Tensor, draw: Draw) -> Tensor:
        height, width = images.shape[-2:]
        sides = torch.tensor([width, height], dtype=torch.float32)
        lean = torch.eye(2).repeat(len(draw["shear"]), 1, 1)
        lean[:, 0, 1] = torch.tan(draw["shear"])
        linear = turn(draw["angle"]) @ lean / draw["zoom"][:, None, None]
        grid = affine_grid(linear * sides / sides[:, None], 2 * draw["shift"], (height, width))
        return resample(images, grid, padding)

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
        return {"corners": symmetric(distortion / 2, (count, 4, 2), rng)}

    def run(images: Tensor, draw: Draw) -> Tensor:
        import kornia

        height, width = images.shape[-2:]
        square = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]).repeat(len(draw["corners"]), 1, 1)
        matrix = kornia.geometry.get_perspective_transform(square, square + draw["corners"])
        axes = [(2 * torch.arange(side) + 1) / side - 1 for side in (height, width)]
        y, x = torch.meshgrid(*axes, indexing="ij")
        points = torch.stack((x, y, torch.ones_like(x)), -1).view(-1, 3) @ matrix.mT
        grid = (points[..., :2] / points[..., 2:]).view(-1, height, width, 2)
        return resample(images, grid, padding)

    return Augment(draw, run)
