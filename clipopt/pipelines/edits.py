"""What is given beside the prompts, in memory: a picture to change, and masks of its parts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from clipopt.pipelines.editing import Editing
from clipopt.pipelines.views import Mask, resize
from clipopt.types import Images


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
