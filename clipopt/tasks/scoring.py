"""What `clipopt score` does: read, measure, say."""

import json
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt import files
from clipopt.captions import TextEncoder, encode_views, probabilities
from clipopt.captions.clipscore import clipscore, prefixed, ref_clipscore, torchmetrics_clipscore
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.clap import ClapScorer, is_clap, load_clap
from clipopt.tasks.checks import resolve_device
from clipopt.tasks.choices import check_file
from clipopt.tasks.pictures import SOUNDS, SUFFIXES, Found, find_pictures, hear, read_batches
from clipopt.tasks.progress import progress
from clipopt.tasks.score import Score
from clipopt.tasks.words import check_words

_TORCHMETRICS = "torchmetrics CLIPScore"


def prepare(task: Score) -> Callable[[], None]:
    """Check everything, write nothing, and return the work.

    Raises:
        ValueError: a setting or a file is wrong, in one line.
    """
    captions: dict[str, str] = _read(task.candidates, str)
    references = None if task.references is None else _read(task.references, list)
    if references is not None and task.variant == "torchmetrics":
        raise ValueError("--references belong to CLIPScore: leave out --variant torchmetrics")
    if references is not None and (lacking := [name for name in captions if not references.get(name)]):
        raise ValueError(f"{task.references} has no reference for {lacking[0]} ({len(lacking)} are lacking)")
    hears = is_clap(task.scorer)
    pictures = _find(task, captions, *((SOUNDS, "sound") if hears else (SUFFIXES, "picture")))
    if task.out is not None:
        check_file(task.out, overwrite=task.overwrite)
    device = resolve_device(task.device)
    # A measure is not rounded.
    scorer = (load_clap if hears else load_scorer)(task.scorer, device=str(device), dtype="float32")
    broken: list[Path] = []
    names = [found.path.stem for found in pictures]
    if isinstance(scorer, ClapScorer):
        return lambda: _hear(task, scorer, pictures, captions, references)
    batches = read_batches(pictures, broken)
    first = next(batches)
    check_words([*captions.values(), *chain.from_iterable((references or {}).values())], scorer, None)

    def work() -> None:
        images = []
        bar = progress(len(pictures), unit="picture", quiet=task.quiet)
        with bar:
            for batch in chain([first], batches):
                if broken:
                    raise OSError(f"cannot read {broken[0]}: a mean without it would be of other pictures")
                images.append(encode_views(scorer, [picture.to(device) for _, picture in batch])[:, 0])
                bar.update(len(batch))
        _say(task, *_score(task, scorer, torch.cat(images), names, captions, references), scorer)

    return work


def _hear(
    task: Score,
    scorer: ClapScorer,
    sounds: Sequence[Found],
    captions: dict[str, str],
    references: dict[str, Any] | None,
) -> None:
    broken: list[Path] = []
    rows = [row for _, row in hear(scorer, sounds, broken)]
    if broken:
        raise OSError(f"cannot read {broken[0]}: a mean without it would be of other sounds")
    names = [found.path.stem for found in sounds]
    _say(task, *_score(task, scorer, torch.stack(rows), names, captions, references), scorer)


def _find(task: Score, captions: dict[str, str], suffixes: Sequence[str], what: str) -> list[Found]:
    if not task.pictures.is_dir():
        raise ValueError(f"expected a folder of {what}s, got {task.pictures}")
    by_name: dict[str, Found] = {}
    for found in find_pictures([task.pictures], suffixes, what):
        name = found.path.stem
        if name in captions and name in by_name:
            raise ValueError(f"{by_name[name].path} and {found.path} are both the {what} {name}: remove one")
        by_name[name] = found
    if lacking := [name for name in captions if name not in by_name]:
        raise ValueError(f"{task.pictures} has no {what} {lacking[0]} ({len(lacking)} are lacking)")
    # Named by the file of captions: one that is broken is an error.
    return [Found(by_name[name].path, by_name[name].name, named=True) for name in captions]


def _score(
    task: Score,
    scorer: Scorer | ClapScorer,
    images: Float[Tensor, "b d"],
    names: Sequence[str],
    captions: dict[str, str],
    references: dict[str, Any] | None,
) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The mean of every measure, and its values for every picture."""
    encode, means = TextEncoder(scorer), dict[str, float]()
    plain = [captions[name] for name in names]
    if task.variant == "torchmetrics":
        rows = encode(plain)
        columns = {_TORCHMETRICS: 100 * (images * rows).sum(1)}
        means = {_TORCHMETRICS: float(torchmetrics_clipscore(images, rows))}
    else:
        # A sound is no photo.
        read: Callable[[Sequence[str]], list[str]] = list if isinstance(scorer, ClapScorer) else prefixed
        rows = encode(read(plain))
        columns = {"CLIPScore": clipscore(images, rows)}
        if references is not None:
            theirs = [encode(read(references[name])) for name in names]
            columns["RefCLIPScore"] = ref_clipscore(images, rows, theirs)
    if task.probability:
        columns["Probability"] = probabilities(scorer, images, encode(plain)).diagonal()
    means = {key: float(column.mean()) for key, column in columns.items()} | means
    values = {name: column.tolist() for name, column in columns.items()}
    return means, {name: {key: values[key][i] for key in values} for i, name in enumerate(names)}


def _say(
    task: Score, means: dict[str, float], scores: dict[str, dict[str, float]], scorer: Scorer | ClapScorer
) -> None:
    if task.out is not None:
        files.write_text(task.out, json.dumps(scores, ensure_ascii=False) + "\n")
    if task.json:
        result = {"scorer": scorer.name, "fingerprint": scorer.fingerprint, "mean": means, "scores": scores}
        sys.stdout.write(json.dumps(result, ensure_ascii=False) + "\n")
    else:
        sys.stdout.write("".join(f"{key}: {mean:.4f}\n" for key, mean in means.items()))


def _read(path: Path, kind: type) -> dict[str, Any]:
    """A JSON object of picture to a text, or with `kind` list, to one text or several."""
    what = '{"picture": "a caption", ...}' if kind is str else '{"picture": ["a reference", ...], ...}'
    try:
        entries: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path}: expected JSON such as {what}; {error}") from error
    if isinstance(entries, dict) and kind is list:
        entries = {name: [texts] if isinstance(texts, str) else texts for name, texts in entries.items()}

    def right(value: Any) -> bool:
        texts = [value] if isinstance(value, str) else value
        return isinstance(value, kind) and all(isinstance(text, str) for text in texts)

    if not isinstance(entries, dict) or not entries or not all(map(right, entries.values())):
        raise ValueError(f"{path} must hold JSON such as {what}")
    return dict(entries)
