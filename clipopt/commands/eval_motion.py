"""`clipopt eval motion`: motions of a fixed suite of prompts, as the judge reads them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipopt.pipelines.motion.plan import MotionPlan


@dataclass(frozen=True)
class EvaluateMotion:
    """Measure `clipopt motion` on its fixed suite of prompts.

    Makes a motion of every prompt with every seed; then the judge names each among 32 prompts. R-Precision top-3 is the
    share whose own prompt is among its first three. The same films backward, and one frame of them held, are the
    controls: for what has a direction, they must fit clearly less. Before it stands the gate: whether judge and
    scorer find forty named poses in the bank. Nothing is chosen by the judge.

        clipopt eval motion                               all of it: 42 prompts, two seeds
        clipopt eval motion --prompts 12 --seeds 1 --tries 40 --steps 20

    The folder that the last line names holds sheet.png (all motions over time), motions.jsonl and summary.json.
    """

    task: Literal["motion"]
    """What to measure."""
    scorer: str = "embedded-motion"
    """The scorer that guides."""
    judge: str = "embedded-motion-judge"
    """The judge."""
    prompts: int | None = None
    """How many prompts of the suite to take, evenly spaced. By default all."""
    seeds: int = 2
    """Motions of each prompt."""
    seed: int = 0
    """The first seed."""
    seconds: float = MotionPlan.seconds
    """As in `clipopt motion`."""
    bank: int = MotionPlan.bank
    """As in `clipopt motion`."""
    tries: int = MotionPlan.tries
    """As in `clipopt motion`."""
    steps: int = MotionPlan.steps
    """As in `clipopt motion`."""
    lock: int = MotionPlan.lock
    """As in `clipopt motion`."""
    out: Path | None = None
    """Folder to write; by default a new one, outputs/eval/<time>-motion."""
    overwrite: bool = False
    """Write into --out even though it holds something."""
    json: bool = False
    """Print the summary alone on stdout."""
