"""How well the natural scorer chooses on the photographs that scikit-image and scikit-learn bring. See README.md.

    python benchmarks/photos.py                   # captions and labels of 16 photographs, half a minute
    python benchmarks/photos.py --few-shot        # and learning from crops and digits, some minutes
    python benchmarks/photos.py --scorer natural:lite0 --out photos.json

Needs clipopt[natural], scikit-image and scikit-learn. Which captions are right is written in `PHOTOS`.
"""

import argparse
import json
import re
import statistics
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clipopt.adapt import Examples, adapt, choose_shots, encode_pictures, zero_shot
from clipopt.captions import Captioner, Classes, TwoThings
from clipopt.commands.work.caption import usual_weights
from clipopt.scorers import load_scorer
from clipopt.scorers.classifier import Classifier, load_natural

PHOTOS = {
    "astronaut": ("astronaut", "astronaut|woman|person", "helmet|space suit|flag|space shuttle"),
    "camera": ("camera operator", "man|person|photographer", "camera|tripod"),
    "chelsea": ("cat", "cat|tabby|mau", ""),
    "coffee": ("cup of coffee", "coffee|espresso|cup|mug", "spoon"),
    "coins": ("coins", "coin|money", ""),
    "horse": ("horse", "horse", ""),
    "moon": ("surface of the moon", "moon|crater", ""),
    "rocket": ("rocket", "rocket|missile", "tower"),
    "motorcycle_left": ("motorcycle", "motorcycle|motorbike|moped|scooter", "helmet|wheel"),
    "brick": ("brick wall", "brick|wall", ""),
    "grass": ("grass", "grass", ""),
    "gravel": ("gravel", "gravel|stone|pebble", ""),
    "hubble_deep_field": ("galaxies", "galax|star|space", ""),
    "retina": ("retina of an eye", "retina|eye", ""),
    "china": ("temple", "temple|palace|pagoda|tower", "tree"),
    "flower": ("flower", "flower|daisy|dahlia", ""),
}
"""The label of each, words for what it shows, and words for what is in it besides."""
OTHERS = (
    "dog", "bird", "fish", "car", "bus", "bicycle", "airplane", "boat", "train", "tree", "mountain", "beach", "bridge",
    "house", "church", "pizza", "banana", "apple", "bread", "bottle", "chair", "table", "sofa", "bed", "lamp", "book",
    "clock", "guitar", "piano", "ball", "shoe", "umbrella", "snake", "butterfly",
)  # fmt: skip
"""With the sixteen of `PHOTOS` fifty labels."""
_CROPS, _CROP = 20, 0.6
_HELD_OUT = 300


def read(name: str) -> Tensor:
    """A photograph, (3, height, width) in [0, 1]."""
    if name in ("china", "flower"):
        from sklearn.datasets import load_sample_image

        pixels: Any = load_sample_image(f"{name}.jpg")
    else:
        from skimage import data

        pixels = data.stereo_motorcycle()[0] if name == "motorcycle_left" else getattr(data, name)()
    pixels = np.asarray(pixels)
    scaled = torch.from_numpy(pixels.copy()).float() / (1 if pixels.dtype == bool else 255)
    return scaled.expand(3, *scaled.shape) if scaled.ndim == 2 else scaled[..., :3].permute(2, 0, 1)


def _verdict(text: str, main: str, besides: str) -> str:
    """Whether a caption names what a photograph shows, or a part of it, or only calls it a texture, or is wrong."""
    if re.match("a texture", text):
        return "texture"
    for verdict, said in (("right", main), ("part", besides)):
        if said and re.search(rf"\b({said})s?\b", text.lower()):
            return verdict
    return "wrong"


def captions(scorer: Classifier, photos: dict[str, Tensor]) -> dict[str, Any]:
    """The best caption of each, and what is to be thought of it."""
    encode = TwoThings(scorer)
    captioner = Captioner(scorer, [Classes(scorer, encode)], usual_weights("auto", scorer.name), encode=encode)
    found = {}
    for name, picture in photos.items():
        best = captioner([picture], 5)[0]
        verdicts = [_verdict(c.text, *PHOTOS[name][1:]) for c in best]
        found[name] = {"caption": best[0].text, "verdict": verdicts[0], "of five": "right" in verdicts}
        print(f"{name:18} {verdicts[0]:7} {best[0].text}")
    counts = {each: sum(f["verdict"] == each for f in found.values()) for each in ("right", "part", "texture", "wrong")}
    print(counts, "right among five:", sum(f["of five"] for f in found.values()))
    return found


