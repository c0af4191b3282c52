"""`clipopt eval natural`: natural pictures, named by networks of photographs that did not guide."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.kinds import Begin, Cutouts, Param


@dataclass(frozen=True)
class EvaluateNatural:
    """Measure how well `clipopt image` draws natural things: 100 classes of ImageNet and 60 open sentences.

    Makes a picture of every prompt with every seed, then lets networks of natural photographs, the readers, name each
    among ImageNet's 1000 classes. A picture counts where the first name (top-1), or one of the first five (top-5), is a
    class that the prompt's noun means. A reader never guides, and nothing is chosen by one. None of the prompts was
    used to find settings.

    The folder that the last line names holds sheet.png (all pictures, with what the first reader reads where it is
    something else), each picture by itself, summary.json, and pictures.jsonl: what the guides took each prompt for, and
    five names by each reader. Pictures are written batch by batch; --resume makes those that an interrupted measurement
    still lacks.

        clipopt eval natural                                  all of it
        clipopt eval natural --classes 20 --sentences 0 --device cuda
        clipopt eval natural --scorer natural:lite0 --scorer embedded --begin sketch
        clipopt eval natural --blind 30                       and 30 pictures without labels, to be named by a person
        clipopt eval natural --resume outputs/eval/RUN
    """

    task: Literal["natural"]
    """What to measure."""
    scorer: tuple[str, ...] = ()
    """The scorer that guides; see `clipopt image --help`. By default "natural". Given several times, they guide
    together."""
    scorer_weight: tuple[float, ...] = ()
    """How much a scorer counts beside the others: once for each --scorer, in their order. By default all alike."""
    readers: tuple[str, ...] = ()
    """The readers, which name the pictures: scorers of natural photographs such as "natural:lite2", none of which may
    guide. By default natural:lite2 and natural:lite1, without one that guides."""
    classes: int | None = None
    """How many of the 100 classes to ask for, evenly spaced; 0 for none. By default all."""
    sentences: int | None = None
    """How many of the 60 sentences, evenly spaced; 0 for none. By default all."""
    seeds: int = 1
    """Pictures of each prompt."""
    seed: int = 0
    """The first seed."""
    batch: int = 16
    """Pictures made at once, and written; changes the time, not the pictures."""
    blind: int = 0
    """Also write so many of the pictures, drawn by the seed, as blind/00.png and so on, without a word; key.json beside
    that folder tells what they were to show."""
    preset: Literal["auto", "robust", "plain", "natural"] = "auto"
    """As in `clipopt image`, and so are the options below: by default as suits the scorers."""
    param: Param | None = None
    """As in `clipopt image`."""
    size: str = "288"
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
    low_first: float = ImagePlan.low_first
    """As in `clipopt image`."""
    statistics: float | None = None
    """As in `clipopt image`."""
    centre: float | None = None
    """As in `clipopt image`."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Folder to write; by default a new one, outputs/eval/<time>-natural."""
    overwrite: bool = False
    """Write into --out even though it holds something."""
    resume: Path | None = None
    """Continue the measurement in this folder with its own settings."""
    json: bool = False
    """Print the summary alone on stdout."""
