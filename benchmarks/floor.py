"""What a step costs over its floor, for everything that can be learned and for every class of scorer. See README.md.

    python benchmarks/floor.py [--rounds N] [--params ...] [--scorers ...] [--out FILE]

Prints progress on stderr and one JSON object on stdout.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import torch
from step import PROMPT, SIZE, WARM_UP, floor, load, smooth
from torch.nn import functional as F

import clipopt as co
from clipopt.pipelines.image.loop import views
from clipopt.pipelines.image.parameters import make
from clipopt.pipelines.kinds import SUITS, Param
from clipopt.scorers.huggingface import HuggingFaceScorer
from clipopt.scorers.precision import resolve_dtype
from clipopt.scorers.preprocess import ImageSpec, PatchSpec
from clipopt.scorers.target import Target

SCORERS = ("embedded", "clip", "siglip", "siglip2-naflex", "chinese-clip")
HALF = (0.5, 0.5, 0.5)


class Letters:
    """As much of a tokenizer as the making of a scorer needs: no text is read in a step."""

    sep_token_id, eos_token_id, pad_token_id, padding_side = 1, 1, 0, "right"

    def get_vocab(self) -> dict[str, int]:
        """Two tokens."""
        return {"<pad>": 0, "<eos>": 1}

    def __call__(self, text: str) -> dict[str, list[int]]:
        """Nothing but the end."""
        return {"input_ids": [1]}


def scorer(name: str, folder: Path) -> co.Scorer:
    """A scorer with the picture tower of a published base model, and random weights, which do not change the cost."""
    if name in ("embedded", "clip"):
        return load({"clip": "vit-b-32"}.get(name, name), folder)
    import transformers

    family = {"siglip": "Siglip", "siglip2-naflex": "Siglip2", "chinese-clip": "ChineseCLIP"}[name]
    text = {
        "num_hidden_layers": 1,
        "vocab_size": 8,
        "hidden_size": 64,
        "num_attention_heads": 2,
        "projection_size": 768,
    }
    config = getattr(transformers, f"{family}Config")(text_config=text)
    if name == "chinese-clip":
        config.vision_config.patch_size = 16
    config.vision_config._attn_implementation = "sdpa"
    with torch.random.fork_rng():
        model = getattr(transformers, f"{family}Model")(config)
    spec: ImageSpec | PatchSpec = ImageSpec(224, 224, "squash", "bicubic", HALF, HALF)
    if name == "siglip2-naflex":
        spec = PatchSpec(16, 256, "bilinear", HALF, HALF)
    return HuggingFaceScorer(model, Letters(), spec, name=name, dtype=resolve_dtype("auto", "cpu"))


class Sighted:
    """A scorer whose texts are one random unit row."""

    def __init__(self, scorer: co.Scorer) -> None:
        self.image_size, self.encode_image = scorer.image_size, scorer.encode_image
        with torch.no_grad():
            dim = scorer.encode_image(torch.rand(1, 3, 8, 8)).shape[1]
        self.text = F.normalize(torch.randn(1, dim, generator=co.generator(0)), dim=1)

    def encode_text(self, texts: list[str]) -> torch.Tensor:
        """That row."""
        return self.text


def ours(scorer: Any, param: Param, crops: int) -> Iterator[object]:
    """A step of `clipopt image`."""
    image = make(param, (SIZE, SIZE), rng=[co.generator(0)])
    goal = Target(scorer.encode_text([PROMPT]), torch.ones(1, 1))
    loss = co.Matching(image, scorer, goal, augment=views(crops, scorer), penalties={"smooth": smooth})
    optimizer = torch.optim.Adam(image.parameters(), lr=SUITS[param][1])
    return co.optimize(loss, optimizer, steps=10**6, seed=0)


def compare(scorer: Any, params: list[Param], crops: int, rounds: int) -> dict[str, object]:
    """Processor time of a step with each param and of the floor, in turns: a drift of the machine meets all alike."""
    loops = {"floor": floor(scorer, crops)} | {param: ours(scorer, param, crops) for param in params}
    spent: dict[str, list[float]] = {loop: [] for loop in loops}
    for index in range(WARM_UP + rounds):
        for loop, steps in loops.items():
            start = time.process_time()
            next(steps)
            if index >= WARM_UP:
                spent[loop].append(time.process_time() - start)
    ratios = {p: [a / b for a, b in zip(spent[p], spent["floor"], strict=True)] for p in params}
    return {
        "median_ms": {loop: round(1e3 * statistics.median(times), 2) for loop, times in spent.items()},
        "over_floor": {param: round(statistics.median(values), 3) for param, values in ratios.items()},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="timed steps of each loop")
    parser.add_argument("--crops", type=int, nargs="+", default=[16], help="views in a step")
    parser.add_argument("--params", nargs="+", choices=get_args(Param), default=list(get_args(Param)))
    parser.add_argument("--scorers", nargs="+", choices=SCORERS, default=list(SCORERS))
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    options = parser.parse_args()
    results: dict[str, Any] = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "load_before": os.getloadavg()[0],
        "rounds": options.rounds,
        "size": SIZE,
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.scorers:
            sighted = Sighted(scorer(name, Path(scratch)))
            for crops in options.crops:
                print(f"{name}, {crops} crops", file=sys.stderr)
                measured = compare(sighted, options.params, crops, options.rounds)
                results[f"{name}, {crops} crops"] = measured
                print(json.dumps(measured), file=sys.stderr)
    text = json.dumps(results, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
