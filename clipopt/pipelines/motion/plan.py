"""How the motions of `clipopt motion` are made."""

from dataclasses import dataclass


@dataclass(frozen=True)
class MotionPlan:
    """Settings of a motion.

    Attributes:
        seconds: Its length.
        fps: Frames per second.
        loop: Whether its end goes over into its start.
        tries: Motions that the search looks at, for each phase.
        steps: Steps of the refinement.
        travel: Whether the figure goes where its feet carry it.
        lock: Steps that lock the feet.
        seed: Of what is left to chance.
        bank: Poses to search among.
    """

    seconds: float | int = 3.0
    fps: float | int = 30.0
    loop: bool = False
    tries: int = 140
    steps: int = 60
    travel: bool = True
    lock: int = 160
    seed: int = 0
    bank: int = 3000
