"""Decode picture files from anywhere: formats that are known, sizes that fit, every kind of pixel as it is meant.

image = load_image("cat.jpg")                          # (1, 3, h, w) in [0, 1]
small = load_image("cat.jpg", most=LOOKED_AT)          # shrunk while it is decoded, where it has more pixels
bare = load_image("logo.png", alpha="drop")            # the colours that transparent pixels hide
"""

import io
import logging
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageOps, JpegImagePlugin, UnidentifiedImageError
from torch import Tensor
from torch.nn import functional as F

from clipopt.types import Images

Alpha = Literal["white", "black", "drop"]
"""What becomes of transparency: it lies on white, on black, or is dropped, so that hidden colours show."""
MOST_PIXELS = 2**26
"""A picture of more is refused before it is decoded: at 19 bytes a pixel, it would take over a gigabyte."""
LONGEST = 2**16 - 1
"""Pixels of the longest side: resized side by side, a longer one could take gigabytes however narrow it is."""
LOOKED_AT = 2**24
"""Enough pixels for what is only looked at, or shrunk; cameras' 12 million are read as they are."""
_JPEGS = 4 * MOST_PIXELS
_HINT = "expected a picture file (PNG, JPEG, WebP, AVIF, GIF, BMP, TIFF, JPEG 2000 or PPM)"
# Others call programs (EPS), have no signature (TGA), or no user.
_FORMATS = ("PNG", "JPEG", "MPO", "WEBP", "AVIF", "GIF", "BMP", "TIFF", "JPEG2000", "PPM")
_BITS_PER_SAMPLE, _PHOTOMETRIC, _TILE_WIDTH, _TILE_LENGTH = 258, 262, 322, 323  # tags of a TIFF


logging.getLogger("PIL").addHandler(logging.NullHandler())  # or without any, what it finds is printed


class _RefusedError(ValueError):
    """Why a whole picture is not read."""


def load_image(path: str | Path, *, alpha: Alpha = "white", most: int | None = None) -> Images:
    """Read a picture as (1, 3, h, w) in [0, 1], upright as its EXIF entry says.

    Of an animation the first frame is read. Greys of 16 bits keep their precision. Numbers without a stated white
    (float or 32-bit TIFF, PFM) count from 0 to 1, 255 or 65535, whichever they reach: up to a tenth beyond is clipped;
    other ranges are refused, and so is what none of the three makes brighter than 2 %. Colour profiles are not applied.

    Args:
        path: The file.
        alpha: What becomes of transparency: it lies on white, on black, or is dropped as the models' own processors do.
        most: A picture of more pixels is shrunk by a whole number until it has no more; a large JPEG already while it
            is decoded. None to keep every pixel.

    Raises:
        ValueError: the file is missing, is no picture of a known format, is cut short, or has more than `MOST_PIXELS`
            to decode or a side of more than `LONGEST`.
    """
    path = Path(path)
    if alpha not in get_args(Alpha):
        raise ValueError(f"alpha must be one of {', '.join(get_args(Alpha))}, got {alpha!r}")
    if not path.is_file():
        got = "a folder" if path.is_dir() else "a pipe or device" if path.exists() else "no such file"
        raise ValueError(f"cannot read {path}: {_HINT}, got {got}")
    try:
        return _read(path, alpha, most)
    except _RefusedError as error:
        raise ValueError(f"cannot read {path}: {error}") from error.__cause__


def decode_image(data: bytes, *, alpha: Alpha = "white", most: int | None = None) -> Images:
    """As `load_image`, of what a picture file holds.

    Raises:
        ValueError: as there.
    """
    try:
        return _read(io.BytesIO(data), alpha, most)
    except _RefusedError as error:
        raise ValueError(str(error)) from error.__cause__


def _read(source: Path | io.BytesIO, alpha: Alpha, most: int | None) -> Images:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow, about large pictures and odd metadata
            with _open(source) as opened:
                return _decode(opened, alpha, most)
    except _RefusedError:
        raise
    except UnidentifiedImageError:
        raise _RefusedError(f"{_HINT}, got another kind of file") from None
    except Exception as error:  # every format fails in its own way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise _RefusedError(f"{_HINT}, got one that is damaged or unusual ({reason})") from error


