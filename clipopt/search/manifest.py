"""index.json: which parts an index has, and who made them. It may come from anyone, and is believed nothing."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from clipopt.io import folders

MANIFEST = "index.json"
FORMAT = 1
PART_FILE = re.compile(r"part-[0-9a-f]{8}\.(npy|jsonl)")
LEFTOVER = re.compile(r"\.(index|part-[0-9a-f]{8}|(approximate|checksum)-[0-9a-f]{12})\.[0-9a-f]{8}\.tmp\.\w+")
"""What a killed process can leave beside the files of an index."""
_PART = re.compile(r"part-[0-9a-f]{8}")
_KINDS = ("pictures", "sounds", "texts", "embeddings")
_MOST_BYTES = 2**24
_LONGEST_ROW = 2**16


@dataclass(frozen=True)
class Manifest:
    """What index.json holds.

    Attributes:
        scorer: The spec by which the scorer is loaded.
        fingerprint: Of the scorer that made the rows.
        dim: Length of a row.
        source: What was indexed: its whole path when the index was last written.
        kind: What the items are: pictures, sounds, texts or embeddings.
        parts: Name and length of every part, in order.
        format: Version of this layout.
        relative: The path of the source from the index's folder; an older index has none.
    """

    scorer: str
    fingerprint: str
    dim: int
    source: str
    kind: str
    parts: tuple[tuple[str, int], ...] = ()
    format: int = FORMAT
    relative: str | None = None


def is_count(value: object) -> bool:
    """Whether a value that JSON held is a whole number above 0."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**40


def is_vacant(folder: Path) -> bool:
    """Whether an index can be made in a folder: there is none, or nothing in it but what a killed process left."""
    if not folder.exists():
        return True
    return folder.is_dir() and all(p.name == folders.LOCK or LEFTOVER.fullmatch(p.name) for p in folder.iterdir())


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """What the index.json of a folder says, and its text.

    Raises:
        ValueError: there is none, it is damaged, or of another version.
    """
    path = folder / MANIFEST
    if not path.is_file() and not path.is_symlink():
        raise ValueError(f"{folder} holds no index: expected one that `clipopt index` wrote")
    try:
        if folders.within(folder, MANIFEST).stat().st_size > _MOST_BYTES:
            raise ValueError(f"it has more than {_MOST_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
        manifest = parse(text)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} is damaged ({' '.join(str(error).split()):.120}); index again into another folder"
        ) from error
    if manifest.format != FORMAT:
        raise ValueError(f"{path} has the format {manifest.format!r:.20}, expected {FORMAT}: index again")
    return manifest, text


def parse(text: str) -> Manifest:
    """What the text of an index.json says.

    Raises:
        ValueError, TypeError, KeyError, AttributeError, RecursionError: it is none.
    """
    fields = json.loads(text)
    parts = tuple((name, count) for name, count in fields.pop("parts"))
    words = [fields[key] for key in ("scorer", "fingerprint", "source", "kind")] + [fields.get("relative") or ""]
    if not all(isinstance(word, str) and "\0" not in word for word in words) or fields["kind"] not in _KINDS:
        raise ValueError("expected texts that say scorer, fingerprint, source and kind")
    if not is_count(fields["dim"]) or fields["dim"] > _LONGEST_ROW:
        raise ValueError(f"expected rows of 1 to {_LONGEST_ROW} numbers, got {fields['dim']!r:.40}")
    for name, count in parts:
        if not isinstance(name, str) or not _PART.fullmatch(name) or not is_count(count):
            raise ValueError(f"expected parts such as [part-0123abcd, 512], got [{name!r:.40}, {count!r:.40}]")
    if len({name for name, _ in parts}) < len(parts):
        raise ValueError("a part is named twice")
    return Manifest(**fields, parts=parts)
