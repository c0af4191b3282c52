"""`clipopt eval latent`: a generator's pictures of the suite before, by best-of-N in the same time, and optimized."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipopt.pipelines.latent.methods import Method


@dataclass(frozen=True)
class EvaluateLatent:
    """Measure `clipopt latent` on the fixed suite of prompts.

    Of every prompt with every seed: the generator's own sample, the best of as many samples as can be drawn in the
    time that the method takes, and the picture that the method makes. The scorer chooses and guides; then scorer and
    judge name each picture among some thousand captions. R-Precision@1 is the share that they name by its own
    prompt, and the judge's is the result: nothing is chosen by the judge. Prompts of counts and relations are also
    reported apart.

    The folder that the last line names holds sheet.png (before, best of N and optimized below one another), one sheet
    of each, pictures.jsonl and summary.json.

        clipopt eval latent                        all of it
        clipopt eval latent --prompts 12 --seeds 1
        clipopt eval latent --method particles     another method against the same baselines
    """

    task: Literal["latent"]
    """What to measure."""
    generator: str = "embedded"
    """The generator; see `clipopt latent --help`."""
    method: Method | None = None
    """As in `clipopt latent`, and so are the options below."""
    scorer: str = "embedded"
    """The scorer that guides and chooses."""
    judge: str = "embedded-judge"
    """The judge."""
    prompts: int | None = None
    """How many prompts of the suite to take, evenly spaced. By default all."""
    seeds: int = 1
    """Pictures of each prompt."""
    seed: int = 0
    """The first seed."""
    batch: int = 24
    """Pictures made at once; changes the time, not the pictures."""
    steps: int | None = None
    """As in `clipopt latent`."""
    sample_steps: int | None = None
    """As in `clipopt latent`."""
    guidance: float | None = None
    """As in `clipopt latent`."""
    lr: float | None = None
    """As in `clipopt latent`."""
    clip: float | None = None
    """As in `clipopt latent`."""
    norm: float | None = None
    """As in `clipopt latent`."""
    white: float | None = None
    """As in `clipopt latent`."""
    crops: int | None = None
    """As in `clipopt latent`."""
    tries: int | None = None
    """As in `clipopt latent`."""
    scale: float | None = None
    """As in `clipopt latent`."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Folder to write; by default a new one, outputs/eval/<time>-latent."""
    overwrite: bool = False
    """Write into --out even though it holds something."""
    json: bool = False
    """Print the summary alone on stdout."""
