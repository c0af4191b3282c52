"""Settings by the kind of scorer, for no single one serves all; docs/recipes.md says how they were found."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from clipopt.pipelines.checks import require_positive
from clipopt.pipelines.kinds import SUITS, Begin, Cutouts, Param, is_natural

Kind = Literal["robust", "plain", "natural"]

SETTLED = (
    "param", "steps", "lr", "crops", "smooth", "cutouts", "text_off", "begin", "tries", "statistics", "centre",
)  # fmt: skip
"""The settings that are found for a scorer where they are not given."""
MOST_CROPS = 100_000
"""Views of an item in a step: what is drawn for each is held in memory."""
MARKS = ("fare", "tecoa", "clipag", "robust", "advers")
"""What the names of robust models have in them."""


@dataclass(frozen=True)
class Preset:
    """What `clipopt image` does unless told otherwise.

    Attributes:
        param: What is learned.
        crops: Views of an item in a step.
        smooth: Weight of the total variation.
        cutouts: Which views.
        text_off: How much lettering repels.
        begin: What items begin as.
        tries: Starts of each item, of which the best is drawn.
        statistics: How much those of photographs count.
        centre: How far from the middle a natural scorer draws.
        steps: Of the optimizer; None: as suits `param`.
        lr: Likewise.
    """

    param: Param
    crops: int
    smooth: float = 0.5
    cutouts: Cutouts = "crops"
    text_off: float = 0.0
    begin: Begin = "noise"
    tries: int = 1
    statistics: float = 0.0
    centre: float = 0.0
    steps: int | None = None
    lr: float | None = None


NATURAL = Preset("phases", 6, statistics=0.8, centre=0.7, steps=100, lr=0.08)
"""For networks of photographs: docs/research/natural.md says how it was found."""
BOTH = replace(NATURAL, begin="sketch", tries=4, steps=60)
"""For a small scorer and a natural one together."""
SMALL: dict[Kind, Preset] = {
    "robust": Preset("pyramid", 6, begin="sketch", tries=4), "plain": Preset("fourier", 8), "natural": NATURAL,
}  # fmt: skip
"""For the scorers in the package and those of `recipes.embedded`: measured."""
REAL: dict[Kind, Preset] = {
    "robust": Preset("pixels", 32),
    "plain": Preset("fourier", 32, cutouts="overview", text_off=0.1),
    "natural": NATURAL,
}
"""For real models: as published.

Reference:
    Robust: Ganz and Elad, "CLIPAG" (2023), arXiv:2306.16805. Plain: the spectrum of Epstein, "aphantasia" (2021), the
    views of Crowson and Letts, "Disco Diffusion" (2022), the repelled lettering of White, "pixray" (2021).
"""


def is_small(spec: str) -> bool:
    """Whether a scorer is in the package or of `recipes.embedded`."""
    return spec.startswith("embedded") or (spec.endswith(".safetensors") and not spec.startswith("open_clip:"))


def kind_of(spec: str) -> Kind:
    """Whether a scorer's gradient draws things ("robust"), texture ("plain") or matter ("natural"), by its name.

    Networks of photographs are "natural". The small scorers are robust unless their name says that they are plain; real
    models are plain unless it says that they were trained against perturbed pictures.
    """
    name = spec.lower()
    if is_natural(spec):
        return "natural"
    if is_small(spec):
        return "plain" if "plain" in name.rpartition("/")[2] else "robust"
    return "robust" if any(mark in name for mark in MARKS) else "plain"


def settle(specs: Sequence[str], kind: Literal["auto"] | Kind, given: Mapping[str, Any]) -> dict[str, Any]:
    """The values of `SETTLED`: as given, and where None is given, as suits the scorers and what is learned.

    Args:
        specs: Of the scorers that guide.
        kind: Which the first one is; "auto" goes by its name. A natural scorer beside others keeps its statistics.
        given: A value or None for each of `SETTLED`; what is left out counts as None.

    Raises:
        ValueError: a value is out of its range, or is for scorers that are not there.
    """
    natural, small = any(map(is_natural, specs)), any(map(is_small, specs))
    if kind == "auto" and natural and small and (is_natural(specs[0]) or is_small(specs[0])):
        preset = BOTH
    else:
        lead = next((spec for spec in specs if not is_natural(spec)), specs[0]) if kind != "auto" else specs[0]
        preset = (SMALL if is_small(lead) else REAL)[kind_of(lead) if kind == "auto" else kind]
    if natural:
        statistics, centre = preset.statistics or NATURAL.statistics, preset.centre or NATURAL.centre
        preset = replace(preset, statistics=statistics, centre=centre)
    settled = vars(preset) | {name: value for name, value in given.items() if value is not None}
    steps, lr = SUITS[settled["param"]]
    own = settled["param"] == preset.param
    if settled["steps"] is None or (not own and given.get("steps") is None):
        settled["steps"] = steps
    if settled["lr"] is None or (not own and given.get("lr") is None):
        settled["lr"] = lr
    require_positive(steps=settled["steps"], lr=settled["lr"], crops=settled["crops"], tries=settled["tries"])
    if settled["crops"] > MOST_CROPS:
        raise ValueError(f"--crops must be at most {MOST_CROPS}, got {settled['crops']}; 6 to 64 are usual")
    for name in ("smooth", "text_off", "statistics", "centre"):
        if not (math.isfinite(settled[name]) and settled[name] >= 0):
            raise ValueError(f"--{name.replace('_', '-')} must be 0 or more, got {settled[name]}")
        if not natural and name in ("statistics", "centre") and settled[name]:
            raise ValueError(f"--{name} is for natural scorers: add --scorer natural, or leave it out")
    return settled


def check_guides(scorers: Sequence[str], weights: Sequence[float | int], starts: Sequence[float | int]) -> None:
    """Check how much several scorers count, and at which part of the run they join.

    Raises:
        ValueError: there is not one number for each, or one is out of its range.
    """
    for name, given in (("weight", weights), ("start", starts)):
        if given and len(given) != len(scorers):
            raise ValueError(f"--scorer-{name}: give it once for each of {len(scorers)} --scorer, got {len(given)}")
    if not all(math.isfinite(weight) and weight > 0 for weight in weights):
        raise ValueError(f"--scorer-weight must be above 0, got {', '.join(map(str, weights))}")
    if starts and not (starts[0] == 0 and all(0 <= start < 1 for start in starts)):
        raise ValueError(f"--scorer-start must be 0 for the first, and below 1, got {', '.join(map(str, starts))}")
