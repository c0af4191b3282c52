"""Zero- and few-shot: how well each method names things that the scorer was never trained on. See README.md.

    python benchmarks/adapt.py --out docs/adapt.json --plot docs/adapt.png      # all methods, about half an hour
    python benchmarks/adapt.py --methods probe tip --seeds 1                    # a look
    python benchmarks/adapt.py --plot-only docs/adapt.json --plot docs/adapt.png

Needs the emoji font that training needs, scikit-learn for its bundled digits, matplotlib for the plots
(`pip install 'clipopt[dev]'`). Prints progress on stderr. What is measured already stands in --out and is not
measured again as long as the scorer is the same.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import unseen
from torch import Tensor
from torch.nn import functional as F

from clipopt.adapt import METHODS, Examples, Method, Options, adapt, choose_shots, encode_pictures, zero_shot
from clipopt.io import files
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.adapted import AdaptedScorer

SHOTS = (1, 2, 4, 8, 16)
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
Data = tuple[tuple[str, ...], list[Tensor], Tensor, list[Tensor], Tensor]


def things(split: str, held_out: int) -> Data:
    """Things of the emoji font that no scorer was trained on: 16 pictures of each to choose from, others to test."""
    labels = unseen.development() if split == "development" else unseen.test()
    if len(labels) < 30:
        raise ValueError(f"only {len(labels)} things are left that the embedded world does not know: name more")
    pools = [
        [unseen.draw(n, first + i) for n in labels for i in range(count)]
        for first, count in ((0, 16), (1000, held_out))
    ]
    numbers = [torch.arange(len(labels)).repeat_interleave(count) for count in (16, held_out)]
    return labels, pools[0], numbers[0], pools[1], numbers[1]


def digits() -> Data:
    """scikit-learn's bundled digits, 8 x 8 pixels, enlarged to 64; the last 797 of the 1797 are for testing."""
    from sklearn.datasets import load_digits

    loaded = load_digits()
    images = torch.tensor(loaded.images, dtype=torch.float32)[:, None] / 16
    large = F.interpolate(images, (64, 64), mode="bicubic").clamp(0, 1).expand(-1, 3, -1, -1)
    numbers = torch.tensor(loaded.target)
    return DIGITS, list(large[:1000]), numbers[:1000], list(large[1000:]), numbers[1000:]


class Bench:
    """The held-out pictures, which a base scorer sees once."""

    def __init__(self, scorer: Scorer, pictures: Sequence[Tensor], numbers: Tensor) -> None:
        self.scorer, self.pictures, self.numbers = scorer, pictures, numbers
        with torch.no_grad():
            self.rows = encode_pictures(scorer, pictures)

    def share(self, scorer: Scorer, text: Tensor) -> float:
        """The share of pictures that are named rightly."""
        with torch.no_grad():
            if scorer is self.scorer:
                rows = self.rows
            elif isinstance(scorer, AdaptedScorer) and scorer.base is self.scorer:
                rows = scorer.adapt_rows(self.rows)
            else:
                rows = encode_pictures(scorer, self.pictures)
            return float((scorer.logits(rows, text).argmax(1) == self.numbers).float().mean())


def class_means(scorer: Scorer, examples: Examples) -> Tensor:
    """The baseline that needs no method: every label is the mean row of its examples."""
    with torch.no_grad():
        rows = encode_pictures(scorer, examples.pictures)
    return torch.stack([F.normalize(rows[examples.numbers == n].mean(0), dim=0) for n in range(len(examples.labels))])


def measure(
    spec: str,
    data: Data,
    methods: Sequence[Method],
    seeds: int,
    known: dict[str, Any],
    keep: Callable[[dict[str, Any]], None],
) -> None:
    """Shares by method, shots and seed; `known` is filled up, and kept after every one."""
    labels, pool, pool_numbers, pictures, numbers = data
    scorer = load_scorer(spec)
    if known.get("fingerprint") != scorer.fingerprint or known.get("labels") != list(labels):
        known = {"fingerprint": scorer.fingerprint, "labels": list(labels), "pictures": len(pictures), "shares": {}}
    bench = Bench(scorer, pictures, numbers)
    known["zero-shot"] = bench.share(scorer, zero_shot(scorer, labels))
    print(f"zero-shot {known['zero-shot']:.3f}", file=sys.stderr)
    for seed in range(seeds):
        for shots in SHOTS:
            chosen, _ = choose_shots(pool_numbers, shots, seed)
            examples = Examples([pool[i] for i in chosen], pool_numbers[chosen], labels)
            for method in ("class means", *methods):
                found = known["shares"].setdefault(method, {}).setdefault(str(shots), {})
                full = method in ("full", "wise-ft")  # the same weights, all the way and half the way
                if str(seed) in found:
                    continue
                start = time.perf_counter()
                if method == "class means":
                    found[str(seed)] = bench.share(scorer, class_means(scorer, examples))
                else:
                    adapter = adapt("full" if full else method, scorer, examples, base=spec, seed=seed)
                    half = replace(adapter, method="wise-ft", share=Options().share)
                    for name, one in ({"full": adapter, "wise-ft": half} if full else {method: adapter}).items():
                        adapted = one.apply(scorer)
                        own = known["shares"].setdefault(name, {}).setdefault(str(shots), {})
                        own[str(seed)] = bench.share(adapted, adapted.encode_text(labels))
                keep(known)
                seconds = time.perf_counter() - start
                print(
                    f"{method:12} {shots:2} shots, seed {seed}: {found[str(seed)]:.3f}, {seconds:.0f} s",
                    file=sys.stderr,
                )


