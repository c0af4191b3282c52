"""Where a run may land: names, checks, and clearing away an earlier run."""

import json
import re
import shutil
import tempfile
import time
import unicodedata
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from PIL import Image

from clipopt.io import files, folders

OURS = re.compile(
    r"(config|summary)\.json|steps\.jsonl|checkpoint\.pt|report\.html|(progress|story|turntable)\.(mp4|gif)"
    r"|(sheet|before)\.png|rig\.(bvh|glb)|cutout(-\d\d+)?\.png|(result|best|last)(-\d\d+)?(-texture)?\.[a-z0-9]+"
)
"""Names that a run gives to its files; nothing else is ever deleted."""

FRAMES = {"previews": re.compile(r"\d{6,}\.jpg"), "frames": re.compile(r"\d{6,}\.png")}
"""Folders of numbered pictures, with the names that a run gives to these."""

Kind = Literal["run", "training", "measurement", "adapter"]
MARKS: dict[Kind, tuple[tuple[str, frozenset[str]], ...]] = {
    "run": (("config.json", frozenset({"clipopt", "task", "config", "fingerprints", "command"})),),
    "training": (("config.json", frozenset({"task", "which", "recipe"})),),
    "measurement": (
        ("config.json", frozenset({"settings", "plan", "fingerprints"})),
        ("summary.json", frozenset({"fingerprints", "peak_memory_bytes", "versions"})),
    ),
    "adapter": (("adapter.json", frozenset({"format", "method", "labels", "base", "fingerprint"})),),
}
"""By what a folder is known: a JSON file, and what stands in it."""
_SPACE = 2**16  # bytes that must fit into a folder before the work begins


def check_out(out: Path | None, *, overwrite: bool = False, kind: Kind = "run") -> None:
    """Check, without leaving anything, that `out` (None: outputs/) can take what a command writes.

    Args:
        out: The folder.
        overwrite: Let it hold files already, if they are of this kind.
        kind: What the command writes.

    Raises:
        ValueError: it holds files, it is no folder, or it cannot be written.
        BusyError: another process writes it.
    """
    folder = Path("outputs") if out is None else out
    try:
        with suppress(FileNotFoundError, NotADirectoryError):
            folder.lstat()  # no name is too long
        if folder.is_symlink() and not folder.exists():
            raise ValueError(f"cannot write to {folder}: it is a link to nothing; choose another with --out DIR")
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        if not existing.is_dir():
            raise ValueError(f"cannot write to {folder}: {existing} is no folder; choose another with --out DIR")
        _try(existing)
        if out is None or existing != folder:
            return
        folders.check_idle(folder)
        held = sorted(path.name for path in folder.iterdir() if not _left_over(path))
        if not held:
            return
        if not overwrite:
            more = f" and {len(held) - 1} more" if len(held) > 1 else ""
            raise ValueError(
                f"{folder} is not empty (it holds {held[0]}{more}): expected a new or empty folder; "
                f"give another with --out, or --overwrite to replace the {kind} in it"
            )
        if not is_a(kind, folder):
            raise ValueError(
                f"{folder} holds no {kind} of clipopt (but {held[0]}): --overwrite replaces nothing else; "
                "give another folder with --out"
            )
        refuse_links(folder)
    except folders.BusyError:
        raise
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error}; choose another with --out DIR") from error


def check_writable(folder: Path) -> None:
    """Check, without leaving anything, that a folder that is there can be written.

    Raises:
        ValueError: it cannot.
    """
    try:
        _try(folder)
    except OSError as error:
        raise ValueError(f"cannot write to {folder}: {error}; copy it to where you can write") from error


def _try(folder: Path) -> None:
    """Write into a folder: permissions say nothing of read-only systems, full disks and folders of the kernel."""
    with tempfile.TemporaryFile(dir=folder) as file:
        file.write(bytes(_SPACE))
        file.flush()


def is_a(kind: Kind, folder: Path) -> bool:
    """Whether a folder holds what commands of that kind write."""
    found = any(keys <= _read(folder / name).keys() for name, keys in MARKS[kind])
    return found and (kind == "run" or not is_a("run", folder))  # whose summary tells as much


def _read(path: Path) -> dict[str, Any]:
    try:
        read = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return read if isinstance(read, dict) else {}


def refuse_links(folder: Path) -> None:
    """Check that what a run reads, writes and deletes in its folder lies there.

    Raises:
        ValueError: something is a link: its files are another's.
    """
    for path in folder.iterdir():
        if path.is_symlink() and (OURS.fullmatch(path.name) or path.name in FRAMES):
            raise ValueError(f"{path} is a link, and is not followed: put there what it leads to, or delete it")


def _left_over(path: Path) -> bool:
    return path.name == folders.LOCK or path.match(files.TEMPORARY)


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
        folders.sync(parent)
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


def copy_run(source: Path, folder: Path) -> None:
    """Copy a run into a folder that is empty or holds another run, which it replaces."""
    folder.mkdir(parents=True, exist_ok=True)
    with folders.writing(folder):
        clear(folder)
        shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns(".lock"))


def numbered(folder: Path) -> list[tuple[Path, int]]:
    """The numbered pictures of a run, each with its number."""
    each = [(path, name) for series, name in FRAMES.items() for path in _listed(folder / series)]
    return [(path, int(path.stem)) for path, name in each if name.fullmatch(path.name) and not path.is_dir()]


def sound(pictures: Mapping[int, Path]) -> dict[int, Path]:
    """Those of numbered pictures that are there and whole, and as large as the last of them; warns of others."""
    sizes = {number: _size(path) for number, path in pictures.items()}
    last = next((size for size in reversed(sizes.values()) if size is not None), None)
    found = {number: path for number, path in pictures.items() if sizes[number] is not None and sizes[number] == last}
    if lost := len(pictures) - len(found):
        place = next(iter(pictures.values())).parent
        warnings.warn(f"{lost} of {len(pictures)} pictures in {place} are lost or damaged, and left out", stacklevel=2)
    return found


def _size(path: Path) -> tuple[int, int] | None:
    """Width and height of a picture that is whole, else None."""
    if path.is_symlink() or not path.is_file():
        return None
    with warnings.catch_warnings(), suppress(Exception):  # Pillow has many
        warnings.simplefilter("error")  # also of what is far too large
        with Image.open(path, formats=("PNG", "JPEG")) as picture:
            if picture.format == "PNG":
                picture.verify()  # by its checksums
            else:
                picture.load()
            return picture.size
    return None


def remove_temporary(folder: Path) -> None:
    """Delete what killed processes left behind."""
    for place in (folder, *(folder / name for name in FRAMES)):
        for path in _listed(place):
            if path.match(files.TEMPORARY):
                path.unlink(missing_ok=True)


def _listed(folder: Path) -> list[Path]:
    """What lies in a folder; nothing where a link stands in its place."""
    return sorted(folder.iterdir()) if folder.is_dir() and not folder.is_symlink() else []
