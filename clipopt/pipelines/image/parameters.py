"""The parameters of each kind of `clipopt.pipelines.kinds`."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clipopt import params
from clipopt.params.palette import PALETTES
from clipopt.pipelines.kinds import Param
from clipopt.types import Images, generator

# Keeps the draws of the grounds apart from all others.
_GROUND = 2


def make(
    param: Param,
    size: tuple[int, int],
    *,
    rng: Sequence[Generator],
    init: Images | None = None,
    colours: str | int | Tensor = 16,
    natural: bool = False,
) -> nn.Module:
    """The parameters of pictures of `size` (height, width); `colours` are those of a palette.

    With `natural`, a spectrum for a network of photographs, which holds colours and detail itself.
    """
    match param:
        case "pyramid":
            return params.Pyramid(*size, rng=rng, init=init)
        case "pixels":
            return params.Pixels(*size, rng=rng, init=init)
        case "fourier":
            # Steep, in the colours of photographs: what keeps a plain scorer from glaring texture.
            decay, chroma = (1.3, 2.0) if natural else (1.5, 1.0)
            return params.Fourier(*size, rng=rng, init=init, decay=decay, chroma=chroma, colours="natural")
        case "phases":
            return params.Phases(*size, rng=rng, init=init, chroma=1.6)
        case "palette":
            return params.Palette(*size, rng=rng, init=init, colours=colours)
        case "siren":
            return params.Siren(*size, rng=rng, init=init)
        case "prior":
            return params.DeepPrior(*size, rng=rng, init=init)
        case "strokes" | "shapes":
            return params.Strokes(*size, rng=rng, init=init, kind=param)


class Several(nn.Module):
    """Some pictures of one kind and some of another, as one scene.

    Args:
        kinds: What is learned of each kind.
        drawn: Which pictures are of the first kind; the others are of the second.
    """

    def __init__(self, kinds: Sequence[nn.Module], drawn: Bool[Tensor, " n"]) -> None:
        super().__init__()
        self.kinds = nn.ModuleList(kinds)
        self._order = torch.cat([drawn.nonzero(), (~drawn).nonzero()]).flatten().argsort()

    def forward(self) -> Images:
        """All pictures in their order."""
        return torch.cat([kind() for kind in self.kinds])[self._order]


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
