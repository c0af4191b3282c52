"""What `clipopt eval natural` checks before it measures: settings, readers, and what an interrupted one left."""

import contextlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from clipopt.commands.eval_natural import EvaluateNatural
from clipopt.commands.work.eval_natural_run import Work, go_on, picture, start
from clipopt.evaluation.natural_suite import SENTENCES, Sought, sought_classes
from clipopt.evaluation.shares import evenly
from clipopt.pipelines.checks import parse_size, require_positive, resolve_device
from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.image.presets import SETTLED, check_guides, settle
from clipopt.pipelines.vocabulary import understand
from clipopt.record import check_out
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.classifier import Classifier

GUIDES, READERS = ("natural",), ("natural:lite2", "natural:lite1")
_SEVERAL = ("scorer", "scorer_weight", "readers")


def prepare(task: EvaluateNatural) -> Callable[[], None]:
    """Check everything, write nothing, and return the measurement."""
    if task.resume is None:
        check_out(task.out, overwrite=task.overwrite, kind="measurement")
        work = _check(task)
        return lambda: start(work)
    place = task.resume
    config = _read_config(place, task)
    work = _check(_settings_of(config, task, place))
    now: dict[str, Any] = json.loads(json.dumps(work.config))  # as it is read back: a tuple is a list then
    for part, values in now.items():
        if other := [name for name, value in values.items() if config.get(part, {}).get(name) != value]:
            raise ValueError(f"{place} was begun with other {part} of {', '.join(other)}: start again with --out")
    rows = _read_rows(place, work)
    return lambda: go_on(work, place, rows)


def _check(task: EvaluateNatural) -> Work:
    width, height = parse_size(task.size)
    scorers = task.scorer or GUIDES
    check_guides(scorers, task.scorer_weight, ())
    if len(set(scorers)) < len(scorers):
        raise ValueError(f"--scorer: each guides once, got {', '.join(scorers)}")
    settled = settle(scorers, task.preset, {name: getattr(task, name) for name in SETTLED})
    require_positive(seeds=task.seeds, batch=task.batch)
    if not 0 <= task.low_first <= 1:
        raise ValueError(f"--low-first must lie in 0 to 1, got {task.low_first}")
    plan = ImagePlan(width, height, seed=task.seed, low_first=task.low_first, weights=task.scorer_weight, **settled)
    some = _some(sought_classes(), task.classes, "--classes") + _some(SENTENCES, task.sentences, "--sentences")
    asked = [(prompt, task.seed + n) for prompt in some for n in range(task.seeds)]
    if not asked:
        raise ValueError("--classes 0 and --sentences 0 leave nothing to draw: ask for some")
    if not 0 <= task.blind <= len(asked):
        raise ValueError(f"--blind must lie in 0 to {len(asked)}, the number of pictures, got {task.blind}")
    device = resolve_device(task.device)
    guides = {name: load_scorer(name, device=str(device)) for name in scorers}
    readers = choose_readers(task.readers, guides, device)
    with contextlib.redirect_stderr(io.StringIO()):  # the rows tell who hears what
        said, _ = understand([prompt.text for prompt in some], [*guides.values()], None)
    return Work(task, plan, asked, guides, readers, said, device)


def _some(suite: Sequence[Sought], count: int | None, option: str) -> list[Sought]:
    return [] if count == 0 else evenly(suite, count, option)


def choose_readers(names: Sequence[str], guides: Mapping[str, Scorer], device: torch.device) -> dict[str, Classifier]:
    """Those named; where none is, those of `READERS` that do not guide.

    Raises:
        ValueError: one cannot read, or guides.
    """
    found: dict[str, Classifier] = {}
    for name in names or READERS:
        reader = load_scorer(name, device=str(device))
        if not isinstance(reader, Classifier) or len(reader.names) != 1000:
            raise ValueError(f"{name} cannot name pictures: expected --readers such as {' or '.join(READERS)}")
        guide = next((guide for guide, scorer in guides.items() if _alike(reader, scorer)), None)
        if guide is None:
            found[name] = reader
        elif names:
            raise ValueError(f"{name} cannot read what {guide} drew, they share a network: take other --readers")
    if not found:
        raise ValueError(f"{' and '.join(READERS)} guide, and no other reader is known: name some with --readers")
    return found


def _alike(reader: Classifier, guide: Scorer) -> bool:
    """Whether two look through the same network: those of the packages are loaded once."""
    guide = getattr(guide, "base", guide)
    if reader.fingerprint == guide.fingerprint:
        return True
    return isinstance(guide, Classifier) and any(one is other for one in reader.networks for other in guide.networks)


def _read_config(place: Path, task: EvaluateNatural) -> dict[str, Any]:
    default = EvaluateNatural("natural")
    for name, value in vars(task).items():
        if name not in ("task", "resume", "device", "json") and value != getattr(default, name):
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"--resume continues a measurement with its own settings: leave out {option}")
    try:
        config: dict[str, Any] = json.loads((place / "config.json").read_text("utf-8"))
        if not all(isinstance(part, dict) for part in (config, *config.values())):
            raise ValueError("expected an object of objects")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise ValueError(f"{place} holds no measurement to continue: cannot read its config.json ({error})") from error
    return config


def _settings_of(config: Mapping[str, Any], task: EvaluateNatural, place: Path) -> EvaluateNatural:
    try:
        settings: dict[str, Any] = {k: tuple(v) if k in _SEVERAL else v for k, v in config["settings"].items()}
        return EvaluateNatural("natural", **settings, device=task.device, out=place, json=task.json)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{place / 'config.json'} is not of this clipopt's `eval natural`: {error}") from error


def _read_rows(place: Path, work: Work) -> list[dict[str, Any]]:
    """The pictures that are done."""
    path = place / "pictures.jsonl"
    try:
        rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.is_file() else []
        done = [(row["prompt"], row["seed"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    if done != [(prompt.text, seed) for prompt, seed in work.asked[: len(rows)]]:
        raise ValueError(f"{path} holds other pictures than config.json asks for: start again with --out")
    for index in range(len(rows)):
        if not (missing := picture(place, index)).is_file():
            raise ValueError(f"{missing} is missing: start again with --out")
    return rows
