"""How the films of `clipopt story` are made."""

from dataclasses import dataclass
from typing import Literal

# Measured: torch and a small scorer, and per value of the picture the parameters, Adam, the gradient, the warp.
_BASE_BYTES, _BYTES_PER_VALUE = 0.4e9, 200


@dataclass(frozen=True)
class FilmPlan:
    """How a film is made; the defaults are those of `clipopt story`.

    Attributes:
        width: Of the frames, pixels.
        height: Of the frames, pixels.
        fps: Frames per second.
        zoom: Of each frame over the one before; above 1 comes closer.
        pan: How far the camera moves to the right and down in a frame, as fractions of width and height.
        rotate: How far the picture turns counter-clockwise in a frame, degrees.
        fade: Part of the picture that returns to grey in a frame, so that what is asked for no longer goes away.
        steps: Steps of the optimizer in a frame.
        first_steps: Steps before the first frame.
        param: What is learned.
        seed: Of the film.
        lr: Adam's learning rate.
        crops: Views of the picture in a step.
        smooth: Weight of the total variation, as in `clipopt image`.
    """

    width: int = 256
    height: int = 256
    fps: float = 12.0
    zoom: float = 1.01
    pan: tuple[float, float] = (0.0, 0.0)
    rotate: float = 0.0
    fade: float = 0.02
    steps: int = 4
    first_steps: int = 60
    param: Literal["pyramid", "pixels", "fourier"] = "pyramid"
    seed: int = 0
    lr: float = 0.1
    crops: int = 6
    smooth: float = 0.5

    def steps_before(self, frame: int) -> int:
        """Steps of the optimizer before frame number `frame` is begun."""
        return 0 if frame == 0 else self.first_steps + (frame - 1) * self.steps


def memory_needed(plan: FilmPlan) -> float:
    """About how many bytes a film holds at most, without its models."""
    return _BASE_BYTES + 3 * plan.height * plan.width * _BYTES_PER_VALUE
