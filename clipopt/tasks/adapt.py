"""`clipopt adapt`: teach a scorer labels of your own from a few pictures."""

import json
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from clipopt.adapt import (
    TEMPLATES,
    Examples,
    Method,
    Options,
    choose_shots,
    encode_pictures,
    save_adapter,
    zero_shot,
)
from clipopt.adapt import adapt as learn
from clipopt.record import check_out, versions
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.adapted import Adapter
from clipopt.tasks.checks import require_positive, resolve_device
from clipopt.tasks.classify import read_templates
from clipopt.tasks.labelled import Labelled, find_labelled
from clipopt.tasks.pictures import BATCH, read_batches

_THROUGH_TOWERS = ("lora", "wise-ft", "full")


@dataclass(frozen=True)
class Adapt:
    """Teach a scorer labels of your own from a few pictures of each.

    DATA is a folder with a subfolder of pictures for each label, named like it, or a CSV file of path,label. --shots of
    each label are learned from; the others are held out, and how many of them are named rightly is reported beside the
    base scorer without training. Nothing is chosen by the held-out pictures.

    What is written is a scorer again, for any command that takes --scorer, and for guiding `clipopt image`.

        clipopt adapt animals/ --shots 8 --out animals.adapter
        clipopt adapt animals.csv --method lora --scorer openai/clip-vit-base-patch32 --out animals.adapter
        clipopt classify photos/ --scorer animals.adapter
        clipopt image "a photo of a dog" --scorer animals.adapter

    Methods: probe (a linear classifier held to the labels' texts), projection (a matrix on picture rows held to the
    identity), tip (the pictures as a cache, no training) and tip-f (trained), coop (learned words before the label),
    lora (thin additions to all weights), full (all weights), wise-ft (half way back from there).
    """

    data: Path
    """The pictures with their labels."""
    method: Method = "probe"
    """How to learn; probe, projection and tip take seconds."""
    shots: int = 16
    """Pictures of each label to learn from; 0 for all of them."""
    scorer: str = "embedded"
    """The base: see `clipopt image --help`. An adapter belongs to its base."""
    templates: tuple[str, ...] = ()
    """Sentences with {} for the label; see `clipopt classify --help`."""
    anchor: float | None = None
    """probe, projection: how strongly they are held to their start."""
    alpha: float = Options.alpha
    """tip, tip-f: weight of the cache beside the text."""
    beta: float = Options.beta
    """tip, tip-f: how fast the cache forgets pictures that are less alike."""
    context: str = Options.context
    """coop: the words that the learned ones start from."""
    rank: int = Options.rank
    """lora: columns of the factors."""
    share: float = Options.share
    """wise-ft: how far to go from the base (0) to the fine-tuned weights (1)."""
    objective: Literal["auto", "contrastive", "sigmoid"] = Options.objective
    """lora, wise-ft, full: the loss; auto takes what the scorer was trained with."""
    steps: int | None = None
    """Steps of tip-f, coop, lora, wise-ft, full."""
    rate: float | None = None
    """Their learning rate, in units of the size of what is learned."""
    seed: int = 0
    """Of the choice of pictures and of the run."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """The adapter, a folder; by default the name of the data with .adapter behind it."""
    overwrite: bool = False
    """Replace an adapter that is there."""
    json: bool = False
    """Print the summary as JSON alone on stdout."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the work.

        Raises:
            ValueError: a setting is wrong, in one line.
        """
        positive: dict[str, int | float] = {"alpha": self.alpha, "beta": self.beta, "rank": self.rank}
        positive |= {name: value for name, value in (("steps", self.steps), ("rate", self.rate)) if value is not None}
        require_positive(**positive)
        if self.shots < 0:
            raise ValueError(f"--shots must be 0 (all) or more, got {self.shots}")
        if self.anchor is not None and not (math.isfinite(self.anchor) and self.anchor >= 0):
            raise ValueError(f"--anchor must be 0 or more, got {self.anchor}")
        if not 0 <= self.share <= 1:
            raise ValueError(f"--share must lie between 0 and 1, got {self.share}")
        data = find_labelled(self.data)
        templates = read_templates(self.templates) or TEMPLATES
        out = self.out or self.data.with_name(f"{self.data.resolve().stem}.adapter")
        check_out(out, overwrite=self.overwrite)
        device = resolve_device(self.device)
        dtype = "float32" if self.method in _THROUGH_TOWERS else "auto"
        scorer = load_scorer(self.scorer, device=str(device), dtype=dtype)
        return lambda: self._adapt(data, templates, scorer, device, out)

    def _adapt(
        self, data: Labelled, templates: tuple[str, ...], scorer: Scorer, device: torch.device, out: Path
    ) -> None:
        broken: list[Path] = []
        numbers = torch.tensor(data.numbers)
        chosen, rest = choose_shots(numbers, self.shots or len(numbers), self.seed)
        pictures, kept = self._read(data, chosen, broken, device)
        lacking = sorted(set(range(len(data.labels))) - set(numbers[kept].tolist()))
        if lacking:
            raise OSError(f"no picture of {data.labels[lacking[0]]} could be read: put others there")
        examples = Examples(pictures, numbers[kept], data.labels, templates)
        started = time.perf_counter()
        options = Options(
            anchor=self.anchor,
            alpha=self.alpha,
            beta=self.beta,
            context=self.context,
            rank=self.rank,
            share=self.share,
            objective=self.objective,
            steps=self.steps,
            rate=self.rate,
        )
        local = Path(self.scorer).expanduser()
        adapter = learn(
            self.method,
            scorer,
            examples,
            base=str(local.resolve()) if local.exists() else self.scorer,
            seed=self.seed,
            options=options,
        )
        seconds = time.perf_counter() - started
        result = self._measure(data, rest, scorer, adapter, templates, broken, device)
        summary = {
            "adapter": str(out),
            "method": self.method,
            "labels": len(data.labels),
            "examples": len(kept),
            "held_out": result,
            "seconds": round(seconds, 2),
            "broken": [str(path) for path in broken],
            "base": adapter.base,
            "base_fingerprint": adapter.fingerprint,
        }
        notes = {**summary, "settings": vars(options), "shots": self.shots, "seed": self.seed, "versions": versions()}
        from dataclasses import replace

        save_adapter(replace(adapter, notes=notes), out)
        if self.json:
            sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n")
            return
        said = f"{self.method}: {len(kept)} pictures of {len(data.labels)} labels in {seconds:.1f} s\n"
        if result is not None:
            said += f"named rightly, of {result['pictures']} others: {result['adapted']:.1%}"
            said += f" (before: {result['zero_shot']:.1%})\n"
        sys.stdout.write(f"{said}{out}\n")

    def _read(
        self, data: Labelled, places: Sequence[int], broken: list[Path], device: torch.device
    ) -> tuple[list[Float[Tensor, "3 _ _"]], list[int]]:
        """Pictures at `places`, and the places of those that could be read."""
        at = {data.pictures[place].path: place for place in places}
        pictures, kept = [], []
        for batch in read_batches([data.pictures[place] for place in places], broken):
            for found, picture in batch:
                pictures.append(picture.to(device))
                kept.append(at[found.path])
        return pictures, kept

    @torch.no_grad()
    def _measure(
        self,
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
            pictures, kept = self._read(data, places[start : start + BATCH], broken, device)
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
