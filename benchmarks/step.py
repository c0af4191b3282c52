"""What a step of `clipopt image` costs over its floor, and what the usual loop costs. See README.md beside this file.

    python benchmarks/step.py [--rounds N] [--scorers vit-b-32 embedded] [--out FILE]

Prints progress on stderr and one JSON object on stdout.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

import clipopt as co
from clipopt.pipelines.image.loop import ImagePlan, views
from clipopt.scorers.tower import TowerConfig, Towers, TowerScorer

PROMPT = "a red apple on a blue background"
CROPS = 16
SIZE = 256
WARM_UP = 2
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def random_vit(folder: Path) -> Path:
    """A randomly initialised CLIP ViT-B/32 with a byte-level tokenizer, saved as the hub lays one out."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    if not (folder / "config.json").exists():
        with torch.random.fork_rng():
            CLIPModel(CLIPConfig()).save_pretrained(folder)
        CLIPImageProcessor().save_pretrained(folder)
        letters = sorted(ByteLevel.alphabet())
        vocabulary = {token: index for index, token in enumerate([*letters, *(f"{letter}</w>" for letter in letters)])}
        vocabulary |= {"<|startoftext|>": 49406, "<|endoftext|>": 49407}
        (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
        (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
        (folder / "tokenizer_config.json").write_text(
            json.dumps({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "pad_token": "<|endoftext|>"})
        )
    return folder


def load(name: str, folder: Path) -> co.Scorer:
    """The scorer to measure."""
    if name == "embedded":
        return co.load_scorer("embedded")
    if name == "random-tower":
        return TowerScorer(Towers(TowerConfig(vocabulary=tuple(PROMPT.split()))), name, name)
    return co.load_scorer(str(random_vit(folder)))


def picture() -> co.params.Pyramid:
    """What is optimised."""
    return co.params.Pyramid(SIZE, SIZE, rng=co.generator(0))


def smooth(images: Tensor) -> Tensor:
    """The penalty on it."""
    return ImagePlan.smooth * co.losses.total_variation(images)


def ours(scorer: co.Scorer, crops: int) -> Iterator[object]:
    """A step of `clipopt image`."""
    image = picture()
    loss = co.Matching(
        image, scorer, co.target(scorer, PROMPT), augment=views(crops, scorer), penalties={"smooth": smooth}
    )
    return co.optimize(loss, torch.optim.Adam(image.parameters(), lr=ImagePlan.lr, fused=True), steps=10**6, seed=0)


def floor(scorer: co.Scorer, crops: int) -> Iterator[object]:
    """The least that a step can cost: the scorer's forward and its gradient for one batch of finished views."""
    batch = torch.rand(crops, 3, scorer.image_size, scorer.image_size, generator=co.generator(1)).requires_grad_()
    text = scorer.encode_text([PROMPT])
    while True:
        yield torch.autograd.grad((scorer.encode_image(batch) @ text.T).sum(), batch)


def usual(name: str, scorer: co.Scorer, crops: int, folder: Path) -> Iterator[object]:
    """The loop that most tools run: float32 weights that ask for gradients, text encoded in every step, backward()."""
    encode_image, encode_text = _naive(name, scorer, folder)
    image, augment = picture(), views(crops, scorer)
    optimizer = torch.optim.Adam(image.parameters(), lr=ImagePlan.lr)
    step = 0
    while True:
        optimizer.zero_grad()
        images = image()
        seen = augment(images, co.generator(0, step))
        loss = 1 - torch.cosine_similarity(encode_image(seen), encode_text()).mean() + smooth(images).sum()
        loss.backward()
        optimizer.step()
        step += 1
        yield loss


def _naive(name: str, scorer: co.Scorer, folder: Path) -> tuple[Callable[[Tensor], Tensor], Callable[[], Tensor]]:
    if isinstance(scorer, TowerScorer):
        towers = scorer.towers.requires_grad_(True)
        return towers.image, lambda: towers.text(towers.tokenize([PROMPT]))
    from transformers import CLIPModel, CLIPTokenizerFast

    model, tokenizer = CLIPModel.from_pretrained(random_vit(folder)), CLIPTokenizerFast.from_pretrained(folder)
    mean, std = torch.tensor(MEAN).view(3, 1, 1), torch.tensor(STD).view(3, 1, 1)

    def encode_text() -> Tensor:
        tokens = tokenizer([PROMPT], padding="max_length", return_tensors="pt")
        return model.get_text_features(**tokens).pooler_output

    return lambda x: model.get_image_features((x - mean) / std).pooler_output, encode_text


def compare(name: str, folder: Path, rounds: int) -> dict[str, object]:
    """Step times of the three loops, taken in turn so that a drift of the machine meets them alike."""
    scorer = load(name, folder)
    loops = {
        "floor": floor(scorer, CROPS),
        "ours": ours(scorer, CROPS),
        "usual": usual(name, load(name, folder), CROPS, folder),
    }
    seconds: dict[str, list[float]] = {loop: [] for loop in loops}
    for index in range(WARM_UP + rounds):
        for loop, steps in loops.items():
            start = time.perf_counter()
            next(steps)
            if index >= WARM_UP:
                seconds[loop].append(time.perf_counter() - start)
    over = sorted(a / b for a, b in zip(seconds["ours"], seconds["floor"], strict=True))
    gain = sorted(a / b for a, b in zip(seconds["usual"], seconds["ours"], strict=True))
    return {
        "crops": CROPS,
        "rounds": rounds,
        "median_ms": {loop: round(1e3 * statistics.median(values), 2) for loop, values in seconds.items()},
        "ours_over_floor": _spread(over),
        "usual_over_ours": _spread(gain),
    }


def _spread(ratios: list[float]) -> dict[str, float]:
    quartiles = statistics.quantiles(ratios, n=4)
    return {key: round(value, 3) for key, value in zip(("lower", "median", "upper"), quartiles, strict=True)}


def peak_memory(name: str, loop: str, crops: int, folder: Path) -> dict[str, float]:
    """Peak resident memory of a process of its own, before the first step and after the third, in MiB."""
    command = [sys.executable, __file__, "--measure-memory", name, loop, str(crops), str(folder)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def measure_memory(name: str, loop: str, crops: int, folder: Path) -> None:
    """The child of `peak_memory`."""
    scorer = load(name, folder)
    steps = ours(scorer, crops) if loop == "ours" else usual(name, scorer, crops, folder)
    before = _peak_mib()
    for _ in range(3):
        next(steps)
    print(json.dumps({"loaded": before, "peak": _peak_mib()}))


def _peak_mib() -> float:
    """Linux's own high-water mark: getrusage would start from the parent's."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return round(int(line.split()[1]) / 1024, 1)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help="timed steps of each loop")
    parser.add_argument(
        "--scorers", nargs="+", choices=["vit-b-32", "embedded", "random-tower"], default=["vit-b-32", "embedded"]
    )
    parser.add_argument("--crops", nargs="*", type=int, default=[16, 64, 256], help="numbers of crops for peak memory")
    parser.add_argument("--out", type=Path, help="also write the JSON here")
    parser.add_argument("--measure-memory", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure_memory:
        name, loop, crops, folder = options.measure_memory
        measure_memory(name, loop, int(crops), Path(folder))
        return
    results: dict[str, object] = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "load_before": os.getloadavg()[0],
    }
    with tempfile.TemporaryDirectory() as scratch:
        for name in options.scorers:
            print(f"{name}: step time", file=sys.stderr)
            result = compare(name, Path(scratch), options.rounds)
            result["peak_mib"] = {}
            for loop in ("ours", "usual"):
                print(f"{name}: peak memory of {loop}", file=sys.stderr)
                result["peak_mib"][loop] = {n: peak_memory(name, loop, n, Path(scratch)) for n in options.crops}
            results[name] = result
    text = json.dumps(results, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
