"""Embeddings that the clip-retrieval tool wrote: folders of .npy, with metadata in Parquet."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Which = Literal["img_emb", "text_emb"]
Pair = tuple[Path, Path | None]
"""A file of rows, and that of its metadata, if there is one."""


def find_embeddings(folder: Path, which: Which = "img_emb") -> list[Pair]:
    """The files, in the order of their numbers, each with the metadata of its number.

    clip-retrieval pads the numbers with zeros where there are 10 partitions or more: `007` belongs to `007`, or else
    to `7`.

    Raises:
        ValueError: there are no such files.
    """
    paths = sorted((folder / which).glob(f"{which}_*.npy"), key=lambda path: (int(_digits(path)), path.name))
    if not paths:
        raise ValueError(f"{folder} holds no {which}/{which}_*.npy: expected what `clip-retrieval inference` wrote")
    named = {_digits(path): path for path in (folder / "metadata").glob("metadata_*.parquet")}
    numbered = {int(digits): path for digits, path in named.items()}
    return [(path, named.get(_digits(path), numbered.get(int(_digits(path))))) for path in paths]


def read_embeddings(pairs: Sequence[Pair], dim: int) -> Iterator[tuple[Float[Tensor, "n d"], list[dict[str, Any]]]]:
    """Unit rows of length `dim` and items of every file, in their order.

    An item holds the metadata's `path` and `text` (its `image_path` and `caption`); without metadata, the name of its
    file and its row in it.

    Raises:
        ValueError: a file cannot be read, holds rows of another length, or does not match its metadata; or there is
            metadata, and the library pyarrow, which reads it, is not installed.
    """
    for path, metadata in pairs:
        try:
            rows = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
        except (OSError, ValueError, EOFError) as error:
            raise ValueError(f"cannot read {path}: {error}") from error
        if rows.ndim != 2 or not torch.isfinite(rows).all():
            raise ValueError(f"{path} must hold a table of finite numbers, got the shape {tuple(rows.shape)}")
        if rows.shape[1] != dim:
            raise ValueError(
                f"{path} has rows of length {rows.shape[1]}, expected {dim}: give the --scorer that made them"
            )
        items = [{"path": f"{path.name}#{row}"} for row in range(len(rows))] if metadata is None else _items(metadata)
        if len(items) != len(rows):
            raise ValueError(
                f"{metadata} has {len(items)} entries, {path.name} has {len(rows)} rows: expected as many, export again"
            )
        yield F.normalize(rows, dim=1), items


def _digits(path: Path) -> str:
    """The last number in a file's name, as it stands there."""
    return (re.findall(r"\d+", path.stem) or ["0"])[-1]


def _items(path: Path) -> list[dict[str, Any]]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ValueError(f"{path} needs pyarrow to be read: pip install 'clipopt[clip-retrieval]'") from error
    try:
        entries = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    names = {"image_path": "path", "caption": "text", "url": "url"}
    return [{names[key]: value for key, value in entry.items() if key in names and value} for entry in entries]
