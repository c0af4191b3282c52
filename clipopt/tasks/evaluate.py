"""`clipopt eval`: measure a task on its fixed suite of prompts."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from clipopt import files
from clipopt.embedded.suite import Prompt, Reading, bank, interval, prompts, read
from clipopt.record import check_out, peak_memory, versions
from clipopt.record.folder import new_folder
from clipopt.scorers import Scorer, load_scorer
from clipopt.tasks.checks import parse_size, require_positive, resolve_device
from clipopt.tasks.drawing import Drawing, Item, Plan
from clipopt.tasks.kinds import Param
from clipopt.tasks.presets import SETTLED, settle
from clipopt.tasks.sight import Cutouts
from clipopt.types import Images


@dataclass(frozen=True)
class Evaluate:
    """Measure a task on its fixed suite of prompts; for meshes see `clipopt eval mesh --help`.

    Makes a picture of every prompt with every seed, by the settings of `clipopt image`, then lets the scorer and
    the judge name each among some five hundred captions. R-Precision@1 is the share that they name by its own
    prompt. The scorer was in the loss, so its share says little; the judge's is the result. Nothing is chosen by
    the judge.

    The folder that the last line names holds sheet.png (all pictures, with what the judge reads where it reads
    something else), pictures.jsonl and summary.json.
    """

    task: Literal["image"]
    """What to measure."""
    scorer: str = "embedded"
    """Who guides; see `clipopt image --help`."""
    judge: str = "embedded-judge"
    """Who judges."""
    prompts: int = len(prompts())
    """How many prompts of the suite to take, evenly spaced."""
    seeds: int = 2
    """Pictures of each prompt."""
    seed: int = 0
    """The first seed."""
    batch: int = 24
    """Pictures made at once; changes the time, not the pictures."""
    preset: Literal["auto", "robust", "plain"] = "auto"
    """As in `clipopt image`, and so are the options below: by default as suits the kind of scorer."""
    param: Param | None = None
    """As in `clipopt image`."""
    size: str = "256"
    """As in `clipopt image`."""
    steps: int | None = None
    """As in `clipopt image`."""
    lr: float | None = None
    """As in `clipopt image`."""
    crops: int | None = None
    """As in `clipopt image`."""
    smooth: float | None = None
    """As in `clipopt image`."""
    cutouts: Cutouts | None = None
    """As in `clipopt image`."""
    text_off: float | None = None
    """As in `clipopt image`."""
    begin: Literal["noise", "samples"] | None = None
    """As in `clipopt image`."""
    tries: int | None = None
    """As in `clipopt image`."""
    low_first: float = Plan.low_first
    """As in `clipopt image`."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Folder to write; by default a new one, outputs/eval/<time>-image."""
    overwrite: bool = False
    """Write into --out even though it holds something."""
    json: bool = False
    """Print the summary alone on stdout."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the measurement."""
        width, height = parse_size(self.size)
        settled = settle(self.scorer, self.preset, {name: getattr(self, name) for name in SETTLED})
        require_positive(prompts=self.prompts, seeds=self.seeds, batch=self.batch)
        if self.prompts > len(prompts()):
            raise ValueError(f"--prompts: the suite has {len(prompts())}, got {self.prompts}")
        check_out(self.out, overwrite=self.overwrite)
        device = resolve_device(self.device)
        scorer, judge = (load_scorer(name, device=str(device)) for name in (self.scorer, self.judge))
        plan = Plan(width, height, seed=self.seed, low_first=self.low_first, **settled)
        return lambda: self._measure(plan, scorer, judge, device)

    def _measure(self, plan: Plan, scorer: Scorer, judge: Scorer, device: torch.device) -> None:
        from tqdm import tqdm

        chosen = [prompts()[i * len(prompts()) // self.prompts] for i in range(self.prompts)]
        asked = [(prompt, self.seed + n) for prompt in chosen for n in range(self.seeds)]
        made, started = [], time.perf_counter()
        bar = tqdm(total=len(asked) * plan.steps, unit="picture-step", disable=self.json, file=sys.stderr)
        with bar:
            for start in range(0, len(asked), self.batch):
                some = asked[start : start + self.batch]
                items = [Item({prompt.text: 1.0}, seed, prompt.text) for prompt, seed in some]
                drawing = Drawing(plan, items, scorer, device=device)
                for _ in drawing.draw():
                    bar.update(len(some))
                made.append(drawing.best.images.cpu())
        seconds = time.perf_counter() - started
        images = torch.cat(made)
        order = [prompt for prompt, _ in asked]
        readings = {
            name: _read_all(who, images.to(device), order) for name, who in (("scorer", scorer), ("judge", judge))
        }
        out = new_folder(Path("outputs/eval"), self.task) if self.out is None else self.out
        out.mkdir(parents=True, exist_ok=True)
        _write_pictures(out, images, asked, readings)
        shares = {name: by_group(order, r) for name, r in readings.items()}
        summary = {
            "r_precision": shares,
            "captions": len(bank()),
            "pictures": len(asked),
            "seconds": round(seconds, 1),
            "seconds_per_picture": round(seconds / len(asked), 2),
            "plan": asdict(plan),
            "fingerprints": {"scorer": scorer.fingerprint, "judge": judge.fingerprint},
            "peak_memory_bytes": peak_memory(),
            "versions": versions(),
        }
        files.write_text(out / "summary.json", json.dumps(summary, indent=2) + "\n")
        if self.json:
            sys.stdout.write(json.dumps(summary) + "\n")
            return
        for name, groups in shares.items():
            low, high = groups["all"]["interval"]
            sys.stdout.write(f"R-Precision@1 by the {name}: {groups['all']['share']:.1%} [{low:.1%}, {high:.1%}]\n")
        sys.stdout.write(f"{out}\n")


def _read_all(scorer: Scorer, images: Images, asked: Sequence[Prompt]) -> list[Reading]:
    starts = range(0, len(images), 64)
    return [r for s in starts for r in read(scorer, images[s : s + 64], asked[s : s + 64])]


def by_group(asked: Sequence[Prompt], readings: Sequence[Reading]) -> dict[str, dict[str, Any]]:
    """Share and 95 % interval of all pictures, and of each group of prompts."""

    def rows() -> Iterator[tuple[str, list[bool]]]:
        yield "all", [r.right for r in readings]
        for group in dict.fromkeys(p.group for p in asked):
            yield group, [r.right for p, r in zip(asked, readings, strict=True) if p.group == group]

    return {
        group: {"share": sum(right) / len(right), "interval": interval(right), "pictures": len(right)}
        for group, right in rows()
    }


def _write_pictures(
    out: Path, images: Images, asked: Sequence[tuple[Prompt, int]], readings: dict[str, list[Reading]]
) -> None:
    lines, labels = [], []
    for index, (prompt, seed) in enumerate(asked):
        judged = readings["judge"][index]
        labels.append(prompt.text if judged.right else f"{prompt.text} (judge: {judged.best})")
        row = {name: asdict(reading[index]) for name, reading in readings.items()}
        lines.append(json.dumps({"prompt": prompt.text, "group": prompt.group, "seed": seed, **row}))
    files.write_text(out / "pictures.jsonl", "\n".join(lines) + "\n")
    files.save(out / "sheet.png", files.sheet(images, labels, columns=12, cell=128))
