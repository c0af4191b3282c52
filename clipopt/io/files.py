"""Read and write pictures and videos; no reader ever meets a file that is half written.

image = load_image("cat.jpg")                          # (1, 3, h, w) in [0, 1]
save("copy.png", image, text={"prompt": "a cat"})      # PNG; several images become a grid
save("all.png", sheet(images, ["a cat", "a dog"]))     # a contact sheet with captions
write_video("run.mp4", frames, fps=20)                 # any iterable of (3, h, w), read lazily
with atomic("mesh.obj") as temporary:                  # any other format
    temporary.write_text(...)
"""

import errno
import io
import os
import secrets
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin
from torch import Tensor

from clipopt.io import folders
from clipopt.io.image import from_bytes
from clipopt.io.image import load_image as load_image  # reading and writing are known by one name
from clipopt.types import Images

TEMPORARY = ".*.tmp.*"
"""Glob pattern of what a killed process can leave behind beside a file; safe to delete."""


def cache_folder() -> Path:
    """Where clipopt keeps what it can make again: clipopt in XDG_CACHE_HOME, or in ~/.cache. It need not exist yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clipopt"


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Write a file so that, even when the process is killed, `path` holds the old content or the new.

    Yields the path of a hidden temporary file in the same folder, with the same suffix. Write to it
    and close it; it is then flushed to the disk and takes the name `path`. After an exception it is
    deleted and `path` stays as it was.

    Raises:
        FileNotFoundError: the folder of `path` does not exist.
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"cannot write {path}: there is no folder {path.parent}; create it first")
    temporary = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(4)}.tmp{path.suffix or '.'}")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())  # or a power cut could keep the new name and lose the data
        temporary.replace(path)
        folders.sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Write a UTF-8 text file atomically.

    Bytes of a file name that are no UTF-8 are written as Python and JSON escape them, so JSON reads as it was.
    """
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace", newline="\n")


def save(path: str | Path, images: Float[Tensor, "*b _ _ _"], *, text: Mapping[str, str] | None = None) -> None:
    """Write images in [0, 1] as one PNG or JPEG; several images make a grid.

    Args:
        path: ends in .png (lossless), .jpg or .jpeg.
        images: (3, h, w) or (b, 3, h, w); for a PNG also (4, h, w) with how opaque it is. What lies outside [0, 1] is
            clipped: 8 bits hold no more.
        text: entries to write into the file, for example the prompt (PNG only).

    Raises:
        ValueError: another suffix or number of channels, values that are not finite, or text for a JPEG.
    """
    path = Path(path)
    batch = images if images.ndim == 4 else images[None]
    if batch.shape[1] != 3 and not (batch.shape[:2] == (1, 4) and path.suffix.lower() == ".png"):
        raise ValueError(f"cannot write {path}: expected 3 channels, or 4 of one PNG, got {tuple(images.shape)}")
    with atomic(path) as temporary:
        match path.suffix.lower():
            case ".png":
                picture = _picture(batch[0] if len(batch) == 1 else sheet(batch)[0])
                entries = PngImagePlugin.PngInfo()
                for key, value in (text or {}).items():
                    entries.add_itxt(key, value)
                picture.save(temporary, pnginfo=entries)
            case ".jpg" | ".jpeg" if not text:
                temporary.write_bytes(jpeg(batch))
            case ".jpg" | ".jpeg":
                raise ValueError(f"cannot write text into {path}: use the suffix .png, or no text")
            case suffix:
                raise ValueError(f"cannot write {path}: expected the suffix .png or .jpg, got {suffix or 'none'}")


