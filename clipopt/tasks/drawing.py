"""The loop behind `clipopt image`: optimise, look, keep the best, record."""

import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from clipopt import augment, losses, params
from clipopt.objective import Matching
from clipopt.optimize import Step, optimize
from clipopt.record import Run
from clipopt.scorers import Scorer, Target, target
from clipopt.tasks.interrupt import graceful_interrupt
from clipopt.types import Images, PerItem, generator

LOOKS = 15
"""How often in a run the items are scored on held-out views."""
HELD_OUT_VIEWS = 8
FRAMES = 60
"""Frames of the progress film."""
CHECKPOINT_SECONDS = 10.0
_HELD_OUT = -1
# Measured: torch and a small scorer, and per value of the pictures the parameters, Adam, the gradient, the film.
_BASE_BYTES, _BYTES_PER_VALUE = 0.4e9, 96


@dataclass(frozen=True)
class Item:
    """One picture to make.

    Attributes:
        prompt: Texts and pictures (3, h, w) with their weights.
        seed: Its own seed; no neighbour changes what it gives.
        label: What a person reads below it.
    """

    prompt: Mapping[str | Tensor, float]
    seed: int
    label: str


@dataclass(frozen=True)
class Plan:
    """How pictures are made; the defaults are those of `clipopt image`.

    Attributes:
        width: Of the pictures, pixels.
        height: Of the pictures, pixels.
        param: What is learned.
        steps: Steps of the optimizer.
        seed: Of the run; every item has its own besides.
        lr: Adam's learning rate at the start, which falls to zero along a cosine.
        crops: Views of an item in a step.
        smooth: Weight of the total variation, as measured at the size that the scorer sees: the same picture at
            twice the resolution has the same penalty.
    """

    width: int = 256
    height: int = 256
    param: Literal["pyramid", "pixels", "fourier"] = "pyramid"
    steps: int = 120
    seed: int = 0
    lr: float = 0.1
    crops: int = 6
    smooth: float = 0.5


def views(count: int, scorer: Scorer) -> augment.Augment:
    """The views that a scorer gets of a picture: crops at the size it sees, with jittered colours and noise."""
    crops = augment.crops(count, scorer.image_size, scale=(0.75, 1.15), padding="border")
    return augment.compose(crops, augment.color(), augment.noise(0.05))


def memory_needed(items: int, plan: Plan) -> float:
    """About how many bytes a run holds at most, without its models."""
    return _BASE_BYTES + items * 3 * plan.height * plan.width * _BYTES_PER_VALUE


class Eye:
    """Scores pictures on a fixed set of views that no step of the run draws: how well each fits its prompt."""

    def __init__(self, scorer: Scorer, items: Sequence[Item]) -> None:
        self.scorer = scorer
        self.target: Target = target(scorer, [item.prompt for item in items])
        self._views = views(HELD_OUT_VIEWS, scorer)
        self._draws = [self._views.sample(generator(item.seed, _HELD_OUT)) for item in items]

    @torch.no_grad()
    def __call__(self, images: Images) -> PerItem:
        """The weighted cosine of every item with its prompt, averaged over the views."""
        scores = []
        for image, draw, weights in zip(images.split(1), self._draws, self.target.weights, strict=True):
            embeddings = self.scorer.encode_image(self._views.apply(image, draw))
            scores.append((embeddings @ self.target.embeddings.T).mean(0) @ weights)
        return torch.stack(scores).cpu()


@dataclass
class Best:
    """Each item at the step where the scorer liked it best."""

    images: Tensor
    score: Tensor
    step: Tensor

    def update(self, images: Images, score: PerItem, step: int) -> None:
        """Keep the items that score higher than ever."""
        better = score > self.score
        self.images[better] = images.detach()[better]
        self.score[better] = score[better]
        self.step[better] = step


