"""`clipopt train generator`: make the embedded generator again."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class TrainGenerator:
    """Train the embedded generator from nothing, or further (--begin).

    Paints captioned pictures of 96 px (this needs Debian's fonts-noto-color-emoji and unicode-data, or the same files
    elsewhere), then trains an AutoencoderKL on crops of them, and a UNet2DConditionModel on its latents, under what
    the scorer's word transformer says of the captions. The folder that the last line names holds generator/, a
    standard folder of diffusers, which `clipopt latent` takes as --generator.

    The shipped settings take about two hours of one CPU core where bfloat16 is fast, and 2 GB of disk while they run.
    To try the machinery first: clipopt train generator --share 0.005
    """

    which: Literal["generator"]
    """What to train; for the scorers see `clipopt train --help`."""
    out: Path | None = None
    """Folder to write; by default outputs/train/<time>-generator."""
    overwrite: bool = False
    """Train into --out even though it holds an earlier training."""
    resume: Path | None = None
    """Go on with a training that was interrupted: its folder. Its settings stay as they were."""
    share: float = 1.0
    """Share of the shipped training to do, between 0 and 1."""
    seed: int | None = None
    """Another seed than the shipped one."""
    begin: str | None = None
    """Begin at this generator instead of nothing: embedded, or the generator/ of an earlier training. Its coder of
    pictures stays as it is, and its denoiser learns the scorer's words as they are now."""
    scorer: str = "embedded"
    """Whose word transformer reads the captions: embedded, or a .safetensors of `clipopt train`."""
    eye: str = "embedded-plain"
    """Whose first stages compare pictures while the coder is trained."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Arithmetic of the layers; auto measures whether bfloat16 works and is faster here."""
    device: str = "cpu"
    """Where to train: cpu, cuda, cuda:1, mps."""
    pictures: Path | None = None
    """Folder to keep the painted pictures in, for further trainings; by default they are deleted at the end."""
    save_every: int = 100
    """Batches between checkpoints."""
    json: bool = False
    """Print the summary alone on stdout."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the training."""
        from clipopt.commands.training_generator import prepare

        return prepare(self)
