"""The work of `clipopt eval natural`: make the pictures batch by batch, have them named, tell what came out."""

import json
import random
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from clipopt.commands.eval_natural import EvaluateNatural
from clipopt.evaluation.natural_suite import Sought
from clipopt.evaluation.shares import by_group, folder, in_words, wilson
from clipopt.io import files
from clipopt.io.folders import writing
from clipopt.pipelines.image.loop import ImageLoop, Item
from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.progress import progress
from clipopt.pipelines.views import resize
from clipopt.record import peak_memory, versions
from clipopt.scorers import Scorer
from clipopt.scorers.classifier import Classifier
from clipopt.types import Images

_NAMES, _COLUMNS, _CELL = 5, 12, 160
_PICTURE, _BLIND = re.compile(r"picture-\d{3,}\.png"), re.compile(r"\d{2,}\.png")
_OF_ONE_CALL = ("task", "out", "overwrite", "resume", "device", "json")


@dataclass(frozen=True)
class Work:
    """A measurement that was checked.

    Attributes:
        task: Its settings.
        plan: How pictures are made.
        asked: Prompts and seeds of all pictures, in order.
        guides: Who guides, by the names of the options.
        readers: Who names the pictures, likewise.
        said: Texts in other words, for guides of a small vocabulary; "" where it has none for them.
        device: Where to compute.
    """

    task: EvaluateNatural
    plan: ImagePlan
    asked: Sequence[tuple[Sought, int]]
    guides: Mapping[str, Scorer]
    readers: Mapping[str, Classifier]
    said: Mapping[str, str]
    device: torch.device

    @property
    def config(self) -> dict[str, Any]:
        """What config.json keeps: the settings, and which weights they stood for."""
        settings = {name: value for name, value in vars(self.task).items() if name not in _OF_ONE_CALL}
        settings |= {"scorer": [*self.guides], "readers": [*self.readers]}
        return {"settings": settings, "plan": asdict(self.plan), "fingerprints": self.fingerprints}

    def heard(self, text: str) -> dict[str, str]:
        """What each guide takes a prompt for: classes with their shares, or words that it knows; "" for nothing."""
        told = {}
        for name, guide in self.guides.items():
            if isinstance(guide, Classifier):
                told[name] = "" if guide.abstains(text) else str(guide.reading(text))
            else:
                told[name] = self.said.get(text, text)
        return told

    @property
    def fingerprints(self) -> dict[str, str]:
        """Of all who guide or read."""
        return {name: eye.fingerprint for name, eye in (*self.guides.items(), *self.readers.items())}


def start(work: Work) -> None:
    """Measure in a new folder, or in one that is overwritten: what an earlier measurement left there is deleted.

    Raises:
        BusyError: another process writes the folder.
        KeyboardInterrupt: Ctrl-C; whole batches are in the folder.
    """
    with folder(work.task) as out:
        for place, name in ((out, _PICTURE), (out / "blind", _BLIND)):
            if place.is_symlink():
                raise ValueError(f"{place} is a link: expected a folder of its own; remove it, or give another --out")
            for path in place.glob("*.png"):
                if name.fullmatch(path.name):
                    path.unlink()
        for left in ("pictures.jsonl", "summary.json", "sheet.png", "key.json"):
            (out / left).unlink(missing_ok=True)
        files.write_text(out / "config.json", json.dumps(work.config, indent=2) + "\n")
        _measure(work, out, [])


def go_on(work: Work, out: Path, rows: list[dict[str, Any]]) -> None:
    """Make the pictures behind those of `rows`.

    Raises:
        BusyError: another process writes the folder.
        KeyboardInterrupt: Ctrl-C; whole batches are in the folder.
    """
    with writing(out):
        _measure(work, out, rows)


