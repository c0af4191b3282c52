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

from clipopt.captions import TextEncoder, encode_views, probabilities
from clipopt.captions.clipscore import clipscore, prefixed, ref_clipscore, torchmetrics_clipscore
from clipopt.commands.score import Score
from clipopt.commands.work.caption_io import check_file
from clipopt.commands.work.sounds import hear
from clipopt.io import files
from clipopt.io.caption_files import Owners, read_captions, read_references
from clipopt.io.picture_files import SOUNDS, SUFFIXES, Found, find_pictures, read_batches
from clipopt.pipelines.checks import resolve_device
from clipopt.pipelines.progress import progress
from clipopt.pipelines.vocabulary import check_words
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.clap import ClapScorer, is_clap, load_clap

_TORCHMETRICS = "torchmetrics CLIPScore"


def prepare(task: Score) -> Callable[[], None]:
    """Check everything, write nothing, and return the work.

    Raises:
        ValueError: a setting or a file is wrong, in one line.
    """
    captions = read_captions(task.candidates)
    references = None if task.references is None else read_references(task.references)
    if references is not None and task.variant == "torchmetrics":
        raise ValueError("--references belong to CLIPScore: leave out --variant torchmetrics")
    hears = is_clap(task.scorer)
    pictures, references = _find(task, captions, references, *((SOUNDS, "sound") if hears else (SUFFIXES, "picture")))
    if task.out is not None:
        check_file(task.out, overwrite=task.overwrite)
    device = resolve_device(task.device)
    # A measure is not rounded.
    scorer = (load_clap if hears else load_scorer)(task.scorer, device=str(device), dtype="float32")
    broken: list[Path] = []
    names = list(captions)
    if isinstance(scorer, ClapScorer):
        return lambda: _hear(task, scorer, pictures, captions, references)
    batches = read_batches(pictures, broken, alpha=task.alpha)
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
    _say(task, *_score(task, scorer, torch.stack(rows), list(captions), captions, references), scorer)


def _find(
    task: Score, captions: dict[str, str], references: dict[str, list[str]] | None, suffixes: Sequence[str], what: str
) -> tuple[list[Found], dict[str, list[str]] | None]:
    """The picture of every caption, and the references by the captions' keys."""
    if not task.pictures.is_dir():
        raise ValueError(f"expected a folder of {what}s, got {task.pictures}")
    owners = Owners(find_pictures([task.pictures], suffixes, what))
    if lacking := [name for name in captions if not owners(name)]:
        raise ValueError(
            f"{task.pictures} has no {what} {lacking[0]} ({len(lacking)} are lacking): expected a file name, with or "
            f"without its suffix, or its number in COCO"
        )
    keys: dict[Path, str] = {}
    pictures = []
    for name in captions:
        first, *others = owners(name)
        if others:
            raise ValueError(f"{first.path} and {others[0].path} are both the {what} {name}: remove one")
        if first.path in keys:
            raise ValueError(f"{keys[first.path]} and {name} in {task.candidates} are one {what}: leave one out")
        keys[first.path] = name
        # Named by the file of captions: one that is broken is an error.
        pictures.append(Found(first.path, first.name, named=True))
    if references is None:
        return pictures, None
    found: dict[str, list[str]] = {}
    for name, texts in references.items():
        for owner in [name] if name in captions else [keys[f.path] for f in owners(name) if f.path in keys]:
            found.setdefault(owner, []).extend(texts)
    if lacking := [name for name in captions if not found.get(name)]:
        raise ValueError(f"{task.references} has no reference for {lacking[0]} ({len(lacking)} are lacking)")
    return pictures, found


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
        pairs = zip(images.split(1), rows.split(1), strict=True)
        columns = {_TORCHMETRICS: torch.stack([torchmetrics_clipscore(*pair) for pair in pairs])}
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
