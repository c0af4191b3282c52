"""What `clipopt classify` does: encode the labels, name pictures, say."""

import csv
import io
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.adapt import TEMPLATES, check_templates, encode_pictures, zero_shot
from clipopt.captions import probabilities
from clipopt.commands.classify import Classify
from clipopt.commands.work.caption_io import check_file
from clipopt.io import files
from clipopt.io.labelled import subfolder
from clipopt.io.picture_files import Found, find_pictures, read_batches, read_lines
from clipopt.io.terminal import printable
from clipopt.pipelines.checks import require_positive, resolve_device
from clipopt.pipelines.interrupt import graceful_interrupt
from clipopt.pipelines.progress import progress
from clipopt.pipelines.vocabulary import check_words
from clipopt.scorers import Abstains, Scorer, load_scorer
from clipopt.scorers.adapted import AdaptedScorer

_FORMATS = (".csv", ".json", ".jsonl")


def prepare(task: Classify) -> Callable[[], None]:
    """Check everything, write nothing, and return the work.

    Raises:
        ValueError: a setting is wrong, in one line.
    """
    require_positive(top=task.top)
    if task.out is not None:
        if task.out.suffix.lower() not in _FORMATS:
            raise ValueError(f"--out must end in {', '.join(_FORMATS)}, got {task.out}")
        check_file(task.out, overwrite=task.overwrite)
    pictures = find_pictures(task.pictures)
    templates = read_templates(task.templates)
    labels = _labels(task)
    device = resolve_device(task.device)
    scorer = load_scorer(task.scorer, device=str(device))
    if not labels:
        labels = scorer.labels if isinstance(scorer, AdaptedScorer) else _folders(pictures)
    if len(labels) < 2:
        raise ValueError('say which labels there are: --labels "cat,dog", or --labels-file FILE, at least two')
    rows = label_rows(scorer, labels, templates)
    check_words(labels, scorer, None)
    _say_abstained(scorer, labels)
    broken: list[Path] = []
    batches = read_batches(pictures, broken, alpha=task.alpha)
    batch = next(batches)

    def work() -> None:
        named: list[tuple[Found, Tensor]] = []
        bar = progress(len(pictures), unit="picture", quiet=task.quiet or len(pictures) == 1)
        with bar, graceful_interrupt() as interrupted:
            some: list[Any] | None = batch
            while some is not None:
                if some:
                    with torch.no_grad():
                        seen = encode_pictures(scorer, [picture.to(device) for _, picture in some])
                    shares = probabilities(scorer, seen, rows).cpu()
                    named += [(found, share) for (found, _), share in zip(some, shares, strict=True)]
                bar.update(len(named) + len(broken) - bar.n)
                if interrupted():
                    break
                some = next(batches, None)
            stopped = interrupted()
        if named:
            _say(task, named, labels, broken, scorer)
        if stopped:
            raise KeyboardInterrupt
        if not named:
            raise OSError(f"none of the {len(broken)} pictures could be read: nothing is written")

    return work


def _say_abstained(scorer: Scorer, labels: Sequence[str]) -> None:
    """Warn about labels that are far from everything that the scorer knows."""
    lacked = [label for label in labels if scorer.abstains(label)] if isinstance(scorer, Abstains) else []
    if lacked:
        more = f" and {len(lacked) - 5} more" if len(lacked) > 5 else ""
        named = ", ".join(f'"{label}"' for label in lacked[:5])
        sys.stderr.write(
            f"clipopt: warning: {scorer.name} knows nothing near {named}{more}: expect little of it. "
            "From some pictures of each label, `clipopt adapt` learns it\n"
        )


