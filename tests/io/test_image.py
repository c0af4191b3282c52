"""Hostile and unusual pictures, generated: each is read as it is meant, or refused in one line that names it."""

import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from clipopt.io import image as decode
from clipopt.io.image import decode_image, load_image
from clipopt.types import generator

RED, HIDDEN = (200, 30, 60), (10, 20, 250)
RAMP = np.linspace(0, 1, 60).reshape(6, 10)


def png(width: int, height: int, *, depth: int = 8, color: int = 2, raw: bytes = b"", chunks: bytes = b"") -> bytes:
    """A PNG byte by byte: what no library would write."""
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunks + _chunk(b"IDAT", zlib.compress(raw, 9)) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def tiff(values: np.ndarray, *, photometric: int = 1, form: int | None = None, tile: int = 0) -> bytes:
    """An uncompressed TIFF of greys, or of colours where there is a third axis."""
    form = form or {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    height, width, *rest = values.shape
    channels = rest[0] if rest else 1
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8 * values.itemsize), (259, 3, 1, 1),
        (262, 3, 1, photometric), (273, 4, 1, 8), (277, 3, 1, channels), (278, 4, 1, height),
        (279, 4, 1, values.nbytes), (339, 3, 1, form),
    ]  # fmt: skip
    if tile:
        entries[5:8:2] = [(322, 4, 1, tile), (323, 4, 1, tile)]
        entries.append((324, 4, 1, 8))
        entries.sort()
    data = values.astype(values.dtype.newbyteorder("<")).tobytes()
    data += b"\0" * (len(data) % 2)
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + directory + struct.pack("<I", 0)


