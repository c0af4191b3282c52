"""`clipopt index`: make pictures or texts searchable."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Index:
    """Make the pictures of a folder searchable, or the lines of a text file.

    The same command again takes up what is new or changed, drops what is gone, and goes on where it was interrupted.
    Pictures that cannot be read are reported and left out. Embeddings of clip-retrieval are taken over as a whole, and
    again only where they changed: a run that fails or is interrupted leaves the index as it was.

        clipopt index photos/                               writes photos.index
        clipopt index captions.txt --scorer MODEL
        clipopt index sounds/ --scorer laion/clap-htsat-unfused
        clipopt index embeddings/ --clip-retrieval --scorer openai/clip-vit-base-patch32

    Then: clipopt search photos.index "a red apple"
    """

    source: Path
    """A folder of pictures (of sounds, if the scorer is a CLAP), or a text file, one text a line."""
    scorer: str = "embedded"
    """The scorer; see `clipopt image --help`. An index belongs to its scorer."""
    clip_retrieval: bool = False
    """The source holds embeddings that clip-retrieval wrote; --scorer is the model that they were made with."""
    backend: Literal["exact", "usearch", "faiss"] = "exact"
    """Also build a graph with usearch or faiss, which finds almost all of the nearest, and faster in large indexes."""
    alpha: Literal["white", "black", "drop"] = "white"
    """What transparent parts lie on; drop shows the colours that they hide, as the models' own processors do."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """The index, a folder; by default the source's name with .index behind it."""
    json: bool = False
    """Print the summary as JSON alone on stdout."""
    quiet: bool = False
    """No progress bar."""
