"""`clipopt train sketcher`: make the embedded sketcher again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class TrainSketcher:
    """Train the embedded sketcher, at whose pictures `clipopt image` begins, from nothing, or further (--begin).

    Paints captions plainly (this needs Debian's fonts-noto-color-emoji and unicode-data, or the same files elsewhere),
    then trains a small transformer that answers their words with the latents that the coder of a generator gives the
    pictures. The folder that the last line names holds sketcher.safetensors.

    The shipped settings take about 40 minutes of one CPU core, less where bfloat16 is fast.
    To try the machinery first: clipopt train sketcher --share 0.01
    """

    which: Literal["sketcher"]
    """What to train; for the scorers see `clipopt train --help`."""
    out: Path | None = None
    """Folder to write; by default outputs/train/<time>-sketcher."""
    overwrite: bool = False
    """Train into --out even though it holds an earlier training."""
    resume: Path | None = None
    """Go on with a training that was interrupted: its folder. Its settings stay as they were."""
    share: float = 1.0
    """Share of the shipped training to do, between 0 and 1."""
    seed: int | None = None
    """Another seed than the shipped one."""
    begin: str | None = None
    """Begin at this sketcher instead of nothing: embedded, or a .safetensors of an earlier training with the same
    words."""
    generator: str = "embedded"
    """Whose coder makes the latents: embedded, or the generator/ of an earlier training."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the layers; auto measures whether bfloat16 works and is faster here."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, mps."""
    pictures: Path | None = None
    """Folder to keep the painted pictures' latents in, for further trainings; by default they are deleted at the
    end."""
    save_every: int = 100
    """Batches between checkpoints."""
    json: bool = False
    """Print the summary alone on stdout."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the training."""
        from clipopt.commands.training_sketcher import prepare

        return prepare(self)
