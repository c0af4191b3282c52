"""An index on disk: unit rows that are read where they lie, one item for each, and who made them.

A folder holds index.json, which names the parts, and for each part the rows (float16, .npy) and the items (JSON
lines). A part is written whole before index.json names it, and index.json is replaced in one go. So a process may be
killed at any moment: what was appended before is there, the rest is as if it had never been.

One process writes at a time. A folder may come from anyone: names that lead out of it, links, and other types and sizes
than index.json says are refused before anything is read or deleted.
"""

import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.io import files, folders
from clipopt.scorers import Scorer
from clipopt.scorers.clap import ClapScorer
from clipopt.search.manifest import LEFTOVER, MANIFEST, PART_FILE, Manifest, is_vacant, parse, read_manifest

_COPIED = 65536
UNIT = 1.01
"""The longest that a row can be: they have unit length, and are rounded to float16."""


class Index:
    """Rows and items in a folder. Made by `Index.create`, opened by `Index.open`.

    The number of an item is its place in the order of all parts; it changes when items are removed.
    """

    def __init__(self, folder: Path, manifest: Manifest, written: str | None = None) -> None:
        self.folder, self.manifest = folder, manifest
        self._written, self._writing = written, False
        self._mapped: dict[str, Tensor] = {}
        self._read: list[str] | None = None

    @classmethod
    def create(cls, folder: Path, *, scorer: str, fingerprint: str, dim: int, source: str, kind: str) -> "Index":
        """A new, empty index in a folder that is new or empty.

        Raises:
            ValueError: the folder holds something.
            OSError: another process makes an index there.
        """
        if not is_vacant(folder):
            raise ValueError(f"cannot make an index in {folder}: expected a new or empty folder")
        folder.mkdir(parents=True, exist_ok=True)
        index = cls(folder, Manifest(scorer, fingerprint, dim, source, kind))
        index._commit(())
        return index

    @classmethod
    def open(cls, folder: Path) -> "Index":
        """The index in `folder`.

        Raises:
            ValueError: there is none, it is damaged, or of another version.
        """
        manifest, written = read_manifest(folder)
        index = cls(folder, manifest, written)
        try:
            for name, count in manifest.parts:
                index._map(name, count)
        except ValueError as error:
            if read_manifest(folder) != (manifest, written):  # while it was read, its writer made one part of all
                return cls.open(folder)
            again = "" if manifest.kind == "embeddings" else "`clipopt index` with the same source mends it, or "
            raise ValueError(f"{error}; {again}index again into another folder") from error
        return index

    @classmethod
    def salvage(cls, folder: Path) -> tuple["Index", int]:
        """The index in `folder` without what is damaged, and the number of items that were lost.

        Reads all rows and items. Nothing is written before the index next changes.

        Raises:
            ValueError: there is none, index.json is damaged, or of another version.
        """
        manifest, written = read_manifest(folder)
        index, whole = cls(folder, manifest, written), []
        for name, count in manifest.parts:
            with suppress(OSError, ValueError):
                lengths = [rows.float().norm(dim=1) for rows in index._map(name, count).split(_COPIED)]
                if bool((torch.cat(lengths) <= UNIT).all()):
                    for line in index._lines_of(name, count):
                        index._item(line)
                    whole.append((name, count))
        index.manifest = replace(manifest, parts=tuple(whole))
        return index, sum(count for _, count in manifest.parts) - len(index)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only one who writes this index, until the block ends. Every change does it by itself.

        Raises:
            OSError: another process writes it, or has changed it since it was opened.
        """
        if self._writing:
            yield
            return
        with folders.writing(self.folder):
            path = self.folder / MANIFEST
            if (path.read_text(encoding="utf-8", errors="replace") if path.exists() else None) != self._written:
                raise OSError(f"{self.folder} was changed by another process meanwhile: open it again")
            self._writing = True
            try:
                yield
            finally:
                self._writing = False

    @property
    def source(self) -> Path:
        """What was indexed, where it lies now: as seen from the index if it is there, else where it was then."""
        if self.manifest.relative is not None:
            moved = Path(os.path.normpath(self.folder.resolve() / self.manifest.relative))
            with suppress(OSError):  # longer than any name
                if moved.exists():
                    return moved
        return Path(self.manifest.source)

    def require(self, scorer: Scorer | ClapScorer) -> None:
        """Check that `scorer` made the rows.

        Raises:
            ValueError: another one did; rows of two scorers have nothing to do with each other.
        """
        made = self.manifest
        if scorer.fingerprint != made.fingerprint:
            raise ValueError(
                f"{self.folder} was made by {made.scorer} (fingerprint {made.fingerprint}), not by {scorer.name} "
                f"({scorer.fingerprint}): their rows cannot be compared; use that scorer, or index again"
            )

    def __len__(self) -> int:
        return sum(count for _, count in self.manifest.parts)

    @property
    def digest(self) -> str:
        """Changes with the content."""
        told = {key: value for key, value in asdict(self.manifest).items() if key != "relative"}
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]

    def parts(self) -> Iterator[Float[Tensor, "n d"]]:
        """The rows of every part in float16, mapped into memory and read where they are used."""
        for name, count in self.manifest.parts:
            yield self._map(name, count)

    def _map(self, name: str, count: int) -> Float[Tensor, "n d"]:
        """The rows of a part; they stay readable where another process deletes it meanwhile.

        Raises:
            ValueError: it is missing, leads elsewhere, or holds anything else.
        """
        if name not in self._mapped:
            path = folders.within(self.folder, f"{name}.npy")
            folders.within(self.folder, f"{name}.jsonl")
            try:
                # Copy on write: torch wants an array that could be written; nothing is. It runs nothing, too.
                rows = np.lib.format.open_memmap(path, mode="c")
            except Exception as error:  # a header may fail to be read in every way that Python has
                raise ValueError(f"{path} is damaged or cut short ({error!s:.80})") from error
            if rows.dtype != np.float16 or rows.shape != (count, self.manifest.dim) or not rows.flags.c_contiguous:
                raise ValueError(
                    f"{path} is damaged: expected {count} x {self.manifest.dim} numbers in float16, "
                    f"got {' x '.join(map(str, rows.shape))} in {rows.dtype}"
                )
            self._mapped[name] = torch.from_numpy(rows)
        return self._mapped[name]

    def rows(self, numbers: Sequence[int]) -> Float[Tensor, "n d"]:
        """Some rows in float32."""
        starts, parts = [0], list(self.parts())
        for part in parts:
            starts.append(starts[-1] + len(part))
        found = torch.zeros(len(numbers), self.manifest.dim)
        for place, number in enumerate(numbers):
            which = next(i for i in range(len(parts)) if number < starts[i + 1])
            found[place] = parts[which][number - starts[which]].float()
        return found

    @property
    def _lines(self) -> list[str]:
        """All items as they are written; to parse a million takes seconds, and a search needs ten."""
        if self._read is None:
            self._read = [line for name, count in self.manifest.parts for line in self._lines_of(name, count)]
        return self._read

    def _lines_of(self, name: str, count: int) -> list[str]:
        path = self.folder / f"{name}.jsonl"
        try:
            lines = folders.within(self.folder, path.name).read_text(encoding="utf-8").split("\n")[:-1]
        except ValueError as error:
            raise OSError(f"cannot read {path} ({error!s:.80}): index again") from error
        if len(lines) != count:
            raise OSError(f"{path} has {len(lines)} items, expected {count}: index again")
        return lines

    def _item(self, line: str) -> dict[str, Any]:
        try:
            item = json.loads(line)
        except (ValueError, RecursionError):
            item = None
        key = {"pictures": "path", "sounds": "path", "texts": "text"}.get(self.manifest.kind)
        told = item.get(key, "") if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(told, str) or (key == "path" and _leads_out(told)):
            raise OSError(
                f"{self.folder} holds an item that is damaged or leads out of the source, {line!r:.60}: index again"
            )
        return item

    def item(self, number: int) -> dict[str, Any]:
        """What belongs to a row: the `path` of a picture below the source, or a `text`.

        Raises:
            OSError: the items are damaged, or one leads out of the source.
        """
        return self._item(self._lines[number])

    def items(self) -> list[dict[str, Any]]:
        """All items."""
        return [self._item(line) for line in self._lines]

    def holds(self, start: int, rows: Float[Tensor, "n d"], items: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the items from the number `start` on are these, with these rows."""
        numbers = range(start, start + len(items))
        same = self._lines[start : numbers.stop] == [_line(item) for item in items]
        return same and torch.equal(self.rows(numbers), rows.half().float())

    def append(self, rows: Float[Tensor, "n d"], items: Sequence[Mapping[str, Any]]) -> None:
        """Add rows with their items; they are on the disk when this returns.

        Raises:
            ValueError: the rows have another length, are not finite, or do not match the items in number.
            OSError: another process writes this index, or has changed it.
        """
        with self.writing():
            self._commit((*self.manifest.parts, *self._write(rows, items)))

    def overwrite(self, batches: Iterable[tuple[Float[Tensor, "_ _"], Sequence[Mapping[str, Any]]]]) -> None:
        """Put other rows and items in the place of all; whatever fails on the way, the index is as it was.

        Raises:
            ValueError: see `append`.
            OSError: see `append`.
        """
        with self.writing():
            try:
                parts = tuple(part for rows, items in batches for part in self._write(rows, items))
            except BaseException:
                self.clean()
                raise
            self._commit(parts)
            self.clean()

    def compact(self, drop: Sequence[int] = ()) -> None:
        """Make one part of all, without the items of the numbers `drop`."""
        if not drop and len(self.manifest.parts) < 2:
            return
        gone, name = set(drop), self._new_name()
        kept = [number for number in range(len(self)) if number not in gone]
        with self.writing():
            if kept:
                self._copy(name, kept)
                self._write_items(name, [self._lines[number] for number in kept])
            self._commit(((name, len(kept)),) if kept else ())
            self.clean()

    def _copy(self, name: str, kept: Sequence[int]) -> None:
        """Write the rows of the numbers `kept`, which ascend, as a new part."""
        with files.atomic(self.folder / f"{name}.npy") as temporary:
            merged = np.lib.format.open_memmap(
                temporary, mode="w+", dtype=np.float16, shape=(len(kept), self.manifest.dim)
            )
            done = start = 0
            for part in self.parts():
                own = [number - start for number in kept if start <= number < start + len(part)]
                for first in range(0, len(own), _COPIED):
                    some = own[first : first + _COPIED]
                    merged[done : done + len(some)] = part[torch.tensor(some)].numpy()
                    done += len(some)
                start += len(part)
            merged.flush()
            del merged

    def clean(self) -> None:
        """Delete what a killed process left behind: parts that index.json does not name, temporary files."""
        with self.writing():
            if self._written is not None and parse(self._written).parts != self.manifest.parts:
                self._commit(self.manifest.parts)  # what could not be salvaged
            named = {name for name, _ in self.manifest.parts}
            for path in self.folder.iterdir():
                if (PART_FILE.fullmatch(path.name) and path.stem not in named) or LEFTOVER.fullmatch(path.name):
                    path.unlink(missing_ok=True)

    def discard(self) -> None:
        """Delete the index, and its folder where nothing else is in it."""
        with self.writing():
            (self.folder / MANIFEST).unlink(missing_ok=True)
            self._written, self.manifest = None, replace(self.manifest, parts=())
            self.clean()
            (self.folder / folders.LOCK).unlink(missing_ok=True)
            with suppress(OSError):
                self.folder.rmdir()

    def _write(self, rows: Tensor, items: Sequence[Mapping[str, Any]]) -> tuple[tuple[str, int], ...]:
        """A new part that index.json does not name yet; none of no rows."""
        if rows.shape != (len(items), self.manifest.dim) or not torch.isfinite(rows).all():
            raise ValueError(
                f"expected {len(items)} finite rows of length {self.manifest.dim}, got the shape {tuple(rows.shape)}"
            )
        if not len(rows):
            return ()
        name = self._new_name()
        with files.atomic(self.folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, rows.cpu().half().numpy())
        self._write_items(name, [_line(item) for item in items])
        return ((name, len(rows)),)

    def _new_name(self) -> str:
        return f"part-{secrets.token_hex(4)}"

    def _write_items(self, name: str, lines: Sequence[str]) -> None:
        files.write_text(self.folder / f"{name}.jsonl", "".join(f"{line}\n" for line in lines))

    def _commit(self, parts: tuple[tuple[str, int], ...]) -> None:
        source = self.source.resolve()
        manifest = replace(self.manifest, parts=parts, source=str(source), relative=_seen_from(self.folder, source))
        written = json.dumps(asdict(manifest), indent=2) + "\n"
        with self.writing():
            files.write_text(self.folder / MANIFEST, written)
            self.manifest, self._written, self._read = manifest, written, None
            self._mapped = {name: rows for name, rows in self._mapped.items() if name in dict(parts)}


def _line(item: Mapping[str, Any]) -> str:
    # A name that is not UTF-8, as the system may have it, is written as an escape.
    return json.dumps(item, ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


def _leads_out(name: str) -> bool:
    path = PurePath(name)
    return path.is_absolute() or ".." in path.parts or "\0" in name


def _seen_from(folder: Path, source: Path) -> str | None:
    """The path from one to the other; None where there is none, on another drive."""
    try:
        return os.path.relpath(source, folder.resolve())
    except ValueError:
        return None
