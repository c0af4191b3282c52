"""Priors on pictures and penalties for what they should not be, un-reduced over the batch; all are minimised."""

from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from clipopt.types import Images, PerItem

# Squared lengths below this count as 0: the root of 0 has no gradient.
_TINY = 1e-14
# Rec. 601, the luma of 8-bit pictures.
_LUMA = (0.299, 0.587, 0.114)
# Edges of a picture of this mean strength, in intensity per pixel, count half.
_FAINT = 1e-3


def total_variation(images: Images) -> PerItem:
    """Mean length of the colour gradient, in intensity per pixel: isotropic, each channel by itself.

    Forward differences, zero across the border. The slope at flat places is 0.

    Reference:
        Rudin, Osher, Fatemi, "Nonlinear total variation based noise removal algorithms" (1992).

    Example:
        >>> total_variation(torch.zeros(2, 3, 8, 8))
        tensor([0., 0.])
    """
    variation: Tensor = _Variation.apply(images)  # type: ignore[no-untyped-call]
    return variation


class _Variation(torch.autograd.Function):
    """The mean over all places, written out: autograd's own slope of it takes twice as long, and runs in every step."""

    @staticmethod
    def forward(ctx: Any, images: Tensor) -> Tensor:
        down, right = images.diff(dim=-2), images.diff(dim=-1)
        lengths = torch.full_like(images, _TINY)
        lengths[..., :-1, :].addcmul_(down, down)
        lengths[..., :-1].addcmul_(right, right)
        lengths.sqrt_()
        ctx.save_for_backward(down, right, lengths)
        return lengths.flatten(1).mean(dim=1) - _TINY**0.5

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, weight: Tensor) -> Tensor:
        down, right, lengths = ctx.saved_tensors
        share = (weight / lengths[0].numel())[:, None, None, None] / lengths
        down, right = down * share[..., :-1, :], right * share[..., :-1]
        slope = torch.zeros_like(lengths)
        slope[..., 1:, :] += down
        slope[..., :-1, :] -= down
        slope[..., 1:] += right
        slope[..., :-1] -= right
        return slope


def l2(images: Images, reference: Images) -> PerItem:
    """Mean squared difference to `reference`, shape (1 or items, 3, h, w): 0, with slope 0, at the reference."""
    if reference.shape[1:] != images.shape[1:] or reference.shape[0] not in (1, images.shape[0]):
        raise ValueError(
            f"reference must have the shape of the images, or one item of it: expected {tuple(images.shape)}, "
            f"got {tuple(reference.shape)}"
        )
    return (images - reference).square().flatten(1).mean(dim=1)


def range_penalty(images: Images) -> PerItem:
    """Mean squared distance of the values to [0, 1]: 0 for every valid image."""
    return (images - images.clamp(0, 1)).square().flatten(1).mean(dim=1)


def symmetry(images: Images, axis: Literal["left-right", "up-down"] = "left-right") -> PerItem:
    """Mean squared difference between a picture and its mirror image: 0 where it is symmetric.

    Reference:
        The symmetry loss of White, "pixray" (2021).
    """
    return (images - images.flip(-1 if axis == "left-right" else -2)).square().flatten(1).mean(dim=1)


def saturation(images: Images) -> PerItem:
    """How colourful a picture is, 0 for grey: minimised it pales, with a negative weight its colours grow.

    For values in [0, 1]; times 255 it is the published measure, on which 15 is slightly and 82 highly colourful.

    Reference:
        Hasler and Suesstrunk, "Measuring colourfulness in natural images" (2003), the measure M3; as a loss: White,
        "pixray" (2021).
    """
    red, green, blue = images.flatten(2).unbind(1)
    axes = torch.stack((red - green, (red + green) / 2 - blue), 1)
    spread = axes.var(dim=2, correction=0).sum(1)
    return _root(spread) + 0.3 * _root(axes.mean(dim=2).square().sum(1))


def palette(images: Images, colors: Float[Tensor, "n 3"]) -> PerItem:
    """Mean squared distance of every pixel to its nearest colour: 0 where only these occur.

    Args:
        images: The pictures.
        colors: The palette, RGB in [0, 1].

    Reference:
        The palette loss of White, "pixray" (2021).
    """
    with torch.no_grad():
        nearest = torch.cdist(images.flatten(2).mT, colors.to(images)[None]).argmin(2)
    wanted = colors.to(images)[nearest].mT.view_as(images)
    return (images - wanted).square().flatten(1).mean(dim=1)


