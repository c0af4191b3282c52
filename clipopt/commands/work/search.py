"""What `clipopt search` does: read the query, find, say."""

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from clipopt.captions import encode_views
from clipopt.commands.search import Search
from clipopt.commands.work.caption_io import check_file
from clipopt.io import files
from clipopt.io.image import LOOKED_AT, Alpha, load_image, picture_size
from clipopt.io.media import load_sound
from clipopt.io.picture_files import SOUNDS, SUFFIXES, leave_out
from clipopt.io.terminal import printable
from clipopt.pipelines.checks import require_positive, resolve_device
from clipopt.pipelines.vocabulary import check_words
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.clap import ClapScorer, is_clap, load_clap
from clipopt.search import Index, combine, duplicates, search

if TYPE_CHECKING:
    from clipopt.search.approximate import Graph

Hit = tuple[float, dict[str, Any]]
_SHEETS = (".png", ".jpg", ".jpeg")
_CELL = 192


def prepare(task: Search) -> Callable[[], None]:
    """Check everything, write nothing, and return the work.

    Raises:
        ValueError: a setting is wrong, or the index is of another scorer.
    """
    require_positive(top=task.top)
    if (task.duplicates is None) == (not task.query and not task.without):
        raise ValueError("say what to find: texts or pictures, or else --duplicates 0.97")
    index = Index.open(task.index)
    if task.out is not None:
        check_file(task.out, overwrite=task.overwrite)
        if task.out.suffix.lower() not in (".jsonl", *_SHEETS):
            raise ValueError(f"--out must end in .jsonl, .png or .jpg, got {task.out}")
        if task.out.suffix.lower() in _SHEETS and index.manifest.kind != "pictures":
            raise ValueError(f"{task.index} holds {index.manifest.kind}: a sheet is for pictures, use FILE.jsonl")
    if task.duplicates is not None:
        if not 0 < task.duplicates <= 1:
            raise ValueError(f"--duplicates must be above 0 and at most 1, got {task.duplicates}")
        threshold = task.duplicates
        return lambda: _say_duplicates(task, index, threshold)
    if not len(index):
        raise ValueError(f"{task.index} is empty: index something first")
    spec, device = task.scorer or index.manifest.scorer, str(resolve_device(task.device))
    scorer = load_clap(spec, device=device) if is_clap(spec) else load_scorer(spec, device=device)
    index.require(scorer)
    alpha: Alpha = task.alpha or index.item(0).get("alpha", "white")
    query = combine([(_row(task, q, scorer, alpha), weight) for q, weight in _parts(task)])[None]
    graph = None
    if task.backend != "exact":
        graph = _open_graph(index, task.backend)
    if not isinstance(scorer, ClapScorer):
        check_words([q for q, _ in _parts(task) if not _is_file(q)], scorer, None)

    def work() -> None:
        scores, numbers = search(index, query, task.top) if graph is None else graph(query, task.top)
        _say(task, index, list(zip(scores[0].tolist(), map(index.item, numbers[0].tolist()), strict=True)))

    return work


def _open_graph(index: Index, backend: Literal["usearch", "faiss"]) -> "Graph | None":
    """The graph of the index; None, with a line, where it is damaged: everything in it stands in the index, too.

    Raises:
        ValueError: the library is not installed, or the graph was not built.
    """
    from clipopt.search.approximate import Graph, approximate_file, is_whole, require_library

    require_library(backend)
    if approximate_file(index, backend).exists() and not is_whole(index, backend):
        sys.stderr.write(
            f"clipopt: the {backend} graph of {index.folder} is damaged, or of an older version: every item is looked "
            f"at; `clipopt index` with --backend {backend} builds it again\n"
        )
        return None
    return Graph(index, backend)


def _parts(task: Search) -> list[tuple[str, float]]:
    return [(q, 1.0) for q in task.query] + [(q, -1.0) for q in task.without]


def _row(task: Search, query: str, scorer: Scorer | ClapScorer, alpha: Alpha) -> Tensor:
    if not query.strip():
        raise ValueError("a query is empty: expected a text or a picture file")
    if _is_file(query):
        if isinstance(scorer, ClapScorer):
            wave = load_sound(query, rate=scorer.sample_rate)
            return scorer.encode_audio(wave[None].to(resolve_device(task.device)))[0].detach()
        picture = load_image(query, alpha=alpha, most=LOOKED_AT)[0].to(resolve_device(task.device))
        return encode_views(scorer, [picture])[0, 0]
    return scorer.encode_text([query])[0]


def _is_file(query: str) -> bool:
    """Whether a query is a file, and no text.

    Raises:
        ValueError: it reads like the name of a picture or sound, and there is no such file.
    """
    with contextlib.suppress(OSError):  # longer than the name of any file
        if Path(query).is_file():
            return True
    suffix = Path(query).suffix.lower()
    if suffix in (*SUFFIXES, *SOUNDS):
        what = "picture" if suffix in SUFFIXES else "sound"
        raise ValueError(f"no such {what}: {query}; expected a file, or a text that does not end in {suffix}")
    return False


