"""The loop behind `clipopt image`: optimise, look, keep the best, record."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clipopt import losses
from clipopt.ensemble import Ensemble
from clipopt.loop import Step, optimize
from clipopt.objective import Matching
from clipopt.params import Pyramid
from clipopt.pipelines.asks import reworded
from clipopt.pipelines.edits import Edit, enlarge, extend, fit, meet, soften
from clipopt.pipelines.image.parameters import Several, cover, make, over_ground, parse_palette
from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.image.questions import Questions, readings
from clipopt.pipelines.kinds import VECTORS, Cutouts
from clipopt.pipelines.penalties import Penalties
from clipopt.pipelines.resources import halving
from clipopt.pipelines.results import Best
from clipopt.pipelines.run_loop import Status, Stepwise, Update
from clipopt.pipelines.views import HELD_OUT_VIEWS, Item, resize, seam, views
from clipopt.record import Run
from clipopt.scorers import KnowsWords, Perceives, Scorer
from clipopt.types import Images, PerItem, generator

__all__ = ["ImageLoop", "ImagePlan", "Item", "views"]

LOOKS = 15
"""How often in a run the items are scored on held-out views."""
FRAME_SIDE = 768
"""Longest side of a frame in pixels."""
WARM_UP = 1 / 6
"""Share of the steps in which the learning rate rises: what a picture shows is decided early, and best slowly."""
START = -2  # keeps the noise of further starts apart from what else a seed draws
MARGIN = 8
"""A tile is made larger by one part in this many."""
COVER = 0.4
"""Weight of how opaque a transparent drawing is: what nobody looks for should not be there."""
CHUNK = 64
"""Most views that a scorer sees at once."""
FREE, ALIKE = 0.2, 2 / 3
"""Share of their weight that the statistics of photographs have at first, and when in the run they have all of it:
what a picture shows is decided before them."""
PALER = 0.85
"""Contrast of a sketch that a natural scorer goes on from: what is at its limit learns slowly."""
FAINT = 0.18
"""Least match of a sketch with its words: below it there is nothing to see, and natural scorers begin at noise."""
VARIED = 0.1
"""Standard deviation of the noise on such a sketch, of natural spectrum: another background for each seed."""


class ImageLoop(Stepwise):
    """Pictures in the making: `draw` is the loop; see `clipopt.pipelines.run_loop.Loop`."""

    def __init__(
        self,
        plan: ImagePlan,
        items: Sequence[Item],
        scorer: Scorer | Sequence[Scorer],
        *,
        judge: Scorer | None = None,
        edit: Edit | None = None,
        extras: Penalties | None = None,
        said: Mapping[str, str] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.plan, self.items, self.edit, self.extras = plan, items, edit or Edit(), extras
        self.device = torch.device(device)
        scorers = [scorer] if isinstance(scorer, Scorer) else [*scorer]
        self._eyes = {"score": scorers} | ({} if judge is None else {"judge": [judge]})
        self.said = said or {}
        self._questions = Questions(plan, self.edit, items, self.said, self.device)
        self._natural = any(isinstance(scorer, Perceives) for scorer in scorers)
        # Sketches are drawings: who knows the words of that world chooses among them, wherever it stands.
        self._chooser = next((n for n, scorer in enumerate(scorers) if isinstance(scorer, KnowsWords)), 0)
        # A large network takes as long for a look as for a step.
        self.look_every = max(1, plan.steps // (LOOKS // 3 if self._natural else LOOKS))
        self._chunk, self._look_chunk = min(CHUNK, plan.crops * len(items)), HELD_OUT_VIEWS
        self._starts = [0] * len(items)
        self._started: dict[str, PerItem] = {}
        self._rough: Images | None = None
        self._drawn: Tensor | None = None
        self.enter(0, scored=self.edit.init is not None or (plan.begin == "noise" and plan.tries == 1))

    def enter(self, stage: int, step: int = 0, *, scored: bool = True) -> None:
        """Make what has the resolution of a stage: from the pictures of the stage before, or else the start."""
        plan, edit, size = self.plan, self.edit, self.plan.size(stage)
        # A tile is made with a margin, which is then blended into its other side.
        canvas = (size[0] + size[0] // MARGIN, size[1] + size[1] // MARGIN) if edit.tile else size
        given = None if edit.init is None else resize(edit.init, size)
        init = None if given is None else extend(given, canvas)
        if stage:
            with torch.no_grad():
                init = enlarge(self.image(), canvas, init)
        elif init is None:
            init = self._rough
        rng = [
            generator(item.seed, *([START, n] if n else [])) for item, n in zip(self.items, self._starts, strict=True)
        ]
        self.stage = stage
        self.image: nn.Module = self._make(canvas, rng, init).to(self.device)
        self.optimizer = torch.optim.Adam(self.image.parameters(), lr=plan.lr, fused=True)
        self._given = None if given is None else given.to(self.device)
        mask = None if edit.mask is None else fit(edit.mask, size).to(self.device)
        self._changes = None if mask is None else soften(mask, round(edit.feather * min(size)))
        self.sights = {
            role: self._questions.of(eyes, size, mask, self._given, guides=role == "score")
            for role, eyes in self._eyes.items()
        }
        start = self.pictures().clone()
        needed = plan.render is not None or plan.param in VECTORS
        kept = {name: value.detach().clone() for name, value in self.image.named_parameters() if needed}
        score = self._score(start) if scored else torch.full((len(self.items),), torch.nan)  # `prepare` enters again
        self.best = Best(start, score, torch.full((len(self.items),), step), kept)

    def _make(self, size: tuple[int, int], rng: Sequence[Generator], init: Images | None) -> nn.Module:
        """What is learned of the pictures. Phases go on as a spectrum, whose amplitudes are free to add detail."""
        plan, colours = self.plan, parse_palette(self.plan.palette)
        common: dict[str, Any] = {"colours": colours, "natural": self._natural}
        if plan.param != "phases" or init is None:
            return make(plan.param, size, rng=rng, init=init, **common)
        if self._drawn is None or init is not self._rough or plan.render is not None or bool(self._drawn.all()):
            return make("fourier", size, rng=rng, init=init, **common)
        first, second = (
            [one for one, own in zip(rng, self._drawn, strict=True) if own == kind] for kind in (True, False)
        )
        phases = make("phases", size, rng=second, **common)
        if not first:
            return phases
        return Several([make("fourier", size, rng=first, init=init[self._drawn], **common), phases], self._drawn)

    def extend(self, steps: int | None) -> None:
        """Let a finished run take more steps, so many in all; None leaves it as it is."""
        if steps is not None:
            self.plan = replace(self.plan, steps=steps, planned=self.plan.steps)

    def scene(self, step: int | None = None) -> Images:
        """The pictures, what may not change as it was; transparent ones on the ground of a step, or on white."""
        size, seeds = self.plan.size(self.stage), [item.seed for item in self.items]
        images: Images = over_ground(self.image, size, seeds, step) if self.plan.transparent else self.image()
        if self.edit.tile:
            images = meet(images, size)
        if self._given is None or self._changes is None:
            return images
        return torch.lerp(self._given, images, self._changes)

    def loss(self, step: int, rng: Generator) -> dict[str, Tensor]:
        """The weighted terms of one step, each of shape (items,)."""
        images, plan, edit = self.scene(step), self.plan, self.edit
        terms: dict[str, Tensor] = {}
        for name in self.sights["score"]:
            terms |= self._match(name, images, step, rng)
        if plan.smooth:
            # As the finest scorer sees it that an item has.
            sides = torch.tensor([eye.image_size for eye in self._eyes["score"]])[:, None]
            finest = (sides * (self.sights["score"]["match"].heard > 0)).amax(0).to(images)
            detail = min(images.shape[-2:]) / finest
            around = F.pad(images, (0, 1, 0, 1), mode="circular") if edit.tile else images
            terms["smooth"] = plan.smooth * detail * losses.total_variation(around)
        if plan.transparent:
            terms["cover"] = COVER * cover(self.image)
        if self.extras is not None:
            terms |= self.extras(images, self._given)
        if edit.keep and self._given is not None:
            terms["keep"] = edit.keep * losses.l2(images, self._given)
        return terms

    def _match(self, name: str, images: Images, step: int, rng: Generator) -> dict[str, Tensor]:
        """What the scorers think of the pictures, one term for each; their gradients weigh alike."""
        plan, sights = self.plan, self.sights["score"][name]
        cutouts: Cutouts = plan.cutouts if name == "match" else "crops"
        progress = step / plan.steps
        statistics = plan.statistics * min(1.0, FREE + (1 - FREE) * progress / ALIKE)
        seeds = [item.seed for item in self.items]

        def scene() -> Images:
            return images

        def attempt(chunk: int) -> dict[str, Tensor]:
            more: dict[str, Any] = {"chunk": chunk, "cutouts": cutouts, "progress": progress}
            more |= {"statistics": statistics, "stage": self.stage}
            ready = [asked.matching(scene, plan.crops, seeds, **more) for asked in sights.asked]
            starts = [round(start * plan.steps) for start in plan.starts] or None
            if len(ready) == 1 and isinstance(ready[0], Matching):
                terms = ready[0](step, rng)
            else:
                terms = Ensemble(ready, weights=[*sights.heard.to(images)], starts=starts)(step, rng)
            return {key.replace("match", name): term for key, term in terms.items()}

        terms, self._chunk = halving(attempt, self._chunk)
        return terms

    def draw(self, start: int = 0) -> Iterator[tuple[Step, dict[str, PerItem]]]:
        """The loop: yields every step, with the scores of the items where it looked; `best` keeps the best of each.

        Raises:
            FloatingPointError: a term, a gradient or a picture is not finite; names the step.
            MemoryError: there is no memory even for one view at a time.
        """
        if start == 0:
            self.prepare()
        for stage, (first, last) in enumerate(self.plan.spans()):
            if stage < self.stage:
                continue
            if stage > self.stage:
                self.enter(stage, first)
            for step in self.steps(max(start, first), last):
                done = step.index + 1
                yield step, self.look(done) if done % self.look_every == 0 or done == self.plan.steps else {}

    def prepare(self) -> None:
        """Stand where the first step starts from, if it is not there already: at a rough picture, or the best start."""
        if self._started:
            return
        if self.edit.init is None and self.plan.begin != "noise":
            self._begin_at_rough_pictures()
        elif self.edit.init is None and self.plan.tries > 1:
            self._choose_starts()
        self._started = {"score": self.best.score.clone()}
        if "judge" in self.sights:
            self._started["judge"] = self._score(self.pictures(), "judge")

    def _begin_at_rough_pictures(self) -> None:
        """Begin at what the package draws of the words at once, the best of some tries."""
        from clipopt.pipelines.image.starts import best_starts

        with torch.no_grad():
            otherwise = self.image()
        choose = partial(self._score, alone=self._chooser)
        told = [replace(item, prompt=reworded(item.prompt, self.said)) for item in self.items]
        judged = self._natural and isinstance(self._eyes["score"][self._chooser], KnowsWords)
        least = FAINT if judged else -torch.inf
        rough, drawn = best_starts(self.plan.begin, told, self.plan.tries, otherwise, choose, self.device, least)
        if self._natural:
            noise = otherwise - otherwise.mean((1, 2, 3), keepdim=True)
            noise = noise / noise.std((1, 2, 3), keepdim=True).clamp_min(1e-6)
            paler = (0.5 + PALER * (rough - 0.5) + VARIED * noise).clamp(0, 1)
            rough = torch.where(drawn[:, None, None, None].to(rough.device), paler, rough)
        self._rough, self._drawn = rough, drawn
        self.enter(0)

    def _choose_starts(self) -> None:
        """Begin several times, and stand again at the start that the scorers soon liked best, each item at its own.

        Where things lie is decided in the first steps and hardly changes after; some places are dead ends.
        """
        scores = []
        for number in range(self.plan.tries):
            self._starts = [number] * len(self.items)
            self.enter(0)
            for _ in self.steps(0, min(self.plan.tried, self.plan.spans()[0][1])):
                pass
            scores.append(self._score(self.pictures()))
        self._starts = torch.stack(scores).argmax(0).tolist()
        self.enter(0)

    def steps(self, start: int, end: int) -> Iterator[Step]:
        """Steps of the optimizer at the resolution of the stage, with the learning rate that belongs to each."""
        self._set_rate(start)
        self._open(start)
        for step in optimize(self.loss, self.optimizer, steps=end, seed=self.plan.seed, start=start):
            yield step
            self._set_rate(step.index + 1)
            self._open(step.index + 1)

    def _open(self, step: int) -> None:
        """The resolutions that learn from a step on."""
        if self.plan.low_first and isinstance(self.image, Pyramid):
            self.image.open(min(1.0, step / (self.plan.low_first * self.plan.steps)))

    def images(self) -> Images:
        """The pictures as they are now."""
        return self.pictures()

    def record(self, run: Run, update: Update | None) -> None:
        """A frame of the film now and then; the first one of the start."""
        if update is None:
            self.prepare()
        super().record(run, update)

    def finish(self, run: Run, status: Status, reason: str) -> dict[str, Any]:
        """Write the results; returns the summary."""
        best, last = self.best, self.pictures()
        if not torch.isfinite(last).all():
            last = best.images
        scores = {"score": best.score, "best step": best.step, "score of last": self._score(last)}
        if "judge" in self.sights:
            judged = {"judge": self._score(best.images, "judge"), "judge of last": self._score(last, "judge")}
            scores = {"score": best.score, "judge": judged["judge"]} | scores | judged
        scores |= {f"{role} of start": values for role, values in self._started.items()}
        scores |= self._percentiles(best.images)
        if self.edit.tile:
            scores["seam"] = seam(best.images)
        run.preview(self._framed(last))
        return run.finish(
            best=best.result(self.image, self.plan.render, run.folder, transparent=self.plan.transparent),
            last=last,
            labels=[item.label for item in self.items],
            scores=scores,
            status=status,
            reason=reason,
            facts=readings(
                self.items, [*self._eyes["score"], *self._eyes.get("judge", ())], self.said, self.best.images
            ),
        )

    @torch.no_grad()
    def pictures(self) -> Images:
        """The pictures as they are now, one per item."""
        return self.scene()

    def frame(self) -> Images:
        """The pictures for the film, whose frames all have one size."""
        return self._framed(self.pictures())

    def _framed(self, images: Images) -> Images:
        plan = self.plan
        if plan.stages == 1:
            return images
        zoom = min(1, FRAME_SIDE / max(plan.height, plan.width))
        return resize(images, (max(1, round(zoom * plan.height)), max(1, round(zoom * plan.width))))

    def _score(self, images: Images, role: str = "score", *, alone: int | None = None) -> PerItem:
        """What the scorers, or the "judge", think of the pictures: the mean over them and what they are asked.

        A scorer counts as it does in the loss, or the one of number `alone` does. NaN where the judge is asked nothing.
        """
        own = []
        for sights in self.sights[role].values():
            asked = sights.asked if alone is None else sights.asked[alone : alone + 1]
            scores = []
            for each in asked:
                score, self._look_chunk = halving(partial(each.score, images), self._look_chunk)
                scores.append(score)
            weights = sights.heard if alone is None else torch.ones(1, len(images))
            told = torch.stack(scores)
            weights = weights * ~told.isnan()
            own.append((weights * told.nan_to_num()).sum(0) / weights.sum(0))
        means = torch.stack(own).nanmean(0)
        return means.nan_to_num(-1.0) if role == "score" else means

    def _percentiles(self, images: Images) -> dict[str, PerItem]:
        """How the pictures match among drawings of a scorer's world, where that is known."""
        found = {}
        for role, sights in self.sights.items():
            if len(self._eyes[role]) == 1 and [*sights] == ["match"]:
                found[f"{role} percentile"] = sights["match"].asked[0].percentile(images)
        return {name: values for name, values in found.items() if not values.isnan().all()}

    def look(self, step: int) -> dict[str, PerItem]:
        """Score the items, remember the best; the judge only looks on."""
        images = self.pictures()
        if not torch.isfinite(images).all():
            raise FloatingPointError(f"after step {step} the picture is not finite: lower the learning rate")
        scores = {role: self._score(images, role) for role in self.sights}
        self.best.update(images, scores["score"], step, self.image)
        return scores

    def _set_rate(self, step: int) -> None:
        progress = step / self.plan.steps
        rate = self.plan.lr * min(1, (progress + 1 / self.plan.steps) / WARM_UP)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * progress))

    def state(self) -> dict[str, Any]:
        """What `load_state` needs to go on, bit for bit on the CPU with as many threads."""
        return {
            "stage": self.stage,
            "starts": self._starts,
            "started": self._started,
            "drawn": self._drawn,
            "image": self.image.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "best": dict(vars(self.best)),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._starts, self._started = state["starts"], dict(state.get("started", {}))
        self._drawn = state.get("drawn")
        if self._drawn is not None:
            self._rough = self.pictures().cpu()  # whatever they show: parameters follow
            self.enter(0)
        if state["stage"] != self.stage:
            self.enter(state["stage"])
        self.image.load_state_dict(state["image"])
        self.optimizer.load_state_dict(state["optimizer"])
        best = state["best"]
        kept = {name: value.to(self.device) for name, value in best["parameters"].items()}
        self.best = Best(best["images"].to(self.device), best["score"], best["step"], kept)
