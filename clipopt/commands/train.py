"""`clipopt train`: make the embedded scorer or its judge again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Train:
    """Train the embedded scorer, its judge or the plain scorer from nothing, or further (--begin).

    Paints captioned pictures (this needs Debian's fonts-noto-color-emoji and unicode-data, or the same files
    elsewhere), then trains: plainly, against adversarial perturbations, and, for the scorer, against its own
    optimized pictures. The folder that the last line names holds scorer.safetensors (judge, plain), which any command
    takes as --scorer or --judge.

    These settings took two and a half hours of two slow CPU cores (scorer, without bfloat16), 3.5 GB of memory, and
    2 GB of disk while they ran. The same seed gives the same weights on one machine. To try the machinery first,
    in some minutes: clipopt train scorer --share 0.01
    """

    which: Literal["scorer", "judge", "plain"]
    """What to train. Scorer and judge share neither architecture, seed nor pictures; plain has the scorer's size
    and is never hardened, so that it guides like an ordinary CLIP."""
    out: Path | None = None
    """Folder to write; by default outputs/train/<time>-<which>."""
    overwrite: bool = False
    """Train into --out even though it holds an earlier training."""
    resume: Path | None = None
    """Go on with a training that was interrupted: its folder. Its settings stay as they were."""
    share: float = 1.0
    """Share of the shipped training to do, between 0 and 1."""
    seed: int | None = None
    """Another seed than the shipped one."""
    begin: str | None = None
    """Begin at the weights of this scorer instead of nothing: embedded (judge: embedded-judge, plain: embedded-plain)
    or a .safetensors of an earlier training. Words that it lacks are added, and scorer and judge go through phases for
    what has learnt before."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the convolutions; auto measures whether bfloat16 works and is faster here."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, mps."""
    pictures: Path | None = None
    """Folder to keep the painted pictures in, for further trainings; by default they are deleted at the end."""
    workers: int | None = None
    """Processes that paint; by default one per core."""
    save_every: int = 100
    """Batches between checkpoints."""
    json: bool = False
    """Print the summary alone on stdout."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the training."""
        from clipopt.commands.training import prepare

        return prepare(self)