def picture_size(path: str | Path) -> tuple[int, int]:
    """Width and height in pixels as the head of a picture file says; nothing is decoded.

    Raises:
        ValueError: the file is missing, or no picture of a known format.
    """
    path = Path(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if path.is_file():
                with _open(path) as opened:
                    return opened.size
    except Exception as error:
        raise ValueError(f"cannot read {path}: {_HINT}, got another kind of file") from error
    raise ValueError(f"cannot read {path}: {_HINT}, got no such file")


def _open(source: Path | io.BytesIO) -> Image.Image:
    Image.init()
    try:
        return Image.open(source, formats=[name for name in _FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError as error:
        # Pillow refuses before a smaller decode can be asked for.
        if isinstance(source, io.BytesIO):
            source.seek(0)
        try:
            return JpegImagePlugin.JpegImageFile(source)
        except SyntaxError:
            raise _RefusedError(f"expected at most {MOST_PIXELS / 1e6:.0f} million pixels; {error}") from None


def _decode(opened: Image.Image, alpha: Alpha, most: int | None) -> Images:
    pixels, limit = math.prod(opened.size), MOST_PIXELS
    # A progressive one needs all of its coefficients at once, however small the result.
    if most is not None and isinstance(opened, JpegImagePlugin.JpegImageFile) and not opened.info.get("progressive"):
        limit = _JPEGS
    if not 0 < pixels <= limit or max(opened.size) > LONGEST or _tile(opened) > limit:
        width, height = opened.size
        raise _RefusedError(
            f"expected 1 to {limit / 1e6:.0f} million pixels, and at most {LONGEST} a side, got {width} x {height}"
            f"{' in tiles that are larger' if _tile(opened) > pixels else ''}: make it smaller"
        )
    if limit == _JPEGS:
        times = _times(opened.size, most)
        opened.draft(None, (-(-opened.width // times), -(-opened.height // times)))
    white, inverted = _white(opened)
    with _quiet() if opened.format == "TIFF" else nullcontext():
        opened.load()
    with suppress(Exception):  # a damaged EXIF entry does not say how to turn it
        ImageOps.exif_transpose(opened, in_place=True)
    times = _times(opened.size, most)
    if white is not None:
        return _from_numbers(opened, white, inverted, alpha, times)
    if opened.mode in ("RGBa", "La"):
        opened = opened.convert(opened.mode.upper())
    transparent = alpha != "drop" and opened.has_transparency_data
    picture = opened.convert("RGBA" if transparent else "RGB")
    if times > 1:
        picture = picture.reduce(times)
    if transparent:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, alpha), picture).convert("RGB")
    return from_bytes(np.array(picture))[None]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what libtiff prints by itself from the terminal; what is wrong is raised, too."""
    try:
        terminal = os.dup(2)
    except OSError:  # there is none
        yield
        return
    try:
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(terminal, 2)
        os.close(terminal)


def from_bytes(pixels: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> Float[Tensor, "3 _ _"]:
    """(h, w, 3) of bytes -> (3, h, w) in [0, 1]."""
    return torch.from_numpy(pixels).permute(2, 0, 1).float().div_(255)


def _tile(opened: Image.Image) -> int:
    """How many pixels a TIFF says that each of its tiles has, which the decoder takes memory for."""
    tags = getattr(opened, "tag_v2", {})
    return int(tags.get(_TILE_WIDTH, 0)) * int(tags.get(_TILE_LENGTH, 0))


def _times(size: tuple[int, int], most: int | None) -> int:
    """By which whole number to divide width and height, so that no more than `most` pixels are left."""
    return 1 if most is None else max(1, math.ceil(math.sqrt(math.prod(size) / most)))


def _white(opened: Image.Image) -> tuple[float | None, bool]:
    """The number that means white, 0 where nothing states it, None where pixels are bytes; and whether black is it."""
    if opened.mode not in ("I", "F") and not opened.mode.startswith("I;16"):
        return None, False
    tags = getattr(opened, "tag_v2", {})
    if opened.mode.startswith("I;16"):
        return 2.0 ** min(tags.get(_BITS_PER_SAMPLE, (16,))) - 1, tags.get(_PHOTOMETRIC) == 0
    return (65535.0 if opened.mode == "I" and opened.format != "TIFF" else 0.0), False


def _from_numbers(picture: Image.Image, white: float, inverted: bool, alpha: Alpha, times: int) -> Images:
    """Greys that are not bytes, as numbers in which `white` is white, or 0 for one that they tell by themselves."""
    numbers = np.asarray(picture)
    values = torch.from_numpy(numbers.astype(np.float32))[None, None]
    low, high = float(values.min()), float(values.max())
    if not white:
        fitting = [full for full in (1, 255, 65535) if -0.1 * high <= low and high <= 1.1 * full]
        if not fitting or (fitting[0] > 1 and high < 0.02 * fitting[0]):  # NaN and infinity fit nowhere
            raise _RefusedError(
                f"expected numbers in 0 to 1, 0 to 255 or 0 to 65535, got {low:g} to {high:g}: "
                "bring them into one of these"
            )
        white = fitting[0]
    values.div_(white).clamp_(0, 1)
    if inverted:
        values.neg_().add_(1)
    key = picture.info.get("transparency")
    if isinstance(key, int) and alpha != "drop":
        values[torch.from_numpy(numbers == key)[None, None]] = float(alpha == "white")
    if times > 1:
        values = F.avg_pool2d(values, times, ceil_mode=True)
    return values.expand(1, 3, -1, -1).contiguous()
