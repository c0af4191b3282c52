"""Pictures that are given: to change, to stay close to, to say where something belongs, to resemble."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipopt.pipelines.prompts import parse_prompt


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
