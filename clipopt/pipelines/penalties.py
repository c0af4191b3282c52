"""The terms of the loss that `clipopt.pipelines.extras` ask for."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from clipopt import losses
from clipopt.io.image import LOOKED_AT, Alpha, load_image
from clipopt.losses import Aesthetic, load_aesthetic
from clipopt.losses.likeness import Likeness
from clipopt.params.palette import fixed_colours
from clipopt.pipelines.extras import Extras
from clipopt.pipelines.image.parameters import parse_palette
from clipopt.pipelines.views import resize
from clipopt.scorers import Scorer
from clipopt.types import Images


class Penalties:
    """The terms that `Extras` ask for, of pictures of any size."""

    def __init__(
        self, extras: Extras, scorer: Scorer, colours: Tensor | None, edges: Images | None, head: Aesthetic | None
    ) -> None:
        self.extras, self.scorer = extras, scorer
        self._colours, self._edges, self._head = colours, edges, head
        self._size: tuple[int, ...] = ()

    def __call__(self, images: Images, given: Images | None) -> dict[str, Tensor]:
        """The weighted terms, each of shape (items,); `given` is the picture that they began as."""
        e, terms = self.extras, {}
        if images.shape[-2:] != self._size:
            self._enter(images, given)
        if e.symmetry:
            terms["symmetry"] = e.symmetry * losses.symmetry(images)
        if e.saturation:
            terms["saturation"] = -e.saturation * losses.saturation(images)
        if e.border:
            terms["border"] = e.border * losses.border(images)
        if self._colours is not None:
            terms["few colours"] = e.few_colours * losses.palette(images, self._colours)
        if self._edges is not None:
            terms["edges"] = e.edge_weight * losses.edges(_shrink(images, self._seen), self._map)
        if self._likeness is not None:
            terms["likeness"] = e.likeness * self._likeness(images)
        if self._head is not None:
            terms["aesthetic"] = e.aesthetic_weight * self._head.penalty(self.scorer.encode_image(images))
        return terms

    def _enter(self, images: Images, given: Images | None) -> None:
        """Make what has the resolution of the pictures."""
        size = (images.shape[-2], images.shape[-1])
        self._size = size
        if self._edges is not None:
            # As coarse as the scorer sees: at full size, grain is the cheapest outline.
            zoom = min(1.0, self.scorer.image_size / min(size))
            self._seen = (max(1, round(zoom * size[0])), max(1, round(zoom * size[1])))
            self._map = losses.edge_strength(_shrink(resize(self._edges, size).to(images), self._seen))
        asked = self.extras.likeness and given is not None
        self._likeness = Likeness(self.scorer, given.to(images)) if asked and given is not None else None


def _shrink(images: Images, size: tuple[int, int]) -> Images:
    return F.interpolate(images, size, mode="bilinear", antialias=True)


def load_penalties(
    extras: Extras, scorer: Scorer, palette: str, *, has_init: bool, alpha: Alpha = "white"
) -> Penalties:
    """Everything that is named here, checked and in memory.

    Raises:
        ValueError: a number is out of its range, a file cannot be read, or something does not go together.
    """
    for name, value in vars(extras).items():
        if isinstance(value, float | int) and not (math.isfinite(value) and (value >= 0 or name == "saturation")):
            raise ValueError(f"--{name.replace('_', '-')} must be 0 or more, got {value}")
    if extras.likeness and not has_init:
        raise ValueError("--likeness speaks of a picture: give it with --init FILE")
    colours = parse_palette(palette) if extras.few_colours else None
    if isinstance(colours, int):
        raise ValueError(f"--few-colours needs a --palette by name or of colours, got {palette} to be learned")
    if isinstance(colours, str):
        colours = fixed_colours(colours)
    edges = None if extras.edges is None else load_image(extras.edges, alpha=alpha, most=LOOKED_AT)
    head = None if extras.aesthetic is None else load_aesthetic(extras.aesthetic)
    if head is not None:
        with torch.no_grad():
            device = scorer.encode_text(["a picture"]).device
            head(scorer.encode_image(torch.full((1, 3, 8, 8), 0.5, device=device)))
    return Penalties(extras, scorer, colours, edges, head)
