"""Five hundred hostile files: each is read or refused in one line, in bounded time and memory.

One alone: `pytest -m "" -n 0 "tests/campaigns/test_hostile_files.py::test_read_or_refused_in_one_line[123]"`.
"""

import io
import random
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import imageio_ffmpeg
from campaigns.kit import quick
from campaigns.room import Room, cases, chance
from campaigns.spoil import BIG, png, spoil, spoil_file
from PIL import Image

EYES = ["--scorer", "scorer.safetensors"]
MODES = (
    "1",
    "L",
    "LA",
    "La",
    "P",
    "PA",
    "RGB",
    "RGBA",
    "RGBa",
    "RGBX",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "I;16",
    "F",
)
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "ICO", "TGA", "PCX", "DDS", "SGI", "IM",
"MSP",
           "SPIDER", "EPS", "PDF", "ICNS", "QOI", "AVIF")  # fmt: skip
FOREIGN = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop\n", b"%PDF-1.4\n",
    b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    b"", b"\0" * 64, b"GIF89a", b"RIFF\xff\xff\xff\xffWEBPVP8X", b"BM" + b"\xff" * 60, b"P6 99999 99999 255 ",
    b"P5 1 1 1 ",
    b"Pf 2 2 -1.0 " + struct.pack("<4f", float("nan"), 1e38, -1, 0), b"II*\0\x08\0\0\0\xff\xff", b"8BPS\0\1", b"<html>",
    b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", b"\x89HDF\r\n\x1a\n",
    b"PK\x05\x06" + b"\0" * 18,
)  # fmt: skip


@cases(500, quick=6)
def test_read_or_refused_in_one_line(number: int, room: Room) -> None:
    rng, folder = chance("hostile file", number), room.clean()
    kind = KINDS[number % len(KINDS)]
    room.judge(kind(rng, folder), limit=20)


def _picture(rng: random.Random, folder: Path) -> list[str]:
    """A picture with a fault, alone or among others, where pictures are read."""
    name = rng.choice(("photo.png", "photos/apple/1.png", "photos/tree/2.webp"))
    path = folder / name
    path.write_bytes(rng.choice((_exotic, _giant, _foreign, _spoilt))(rng, path))
    named = name if name == "photo.png" else "photos"
    init = rng.choice((["--init", name], ["--image-prompt", name], ["--edges", name], ["--init", "photos/apple/2.jpg",
    "--mask", name],
                       ["--region", name, "a tree"]))  # fmt: skip
    return rng.choice((
        [*quick("image"), *init], [*quick("latent"), "--init", name], [*quick("story"), "--init", name],
        ["caption", named, *EYES, "--texts", "texts.txt"], ["rank", named, *EYES, "--texts", "texts.txt"],
        ["classify", named, *EYES, "--labels", "apple,tree"], [*quick("index"), "--out", "new.index"],
        ["search", "photos.index", "photo.png"], quick("score"), [*quick("adapt"), "--out", "new.adapter"],
    ))  # fmt: skip


def _exotic(rng: random.Random, path: Path) -> bytes:
    """Another mode and another format than usual, perhaps not those of the suffix."""
    made = io.BytesIO()
    picture = Image.open(path).convert("RGB").convert("L")
    for _ in range(20):
        try:
            other = picture.convert(rng.choice(MODES))
            more = {"save_all": True, "append_images": [other] * 3} if rng.random() < 0.2 else {}
            other.save(made, rng.choice(FORMATS), **more)
            break
        except (ValueError, OSError, KeyError, TypeError):
            made = io.BytesIO()
    return made.getvalue()