def _measure(work: Work, out: Path, rows: list[dict[str, Any]]) -> None:
    try:
        _draw(work, out, rows)
        _show(work, out, rows)
        if work.task.blind:
            _hide(work, out)
        _finish(work, out, rows)
    except KeyboardInterrupt:
        command = f"clipopt eval natural --resume {shlex.quote(str(out))}"
        sys.stderr.write(f"clipopt: interrupted, {len(rows)} pictures are saved; continue with: {command}\n")
        raise


def _draw(work: Work, out: Path, rows: list[dict[str, Any]]) -> None:
    """Make what `rows` still lacks; each batch is written, then added to them."""
    plan, asked = work.plan, work.asked
    total, done = len(asked) * plan.steps, len(rows) * plan.steps
    with progress(total, initial=done, unit="picture-step", quiet=work.task.json) as bar:
        while len(rows) < len(asked):
            first = len(rows)
            some = asked[first : first + work.task.batch]
            started = time.perf_counter()
            items = [Item({prompt.text: 1.0}, seed, prompt.text) for prompt, seed in some]
            drawing = ImageLoop(plan, items, [*work.guides.values()], said=work.said, device=work.device)
            for _ in drawing.draw():
                bar.update(len(some))
            images = drawing.best.images.clamp(0, 1).mul(255).round().div(255)  # as they are written
            seconds = round((time.perf_counter() - started) / len(some), 3)
            new = _read(work, images, some, seconds)
            for index, image in enumerate(images.cpu(), start=first):
                files.save(picture(out, index), image)
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in (*rows, *new))
            files.write_text(out / "pictures.jsonl", lines)
            rows += new


def _read(work: Work, images: Images, some: Sequence[tuple[Sought, int]], seconds: float) -> list[dict[str, Any]]:
    """The rows of pictures: what was asked, what the guides took it for, and what each reader reads."""
    rows: list[dict[str, Any]] = [
        {
            "prompt": prompt.text,
            "group": prompt.group,
            "seed": seed,
            "heard": work.heard(prompt.text),
            "seconds": seconds,
        }
        for prompt, seed in some
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


def _show(work: Work, out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The contact sheet, with what the first reader reads where it is something else."""
    reader = next(iter(work.readers))
    labels = []
    for row in rows:
        read = row[reader]
        said = "" if read["top1"] else f" ({_short(reader)}: {read['names'][0]})"
        labels.append(row["prompt"] + said)
    scale = _CELL / max(work.plan.height, work.plan.width)
    cell = (max(1, round(scale * work.plan.height)), max(1, round(scale * work.plan.width)))
    images = torch.cat([resize(files.load_image(picture(out, index)), cell) for index in range(len(rows))])
    files.save(out / "sheet.png", files.sheet(images, labels, columns=_COLUMNS))


def _hide(work: Work, out: Path) -> None:
    """Some pictures in another order, without what they are to show, which the key tells."""
    chosen = random.Random(work.task.seed).sample(range(len(work.asked)), work.task.blind)
    (out / "blind").mkdir(exist_ok=True)
    digits, key = max(2, len(str(len(chosen) - 1))), {}
    for number, index in enumerate(chosen):
        name = f"{number:0{digits}d}.png"
        prompt, seed = work.asked[index]
        key[name] = {"prompt": prompt.text, "noun": prompt.noun, "seed": seed, "picture": picture(out, index).name}
        files.save(out / "blind" / name, files.load_image(picture(out, index)))
    files.write_text(out / "key.json", json.dumps(key, indent=2) + "\n")


@dataclass(frozen=True)
class _Right:
    right: bool


def _finish(work: Work, out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    order, seconds = [prompt for prompt, _ in work.asked], sum(row["seconds"] for row in rows)
    shares = {
        name: {top: by_group(order, [_Right(row[name][top]) for row in rows], wilson) for top in ("top1", "top5")}
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


def picture(out: Path, index: int) -> Path:
    """Where a picture is written."""
    return out / f"picture-{index:03d}.png"


def _short(name: str) -> str:
    return name.rpartition(":")[2]
