"""Embeddings that the clip-retrieval tool wrote: folders of .npy, with metadata in Parquet."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

Which = Literal["img_emb", "text_emb"]


def read_embeddings(
    folder: Path, which: Which = "img_emb"
) -> Iterator[tuple[Float[Tensor, "n d"], list[dict[str, Any]]]]:
    """Unit rows and items of every file, in their order.

    An item holds the metadata's `path` and `text` (its `image_path` and `caption`); without metadata, or without the
    library pyarrow, which reads it, the name of its file and its row in it.

    Raises:
        ValueError: there are no such files, or one of them cannot be read or does not match its metadata.
    """
    paths = sorted((folder / which).glob(f"{which}_*.npy"), key=_number)
    if not paths:
        raise ValueError(f"{folder} holds no {which}/{which}_*.npy: expected what `clip-retrieval inference` wrote")
    for path in paths:
        try:
            rows = torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
        except (OSError, ValueError) as error:
            raise ValueError(f"cannot read {path}: {error}") from error
        if rows.ndim != 2 or not torch.isfinite(rows).all():
            raise ValueError(f"{path} must hold a table of finite numbers, got the shape {tuple(rows.shape)}")
        metadata = folder / "metadata" / f"metadata_{_number(path)}.parquet"
        items = _items(metadata) if metadata.is_file() else None
        if items is None:
            items = [{"path": f"{path.name}#{row}"} for row in range(len(rows))]
        if len(items) != len(rows):
            raise ValueError(f"{metadata} has {len(items)} entries, {path.name} has {len(rows)} rows")
        yield F.normalize(rows, dim=1), items


def _number(path: Path) -> int:
    found = re.findall(r"\d+", path.stem)
    return int(found[-1]) if found else 0


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
