"""`clipopt classify`: which of some labels does a picture have?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Classify:
    """Say which of some labels pictures have, without training or with an adapter.

    A label's row is the mean of its rows in several sentences (the templates). The probability is what the scorer's
    head makes of it: among these labels (softmax, as CLIP), or of each by itself (sigmoid, as SigLIP). An adapter of
    `clipopt adapt` brings its labels. Where a folder has subfolders named like labels, the share of their pictures that
    is named rightly is counted.

        clipopt classify photos/ --labels "cat,dog,horse"
        clipopt classify photos/ --labels-file labels.txt --scorer openai/clip-vit-base-patch32 --out labels.csv
        clipopt classify photo.jpg --labels "day,night" --templates "a photo taken by {}"
        clipopt classify photos/ --scorer animals.adapter
    """

    pictures: tuple[Path, ...]
    """Picture files, and folders of them."""
    labels: str | None = None
    """The labels, with commas between them. Without any: those of the adapter, or the names of the subfolders."""
    labels_file: Path | None = None
    """A text file of labels, one a line."""
    templates: tuple[str, ...] = ()
    """Sentences with {} for the label; may be said several times, and may name a file of them, one a line."""
    scorer: str = "embedded"
    """The scorer; see `clipopt image --help`, or the folder of an adapter."""
    top: int = 1
    """Labels of each picture."""
    alpha: Literal["white", "black", "drop"] = "white"
    """What transparent parts lie on; drop shows the colours that they hide, as the models' own processors do."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Where to write: FILE.csv, FILE.json or FILE.jsonl."""
    overwrite: bool = False
    """Replace the file --out."""
    json: bool = False
    """Print JSON alone on stdout."""
    quiet: bool = False
    """No progress bar."""
