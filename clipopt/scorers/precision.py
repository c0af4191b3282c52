"""Which number format to compute in: measured on this machine, not assumed."""

import hashlib
import json
import math
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from clipopt.io.files import cache_folder, write_text

#: bfloat16 costs digits; below this factor over float32 it is not worth them.
WORTHWHILE = 1.2
_TIMEOUT_S = 60.0

# The linear layer of a ViT-B/32 on 8 pictures. Prints how much faster bfloat16 is, and fails where it is wrong.
_PROBE = """
import sys, time, torch
torch.set_num_threads(int(sys.argv[1]))
x = torch.linspace(-1, 1, 400 * 768).view(400, 768)
w = torch.linspace(1, -2, 768 * 3072).view(768, 3072).cos()
def seconds(dtype):
    a, b = x.to(dtype), w.to(dtype)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        product = a @ b
        times.append(time.perf_counter() - start)
    return min(times), product.float()
exact, reference = seconds(torch.float32)
short, product = seconds(torch.bfloat16)
if not (product - reference).norm() < 0.02 * reference.norm():
    sys.exit("bfloat16 matmul is wrong")
print(exact / short)
"""


def resolve_dtype(name: str, device: torch.device | str) -> torch.dtype:
    """The number format that a person asked for, on `device`.

    Args:
        name: "auto" for the fastest, "float32", "bfloat16", or "float16" for GPUs that lack the latter.
        device: Where the model will run.

    Raises:
        ValueError: if `name` is something else, or bfloat16 does not work there.
    """
    if name == "auto":
        return fastest_dtype(device)
    if name in ("float32", "float16"):
        return torch.float32 if name == "float32" else torch.float16
    if name != "bfloat16":
        raise ValueError(f"unknown dtype {name!r}: expected auto, float32, bfloat16 or float16")
    if torch.device(device).type == "cpu" and cpu_speedup() is None:
        raise ValueError("bfloat16 does not work on this processor with this torch: use dtype float32")
    return torch.bfloat16


def fastest_dtype(device: torch.device | str) -> torch.dtype:
    """bfloat16 where that is worthwhile for matrix products, otherwise float32."""
    kind = torch.device(device).type
    if kind == "cuda":
        worthwhile = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        worthwhile = kind == "cpu" and (cpu_speedup() or 0.0) >= WORTHWHILE
    return torch.bfloat16 if worthwhile else torch.float32


def in_range(encode: Callable[[Tensor], Tensor], images: Tensor, dtype: torch.dtype) -> Tensor:
    """`encode(images)`; in float16 its gradient passes through the model at a length that does not vanish there.

    On the way back it is brought to about 1 by a power of two, which rounds nothing, and undone behind the model.
    """
    if dtype != torch.float16:
        return encode(images)
    power: list[float] = []
    lowered: Tensor = _Lower.apply(images, power)  # type: ignore[no-untyped-call]
    lifted: Tensor = _Lift.apply(encode(lowered), power)  # type: ignore[no-untyped-call]
    return lifted


class _Lift(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, embeddings: Tensor, power: list[float]) -> Tensor:
        ctx.power = power
        return embeddings.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        longest = float(slope.abs().amax())
        ctx.power[:] = [2.0 ** -math.frexp(longest)[1] if 0 < longest < math.inf else 1.0]
        return slope * ctx.power[0], None


class _Lower(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, images: Tensor, power: list[float]) -> Tensor:
        ctx.power = power
        return images.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        return slope / ctx.power[0], None


def cpu_speedup() -> float | None:
    """How many times faster a bfloat16 matmul is than a float32 one on this processor; None if it does not work.

    Measured once in a child process, because torch dies of an illegal instruction on some virtual machines, and
    kept in the user's cache folder for this processor, torch release and number of threads.
    """
    cache = cache_folder() / "bfloat16.json"
    key = _machine()
    known = _read(cache)
    if key in known:
        return known[key]
    command = [sys.executable, "-c", _PROBE, str(torch.get_num_threads())]
    try:
        child = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        factor = float(child.stdout) if child.returncode == 0 else None
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None  # says nothing about the processor, so it is not kept
    _write(cache, {**known, key: factor})
    return factor


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
        processor = "".join(line for line in lines if line.startswith(("model name", "flags", "Features", "CPU part")))
    except OSError:
        processor = platform.processor()
    isa = os.environ.get("ONEDNN_MAX_CPU_ISA", "")  # a user's way around the crash changes the answer
    parts = (platform.machine(), processor, isa, torch.__version__, str(torch.get_num_threads()))
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:16]


def _read(cache: Path) -> dict[str, float | None]:
    try:
        known = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(cache: Path, known: dict[str, float | None]) -> None:
    """A cache folder that cannot be written costs the next run two seconds, nothing else."""
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        write_text(cache, json.dumps(known))
    except OSError:
        return
