"""`clipopt search`: find pictures or texts in an index."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from clipopt import files
from clipopt.captions import encode_views
from clipopt.clips import load_sound
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.clap import ClapScorer, is_clap, load_clap
from clipopt.search import Index, combine, duplicates, search
from clipopt.tasks.checks import require_positive, resolve_device
from clipopt.tasks.choices import check_file

Hit = tuple[float, dict[str, Any]]
_SHEETS = (".png", ".jpg", ".jpeg")
_CELL = 192


@dataclass(frozen=True)
class Search:
    """Find the items of an index that are nearest to texts and pictures.

    Several queries are added up, and --without is taken away: one search for something that is all of it.

        clipopt search photos.index "a red apple"
        clipopt search photos.index cat.png "at night" --without "a dog" --out found.png
        clipopt search photos.index --duplicates 0.97
    """

    index: Path
    """A folder that `clipopt index` wrote."""
    query: tuple[str, ...]
    """Texts; where a file of that name exists, that picture."""
    without: tuple[str, ...] = ()
    """A text or picture to take away from the query; can be given several times."""
    duplicates: float | None = None
    """Instead of a query: groups of items whose cosine is at least this, for example 0.97."""
    top: int = 10
    """How many to find."""
    scorer: str | None = None
    """Who reads the query; by default the scorer of the index, and no other is allowed: give it where the model has
    moved to another place."""
    backend: Literal["exact", "usearch", "faiss"] = "exact"
    """exact looks at every item; the others use the graph that `clipopt index --backend` built."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Where to write what was found: FILE.jsonl, or FILE.png for a sheet of the pictures."""
    overwrite: bool = False
    """Replace the file --out."""
    json: bool = False
    """Print JSON alone on stdout."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the work.

        Raises:
            ValueError: a setting is wrong, or the index is of another scorer.
        """
        require_positive(top=self.top)
        if (self.duplicates is None) == (not self.query and not self.without):
            raise ValueError("say what to find: texts or pictures, or else --duplicates 0.97")
        index = Index.open(self.index)
        if self.out is not None:
            check_file(self.out, overwrite=self.overwrite)
            if self.out.suffix.lower() not in (".jsonl", *_SHEETS):
                raise ValueError(f"--out must end in .jsonl, .png or .jpg, got {self.out}")
            if self.out.suffix.lower() in _SHEETS and index.manifest.kind != "pictures":
                raise ValueError(f"{self.index} holds {index.manifest.kind}: a sheet is for pictures, use FILE.jsonl")
        if self.duplicates is not None:
            if not 0 < self.duplicates <= 1:
                raise ValueError(f"--duplicates must be above 0 and at most 1, got {self.duplicates}")
            threshold = self.duplicates
            return lambda: self._say_duplicates(index, threshold)
        if not len(index):
            raise ValueError(f"{self.index} is empty: index something first")
        spec, device = self.scorer or index.manifest.scorer, str(resolve_device(self.device))
        scorer = load_clap(spec, device=device) if is_clap(spec) else load_scorer(spec, device=device)
        index.require(scorer)
        query = combine([(self._row(q, scorer), weight) for q, weight in self._parts()])[None]
        graph = None
        if self.backend != "exact":
            from clipopt.search.approximate import Graph

            graph = Graph(index, self.backend)

        def work() -> None:
            scores, numbers = search(index, query, self.top) if graph is None else graph(query, self.top)
            self._say(index, list(zip(scores[0].tolist(), map(index.item, numbers[0].tolist()), strict=True)))

        return work

    def _parts(self) -> list[tuple[str, float]]:
        return [(q, 1.0) for q in self.query] + [(q, -1.0) for q in self.without]

    def _row(self, query: str, scorer: Scorer | ClapScorer) -> Tensor:
        if not query.strip():
            raise ValueError("a query is empty: expected a text or a picture file")
        if len(query) < 1024 and Path(query).is_file():
            if isinstance(scorer, ClapScorer):
                wave = load_sound(query, rate=scorer.sample_rate)
                return scorer.encode_audio(wave[None].to(resolve_device(self.device)))[0].detach()
            picture = files.load_image(query)[0].to(resolve_device(self.device))
            return encode_views(scorer, [picture])[0, 0]
        return scorer.encode_text([query])[0]

    def _say(self, index: Index, hits: list[Hit]) -> None:
        rows = [{"score": score, **_shown(index, item)} for score, item in hits]
        if self.out is not None:
            self._write(index, rows)
        if self.json:
            sys.stdout.write(json.dumps({"index": str(self.index), "hits": rows}, ensure_ascii=False) + "\n")
        elif self.out is not None:
            sys.stdout.write(f"{self.out}\n")
        else:
            sys.stdout.write("".join(f"{row['score']:.3f}  {_label(row)}\n" for row in rows))

    def _write(self, index: Index, rows: list[dict[str, Any]]) -> None:
        if self.out is None:
            return
        if self.out.suffix.lower() == ".jsonl":
            files.write_text(self.out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
            return
        pictures, labels = [], []
        for row in rows:
            try:
                pictures.append(_square(files.load_image(row["path"])))
            except ValueError as error:
                sys.stderr.write(f"clipopt: left out: {error}\n")
                continue
            labels.append(f"{row['score']:.3f} {Path(row['path']).name}")
        if not pictures:
            raise OSError("none of the pictures found can be read: index again")
        files.save(self.out, files.sheet(torch.cat(pictures), labels))

    def _say_duplicates(self, index: Index, threshold: float) -> None:
        groups = [[_shown(index, index.item(n)) for n in group] for group in duplicates(index, threshold)]
        if self.out is not None:
            if self.out.suffix.lower() == ".jsonl":
                files.write_text(self.out, "".join(json.dumps(group, ensure_ascii=False) + "\n" for group in groups))
            else:
                self._write(index, [{"score": float(i), **row} for i, group in enumerate(groups, 1) for row in group])
        if self.json:
            sys.stdout.write(json.dumps({"index": str(self.index), "groups": groups}, ensure_ascii=False) + "\n")
            return
        text = "\n".join("".join(f"{_label(row)}\n" for row in group) for group in groups)
        sys.stdout.write(text or f"no two of {len(index)} items have a cosine of {threshold:g} or more\n")


def _shown(index: Index, item: dict[str, Any]) -> dict[str, Any]:
    """An item with the picture's whole path."""
    if index.manifest.kind not in ("pictures", "sounds"):
        return item
    return {**item, "path": str(Path(index.manifest.source) / item["path"])}


def _label(row: dict[str, Any]) -> str:
    return "  ".join(str(row[key]) for key in ("path", "url", "text") if key in row)


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