def labels(scorer: Classifier, photos: dict[str, Tensor]) -> dict[str, float]:
    """Share of the photographs that get their own one of fifty labels, by the rule of the rows."""
    names = [*(label for label, *_ in PHOTOS.values()), *OTHERS]
    spec = scorer.name
    cosines = {}
    for rule in ("logits", "conse"):
        eye = scorer if rule == "logits" else load_natural(spec, rule="conse")
        cosines[rule] = encode_pictures(eye, list(photos.values())) @ zero_shot(eye, names).T
    ways = {"logits": cosines["logits"], "conse": cosines["conse"]}
    ways |= {f"logits + {w} conse": cosines["logits"] + w * cosines["conse"] for w in (0.25, 0.5, 1.0)}
    truth = torch.arange(len(photos))
    for way, each in ways.items():
        wrong = [f"{n}: {names[k]}" for n, k, t in zip(photos, each.argmax(1).tolist(), truth, strict=True) if k != t]
        print(f"{way:18} {(each.argmax(1) == truth).float().mean():.1%}; wrong: {', '.join(wrong)}")
    return {way: float((each.argmax(1) == truth).float().mean()) for way, each in ways.items()}


def crops(photos: dict[str, Tensor]) -> tuple[list[Tensor], Tensor]:
    """Square crops of each photograph, at random places; numbers of the photographs."""
    rng = torch.Generator().manual_seed(0)
    found = []
    for picture in photos.values():
        side = int(_CROP * min(picture.shape[-2:]))
        for _ in range(_CROPS):
            top, left = (int(torch.randint(each - side + 1, (), generator=rng)) for each in picture.shape[-2:])
            found.append(picture[:, top : top + side, left : left + side])
    return found, torch.arange(len(photos)).repeat_interleave(_CROPS)


def few_shot(spec: str, names: tuple[str, ...], pictures: list[Tensor], numbers: Tensor, shots: int) -> list[float]:
    """Share of the held-out pictures that a probe names rightly, for three draws of the examples."""
    scorer = load_scorer(spec)
    with torch.no_grad():
        rows = encode_pictures(scorer, pictures)
    shares = []
    for seed in range(3):
        chosen, rest = choose_shots(numbers, shots, seed)
        rest = rest[:: max(1, len(rest) // _HELD_OUT)]
        examples = Examples([pictures[n] for n in chosen], numbers[chosen], names)
        adapted = adapt("probe", scorer, examples, base=spec, seed=seed).apply(scorer)
        logits = adapted.logits(adapted.adapt_rows(rows[rest]), adapted.encode_text(names))
        shares.append(float((logits.argmax(1) == numbers[rest]).float().mean()))
    print(f"{spec:20} {shots:2} shots of {len(names)} labels: {statistics.mean(shares):.1%}", flush=True)
    return shares


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scorer", default="natural", help="natural, or natural:lite0, which is faster")
    parser.add_argument("--few-shot", action="store_true", help="also learn from crops of the photographs and digits")
    parser.add_argument("--out", type=Path, help="also write JSON here")
    options = parser.parse_args()
    photos = {name: read(name) for name in PHOTOS}
    scorer = load_scorer(options.scorer)
    if not isinstance(scorer, Classifier):
        sys.exit(f"{options.scorer} has no classes")
    results: dict[str, Any] = {"scorer": scorer.name, "fingerprint": scorer.fingerprint}
    results["captions"] = captions(scorer, photos)
    results["fifty labels"] = labels(scorer, photos)
    if options.few_shot:
        from adapt import digits

        things, pool, numbers, *_ = digits()
        some = [n for k in range(10) for n in (numbers == k).nonzero().flatten()[:46].tolist()]
        sets = {
            "crops": (tuple(label for label, *_ in PHOTOS.values()), *crops(photos), (1, 4)),
            "digits": (things, [pool[n] for n in some], numbers[some], (4, 16)),
        }
        for name, (names, pictures, truth, counts) in sets.items():
            for spec in ("embedded", "natural:lite0", "natural:lite0+looks"):
                for shots in counts:
                    shares = few_shot(spec, names, pictures, truth, shots)
                    results.setdefault(name, {}).setdefault(spec, {})[str(shots)] = shares
    if options.out:
        options.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
