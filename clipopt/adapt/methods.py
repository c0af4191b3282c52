"""The methods by name."""

import warnings
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipopt.adapt.examples import Examples
from clipopt.adapt.options import CONTEXT, Method, Options
from clipopt.adapt.rows import PROBE_ANCHOR, TURN_ANCHOR, probe, projection, tip, tip_f
from clipopt.adapt.towers import coop, first_context, low_rank, whole
from clipopt.io import folders
from clipopt.scorers import Scorer
from clipopt.scorers.adapted import Adapter, read_behind
from clipopt.scorers.adapter_files import check_templates, write_adapter
from clipopt.scorers.reading import open_text


def adapt(
    method: Method,
    scorer: Scorer,
    examples: Examples,
    *,
    base: str,
    seed: int = 0,
    options: Options | None = None,
    notes: Mapping[str, Any] | None = None,
) -> Adapter:
    """Learn an adapter.

    Args:
        method: One of `METHODS`.
        scorer: The base scorer; it stays as it is. One that learns through its towers should compute in float32.
        examples: What to learn from.
        base: The spec by which `load_scorer` finds the base again.
        seed: Seed of the run.
        options: See there.
        notes: What the adapter's file is to say besides.

    Raises:
        ValueError: if the method cannot work with this scorer.
    """
    o = options or Options()
    check_templates(examples.templates)
    own: dict[str, Any] = {key: value for key, value in (("steps", o.steps), ("rate", o.rate)) if value is not None}
    numbers: dict[str, Any] = {}
    tensors: dict[str, Tensor]
    if method == "probe":
        tensors = probe(scorer, examples, anchor=PROBE_ANCHOR if o.anchor is None else o.anchor)
    elif method == "projection":
        tensors = projection(scorer, examples, anchor=TURN_ANCHOR if o.anchor is None else o.anchor)
    elif method in ("tip", "tip-f"):
        numbers = {"alpha": o.alpha, "beta": o.beta}
        tensors = tip(scorer, examples) if method == "tip" else tip_f(scorer, examples, **numbers, **own)
    elif method == "coop":
        tensors = coop(scorer, examples, context=o.context, per_label=o.per_label, seed=seed, **own)
    elif method == "lora":
        tensors = low_rank(scorer, examples, rank=o.rank, objective=o.objective, seed=seed, **own)
    else:
        tensors = whole(scorer, examples, objective=o.objective, seed=seed, **own)
        numbers = {"share": o.share if method == "wise-ft" else 1.0}
    adapter = Adapter(method, examples.labels, examples.templates, tensors, base, scorer.fingerprint, notes=notes or {})
    return replace(adapter, **numbers)


@torch.no_grad()
def check_method(method: Method, scorer: Scorer, labels: Sequence[str], context: str = CONTEXT) -> None:
    """Check that a method can work with a scorer, before it gets any picture.

    Raises:
        ValueError: it cannot open the scorer's text tower, or coop's context leaves no room for a label.
    """
    if method not in ("coop", "lora", "wise-ft", "full"):
        return
    tower = open_text(scorer)
    if method != "coop":
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is cut: too long is an error here
        start = first_context(tower, context)
    try:
        read_behind(scorer, start.expand(len(labels), -1, -1), labels)
    except ValueError as error:
        raise ValueError(f"{error}; give a shorter context") from error


def save_adapter(adapter: Adapter, folder: Path, *, locked: bool = False) -> None:
    """Write an adapter into a folder, which is made where it is missing; `load_scorer` reads it.

    Args:
        adapter: What to write.
        folder: Where to. An adapter that is there is replaced.
        locked: Whether the caller holds `clipopt.io.folders.writing` of the folder already.

    Raises:
        OSError: another process writes there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    fields = {key: value for key, value in vars(adapter).items() if key != "tensors"}
    with nullcontext() if locked else folders.writing(folder):
        write_adapter(folder, fields, adapter.tensors)
