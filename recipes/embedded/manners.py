"""Manners of drawing: any drawing as lines, as a silhouette, as a pencil sketch, in grey.

Each takes a drawing with transparency and a seed, and gives another, with a margin where ink may reach beyond its edge;
the same seed gives the same.
"""

import math
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from clipopt.types import generator

Array = NDArray[np.floating[Any]]
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_PAPER = 250.0
_MARGIN = 32  # one part of so many


def _split(image: Image.Image) -> tuple[Array, Array]:
    """Colours over white, (h, w, 3), and coverage, (h, w), all in [0, 1]."""
    values = np.asarray(image, np.float32) / 255
    cover = values[..., 3]
    return values[..., :3] * cover[..., None] + (1 - cover[..., None]), cover


def _joined(rgb: Array | float, cover: Array) -> Image.Image:
    grey = np.broadcast_to(np.asarray(rgb, np.float32)[..., None], (*cover.shape, 3)) if np.ndim(rgb) < 3 else rgb
    values = np.concatenate([grey, cover[..., None] * 255], -1)
    return Image.fromarray(np.clip(values + 0.5, 0, 255).astype(np.uint8), "RGBA")


def _blurred(values: Array, radius: float) -> Array:
    blur = Image.fromarray(np.clip(values * 255, 0, 255).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(blur, np.float32) / 255


def _spread(values: Array, reach: int) -> Array:
    """The largest of the values up to `reach` pixels away."""
    wide = Image.fromarray((values * 255).astype(np.uint8)).filter(ImageFilter.MaxFilter(2 * reach + 1))
    return np.asarray(wide, np.float32) / 255


def _edges(rgb: Array, cover: Array, blur: float) -> Array:
    """How strongly colours or coverage change at each pixel, in [0, 1]."""
    planes = np.concatenate([_blurred(rgb, blur), _blurred(cover, blur)[..., None]], -1)
    padded = np.pad(planes, ((1, 1), (1, 1), (0, 0)), mode="edge")
    across = padded[1:-1, 2:] - padded[1:-1, :-2]
    down = padded[2:, 1:-1] - padded[:-2, 1:-1]
    return np.asarray(np.sqrt(across**2 + down**2).max(-1), np.float32)


def _ramp(values: Array, low: float, high: float) -> Array:
    return np.clip((values - low) / (high - low), 0, 1)


def lines(image: Image.Image, seed: int) -> Image.Image:
    """Its outlines in ink, thin or thick, over white paper cut to its shape or over nothing."""
    rng = Random(f"{seed}/lines")
    unit = image.width / 128
    image = ImageOps.expand(image, image.width // _MARGIN)
    rgb, cover = _split(image)
    edges = _edges(rgb, cover, rng.uniform(0.7, 1.0) * unit)
    padded = np.pad(edges, 1)
    middle = padded[1:-1, 1:-1]  # a ridge: not smaller than both neighbours across or along
    ridge = ((middle >= padded[1:-1, 2:]) & (middle >= padded[1:-1, :-2])) | (
        (middle >= padded[2:, 1:-1]) & (middle >= padded[:-2, 1:-1])
    )
    low, thick = rng.uniform(0.08, 0.14), max(1, round(rng.uniform(0.6, 2.4) * unit))
    ink = _blurred(_spread(ridge * _ramp(edges, low, 2.5 * low), thick), 0.6 * unit)
    dark = rng.uniform(10, 50)
    if rng.random() < 0.5:
        return _joined(dark, ink)
    paper = np.maximum(cover, ink)
    return _joined(_PAPER * (1 - ink) + dark * ink, paper)


def silhouette(image: Image.Image, seed: int) -> Image.Image:
    """Its shape in one grey, which a painter recolours; faint shadows are left away."""
    _, cover = _split(image)
    return _joined(135.0, _ramp(cover, 0.35, 0.75))


def sketch(image: Image.Image, seed: int) -> Image.Image:
    """As if by pencil: soft outlines drawn twice, hatching where it is dark, the grain of paper."""
    rng = Random(f"{seed}/sketch")
    unit = image.width / 128
    image = ImageOps.expand(image, image.width // _MARGIN)
    side = image.width
    rgb, cover = _split(image)
    edges = _edges(rgb, cover, 0.9 * unit)
    low = rng.uniform(0.07, 0.12)
    stroke = _ramp(edges, low, 3.5 * low)
    step = max(1, round(unit))
    again = np.roll(stroke, (rng.choice((-step, step)), rng.choice((-step, step))), (0, 1))
    luma = _blurred((rgb @ _LUMA).astype(np.float32), 1.5 * unit)
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    grain = torch.rand(side, side, generator=generator(seed, 7)).numpy()
    hatching = np.zeros_like(luma)
    turn = rng.uniform(0, math.pi)
    for darker, more in ((0.8, 0.0), (0.45, rng.uniform(0.4, 1.2))):
        along = x * math.cos(turn + more) + y * math.sin(turn + more)
        waves = 0.5 + 0.5 * np.sin(along * rng.uniform(90, 150) + 0.4 * grain)
        hatching = np.maximum(hatching, waves * _ramp(darker - luma, 0.0, 0.5))
    pencil = np.maximum(np.maximum(stroke, 0.6 * again), rng.uniform(0.55, 0.85) * hatching * cover)
    pencil = (pencil * (0.7 + 0.3 * grain)).astype(np.float32)
    dark = rng.uniform(45, 85)
    if rng.random() < 0.3:
        return _joined(dark, pencil)
    paper = np.maximum(_spread(cover, max(1, round(2 * unit))), pencil)
    return _joined(_PAPER * (1 - pencil) + dark * pencil, paper)


def grey(image: Image.Image, seed: int) -> Image.Image:
    """Without colour, in more or less contrast."""
    rng = Random(f"{seed}/grey")
    values = np.asarray(image, np.float32)
    luma = values[..., :3] @ _LUMA
    return _joined((luma - 128) * rng.uniform(0.75, 1.2) + 128 + rng.gauss(0, 12), values[..., 3] / 255)


MANNERS: dict[str, Callable[[Image.Image, int], Image.Image]] = {
    "lines": lines, "silhouette": silhouette, "sketch": sketch, "grey": grey,
}  # fmt: skip
