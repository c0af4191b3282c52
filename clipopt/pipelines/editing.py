"""Pictures that are given: to change, to stay close to, to say where something belongs, to resemble."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from clipopt.pipelines.prompts import parse_prompt

if TYPE_CHECKING:
    from clipopt.pipelines.edits import Edit
    from clipopt.types import Images

KEEP = 2.0
"""Default of --keep where --was is given."""
_SHAPES_DIFFER = 0.03
_RESEMBLED = 2**22  # pixels: all are in memory at once, and no scorer sees as many


@dataclass(frozen=True)
class Editing:
    """Start from a picture, change a part of it, or say what belongs where."""

    init: Path | None = None
    """A picture to start from, in place of --begin. Its size is then that of the result, unless --size is given."""
    mask: Path | None = None
    """A picture whose white part says where --init may change, drawn over it. All else stays as it is, to the bit."""
    feather: float = 0.02
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
    alpha: Literal["white", "black", "drop"] = "white"
    """What transparent parts of all given pictures lie on; drop shows the colours that they hide."""
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

    def texts(self) -> list[Mapping[str, float]]:
        """All that is said here, for a look at its words."""
        said: list[Mapping[str, float]] = [parse_prompt(text) for _, text in self.region]
        return said if self.was is None else [*said, {self.was: 1.0}]

    def load(self, *, resized: bool) -> "tuple[Edit, list[Images]]":
        """What the files hold, and the pictures to resemble.

        Args:
            resized: Whether --init will have another size; else it keeps every pixel.

        Raises:
            ValueError: a file cannot be read, a mask is black, or something lacks the picture it speaks of.
        """
        from clipopt.io.image import LOOKED_AT, load_image
        from clipopt.pipelines.edits import Edit, Region, mask_of

        read = partial(load_image, alpha=self.alpha)
        whole = LOOKED_AT if resized else None
        init = None if self.init is None else read(self.init, most=whole)
        for name, given in (("mask", self.mask), ("was", self.was), ("keep", self.keep)):
            if init is None and given is not None:
                raise ValueError(f"--{name} speaks of a picture: give it with --init FILE")
        if self.was is not None and not self.was.strip():
            raise ValueError("--was is empty: say what the picture of --init shows, or leave it out")
        keep = self.keep if self.keep is not None else KEEP if self.was else 0.0
        if not (0 <= self.feather <= 1 and 0 <= keep < float("inf")):
            raise ValueError(f"--feather must lie in 0 to 1 and --keep be 0 or more, got {self.feather:g} and {keep:g}")
        regions = [Region(mask_of(read(path, most=LOOKED_AT), path), parse_prompt(text)) for path, text in self.region]
        mask = None if self.mask is None else mask_of(read(self.mask, most=whole), self.mask)
        edit = Edit(init, mask, self.feather, self.was, keep, regions, self.tile)
        return edit, [read(path, most=_RESEMBLED) for path in self.image_prompt]

    def check_shapes(self, edit: "Edit", size: tuple[int, int]) -> None:
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
