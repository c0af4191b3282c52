"""How pictures are made: size, stages, what is learned, and the memory that it takes."""

import math
from dataclasses import dataclass

from clipopt.pipelines.kinds import SUITS, Begin, Cutouts, Param

SMALL = 512
"""Up to this many pixels of the shorter side a picture is made at its own size from the start."""


# Measured: torch and a small scorer, and per value of the pictures the parameters, Adam, the gradient, the film.
_BASE_BYTES, _BYTES_PER_VALUE = 0.4e9, 96


@dataclass(frozen=True)
class ImagePlan:
    """How pictures are made; the defaults are those of `clipopt image`, with a single start.

    Attributes:
        width: Of the pictures, pixels.
        height: Of the pictures, pixels.
        param: What is learned.
        steps: Steps of the optimizer.
        seed: Of the run; every item has its own besides.
        lr: Adam's largest learning rate: it rises for a sixth of the steps, then falls to zero along a cosine.
        crops: Views of an item in a step.
        smooth: Weight of the total variation, as measured at the size that the scorer sees: the same picture at
            twice the resolution has the same penalty.
        stages: Resolutions to go through, each twice the one before.
        palette: Colours of a palette: a name, a number of colours to learn, or the colours by commas.
        cutouts: Which views the scorer gets.
        text_off: Weight of the way from pictures to the same with lettering, which repels.
        render: Height and width at which the result is drawn in the end; None: as it was made.
        transparent: Whether curves have no ground of their own: another random one lies behind them in each step.
        low_first: Part of the run in which the resolutions of a pyramid open one after another, coarse ones first.
        weights: How much each scorer counts; empty: all alike.
        starts: At which part of the run each scorer joins; empty: all from the beginning.
        begin: What items begin as: "noise", "samples" of the generator in the package, or a "sketch" by its sketcher.
        statistics: How much it counts that a natural scorer's layers see other statistics than in photographs.
        centre: How far from the middle a natural scorer draws, in half sides of the picture, so that one thing stands
            there before a calm background; 0 is everywhere alike.
        tries: Starts of each item: of noise, the one that the scorers like best after a fifth of the steps is drawn; of
            sketches and samples, the one that the embedded scorer likes best, or else the first.
        planned: Steps before the run was made longer; None: it was not.
    """

    width: int = 256
    height: int = 256
    param: Param = "pyramid"
    steps: int = SUITS["pyramid"][0]
    seed: int = 0
    lr: float = SUITS["pyramid"][1]
    crops: int = 6
    smooth: float = 0.5
    stages: int = 1
    palette: str = "16"
    cutouts: Cutouts = "crops"
    text_off: float | int = 0.0
    render: tuple[int, int] | None = None
    transparent: bool = False
    low_first: float | int = 0.0
    weights: tuple[float | int, ...] = ()
    starts: tuple[float | int, ...] = ()
    begin: Begin = "noise"
    statistics: float | int = 0.0
    centre: float | int = 0.0
    tries: int = 1
    planned: int | None = None

    @property
    def tried(self) -> int:
        """Steps that each start takes before one is chosen; 0 where there is only one."""
        return 0 if self.tries == 1 or self.begin != "noise" else max(1, self.steps // 5)

    def size(self, stage: int) -> tuple[int, int]:
        """Height and width of the pictures in a stage."""
        shrink = 2 ** (self.stages - 1 - stage)
        return math.ceil(self.height / shrink), math.ceil(self.width / shrink)

    def spans(self) -> list[tuple[int, int]]:
        """First step and end of each stage: half of the steps for the first one, the others share the rest.

        Steps by which a run was made longer are all of the last one.
        """
        steps, later = self.planned or self.steps, self.stages - 1
        ends = [steps - steps // 2 + steps // 2 * stage // later for stage in range(later)] + [self.steps]
        return list(zip([0, *ends[:-1]], ends, strict=True))


def stages_of(width: int, height: int) -> int:
    """How many resolutions lead to a size: as many as let the first one be small."""
    return max(1, math.ceil(math.log2(min(width, height) / SMALL)) + 1)


def memory_needed(items: int, plan: ImagePlan) -> float:
    """About how many bytes a run holds at most, without its models."""
    return _BASE_BYTES + items * 3 * plan.height * plan.width * _BYTES_PER_VALUE
