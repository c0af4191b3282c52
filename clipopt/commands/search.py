"""`clipopt search`: find pictures or texts in an index."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class Search:
    """Find the items of an index that are nearest to texts and pictures.

    Several queries are added up, and --without is taken away: one search for something that is all of it.

        clipopt search photos.index "a red apple"
        clipopt search photos.index cat.png "a sofa" --without "a dog" --out found.png
        clipopt search photos.index --duplicates 0.97
    """

    index: Path
    """A folder that `clipopt index` wrote."""
    query: tuple[str, ...]
    """Texts, and files of pictures."""
    without: tuple[str, ...] = ()
    """A text or picture to take away from the query; can be given several times."""
    duplicates: float | None = None
    """Instead of a query: groups of items that are linked by a cosine of at least this, for example 0.97. Of each the
    one to keep stands first (more pixels, then the larger file, then the name), and the others with their cosine to
    it."""
    top: int = 10
    """How many to find."""
    scorer: str | None = None
    """The scorer that reads the query; by default the scorer of the index, and no other is allowed: give it where the
    model has moved to another place."""
    backend: Literal["exact", "usearch", "faiss"] = "exact"
    """exact looks at every item; the others use the graph that `clipopt index --backend` built."""
    alpha: Literal["white", "black", "drop"] | None = None
    """What transparent parts of a picture that is asked for lie on; by default as the index was made."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Where to write what was found: FILE.jsonl, or FILE.png for a sheet of the pictures."""
    overwrite: bool = False
    """Replace the file --out."""
    json: bool = False
    """Print JSON alone on stdout."""
