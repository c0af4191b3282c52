"""Files that other files name, and pictures in them: found beside them or not at all, bounded before they are read."""

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from jaxtyping import UInt8
from torch import Tensor

from clipopt.io.image import decode_image

MOST_BYTES = 512 * 2**20
"""Largest file that is read."""
MOST_FACES = 5_000_000
"""Most faces of a mesh; instances count each."""
LONGEST_SIDE = 4096
"""Most texels along a side of a texture; a larger one is made smaller."""


class Unreadable(ValueError):
    """A file that is not as it should be: what was expected, what was there instead, what to do."""


def read_bytes(path: Path) -> bytes:
    """The bytes of a file that is not too large.

    Raises:
        Unreadable: It is.
    """
    if (size := path.stat().st_size) > MOST_BYTES:
        raise Unreadable(f"expected at most {MOST_BYTES >> 20} MB, got {size >> 20} MB; simplify it first")
    return path.read_bytes()


def beside(path: Path, name: str) -> Path | None:
    """The file that `path` names, in its own folder or below; None where there is none.

    A name with another computer's folders in it (C:\\art\\wood.png) is looked for beside the file.

    Raises:
        Unreadable: `name` leads out of the folder, or into the network, and there is nothing of that name beside it.
    """
    plain = unquote(name.strip()).replace("\\", "/")
    folder = path.resolve().parent
    foreign = bool(re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", plain)) or plain.startswith("/") or ".." in plain.split("/")
    for tried in (plain.rsplit("/", 1)[-1],) if foreign else (plain, plain.rsplit("/", 1)[-1]):
        try:
            found = (folder / tried).resolve()
            if found.is_relative_to(folder) and found.is_file():
                return found
            foreign |= not found.is_relative_to(folder)
        except (OSError, ValueError):  # a name that no file system takes
            continue
    if foreign:
        raise Unreadable(f"expected files that it names in its own folder, got {name[:80]!r}; put that one beside it")
    return None


@dataclass(frozen=True, eq=False)
class Texture:
    """A picture for a surface, decoded when it is needed.

    Attributes:
        data: The picture's file.
        wrap: What lies beyond its left and right, and its lower and upper rim: "repeat", "mirror" or "clamp".
    """

    data: bytes
    wrap: tuple[str, str] = ("repeat", "repeat")

    def same(self, other: "Texture | None") -> bool:
        """Whether both look alike."""
        return other is not None and self.wrap == other.wrap and self.data == other.data

    def pixels(self, longest: int = LONGEST_SIDE) -> UInt8[Tensor, "3 _ _"]:
        """The picture, with no more pixels than fit a square of `longest`; how opaque it is is left out.

        Raises:
            Unreadable: It is no picture, or too large.
        """
        try:
            decoded = decode_image(self.data, alpha="drop", most=longest**2)
        except ValueError as error:
            raise Unreadable(f"its texture: {error}") from error
        return (decoded[0] * 255).round().byte()
