"""Folders that one process writes at a time, and that lead nowhere else.

with writing(Path("photos.index")):                    # a second process is refused meanwhile
    ...
within(folder, "part-1.npy")                           # a plain file of that very folder, or an error
"""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_MOST_TEXT = 2**28
"""Bytes of a text file that a user names."""

LOCK = ".lock"
"""The file in a folder by which its writer is known. It stays; a lock is gone when its process is, however it ended."""


class BusyError(OSError):
    """Another process writes into a folder."""


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Be the only one who writes into a folder that is there, until the block ends.

    Raises:
        BusyError: someone does already; also this process, elsewhere.
        OSError: the folder is not there, or cannot be written.
    """
    from filelock import FileLock, Timeout

    if (folder / LOCK).is_symlink():
        raise OSError(f"{folder / LOCK} is a link, and is not followed: delete it")
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(
            f"another process is writing {folder}: expected one writer; wait until it is done, or give another folder"
        ) from None
    try:
        yield
    finally:
        lock.release()


def check_idle(folder: Path) -> None:
    """Check, without writing anything, that nobody writes into a folder, which need not be there.

    Raises:
        BusyError: someone does.
    """
    if (folder / LOCK).exists() or (folder / LOCK).is_symlink():
        with writing(folder):
            pass


def at_home(path: str | Path) -> Path:
    """A path whose ~ stands for the home of the user, or of the one it names; as it is where there is no such user."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - pathlib's raises RuntimeError there


def read_text(path: Path) -> str:
    """The text of a file that a user names, UTF-8 with or without its mark.

    Raises:
        OSError: it cannot be read, or holds more than 256 MB, as devices may.
        UnicodeDecodeError: it is no text.
    """
    with path.open("rb") as file:
        raw = file.read(_MOST_TEXT + 1)
    if len(raw) > _MOST_TEXT:
        raise OSError(errno.EFBIG, "it holds more than 256 MB", str(path))
    return raw.decode("utf-8-sig")


def within(folder: Path, name: str) -> Path:
    """The file `name` that lies in `folder` itself.

    Raises:
        ValueError: the name leads out of the folder, or there stands a link or anything but a file.
    """
    path = folder / name
    if Path(name).name != name or name in ("", ".", ".."):
        raise ValueError(f"{name!r} in {folder}: expected the name of a file of that folder")
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise ValueError(f"{path} is {'a link' if path.is_symlink() else 'no file'}: expected a file of its own")
    if not path.exists():
        raise ValueError(f"{path} is missing")
    return path


def sync(folder: Path) -> None:
    """Flush the names in a folder to the disk, where the system can: a power cut could undo a renaming."""
    with suppress(OSError):
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)
