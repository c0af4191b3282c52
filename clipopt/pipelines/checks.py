"""Settings that several tasks share, checked before anything is written."""

import math
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

LARGEST_SHARE = 0.8
"""Part of the machine's memory that a run may plan to use."""


def parse_size(text: str, option: str = "--size") -> tuple[int, int]:
    """Width and height in pixels of "256" (a square) or "384x256".

    Raises:
        ValueError: it is neither, or a side is below 1.
    """
    sides = text.lower().replace("×", "x").split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and len(side) < 10 for side in sides):
        raise ValueError(f"{option} must be N or WxH in pixels, such as 256 or 384x256, got {text!r}")
    width, height = (int(side) for side in (sides * 2)[:2])
    if min(width, height) < 1:
        raise ValueError(f"{option} must be at least 1 pixel a side, got {text!r}; 256 is the default")
    return width, height


def require_positive(**numbers: int | float) -> None:
    """Check that every number is finite and above 0; the keywords are the options' names.

    Raises:
        ValueError: one is not.
    """
    for name, number in numbers.items():
        if not (math.isfinite(number) and number > 0):
            raise ValueError(f"--{name.replace('_', '-')} must be above 0, got {number}")


def resolve_device(name: str) -> "torch.device":
    """The device of that name; "auto" takes the GPU where there is one, of NVIDIA, AMD or Apple.

    Raises:
        ValueError: there is no such device here.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() and _serves("mps") else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device).tolist()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"--device {name} cannot be used here ({reason}); take cpu, or auto") from error
    return device


def _serves(device: str) -> bool:
    """Whether a device can do all that a run needs: Apple's lacks some operations in some versions of torch."""
    import torch
    from torch.nn import functional as F

    try:
        image = torch.full((1, 3, 16, 16), 0.5, device=device, requires_grad=True)
        spectrum = torch.view_as_real(torch.fft.rfft2(F.interpolate(image, (8, 8), mode="bicubic", antialias=True)))
        grid = torch.zeros(1, 8, 8, 2, device=device)
        moved = F.grid_sample(image, grid, padding_mode="reflection", align_corners=False)
        torch.autograd.grad(spectrum.sum() + moved.sum(), image)[0].tolist()
    except (RuntimeError, NotImplementedError):
        return False
    return True


def require_memory(needed: int | float, device: "torch.device", what: str) -> None:
    """Check that `needed` bytes are fewer than the device has.

    Raises:
        ValueError: they are not; the message says how much `what` needs.
    """
    installed = _memory(device)
    if installed is not None and needed > LARGEST_SHARE * installed:
        raise ValueError(
            f"{what} needs about {amount(needed)} of memory, and this machine has {amount(installed)}; "
            "ask for a smaller --size or fewer items"
        )


def _memory(device: "torch.device") -> int | None:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def amount(number: int | float) -> str:
    """A number of bytes as a person reads it."""
    power = min(max(0, math.floor(math.log10(max(number, 1)) / 3)), 6)
    return f"{number / 1000**power:.3g} {('B', 'kB', 'MB', 'GB', 'TB', 'PB', 'EB')[power]}"
