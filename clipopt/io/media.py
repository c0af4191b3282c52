"""Sounds and films: read through ffmpeg, whatever their format; sounds are written as WAV.

wave = load_sound("rain.mp3", rate=48000)         # (samples,) in [-1, 1], mono
save_sound("rain.wav", wave, rate=48000)
frames = load_film("run.mp4", count=8)            # (8, 3, h, w) in [0, 1], evenly spaced
"""

import re
import subprocess
import wave as wav
from collections.abc import Iterator
from pathlib import Path
from typing import IO, cast

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.io.files import atomic
from clipopt.io.image import MOST_PIXELS

_FORMATS = (
    "wav", "w64", "mp3", "flac", "ogg", "mov", "mp4", "m4a", "aac", "aiff", "caf", "amr", "matroska", "webm", "avi",
    "asf", "mpeg", "mpegts", "mpegvideo", "h264", "hevc", "flv", "gif", "wv", "ac3", "eac3", "au",
)  # fmt: skip
_MOST = 2**30


def load_sound(path: str | Path, *, rate: int) -> Float[Tensor, " samples"]:
    """Read a sound as mono in [-1, 1] at `rate` samples per second.

    Raises:
        ValueError: the file is missing, or holds no sound that ffmpeg can read.
    """
    read = ["-vn", "-ac", "1", "-ar", str(rate), "-f", "f32le", "-"]
    samples = b"".join(_read(path, read, "a sound (WAV, MP3, FLAC, ...)", 2**16))
    return torch.frombuffer(bytearray(samples), dtype=torch.float32)


def save_sound(path: str | Path, wave: Float[Tensor, " samples"], *, rate: int) -> None:
    """Write a sound in [-1, 1] as a mono WAV of 16 bits; what lies outside is clipped.

    Raises:
        ValueError: another suffix, or samples that are not finite.
    """
    path = Path(path)
    if path.suffix.lower() != ".wav":
        raise ValueError(f"cannot write {path}: expected the suffix .wav")
    if not torch.isfinite(wave).all():
        raise ValueError("expected finite samples in [-1, 1], got NaN or infinity: the sound is not written")
    samples = (wave.detach().float().cpu().clamp(-1, 1) * 32767).round().short().numpy()
    with atomic(path) as temporary, wav.open(str(temporary), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def load_film(path: str | Path, *, count: int) -> Float[Tensor, "frames 3 _ _"]:
    """Read `count` frames of a film in [0, 1], evenly spaced; a shorter film repeats some.

    The film is decoded twice, first to count its frames, so that its length takes no memory.

    Raises:
        ValueError: the file is missing, or holds no film that ffmpeg can read.
    """
    what = "a film (MP4, GIF, WebM, ...)"
    total = sum(1 for _ in _read(path, ["-an", "-vf", "scale=1:1", "-f", "rawvideo", "-pix_fmt", "gray", "-"], what, 1))
    chosen = [min(total - 1, int((i + 0.5) * total / count)) for i in range(count)]
    wanted = "+".join(f"eq(n\\,{number})" for number in dict.fromkeys(chosen))
    read = ["-an", "-vf", f"select={wanted}", "-fps_mode", "passthrough", "-f", "image2pipe", "-c:v", "ppm", "-"]
    raw = b"".join(_read(path, read, what, 2**16))
    head = re.match(rb"P6\n(\d+) (\d+)\n255\n", raw)  # the same before every frame
    if head is None:
        raise ValueError(f"cannot read {path}: expected {what}, got another kind of file")
    width, height = int(head[1]), int(head[2])
    pixels = torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(-1, head.end() + 3 * width * height)
    frames = pixels[:, head.end() :].view(-1, height, width, 3).permute(0, 3, 1, 2).float().div_(255)
    places = {number: place for place, number in enumerate(dict.fromkeys(chosen))}
    return frames[[min(places[number], len(frames) - 1) for number in chosen]]


def _read(path: str | Path, options: list[str], what: str, size: int) -> Iterator[bytes]:
    """What ffmpeg makes of a file, in pieces of `size` bytes.

    Raises:
        ValueError: the file is missing, ffmpeg cannot read it, or it is too long.
    """
    import imageio_ffmpeg

    path = Path(path)
    if not path.is_file():
        got = "a folder" if path.is_dir() else "a pipe or device" if path.exists() else "no such file"
        raise ValueError(f"cannot read {path}: expected {what}, got {got}")
    # The prefix: or "a:b.mp3" would be read by a protocol named a. No playlist may lead to other files or hosts.
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-format_whitelist", ",".join(_FORMATS)]
    command += ["-max_pixels", str(MOST_PIXELS), "-i", f"file:{path}", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        done = 0
        while piece := cast(IO[bytes], process.stdout).read(size):
            done += len(piece)
            if done > _MOST:
                process.kill()
                raise ValueError(f"cannot read {path}: it would take more than {_MOST >> 20} MB of memory: shorten it")
            yield piece
    if process.returncode or not done:
        raise ValueError(f"cannot read {path}: expected {what}, got another kind of file, or one that is damaged")
