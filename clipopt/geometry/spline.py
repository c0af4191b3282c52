"""Curves through keys, and slow waves on top of them."""

import math

import torch
from jaxtyping import Float
from torch import Tensor


def catmull_rom(
    keys: Float[Tensor, "k d"], times: Float[Tensor, " k"], at: Float[Tensor, " t"], *, loop: float | None = None
) -> Float[Tensor, "t d"]:
    """A curve through keys, smooth in its first derivative; at rest at its ends unless it loops.

    Args:
        keys: Values.
        times: When each holds, rising.
        at: When to look; before the first key and behind the last it stays there, unless it loops.
        loop: Length of the loop, longer than from the first key to the last; None: it does not loop.

    Raises:
        ValueError: If times do not rise, or the loop is too short.

    Reference:
        Catmull and Rom, "A class of local interpolating splines" (1974), with knots at any times.
    """
    if len(keys) != len(times) or not bool((times.diff() > 0).all()) or len(keys) == 0:
        raise ValueError(f"expected one rising time for each of {len(keys)} keys, got {times.tolist()}")
    if loop is not None:
        if float(times[-1] - times[0]) >= loop:
            raise ValueError(f"expected a loop longer than {float(times[-1] - times[0])}, got {loop}")
        at = times[0] + (at - times[0]).remainder(loop)
        keys = torch.cat([keys[-1:], keys, keys[:2]]) if len(keys) > 1 else keys.repeat(4, 1)
        times = torch.cat([times[-1:] - loop, times, times[:2] + loop] if len(times) > 1 else
                          [times - loop, times, times + loop, times + 2 * loop])  # fmt: skip
    if len(keys) == 1:
        return keys.expand(len(at), -1)
    gaps = times.diff()[:, None]
    slopes = keys.diff(dim=0) / gaps
    inner = (slopes[:-1] * gaps[1:] + slopes[1:] * gaps[:-1]) / (gaps[:-1] + gaps[1:])
    rest = torch.zeros_like(keys[:1])
    tangents = torch.cat([rest, inner, rest])
    at = at.clamp(float(times[0]), float(times[-1]))
    left = (torch.searchsorted(times, at.contiguous(), right=True) - 1).clamp(0, len(times) - 2)
    gap = gaps[left]
    u = (at - times[left])[:, None] / gap
    h00, h10 = (1 + 2 * u) * (1 - u) ** 2, u * (1 - u) ** 2
    h01, h11 = u**2 * (3 - 2 * u), u**2 * (u - 1)
    return h00 * keys[left] + h10 * gap * tangents[left] + h01 * keys[left + 1] + h11 * gap * tangents[left + 1]


def cosines(frames: int, count: int) -> Float[Tensor, "frames count"]:
    """The slowest waves of the discrete cosine transform, without the constant; each of amplitude 1."""
    place = (torch.arange(frames) + 0.5) / max(frames, 1)
    return torch.cos(math.pi * place[:, None] * torch.arange(1, count + 1))
