"""What `clipopt index` does: encode what is new, drop what is gone."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from clipopt.captions import encode_views
from clipopt.commands.index import Index
from clipopt.commands.work.sounds import hear
from clipopt.io import folders
from clipopt.io.folders import at_home
from clipopt.io.picture_files import SOUNDS, SUFFIXES, Found, find_pictures, read_batches, read_lines
from clipopt.pipelines.checks import resolve_device
from clipopt.pipelines.interrupt import graceful_interrupt
from clipopt.pipelines.progress import progress
from clipopt.record.folder import check_writable
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.clap import ClapScorer, is_clap, load_clap
from clipopt.search import Index as Store
from clipopt.search.clip_retrieval import Pair, find_embeddings, read_embeddings
from clipopt.search.manifest import MANIFEST, is_vacant

SAVE_EVERY = 512
"""Items after which what was done is on the disk; a killed run goes on from there."""


def prepare(task: Index) -> Callable[[], None]:
    """Check everything, write nothing, and return the work.

    Raises:
        ValueError: a setting is wrong, or the index belongs to another scorer or source.
    """
    device = resolve_device(task.device)
    hears = is_clap(task.scorer)
    kind: Literal["pictures", "sounds", "texts", "embeddings"] = "sounds" if hears else "pictures"
    kind = "texts" if task.source.is_file() else kind
    pairs: list[Pair] = []
    wanted: dict[str, tuple[dict[str, Any], Any]] = {}
    if task.clip_retrieval:
        kind, pairs = "embeddings", find_embeddings(task.source)
    elif kind == "texts":
        wanted = {text: ({"text": text}, text) for text in read_lines(task.source)}
    else:
        sort = (SOUNDS, "sound") if hears else (SUFFIXES, "picture")
        wanted = {str(found.name): (_stamp(found, task.alpha), found) for found in find_pictures([task.source], *sort)}
    if task.backend != "exact":
        from clipopt.search.approximate import require_library

        require_library(task.backend)
    scorer = (load_clap if hears else load_scorer)(task.scorer, device=str(device))
    out = task.out or task.source.with_name(f"{task.source.resolve().name}.index")
    folders.check_idle(out)
    check_writable(next(path for path in (out, *out.absolute().parents) if path.is_dir()))
    store = _open(task, out, scorer, kind)
    unchanged = kind == "embeddings" and _unchanged(store, read_embeddings(pairs, _dim(scorer)))

    def work() -> None:
        index = store if store is not None else _create(task, out, scorer, kind)
        broken: list[Path] = []
        added = removed = 0
        with index.writing():
            try:
                index.clean()
                if kind != "embeddings":
                    added, removed = _update(task, index, scorer, wanted, broken)
                elif not unchanged:
                    removed = len(index)
                    index.overwrite(read_embeddings(pairs, index.manifest.dim))
                    added = len(index)
            finally:
                if store is None and not len(index):
                    index.discard()
            if task.backend != "exact":
                from clipopt.search import approximate

                if len(index) and not approximate.is_whole(index, task.backend):
                    approximate.build(index, task.backend)
        _say(task, index, added, removed, broken)

    return work


def _open(task: Index, out: Path, scorer: Scorer | ClapScorer, kind: str) -> Store | None:
    """The index that is there already, if it is of this scorer and source."""
    if not (out / MANIFEST).is_file():
        if not is_vacant(out):
            raise ValueError(f"{out} is there already and is no index: give another --out")
        return None
    store, lost = Store.salvage(out)
    store.require(scorer)
    source = task.source.resolve()
    if (store.source.resolve(), store.manifest.kind) != (source, kind):
        raise ValueError(
            f"{out} holds the {store.manifest.kind} of {store.source}, not the {kind} of {source}: give another --out"
        )
    if lost:
        sys.stderr.write(f"clipopt: {out}: {lost} {kind} were damaged there, and are indexed again\n")
    return store


def _create(task: Index, out: Path, scorer: Scorer | ClapScorer, kind: str) -> Store:
    local = at_home(task.scorer)
    return Store.create(
        out,
        scorer=str(local.resolve()) if local.exists() else task.scorer,
        fingerprint=scorer.fingerprint,
        dim=_dim(scorer),
        source=str(task.source.resolve()),
        kind=kind,
    )


def _dim(scorer: Scorer | ClapScorer) -> int:
    return scorer.encode_text(["a picture"]).shape[1]


def _unchanged(store: Store | None, batches: Iterable[tuple[torch.Tensor, list[dict[str, Any]]]]) -> bool:
    """Read everything, and so check it; returns whether it is what the index holds already."""
    count, same = 0, True
    for rows, items in batches:
        same = same and store is not None and store.holds(count, rows, items)
        count += len(items)
    if not count:
        raise ValueError("the files of embeddings hold no rows: nothing to index, export again")
    return same and store is not None and count == len(store)


def _update(
    task: Index,
    index: Store,
    scorer: Scorer | ClapScorer,
    wanted: dict[str, tuple[dict[str, Any], Any]],
    broken: list[Path],
) -> tuple[int, int]:
    """Append what is new, and drop what is gone or changed; returns how much that was."""
    with graceful_interrupt() as interrupted:
        added, gone = _append(task, index, scorer, wanted, broken, interrupted)
        stopped = interrupted()
    if stopped:
        sys.stderr.write("clipopt: interrupted and saved; the same command goes on\n")
        raise KeyboardInterrupt
    if len(broken) == len(wanted):
        raise OSError(f"none of the {len(broken)} {index.manifest.kind} could be read: nothing was indexed")
    index.compact(gone)
    return added, len(gone)


def _append(
    task: Index,
    index: Store,
    scorer: Scorer | ClapScorer,
    wanted: dict[str, tuple[dict[str, Any], Any]],
    broken: list[Path],
    interrupted: Callable[[], bool],
) -> tuple[int, list[int]]:
    """Append what is new; returns how much that was, and the numbers of what is gone or changed."""
    gone, known = [], set()
    for number, item in enumerate(index.items()):
        name = str(item.get("path", item.get("text")))
        if name in wanted and wanted[name][0] == item and name not in known:
            known.add(name)
        else:
            gone.append(number)
    new = [(item, what) for name, (item, what) in wanted.items() if name not in known]
    bar = progress(len(new), unit=index.manifest.kind[:-1], quiet=task.quiet)
    added = 0
    with bar:
        for start in range(0, len(new), SAVE_EVERY):
            some = new[start : start + SAVE_EVERY]
            if index.manifest.kind == "texts":
                index.append(scorer.encode_text([text for _, text in some]), [item for item, _ in some])
                added += len(some)
                bar.update(len(some))
            else:
                added += _add_pictures(task, index, scorer, some, broken, interrupted, bar.update)
            if interrupted():
                break
    return added, gone


def _add_pictures(
    task: Index,
    index: Store,
    scorer: Scorer | ClapScorer,
    new: Sequence[tuple[dict[str, Any], Found]],
    broken: list[Path],
    interrupted: Callable[[], bool],
    advance: Callable[[int], Any],
) -> int:
    stamps = {found.path: item for item, found in new}
    device = resolve_device(task.device)
    rows, items = [], []
    if isinstance(scorer, ClapScorer):
        for found, row in hear(scorer, [found for _, found in new], broken):
            rows.append(row[None])
            items.append(stamps[found.path])
            advance(1)
            if interrupted():
                break
        if rows:
            index.append(torch.cat(rows), items)
        return len(items)
    for batch in read_batches([found for _, found in new], broken, alpha=task.alpha):
        if batch:
            rows.append(encode_views(scorer, [picture.to(device) for _, picture in batch])[:, 0])
            items += [stamps[found.path] for found, _ in batch]
            advance(len(batch))
        if interrupted():
            break
    if rows:
        index.append(torch.cat(rows), items)
    return len(items)


def _say(task: Index, index: Store, added: int, removed: int, broken: Sequence[Path]) -> None:
    summary = {
        "index": str(index.folder),
        "items": len(index),
        "added": added,
        "removed": removed,
        "broken": [str(path) for path in broken],
        "scorer": index.manifest.scorer,
        "fingerprint": index.manifest.fingerprint,
    }
    if task.json:
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n")
        return
    said = f"{len(index)} {index.manifest.kind}: {added} added, {removed} removed, {len(broken)} unreadable"
    sys.stdout.write(f"{said}\n{index.folder}\n")


def _stamp(found: Found, alpha: str) -> dict[str, Any]:
    """What an index keeps of a picture; another size or time means another picture, and another `alpha` other rows."""
    status = found.path.stat()
    stamp = {"path": str(found.name), "bytes": status.st_size, "time": status.st_mtime_ns}
    return stamp if alpha == "white" else {**stamp, "alpha": alpha}
