"""What `clipopt eval natural` does: make the pictures, have them named, and go on where it was stopped."""

import dataclasses
import json
import random
import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from clipopt import files
from clipopt.record import check_out, peak_memory, versions
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.classifier import Classifier
from clipopt.tasks.checks import parse_size, require_positive, resolve_device
from clipopt.tasks.drawing import Drawing, Item
from clipopt.tasks.evaluate_natural import EvaluateNatural
from clipopt.tasks.evaluations import by_group, evenly, folder, in_words
from clipopt.tasks.natural_suite import SENTENCES, Sought, sought_classes
from clipopt.tasks.planner import Plan
from clipopt.tasks.presets import SETTLED, check_guides, settle
from clipopt.tasks.sight import resize
from clipopt.types import Images

GUIDES, READERS = ("natural",), ("natural:lite2", "natural:lite1")
_NAMES, _COLUMNS, _CELL = 5, 12, 160
_OF_ONE_CALL = ("task", "out", "overwrite", "resume", "device", "json")
_SEVERAL = ("scorer", "scorer_weight", "readers")


@dataclass(frozen=True)
class _Work:
    """A measurement that was checked.

    Attributes:
        task: Its settings.
        asked: Prompts and seeds of all pictures, in order.
        guides: Who guides, by the names of the options.
        readers: Who names the pictures, likewise.
    """

    task: EvaluateNatural
    plan: Plan
    asked: Sequence[tuple[Sought, int]]
    guides: Mapping[str, Scorer]
    readers: Mapping[str, Classifier]
    device: torch.device

    @property
    def config(self) -> dict[str, Any]:
        """What config.json keeps: the settings, and which weights they stood for."""
        settings = {name: value for name, value in vars(self.task).items() if name not in _OF_ONE_CALL}
        settings |= {"scorer": [*self.guides], "readers": [*self.readers]}
        return {"settings": settings, "plan": asdict(self.plan), "fingerprints": self.fingerprints}

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of all who guide or read."""
        return {name: eye.fingerprint for name, eye in (*self.guides.items(), *self.readers.items())}


def prepare(task: EvaluateNatural) -> Callable[[], None]:
    """Check everything, write nothing, and return the measurement."""
    if task.resume is None:
        check_out(task.out, overwrite=task.overwrite)
        work = _check(task)
        return lambda: _start(work)
    place = task.resume
    config = _read_config(place, task)
    work = _check(_settings_of(config, task, place))
    # As they are read back: a tuple is a list then.
    if json.loads(json.dumps(work.config)) != config:
        raise ValueError(f"{place} was measured with other weights or by another clipopt: start again with --out")
    rows = _read_rows(place, work)
    return lambda: _measure(work, place, rows)


def _check(task: EvaluateNatural) -> _Work:
    width, height = parse_size(task.size)
    scorers = task.scorer or GUIDES
    check_guides(scorers, task.scorer_weight, ())
    if len(set(scorers)) < len(scorers):
        raise ValueError(f"--scorer: each guides once, got {', '.join(scorers)}")
    settled = settle(scorers[0], task.preset, {k: v for k, v in vars(task).items() if k in SETTLED})
    require_positive(seeds=task.seeds, batch=task.batch)
    if not 0 <= task.low_first <= 1:
        raise ValueError(f"--low-first must lie in 0 to 1, got {task.low_first}")
    plan = Plan(
        width, height, seed=task.seed, low_first=task.low_first, weights=task.scorer_weight, **settled
    )  # fmt: skip
    some = _some(sought_classes(), task.classes, "--classes") + _some(SENTENCES, task.sentences, "--sentences")
    asked = [(prompt, task.seed + n) for prompt in some for n in range(task.seeds)]
    if not asked:
        raise ValueError("--classes 0 and --sentences 0 leave nothing to draw: ask for some")
    if not 0 <= task.blind <= len(asked):
        raise ValueError(f"--blind must lie in 0 to {len(asked)}, the number of pictures, got {task.blind}")
    device = resolve_device(task.device)
    guides = {name: load_scorer(name, device=str(device)) for name in scorers}
    return _Work(task, plan, asked, guides, _readers(task.readers, guides, device), device)


def _some(suite: Sequence[Sought], count: int | None, option: str) -> list[Sought]:
    return [] if count == 0 else evenly(suite, count, option)


def _readers(names: Sequence[str], guides: Mapping[str, Scorer], device: torch.device) -> dict[str, Classifier]:
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
    """Whether two look through the same network; each is loaded once."""
    return isinstance(guide, Classifier) and any(one is other for one in reader.networks for other in guide.networks)


def _read_config(place: Path, task: EvaluateNatural) -> dict[str, Any]:
    default = EvaluateNatural("natural")
    for name, value in vars(task).items():
        if name not in ("task", "resume", "device", "json") and value != getattr(default, name):
            option = f"--{name.replace('_', '-')}"
            raise ValueError(f"--resume continues a measurement with its own settings: leave out {option}")
    try:
        config: dict[str, Any] = json.loads((place / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{place} holds no measurement to continue: cannot read its config.json ({error})") from error
    return config


def _settings_of(config: Mapping[str, Any], task: EvaluateNatural, place: Path) -> EvaluateNatural:
    try:
        settings = {k: tuple(v) if k in _SEVERAL else v for k, v in config["settings"].items()}
        return EvaluateNatural("natural", **settings, device=task.device, out=place, json=task.json)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{place / 'config.json'} is not of this clipopt's `eval natural`: {error}") from error


def _read_rows(place: Path, work: _Work) -> list[dict[str, Any]]:
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
        if not (missing := _picture(place, index)).is_file():
            raise ValueError(f"{missing} is missing: start again with --out")
    return rows


def _start(work: _Work) -> None:
    out = folder(work.task)
    # What an earlier measurement left would be taken for this one's.
    for pattern in ("picture-*.png", "blind/*.png"):
        for path in out.glob(pattern):
            path.unlink()
    for name in ("pictures.jsonl", "summary.json", "sheet.png", "key.json"):
        (out / name).unlink(missing_ok=True)
    files.write_text(out / "config.json", json.dumps(work.config, indent=2) + "\n")
    _measure(work, out, [])


def _measure(work: _Work, out: Path, rows: list[dict[str, Any]]) -> None:
    try:
        _draw(work, out, rows)
    except KeyboardInterrupt:
        command = f"clipopt eval natural --resume {shlex.quote(str(out))}"
        sys.stderr.write(f"clipopt: interrupted, {len(rows)} pictures are saved; continue with: {command}\n")
        raise
    _show(work, out, rows)
    if work.task.blind:
        _hide(work, out)
    _finish(work, out, rows)


def _draw(work: _Work, out: Path, rows: list[dict[str, Any]]) -> None:
    """Make what `rows` still lacks; each batch is written, then added to them."""
    from tqdm import tqdm

    plan, asked = work.plan, work.asked
    total, done = len(asked) * plan.steps, len(rows) * plan.steps
    with tqdm(total=total, initial=done, unit="picture-step", disable=work.task.json, file=sys.stderr) as bar:
        while len(rows) < len(asked):
            first = len(rows)
            some = asked[first : first + work.task.batch]
            started = time.perf_counter()
            items = [Item({prompt.text: 1.0}, seed, prompt.text) for prompt, seed in some]
            drawing = Drawing(plan, items, [*work.guides.values()], device=work.device)
            for _ in drawing.draw():
                bar.update(len(some))
            images = drawing.best.images.clamp(0, 1).mul(255).round().div(255)  # as they are written
            seconds = round((time.perf_counter() - started) / len(some), 3)
            new = _read(work, images, some, seconds)
            for index, image in enumerate(images.cpu(), start=first):
                files.save(_picture(out, index), image)
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in (*rows, *new))
            files.write_text(out / "pictures.jsonl", lines)
            rows += new


def _read(work: _Work, images: Images, some: Sequence[tuple[Sought, int]], seconds: float) -> list[dict[str, Any]]:
    """The rows of pictures: what was asked, and what each reader reads."""
    rows: list[dict[str, Any]] = [
        {"prompt": prompt.text, "group": prompt.group, "seed": seed, "seconds": seconds} for prompt, seed in some
    ]
    for name, reader in work.readers.items():
        best = reader.probabilities(images).topk(_NAMES, dim=-1)
        each = zip(rows, some, best.values.tolist(), best.indices.tolist(), strict=True)
        for row, (prompt, _), shares, classes in each:
            met = [number in prompt.classes for number in classes]
            row[name] = {
                "names": [reader.names[number][0] for number in classes],
                "probabilities": [round(share, 4) for share in shares],
                "top1": met[0],
                "top5": any(met),
            }
    return rows


def _show(work: _Work, out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The contact sheet, with what the first reader reads where it is something else."""
    reader = next(iter(work.readers))
    labels = []
    for row in rows:
        read = row[reader]
        said = "" if read["top1"] else f" ({_short(reader)}: {read['names'][0]})"
        labels.append(row["prompt"] + said)
    scale = _CELL / max(work.plan.height, work.plan.width)
    cell = (max(1, round(scale * work.plan.height)), max(1, round(scale * work.plan.width)))
    images = torch.cat([resize(files.load_image(_picture(out, index)), cell) for index in range(len(rows))])
    files.save(out / "sheet.png", files.sheet(images, labels, columns=_COLUMNS))