def jpeg(images: Images, *, longest: int | None = None) -> bytes:
    """Encode images in [0, 1] as a JPEG, several as a grid, shrunk if a side is longer than `longest` pixels."""
    picture = _picture(images[0] if len(images) == 1 else sheet(images)[0])
    if longest is not None:
        picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def sheet(
    images: Images, labels: Sequence[str] | None = None, *, columns: int | None = None, cell: int | None = None
) -> Images:
    """Arrange images in a grid on white, (b, 3, h, w) -> (1, 3, H, W), a caption under each.

    Args:
        images: in [0, 1].
        labels: one caption per image, wrapped to three lines at most; None for a grid without captions.
        columns: None for about as many as rows.
        cell: longest side of each picture in pixels; None to keep the pictures as they are.

    Raises:
        ValueError: no images, or another number of labels.
    """
    count = len(images)
    if count == 0:
        raise ValueError("expected one image or more for a contact sheet, got none")
    if labels is not None and len(labels) != count:
        raise ValueError(f"expected one label per image ({count}), got {len(labels)} labels")
    pictures = [_picture(image) for image in images]
    if cell is not None:
        scale = cell / max(pictures[0].size)
        size = (max(1, round(pictures[0].width * scale)), max(1, round(pictures[0].height * scale)))
        pictures = [picture.resize(size, Image.Resampling.LANCZOS) for picture in pictures]
    width, height = pictures[0].size
    columns = min(count, columns or round(count**0.5 + 0.49))
    rows = -(-count // columns)
    gap = 0 if count == 1 and labels is None else max(2, width // 40)
    font = ImageFont.load_default(size=max(11, min(22, width // 15)))
    lines = [_wrap(label, font, width) for label in labels or []]
    line = sum(font.getmetrics()) + 1 if isinstance(font, ImageFont.FreeTypeFont) else 12
    caption = max(map(len, lines), default=0) * line + (gap if lines else 0)
    page = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + caption + gap) + gap), "white")
    draw = ImageDraw.Draw(page)
    for i, picture in enumerate(pictures):
        left, top = gap + i % columns * (width + gap), gap + i // columns * (height + caption + gap)
        page.paste(picture, (left, top))
        for j, words in enumerate(lines[i] if lines else []):
            draw.text((left, top + height + gap // 2 + j * line), words, fill=(30, 30, 34), font=font)
    return from_bytes(np.array(page))[None]


def write_video(
    path: str | Path, frames: Iterable[Float[Tensor, "3 _ _"]], *, fps: float | int = 20, hold: float | int = 1
) -> None:
    """Write frames in [0, 1] as an MP4 that every player and browser shows (H.264, yuv420p).

    Odd sizes grow by one repeated row or column, which the format needs.

    Args:
        path: ends in .mp4.
        frames: all of one size; taken one at a time, so they need not fit in memory.
        fps: frames per second.
        hold: seconds for which the last frame stays.

    Raises:
        ValueError: no frames, or frames of several sizes.
        OSError: the disk is full, or ffmpeg was stopped by a signal.
        RuntimeError: ffmpeg is missing or failed.
    """
    import imageio_ffmpeg

    first, frames = _first(frames)
    height, width = first.shape[-2:]
    size = f"{width + width % 2}x{height + height % 2}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", f"{fps:.6f}", "-i", "-", "-an"]
    command += [
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-pix_fmt",
        "yuv420p",
        "-crf",
        "17",
        "-movflags",
        "+faststart",
        "-f",
        "mp4",
    ]
    with atomic(path) as temporary, tempfile.TemporaryFile() as said:
        # In a session of its own: Ctrl-C and the end of a terminal reach this process, which then decides.
        process = subprocess.Popen(
            [*command, f"file:{temporary}"], stdin=subprocess.PIPE, stderr=said, start_new_session=True
        )
        try:
            with process, cast(IO[bytes], process.stdin) as pipe:
                data = b""
                for frame in chain([first], frames):
                    _same_size(frame, first)
                    data = np.pad(_bytes(frame), ((0, height % 2), (0, width % 2), (0, 0)), mode="edge").tobytes()
                    pipe.write(data)
                for _ in range(round(hold * fps)):
                    pipe.write(data)
        except BrokenPipeError:
            pass  # ffmpeg ended before its time; it has said why
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.returncode != 0:
            said.seek(0)
            reason = " ".join(said.read().decode(errors="replace").split()) or f"exit status {process.returncode}"
            failed = f"ffmpeg could not write {path}: {reason}"
            if os.strerror(errno.ENOSPC) in reason:
                raise OSError(errno.ENOSPC, failed)
            if process.returncode < 0 or "received signal" in reason:
                raise InterruptedError(failed)
            raise RuntimeError(failed)


def write_gif(
    path: str | Path,
    frames: Iterable[Float[Tensor, "3 _ _"]],
    *,
    fps: float | int = 20,
    hold: float | int = 1,
    longest: int | None = None,
) -> None:
    """Write frames in [0, 1] as a GIF that repeats for ever.

    Args:
        path: ends in .gif.
        frames: all of one size.
        fps: frames per second; the format counts in hundredths of a second.
        hold: seconds for which the last frame stays.
        longest: frames with a longer side are shrunk to this many pixels; None to keep them.

    Raises:
        ValueError: no frames, or frames of several sizes.
    """
    first, frames = _first(frames)
    pictures = []
    for frame in chain([first], frames):
        _same_size(frame, first)
        picture = _picture(frame)
        if longest is not None:
            picture.thumbnail((longest, longest), Image.Resampling.LANCZOS)
        pictures.append(picture.quantize(256, method=Image.Quantize.FASTOCTREE))  # 40 times faster than median cut
    durations = [round(1000 / fps)] * (len(pictures) - 1) + [round(1000 * max(hold, 1 / fps))]
    with atomic(path) as temporary:
        pictures[0].save(
            temporary, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, disposal=1
        )


def _bytes(image: Float[Tensor, "_ _ _"]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """(channels, h, w) in [0, 1] -> (h, w, channels) of bytes."""
    if not torch.isfinite(image.sum(dtype=torch.float32)):  # the sum keeps them, at a twentieth of the cost
        raise ValueError("expected finite image values in [0, 1], got NaN or infinity: the picture is not written")
    return (image.detach().float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().cpu().numpy()


def _picture(image: Float[Tensor, "_ _ _"]) -> Image.Image:
    return Image.fromarray(_bytes(image))


def _first(frames: Iterable[Tensor]) -> tuple[Tensor, Iterator[Tensor]]:
    iterator = iter(frames)
    try:
        return next(iterator), iterator
    except StopIteration:
        raise ValueError("expected one frame or more, got none: nothing is written") from None


def _same_size(frame: Tensor, first: Tensor) -> None:
    if frame.shape != first.shape:
        raise ValueError(f"expected frames of one size, got {tuple(first.shape)} first and then {tuple(frame.shape)}")


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, most: int = 3) -> list[str]:
    """Break a caption into lines that fit; what is too long ends in an ellipsis."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    for i, line in enumerate(lines):
        if font.getlength(line) > width:
            while line and font.getlength(line + "…") > width:
                line = line[:-1]
            lines[i] = line.rstrip() + "…"
    return lines
