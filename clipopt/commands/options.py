"""Options that every command has which makes something."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RunOptions:
    """Where a run is written, and how it is told."""

    out: Path | None = None
    """Folder to write, exactly; by default a new one, outputs/COMMAND/<time>-<prompt>."""
    overwrite: bool = False
    """Replace the run that --out holds."""
    resume: Path | None = None
    """Continue the run in this folder with its own settings: on the CPU bit for bit, with as many threads."""
    dry_run: bool = False
    """Check everything, load the models, measure what all would cost, and write nothing."""
    json: bool = False
    """Print the summary alone on stdout."""
    quiet: bool = False
    """No progress bar."""
