"""Reading images at points between their pixels."""

import math
from itertools import groupby
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from clipopt.augment.stage import like
from clipopt.types import Images

Padding = Literal["reflection", "border", "zeros"]
_SMALL = 4  # copies of up to so many times the pixels of a view are repeated


def turn(angle: Tensor) -> Tensor:
    """Rotation matrices, shape (n, 2, 2)."""
    cosine, sine = torch.cos(angle), torch.sin(angle)
    return torch.stack((torch.stack((cosine, -sine), -1), torch.stack((sine, cosine), -1)), -2)


def affine_grid(linear: Tensor, offset: Tensor, size: tuple[int, int]) -> Tensor:
    """Points x -> linear @ x + offset of a picture of `size` (height, width), in [-1, 1] from edge to edge."""
    y, x = ((2 * torch.arange(side) + 1) / side - 1 for side in size)
    across, down = linear[:, None, None, :, 0], linear[:, None, None, :, 1]
    return x[:, None] * across + (y[:, None, None] * down + offset[:, None, None])


def resample(images: Tensor, grid: Tensor, padding: Padding, levels: Tensor | None = None) -> Tensor:
    """Views of the images at the points `grid`, shape (views, h, w, 2), in [-1, 1] from edge to edge.

    A view of level `l` reads a copy of its image that was halved `l` times. Neighbouring views of one image and
    level are one call of `grid_sample`, which shares its images out among threads. So a copy of about a view's size
    is repeated for every view; a large one is not, forward or backward.
    """
    per_image = len(grid) // len(images)
    height, width = grid.shape[1:3]
    grid = like(grid, images)
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
            copy, points = copies[level], grid[first : first + count]
            if copy[0, 0].numel() <= _SMALL * height * width:
                copy = copy.expand(count, -1, -1, -1)
                views.append(F.grid_sample(copy, points, padding_mode=padding, align_corners=False))
            else:
                points = points.reshape(1, count * height, width, 2)
                view = F.grid_sample(copy, points, padding_mode=padding, align_corners=False)
                views.append(view.view(-1, count, height, width).transpose(0, 1))
            first += count
    return torch.cat(views)


def _halve(image: Tensor) -> Tensor:
    # At half the size bilinear taps are the mean of 2 x 2 pixels, and the fastest way to it.
    return F.interpolate(image, [math.ceil(side / 2) for side in image.shape[-2:]], mode="bilinear")


def warp(images: Images, *, zoom: float = 1.0, pan: tuple[float, float] = (0.0, 0.0), rotate: float = 0.0) -> Images:
    """The images as a moved camera sees them: one move of many, so resampled without blur that would pile up.

    Between pixels the image is what its spectrum says, read at twice the resolution; the border is a mirror.

    Args:
        images: In [0, 1]. What overshoots at hard edges is cut off.
        zoom: Above 1 comes closer to the middle, below 1 goes back.
        pan: How far the camera moves to the right and down, as fractions of width and height.
        rotate: How far the picture turns counter-clockwise, radians.

    Raises:
        ValueError: If `zoom` is not above 0.
    """
    if zoom <= 0:
        raise ValueError(f"zoom must be above 0, got {zoom}; 1 leaves the size as it is")
    height, width = images.shape[-2:]
    sides = torch.tensor([width, height], dtype=torch.float32)
    linear = turn(torch.tensor([rotate])) / zoom * sides / sides[:, None]
    grid = affine_grid(linear, 2 * torch.tensor([pan], dtype=torch.float32), (height, width))
    return _spline(_coefficients(images), like(grid, images)).clamp(0, 1)


def _coefficients(images: Tensor) -> Tensor:
    """The images at twice the resolution, from edge to edge, as weights of cubic B-splines: (..., 2 h + 1, 2 w + 1).

    The spectrum of an image beside its mirror image has no jump at the border; zeros beyond it add no detail.
    """
    for axis, side in ((-2, images.shape[-2]), (-1, images.shape[-1])):
        spectrum = torch.fft.rfft(torch.cat((images, images.flip(axis)), axis), dim=axis)
        angle = math.pi / (2 * side) * torch.arange(side + 1).to(images.device)
        gain = (6 / (2 + torch.cos(angle))).unflatten(0, (-1, *[1] * (-1 - axis)))
        images = torch.fft.irfft(gain * spectrum, n=4 * side, dim=axis).roll(1, axis).narrow(axis, 0, 2 * side + 1)
    return images


def _spline(weights: Tensor, grid: Tensor) -> Tensor:
    """Sums of cubic B-splines at the points `grid`, shape (1, h, w, 2): four linear readings between their knots.

    Reference:
        Sigg and Hadwiger, "Fast Third-Order Texture Filtering", GPU Gems 2 (2005), chapter 20.
    """
    last = torch.tensor([weights.shape[-1] - 1, weights.shape[-2] - 1]).to(grid)
    place = (grid + 1) / 2 * last
    knot = place.floor()
    t = place - knot
    right = (1 + 3 * t + 3 * t**2 - 3 * t**3) / 6, t**3 / 6  # of the knots 1 and 2 further on
    left = (1 - t) ** 3 / 6, (4 - 6 * t**2 + 3 * t**3) / 6  # of the knots 1 before and 0
    shares = left[0] + left[1], right[0] + right[1]
    places = knot - 1 + left[1] / shares[0], knot + 1 + right[1] / shares[1]
    total = torch.zeros(len(weights), weights.shape[1], *grid.shape[1:3]).to(weights)
    for a in (0, 1):
        for b in (0, 1):
            points = torch.stack((places[a][..., 0], places[b][..., 1]), -1) / last * 2 - 1
            points = points.expand(len(weights), -1, -1, -1)
            share = shares[a][..., 0] * shares[b][..., 1]
            total = total + share * F.grid_sample(weights, points, padding_mode="reflection", align_corners=True)
    return total
