"""Captioned pictures on disk: painted once, in parallel, then read at random while training."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Int, UInt8
from numpy.typing import NDArray
from torch import Tensor

from clipopt.embedded.captions import caption, describe, falsify, vocabulary
from clipopt.io.files import atomic
from clipopt.scorers.tower import PAD, UNKNOWN, words
from recipes.embedded import sprites
from recipes.embedded.painters import Painter

CHUNK = 5_000
SIDE = 64
"""Height and width of a picture in pixels."""
_CAPTIONS, _FALSE = 2, 4  # wordings kept of every picture, and false neighbours of each
_CONTEXT = 24
_MOST_WORKERS = 1024
_REVISION = 2  # of the world: since 2, a ground of two shades of one colour has its name


def _numbers(text: str, index: dict[str, int]) -> list[int]:
    numbers = [index.get(w, UNKNOWN) for w in words(text)][:_CONTEXT]
    return numbers + [PAD] * (_CONTEXT - len(numbers))


def _paint_chunk(
    make: Callable[[int, int], Painter], seed: int, chunk: int, count: int, folder: Path, side: int
) -> None:
    painter = make(seed, side)
    index = {w: n + 2 for n, w in enumerate(vocabulary())}
    images, scenes, tinted, said, false, ids, false_ids = [], [], [], [], [], [], []
    for number in range(chunk * CHUNK, chunk * CHUNK + count):
        image, scene = painter.paint(number)
        images.append(image)
        scenes.append(scene.slots())
        tinted.append(scene.tinted)
        rng = Random(f"{seed}/{number}/captions")
        for _ in range(_CAPTIONS):
            true = describe(scene, rng)
            wrong = [falsify(true, rng) for _ in range(_FALSE)]
            said.append(true.slots())
            false.append([w.slots() for w in wrong])
            ids.append(_numbers(caption(true, rng), index))
            false_ids.append([_numbers(caption(w, rng), index) for w in wrong])
    shape, several = (count, _CAPTIONS, -1), (count, _CAPTIONS, _FALSE, -1)
    arrays: dict[str, NDArray[Any]] = {
        "scenes": np.array(scenes, np.int16),
        "tinted": np.array(tinted),
        "said": np.array(said, np.int16).reshape(shape),
        "false": np.array(false, np.int16).reshape(several),
        "ids": np.array(ids, np.int16).reshape(shape),
        "false_ids": np.array(false_ids, np.int16).reshape(several),
        "images": np.stack(images),
    }
    for name, array in arrays.items():
        keep(folder / f"{chunk:04d}-{name}.npy", array)


def keep(path: Path, rows: NDArray[Any]) -> None:
    """Write a chunk, whole or not at all; what `has` asks for is written last."""
    with atomic(path) as temporary:
        np.save(temporary, rows)


def has(path: Path, count: int) -> bool:
    """Whether a chunk of at least `count` rows stands at `path`: a shorter training may have left fewer."""
    return path.exists() and len(np.load(path, mmap_mode="r")) >= count


def check_workers(count: int | None) -> None:
    """Check how many processes shall paint.

    Raises:
        ValueError: none, or more than a machine can bear.
    """
    if count is not None and not 1 <= count <= _MOST_WORKERS:
        raise ValueError(f"--workers must lie in 1 to {_MOST_WORKERS}, got {count}")


def require(folder: Path, words: Sequence[str], **world: int | str) -> str:
    """What world.json in `folder` has to say of pictures whose captions are numbered by these words.

    Raises:
        ValueError: it holds pictures of another world, or of an earlier version of this one.
    """
    told = {
        **world,
        "revision": _REVISION,
        "captions": _CAPTIONS,
        "false": _FALSE,
        "words": sha256("\n".join(words).encode()).hexdigest()[:12],
    }
    path = folder / "world.json"
    if any(folder.glob("[0-9]*-*.npy")) and (not path.is_file() or json.loads(path.read_text("utf-8")) != told):
        raise ValueError(
            f"{folder} holds pictures of another world or of an earlier version: expected {path} to say "
            f"{json.dumps(told)}; delete the folder, or name another with --pictures"
        )
    return json.dumps(told) + "\n"


def claim(folder: Path, words: Sequence[str], **world: int | str) -> None:
    """Make `folder` one for such pictures, as `require` says and with its error."""
    told = require(folder, words, **world)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "world.json").write_text(told, "utf-8")


def paint(
    seed: int,
    count: int,
    folder: Path,
    *,
    workers: int | None = None,
    side: int = SIDE,
    make: Callable[[int, int], Painter] = Painter,
    **world: str,
) -> Iterator[int]:
    """Paint `count` pictures of world `seed`, `side` pixels wide, into `folder`; yields how many stand there so far.

    What an earlier call finished is kept. The pictures do not depend on the number of workers (default: the
    number of cores; 1 paints in this process). `make` is what paints, by seed and side; one that needs more than
    these has it said in `world`.

    Raises:
        ValueError: the font is missing, or the folder holds pictures of another world.
    """
    sprites.sprites()
    claim(folder, vocabulary(), seed=seed, side=side, **world)
    sizes = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    missing = [n for n, size in enumerate(sizes) if not has(folder / f"{n:04d}-images.npy", size)]
    done = sum(size for n, size in enumerate(sizes) if n not in missing)
    yield done
    if workers == 1:
        for n in missing:
            _paint_chunk(make, seed, n, sizes[n], folder, side)
            done += sizes[n]
            yield done
        return
    with ProcessPoolExecutor(workers or os.cpu_count() or 1, mp_context=get_context("spawn")) as pool:
        jobs = {pool.submit(_paint_chunk, make, seed, n, sizes[n], folder, side): n for n in missing}
        for job in as_completed(jobs):
            job.result()
            done += sizes[jobs[job]]
            yield done


@dataclass(frozen=True)
class Batch:
    """Pictures with one true caption each and `f` false ones; attributes as `Scene.slots`, words as numbers.

    `tinted` is that of the scenes.
    """

    images: UInt8[Tensor, "b 3 s s"]
    scenes: Int[Tensor, "b 9"]
    tinted: Bool[Tensor, " b"]
    said: Int[Tensor, "b 9"]
    false: Int[Tensor, "b f 9"]
    ids: Int[Tensor, "b w"]
    false_ids: Int[Tensor, "b f w"]


class Pictures:
    """The first `count` painted pictures of a folder, by default all, memory mapped."""

    def __init__(self, folder: Path, count: int | None = None) -> None:
        names = sorted(p.name.split("-")[0] for p in folder.glob("*-images.npy"))
        if not names:
            raise ValueError(f"no painted pictures in {folder}; `python -m recipes.embedded train` paints them first")
        self._images = [np.load(folder / f"{n}-images.npy", mmap_mode="r") for n in names]
        self._starts = np.cumsum([0] + [len(i) for i in self._images])
        self._rest = {
            key: torch.from_numpy(np.concatenate([np.load(folder / f"{n}-{key}.npy") for n in names])[:count])
            for key in ("scenes", "tinted", "said", "false", "ids", "false_ids")
        }

    def __len__(self) -> int:
        return len(self._rest["ids"])

    @property
    def side(self) -> int:
        """Height and width of a picture in pixels."""
        return int(self._images[0].shape[1])

    def images(self, numbers: Int[Tensor, " b"]) -> UInt8[Tensor, "b 3 s s"]:
        """Pictures by number."""
        rows = []
        for number in numbers.tolist():
            chunk = int(np.searchsorted(self._starts, number, "right")) - 1
            rows.append(self._images[chunk][number - self._starts[chunk]])
        return torch.from_numpy(np.stack(rows)).permute(0, 3, 1, 2)

    def batch(self, numbers: Int[Tensor, " b"], wordings: Int[Tensor, " b"]) -> Batch:
        """Pictures by number, each with one of its wordings."""
        one = ("scenes", "tinted")
        rest = {k: v[numbers] if k in one else v[numbers, wordings] for k, v in self._rest.items()}
        rest = {k: v if v.dtype == torch.bool else v.long() for k, v in rest.items()}
        return Batch(images=self.images(numbers), **rest)

    def draw(self, size: int, rng: torch.Generator) -> Batch:
        """A random batch."""
        numbers = torch.randint(len(self), (size,), generator=rng)
        return self.batch(numbers, torch.randint(_CAPTIONS, (size,), generator=rng))
