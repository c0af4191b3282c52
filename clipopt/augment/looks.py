"""Stages that change what a view looks like and leave its geometry as it is."""

import math

import torch
from torch import Generator, Tensor

from clipopt.augment.stage import Augment, Draw, like, spread, symmetric

# Rec. 601, the luma of 8-bit pictures.
_LUMA = (0.299, 0.587, 0.114)


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
            "brightness": symmetric(brightness, (count,), rng),
            "contrast": 1 + symmetric(contrast, (count,), rng),
            "saturation": 1 + symmetric(saturation, (count,), rng),
            "hue": symmetric(hue, (count,), rng),
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
        views = spread(images, draw)
        flat = torch.baddbmm(like(offset[:, None, None], views), like(matrix, views), views.flatten(2))
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
        views = spread(images, draw)
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

        views = spread(images, draw)
        # A mirror reaches as far as the image does.
        taps = [2 * min(radius, side - 1) + 1 for side in views.shape[-2:]]
        widths = like(draw["sigma"].clamp_min(0.05)[:, None].expand(-1, 2), views)
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
        views = spread(images, draw)
        height, width = views.shape[-2:]
        half = fraction * min(height, width) / 2
        inside = [
            (torch.arange(side) + 0.5 - draw["centre"][:, axis, None] * side).abs() < half
            for axis, side in enumerate((height, width))
        ]
        hole = (inside[0][:, None, :, None] & inside[1][:, None, None, :]).to(views.device)
        return views.masked_fill(hole, 0.5)

    return Augment(draw, run)


def _turn_hue(angle: Tensor) -> Tensor:
    """Rotations of RGB space about the grey axis, shape (n, 3, 3)."""
    cosine, sine = torch.cos(angle)[:, None, None], torch.sin(angle)[:, None, None] / math.sqrt(3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]])
    return cosine * torch.eye(3) + sine * cross + (1 - cosine) / 3
