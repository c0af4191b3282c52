"""Where a run may land: names, checks, and clearing away an earlier run."""

import os
import re
import time
import unicodedata
from pathlib import Path

from clipopt import files

OURS = re.compile(
    r"(config|summary)\.json|steps\.jsonl|checkpoint\.pt|report\.html|(progress|story|turntable)\.(mp4|gif)|sheet\.png|rig\.(bvh|glb)"
    r"|(result|best|last)(-\d\d+)?(-texture)?\.[a-z0-9]+"
)
"""Names that a run gives to its files; nothing else is ever deleted."""

FRAMES = {"previews": re.compile(r"\d{6,}\.jpg"), "frames": re.compile(r"\d{6,}\.png")}
"""Folders of numbered pictures, with the names that a run gives to these."""


def check_out(out: Path | None, *, overwrite: bool = False) -> None:
    """Check, without writing anything, that `out` (None: outputs/) can take a run.

    Raises:
        ValueError: it holds files and `overwrite` is off, it is no folder, or it cannot be written.
    """
    folder = Path("outputs") if out is None else out
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not existing.is_dir():
            raise ValueError(f"cannot write a run to {folder}: {existing} is no folder; choose another with --out DIR")
        if not os.access(existing, os.W_OK | os.X_OK):
            raise ValueError(f"cannot write a run to {folder}: no permission in {existing}; choose another with --out")
        if out is None or overwrite or existing != folder:
            return
        leftover = set(folder.glob(files.TEMPORARY))
        if held := sorted(path.name for path in folder.iterdir() if path not in leftover):
            more = f" and {len(held) - 1} more" if len(held) > 1 else ""
            raise ValueError(
                f"{folder} is not empty (it holds {held[0]}{more}): expected a new or empty folder; "
                "give another with --out, or --overwrite to replace the run in it"
            )
    except OSError as error:
        raise ValueError(f"cannot write a run to {folder}: {error}; choose another with --out DIR") from error


def slug(text: str) -> str:
    """A short name for a folder: lower case, words joined by hyphens, letters of any alphabet kept."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text.lower()) if not unicodedata.combining(c))
    words = re.sub(r"[\W_]+", "-", unicodedata.normalize("NFC", plain)).strip("-")
    return (words[:40].rsplit("-", 1)[0] if len(words) > 40 else words) or "run"


def new_folder(parent: Path, name: str) -> Path:
    """Make parent/<time>-<name>, with a number behind it where that is taken, even by a run of the same second."""
    stamp = time.strftime("%Y%m%d-%H%M%S")
    parent.mkdir(parents=True, exist_ok=True)
    for i in range(1, 10000):
        folder = parent / (f"{stamp}-{name}" if i == 1 else f"{stamp}-{name}-{i}")
        try:
            folder.mkdir()
        except FileExistsError:
            continue
        return folder
    raise OSError(f"too many runs in {parent} within one second")


def clear(folder: Path) -> None:
    """Delete what a run wrote, the checkpoint first: cut short, the folder is still one that can be resumed."""
    (folder / "checkpoint.pt").unlink(missing_ok=True)
    for path in folder.iterdir():
        if OURS.fullmatch(path.name) and path.name != "config.json" and path.is_file():
            path.unlink()
    for path, _ in numbered(folder):
        path.unlink()
    remove_temporary(folder)


def numbered(folder: Path) -> list[tuple[Path, int]]:
    """The numbered pictures of a run, each with its number."""
    each = [(path, name) for series, name in FRAMES.items() for path in (folder / series).glob("*")]
    return [(path, int(path.stem)) for path, name in each if name.fullmatch(path.name)]


def remove_temporary(folder: Path) -> None:
    """Delete what killed processes left behind."""
    for place in (folder, *(folder / name for name in FRAMES)):
        for path in place.glob(files.TEMPORARY):
            path.unlink(missing_ok=True)