def plot(results: dict[str, Any], path: Path) -> None:
    """Curves of the mean over seeds, with the lowest and the highest as a band."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(results["sets"]), figsize=(5.6 * len(results["sets"]), 5), squeeze=False)
    colours = pyplot.get_cmap("tab10").colors
    for axis, (name, found) in zip(axes[0], results["sets"].items(), strict=True):
        axis.axhline(100 * found["zero-shot"], color="0.4", linestyle=":", label="zero-shot")
        order = ["class means", *METHODS]
        for number, method in enumerate(m for m in order if m in found["shares"]):
            shares = {
                int(n): [100 * s for s in seeds.values()] for n, seeds in found["shares"][method].items() if seeds
            }
            shots = sorted(shares)
            plain = method == "class means"
            style = {"color": "black", "linestyle": "--"} if plain else {"color": colours[number - 1], "marker": "o"}
            axis.plot(shots, [statistics.mean(shares[n]) for n in shots], label=method, markersize=4, **style)
            axis.fill_between(
                shots,
                [min(shares[n]) for n in shots],
                [max(shares[n]) for n in shots],
                alpha=0.12,
                color=style["color"],
            )
        axis.set_xscale("log", base=2)
        axis.set_xticks(SHOTS, [str(n) for n in SHOTS])
        axis.set(xlabel="pictures of each label", ylabel="named rightly, %", ylim=(0, 100), title=name)
        axis.grid(alpha=0.3)
    axes[0][0].legend(fontsize=8, loc="lower right", bbox_to_anchor=(1, 0.1))
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def table(found: dict[str, Any]) -> str:
    """Markdown: the mean over seeds in per cent."""
    lines = ["| shots | " + " | ".join(map(str, SHOTS)) + " |", "|---" * (len(SHOTS) + 1) + "|"]
    for method in ("class means", *METHODS):
        if any(found["shares"].get(method, {}).values()):
            shares = [list(found["shares"][method].get(str(n), {}).values()) for n in SHOTS]
            means = [f"{100 * statistics.mean(some):.1f}" if some else "" for some in shares]
            lines.append(f"| {method} | " + " | ".join(means) + " |")
    return "\n".join(lines)


def main() -> None:
    """Measure, write, plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorer", default="embedded")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--sets", nargs="+", choices=["things", "digits"], default=["things", "digits"])
    parser.add_argument("--split", choices=["development", "test"], default="test")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--held-out", type=int, default=20, help="pictures of each thing to test with")
    parser.add_argument("--out", type=Path, help="JSON to write, and to fill up where it is there")
    parser.add_argument("--plot", type=Path, help="PNG to write")
    parser.add_argument("--sheet", type=Path, help="PNG of one picture of each thing")
    parser.add_argument("--plot-only", type=Path, help="plot this JSON and measure nothing")
    options = parser.parse_args()
    if options.plot_only:
        results = json.loads(options.plot_only.read_text())
    else:
        results = json.loads(options.out.read_text()) if options.out and options.out.is_file() else {"sets": {}}
        for name in options.sets:
            data = digits() if name == "digits" else things(options.split, options.held_out)
            if name == "things" and options.sheet:
                files.save(options.sheet, files.sheet(torch.stack(data[3][:: options.held_out]), data[0], cell=96))
            title = "scikit-learn's digits" if name == "digits" else f"{len(data[0])} things outside the training"

            def keep(found: dict[str, Any], title: str = title) -> None:
                results["sets"][title] = found
                if options.out:
                    files.write_text(options.out, json.dumps(results, indent=1) + "\n")

            before = results["sets"].get(title, {})
            measure(options.scorer, data, options.methods, options.seeds, before, keep)
    for name, found in results["sets"].items():
        print(f"{name}: zero-shot {100 * found['zero-shot']:.1f} % of {found['pictures']} pictures\n\n{table(found)}\n")
    if options.plot:
        plot(results, options.plot)


if __name__ == "__main__":
    main()
