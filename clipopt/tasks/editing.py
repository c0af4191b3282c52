"""Pictures that are given: to change, to stay close to, to say where something belongs, to resemble."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from clipopt import files
from clipopt.tasks.prompts import parse_prompt
from clipopt.tasks.sight import Mask, resize
from clipopt.types import Images

KEEP = 2.0
"""Default of --keep where --was is given."""
_SHAPES_DIFFER = 0.03


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
    feather: float | int = 0.02
    was: str | None = None
    keep: float | int = 0.0
    regions: Sequence[Region] = ()
    tile: bool = False


@dataclass(frozen=True)
class Editing:
    """Start from a picture, change a part of it, or say what belongs where."""

    init: Path | None = None
    """A picture to start from, by default grey noise. Its size is then that of the result, unless --size is given."""
    mask: Path | None = None
    """A picture whose white part says where --init may change, drawn over it. All else stays as it is, to the bit."""
    feather: float = Edit.feather
    """Width of the soft edge inside the mask, as a fraction of the picture's shorter side; 0 is a hard edge."""
    was: str | None = None
    """What --init shows, as text. The scorer is then asked for the change from this text to the prompt: of things
    ("a red apple" to "a green apple") or of style ("a photo" to "a drawing")."""
    keep: float | None = None
    """How much to stay close to --init: weight of the squared difference. By default 2 with --was, else 0."""
    region: tuple[tuple[Path, str], ...] = ()
    """A mask and what shall be where it is white, for example: left.png "a red tree". Can be given several times; the
    prompt speaks of the whole picture."""
    image_prompt: tuple[Path, ...] = ()
    """A picture to resemble, beside the words or instead of them; can be given several times. Both are seen through
    the same crops, so what is where counts."""
    tile: bool = False
    """Make a tile that repeats without a seam; summary.json measures it."""

    def paths(self) -> dict[str, Path]:
        """The files that are read, by the names of their options."""
        named = {"init": self.init, "mask": self.mask}
        named |= {f"region {i}": path for i, (path, _) in enumerate(self.region)}
        named |= {f"image-prompt {i}": path for i, path in enumerate(self.image_prompt)}
        return {name: path for name, path in named.items() if path is not None}

    def fingerprints(self) -> dict[str, str]:
        """What the files hold, in short."""
        return {name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for name, path in self.paths().items()}

    def as_config(self) -> dict[str, Any]:
        """The settings as config.json keeps them, from which `from_config` makes them again."""
        absolute = {name: path and path.absolute() for name, path in (("init", self.init), ("mask", self.mask))}
        regions = [[path.absolute(), text] for path, text in self.region]
        return vars(self) | absolute | {"region": regions, "image_prompt": [p.absolute() for p in self.image_prompt]}

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Editing":
        """The settings that `as_config` wrote."""
        one = {name: config[name] and Path(config[name]) for name in ("init", "mask")}
        regions = tuple((Path(path), text) for path, text in config["region"])
        return cls(**{**config, **one, "region": regions, "image_prompt": tuple(map(Path, config["image_prompt"]))})

    def texts(self) -> list[Mapping[str, float]]:
        """All that is said here, for a look at its words."""
        said: list[Mapping[str, float]] = [parse_prompt(text) for _, text in self.region]
        return said if self.was is None else [*said, {self.was: 1.0}]

    def load(self) -> tuple[Edit, list[Images]]:
        """What the files hold, and the pictures to resemble.

        Raises:
            ValueError: a file cannot be read, a mask is black, or something lacks the picture it speaks of.
        """
        images = {name: files.load_image(path) for name, path in self.paths().items()}
        init = images.get("init")
        for name, given in (("mask", self.mask), ("was", self.was), ("keep", self.keep)):
            if init is None and given is not None:
                raise ValueError(f"--{name} speaks of a picture: give it with --init FILE")
        if self.was is not None and not self.was.strip():
            raise ValueError("--was is empty: say what the picture of --init shows, or leave it out")
        keep = self.keep if self.keep is not None else KEEP if self.was else 0.0
        if not (0 <= self.feather <= 1 and 0 <= keep < float("inf")):
            raise ValueError(f"--feather must lie in 0 to 1 and --keep be 0 or more, got {self.feather:g} and {keep:g}")
        regions = [
            Region(_mask(images[f"region {i}"], path), parse_prompt(text)) for i, (path, text) in enumerate(self.region)
        ]
        mask = None if self.mask is None else _mask(images["mask"], self.mask)
        edit = Edit(init, mask, self.feather, self.was, keep, regions, self.tile)
        return edit, [image for name, image in images.items() if name.startswith("image-prompt")]

    def check_shapes(self, edit: Edit, size: tuple[int, int]) -> None:
        """Check that masks have the shape of a picture of `size` (height, width), or nearly so.

        Raises:
            ValueError: one has not.
        """
        masks = [(path, region.mask) for (path, _), region in zip(self.region, edit.regions, strict=True)]
        if self.mask is not None and edit.mask is not None:
            masks.append((self.mask, edit.mask))
        for path, mask in masks:
            height, width = mask.shape[-2:]
            if abs(height * size[1] / (width * size[0]) - 1) > _SHAPES_DIFFER:
                raise ValueError(
                    f"{path} has {width} x {height} pixels, another shape than the picture of {size[1]} x {size[0]}: "
                    "draw the mask over the picture, or give --size"
                )


def _mask(image: Images, path: Path) -> Mask:
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
