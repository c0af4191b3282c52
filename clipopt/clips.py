"""Sounds and films: read through ffmpeg, whatever their format; sounds are written as WAV.

wave = load_sound("rain.mp3", rate=48000)         # (samples,) in [-1, 1], mono
save_sound("rain.wav", wave, rate=48000)
frames = load_film("run.mp4", count=8)            # (8, 3, h, w) in [0, 1], evenly spaced
"""

import re
import subprocess
import wave as wav
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.files import atomic


def load_sound(path: str | Path, *, rate: int) -> Float[Tensor, " samples"]:
    """Read a sound as mono in [-1, 1] at `rate` samples per second.

    Raises:
        ValueError: the file is missing, or holds no sound that ffmpeg can read.
    """
    import imageio_ffmpeg

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"cannot read {path}: expected a sound (WAV, MP3, FLAC, ...), got no such file")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-i", str(path), "-vn"]
    command += ["-ac", "1", "-ar", str(rate), "-f", "f32le", "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode or not done.stdout:
        raise ValueError(f"cannot read {path}: expected a sound (WAV, MP3, FLAC, ...), got another kind of file")
    return torch.frombuffer(bytearray(done.stdout), dtype=torch.float32)


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

    Raises:
        ValueError: the file is missing, or holds no film that ffmpeg can read.
    """
    import imageio_ffmpeg

    path = Path(path)
    if not path.is_file():
        raise ValueError(f"cannot read {path}: expected a film (MP4, GIF, WebM, ...), got no such file")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin", "-i", str(path), "-an"]
    done = subprocess.run([*command, "-f", "image2pipe", "-c:v", "ppm", "-"], capture_output=True, check=False)
    head = re.match(rb"P6\n(\d+) (\d+)\n255\n", done.stdout)  # the same before every frame
    if done.returncode or head is None:
        raise ValueError(f"cannot read {path}: expected a film (MP4, GIF, WebM, ...), got another kind of file")
    width, height = int(head[1]), int(head[2])
    size = head.end() + 3 * width * height
    raw = [done.stdout[start + head.end() : start + size] for start in range(0, len(done.stdout), size)]
    chosen = [raw[min(len(raw) - 1, int((i + 0.5) * len(raw) / count))] for i in range(count)]
    pixels = torch.stack([torch.frombuffer(bytearray(frame), dtype=torch.uint8) for frame in chosen])
    return pixels.view(count, height, width, 3).permute(0, 3, 1, 2).float() / 255
