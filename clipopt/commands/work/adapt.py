"""What `clipopt adapt` does: choose pictures, learn, measure on the others."""

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipopt.adapt import (
    TEMPLATES,
    Examples,
    Options,
    check_method,
    choose_shots,
    encode_pictures,
    save_adapter,
    zero_shot,
)
from clipopt.adapt import adapt as learn
from clipopt.commands.adapt import Adapt
from clipopt.commands.work.classify import read_templates
from clipopt.io import folders
from clipopt.io.folders import at_home
from clipopt.io.image import LOOKED_AT
from clipopt.io.labelled import Labelled, find_labelled
from clipopt.io.picture_files import BATCH, read_batches
from clipopt.pipelines.checks import require_positive, resolve_device
from clipopt.pipelines.kinds import is_natural
from clipopt.record import check_out, versions
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.adapted import Adapter
from clipopt.scorers.adapter_files import MANIFEST

_THROUGH_TOWERS = ("lora", "wise-ft", "full")
_ALL = 2**26
_ON_LOOKS, _LOOKS = ("probe", "tip", "tip-f"), "+looks"


def prepare(task: Adapt) -> Callable[[], None]:
    """Check everything, write nothing, and return the work.

    Raises:
        ValueError: a setting is wrong, in one line.
    """
    positive: dict[str, int | float] = {"alpha": task.alpha, "beta": task.beta, "rank": task.rank}
    positive |= {name: value for name, value in (("steps", task.steps), ("rate", task.rate)) if value is not None}
    require_positive(**positive)
    if task.shots < 0:
        raise ValueError(f"--shots must be 0 (all) or more, got {task.shots}")
    if task.anchor is not None and not (math.isfinite(task.anchor) and task.anchor >= 0):
        raise ValueError(f"--anchor must be 0 or more, got {task.anchor}")
    if not 0 <= task.share <= 1:
        raise ValueError(f"--share must lie between 0 and 1, got {task.share}")
    data = find_labelled(task.data)
    templates = read_templates(task.templates) or TEMPLATES
    out = task.out or task.data.with_name(f"{task.data.resolve().stem}.adapter")
    check_out(out, overwrite=task.overwrite, kind="adapter")
    device = resolve_device(task.device)
    dtype = "float32" if task.method in _THROUGH_TOWERS else "auto"
    if task.method in _ON_LOOKS and is_natural(task.scorer) and not task.scorer.endswith(_LOOKS):
        task = replace(task, scorer=f"{task.scorer}{_LOOKS}")
    scorer = load_scorer(task.scorer, device=str(device), dtype=dtype)
    check_method(task.method, scorer, data.labels, task.context)

    def work() -> None:
        with _reserved(out, overwrite=task.overwrite):
            _adapt(task, data, templates, scorer, device, out)

    return work


@contextmanager
def _reserved(out: Path, *, overwrite: bool) -> Iterator[None]:
    """Be the only one who writes a folder; what fails leaves none where there was none."""
    made = not out.exists()
    out.mkdir(parents=True, exist_ok=True)
    try:
        with folders.writing(out):
            if not overwrite and (out / MANIFEST).exists():
                raise OSError(
                    f"another process wrote an adapter into {out} meanwhile: give another --out, or --overwrite"
                )
            yield
    except folders.BusyError:
        raise
    except BaseException:
        if made and not (out / MANIFEST).exists():
            (out / folders.LOCK).unlink(missing_ok=True)
            with suppress(OSError):
                out.rmdir()
        raise


