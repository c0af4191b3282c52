"""`clipopt train describer`: make the embedded describer of pictures again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class TrainDescriber:
    """Train the embedded describer, the second stage of `clipopt caption`, from nothing, or further (--begin).

    Paints captioned pictures (this needs Debian's fonts-noto-color-emoji and unicode-data, or the same files
    elsewhere), then trains a small decoder that says, word by word, what a scorer's frozen picture tower sees of them.
    The folder that the last line names holds describer.safetensors.

    The shipped settings take about 20 minutes of one CPU core where bfloat16 is fast, and 2 GB of disk while they run.
    To try the machinery first: clipopt train describer --share 0.01
    """

    which: Literal["describer"]
    """What to train; for the scorers see `clipopt train --help`."""
    out: Path | None = None
    """Folder to write; by default outputs/train/<time>-describer."""
    overwrite: bool = False
    """Train into --out even though it holds an earlier training."""
    resume: Path | None = None
    """Go on with a training that was interrupted: its folder. Its settings stay as they were."""
    share: float = 1.0
    """Share of the shipped training to do, between 0 and 1."""
    seed: int | None = None
    """Another seed than the shipped one."""
    begin: str | None = None
    """Begin at this describer instead of nothing: embedded, or a .safetensors of an earlier training; it must look
    with the same eyes."""
    scorer: str = "embedded"
    """Whose eyes it looks with: embedded, or a .safetensors of `clipopt train`; it serves no other."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the layers; auto measures whether bfloat16 works and is faster here."""
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
        from clipopt.commands.training_describer import prepare

        return prepare(self)