def encoded(picture: Image.Image, form: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def read(folder: Path, data: bytes, name: str = "a.png", **options: object) -> torch.Tensor:
    (folder / name).write_bytes(data)
    return load_image(folder / name, **options)[0]


def grey(folder: Path, data: bytes, **options: object) -> np.ndarray:
    image = read(folder, data, **options)
    assert torch.equal(image[0], image[1])
    assert torch.equal(image[0], image[2])
    return image[0].numpy()


NUMBERS = {
    "float, 0 to 1": tiff(RAMP.astype(np.float32)),
    "float, 0 to 255": tiff((255 * RAMP).astype(np.float32)),
    "float, 0 to 65535": tiff((65535 * RAMP).astype(np.float32)),
    "16 bits": tiff((65535 * RAMP).round().astype(np.uint16)),
    "16 bits, white is zero": tiff((65535 * (1 - RAMP)).round().astype(np.uint16), photometric=0),
    "8 bits, white is zero": tiff((255 * (1 - RAMP)).round().astype(np.uint8), photometric=0),
    "signed 16 bits, 0 to 255": tiff((255 * RAMP).round().astype(np.int16)),
    "32 bits, 0 to 65535": tiff((65535 * RAMP).round().astype(np.uint32)),
    "PNG of 16 bits": encoded(Image.fromarray((65535 * RAMP).round().astype(np.uint16)), "PNG"),
    "PGM of 10 bits": b"P5\n10 6\n1023\n" + (1023 * RAMP).round().astype(">u2").tobytes(),
    "PGM of 16 bits": b"P5\n10 6\n65535\n" + (65535 * RAMP).round().astype(">u2").tobytes(),
    "PGM as text": ("P2\n10 6\n255\n" + " ".join(str(round(255 * v)) for v in RAMP.flat)).encode(),
    "PFM": b"Pf\n10 6\n-1.0\n" + RAMP[::-1].astype("<f4").tobytes(),
    "PNG of 16 bits and alpha": png(
        10, 6, depth=16, color=4, raw=b"".join(
            b"\0" + np.stack([(65535 * row).round(), np.full(10, 65535)], 1).astype(">u2").tobytes() for row in RAMP
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", NUMBERS)
def test_greys_are_as_bright_as_they_are_meant(tmp_path, kind):
    assert np.abs(grey(tmp_path, NUMBERS[kind]) - RAMP).max() < 1.01 / 255


def test_greys_of_many_bits_keep_them(tmp_path):
    values = (65535 * RAMP).round()
    assert np.abs(grey(tmp_path, NUMBERS["16 bits"]) - values / 65535).max() < 1e-6
    assert np.abs(grey(tmp_path, NUMBERS["float, 0 to 1"]) - RAMP).max() < 1e-6
    overshoot = np.array([[-0.05, 0.5, 1.08]], np.float32)
    assert grey(tmp_path, tiff(overshoot)).flatten().tolist() == [0, 0.5, 1]


@pytest.mark.parametrize(
    ("low", "high"), [(-1, 1), (-300, 2500), (0, 3), (0, 900), (0, 1e7), (0, float("inf")), (0, float("nan"))]
)
def test_numbers_that_mean_no_grey_are_refused(tmp_path, low, high):
    with pytest.raises(ValueError, match=r"a\.png: expected numbers in 0 to 1, 0 to 255 or 0 to 65535, got") as caught:
        read(tmp_path, tiff(np.array([[low, high]], np.float32)))
    assert "\n" not in str(caught.value)


def test_colours_of_16_bits_keep_their_high_byte(tmp_path):
    values = torch.randint(0, 65536, (5, 7, 3), generator=generator(3)).numpy().astype(">u2")
    raw = b"".join(b"\0" + row.tobytes() for row in values)
    ppm = b"P6\n7 5\n65535\n" + values.tobytes()
    for data in (png(7, 5, depth=16, raw=raw), ppm, tiff(values.astype("<u2"), photometric=2)):
        image = read(tmp_path, data).permute(1, 2, 0).numpy()
        assert np.abs(image - values / 65535).max() < 1.01 / 255


def test_colours_of_every_mode_are_right(tmp_path):
    plain = Image.new("RGB", (8, 6), RED)
    kinds = {
        "BMP": encoded(plain, "BMP"), "PPM": encoded(plain, "PPM"), "GIF": encoded(plain, "GIF"),
        "palette": encoded(plain.quantize(4), "PNG"), "CMYK": encoded(plain.convert("CMYK"), "TIFF"),
        "CMYK JPEG": encoded(plain.convert("CMYK"), "JPEG", quality=100),
        "WebP": encoded(plain, "WEBP", lossless=True), "YCbCr": encoded(plain.convert("YCbCr"), "TIFF"),
        "JPEG 2000": encoded(plain, "JPEG2000"), "progressive": encoded(plain, "JPEG", quality=100, progressive=True),
        "LZW": encoded(plain, "TIFF", compression="tiff_lzw"), "opaque": encoded(plain.convert("RGBA"), "PNG"),
        "1 bit": encoded(Image.new("1", (8, 6), 1), "PNG"),
    }  # fmt: skip
    for kind, data in kinds.items():
        image = read(tmp_path, data, "no suffix")
        assert image.shape == (3, 6, 8), kind
        expected = torch.ones(3) if kind == "1 bit" else torch.tensor(RED) / 255
        assert (image - expected.view(3, 1, 1)).abs().max() < 4 / 255, kind


@pytest.mark.parametrize("alpha", ["white", "black", "drop"])
def test_transparency_lies_on_white_or_black_or_is_dropped(tmp_path, alpha):
    clear = Image.new("RGBA", (4, 2), (*HIDDEN, 0))
    clear.paste((*RED, 255), (0, 0, 2, 2))
    half = Image.new("RGBA", (4, 2), (*HIDDEN, 128))
    palette = Image.new("P", (4, 2), 1)
    palette.putpalette([*RED, *HIDDEN])
    palette.paste(0, (0, 0, 2, 2))
    under = {"white": (255, 255, 255), "black": (0, 0, 0), "drop": HIDDEN}[alpha]
    for data in (
        encoded(clear, "PNG"),
        encoded(clear, "WEBP", lossless=True, exact=True),
        encoded(clear, "TIFF"),
        encoded(palette, "PNG", transparency=1),
        encoded(palette, "PNG", transparency=b"\xff\x00"),
        encoded(clear.convert("RGB"), "PNG", transparency=HIDDEN),
    ):
        image = (read(tmp_path, data, alpha=alpha) * 255).round()
        assert image[:, 0, 0].tolist() == list(RED)
        assert image[:, 0, 3].tolist() == list(under)
    mixed = [h if alpha == "drop" else (h * 128 + u * 127) / 255 for h, u in zip(HIDDEN, under, strict=True)]
    assert (read(tmp_path, encoded(half, "PNG"), alpha=alpha)[:, 0, 0] * 255).tolist() == pytest.approx(mixed, abs=1)
    grey_alpha = Image.new("LA", (1, 1), (77, 0))
    seen = {"white": 1, "black": 0, "drop": 77 / 255}[alpha]
    assert grey(tmp_path, encoded(grey_alpha, "PNG"), alpha=alpha).item() == pytest.approx(seen)
    row = b"\0" + np.array([1000, 40000], ">u2").tobytes()
    keyed = png(2, 1, depth=16, color=0, raw=row, chunks=_chunk(b"tRNS", struct.pack(">H", 1000)))
    seen = {"white": 1, "black": 0, "drop": 1000 / 65535}[alpha]
    assert grey(tmp_path, keyed, alpha=alpha).flatten().tolist() == pytest.approx([seen, 40000 / 65535], abs=1e-4)


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("turn", range(1, 9))
def test_pictures_stand_upright(tmp_path, form, turn):
    upright = Image.new("RGB", (32, 16), "black")
    upright.paste("white", (0, 0, 8, 8))
    transpose = Image.Transpose
    stored = {  # the inverse of what the entry asks for
        2: transpose.FLIP_LEFT_RIGHT, 3: transpose.ROTATE_180, 4: transpose.FLIP_TOP_BOTTOM, 5: transpose.TRANSPOSE,
        6: transpose.ROTATE_90, 7: transpose.TRANSVERSE, 8: transpose.ROTATE_270,
    }.get(turn)  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = turn
    picture = upright if stored is None else upright.transpose(stored)
    image = read(tmp_path, encoded(picture, form, exif=exif, quality=95), "a.tif")
    assert image.shape == (3, 16, 32)
    assert image[:, :8, :8].min() > 0.9
    assert image[:, 9:].max() < 0.1


def test_a_damaged_exif_entry_costs_no_picture(tmp_path):
    data = encoded(Image.new("RGB", (8, 6), RED), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff garbage")
    assert read(tmp_path, data, "a.jpg").shape == (3, 6, 8)


def bad_files() -> dict[str, bytes]:
    """What no reader should be asked to run, or cannot finish."""
    noise = Image.effect_noise((64, 64), 80).convert("RGB")
    whole, photo = encoded(noise, "PNG"), encoded(noise, "JPEG")
    cut = {f"cut {kind} {part}": data[: len(data) // part] for kind, data in (("PNG", whole), ("JPEG", photo))
           for part in (2, 5)}  # fmt: skip
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    text = _chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(80_000_000), 9))
    return {
        **cut,
        "empty": b"",
        "one byte": b"\x89",
        "a flipped byte": bytes(flipped),
        "signature alone": b"\x89PNG\r\n\x1a\n",
        "text": b"hello",
        "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop\n",
        "WMF": b"\xd7\xcd\xc6\x9a\0\0" + bytes(60),
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>",
        "HTML": b"<!DOCTYPE html><html></html>",
        "PDF": b"%PDF-1.4\n1 0 obj\n",
        "a zip": b"PK\x03\x04" + bytes(40),
        "no width": png(0, 5),
        "no pixels": png(5, 5),
        "a bomb of text": png(2, 2, raw=bytes(14), chunks=text),
        "a bomb": png(9000, 9000, depth=1, color=0, raw=bytes(1126 * 9000)),
        "a bomb past Pillow's own limit": png(40000, 40000, depth=1, color=0, raw=bytes(9)),
        "a bomb of one column": png(1, 70_000, color=0, raw=bytes(140_000)),
        "a GIF that claims much": b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0, 0, 0) + b"\x3b",
        "a BMP that claims much": b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 30000, 30000, 1, 24,
                                                      *[0] * 6),
        "a PGM that claims much": b"P5\n60000 60000\n255\n",
        "a PGM that is cut": b"P5\n60 60\n255\nabc",
        "a TIFF that is a bomb of a tile": tiff(np.zeros((4, 4), np.uint8), tile=40_000),
        "a TIFF of float colours": tiff(np.zeros((4, 4, 3), np.float32), photometric=2),
        **{f"a TIFF of {kind} that is cut": encoded(noise, "TIFF", compression=kind)[:-300]
           for kind in ("tiff_lzw", "tiff_deflate", "packbits")},
        "a TIFF of many channels": encoded(noise, "TIFF").replace(struct.pack("<HHIH", 277, 3, 1, 3),
                                                                  struct.pack("<HHIH", 277, 3, 1, 300)),
        "a TIFF with a loop": struct.pack("<2sHIHI", b"II", 42, 8, 0, 8),
        "a TIFF with no entries": struct.pack("<2sHI", b"II", 42, 4000),
        "a WebP that is cut": encoded(Image.new("RGB", (64, 64)), "WEBP")[:20],
        "an AVIF that is cut": b"\0\0\0\x20ftypavif" + bytes(20),
        "JPEG markers alone": b"\xff\xd8\xff\xe0\x00\x10JFIF\0" + bytes(9) + b"\xff\xd9",
    }  # fmt: skip


BAD = bad_files()


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_read_is_refused_in_one_line(tmp_path, kind, monkeypatch, capfd):
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a program was started"))
    path = tmp_path / "a.png"
    path.write_bytes(BAD[kind])
    with pytest.raises(ValueError, match="expected") as caught:
        load_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not capfd.readouterr().err, "a library has printed"
    if "bomb" in kind and "text" not in kind:
        assert "million pixels" in str(caught.value)


def test_folders_pipes_and_devices_are_not_opened(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "link.png").symlink_to(tmp_path / "link.png")
    for path, got in ((tmp_path / "pipe.png", "a pipe"), (tmp_path / "folder.png", "a folder"),
                      (tmp_path / "link.png", "no such file"), (Path("/dev/zero"), "a pipe or device")):  # fmt: skip
        with pytest.raises(ValueError, match=got):
            load_image(path)


def test_most_pixels_are_kept_by_a_whole_number(tmp_path):
    noise = Image.effect_noise((301, 200), 60)
    soft = noise.resize((30, 20)).resize((301, 200)).convert("RGB")
    whole = read(tmp_path, encoded(soft, "PNG"))
    for form in ("PNG", "JPEG"):
        small = read(tmp_path, encoded(soft, form), most=301 * 200 // 4)
        assert small.shape == (3, 100, 151)
        halves = torch.nn.functional.avg_pool2d(whole, 2, ceil_mode=True)
        assert (small - halves)[:, 1:-1, 1:-1].abs().max() < 0.03
    assert read(tmp_path, encoded(soft, "PNG"), most=301 * 200).shape == (3, 200, 301)
    greys = (65535 * RAMP).round().astype(np.uint16)
    assert grey(tmp_path, tiff(greys), most=20).shape == (3, 5)
    assert read(tmp_path, encoded(soft.quantize(8), "PNG"), most=20_000).shape == (3, 100, 151)


def test_a_jpeg_past_every_limit_is_read_small_where_it_is_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 3000)
    monkeypatch.setattr(decode, "MOST_PIXELS", 4000)
    monkeypatch.setattr(decode, "_JPEGS", 16000)
    soft = Image.new("RGB", (120, 100), RED)
    small = read(tmp_path, encoded(soft, "JPEG", quality=95), most=1000)
    assert small.shape == (3, 25, 30)
    assert torch.equal(decode_image(encoded(soft, "JPEG", quality=95), most=1000)[0], small)
    assert (small[:, 5, 5] * 255 - torch.tensor(RED)).abs().max() < 4
    for data, most in ((encoded(soft, "JPEG"), None), (encoded(soft, "JPEG", progressive=True), 1000),
                       (encoded(soft, "PNG"), 1000)):  # fmt: skip
        with pytest.raises(ValueError, match="million pixels"):
            read(tmp_path, data, most=most)


def test_a_large_picture_that_is_looked_at_takes_little_memory(tmp_path):
    (tmp_path / "large.png").write_bytes(png(8000, 8000, depth=8, color=0, raw=bytes(8001 * 8000)))
    code = (
        "import resource, sys; from clipopt.io.image import LOOKED_AT, load_image;"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "load_image(sys.argv[1], most=LOOKED_AT);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path / "large.png"], capture_output=True, check=True)
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stdout) * unit < 800e6


def test_bytes_are_read_as_files_are(tmp_path):
    data = encoded(Image.linear_gradient("L").convert("RGB"), "PNG")
    assert torch.equal(decode_image(data)[0], read(tmp_path, data))
    for wrong in (b"", b"%!PS-Adobe-3.0 EPSF-3.0\n", data[:200]):
        with pytest.raises(ValueError, match=r"^expected a picture file"):
            decode_image(wrong)