def _adapt(
    task: Adapt, data: Labelled, templates: tuple[str, ...], scorer: Scorer, device: torch.device, out: Path
) -> None:
    broken: list[Path] = []
    numbers = torch.tensor(data.numbers)
    chosen, rest = choose_shots(numbers, task.shots or len(numbers), task.seed)
    # All are in memory at once: of many, each is shrunk, but not below twice what the scorer sees.
    most = min(LOOKED_AT, max(16 * scorer.image_size**2, _ALL // len(chosen)))
    pictures, kept = _read(task, data, chosen, broken, device, most)
    lacking = sorted(set(range(len(data.labels))) - set(numbers[kept].tolist()))
    if lacking:
        raise OSError(f"none of the pictures chosen of {data.labels[lacking[0]]} could be read: put others there")
    examples = Examples(pictures, numbers[kept], data.labels, templates)
    started = time.perf_counter()
    names = ("anchor", "alpha", "beta", "context", "rank", "share", "objective", "steps", "rate")
    options = Options(**{name: getattr(task, name) for name in names})
    local = at_home(task.scorer)
    base = str(local.resolve()) if local.exists() else task.scorer
    adapter = learn(task.method, scorer, examples, base=base, seed=task.seed, options=options)
    seconds = time.perf_counter() - started
    result = _measure(task, data, rest, scorer, adapter, templates, broken, device)
    summary = {
        "adapter": str(out),
        "method": task.method,
        "labels": len(data.labels),
        "examples": len(kept),
        "held_out": result,
        "seconds": round(seconds, 2),
        "broken": [str(path) for path in broken],
        "base": adapter.base,
        "base_fingerprint": adapter.fingerprint,
    }
    notes = {
        **summary,
        "settings": vars(options),
        "shots": task.shots,
        "transparency": task.transparency,
        "seed": task.seed,
        "versions": versions(),
    }
    save_adapter(replace(adapter, notes=notes), out, locked=True)
    if task.json:
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n")
        return
    said = f"{task.method}: {len(kept)} pictures of {len(data.labels)} labels in {seconds:.1f} s\n"
    if result is not None:
        said += f"named rightly, of {result['pictures']} others: {result['adapted']:.1%}"
        said += f" (before: {result['zero_shot']:.1%})\n"
    sys.stdout.write(f"{said}{out}\n")


def _read(
    task: Adapt,
    data: Labelled,
    places: Sequence[int],
    broken: list[Path],
    device: torch.device,
    most: int = LOOKED_AT,
) -> tuple[list[Float[Tensor, "3 _ _"]], list[int]]:
    """Pictures at `places`, and the places of those that could be read."""
    at = {data.pictures[place].path: place for place in places}
    pictures, kept = [], []
    for batch in read_batches([data.pictures[place] for place in places], broken, alpha=task.transparency, most=most):
        for found, picture in batch:
            pictures.append(picture.to(device))
            kept.append(at[found.path])
    return pictures, kept


@torch.no_grad()
def _measure(
    task: Adapt,
    data: Labelled,
    places: Sequence[int],
    scorer: Scorer,
    adapter: Adapter,
    templates: tuple[str, ...],
    broken: list[Path],
    device: torch.device,
) -> dict[str, Any] | None:
    """How many of the pictures that nothing was learned from are named rightly, before and after."""
    adapted = adapter.apply(scorer)
    ways = {
        "zero_shot": (scorer, zero_shot(scorer, data.labels, templates)),
        "adapted": (adapted, adapted.encode_text(data.labels)),
    }
    right: dict[str, list[bool]] = {way: [] for way in ways}
    for start in range(0, len(places), BATCH):
        pictures, kept = _read(task, data, places[start : start + BATCH], broken, device)
        truth = torch.tensor([data.numbers[place] for place in kept])
        for way, (who, rows) in ways.items():
            right[way] += _right(who, pictures, rows, truth)
    count = len(right["adapted"])
    if not count:
        return None
    return {"pictures": count, **{way: sum(values) / count for way, values in right.items()}}


def _right(
    scorer: Scorer, pictures: Sequence[Tensor], rows: Float[Tensor, "c d"], truth: Int[Tensor, " n"]
) -> list[bool]:
    if not pictures:
        return []
    named = scorer.logits(encode_pictures(scorer, pictures), rows).argmax(1).cpu()
    return (named == truth).tolist()
