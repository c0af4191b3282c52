"""`clipopt eval`: measure a task on its fixed suite of prompts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.kinds import Begin, Cutouts, Param


@dataclass(frozen=True)
class Evaluate:
    """Measure a task on its fixed suite of prompts; for meshes see `clipopt eval mesh --help`.

    Makes a picture of every prompt with every seed, by the settings of `clipopt image`, then lets the scorer and
    the judge name each among some thousand captions. R-Precision@1 is the share that they name by its own
    prompt. The scorer was in the loss, so its share says little; the judge's is the result. Nothing is chosen by
    the judge.

    The folder that the last line names holds sheet.png (all pictures, with what the judge reads where it reads
    something else), each picture by itself, pictures.jsonl and summary.json.
    """

    task: Literal["image"]
    """What to measure."""
    scorer: tuple[str, ...] = ()
    """The scorers that guide, by default as in `clipopt image`; can be given several times."""
    judge: str = "embedded-judge"
    """The judge."""
    prompts: int | None = None
    """How many prompts of the suite to take, evenly spaced. By default all."""
    seeds: int = 2
    """Pictures of each prompt."""
    seed: int = 0
    """The first seed."""
    batch: int = 24
    """Pictures made at once; changes the time, not the pictures."""
    preset: Literal["auto", "robust", "plain", "natural"] = "auto"
    """As in `clipopt image`, and so are the options below: by default as suits the kind of scorer."""
    param: Param | None = None
    """As in `clipopt image`."""
    size: str = "256"
    """As in `clipopt image`."""
    steps: int | None = None
    """As in `clipopt image`."""
    lr: float | None = None
    """As in `clipopt image`."""
    crops: int | None = None
    """As in `clipopt image`."""
    smooth: float | None = None
    """As in `clipopt image`."""
    cutouts: Cutouts | None = None
    """As in `clipopt image`."""
    text_off: float | None = None
    """As in `clipopt image`."""
    begin: Begin | None = None
    """As in `clipopt image`."""
    tries: int | None = None
    """As in `clipopt image`."""
    statistics: float | None = None
    """As in `clipopt image`."""
    centre: float | None = None
    """As in `clipopt image`."""
    low_first: float = ImagePlan.low_first
    """As in `clipopt image`."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Folder to write; by default a new one, outputs/eval/<time>-image."""
    overwrite: bool = False
    """Write into --out even though it holds something."""
    json: bool = False
    """Print the summary alone on stdout."""