class Drawing:
    """Pictures in the making: `draw` is the loop, `run` the loop with a record and a progress bar."""

    def __init__(
        self,
        plan: Plan,
        items: Sequence[Item],
        scorer: Scorer,
        *,
        judge: Scorer | None = None,
        init: Images | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.plan, self.items = plan, items
        self.scorer = Eye(scorer, items)
        self.judge = None if judge is None else Eye(judge, items)
        seeds = [item.seed for item in items]
        kind = {"pyramid": params.Pyramid, "pixels": params.Pixels, "fourier": params.Fourier}[plan.param]
        self.image = kind(plan.height, plan.width, rng=[generator(seed) for seed in seeds], init=init).to(device)
        self.optimizer = torch.optim.Adam(self.image.parameters(), lr=plan.lr)
        self.loss = Matching(
            self.image,
            scorer,
            self.scorer.target,
            augment=views(plan.crops, scorer),
            penalties={"smooth": self._roughness} if plan.smooth else {},
            seeds=seeds,
        )
        start = self.pictures().clone()
        self.best = Best(start, self.scorer(start), torch.zeros(len(items), dtype=torch.long))

    def _roughness(self, images: Images) -> PerItem:
        detail = min(images.shape[-2:]) / self.scorer.scorer.image_size
        return self.plan.smooth * detail * losses.total_variation(images)

    def draw(self, start: int = 0) -> Iterator[tuple[Step, dict[str, PerItem]]]:
        """The loop: yields every step, with the scores of the items where it looked; `best` keeps the best of each.

        Raises:
            FloatingPointError: a term, a gradient or a picture is not finite; names the step.
        """
        steps = self.plan.steps
        look_every = max(1, steps // LOOKS)
        self._set_rate(start)
        for step in optimize(self.loss, self.optimizer, steps=steps, seed=self.plan.seed, start=start):
            done = step.index + 1
            yield step, self._look(done) if done % look_every == 0 or done == steps else {}
            self._set_rate(done)

    def run(self, run: Run, *, quiet: bool = False) -> dict[str, Any]:
        """`draw` with a folder and a progress bar; returns what summary.json holds.

        Raises:
            KeyboardInterrupt: Ctrl-C, after the step in progress was finished and everything was saved.
            FloatingPointError: as `draw`; the best pictures so far are in the folder.
        """
        from tqdm import tqdm

        steps, failure = self.plan.steps, None
        frame_every = max(1, steps // FRAMES)
        with graceful_interrupt() as interrupted:
            if run.step == 0:
                run.preview(self.pictures())
            shown = {"score": self.best.score}
            bar = tqdm(total=steps, initial=run.step, unit="step", disable=quiet, file=sys.stderr)
            saved = time.monotonic()
            try:
                for step, scores in self.draw(run.step):
                    shown |= scores
                    run.log(step.index, step.loss, step.terms, score=scores.get("score"), judge=scores.get("judge"))
                    if run.step % frame_every == 0:
                        run.preview(self.pictures())
                    means = {name: f"{float(values.mean()):.3f}" for name, values in shown.items()}
                    bar.set_postfix(loss=f"{float(step.loss) / len(self.items):.3f}", **means, refresh=False)
                    bar.update()
                    if interrupted():
                        break
                    if time.monotonic() - saved > CHECKPOINT_SECONDS:
                        run.save(self.state())
                        saved = time.monotonic()
            except FloatingPointError as error:
                failure = error
            finally:
                bar.close()
            if failure is None:
                run.save(self.state())
            return self._finish(run, failure)

    def _finish(self, run: Run, failure: FloatingPointError | None) -> dict[str, Any]:
        status: Literal["done", "interrupted", "failed"] = "done" if run.step == self.plan.steps else "interrupted"
        if failure is not None:
            status = "failed"
        best, last = self.best, self.pictures()
        if not torch.isfinite(last).all():
            last = best.images
        scores = {"score": best.score, "best step": best.step, "score of last": self.scorer(last)}
        if self.judge is not None:
            judged = {"judge": self.judge(best.images), "judge of last": self.judge(last)}
            scores = {"score": best.score, "judge": judged["judge"]} | scores | judged
        summary = run.finish(
            best=best.images,
            last=last,
            labels=[item.label for item in self.items],
            scores=scores,
            status=status,
            reason=str(failure or ""),
        )
        if failure is not None:
            raise FloatingPointError(f"{failure}; the best so far is in {run.folder}") from failure
        if status == "interrupted":
            raise KeyboardInterrupt
        return summary

    @torch.no_grad()
    def pictures(self) -> Images:
        """The pictures as they are now, one per item."""
        images: Images = self.image()
        return images

    def _look(self, step: int) -> dict[str, PerItem]:
        """Score the items, remember the best; the judge only looks on."""
        images = self.pictures()
        if not torch.isfinite(images).all():
            raise FloatingPointError(f"after step {step} the picture is not finite: lower the learning rate")
        scores = {"score": self.scorer(images)}
        self.best.update(images, scores["score"], step)
        return scores if self.judge is None else scores | {"judge": self.judge(images)}

    def _set_rate(self, step: int) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = self.plan.lr * (0.5 + 0.5 * math.cos(math.pi * step / self.plan.steps))

    def state(self) -> dict[str, Any]:
        """What `load_state` needs to go on, bit for bit on the CPU."""
        best = self.best
        return {
            "image": self.image.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": {"images": best.images, "score": best.score, "step": best.step},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.image.load_state_dict(state["image"])
        self.optimizer.load_state_dict(state["optimizer"])
        best = state["best"]
        self.best = Best(best["images"].to(self.pictures().device), best["score"], best["step"])
