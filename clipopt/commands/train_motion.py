"""`clipopt train motion`: the embedded scorer of films, or its judge, from nothing."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class TrainMotion:
    """Train the embedded scorer of films, or its judge, from nothing.

    Draws people in named poses, and films of what they do, with the package's own figure; then trains a picture tower,
    a word tower and a head that sees order together, first plainly, then against perturbations. The folder that the
    last line names holds motion.safetensors (or motion-judge), which `clipopt motion` takes as --scorer or --judge.

    It takes about 25 minutes of one free CPU core (motion) or 18 (motion-judge), drawing included. The same seed gives
    the same weights on one machine. To try the machinery first: clipopt train motion --share 0.01
    """

    which: Literal["motion", "motion-judge"]
    """What to train. They share neither architecture, seed nor pictures."""
    out: Path | None = None
    """Folder to write; by default outputs/train/<time>-<which>."""
    overwrite: bool = False
    """Train into --out even though it holds an earlier training."""
    resume: Path | None = None
    """Go on with a training that was interrupted: its folder."""
    share: float = 1.0
    """Share of the shipped training to do, between 0 and 1."""
    seed: int | None = None
    """Another seed than the shipped one."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the towers; auto measures whether bfloat16 works and is faster here."""
    pictures: Path | None = None
    """Folder to keep the drawn films in, for further trainings; by default they are deleted at the end."""
    save_every: int = 50
    """Batches between checkpoints."""
    json: bool = False
    """Print the summary alone on stdout."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the training."""
        from clipopt.commands.training_motion import prepare

        return prepare(self)
