"""From pictures of any size to what a scorer's image tower eats: differentiable, and as its checkpoint says."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Channels = tuple[float, float, float]
_REFUSED = ("rescale_offset", "do_flip_channel_order")
_INTERPOLATION: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}  # PIL's numbers
_LONGEST = 16  # times the shorter side: the crop sees none of the rest, and to enlarge it could take gigabytes


@dataclass(frozen=True)
class ImageSpec:
    """How a picture becomes the input of an image tower; part of the scorer, for another way gives other scores.

    Attributes:
        size: Side in pixels to resize to; with `resize="shortest"` that of the shorter edge.
        crop: Side in pixels of the square that is cut from the middle afterwards; `size` if nothing is cut.
        resize: "shortest" keeps the aspect and cuts off, "longest" keeps it and fills up, "squash" does not keep it.
        interpolation: Kernel of the resize.
        mean: Subtracted per channel, of values in [0, 1].
        std: Divided by per channel.
        antialias: Whether the kernel widens when it shrinks. PIL's always does.
        halving: Where the crop starts when an odd number of pixels is left over: "down", or to the "even" number
            of the two as torchvision does it.
        fill: What "longest" fills up with, in [0, 1].
    """

    size: int
    crop: int
    resize: Literal["shortest", "squash", "longest"]
    interpolation: Literal["bicubic", "bilinear"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    antialias: bool = True
    halving: Literal["down", "even"] = "down"
    fill: float = 0.0

    @property
    def side(self) -> int:
        """Side in pixels of the square that the tower gets."""
        return self.crop


@dataclass(frozen=True)
class PatchSpec:
    """How a picture becomes a row of patches, its aspect kept: the input of a NaFlex tower.

    Attributes:
        patch: Side of a patch in pixels.
        max_patches: Most patches that a picture is cut into; a small one is enlarged until it has about as many.
        interpolation: Kernel of the resize, which widens when it shrinks.
        mean: Subtracted per channel, of values in [0, 1].
        std: Divided by per channel.
    """

    patch: int
    max_patches: int
    interpolation: Literal["bicubic", "bilinear"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    @property
    def side(self) -> int:
        """Side in pixels of the largest square that is seen without being shrunk."""
        return math.isqrt(self.max_patches) * self.patch


def fit(images: Float[Tensor, "b 3 _ _"], spec: ImageSpec) -> Float[Tensor, "b 3 s s"]:
    """Resize, crop and normalise `images` in [0, 1] of any size, as the reference processor does.

    Bicubic kernels overshoot at hard edges, and PIL cuts that off after each of its two passes, columns before
    rows. So does this, but the gradient passes as if nothing were cut, or no hard edge could be undone.

    Raises:
        ValueError: if `images` is no batch of colour pictures.
    """
    images = _checked(images)
    height, width = images.shape[-2:]
    if spec.resize == "shortest":
        short = min(height, width)
        images = _middle(images, _LONGEST * short)
        height, width = images.shape[-2:]
        height, width = spec.size * height // short, spec.size * width // short
    elif spec.resize == "longest":
        long = max(height, width)
        height, width = max(1, round(height * spec.size / long)), max(1, round(width * spec.size / long))
    else:
        height = width = spec.size
    images = _resize(images, (height, width), spec.interpolation, antialias=spec.antialias)
    if spec.resize == "longest":
        missing = [spec.crop - width, spec.crop - height]
        images = F.pad(images, [side for m in missing for side in (m // 2, m - m // 2)], value=spec.fill)
    else:
        top, left = (_half(side - spec.crop, spec.halving) for side in (height, width))
        images = images[..., top : top + spec.crop, left : left + spec.crop]
    return _normalize(images, spec)


def patchify(images: Float[Tensor, "b 3 _ _"], spec: PatchSpec) -> tuple[Float[Tensor, "b n _"], tuple[int, int]]:
    """Resize and normalise `images` in [0, 1] of any size and cut them into patches, as the reference processor does.

    The pictures of a batch have one size, so all patches are patches: nothing is padded, nothing needs a mask.

    Returns:
        The patches row by row, each as its pixels row by row with the colour innermost; and how many rows and
        columns they form.

    Raises:
        ValueError: if `images` is no batch of colour pictures.
    """
    images = _checked(images)
    rows, columns = patch_grid(images.shape[-2], images.shape[-1], spec.max_patches)
    images = _resize(images, (rows * spec.patch, columns * spec.patch), spec.interpolation)
    tiles = _normalize(images, spec).unflatten(3, (columns, spec.patch)).unflatten(2, (rows, spec.patch))
    return tiles.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2), (rows, columns)


def patch_grid(height: int, width: int, max_patches: int) -> tuple[int, int]:
    """Rows and columns of patches for a picture of `height` by `width` at the largest scale that needs no more.

    A scale is as large as can be where the rows or the columns just fill up, so only those are tried.
    """
    full_rows = ((rows, -(-rows * width // height)) for rows in range(1, max_patches + 1))
    full_columns = ((-(-columns * height // width), columns) for columns in range(1, max_patches + 1))
    fitting = [grid for grid in (*full_rows, *full_columns) if grid[0] * grid[1] <= max_patches]
    return max(fitting, key=lambda grid: (grid[0] * grid[1], grid))


def read_image_spec(folder: Path) -> ImageSpec | PatchSpec:
    """The specification in a checkpoint's `preprocessor_config.json`, or in its newer `processor_config.json`.

    Raises:
        ValueError: if there is none, or if it asks for what `fit` does not do.
    """
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (folder / name).is_file():
            try:
                config = json.loads((folder / name).read_text(encoding="utf-8"))
                return _image_spec(config.get("image_processor", config))
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                what = f"no {error}" if isinstance(error, KeyError) else str(error)
                raise ValueError(f"cannot read how {folder / name} wants its pictures: {what}") from error
    raise ValueError(f"{folder} has no preprocessor_config.json: copy the whole model folder")


def read_normalization(config: Mapping[str, Any]) -> tuple[Channels, Channels]:
    """What a processor subtracts and divides by per channel, of values in [0, 1].

    Processors rescale bytes first, by 1/255 unless they say otherwise; that is part of mean and deviation here.

    Raises:
        ValueError: if a number is none, or it divides by 0.
        KeyError: if it normalizes and does not say by what.
    """
    factor = config.get("rescale_factor", 1 / 255) if config.get("do_rescale", True) else 1.0
    if isinstance(factor, bool) or not isinstance(factor, int | float) or not math.isfinite(factor) or factor <= 0:
        raise ValueError(f"rescale_factor must be a number above 0, such as 0.00392156862745098, got {factor!r}")
    scale = 1.0 if math.isclose(255 * factor, 1.0, rel_tol=1e-6) else 255 * factor
    if not config.get("do_normalize", True):
        return (0.0, 0.0, 0.0), (1 / scale, 1 / scale, 1 / scale)
    red, green, blue = (value / scale for value in config["image_mean"])
    std_red, std_green, std_blue = (value / scale for value in config["image_std"])
    numbers = (red, green, blue, std_red, std_green, std_blue)
    if not all(map(math.isfinite, numbers)) or 0 in numbers[3:]:
        raise ValueError("image_mean and image_std must be finite numbers, and no deviation 0")
    return (red, green, blue), (std_red, std_green, std_blue)


def _checked(images: Tensor) -> Tensor:
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ValueError(f"images must have the shape (batch, 3, height, width), got {tuple(images.shape)}")
    return images.float()


def _resize(images: Tensor, size: tuple[int, int], interpolation: str, *, antialias: bool = True) -> Tensor:
    for target in ((images.shape[-2], size[1]), size):
        if target != images.shape[-2:]:
            images = F.interpolate(images, target, mode=interpolation, antialias=antialias)
            images.detach().clamp_(0, 1)  # in place behind autograd's back, which needs no result of a resize
    return images


def _middle(images: Tensor, longest: int) -> Tensor:
    """The middle of pictures, as long as `longest`, or a pixel longer so that the middle stays where it is."""
    for dim in (-2, -1):
        rest = max(0, images.shape[dim] - longest)
        images = images.narrow(dim, rest // 2, images.shape[dim] - 2 * (rest // 2))
    return images


def _half(rest: int, halving: str) -> int:
    return round(rest / 2) if halving == "even" else rest // 2


def _normalize(images: Tensor, spec: ImageSpec | PatchSpec) -> Tensor:
    mean, std = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (spec.mean, spec.std))
    return (images - mean) / std


def _image_spec(config: Mapping[str, Any]) -> ImageSpec | PatchSpec:
    if config["resample"] not in _INTERPOLATION:
        raise ValueError(f"resample must be 2 (bilinear) or 3 (bicubic), got {config['resample']}")
    if not config.get("do_resize", True):
        raise ValueError("do_resize must be true")
    if refused := [key for key in _REFUSED if config.get(key)]:
        raise ValueError(f"{refused[0]} is not supported: expected it false or left out")
    mean, std = read_normalization(config)
    if "max_num_patches" in config:
        interpolation = _INTERPOLATION[config["resample"]]
        return PatchSpec(config["patch_size"], config["max_num_patches"], interpolation, mean, std)
    cropped = bool(config.get("do_center_crop", False))
    size, squash = _side(config["size"], shortest=cropped)
    crop = _side(config["crop_size"], shortest=False)[0] if cropped else size
    if crop > size or not (cropped or squash):
        raise ValueError(f"size {config['size']} and crop_size {config.get('crop_size')} give no square that is filled")
    return ImageSpec(
        size=size,
        crop=crop,
        resize="squash" if squash else "shortest",
        interpolation=_INTERPOLATION[config["resample"]],
        mean=mean,
        std=std,
    )


def _side(size: int | Mapping[str, int], *, shortest: bool) -> tuple[int, bool]:
    """The side in pixels, and whether the aspect is given up; a bare number in old files means `shortest` or not."""
    if isinstance(size, int):
        return size, not shortest
    if "shortest_edge" in size:
        return size["shortest_edge"], False
    if size["height"] != size["width"]:
        raise ValueError(f"expected a square, got {size}")
    return size["height"], True
