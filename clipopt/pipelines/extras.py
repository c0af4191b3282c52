"""What pictures should be beside what the prompt says: terms of the loss that a user can ask for."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from clipopt.io.folders import at_home


@dataclass(frozen=True)
class Extras:
    """What the pictures should be beside what the prompt says. Each is a term of the loss, in the log and report."""

    symmetry: float = 0.0
    """Weight of the difference between left and right; 10 is much."""
    saturation: float = 0.0
    """How much more colourful, or below 0 paler; 0.3 is much."""
    border: float = 0.0
    """Weight of what is in the outer tenth beside one plain colour; 10 is much."""
    few_colours: float = 0.0
    """How much every pixel is pulled to a colour of --palette, which must then be a name or colours; 10 is much. Softer
    than --param palette, and with any other."""
    edges: Path | None = None
    """A picture whose outlines those of the result shall follow."""
    edge_weight: float = 0.5
    """How much; 2 is much."""
    likeness: float = 0.0
    """How much the scorer shall go on seeing in the picture what it sees in --init, stage by stage where it tells; 1
    is much. --keep compares pixels instead."""
    aesthetic: str | None = None
    """A head that guesses how people like a picture: a file, or OWNER/MODEL/FILE on the Hugging Face hub. It reads the
    embeddings of the model that it was trained on, which must be the first --scorer."""
    aesthetic_weight: float = 0.02
    """How much."""

    def fingerprints(self) -> dict[str, str]:
        """What the files hold, in short."""
        paths = {
            "edges": self.edges,
            "aesthetic": None if self.aesthetic is None else at_home(self.aesthetic),
        }
        read = {name: path for name, path in paths.items() if path is not None and path.is_file()}
        return {name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for name, path in read.items()}
