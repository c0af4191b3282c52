"""Sketches of several things, composed of sketches of each by itself, which a sketcher draws best."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipopt.embedded.captions import Scene, caption
from clipopt.embedded.parsing import parse
from clipopt.types import Images

ALONE = 0.74
"""How large a thing by itself is drawn, in canvases."""
PAIR, ASIDE = 0.45, 0.25
"""How large two different things are, and how far from the middle they stand."""
SPOTS = {
    2: (0.44, ((-0.25, 0.0), (0.25, 0.0))),
    3: (0.42, ((0.0, -0.23), (-0.25, 0.23), (0.25, 0.23))),
    4: (0.42, ((-0.24, -0.24), (0.24, -0.24), (-0.24, 0.24), (0.24, 0.24))),
}
"""How large several of one kind are, and where they stand, in canvases from the middle."""
STEPS = ((0, 0), (0, -1), (0, 1), (-1, 0), (1, 0), (-1, -1), (1, -1), (-1, 1), (1, 1))
"""Where the places of `captions.PLACES` lie from the middle: columns and rows."""
_SIZES = {None: ALONE, "medium": 0.6, "small": 0.36, "large": 0.94}
_RIM = 0.1  # width of the strip, in half sides of a picture, in which it goes over into its ground
_SOFT = 0.012  # how softly the ground of one goes over into that of the next, in squared canvases


class Part(NamedTuple):
    """One of several things: what it is called by itself, where its middle stands, and how large it is."""

    text: str
    u: float
    v: float
    share: float


def spot(said: Scene) -> tuple[float, float, float]:
    """Where a single thing stands and how large it is."""
    share = _SIZES[said.size]
    if said.place:
        share = min(share, 0.5)
    room = 0.9 * (1 - share) / 2
    column, row = STEPS[said.place or 0]
    return column * room, row * room, share


def parts(text: str) -> list[Part]:
    """The things that `text` names, each as it is said by itself, on the ground of the whole.

    None where it names one thing in the middle and says nothing of its size, or is no sentence of the embedded world.
    """
    said = parse(text)
    if said is None:
        return []
    one = caption(Scene(said.concept, said.colour, background=said.background))
    if said.other is not None:
        two = caption(Scene(said.other, said.other_colour, background=said.background))
        u, v = (0.0, ASIDE) if said.relation == "over" else (ASIDE, 0.0)
        return [Part(one, -u, -v, PAIR), Part(two, u, v, PAIR)]
    if said.count in SPOTS:
        share, spots = SPOTS[said.count]
        return [] if said.place or said.size else [Part(one, u, v, share) for u, v in spots]
    return [Part(one, *spot(said))] if said.place or said.size else []


def compose(pictures: Sequence[Float[Tensor, "1 3 s s"]], where: Sequence[Part]) -> Images:
    """One picture of all: each as large as it should be, at its place, on the ground that it has at its border.

    Between them one ground goes over into the next.
    """
    side = pictures[0].shape[-1]
    axis = (torch.arange(side, device=pictures[0].device) + 0.5) / side - 0.5
    v, u = torch.meshgrid(axis, axis, indexing="ij")
    shown, near = [], []
    for picture, part in zip(pictures, where, strict=True):
        grid = torch.stack((u - part.u, v - part.v), -1) * (2 * ALONE / part.share)
        drawn = F.grid_sample(picture, grid[None], mode="bicubic", padding_mode="border", align_corners=False)
        within = ((1 - grid.abs().amax(-1)) / _RIM).clamp(0, 1)
        shown.append(torch.lerp(_border(picture), drawn, within))
        near.append(-((u - part.u).square() + (v - part.v).square()) / _SOFT)
    return (torch.stack(near).softmax(0)[:, None] * torch.cat(shown)).sum(0, keepdim=True).clamp(0, 1)


def _border(picture: Float[Tensor, "1 3 s s"]) -> Float[Tensor, "1 3 1 1"]:
    """The middle colour of the outermost pixels."""
    lines = [picture[:, :, 0], picture[:, :, -1], picture[..., 0], picture[..., -1]]
    return torch.cat(lines, 2).median(2).values[..., None, None]
