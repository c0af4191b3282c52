"""What towers, losses and hardening do to the embedded scorer, by short trainings that differ in one respect.

    python benchmarks/towers.py --pictures FOLDER --out docs/towers.json [--only "hardened,eps 3"] [--judge FILE]

Variants of hardening begin at the shipped plain scorer and have a fifth of an adversarial phase of the recipe; those
of towers begin at nothing and have a seventh of its first two phases. All see the same pictures. What stands in --out
is kept, so that the table can be made on several days. Needs the emoji font that training needs. See README.md beside
this file.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from clipopt.evaluation.shares import evenly
from clipopt.evaluation.suite import interval, prompts, read
from clipopt.io import files
from clipopt.pipelines.image.loop import ImageLoop, Item
from clipopt.pipelines.image.plan import ImagePlan
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.precision import resolve_dtype
from clipopt.scorers.tower import Towers, TowerScorer, load_tower
from clipopt.types import Images, generator
from recipes.embedded import scorer_trainer
from recipes.embedded.measure import accuracy, attributes
from recipes.embedded.pictures import Batch, Pictures, paint
from recipes.embedded.scorer_trainer import Phase, Recipe, Trainer

PLAIN, FIRST, HARDENING = 200, 60, 100
PICTURES = 40_000


class Sigmoid(Trainer):
    """The pairwise sigmoid loss with a learned bias (SigLIP: Zhai et al., ICCV 2023, arXiv:2303.15343)."""

    def __init__(self, recipe: Recipe, pictures: Pictures, *, begin: Towers | None = None, amp: bool = True) -> None:
        super().__init__(recipe, pictures, begin=begin, amp=amp)
        self.bias = nn.Parameter(torch.tensor(-8.0))
        self.optimizers[1].add_param_group({"params": [self.bias]})

    def _contrast(self, logits: Float[Tensor, "b c"], wrong: Float[Tensor, "m b"]) -> Tensor:
        own = torch.eye(*logits.shape, device=logits.device)
        pairs = F.binary_cross_entropy_with_logits(logits + self.bias, own, reduction="sum")
        return (pairs + F.softplus(wrong + self.bias).sum()) / len(logits)


class Unmoved(Trainer):
    """Pictures as they were painted."""

    def moved(self, images: Images, rng: Generator) -> Images:
        """The pictures."""
        return images


class Few(Pictures):
    """The pictures with fewer false captions each."""

    count = 1

    def draw(self, size: int, rng: Generator) -> Batch:
        """A random batch."""
        batch = super().draw(size, rng)
        return replace(batch, false=batch.false[:, : self.count], false_ids=batch.false_ids[:, : self.count])


class Unfalse(Few):
    """The pictures without false captions."""

    count = 0


class Nameless(Trainer):
    """Without the loss that names the thing."""

    naming = 0.0


class Vague(Trainer):
    """With noise on what captions are encoded to, a quarter of their length."""

    def _batch(self, phase: Phase, index: int) -> dict[str, float]:
        self.noise = generator(self.recipe.seed, self.done, 1)
        return super()._batch(phase, index)

    def _text(self, ids: Tensor) -> Tensor:
        text = super()._text(ids)
        return F.normalize(text + 0.25 * F.normalize(torch.randn(text.shape, generator=self.noise), dim=-1), dim=-1)


@dataclass(frozen=True)
class Variant:
    """What is different: the loop, the pictures, fields of the tower, the phases; and whether it begins at nothing.

    The last `buffer` of the `batches` of hardening have the phase that follows it in the recipe.
    """

    trainer: type[Trainer] = Trainer
    pictures: type[Pictures] = Pictures
    tower: tuple[tuple[str, object], ...] = ()
    eps: float = 1.5
    hybrids: int = 32
    seed: int = 0
    batches: int = HARDENING
    buffer: int = 0
    nothing: bool = False

    def recipe(self) -> Recipe:
        """The short training."""
        shipped = scorer_trainer.recipe("scorer" if self.nothing else "plain")
        tower = replace(shipped.config, **dict(self.tower))  # type: ignore[arg-type]
        count = FIRST if self.nothing else self.batches
        hardening = [Phase("adversarial", count - self.buffer, 1.2e-3, self.eps, 3, hybrids=self.hybrids)]
        if self.buffer:
            hardening.append(Phase("buffer", self.buffer, 8e-4, 2.0, 2, buffer=0.5, hybrids=self.hybrids))
        plain = [Phase("plain", PLAIN, 1.5e-3, hybrids=self.hybrids)] if self.nothing else []
        return replace(shipped, config=tower, phases=(*plain, *hardening), seed=self.seed, pictures=PICTURES)


VARIANTS = {
    "the plain scorer": Variant(batches=0),
    "hardened": Variant(),
    "eps 0.75": Variant(eps=0.75),
    "eps 3": Variant(eps=3.0),
    "another seed": Variant(seed=4),
    "sigmoid loss": Variant(Sigmoid),
    "no hybrids": Variant(hybrids=0),
    "no picture noise": Variant(Unmoved),
    "towers": Variant(nothing=True),
    "half as wide": Variant(tower=(("widths", (24, 48, 96, 160)),), nothing=True),
    "96 px": Variant(tower=(("image_size", 96),), eps=2.25, nothing=True),
    "sigmoid loss from nothing": Variant(Sigmoid, nothing=True),
    "one false caption": Variant(pictures=Few),
    "no false caption": Variant(pictures=Unfalse),
    "no naming": Variant(Nameless),
    "text noise": Variant(Vague),
    "buffer": Variant(buffer=50),
}
"""By name, in the order in which they are measured; at 96 px the same noise has one and a half times the norm."""


def train(variant: Variant, pictures: Path, path: Path) -> tuple[TowerScorer, float, float]:
    """The scorer, the minutes that it took, and the share that the last weights, not their average, name."""
    recipe = variant.recipe()
    side = recipe.config.image_size
    folder = pictures / str(side)
    with tqdm(total=recipe.pictures, desc="painting", file=sys.stderr) as bar:
        for done in paint(recipe.world, recipe.pictures, folder, side=side):
            bar.update(done - bar.n)
    plain = load_scorer("embedded-plain")
    assert isinstance(plain, TowerScorer)
    begin = None if variant.nothing else plain.towers
    amp = resolve_dtype("auto", "cpu") == torch.bfloat16
    trainer = variant.trainer(recipe, variant.pictures(folder, recipe.pictures), begin=begin, amp=amp)
    start = time.process_time()
    for _ in tqdm(trainer.run(), total=recipe.batches, desc=path.stem, file=sys.stderr):
        pass
    minutes = (time.process_time() - start) / 60
    trainer.result()[0].save(path)
    last = TowerScorer(copy.deepcopy(trainer.towers), "last", "")
    return load_tower(path), minutes, accuracy(last, 500)


def drawn(scorers: list[Scorer], judge: Scorer, count: int) -> dict[str, object]:
    """What the judge says of pictures that these scorers draw together, from noise."""
    asked = evenly(prompts(), count)
    images = []
    for start in range(0, count, 17):
        items = [Item({p.text: 1.0}, 0, p.text) for p in asked[start : start + 17]]
        drawing = ImageLoop(ImagePlan(128, 128, steps=80, begin="noise", tries=1), items, scorers)
        for _ in drawing.draw():
            pass
        images.append(drawing.best.images)
    right = [r.right for r in read(judge, torch.cat(images), asked)]
    return {"share": sum(right) / len(right), "interval": interval(right), "pictures": len(right)}


def step_time(scorer: Scorer, views: int = 24, rounds: int = 9) -> float:
    """Median milliseconds of the gradient of so many views."""
    images = torch.rand(views, 3, scorer.image_size, scorer.image_size, requires_grad=True)
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        torch.autograd.grad(scorer.encode_image(images).sum(), images)
        times.append(1000 * (time.perf_counter() - start))
    return sorted(times)[rounds // 2]


def measure(scorer: TowerScorer, judge: Scorer, path: Path) -> dict[str, object]:
    """Everything in the table but what the training itself tells."""
    return {
        "clean": accuracy(scorer, 1000),
        "attacked": {str(eps): accuracy(scorer, 60, eps, steps=20, restarts=2) for eps in (0.5, 1.0, 2.0)},
        "attributes": {name: share for name, (share, _) in attributes(scorer, 600).items()},
        "drawn": drawn([scorer], judge, 34),
        "megabytes": path.stat().st_size / 1e6,
        "milliseconds": step_time(scorer),
    }


def main() -> None:
    """Train and measure what is not in the file yet."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pictures", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join(VARIANTS))
    parser.add_argument("--judge", default="embedded-judge")
    options = parser.parse_args()
    unknown = [name for name in options.only.split(",") if name not in VARIANTS]
    if unknown:
        parser.error(f"--only takes {', '.join(VARIANTS)}; got {', '.join(unknown)}")
    judge = load_scorer(options.judge)
    rows = json.loads(options.out.read_text("utf-8")) if options.out.exists() else {}

    def keep(name: str, make: Callable[[], dict[str, object]]) -> None:
        if name not in rows:
            rows[name] = make()
            files.write_text(options.out, json.dumps(rows, indent=1) + "\n")

    def one(name: str, path: Path) -> dict[str, object]:
        scorer, minutes, last = train(VARIANTS[name], options.pictures, path)
        return {"minutes": minutes, "last weights, clean": last, **measure(scorer, judge, path)}

    where = {name: options.pictures / f"{name.replace(' ', '-')}.safetensors" for name in VARIANTS}
    for name in options.only.split(","):
        keep(name, lambda name=name: one(name, where[name]))  # type: ignore[misc]
    both = [where["hardened"], where["another seed"]]
    if all(path.exists() for path in both):
        keep("hardened and another seed", lambda: {"drawn": drawn([load_tower(path) for path in both], judge, 34)})


if __name__ == "__main__":
    main()
