"""The loop behind `clipopt latent`: sample, improve the noise or the latents, look, keep the best, record."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from clipopt import diffusion
from clipopt.ensemble import Ensemble
from clipopt.io import files
from clipopt.loop import Step, optimize
from clipopt.objective import Matching
from clipopt.pipelines.edits import Edit, fit, soften
from clipopt.pipelines.latent.learning import optimizer_for, penalties, set_rate, whiteness_of
from clipopt.pipelines.latent.methods import GRADIENT, LatentPlan
from clipopt.pipelines.latent.particles import Pool
from clipopt.pipelines.resources import halving
from clipopt.pipelines.results import Best
from clipopt.pipelines.run_loop import Status, Stepwise
from clipopt.pipelines.views import HELD_OUT_VIEWS, Item, Sight, resize
from clipopt.record import Run
from clipopt.scorers import Scorer, target
from clipopt.types import Images, PerItem, generator

CHUNK = 64


class LatentLoop(Stepwise):
    """Pictures of a generator in the making; see `clipopt.pipelines.run_loop.Loop`.

    Args:
        plan: How.
        items: What is asked of each picture.
        told: What the generator is told for each.
        scorers: Who guides.
        pipe: A pipeline of diffusers, or a coder alone for the method "latent".
        judge: Who looks on.
        edit: A picture to start from, and where it may change.
        negative: What the generator is told to avoid.
        device: Where.
    """

    def __init__(
        self,
        plan: LatentPlan,
        items: Sequence[Item],
        told: Sequence[str],
        scorers: Sequence[Scorer],
        pipe: Any,
        *,
        judge: Scorer | None = None,
        edit: Edit | None = None,
        negative: str = "",
        device: torch.device | str = "cpu",
    ) -> None:
        self.plan, self.items, self.edit, self.device = plan, items, edit or Edit(), torch.device(device)
        self.sampler: diffusion.Sampler | None = None
        if hasattr(pipe, "components"):
            self.sampler = diffusion.Sampler(
                pipe, told, [item.seed for item in items], steps=plan.sample_steps, guidance=plan.guidance,
                negative=negative, size=plan.size,
            )  # fmt: skip
        self.coder = diffusion.Coder(pipe) if self.sampler is None else self.sampler.coder
        self._eyes = {"score": [*scorers]} | ({} if judge is None else {"judge": [judge]})
        self._targets = [target(scorer, [item.prompt for item in items]) for scorer in scorers]
        self._chunk, self._look_chunk = CHUNK, HELD_OUT_VIEWS
        self._seen: Tensor | None = None
        self._given: Tensor | None = None
        self._changes: Tensor | None = None
        self._clean: Tensor | None = None
        start = self._begin()
        if self.edit.init is not None and self._given is None:
            self._fit(start)
            start = self._begin()
        if not torch.isfinite(start).all():
            raise ValueError(
                f"what the generator draws is not finite: lower --guidance ({plan.guidance}), or take --dtype float32"
            )
        size = (start.shape[-2], start.shape[-1])
        self.sights = {role: [Sight(eye, items, size=size) for eye in eyes] for role, eyes in self._eyes.items()}
        self.before = self._over(start).detach().clone()
        first = self.before.clone() if self._given is None else self._given.expand_as(self.before).clone()
        self.film = first if self._given is not None else self.before
        self.best = Best(self.before.clone(), self._score(self.before), torch.zeros(len(items), dtype=torch.long), {})

    def _begin(self) -> Images:
        """Make what is learned or drawn; returns the pictures before anything is done."""
        plan, sampler = self.plan, self.sampler
        rng = [generator(item.seed) for item in self.items]
        self.param: nn.Module | None = None
        if plan.method == "latent":
            self.param, start = self._latents(rng)
        elif sampler is None:
            raise ValueError("a coder alone has no noise to learn: use --method latent, or a pipeline")
        else:
            self._noise = sampler.noise()
            if plan.method == "noise":
                self.param = diffusion.Noise(sampler, self._noise, given=self._clean, strength=plan.strength)
            elif plan.method == "chain":
                strength = plan.strength if self._clean is not None else 1.0
                self.param = diffusion.ChainNoise(sampler, given=self._clean, strength=strength)
            with torch.no_grad():
                start = self._sample(self._noise) if self.param is None else self.param()
        seeds = [item.seed for item in self.items]
        self._pool = Pool(seeds, plan.pool, plan.steps) if plan.method == "particles" else None
        self.optimizer: torch.optim.Optimizer | None = None
        if self.param is not None:
            self.optimizer = optimizer_for(plan, self.param.to(self.device))
        return start

    def extend(self, steps: int | None) -> None:
        """Let a finished run take more steps, so many in all; None leaves it as it is."""
        if steps is not None:
            self.plan = replace(self.plan, steps=steps)
            if self._pool is not None:
                self._pool.steps = steps

    def _latents(self, rng: Sequence[Generator]) -> tuple[nn.Module, Images]:
        """Latents of the picture that is given, else of a sample, else of a coder alone at random."""
        init = self._given
        if init is None and self.sampler is not None and self.edit.init is None:
            with torch.no_grad():
                init = self.sampler(self.sampler.noise())
        if init is None:
            given = (256, 256) if self.edit.init is None else (self.edit.init.shape[-2], self.edit.init.shape[-1])
            factor = self.coder.factor
            height, width = self.plan.size or (max(factor, side // factor * factor) for side in given)
            param = diffusion.Latents(self.coder, height, width, rng=rng)
        else:
            param = diffusion.Latents(self.coder, init.shape[-2], init.shape[-1], rng=rng, init=init)
        with torch.no_grad():
            return param, param()

    def _fit(self, start: Images) -> None:
        """Bring the given picture to the size of the generator's, and encode it."""
        if self.edit.init is None:
            return
        size = (start.shape[-2], start.shape[-1])
        self._given = resize(self.edit.init, size).to(self.device)
        if self.edit.mask is not None:
            mask = fit(self.edit.mask, size).to(self.device)
            self._changes = soften(mask, round(self.edit.feather * min(size)))
        if self.plan.method != "latent":
            clean = self.coder.encode(self._given).repeat(len(self.items), 1, 1, 1)
            if clean.shape != self._noise.shape:
                raise ValueError("--init needs a generator whose noise has the form of its coder's latents")
            self._clean = clean

    def _drawer(self) -> diffusion.Sampler:
        if self.sampler is None:
            raise RuntimeError("a coder alone draws no samples")
        return self.sampler

    def _over(self, images: Images) -> Images:
        """The pictures, with what may not change as it was given."""
        if self._given is None or self._changes is None:
            return images
        return torch.lerp(self._given, images, self._changes)

    def _sample(self, noise: Tensor, draw: int = 0) -> Images:
        """Pictures of noise, by the pipeline's own scheduler, or from the given picture."""
        sampler = self._drawer()
        if self._clean is not None:
            chain = partial(diffusion.Chain, sampler.pipe.scheduler, strength=self.plan.strength)
            return sampler(noise, chain=lambda _: chain(), given=self._clean)
        return sampler(noise, draw=draw)

    def _sample_guided(self, noise: Tensor, draw: int) -> Images:
        """Pictures of noise whose every step of denoising the scorers guide."""
        with torch.enable_grad():
            leaf = noise.detach().clone().requires_grad_()
            return self._drawer()(leaf, chain=partial(self._guided, draw=draw), given=self._clean).detach()

    def _guided(self, some: slice, *, draw: int) -> diffusion.Chain:
        """The scheduler of guided samples of some of the items."""
        plan, sampler = self.plan, self._drawer()
        calls = iter(range(10**9))

        def energy(latents: Tensor) -> PerItem:
            # Each call sees other views, the same ones in a run that is repeated.
            return self._match(self._over(self.coder.decode(latents)), 1000 * draw + next(calls), some)["match"]

        fresh = sampler.fresh(self._noise.shape, some, draw)
        if plan.rule == "universal":
            guide = diffusion.universal(energy, forward=plan.scale, backward=plan.backward)
        else:
            guide = diffusion.free_dom(energy, scale=plan.scale, window=(0.0, 0.8))
        often = plan.repeats
        return diffusion.Chain(
            sampler.pipe.scheduler, fresh=fresh, guide=guide,
            repeats=(lambda progress: often if 0.2 <= progress < 0.7 else 1) if often > 1 else None,
            strength=plan.strength if self._clean is not None else 1.0, guidance=sampler.guidance,
        )  # fmt: skip

    def loss(self, step: int, rng: Generator) -> dict[str, Tensor]:
        """The weighted terms of one step, each of shape (items,)."""
        plan, param = self.plan, self.param
        if param is None:
            raise RuntimeError("nothing is learned by this method")
        images = self._over(param())
        self._seen = images.detach()
        return self._match(images, step, slice(0, len(self.items))) | penalties(plan, param, step)

    def _match(self, images: Images, step: int, some: slice) -> dict[str, Tensor]:
        """What the scorers think of the pictures of some items."""
        plan, items = self.plan, self.items[some]
        rng = generator(plan.seed, step)

        def scene() -> Images:
            return images

        def attempt(chunk: int) -> dict[str, Tensor]:
            ready = []
            for scorer, asked in zip(self._eyes["score"], self._targets, strict=True):
                if plan.crops:
                    ready.append(Sight(scorer, items).matching(scene, plan.crops, chunk=chunk))
                else:
                    own = type(asked)(asked.embeddings, asked.weights[some])
                    ready.append(Matching(scene, scorer, own, seeds=[i.seed for i in items], chunk=chunk))
            together = ready[0] if len(ready) == 1 else Ensemble(ready, weights=plan.weights or None)
            return dict(together(step, rng))

        terms, self._chunk = halving(attempt, self._chunk)
        return terms

    def draw(self, start: int = 0) -> Iterator[tuple[Step, dict[str, PerItem]]]:
        """The loop: yields every step, with the scores of the items; `best` keeps the best of each.

        Raises:
            FloatingPointError: a term, a gradient or a picture is not finite; names the step.
            MemoryError: there is no memory even for one view at a time.
        """
        if self.plan.method not in GRADIENT or self.optimizer is None:
            yield from self._search(start)
            return
        if start == 0 and self.plan.method != "chain" and self._given is None:
            self._choose()
        set_rate(self.plan, self.optimizer, start)
        for step in optimize(self.loss, self.optimizer, steps=self.plan.steps, seed=self.plan.seed, start=start):
            set_rate(self.plan, self.optimizer, step.index + 1)
            if isinstance(self.param, diffusion.Latents):
                self.param.clamp()
            # What the step saw are the pictures before it: to look at them costs no sample.
            scores = self.look(self._seen if self._seen is not None else self.pictures(), step.index)
            if step.index + 1 == self.plan.steps:
                scores = self.look(self.pictures(), step.index + 1)
            yield step, scores

    def _choose(self) -> None:
        """Begin at the best of several samples, each item at its own."""
        if self.sampler is None or self.param is None:
            return
        top = self.best.score.clone()
        for number in range(1, self.plan.tries):
            noise = self.sampler.noise(number)
            with torch.no_grad():
                images = self._over(self._sample(noise))
            scores = self._score(images)
            self.best.update(images, scores, 0, self.param)
            better = scores > top
            top[better] = scores[better]
            if isinstance(self.param, diffusion.Latents):
                self.param.restart(self.coder.encode(images), better)
            elif isinstance(self.param, diffusion.Noise):
                self.param.noise.data[better] = noise.to(self.param.noise)[better]

    def _search(self, start: int) -> Iterator[tuple[Step, dict[str, PerItem]]]:
        """Samples one after another, from fresh noise, or by the particle search from the best noises so far."""
        for index in range(start, self.plan.steps):
            noise = self._drawer().noise(index)
            if self._pool is not None:
                noise = self._pool.move(noise, index)
            sample = self._sample_guided if self.plan.method == "guided" else self._sample
            with torch.no_grad():
                images = self._over(sample(noise, index))
            scores = self.look(images, index)
            if self._pool is not None:
                self._pool.keep(noise, scores["score"])
            match = 1 - scores["score"]
            yield Step(index, match.sum(), {"match": match}), scores

    @torch.no_grad()
    def pictures(self) -> Images:
        """The pictures as they are now: of a search, the last sample."""
        if self.param is not None:
            return self._over(self.param())
        return self.before if self._seen is None else self._seen

    def frame(self) -> Images:
        """What the film shows: the pictures before, then the best so far."""
        return self.film if self._seen is None else self.best.images

    def _score(self, images: Images, role: str = "score") -> PerItem:
        """What the scorers, or the "judge", think of the pictures, on views that no step draws."""
        scores = []
        for sight in self.sights[role]:
            score, self._look_chunk = halving(partial(sight.score, images), self._look_chunk)
            scores.append(score)
        weights = torch.tensor(self.plan.weights if role == "score" and self.plan.weights else [1.0] * len(scores))
        return weights @ torch.stack(scores) / weights.sum()

    def look(self, images: Images, step: int) -> dict[str, PerItem]:
        """Score pictures, remember the best; the judge only looks on."""
        if not torch.isfinite(images).all():
            raise FloatingPointError(f"after step {step} a picture is not finite: lower the learning rate")
        self._seen = images
        scores = {role: self._score(images, role) for role in self.sights}
        self.best.update(images, scores["score"], step, nn.Identity())
        return scores

    def images(self) -> Images:
        """The pictures as they are now."""
        return self.pictures()

    def finish(self, run: Run, status: Status, reason: str) -> dict[str, Any]:
        """Write the results; returns the summary."""
        best, last, labels = self.best, self.pictures(), [item.label for item in self.items]
        if not torch.isfinite(last).all():
            last = best.images
        scores: dict[str, Any] = {}
        for role in self.sights:
            scores[role] = best.score if role == "score" else self._score(best.images, role)
        for role, sights in self.sights.items():
            scores[f"{role} before"] = self._score(self.before, role)
            if len(sights) == 1 and not (rank := sights[0].percentile(best.images)).isnan().all():
                scores[f"{role} percentile"] = rank
        scores["best step"] = best.step
        if self.plan.method in ("noise", "chain") and self.param is not None:
            scores["whiteness of last"] = whiteness_of(self.plan, self.param).cpu()
        files.save(run.folder / "before.png", files.sheet(self.before, labels) if len(labels) > 1 else self.before)
        both = torch.stack([self.before.cpu(), best.images.cpu()], 1).flatten(0, 1)
        names = [name for label in labels for name in (f"{label}: before", f"{label}: after")]
        files.save(run.folder / "sheet.png", files.sheet(both, names, columns=min(8, 2 * len(labels))))
        return run.finish(
            best=best.images,
            last=last,
            labels=labels,
            scores=scores,
            status=status,
            reason=reason,
        )

    def state(self) -> dict[str, Any]:
        """What `load_state` needs to go on, bit for bit on the CPU with as many threads."""
        return {
            "param": {} if self.param is None else self.param.state_dict(),
            "optimizer": {} if self.optimizer is None else self.optimizer.state_dict(),
            "pool": {} if self._pool is None else self._pool.state(), "seen": self._seen,
            "best": dict(vars(self.best)),
        }  # fmt: skip

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        if self.param is not None and self.optimizer is not None:
            self.param.load_state_dict(state["param"])
            self.optimizer.load_state_dict(state["optimizer"])
        if self._pool is not None:
            self._pool.load_state(state["pool"])
        best = state["best"]
        self._seen = None if state["seen"] is None else state["seen"].to(self.device)
        self.best = Best(best["images"].to(self.device), best["score"], best["step"], {})
