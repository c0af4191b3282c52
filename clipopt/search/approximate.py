"""Nearest rows without looking at all of them, by the libraries usearch and faiss; the best are compared exactly."""

import hashlib
import re
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipopt.io import files, folders
from clipopt.search.exact import DAMAGED
from clipopt.search.store import UNIT, Index

Backend = Literal["usearch", "faiss"]
_FIRST = 4
"""How many times as many items are fetched as are asked for, before they are compared exactly."""
_NEIGHBOURS = 32
_EXPANSION = 128
_ADDED = 65536
_OURS = re.compile(r"(approximate|checksum)-[0-9a-f]{12}\.(usearch|faiss)")


def approximate_file(index: Index, backend: Backend) -> Path:
    """Where the graph over the index as it is now lies; another content has another file."""
    return index.folder / f"approximate-{index.digest}.{backend}"


def is_whole(index: Index, backend: Backend) -> bool:
    """Whether the graph over the index as it is now is there, byte for byte as it was built."""
    try:
        path = folders.within(index.folder, approximate_file(index, backend).name)
        told = folders.within(index.folder, _sum_file(path).name).read_text(encoding="ascii", errors="replace").strip()
        return told == _sum(path)
    except (OSError, ValueError):
        return False


def build(index: Index, backend: Backend) -> Path:
    """Build the graph over `index` and delete those of its earlier content. Takes a minute for 100 000 items.

    Raises:
        ValueError: the library is not installed.
    """
    path, graph = approximate_file(index, backend), _new(index, backend)
    start = 0
    for part in index.parts():
        for rows in part.split(_ADDED):
            values = np.ascontiguousarray(rows.float().numpy())
            if backend == "usearch":
                graph.add(np.arange(start, start + len(values)), values)
            else:
                graph.add(values)
            start += len(values)
    with index.writing():
        with files.atomic(path) as temporary:
            if backend == "usearch":
                graph.save(str(temporary))
            else:
                _library(backend).write_index(graph, str(temporary))
            told = _sum(temporary)
        files.write_text(_sum_file(path), f"{told}\n")
        for old in index.folder.iterdir():
            if _OURS.fullmatch(old.name) and old.suffix == path.suffix and old not in (path, _sum_file(path)):
                old.unlink()
    return path


def _sum_file(path: Path) -> Path:
    return path.with_name(path.name.replace("approximate", "checksum"))


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def require_library(backend: Backend) -> None:
    """Check that the library is there.

    Raises:
        ValueError: it is not installed.
    """
    _library(backend)


class Graph:
    """A graph that was built, opened for many searches.

    Its file is compared with the checksum that was written beside it, which takes about a second a gigabyte: the
    libraries would follow any number in a damaged one.

    Raises:
        ValueError: the library is not installed, the graph was not built, or it is damaged.
    """

    def __init__(self, index: Index, backend: Backend) -> None:
        library, path = _library(backend), approximate_file(index, backend)
        if not path.is_file():
            raise ValueError(f"{index.folder} has no {backend} graph of its content: index again, --backend {backend}")
        if not is_whole(index, backend):
            raise ValueError(f"{path} is damaged, or of an older version: index again, --backend {backend}")
        self.index, self.backend = index, backend
        self._graph = _restore(library, backend, path)

    def __call__(self, queries: Float[Tensor, "q d"], count: int) -> tuple[Float[Tensor, "q k"], Int[Tensor, "q k"]]:
        """Cosines and numbers, best first."""
        wanted = min(len(self.index), count * _FIRST)
        values = np.ascontiguousarray(queries.float().cpu().numpy())
        if self.backend == "usearch":
            keys = np.atleast_2d(self._graph.search(values, wanted).keys).astype(np.int64)
        else:
            keys = self._graph.search(values, wanted)[1]
        numbers = torch.from_numpy(keys)
        rows = self.index.rows(numbers.clamp(min=0).flatten().tolist()).view(*numbers.shape, -1)
        scores = (rows @ torch.from_numpy(values)[:, :, None]).squeeze(-1)
        if not bool((scores.abs() <= UNIT).all()):
            raise OSError(f"{self.index.folder} {DAMAGED}")
        scores = scores.masked_fill(numbers < 0, -2)
        top = scores.topk(min(count, wanted), dim=1)
        return top.values, numbers.gather(1, top.indices)


def _library(backend: Backend) -> Any:
    try:
        if backend == "usearch":
            import usearch.index

            return usearch.index
        import faiss

        return faiss
    except ImportError as error:
        raise ValueError(f"{backend} is not installed: pip install 'clipopt[{backend}]'") from error


def _new(index: Index, backend: Backend) -> Any:
    library, dim = _library(backend), index.manifest.dim
    if backend == "usearch":
        return library.Index(ndim=dim, metric="ip", dtype="f16", expansion_add=_EXPANSION, expansion_search=_EXPANSION)
    graph = library.IndexHNSWFlat(dim, _NEIGHBOURS, library.METRIC_INNER_PRODUCT)
    graph.hnsw.efConstruction = graph.hnsw.efSearch = _EXPANSION
    return graph


def _restore(library: Any, backend: Backend, path: Path) -> Any:
    if backend == "usearch":
        graph = library.Index.restore(str(path), view=True)
        graph.expansion_search = _EXPANSION
        return graph
    return library.read_index(str(path))
