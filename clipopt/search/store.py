"""An index on disk: unit rows that are read where they lie, one item for each, and who made them.

A folder holds index.json, which names the parts, and for each part the rows (float16, .npy) and the items (JSON
lines). A part is written whole before index.json names it, and index.json is replaced in one go. So a process may be
killed at any moment: what was appended before is there, the rest is as if it had never been.
"""

import hashlib
import json
import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clipopt import files
from clipopt.scorers import Scorer
from clipopt.scorers.clap import ClapScorer

MANIFEST = "index.json"
_FORMAT = 1
_COPIED = 65536


@dataclass(frozen=True)
class Manifest:
    """What index.json holds.

    Attributes:
        scorer: The spec by which the scorer is loaded.
        fingerprint: Of the scorer that made the rows.
        dim: Length of a row.
        source: What was indexed.
        kind: What the items are.
        parts: Name and length of every part, in order.
        format: Version of this layout.
    """

    scorer: str
    fingerprint: str
    dim: int
    source: str
    kind: str
    parts: tuple[tuple[str, int], ...] = ()
    format: int = _FORMAT


class Index:
    """Rows and items in a folder. Made by `Index.create`, opened by `Index.open`.

    The number of an item is its place in the order of all parts; it changes when items are removed.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.folder, self.manifest = folder, manifest

    @classmethod
    def create(cls, folder: Path, *, scorer: str, fingerprint: str, dim: int, source: str, kind: str) -> "Index":
        """A new, empty index in a folder that is new or empty.

        Raises:
            ValueError: the folder holds something.
        """
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
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
        path = folder / MANIFEST
        if not path.is_file():
            raise ValueError(f"{folder} holds no index: expected one that `clipopt index` wrote")
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            parts = tuple((str(name), int(count)) for name, count in fields.pop("parts"))
            manifest = Manifest(**fields, parts=parts)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{path} is damaged ({error}); index again into another folder") from error
        if manifest.format != _FORMAT:
            raise ValueError(f"{path} has the format {manifest.format}, expected {_FORMAT}: index again")
        index = cls(folder, manifest)
        for name, count in parts:
            least = {f"{name}.npy": count * manifest.dim * 2, f"{name}.jsonl": count * len("{}\n")}
            for file, size in least.items():
                if not (folder / file).is_file() or (folder / file).stat().st_size < size:
                    raise ValueError(f"{folder / file} is missing or cut short: index again into another folder")
        return index

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
        return hashlib.sha256(json.dumps(asdict(self.manifest)).encode()).hexdigest()[:12]

    def parts(self) -> Iterator[Float[Tensor, "n d"]]:
        """The rows of every part in float16, mapped into memory and read where they are used."""
        for name, _ in self.manifest.parts:
            # Copy on write: torch wants an array that could be written; nothing is.
            yield torch.from_numpy(np.load(self.folder / f"{name}.npy", mmap_mode="c"))

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

    @cached_property
    def _lines(self) -> list[str]:
        """All items as they are written; to parse a million takes seconds, and a search needs ten."""
        lines: list[str] = []
        for name, count in self.manifest.parts:
            own = (self.folder / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]
            if len(own) != count:
                raise OSError(f"{self.folder / name}.jsonl has {len(own)} items, expected {count}: index again")
            lines += own
        return lines

    def item(self, number: int) -> dict[str, Any]:
        """What belongs to a row: the `path` of a picture below the source, or a `text`."""
        item: dict[str, Any] = json.loads(self._lines[number])
        return item

    def items(self) -> list[dict[str, Any]]:
        """All items."""
        return [json.loads(line) for line in self._lines]

    def holds(self, start: int, rows: Float[Tensor, "n d"], items: Sequence[Mapping[str, Any]]) -> bool:
        """Whether the items from the number `start` on are these, with these rows."""
        numbers = range(start, start + len(items))
        same = self._lines[start : numbers.stop] == [_line(item) for item in items]
        return same and torch.equal(self.rows(numbers), rows.half().float())

    def append(self, rows: Float[Tensor, "n d"], items: Sequence[Mapping[str, Any]]) -> None:
        """Add rows with their items; they are on the disk when this returns.

        Raises:
            ValueError: the rows have another length, are not finite, or do not match the items in number.
        """
        self._commit((*self.manifest.parts, *self._write(rows, items)))

    def overwrite(self, batches: Iterable[tuple[Float[Tensor, "_ _"], Sequence[Mapping[str, Any]]]]) -> None:
        """Put other rows and items in the place of all; whatever fails on the way, the index is as it was.

        Raises:
            ValueError: see `append`.
        """
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
        gone, old, name = set(drop), self.manifest.parts, self._new_name()
        kept = [number for number in range(len(self)) if number not in gone]
        if kept:
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
            self._write_items(name, [self._lines[number] for number in kept])
        self._commit(((name, len(kept)),) if kept else ())
        for before, _ in old:
            for suffix in (".npy", ".jsonl"):
                (self.folder / f"{before}{suffix}").unlink(missing_ok=True)

    def clean(self) -> None:
        """Delete what a killed process left behind: parts that index.json does not name, temporary files."""
        named = {name for name, _ in self.manifest.parts}
        for path in [*self.folder.glob("part-*.npy"), *self.folder.glob("part-*.jsonl")]:
            if path.stem not in named:
                path.unlink(missing_ok=True)
        for path in self.folder.glob(files.TEMPORARY):
            path.unlink(missing_ok=True)

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
        manifest = replace(self.manifest, parts=parts)
        files.write_text(self.folder / MANIFEST, json.dumps(asdict(manifest), indent=2) + "\n")
        self.manifest = manifest
        self.__dict__.pop("_lines", None)


def _line(item: Mapping[str, Any]) -> str:
    return json.dumps(item, ensure_ascii=False)
