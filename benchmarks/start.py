"""How long it takes until clipopt is there: importing it, and the command's help. See README.md beside this file.

    python benchmarks/start.py [--rounds N] [--out FILE]

Prints one JSON object on stdout.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

HELPED = ("image", "latent", "caption", "eval mesh")
CASES = {
    "python": ["-c", "pass"],
    "import torch": ["-c", "import torch"],
    "import clipopt": ["-c", "import clipopt"],
    "import clipopt, use it": ["-c", "import clipopt; clipopt.params, clipopt.Matching, clipopt.load_scorer"],
    "clipopt --help": ["-m", "clipopt", "--help"],
    **{f"clipopt {name} --help": ["-m", "clipopt", *name.split(), "--help"] for name in HELPED},
    "load the embedded scorer": ["-c", "import clipopt; clipopt.load_scorer('embedded')"],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of a Python process of its own."""
    started = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="starts of each kind")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    options = parser.parse_args()
    taken: dict[str, list[float]] = {name: [] for name in CASES}
    load = os.getloadavg()[0]
    for number in range(options.rounds + 1):
        for name, arguments in CASES.items():
            took = seconds(arguments)
            if number:  # the first round fills the system's file cache
                taken[name].append(took)
    results = {
        "torch": torch.__version__,
        "processor": platform.processor() or platform.machine(),
        "load_before": load,
        "rounds": options.rounds,
        "median_s": {name: round(statistics.median(times), 3) for name, times in taken.items()},
        "least_s": {name: round(min(times), 3) for name, times in taken.items()},
    }
    text = json.dumps(results, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
