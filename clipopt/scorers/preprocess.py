"""From pictures of any size to what a scorer's image tower eats: differentiable, and as its checkpoint says."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

_INTERPOLATION: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}  # PIL's numbers


@dataclass(frozen=True)
class ImageSpec:
    """How a picture becomes the input of an image tower; part of the scorer, for another way gives other scores.

    Attributes:
        size: Side in pixels to resize to; with `resize="shortest"` that of the shorter edge.
        crop: Side in pixels of the square that is cut from the middle afterwards; `size` if nothing is cut.
        resize: "shortest" keeps the aspect, "squash" does not.
        interpolation: Kernel of the resize.
        antialias: Whether the kernel widens when it shrinks. PIL's always does.
        mean: Subtracted per channel, of values in [0, 1].
        std: Divided by per channel.
    """

    size: int
    crop: int
    resize: Literal["shortest", "squash"]
    interpolation: Literal["bicubic", "bilinear"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    antialias: bool = True


def fit(images: Float[Tensor, "b 3 _ _"], spec: ImageSpec) -> Float[Tensor, "b 3 s s"]:
    """Resize, crop and normalise `images` in [0, 1] of any size, as the reference processor does.

    Bicubic kernels overshoot at hard edges, and PIL cuts that off after each of its two passes, columns before
    rows. So does this, but the gradient passes as if nothing were cut, or no hard edge could be undone.

    Raises:
        ValueError: if `images` is no batch of colour pictures.
    """
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape:
        raise ValueError(f"images must have the shape (batch, 3, height, width), got {tuple(images.shape)}")
    images = images.float()
    height, width = images.shape[-2:]
    if spec.resize == "shortest":
        short = min(height, width)
        height, width = spec.size * height // short, spec.size * width // short
    else:
        height = width = spec.size
    for target in ((images.shape[-2], width), (height, width)):
        if target != images.shape[-2:]:
            images = F.interpolate(images, target, mode=spec.interpolation, antialias=spec.antialias)
            images.detach().clamp_(0, 1)  # in place behind autograd's back, which needs no result of a resize
    top, left = (height - spec.crop) // 2, (width - spec.crop) // 2
    images = images[..., top : top + spec.crop, left : left + spec.crop]
    mean, std = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in (spec.mean, spec.std))
    return (images - mean) / std


def read_image_spec(folder: Path) -> ImageSpec:
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


def _image_spec(config: Mapping[str, Any]) -> ImageSpec:
    if config["resample"] not in _INTERPOLATION:
        raise ValueError(f"resample must be 2 (bilinear) or 3 (bicubic), got {config['resample']}")
    if not config.get("do_resize", True):
        raise ValueError("do_resize must be true")
    cropped = bool(config.get("do_center_crop", False))
    size, squash = _side(config["size"], shortest=cropped)
    crop = _side(config["crop_size"], shortest=False)[0] if cropped else size
    if crop > size or not (cropped or squash):
        raise ValueError(f"size {config['size']} and crop_size {config.get('crop_size')} give no square that is filled")
    normalized = config.get("do_normalize", True)
    red, green, blue = config["image_mean"] if normalized else (0.0, 0.0, 0.0)
    std_red, std_green, std_blue = config["image_std"] if normalized else (1.0, 1.0, 1.0)
    return ImageSpec(
        size=size,
        crop=crop,
        resize="squash" if squash else "shortest",
        interpolation=_INTERPOLATION[config["resample"]],
        mean=(red, green, blue),
        std=(std_red, std_green, std_blue),
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
