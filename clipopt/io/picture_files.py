"""The pictures that a command is given: files and folders of them, read in batches."""

import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from clipopt.io.folders import read_text
from clipopt.io.image import LOOKED_AT, Alpha, load_image
from clipopt.io.terminal import note, printable, say_notes

SUFFIXES = (
    ".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".jp2", ".j2k", ".jpf", ".jpx", ".webp", ".avif", ".gif",
    ".bmp", ".dib", ".tif", ".tiff", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm",
)  # fmt: skip
"""What counts as a picture in a folder; a file that is named may have any suffix."""
SOUNDS = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff")
"""What counts as a sound in a folder, for a scorer that hears."""
BATCH = 8
"""Pictures in memory at once, or fewer large ones: a photo of 12 megapixels takes 150 MB."""
_AT_ONCE = 2**24
_KINDS = 6


@dataclass(frozen=True)
class Found:
    """A picture file.

    Attributes:
        path: Where it is.
        name: Its path below the folder that was given; its file name if it was given itself.
        named: Whether it was given itself.
    """

    path: Path
    name: Path
    named: bool


def find_pictures(paths: Sequence[Path], suffixes: Sequence[str] = SUFFIXES, what: str = "picture") -> list[Found]:
    """The files in `paths`, and all pictures in its folders and their subfolders, sorted; hidden ones are left out.

    Folders are not entered through links. What else a folder holds is counted in a line on stderr when the work begins.
    With other `suffixes`, the same for `what` these belong to.

    Raises:
        ValueError: a path does not exist, or there is no picture.
    """
    found: dict[Path, Found] = {}
    passed = Counter[str]()
    for path in paths:
        if path.is_dir():
            skipped = Counter[str]()
            for file in _in_folder(path, suffixes, skipped):
                found.setdefault(file, Found(file, file.relative_to(path), named=False))
            if skipped:
                note(f"clipopt: skipped in {printable(path)}: {_counted(skipped)}")
                passed += skipped
        elif path.is_file():
            found.setdefault(path, Found(path, Path(path.name), named=True))
        else:
            got = "a pipe or device" if path.exists() else "no such file"
            raise ValueError(f"cannot read {path}: expected a {what} or a folder of {what}s, got {got}")
    if not paths:
        raise ValueError(f"say which {what}s: files, or folders of them")
    if not found:
        shown = ", ".join(map(str, paths))
        known = "WAV, MP3 or FLAC" if what == "sound" else "PNG, JPEG or WebP"
        held = f", got {_counted(passed)}" if passed else ""
        raise ValueError(f"there is no {what} in {shown}: expected files such as {known}{held}")
    return list(found.values())


def _in_folder(folder: Path, suffixes: Sequence[str], skipped: Counter[str]) -> list[Path]:
    """The files below `folder` with one of `suffixes`, sorted; counts the others that are not hidden."""
    kept = []
    for where, folders, names in os.walk(folder, onerror=lambda _: skipped.update(["unreadable folder"])):
        folders[:] = [name for name in folders if not name.startswith(".")]
        skipped.update(["link to a folder"] * sum(Path(where, name).is_symlink() for name in folders))
        for name in names:
            if name.startswith("."):
                continue
            path = Path(where, name)
            suffix = path.suffix.lower()
            if suffix not in suffixes:
                skipped[suffix or "without suffix"] += 1
            elif path.is_file():
                kept.append(path)
            else:
                skipped["dead link" if path.is_symlink() else "pipe or device"] += 1
    return sorted(kept)


def _counted(skipped: Counter[str]) -> str:
    """What was skipped, the most frequent first, and how often."""
    shown = [f"{count} {printable(kind)[:20]}" for kind, count in skipped.most_common(_KINDS)]
    if len(skipped) > _KINDS:
        shown.append(f"{skipped.total() - sum(count for _, count in skipped.most_common(_KINDS))} other")
    return ", ".join(shown)


def read_batches(
    pictures: Sequence[Found], broken: list[Path], *, alpha: Alpha = "white", most: int = LOOKED_AT, size: int = BATCH
) -> Iterator[list[tuple[Found, Float[Tensor, "3 _ _"]]]]:
    """Read `pictures`, `size` at a time, or fewer where these are large.

    One that cannot be read is reported on stderr, added to `broken` and left out. Only a file that was named itself,
    in the first batch, is an error: take that batch before anything is written.

    Args:
        pictures: The files.
        broken: Gets those that cannot be read.
        alpha: What becomes of transparency.
        most: Pixels of each picture: one of more is shrunk.
        size: Pictures of a batch.

    Raises:
        ValueError: see above.
    """
    batch: list[tuple[Found, Float[Tensor, "3 _ _"]]] = []
    tried = pixels = 0
    first = True
    say_notes()
    for place, found in enumerate(pictures, 1):
        try:
            image = load_image(found.path, alpha=alpha, most=most)[0]
        except (ValueError, OSError) as error:
            if found.named and first:
                raise
            leave_out(error)
            broken.append(found.path)
        else:
            batch.append((found, image))
            pixels += image[0].numel()
        tried += 1
        if tried == size or pixels > _AT_ONCE or place == len(pictures):
            yield batch
            batch, tried, pixels, first = [], 0, 0, False


def leave_out(error: Exception) -> None:
    """Say why something is left out of what is done."""
    sys.stderr.write(f"clipopt: left out: {printable(error)}\n")


def read_lines(path: Path, what: str = "texts") -> list[str]:
    """The lines of a text file without blank ones, each once.

    Raises:
        ValueError: it cannot be read, is no UTF-8 text, or holds no line.
    """
    try:
        lines = read_text(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ValueError(f"cannot read {what} from {path}: {reason}; expected a text file, one a line") from error
    kept = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not kept:
        raise ValueError(f"{path} holds no {what}: expected one a line")
    return kept
