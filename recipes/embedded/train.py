"""`python -m recipes.embedded train`: `clipopt train`, on a world of many hands."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import tyro

from clipopt.commands import train, training, trainings
from recipes.embedded.manners import MANNERS
from recipes.embedded.painting import Weights, painter, told

_OWN = ("hands", "weights", "side")


@dataclass(frozen=True)
class Train(train.Train):
    """Train the embedded scorer, its judge or the plain scorer on things as many hands draw them.

    As `clipopt train`, with its options and phases; begin at today's weights with --begin embedded. The folder holds
    checkpoints, and --resume goes on where it was left.
    """

    which: Annotated[Literal["scorer", "judge", "plain"], tyro.conf.Positional]
    """What to train."""
    hands: str = "hands"
    """Folder of `python -m recipes.embedded hands`."""
    weights: str = ""
    """How often which hand draws, and in which manner: "openmoji=0.5,lines=0.2". A hand that is not named has 1, the
    emoji font, "world", 2; lines, silhouette, sketch and grey are shares of all. For a judge, other hands than the
    scorer's."""
    side: int = 64
    """Height and width of the pictures, and of what the tower reads, in pixels."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the training."""
        if self.resume is not None:
            trainings.resumed(self)
            kept = json.loads((self.resume / "config.json").read_text("utf-8"))
            return replace(self, **{name: kept.get(name, getattr(self, name)) for name in _OWN})._prepare()
        return self._prepare()

    def _prepare(self) -> Callable[[], None]:
        folder, asked = Path(self.hands).resolve(), weights(self.weights)
        make = partial(painter, folder=folder, weights=asked)
        world = training.World(make, {"hands": told(folder, asked)}, self.side)
        work = training.prepare(self, *_OWN, world=world)

        def run() -> None:
            try:
                work()
            except KeyboardInterrupt:
                sys.stderr.write("(with python -m recipes.embedded in place of clipopt)\n")
                raise

        return run


def weights(asked: str) -> Weights:
    """Weights of hands and shares of manners, as in "openmoji=0.5,lines=0.2".

    Raises:
        ValueError: a word is of another form, or names a hand that measures.
    """
    hands, manners = dict(Weights().hands), dict(Weights().manners)
    for word in asked.split(",") if asked else ():
        name, _, number = word.partition("=")
        try:
            share = float(number)
        except ValueError:
            share = -1.0
        if not 0 <= share < float("inf"):
            raise ValueError(f"expected NAME=WEIGHT with a weight of 0 or more, got {word}")
        (manners if name.strip() in MANNERS else hands)[name.strip()] = share
    return Weights(hands, manners)
