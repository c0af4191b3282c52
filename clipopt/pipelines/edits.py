"""What is given beside the prompts, in memory: a picture to change, and masks of its parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from clipopt.io.image import LOOKED_AT, load_image
from clipopt.pipelines.editing import Editing
from clipopt.pipelines.prompts import parse_prompt
from clipopt.pipelines.views import Mask, resize
from clipopt.types import Images

_SHAPES_DIFFER = 0.03
_RESEMBLED = 2**22  # pixels: all are in memory at once, and no scorer sees as many
KEEP = 2.0
"""Default of --keep where --was is given."""


@dataclass(frozen=True)
class Region:
    """A part of the pictures with a prompt of its own; `mask` may have any size, its shape is the pictures'."""

    mask: Mask
    prompt: Mapping[str, float]


@dataclass(frozen=True)
class Edit:
    """What is given beside the prompts.

    Attributes:
        init: The picture to start from.
        mask: Where it may change; None for everywhere.
        feather: Width of the mask's soft edge, which lies inside of it, as a fraction of the shorter side.
        was: What `init` shows. The loss then asks for the change from this text to the prompt.
        keep: Weight of the mean squared difference to `init`.
        regions: Parts with prompts of their own.
        tile: Whether the picture shall meet itself at its borders without a seam.
    """

    init: Images | None = None
    mask: Mask | None = None
    feather: float | int = Editing.feather
    was: str | None = None
    keep: float | int = 0.0
    regions: Sequence[Region] = ()
    tile: bool = False


def mask_of(image: Images, path: Path) -> Mask:
    """The mask that a picture is: where it is white.

    Raises:
        ValueError: it is black; the message names its `path`.
    """
    mask = image.mean(1, keepdim=True) > 0.5
    if not mask.any():
        raise ValueError(f"{path} is black: a mask is white where its part of the picture is")
    return mask


def fit(mask: Mask, size: tuple[int, int]) -> Mask:
    """The mask at another height and width; where it is so small that nothing would be left, its nearest pixel."""
    if mask.shape[-2:] == size:
        return mask
    fitted = F.interpolate(mask.float(), size, mode="nearest-exact") > 0.5
    return fitted if fitted.any() else F.adaptive_max_pool2d(mask.float(), size) > 0.5


def soften(mask: Mask, width: int) -> Tensor:
    """How much each pixel may change: 0 outside of the mask, and inside rising to 1 over about `width` pixels.

    Less, where the mask is nowhere so wide: in its middle it is always 1.
    """
    layer = mask.float()
    total, layers = layer, 1
    for _ in range(width):
        layer = -F.max_pool2d(-layer, 3, stride=1, padding=1)  # what is beyond the picture counts as inside
        if not layer.any():
            break
        total, layers = total + layer, layers + 1
    return total / layers


def extend(images: Images, size: tuple[int, int]) -> Images:
    """Tiles with their opposite side repeated below and right of them, up to a height and width."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, size[1] - width, 0, size[0] - height), mode="circular")


def meet(images: Images, size: tuple[int, int]) -> Images:
    """Tiles of a height and width, out of pictures that are larger: what is too much is blended into the other side.

    Behind the last row comes the next one of the larger picture, which is the first row of the tile. So there is no
    seam, whatever the picture.
    """
    for axis, side in ((-2, size[0]), (-1, size[1])):
        extra = images.shape[axis] - side
        first, rest, beyond = images.split([extra, side - extra, extra], dim=axis)
        share = (torch.arange(extra, device=images.device) + 0.5) / max(extra, 1)
        images = torch.cat((torch.lerp(beyond, first, share if axis == -1 else share[:, None]), rest), dim=axis)
    return images


def enlarge(images: Images, size: tuple[int, int], init: Images | None) -> Images:
    """Pictures at a larger height and width, with the detail of `init` that the smaller size could not hold."""
    larger = resize(images, size)
    if init is None:
        return larger
    seen = resize(resize(init, (images.shape[-2], images.shape[-1])), size)
    return (larger + resize(init, size).to(larger) - seen.to(larger)).clamp(0, 1)


def load_edit(editing: Editing, *, resized: bool) -> tuple[Edit, list[Images]]:
    """What the files hold, and the pictures to resemble.

    Args:
        editing: What to load.
        resized: Whether --init will have another size; else it keeps every pixel.

    Raises:
        ValueError: a file cannot be read, a mask is black, or something lacks the picture it speaks of.
    """
    read = partial(load_image, alpha=editing.alpha)
    whole = LOOKED_AT if resized else None
    init = None if editing.init is None else read(editing.init, most=whole)
    for name, given in (("mask", editing.mask), ("was", editing.was), ("keep", editing.keep)):
        if init is None and given is not None:
            raise ValueError(f"--{name} speaks of a picture: give it with --init FILE")
    if editing.was is not None and not editing.was.strip():
        raise ValueError("--was is empty: say what the picture of --init shows, or leave it out")
    keep = editing.keep if editing.keep is not None else KEEP if editing.was else 0.0
    if not (0 <= editing.feather <= 1 and 0 <= keep < float("inf")):
        raise ValueError(f"--feather must lie in 0 to 1 and --keep be 0 or more, got {editing.feather:g} and {keep:g}")
    regions = [Region(mask_of(read(path, most=LOOKED_AT), path), parse_prompt(text)) for path, text in editing.region]
    mask = None if editing.mask is None else mask_of(read(editing.mask, most=whole), editing.mask)
    edit = Edit(init, mask, editing.feather, editing.was, keep, regions, editing.tile)
    return edit, [read(path, most=_RESEMBLED) for path in editing.image_prompt]


def check_shapes(editing: Editing, edit: Edit, size: tuple[int, int]) -> None:
    """Check that masks have the shape of a picture of `size` (height, width), or nearly so.

    Raises:
        ValueError: one has not.
    """
    masks = [(path, region.mask) for (path, _), region in zip(editing.region, edit.regions, strict=True)]
    if editing.mask is not None and edit.mask is not None:
        masks.append((editing.mask, edit.mask))
    for path, mask in masks:
        height, width = mask.shape[-2:]
        if abs(height * size[1] / (width * size[0]) - 1) > _SHAPES_DIFFER:
            raise ValueError(
                f"{path} has {width} x {height} pixels, another shape than the picture of {size[1]} x {size[0]}: "
                "draw the mask over the picture, or give --size"
            )
