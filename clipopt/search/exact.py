"""Nearest rows by looking at all of them, where they lie on the disk."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from clipopt.search.store import UNIT, Index

# Rows that are turned into float32 at once: that many stay in a core's cache, several times faster than more.
_CONVERTED = 1024
_BLOCK = 65536
_QUERIES = 256
_ROUNDING = 1e-6
DAMAGED = "holds rows that are damaged: `clipopt index` with the same source mends it"


def search(index: Index, queries: Float[Tensor, "q d"], count: int) -> tuple[Float[Tensor, "q k"], Int[Tensor, "q k"]]:
    """The `count` items nearest to each query, or all if there are fewer: cosines and numbers, best first.

    Args:
        index: Where to search. Its rows are rounded to float16, which moves a cosine by about 1e-4.
        queries: Unit rows of the scorer that made the index; many at once are several times cheaper than one by one.
        count: How many.

    Raises:
        ValueError: the index is empty, or the queries have another length.
        OSError: what is found is no cosine: the rows are damaged.
    """
    if not len(index):
        raise ValueError(f"{index.folder} is empty: index something first")
    if queries.shape[1] != index.manifest.dim:
        raise ValueError(f"expected queries of length {index.manifest.dim}, got {queries.shape[1]}")
    found = [_search(index, some, count) for some in queries.float().cpu().split(_QUERIES)]
    return torch.cat([scores for scores, _ in found]), torch.cat([numbers for _, numbers in found])


def _search(index: Index, queries: Tensor, count: int) -> tuple[Tensor, Tensor]:
    best, numbers = torch.zeros(len(queries), 0), torch.zeros(len(queries), 0, dtype=torch.long)
    start = 0
    for part in index.parts():
        for block in part.split(_BLOCK):
            scores = torch.cat([queries @ some.float().T for some in block.split(_CONVERTED)], 1)
            top = scores.topk(min(count, scores.shape[1]), dim=1)
            best, numbers = torch.cat([best, top.values], 1), torch.cat([numbers, top.indices + start], 1)
            if best.shape[1] > count:
                best, order = best.topk(count, dim=1)
                numbers = numbers.gather(1, order)
            start += len(block)
    if not bool((best.abs() <= UNIT).all()):
        raise OSError(f"{index.folder} {DAMAGED}")
    order = best.argsort(dim=1, descending=True, stable=True)
    return best.gather(1, order), numbers.gather(1, order)


def combine(parts: Sequence[tuple[Float[Tensor, " d"], float]]) -> Float[Tensor, " d"]:
    """One query of several: the unit row of the weighted sum, as in "this picture, at night, without people".

    Raises:
        ValueError: there is nothing, or the parts cancel out.
    """
    if not parts:
        raise ValueError("nothing to search for: expected at least one text or picture")
    total = torch.stack([row.float().cpu() * weight for row, weight in parts]).sum(0)
    if float(total.norm()) < 1e-3:
        raise ValueError("the parts of the query cancel out: nothing is left to search for")
    return F.normalize(total, dim=0)


def duplicates(index: Index, threshold: float) -> list[list[int]]:
    """Groups of items, each linked to the next by a cosine of at least `threshold`; the largest group first.

    Looks at all pairs: fine up to some hundred thousand items.

    Raises:
        ValueError: the threshold is not within 0 to 1.
        OSError: the rows are damaged.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the threshold must be above 0 and at most 1, got {threshold}")
    owner = list(range(len(index)))

    def root(number: int) -> int:
        while owner[number] != number:
            owner[number] = owner[owner[number]]
            number = owner[number]
        return number

    blocks, start = [], 0
    for part in index.parts():
        for block in part.split(_CONVERTED):
            blocks.append((start, block))
            start += len(block)
    for place, (first, left) in enumerate(blocks):
        if not bool((left.float().norm(dim=1) <= UNIT).all()):
            raise OSError(f"{index.folder} {DAMAGED}")
        rows = F.normalize(left.float(), dim=1)
        for second, right in blocks[place:]:
            near = (rows @ F.normalize(right.float(), dim=1).T >= threshold - _ROUNDING).nonzero().tolist()
            for i, j in near:
                if first + i < second + j:
                    a, b = sorted((root(first + i), root(second + j)))
                    owner[b] = a
    groups: dict[int, list[int]] = {}
    for number in range(len(index)):
        groups.setdefault(root(number), []).append(number)
    return sorted((group for group in groups.values() if len(group) > 1), key=len, reverse=True)
