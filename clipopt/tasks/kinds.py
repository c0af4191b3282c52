"""What can be learned, by the names of --param."""

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clipopt import params
from clipopt.params.palette import PALETTES
from clipopt.types import Images, generator

Param = Literal["pyramid", "pixels", "fourier", "palette", "siren", "prior", "strokes", "shapes"]

SUITS: dict[Param, tuple[int, float]] = {
    "pyramid": (120, 0.1), "pixels": (120, 0.1), "fourier": (120, 0.1), "palette": (120, 0.5),
    "siren": (150, 0.1), "prior": (150, 0.1), "strokes": (200, 0.1), "shapes": (200, 0.1),
}  # fmt: skip
"""Steps and learning rate that suit each."""
GRIDS = ("pyramid", "pixels", "fourier")
"""Those that hold values in places, so that a larger one can go on from a smaller one, and borders can be blended."""
SAMPLED = (*GRIDS, "palette")
"""Those that begin at a sample of the generator in the package where the scorer in the package guides."""
VECTORS = ("strokes", "shapes")
"""Those that are files of curves."""
ANY_SIZE = ("fourier", "palette", "siren", *VECTORS)
"""Those that can be drawn at another size than they were made at."""
# Keeps the draws of the grounds apart from all others.
_GROUND = 2


def make(
    param: Param,
    size: tuple[int, int],
    *,
    rng: Sequence[Generator],
    init: Images | None = None,
    colours: str | int | Tensor = 16,
) -> nn.Module:
    """The parameters of pictures of `size` (height, width); `colours` are those of a palette."""
    match param:
        case "pyramid":
            return params.Pyramid(*size, rng=rng, init=init)
        case "pixels":
            return params.Pixels(*size, rng=rng, init=init)
        case "fourier":
            # Steep, in the colours of photographs: what keeps a plain scorer from glaring texture.
            return params.Fourier(*size, rng=rng, init=init, decay=1.5, colours="natural")
        case "palette":
            return params.Palette(*size, rng=rng, init=init, colours=colours)
        case "siren":
            return params.Siren(*size, rng=rng, init=init)
        case "prior":
            return params.DeepPrior(*size, rng=rng, init=init)
        case "strokes" | "shapes":
            return params.Strokes(*size, rng=rng, init=init, kind=param)


def over_ground(image: Any, size: tuple[int, int], seeds: Sequence[int], step: int | None) -> Images:
    """Curves over a random ground of a step, one for each of the items' seeds, or over white."""
    if step is None:
        return image.render(*size, ground=torch.ones(1, 3, 1, 1))
    corners = torch.stack([torch.rand(3, 2, 2, generator=generator(seed, step, _GROUND)) for seed in seeds])
    ground = F.interpolate(corners, size, mode="bilinear", align_corners=True)
    return image.render(*size, ground=ground)


def cover(image: Any) -> Tensor:
    """How opaque curves are, the mean of each item: what is not needed should not be there."""
    return torch.sigmoid(image.opacity).mean((1, 2))


def parse_palette(text: str) -> str | int | Tensor:
    """What `params.Palette` takes for a name, a number of colours, or colours such as "000000,ff8800,ffffff".

    Raises:
        ValueError: it is none of them.
    """
    if text in PALETTES:
        return text
    if text.isascii() and text.isdigit() and len(text) < 4 and int(text) >= 2:
        return int(text)
    try:
        colours = [[*bytes.fromhex(colour.strip().removeprefix("#"))] for colour in text.split(",")]
    except ValueError:
        colours = []
    if len(colours) < 2 or any(len(colour) != 3 for colour in colours):
        raise ValueError(
            f"--palette must be {', '.join(PALETTES)}, a number of colours from 2 to 999 to be learned, or colours "
            f"such as 000000,ff8800,ffffff; got {text!r}"
        )
    return torch.tensor(colours) / 255