def _hide(work: _Work, out: Path) -> None:
    """Some pictures in another order, without what they are to show, which the key tells."""
    chosen = random.Random(work.task.seed).sample(range(len(work.asked)), work.task.blind)
    (out / "blind").mkdir(exist_ok=True)
    digits, key = max(2, len(str(len(chosen) - 1))), {}
    for number, index in enumerate(chosen):
        name = f"{number:0{digits}d}.png"
        prompt, seed = work.asked[index]
        key[name] = {"prompt": prompt.text, "noun": prompt.noun, "seed": seed, "picture": _picture(out, index).name}
        files.save(out / "blind" / name, files.load_image(_picture(out, index)))
    files.write_text(out / "key.json", json.dumps(key, indent=2) + "\n")


@dataclass(frozen=True)
class _Right:
    right: bool


def _finish(work: _Work, out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    order, seconds = [prompt for prompt, _ in work.asked], sum(row["seconds"] for row in rows)
    shares = {
        name: {top: by_group(order, [_Right(row[name][top]) for row in rows]) for top in ("top1", "top5")}
        for name in work.readers
    }
    summary = {
        "readers": shares,
        "pictures": len(rows),
        "seconds": round(seconds, 1),
        "seconds_per_picture": round(seconds / len(rows), 2),
        "plan": asdict(work.plan),
        "fingerprints": work.fingerprints,
        "peak_memory_bytes": peak_memory(),
        "peak_device_memory_bytes": _device_memory(work.device),
        "versions": versions(),
    }
    files.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
    lines = [
        f"{group}, named by {name}: first {in_words(tops['top1'][group])}, among five {in_words(tops['top5'][group])}"
        for group in dict.fromkeys(prompt.group for prompt in order)
        for name, tops in shares.items()
    ]
    told = json.dumps(summary) + "\n" if work.task.json else "".join(f"{line}\n" for line in (*lines, out))
    sys.stdout.write(told)


def _device_memory(device: torch.device) -> int | None:
    """The most that a GPU held for this process."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None


def _picture(out: Path, index: int) -> Path:
    return out / f"picture-{index:03d}.png"


def _short(name: str) -> str:
    return name.rpartition(":")[2]
