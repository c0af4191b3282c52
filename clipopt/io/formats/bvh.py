"""Biovision hierarchies: bones, what of them can move, and how they moved.

Reference:
    Meredith and Maddock, "Motion Capture File Formats Explained" (2001), section 3.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clipopt.io.formats.outside import Unreadable, read_bytes

MOST_JOINTS = 4096
"""Most joints of a rig."""
_CHANNELS = tuple(f"{axis}{what}" for axis in "xyz" for what in ("position", "rotation"))
_MOST_FRAMES = 1000
_FARTHEST = 1e9


@dataclass(frozen=True)
class Bvh:
    """What a BVH file holds.

    Attributes:
        names: Of its joints, each behind its parent.
        parents: -1: none.
        offsets: Where each joint is against its parent at rest.
        channels: What of each joint can change, in lower case: "xposition", "zrotation", ...
        lines: The hierarchy as it was written.
        frames: Values of all channels, for those of its frames that can be read.
    """

    names: tuple[str, ...]
    parents: tuple[int, ...]
    offsets: NDArray[np.float64]
    channels: tuple[tuple[str, ...], ...]
    lines: tuple[str, ...]
    frames: NDArray[np.float64]

    def places(self) -> NDArray[np.float64]:
        """Where the joints are in each of its frames, (frames, joints, 3)."""
        turns: list[NDArray[np.float64]] = []
        places: list[NDArray[np.float64]] = []
        column = count()
        for number, parent in enumerate(self.parents):
            moved = np.repeat(self.offsets[None, number], len(self.frames), 0)
            turned = np.repeat(np.eye(3)[None], len(self.frames), 0)
            for channel in self.channels[number]:
                values, axis = self.frames[:, next(column)], "xyz".index(channel[0])
                if channel.endswith("position"):  # in place of the offset, not beside it
                    moved[:, axis] = values
                else:
                    turned = turned @ _about(axis, np.radians(values))
            if parent >= 0:
                moved = places[parent] + (turns[parent] @ moved[..., None])[..., 0]
                turned = turns[parent] @ turned
            places.append(moved)
            turns.append(turned)
        return np.stack(places, 1)


def _about(axis: int, angle: NDArray[np.float64]) -> NDArray[np.float64]:
    made = np.repeat(np.eye(3)[None], len(angle), 0)
    b, c = (axis + 1) % 3, (axis + 2) % 3
    made[:, b, b] = made[:, c, c] = np.cos(angle)
    made[:, c, b] = np.sin(angle)
    made[:, b, c] = -made[:, c, b]
    return made


def read_bvh(path: Path) -> Bvh:
    """Read a BVH file. Frames that cannot be read are left out: they are not what a rig is made of.

    Raises:
        Unreadable: Something in its hierarchy is not as it should be.
    """
    lines = re.split(r"\r\n|\r|\n", read_bytes(path).decode("utf-8-sig", errors="surrogateescape"))
    # The word alone: a joint's name may hold it.
    end = next((n for n, line in enumerate(lines) if line.strip().upper() == "MOTION"), len(lines))
    names, parents, offsets, channels = _hierarchy(lines[:end])
    frames = _frames(lines[end + 1 :], sum(map(len, channels)))
    return Bvh(tuple(names), tuple(parents), np.array(offsets), tuple(channels), tuple(lines[:end]), frames)


def _hierarchy(
    lines: Sequence[str],
) -> tuple[list[str], list[int], list[list[float]], list[tuple[str, ...]]]:
    names: list[str] = []
    parents: list[int] = []
    offsets: list[list[float] | None] = []
    channels: list[tuple[str, ...]] = []
    inside: list[int] = []  # joints whose braces are open; -1: the end of a bone
    opening: int | None = None
    if not any(line.strip() for line in lines):
        raise Unreadable("expected a BVH, which begins with HIERARCHY, got an empty file")
    for number, line in enumerate(lines, 1):
        for piece in re.split(r"([{}])", line):
            words = piece.split()
            key = words[0].upper() if words else ""
            match key:
                case "" | "HIERARCHY":
                    continue
                case "ROOT" | "JOINT" if opening is None and -1 not in inside:
                    opening = len(names)
                    names.append(" ".join(words[1:]))
                    parents.append(inside[-1] if inside else -1)
                    offsets.append(None)
                    channels.append(())
                    if len(names) > MOST_JOINTS:
                        raise Unreadable(f"expected at most {MOST_JOINTS} joints, got more")
                case "END" if opening is None and inside:
                    opening = -1
                case "{" if opening is not None:
                    inside.append(opening)
                    opening = None
                case "}" if inside and opening is None:
                    inside.pop()
                case "OFFSET" if inside and opening is None:
                    if inside[-1] >= 0:
                        offsets[inside[-1]] = _offset(words[1:], number)
                case "CHANNELS" if inside and inside[-1] >= 0 and opening is None:
                    channels[inside[-1]] = _channels(words[1:], number)
                case _:
                    raise Unreadable(f"expected the hierarchy of a BVH, got {piece.strip()[:40]!r} in line {number}")
    if inside or opening is not None:
        raise Unreadable("expected a closing brace for every joint, got the end of its hierarchy; is it cut short?")
    found: list[list[float]] = []
    for name, offset in zip(names, offsets, strict=True):
        if offset is None:
            raise Unreadable(f"expected an OFFSET for every joint, got none for {name[:40]!r}; export it again")
        found.append(offset)
    return names, parents, found, channels


def _offset(words: Sequence[str], line: int) -> list[float]:
    try:
        values = [float(word) for word in words]
    except ValueError:
        values = []
    if len(values) != 3 or not all(math.isfinite(v) and abs(v) < _FARTHEST for v in values):
        got = " ".join(words)[:40]
        raise Unreadable(f"expected OFFSET and three finite numbers, got {got!r} in line {line}; export it again")
    return values


def _channels(words: Sequence[str], line: int) -> tuple[str, ...]:
    named = tuple(word.lower() for word in words[1:])
    said = words[0] if words else ""
    if said != str(len(named)) or len(set(named)) < len(named) or not set(named) <= set(_CHANNELS):
        got = " ".join(words)[:60]
        raise Unreadable(
            f"expected CHANNELS, their number, and each such as Xposition or Zrotation once, got {got!r} in line {line}"
        )
    return named


def _frames(lines: Sequence[str], width: int) -> NDArray[np.float64]:
    """Frames with a number for every channel; of very many, some."""
    rows = []
    for line in lines[:: max(1, len(lines) // _MOST_FRAMES)]:
        words = line.split()
        if len(words) != width:
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            continue
        if all(abs(value) < _FARTHEST for value in row):  # which NaN is not
            rows.append(row)
    return np.array(rows, np.float64).reshape(len(rows), width)