def _giant(rng: random.Random, path: Path) -> bytes:
    """More pixels than it has bytes, or than anybody has memory."""
    width, height = rng.choice(
        ((16000, 1), (1, 16000), (40000, 40000), (0, 5), (2**31 - 1, 2), (9000, 9000), (300000, 1))
    )
    depth, colour = rng.choice(((8, 2), (16, 6), (1, 0), (8, 3), (16, 0), (3, 9)))
    row = 1 + width * depth * {2: 3, 6: 4}.get(colour, 1) // 8
    body = (
        zlib.compress(b"\0" * min(row * height, 400_000_000)) if width * height < 10**8 else zlib.compress(b"\0" * 99)
    )
    return png(width, height, depth, colour, rng.choice((body, body[: len(body) // 2], b"")))


def _foreign(rng: random.Random, path: Path) -> bytes:
    return rng.choice(FOREIGN)


def _spoilt(rng: random.Random, path: Path) -> bytes:
    return spoil(path.read_bytes(), rng)


def _mesh(rng: random.Random, folder: Path) -> list[str]:
    """A mesh with a fault, to deform or to style."""
    path = folder / f"mesh.{rng.choice(('glb', 'glb', 'obj', 'obj', 'ply', 'stl', '3mf'))}"
    match rng.randrange(6):
        case 0:
            path.write_bytes((folder / f"mesh.{rng.choice(('glb', 'obj', 'ply', 'stl'))}").read_bytes())
        case 1:
            path.write_bytes(rng.choice((*FOREIGN, b"f 1 2 3\n", b"v 0 0 0\n" * 9 + b"f 1 1 1\n",
            b"mtllib ../../secret.txt\n",
                                         b"solid\nendsolid\n", b"\0" * 80 + struct.pack("<I",
                                         rng.choice(BIG)))))  # fmt: skip
        case _:
            spoil_file(path, rng)
    more = rng.choice(([], ["--mode", "style"], ["--look", "texture"], ["--look", "vertex"], ["--shape", "vertices"]))
    return ["mesh", "a red apple", *EYES, "--judge", "none", "--mesh", path.name, "--steps", "1", "--views", "1",
    "--size",
            "16", *more]  # fmt: skip


def _rig(rng: random.Random, folder: Path) -> list[str]:
    path = folder / f"rig.{rng.choice(('bvh', 'glb'))}"
    spoil_file(path, rng) if rng.random() < 0.9 else path.write_bytes(rng.choice(FOREIGN))
    return [*quick("motion"), "--rig", path.name]


def _words(rng: random.Random, folder: Path) -> list[str]:
    """Captions, labels and timelines."""
    name, line = rng.choice((
        ("captions.json", quick("score")), ("references.json", [*quick("score"), "--references", "references.json"]),
        ("texts.txt", quick("rank")), ("texts.txt", quick("caption")), ("texts.txt", ["index", "texts.txt", *EYES]),
        ("texts.txt", ["caption", "photo.png", *EYES, "--corpus", "texts.txt"]),
        ("slots.json", ["caption", "photo.png", *EYES, "--template", "a {colour} {thing}", "--slots", "slots.json"]),
        ("labels.txt", ["classify", "photos", *EYES, "--labels-file", "labels.txt"]),
        ("labels.txt", ["classify", "photos", *EYES, "--labels", "apple,tree", "--templates", "labels.txt"]),
        ("data.csv", ["adapt", "data.csv", *EYES, "--shots", "1"]),
        ("timeline.json", ["story", *quick("story")[3:], "--timeline", "timeline.json"]),
        ("timeline.txt", ["story", *quick("story")[3:], "--timeline", "timeline.txt"]),
    ))  # fmt: skip
    spoil_file(folder / name, rng) if rng.random() < 0.9 else (folder / name).write_bytes(rng.choice(FOREIGN))
    return list(line)


def _film(rng: random.Random, folder: Path) -> list[str]:
    """A film, a sound or an animation where pictures and sounds are read."""
    path = folder / "photos" / rng.choice(("apple/film.mp4", "apple/film.gif", "apple/film.png", "tree/sound.wav"))
    codec = {".wav": ["-f", "lavfi", "-i", "sine=duration=0.1"]}.get(
        path.suffix, ["-f", "lavfi", "-i", "testsrc=size=16x16:duration=0.2"]
    )
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        *codec,
        *(["-update", "1"] if path.suffix == ".png" else []),
    ]
    subprocess.run([*command, path], check=True)
    path.write_bytes(spoil(path.read_bytes(), rng))
    return rng.choice((["caption", f"photos/{path.parent.name}/{path.name}", *EYES, "--texts", "texts.txt"],
                       [*quick("index"), "--out", "new.index"], [*quick("image"), "--init",
                       str(path.relative_to(folder))],
                       ["classify", "photos", *EYES, "--labels", "apple,tree"]))  # fmt: skip


def _generator(rng: random.Random, folder: Path) -> list[str]:
    return _model(rng, folder, "pipeline", quick("latent"))


def _scorer(rng: random.Random, folder: Path) -> list[str]:
    name = rng.choice(("clip", "clip", "scorer.safetensors", "film-scorer.safetensors", "head.pth", "photos.adapter"))
    if name == "film-scorer.safetensors":
        return _model(rng, folder, name, quick("motion"))
    if name == "head.pth":
        return _model(rng, folder, name, [*quick("image"), "--aesthetic", name])
    classify = ["classify", "photos", "--scorer", name]
    return _model(
        rng, folder, name, rng.choice(([*classify, "--labels", "apple,tree"], [*quick("index")[:2], "--scorer", name]))
    )


def _model(rng: random.Random, folder: Path, name: str, line: list[str]) -> list[str]:
    """One file of a model spoilt, lost, or exchanged for another."""
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file()) or [folder / name]
    path = rng.choice(files)
    match rng.randrange(8):
        case 0:
            path.unlink()
        case 1:
            path.write_bytes(rng.choice(files).read_bytes())
        case _:
            spoil_file(path, rng)
    return line


KINDS: tuple[Callable[[random.Random, Path], list[str]], ...] = (
    _picture, _mesh, _rig, _picture, _words, _mesh, _scorer, _generator, _film, _picture,
)  # fmt: skip
