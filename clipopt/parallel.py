"""Pieces of a computation side by side on the processor.

Torch splits each operation among its threads, which then wait for one another. A small model has some thousand
operations a second, and beside other work each wait can last as long as the system lets the others run. Pieces that
run side by side wait once: as quick on an idle machine, and on a busy one never much slower than one thread.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

import torch

T = TypeVar("T")
R = TypeVar("R")


def side_by_side(work: Callable[[T], R], pieces: Sequence[T], at_once: int) -> Iterator[R]:
    """`work(piece)` of each piece in turn, `at_once` of them worked on at the same time.

    Each has its share of torch's threads, and gradients are recorded where the caller records them. Pieces must not
    depend on one another. The results do not depend on which is done first.

    Args:
        work: What to do, from several threads.
        pieces: What to do it with.
        at_once: How many at a time; 1 does without other threads.

    Example:
        >>> list(side_by_side(str.upper, ["a", "b", "c"], 2))
        ['A', 'B', 'C']
    """
    threads, recorded = torch.get_num_threads(), torch.is_grad_enabled()
    for start in range(0, len(pieces), at_once):
        some = pieces[start : start + at_once]
        if len(some) == 1:
            yield work(some[0])
            continue
        share = max(1, threads // len(some))

        def one(piece: T, share: int = share) -> R:
            torch.set_num_threads(share)  # of this thread alone
            with torch.set_grad_enabled(recorded):
                return work(piece)

        try:
            done = list(_pool(at_once).map(one, some))
        finally:
            torch.set_num_threads(threads)  # what threads yet to come begin with
        yield from done


@cache
def _pool(size: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(size, "clipopt")


if hasattr(os, "register_at_fork"):  # threads do not come along
    os.register_at_fork(after_in_child=_pool.cache_clear)
