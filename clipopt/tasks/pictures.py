"""The pictures that a command is given: files and folders of them, read in batches."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt import files
from clipopt.clips import load_sound
from clipopt.scorers.clap import ClapScorer

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".ppm", ".pgm")
"""What counts as a picture in a folder; a file that is named may have any suffix."""
SOUNDS = (".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".aif", ".aiff")
"""What counts as a sound in a folder, for a scorer that hears."""
BATCH = 8
"""Pictures in memory at once: a photo of 12 megapixels takes 150 MB."""


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

    With other `suffixes`, the same for `what` these belong to.

    Raises:
        ValueError: a path does not exist, or there is no picture.
    """
    found: dict[Path, Found] = {}
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*")):
                name = file.relative_to(path)
                hidden = any(part.startswith(".") for part in name.parts)
                if file.suffix.lower() in suffixes and not hidden and file.is_file():
                    found.setdefault(file, Found(file, name, named=False))
        elif path.is_file():
            found.setdefault(path, Found(path, Path(path.name), named=True))
        else:
            raise ValueError(f"cannot read {path}: expected a {what} or a folder of {what}s, got no such file")
    if not paths:
        raise ValueError(f"say which {what}s: files, or folders of them")
    if not found:
        shown = ", ".join(map(str, paths))
        known = "WAV, MP3 or FLAC" if what == "sound" else "PNG, JPEG or WebP"
        raise ValueError(f"there is no {what} in {shown}: expected files such as {known}")
    return list(found.values())


def read_batches(
    pictures: Sequence[Found], broken: list[Path], size: int = BATCH
) -> Iterator[list[tuple[Found, Float[Tensor, "3 _ _"]]]]:
    """Read `pictures`, `size` at a time.

    One that cannot be read is reported on stderr, added to `broken` and left out. Only a file that was named itself,
    in the first batch, is an error: take that batch before anything is written.

    Raises:
        ValueError: see above.
    """
    for start in range(0, len(pictures), size):
        batch = []
        for found in pictures[start : start + size]:
            try:
                batch.append((found, files.load_image(found.path)[0]))
            except ValueError as error:
                if found.named and not start:
                    raise
                sys.stderr.write(f"clipopt: left out: {' '.join(str(error).split())}\n")
                broken.append(found.path)
        yield batch


def read_lines(path: Path, what: str = "texts") -> list[str]:
    """The lines of a text file without blank ones, each once.

    Raises:
        ValueError: it cannot be read, is no UTF-8 text, or holds no line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no UTF-8 text"
        raise ValueError(f"cannot read {what} from {path}: {reason}; expected a text file, one a line") from error
    kept = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not kept:
        raise ValueError(f"{path} holds no {what}: expected one a line")
    return kept


def hear(
    scorer: ClapScorer, sounds: Sequence[Found], broken: list[Path]
) -> Iterator[tuple[Found, Float[Tensor, " d"]]]:
    """The unit row of every sound; one that cannot be read is reported on stderr, added to `broken` and left out."""
    for found in sounds:
        try:
            wave = load_sound(found.path, rate=scorer.sample_rate)
        except ValueError as error:
            sys.stderr.write(f"clipopt: left out: {' '.join(str(error).split())}\n")
            broken.append(found.path)
            continue
        with torch.no_grad():
            yield found, scorer.encode_audio(wave[None].to(scorer.filters.device))[0]
