"""A finished motion: what is wrong with it in numbers, pictures of it over time, and how well it fits a text."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.geometry.contact import foot_skate, jerk
from clipopt.geometry.posture import imbalance
from clipopt.geometry.skeleton import limits
from clipopt.params.motion import Stances
from clipopt.pipelines.motion.views import pictures
from clipopt.render.figure import Posed
from clipopt.types import Images

JUDGED = (-48.0, -22.0, 22.0, 48.0)
"""Azimuths from which a finished motion is judged, degrees; no step of the making looks from exactly there."""


def measure(posed: Posed, stances: Stances, fps: float | int) -> dict[str, float | int]:
    """What is wrong with a motion, in numbers."""
    low, high = limits()
    beyond = (stances.angles < low - 1e-5) | (stances.angles > high + 1e-5)
    moved = posed.joints.diff(dim=0).norm(dim=-1).mean()
    return {
        "foot skate, cm/s": round(foot_skate(posed.joints, fps), 3),
        "jerk, m/s^3": round(jerk(posed.joints, fps), 2),
        "off balance, cm": round(100 * float(imbalance(posed.joints).mean()), 2),
        "limit violations": int(beyond.sum()),
        "mean joint speed, m/s": round(float(moved) * fps, 3),
        "lowest point, cm": round(100 * float(posed.joints[..., 1].amin()), 2),
    }


def film(posed: Posed, side: int, azimuth: float | int = 32.0) -> list[Float[Tensor, "3 _ _"]]:
    """Every frame as a picture; the camera goes along."""
    return [picture for part in range(0, len(posed), 30) for picture in _shown(posed[part : part + 30], side, azimuth)]


def over_time(posed: Posed, count: int, side: int, azimuth: float | int = 32.0) -> Images:
    """Frames evenly over time."""
    return _shown(posed[evenly(len(posed), count)], side, azimuth)


def _shown(posed: Posed, side: int, azimuth: float | int) -> Images:
    backdrop = torch.linspace(0.95, 0.8, 2 * side)[None, None, :, None].expand(1, 3, -1, 2 * side).contiguous()
    large = pictures(posed, azimuth, side=2 * side, background=backdrop, fine=True)
    return torch.nn.functional.avg_pool2d(large, 2).clamp(0, 1)


def evenly(frames: int, count: int) -> Tensor:
    """Numbers of `count` frames from the first to the last."""
    return torch.linspace(0, frames - 1, count).round().long()


@torch.no_grad()
def film_embeddings(who: Any, posed: Posed) -> Float[Tensor, "v f d"]:
    """Rows of the frames of a film, from each of `JUDGED`, as `who` sees them."""
    some = posed[evenly(len(posed), who.frames)]
    seen = torch.cat([pictures(some, azimuth, side=who.image_size, elevation=6.0) for azimuth in JUDGED])
    rows: Tensor = who.encode_image(seen)
    return rows.unflatten(0, (len(JUDGED), -1))


@torch.no_grad()
def order_gaps(who: Any, posed: Posed, text: str, rows: Tensor | None = None) -> dict[str, float]:
    """How well a film fits a text, by how much less it does backward, and by how much less than its best frame held."""
    rows = film_embeddings(who, posed) if rows is None else rows
    asked = who.encode_text([text])[0]

    def fit(some: Tensor) -> float:
        return float((who.encode_rows(some) @ asked).mean())

    forward = fit(rows)
    held = max(fit(rows[:, n : n + 1].expand_as(rows)) for n in range(rows.shape[1]))
    return {
        "cosine": round(forward, 4),
        "reversed-time gap": round(forward - fit(rows.flip(1)), 4),
        "frozen-pose gap": round(forward - held, 4),
    }