def border(images: Images, width: float = 0.1, color: Float[Tensor, " 3"] | None = None) -> PerItem:
    """Mean squared difference of the strip along the border to one colour, so that a thing stands free of it.

    Args:
        images: The pictures.
        width: Of the strip, as a fraction of the shorter side; above 0, up to 0.5.
        color: RGB in [0, 1]; None for the strip's own mean, any plain colour then will do.

    Raises:
        ValueError: If `width` is out of its range.

    Reference:
        The edge loss of White, "pixray" (2021), which draws the margins towards one colour.
    """
    if not 0 < width <= 0.5:
        raise ValueError(f"width must lie above 0 and up to 0.5, got {width}")
    height, length = images.shape[-2:]
    thick = max(1, round(width * min(height, length)))
    inside = torch.zeros(height, length, dtype=torch.bool, device=images.device)
    inside[thick : height - thick, thick : length - thick] = True
    strip = images[..., ~inside]
    plain = strip.mean(dim=2, keepdim=True) if color is None else color.to(images)[:, None]
    return (strip - plain).square().flatten(1).mean(dim=1)


def edges(images: Images, edge_map: Float[Tensor, "_ 1 h w"]) -> PerItem:
    """How little the edges of a picture follow a map: 0 where they are proportional, 1 where they share no place.

    Args:
        images: The pictures, of the map's height and width.
        edge_map: How strong the edges should be, 0 or more, shape (1 or items, 1, h, w): a line drawing, white on
            black and best a little blurred, or the `edge_strength` of a picture.

    Raises:
        ValueError: If the map has another size or number.
    """
    if edge_map.shape[-2:] != images.shape[-2:] or len(edge_map) not in (1, len(images)):
        raise ValueError(
            f"edge_map must have the size of the images and 1 or {len(images)} items, got {tuple(edge_map.shape)} for "
            f"images of {tuple(images.shape)}"
        )
    own, wanted = edge_strength(images).flatten(1), edge_map.to(images).flatten(1)
    faint = _FAINT * wanted.shape[1] ** 0.5
    lengths = (own.square().sum(1) + faint * faint).sqrt() * wanted.square().sum(1).clamp_min(_TINY).sqrt()
    return 1 - (own * wanted).sum(1) / lengths


def edge_strength(images: Images) -> Float[Tensor, "_ 1 _ _"]:
    """Slope of the brightness in intensity per pixel, by Sobel's filters, the border mirrored."""
    luma = torch.tensor(_LUMA).to(images) @ images.flatten(2)
    sobel = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).to(images) / 8
    padded = F.pad(luma.view(len(images), 1, *images.shape[-2:]), (1, 1, 1, 1), mode="replicate")
    slopes = F.conv2d(padded, torch.stack((sobel, sobel.T))[:, None])
    return _root(slopes.square().sum(1, keepdim=True))


def perceptual(features: list[Tensor], reference: list[Tensor]) -> PerItem:
    """How differently a network sees two pictures: 0, with slope 0, where it sees the same.

    At every place of every level the features are scaled to length 1; their squared differences are averaged over
    the places and over the levels. Of embeddings, which are one level of one place, it is twice 1 - cosine.

    Args:
        features: Of the pictures, one tensor per level: (b, channels, places...) each.
        reference: Of what they are compared with, likewise.

    Raises:
        ValueError: If the levels do not fit one another.

    Reference:
        Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric" (2018),
        arXiv:1801.03924; here without its learned weights.
    """
    if not features or [level.shape for level in features] != [level.shape for level in reference]:
        shapes = [[tuple(level.shape) for level in levels] for levels in (features, reference)]
        raise ValueError(f"expected features of the same levels and shapes, got {shapes[0]} and {shapes[1]}")
    pairs = zip(features, reference, strict=True)
    each = [(F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1) for a, b in pairs]
    return torch.stack([level.view(len(level), -1).mean(1) for level in each]).mean(0)


def _root(squares: Tensor) -> Tensor:
    """The square root, with slope 0 at 0."""
    return squares.clamp_min(_TINY).sqrt().where(squares > _TINY, 0.0)