def _labels(task: Classify) -> tuple[str, ...]:
    if task.labels is not None and task.labels_file is not None:
        raise ValueError("--labels and --labels-file both say the labels: leave one out")
    if task.labels_file is not None:
        return tuple(read_lines(task.labels_file, "labels"))
    named = [label.strip() for label in (task.labels or "").split(",")]
    if task.labels is not None and not all(named):
        raise ValueError(f'--labels: expected labels with commas between them, such as "cat,dog", got {task.labels!r}')
    return tuple(dict.fromkeys(label for label in named if label))


def _say(
    task: Classify, named: Sequence[tuple[Found, Tensor]], labels: Sequence[str], broken: Sequence[Path], scorer: Scorer
) -> None:
    rows = [_row(found, shares, labels, task.top) for found, shares in named]
    known = [row for row in rows if "truth" in row]
    accuracy = sum(row["labels"][0] == row["truth"] for row in known) / len(known) if known else None
    if task.out is not None:
        _write(task.out, rows)
    if task.json:
        result: dict[str, Any] = {"scorer": scorer.name, "fingerprint": scorer.fingerprint, "labels": list(labels)}
        result |= {"accuracy": accuracy, "pictures": rows, "broken": [str(path) for path in broken]}
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write(_table(rows))
        if accuracy is not None:
            sys.stdout.write(f"right: {accuracy:.1%} of {len(known)} pictures in subfolders named like a label\n")
        if task.out is not None:
            sys.stdout.write(f"{task.out}\n")


def label_rows(scorer: Scorer, labels: Sequence[str], templates: Sequence[str]) -> Float[Tensor, "c d"]:
    """The rows of labels: of an adapter as it learned them, else the mean over templates.

    Raises:
        ValueError: templates for labels that an adapter has learned, or a template without a place for the label.
    """
    if isinstance(scorer, AdaptedScorer) and set(labels) <= set(scorer.labels):
        if templates:
            raise ValueError(f"{scorer.name} learned its labels with templates of its own: leave out --templates")
        return scorer.encode_text(labels)
    return zero_shot(scorer, labels, templates or TEMPLATES)


def read_templates(given: Sequence[str]) -> tuple[str, ...]:
    """Templates as they were said: each one a sentence, or a file of sentences.

    Raises:
        ValueError: one has no place for a label.
    """
    templates = [
        line for text in given for line in (read_lines(Path(text), "templates") if Path(text).is_file() else [text])
    ]
    if templates:
        check_templates(templates)
    return tuple(dict.fromkeys(templates))


def _folders(pictures: Sequence[Found]) -> tuple[str, ...]:
    return tuple(sorted({folder for found in pictures if (folder := subfolder(found)) is not None}))


def _row(found: Found, shares: Float[Tensor, " c"], labels: Sequence[str], top: int) -> dict[str, Any]:
    best = shares.topk(min(top, len(labels)))
    row = {"path": str(found.path), "labels": [labels[n] for n in best.indices.tolist()]}
    row["probabilities"] = [round(share, 6) for share in best.values.tolist()]
    folder = subfolder(found)
    return {**row, "truth": folder} if folder in labels else row


def _table(rows: Sequence[dict[str, Any]]) -> str:
    names = [printable(row["path"]) for row in rows]
    width = max(map(len, names), default=0)
    lines = []
    for name, row in zip(names, rows, strict=True):
        said = [f"{label} ({share:.0%})" for label, share in zip(row["labels"], row["probabilities"], strict=True)]
        lines.append(f"{name:{width}}  {printable(', '.join(said))}\n")
    return "".join(lines)


def _write(out: Path, rows: Sequence[dict[str, Any]]) -> None:
    if out.suffix.lower() == ".json":
        return files.write_text(out, json.dumps(rows, ensure_ascii=False, indent=2) + "\n")
    if out.suffix.lower() == ".jsonl":
        return files.write_text(out, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "rank", "label", "probability"))
    for row in rows:
        for rank, pair in enumerate(zip(row["labels"], row["probabilities"], strict=True), 1):
            writer.writerow((row["path"], rank, *pair))
    return files.write_text(out, text.getvalue())
