"""Ways to spoil files."""

import io
import json
import random
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBERS = (0, -1, 1, 0.5, 255, 65536, 2**31, 2**63, 10**30, -(2**40), 1e308, float("nan"), float("inf"), -float("inf"))
VALUES = (
    *NUMBERS,
    None,
    True,
    "",
    "x",
    "a" * 5000,
    "../../outside/photo.png",
    "\x1b[31m",
    "\ud800",
    [],
    {},
    [[]],
    {"a": {}},
)
BIG = (0, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def spoil(data: bytes, rng: random.Random) -> bytes:
    """One to three kinds of damage that know nothing of formats."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        at, length = rng.randrange(len(data) + 1), rng.choice((1, 4, 64, 1024))
        match rng.randrange(8):
            case 0 | 1:
                data = data[:at]
            case 2 | 3 | 4:
                noisy = bytearray(data)
                early = rng.choice((len(data), min(len(data), 256)))
                for _ in range(rng.choice((1, 3, 30)) if early else 0):
                    noisy[rng.randrange(early)] = rng.randrange(256)
                data = bytes(noisy)
            case 5:
                data = data[:at] + rng.randbytes(length) + data[at:]
            case 6:
                data = data[:at] + struct.pack(rng.choice("<>") + "I", rng.choice(BIG)) + data[at + 4 :]
            case 7:
                data = data[:at] + data[at : at + length] * 3 + data[at + length :]
    return data


def spoil_text(text: str, rng: random.Random) -> bytes:
    """Numbers, words and lines of a text exchanged, lost, doubled or absurd."""
    lines = text.split("\n")
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(lines))
        words = lines[at].split(" ")
        place = rng.randrange(len(words))
        match rng.randrange(8):
            case 0:
                del lines[at : at + rng.choice((1, 1, 5))]
                lines = lines or [""]
                continue
            case 1:
                lines.insert(at, lines[rng.randrange(len(lines))])
                continue
            case 2:
                other = rng.randrange(len(lines))
                lines[at], lines[other] = lines[other], lines[at]
                continue
            case 3:
                del words[place]
            case 4:
                words[place] = rng.choice(
                    ("nan", "inf", "-1", "0", "1e400", "9" * 400, "x", "", "\ud7ff", "-", "1e-50")
                )
            case 5:
                words.insert(place, rng.choice(words))
            case 6:
                words[place] = re.sub(r"\d+", lambda found: str(rng.choice(BIG)), words[place])
            case 7:
                return ("\n".join(lines)).encode(rng.choice(("utf-16", "utf-8-sig", "utf-32", "cp1252")), "replace")
        lines[at] = " ".join(words)
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def spoil_tree(tree: Any, rng: random.Random) -> Any:
    """One to three values of a JSON tree replaced, lost, doubled or moved."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return rng.choice(VALUES)
        holder, key = rng.choice(places)
        match rng.randrange(6):
            case 0 | 1 | 2:
                holder[key] = rng.choice(VALUES)
            case 3:
                del holder[key]
            case 4:
                other, name = rng.choice(places)
                if name in (other if isinstance(other, dict) else range(len(other))):
                    holder[key] = json.loads(json.dumps(other[name]))
            case 5:
                holder[key] = [holder[key]] if rng.random() < 0.5 else {"x": holder[key]}
    return tree


def spoil_json(data: bytes, rng: random.Random) -> bytes:
    """A JSON text with another tree, or another text."""
    if rng.random() < 0.25:
        return rng.choice(
            (spoil(data, rng), spoil_text(data.decode(), rng), b"[" * 100_000, b"", b"null", b"[]", b"{}")
        )
    return json.dumps(spoil_tree(json.loads(data), rng)).encode()


def spoil_glb(data: bytes, rng: random.Random) -> bytes:
    """A GLB with another tree, which is where its faults are."""
    length = struct.unpack_from("<I", data, 12)[0]
    tree, rest = json.loads(data[20 : 20 + length]), data[20 + length :]
    text = json.dumps(spoil_tree(tree, rng)).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<4sIIII", b"glTF", 2, 20 + len(text) + len(rest), len(text), 0x4E4F534A) + text + rest


def spoil_zip(data: bytes, rng: random.Random) -> bytes:
    """A zip whose members are spoilt, renamed to somewhere else, or endless."""
    made = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            inside = old.read(name)
            match rng.randrange(5):
                case 0:
                    new.writestr(rng.choice(("../../outside/secret.txt", "/outside.txt", "", name.upper())), inside)
                case 1:
                    new.writestr(name, inside[:-1] + b" " * (1 << 29))
                case 2:
                    new.writestr(name, spoil(inside, rng))
                case 3:
                    new.writestr(name, spoil_text(inside.decode("utf-8", "replace").replace(">", ">\n"), rng))
                case 4:
                    new.writestr(name, b'<!DOCTYPE a [<!ENTITY b "' + b"c" * 9999 + b'">]>' + inside)
    return made.getvalue()


def spoil_safetensors(data: bytes, rng: random.Random) -> bytes:
    """A safetensors file with another header."""
    length = struct.unpack_from("<Q", data)[0]
    if rng.random() < 0.2:
        return struct.pack("<Q", rng.choice((*BIG, 2**63, 2**64 - 1))) + data[8:]
    text = json.dumps(spoil_tree(json.loads(data[8 : 8 + length]), rng)).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def png(width: int, height: int, depth: int = 8, colour: int = 2, body: bytes = b"") -> bytes:
    """A PNG that says so, whatever it holds."""

    def chunk(name: bytes, inside: bytes) -> bytes:
        return struct.pack(">I", len(inside)) + name + inside + struct.pack(">I", zlib.crc32(name + inside))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", body) + chunk(b"IEND", b"")


SPOILERS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".json": spoil_json, ".glb": spoil_glb, ".3mf": spoil_zip, ".pth": spoil_zip, ".pt": spoil_zip,
    ".safetensors": spoil_safetensors,
}  # fmt: skip
TEXTS = (".obj", ".bvh", ".csv", ".txt", ".jsonl", ".mtl")


def spoil_file(path: Path, rng: random.Random) -> None:
    """Spoil a file as suits its kind, or without looking at it."""
    data = path.read_bytes()
    as_kind = spoil
    if rng.random() < 0.7:
        as_kind = _spoil_text if path.suffix in TEXTS else SPOILERS.get(path.suffix, spoil)
    try:
        path.write_bytes(as_kind(data, rng))
    except (ValueError, LookupError, struct.error, zipfile.BadZipFile):  # it is spoilt already
        path.write_bytes(spoil(data, rng))


def _spoil_text(data: bytes, rng: random.Random) -> bytes:
    return spoil_text(data.decode(), rng)


def _places(tree: Any) -> Any:
    inside = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(inside):
        yield tree, key
        yield from _places(value)
