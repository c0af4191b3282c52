"""`clipopt score`: how well captions fit their pictures, on the published scales."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Score:
    """Score captions: CLIPScore, and with references RefCLIPScore.

    CANDIDATES is a JSON object of picture to caption, or COCO's list of results. A picture goes by its file name, with
    or without the suffix, or by its number in COCO: 42 is 000000000042.jpg. The files written are those of the
    reference implementation, by the keys of CANDIDATES. Published numbers are those of
    --scorer openai/clip-vit-base-patch32; scores of different scorers cannot be compared. With a CLAP as --scorer the
    folder holds sounds.

        clipopt score candidates.json pictures/ --scorer openai/clip-vit-base-patch32
        clipopt score candidates.json pictures/ --references references.json --out scores.json
        clipopt score candidates.json sounds/ --variant torchmetrics --scorer laion/clap-htsat-unfused
    """

    candidates: Path
    """JSON: {"picture": "a caption", ...}, or [{"image_id": 42, "caption": "a caption"}, ...]"""
    pictures: Path
    """The folder of the pictures; those without a caption are left out."""
    references: Path | None = None
    """JSON: {"picture": ["a reference", ...], ...}, or COCO's annotations of captions; adds RefCLIPScore."""
    variant: Literal["clipscore", "torchmetrics"] = "clipscore"
    """clipscore: 2.5 x cosine, "A photo depicts " before the texts, but nothing before those of sounds. torchmetrics:
    what that library calls CLIPScore, 100 x cosine without these words. Both are at least 0: the first for every
    picture, the other as a mean and for a picture by itself, so its mean may be below the mean of the pictures'."""
    probability: bool = False
    """Also say how probable each caption is by the scorer's head: among all captions of the file (softmax), or by
    itself (sigmoid)."""
    scorer: str = "embedded"
    """The scorer; see `clipopt image --help`."""
    alpha: Literal["white", "black", "drop"] = "white"
    """What transparent parts lie on; drop shows the colours that they hide, as the models' own processors do."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Write the scores of every picture to this JSON file."""
    overwrite: bool = False
    """Replace the file --out."""
    json: bool = False
    """Print JSON alone on stdout."""
    quiet: bool = False
    """No progress bar."""
