"""What a result depends on besides its settings, and what it cost."""

import platform
import sys
from importlib.metadata import PackageNotFoundError, version

import torch


def peak_memory() -> int | None:
    """The most memory that this process has held, in bytes; None where the system does not tell."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


def versions() -> dict[str, str]:
    """What a result depends on besides its settings: versions of clipopt, torch and Python, and the machine's kind."""
    try:
        own = version("clipopt")
    except PackageNotFoundError:
        own = "not installed"
    machine = f"{platform.system()} {platform.machine()}, threads: {torch.get_num_threads()}"
    return {"clipopt": own, "torch": torch.__version__, "python": platform.python_version(), "machine": machine}