def _say(task: Search, index: Index, hits: list[Hit]) -> None:
    rows = [{"score": score, **_shown(index, item)} for score, item in hits]
    if task.out is not None:
        _write(task, index, rows)
    if task.json:
        sys.stdout.write(json.dumps({"index": str(task.index), "hits": rows}, ensure_ascii=False) + "\n")
    elif task.out is not None:
        sys.stdout.write(f"{task.out}\n")
    else:
        sys.stdout.write("".join(f"{row['score']:.3f}  {_label(row)}\n" for row in rows))


def _write(task: Search, index: Index, rows: list[dict[str, Any]]) -> None:
    if task.out is None:
        return
    if task.out.suffix.lower() == ".jsonl":
        files.write_text(task.out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
        return
    pictures, labels = [], []
    for row in rows:
        try:
            pictures.append(_square(load_image(row["path"], alpha=row.get("alpha", "white"), most=LOOKED_AT)))
        except ValueError as error:
            leave_out(error)
            continue
        labels.append(f"{row['score']:.3f} {Path(row['path']).name}")
    if not pictures:
        raise OSError("none of the pictures found can be read: index again")
    files.save(task.out, files.sheet(torch.cat(pictures), labels))


def _say_duplicates(task: Search, index: Index, threshold: float) -> None:
    groups = [_ranked(index, group) for group in duplicates(index, threshold)]
    if task.out is not None:
        if task.out.suffix.lower() == ".jsonl":
            files.write_text(task.out, "".join(json.dumps(group, ensure_ascii=False) + "\n" for group in groups))
        elif groups:
            _write(task, index, [{**row, "score": float(i)} for i, group in enumerate(groups, 1) for row in group])
    if task.json:
        sys.stdout.write(json.dumps({"index": str(task.index), "groups": groups}, ensure_ascii=False) + "\n")
        return
    text = "\n".join("".join(_duplicate_line(row) for row in group) for group in groups)
    sys.stdout.write(text or f"no two of {len(index)} items have a cosine of {threshold:g} or more\n")


def _ranked(index: Index, group: Sequence[int]) -> list[dict[str, Any]]:
    """The items of a group of duplicates, each with its cosine to the one to keep, which comes first."""
    shown = [_shown(index, index.item(number)) for number in group]
    sizes = [_size(index, row) for row in shown]
    names = [_label(row) for row in shown]
    # More pixels, then the larger file, then the name.
    best = min(range(len(group)), key=lambda i: (-sizes[i][0] * sizes[i][1], -sizes[i][2], names[i]))
    rows = torch.nn.functional.normalize(index.rows(group), dim=1)
    cosines = (rows @ rows[best]).clamp(-1, 1).tolist()
    order = sorted(range(len(group)), key=lambda i: (i != best, -cosines[i], names[i]))
    fields = [dict(zip(("width", "height", "bytes"), sizes[i], strict=True)) for i in order]
    return [
        {**shown[i], **{key: value for key, value in own.items() if value}, "cosine": cosines[i], "keep": i == best}
        for i, own in zip(order, fields, strict=True)
    ]


def _size(index: Index, row: dict[str, Any]) -> tuple[int, int, int]:
    """Width, height and bytes as they are now; 0 where there is none, or the file is gone or cannot be read."""
    width = height = number = 0
    if index.manifest.kind in ("pictures", "sounds"):
        with contextlib.suppress(OSError):
            number = Path(row["path"]).stat().st_size
    if index.manifest.kind == "pictures":
        with contextlib.suppress(ValueError):
            width, height = picture_size(row["path"])
    return width, height, number


def _duplicate_line(row: dict[str, Any]) -> str:
    said = [f"{row['width']} x {row['height']}"] if "width" in row else []
    said += [f"{row['bytes']:,} bytes"] if "bytes" in row else []
    note = f"  ({', '.join(said)})" if said else ""
    return f"{'keep' if row['keep'] else format(row['cosine'], '.4f'):<6}  {_label(row)}{note}\n"


def _shown(index: Index, item: dict[str, Any]) -> dict[str, Any]:
    """An item with the picture's whole path."""
    if index.manifest.kind not in ("pictures", "sounds"):
        return item
    return {**item, "path": str(index.source / item["path"])}


def _label(row: dict[str, Any]) -> str:
    return "  ".join(printable(row[key]) for key in ("path", "url", "text") if key in row)


def _square(picture: Tensor) -> Tensor:
    """A picture on a white square."""
    height, width = picture.shape[-2:]
    scale = _CELL / max(height, width)
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = torch.nn.functional.interpolate(picture, size, mode="bicubic", antialias=True).clamp(0, 1)
    page = torch.ones(1, 3, _CELL, _CELL)
    top, left = (_CELL - size[0]) // 2, (_CELL - size[1]) // 2
    page[:, :, top : top + size[0], left : left + size[1]] = small
    return page
