"""`python -m recipes.embedded train`: every embedded model, made again."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from tyro.conf import subcommand

from recipes.embedded.describer import DescriberTraining
from recipes.embedded.generator import GeneratorTraining
from recipes.embedded.motion import MotionTraining
from recipes.embedded.scorer import ScorerTraining
from recipes.embedded.sketcher import SketcherTraining


@dataclass(frozen=True)
class Train:
    """Train the embedded models again: see `train scorer --help` and so on."""

    model: (
        Annotated[ScorerTraining, subcommand("scorer", default=ScorerTraining("scorer"))]
        | Annotated[ScorerTraining, subcommand("judge", default=ScorerTraining("judge"))]
        | Annotated[ScorerTraining, subcommand("plain", default=ScorerTraining("plain"))]
        | Annotated[DescriberTraining, subcommand("describer", default=DescriberTraining("describer"))]
        | Annotated[SketcherTraining, subcommand("sketcher", default=SketcherTraining("sketcher"))]
        | Annotated[GeneratorTraining, subcommand("generator", default=GeneratorTraining("generator"))]
        | Annotated[MotionTraining, subcommand("motion", default=MotionTraining("motion"))]
        | Annotated[MotionTraining, subcommand("motion-judge", default=MotionTraining("motion-judge"))]
    )

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the training."""
        return self.model.prepare()
