"""`clipopt eval mesh`: meshes of a fixed suite of prompts, as the judge reads them with and without their colours."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from clipopt.pipelines.mesh.plan import MeshPlan
from clipopt.pipelines.mesh.staging import Staging


@dataclass(frozen=True)
class EvaluateMesh:
    """Measure `clipopt mesh` on its fixed suite of prompts.

    Makes a mesh of every prompt with every seed, then lets the scorer and the judge name each from eight sides: in its
    colours, among some thousand captions, and as a bare grey shape, among all things in gray. R-Precision@1 is the
    share that they name by its own prompt, of the bare shape by its noun; beside it the same among the captions of
    solids alone. The scorer was in the loss, so its share says little; the judge's is the result, and that of the bare
    shape says how much of it is shape. Nothing is chosen by the judge.

    The folder that the last line names holds sheet.png (all meshes, with what the judge reads where it reads something
    else, and the bare shapes), meshes.jsonl, the meshes as GLB, and summary.json.

        clipopt eval mesh                                 all of it: about half an hour of one core or more
        clipopt eval mesh --prompts 12 --seeds 1 --steps 60
    """

    task: Literal["mesh"]
    """What to measure."""
    scorer: str = "embedded"
    """The scorer that guides; see `clipopt image --help`."""
    judge: str = "embedded-judge"
    """The judge."""
    prompts: int | None = None
    """How many prompts of the suite to take, evenly spaced. By default all."""
    seeds: int = 2
    """Meshes of each prompt."""
    seed: int = 0
    """The first seed."""
    batch: int = 6
    """Meshes made at once; changes the time, not the meshes."""
    mesh: str = "auto"
    """What they start from, as in `clipopt mesh`, but no file."""
    steps: int = MeshPlan.steps
    """As in `clipopt mesh`."""
    lr: float = MeshPlan.lr
    """As in `clipopt mesh`."""
    lr_color: float = MeshPlan.lr_color
    """As in `clipopt mesh`."""
    faces: int = MeshPlan.faces[-1]
    """As in `clipopt mesh`."""
    remesh: int = len(MeshPlan.faces) - 1
    """As in `clipopt mesh`."""
    staging: Staging = field(default_factory=Staging)
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Folder to write; by default a new one, outputs/eval/<time>-mesh."""
    overwrite: bool = False
    """Write into --out even though it holds something."""
    json: bool = False
    """Print the summary alone on stdout."""
