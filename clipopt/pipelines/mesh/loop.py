"""The loop behind `clipopt mesh`: look at each mesh from many sides, ask the scorers, move the vertices and paint."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor

from clipopt import augment, losses, params
from clipopt.augment import Augment
from clipopt.ensemble import Ensemble
from clipopt.geometry import energy
from clipopt.geometry.mesh import Mesh, fit
from clipopt.geometry.remesh import with_faces
from clipopt.io import files
from clipopt.loop import Step, optimize
from clipopt.objective import Matching
from clipopt.optimizers import AdamUniform
from clipopt.pipelines.mesh.plan import MeshPlan
from clipopt.pipelines.mesh.results import measure, portrait, sheet, write_models, write_turntable
from clipopt.pipelines.mesh.staging import Side
from clipopt.pipelines.mesh.view_prompts import Sided, unpainted
from clipopt.pipelines.resources import halving
from clipopt.pipelines.run_loop import Status, Stepwise
from clipopt.pipelines.views import Item
from clipopt.record import Run
from clipopt.render.views import Shot
from clipopt.scorers import Scorer, Target, target
from clipopt.types import Images, PerItem, generator

LOOKS = 10
"""How often in a run the items are scored on held-out views."""
HELD_OUT_VIEWS = 8
CHUNK = 64
"""Most views that a scorer sees at once."""
FRAME_SIDE, PICTURE_SIDE = 256, 512
_HELD_OUT = -1
_BETAS = (0.9, 0.99)


@dataclass
class Best:
    """Each item at the step where the scorer liked it best, with what the scorer thought and the steps before it."""

    meshes: list[Mesh]
    score: Tensor
    step: Tensor


class MeshLoop(Stepwise):
    """Meshes in the making, one for each item.

    Args:
        plan: How.
        items: What each shall be.
        start: The mesh that they begin as.
        scorers: Who guide.
        judge: Who looks on.
        sided: Whether the prompts name the side that a view shows.
        instead: Sides with prompts of their own.
        was: What `start` shows, as text: the change from it then counts as much as what is there.
        changes: What was changed of the mesh that was given.
        device: Where.
    """

    def __init__(
        self,
        plan: MeshPlan,
        items: Sequence[Item],
        start: Mesh,
        scorers: Sequence[Scorer],
        *,
        judge: Scorer | None = None,
        sided: bool = False,
        instead: Mapping[Side, str] | None = None,
        was: str | None = None,
        changes: Sequence[str] = (),
        device: torch.device | str = "cpu",
    ) -> None:
        self.plan, self.items, self.changes, self.device = plan, items, changes, torch.device(device)
        self.look_every = max(1, plan.steps // LOOKS)
        prompts = [{text: w for text, w in item.prompt.items() if isinstance(text, str)} for item in items]
        self._asked = [Sided(scorer, prompts, sided=sided, instead=instead) for scorer in scorers]
        self._eyes = {"score": [*scorers]} | ({} if judge is None else {"judge": [judge]})
        self._plain = {role: [target(eye, prompts) for eye in eyes] for role, eyes in self._eyes.items()}
        self._bare = {
            role: [target(eye, [unpainted(prompt, eye) for prompt in prompts]) for eye in eyes]
            for role, eyes in self._eyes.items()
        }
        self._source = None if was is None else [scorer.encode_text([was]) for scorer in scorers]
        self._augment: Augment | None = augment.noise(plan.noise) if plan.noise else None
        self._views = replace(plan.views, memory=plan.memory / len(items))
        self._held_out = replace(self._views, count=HELD_OUT_VIEWS, offset=0.0, stratified=True, adaptive=True)
        self._chunk, self._look_chunk = min(CHUNK, plan.views.count * len(items)), HELD_OUT_VIEWS
        self._base = start.to(self.device)
        if plan.faces and len(start.faces) != plan.faces[0]:
            self._base = with_faces(self._base, plan.faces[0])
        self.enter(0, [self._base] * len(items))
        self._restart(0)

    def enter(self, stage: int, starts: Sequence[Mesh]) -> None:
        """Make what is learned anew, from one mesh for each item."""
        self.stage, self._starts, plan = stage, [*starts], self.plan
        self.surfaces = [plan.surface(start).to(self.device) for start in starts]
        shapes = [p for surface in self.surfaces for p in surface.shape.parameters()]
        looks = [p for surface in self.surfaces if surface.look is not None for p in surface.look.parameters()]
        groups: list[dict[str, Any]] = [{"params": shapes, "lr": plan.lr, "uniform": plan.shape != "jacobians"}]
        if looks:
            groups.append({"params": looks, "lr": plan.lr_color, "uniform": False})
        self.optimizer = AdamUniform(groups, betas=_BETAS)

    def extend(self, steps: int | None) -> None:
        """Let a finished run take more steps, so many in all; None leaves it as it is."""
        if steps is not None:
            self.plan = replace(self.plan, steps=steps, planned=self.plan.steps)

    @torch.no_grad()
    def choose(self, forms: Sequence[Mesh]) -> None:
        """Begin each item as that of `forms` whose bare shape its scorers like best, seen from all around."""
        views = replace(self._held_out, textureless=1.0)
        liked = torch.zeros(len(forms), len(self.items))
        for number, form in enumerate(forms):
            images = views.shoot(form.to(self.device), views.sample(form, generator(self.plan.seed, _HELD_OUT)))
            for eye, asked in zip(self._eyes["score"], self._bare["score"], strict=True):
                liked[number] += (self._match_of(eye, images, asked) @ asked.weights.T).cpu()
        chosen = [forms[best].to(self.device) for best in liked.argmax(0).tolist()]
        self.enter(0, [with_faces(form, self.plan.faces[0]) if self.plan.faces else form for form in chosen])
        self._restart(0)

    def _restart(self, step: int) -> None:
        """The best so far are the meshes as they are: a result has the triangles of the last stage."""
        meshes = self.meshes()
        self.best = Best(meshes, self.score(meshes), torch.full((len(self.items),), step))

    def loss(self, step: int, rng: Generator) -> dict[str, Tensor]:
        """The weighted terms of one step, each of shape (items,)."""
        plan, meshes = self.plan, [surface() for surface in self.surfaces]
        views = self._views if 2 * step < plan.steps else replace(self._views, textureless=0.0)
        drawn = [views.sample(m, generator(i.seed, step)) for m, i in zip(meshes, self.items, strict=True)]
        images = torch.cat([views.shoot(mesh, shot) for mesh, shot in zip(meshes, drawn, strict=True)])
        terms = self._match(images, drawn, step, rng)
        for name, weight in (("laplacian", plan.laplacian), ("normals", plan.normals), ("edges", plan.edges)):
            penalty = {
                "laplacian": energy.laplacian, "normals": energy.normal_consistency, "edges": energy.edge_length
            }[name]  # fmt: skip
            if weight:
                terms[name] = weight * torch.stack([penalty(mesh) for mesh in meshes])
        if plan.identity and plan.shape == "jacobians":
            shapes = [surface.shape for surface in self.surfaces]
            each = [energy.jacobian_identity(s.jacobians) for s in shapes if isinstance(s, params.Jacobians)]
            terms["identity"] = plan.identity * torch.stack(each)
        return terms

    def _match(self, images: Images, drawn: Sequence[Shot], step: int, rng: Generator) -> dict[str, Tensor]:
        """What the scorers think of the views, one term for each."""
        toward, bare = torch.cat([shot.toward for shot in drawn]), torch.cat([shot.textureless for shot in drawn])
        paired: list[Images] = []
        if self._source is not None:
            with torch.no_grad():
                paired = [torch.cat([self._views.shoot(self._base, shot) for shot in drawn])]
        # A view is on its own here: it has its own words, and its own noise whatever its neighbours are.
        seeds = [generator(item.seed, view).initial_seed() for item in self.items for view in range(self._views.count)]

        def scene() -> Images:
            return images

        def distance(number: int) -> Callable[..., Tensor]:
            return losses.cosine if self._source is None else partial(_changed, self._source[number])

        def attempt(chunk: int) -> dict[str, Tensor]:
            ready = [
                Matching(
                    scene, asked.scorer, asked(toward, bare), augment=self._augment, paired=paired, seeds=seeds,
                    chunk=chunk, distance=distance(number),
                )
                for number, asked in enumerate(self._asked)
            ]  # fmt: skip
            terms = ready[0](step, rng) if len(ready) == 1 else Ensemble(ready)(step, rng)
            return {name: term.view(len(self.items), -1).mean(1) for name, term in terms.items()}

        terms, self._chunk = halving(attempt, self._chunk)
        return terms

    def draw(self, start: int = 0) -> Iterator[tuple[Step, dict[str, PerItem]]]:
        """The loop: yields every step, with the scores of the items where it looked; `best` keeps the best of each.

        Raises:
            FloatingPointError: a term, a gradient or a mesh is not finite; names the step.
            MemoryError: there is no memory even for one view at a time.
        """
        for stage, (first, last) in enumerate(self.plan.spans()):
            if stage < self.stage:
                continue
            if stage > self.stage:
                self.enter(stage, [_fitted(with_faces(mesh, self.plan.faces[stage])) for mesh in self.meshes()])
                self._restart(first)
            for step in self.steps(max(start, first), last):
                done = step.index + 1
                yield step, self.look(done) if done % self.look_every == 0 or done == self.plan.steps else {}

    def steps(self, start: int, end: int) -> Iterator[Step]:
        """Steps of the optimizer, with the learning rates that belong to each."""
        self._set_rates(start)
        for step in optimize(self.loss, self.optimizer, steps=end, seed=self.plan.seed, start=start):
            yield step
            self._set_rates(step.index + 1)

    def _set_rates(self, step: int) -> None:
        share = 0.5 + 0.5 * math.cos(math.pi * step / self.plan.steps)
        for group, rate in zip(self.optimizer.param_groups, (self.plan.lr, self.plan.lr_color), strict=False):
            group["lr"] = rate * share

    @torch.no_grad()
    def meshes(self) -> list[Mesh]:
        """The meshes as they are now, one per item."""
        return [surface().detach() for surface in self.surfaces]

    def frame(self) -> Images:
        """Each item from its front, a little from above."""
        return torch.cat([portrait(mesh, FRAME_SIDE) for mesh in self.meshes()])

    @torch.no_grad()
    def score(self, meshes: Sequence[Mesh], role: str = "score", *, textureless: bool = False) -> PerItem:
        """What the scorers, or the "judge", think of the meshes: the weighted cosine on views that no step draws."""
        views = replace(self._held_out, textureless=float(textureless))
        scores = []
        wanted = (self._bare if textureless else self._plain)[role]
        for eye, asked in zip(self._eyes[role], wanted, strict=True):
            each = []
            for mesh, item, weights in zip(meshes, self.items, asked.weights, strict=True):
                images = views.shoot(mesh, views.sample(mesh, generator(item.seed, _HELD_OUT)))
                each.append(self._match_of(eye, images, asked) @ weights)
            scores.append(torch.stack(each).cpu())
        return torch.stack(scores).mean(0)

    def _match_of(self, eye: Scorer, images: Images, asked: Target) -> Tensor:
        """How well views match each of the texts on average, shape (texts,)."""

        def embed(chunk: int) -> Tensor:
            return torch.cat([eye.encode_image(part) for part in images.split(chunk)])

        seen, self._look_chunk = halving(embed, self._look_chunk)
        return (seen @ asked.embeddings.T).mean(0)

    def look(self, step: int) -> dict[str, PerItem]:
        """Score the items, remember the best; the judge only looks on."""
        meshes = self.meshes()
        if not all(bool(torch.isfinite(mesh.vertices).all()) for mesh in meshes):
            raise FloatingPointError(f"after step {step} a mesh is not finite: lower the learning rate")
        scores = {role: self.score(meshes, role) for role in self._eyes}
        for number in (scores["score"] > self.best.score).nonzero().flatten().tolist():
            self.best.meshes[number] = meshes[number]
            self.best.score[number], self.best.step[number] = scores["score"][number], step
        return scores

    def images(self) -> Images:
        """Each mesh as it is now, from its front."""
        return self.frame()

    def finish(self, run: Run, status: Status, reason: str) -> dict[str, Any]:
        """Write the results; returns the summary."""
        best, labels = self.best.meshes, [item.label for item in self.items]
        scores: dict[str, Any] = {"score": self.best.score}
        for role in reversed(self._eyes):
            scores[f"{role} of the bare shape"] = self.score(best, role, textureless=True)
            scores |= {} if role == "score" else {role: self.score(best, role)}
        measured = [measure(mesh) for mesh in best]
        write_models(run.folder, best)
        write_turntable(run.folder, best)
        files.save(run.folder / "sheet.png", sheet(best))
        order = ("score", "judge", "score of the bare shape", "judge of the bare shape")
        return run.finish(
            best=torch.cat([portrait(mesh, PICTURE_SIDE) for mesh in best]),
            last=torch.cat([portrait(mesh, PICTURE_SIDE) for mesh in self._last()]),
            labels=labels,
            scores={name: scores[name] for name in order if name in scores} | {"best step": self.best.step},
            status=status,
            reason=reason,
            solids=best,
            facts={"meshes": [{"item": label} | numbers for label, numbers in zip(labels, measured, strict=True)]}
            | ({"changes": [*self.changes]} if self.changes else {}),
        )

    def _last(self) -> list[Mesh]:
        """The meshes as they are now; the best where one is not finite."""
        pairs = zip(self.meshes(), self.best.meshes, strict=True)
        return [last if bool(torch.isfinite(last.vertices).all()) else best for last, best in pairs]

    def state(self) -> dict[str, Any]:
        """What `load_state` needs to go on, bit for bit on the CPU with as many threads."""
        best = {"score": self.best.score, "step": self.best.step, "meshes": [_tensors(m) for m in self.best.meshes]}
        return {
            "stage": self.stage,
            "starts": [_tensors(start) for start in self._starts],
            "surfaces": [surface.state_dict() for surface in self.surfaces],
            "optimizer": self.optimizer.state_dict(),
            "best": best,
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.enter(state["stage"], [self._mesh(start) for start in state["starts"]])
        for surface, kept in zip(self.surfaces, state["surfaces"], strict=True):
            surface.load_state_dict(kept)
        self.optimizer.load_state_dict(state["optimizer"])
        best = state["best"]
        self.best = Best([self._mesh(kept) for kept in best["meshes"]], best["score"], best["step"])

    def _mesh(self, tensors: Mapping[str, Any]) -> Mesh:
        return Mesh(**tensors, place=self._base.place).to(self.device)


def _changed(source: Tensor, image: Tensor, asked: Tensor, weights: Tensor, before: Tensor) -> Tensor:
    """What is there, and the change to it from what was there, alike.

    Reference:
        Gao et al., "TextDeformer" (2023), arXiv:2304.13348, section 3.2.
    """
    return losses.cosine(image, asked, weights) + losses.directional(image, before, asked, source, weights)


def _fitted(mesh: Mesh) -> Mesh:
    return replace(mesh, vertices=fit(mesh.vertices))


def _tensors(mesh: Mesh) -> dict[str, Tensor | None]:
    return {name: getattr(mesh, name) for name in ("vertices", "faces", "colors", "uv", "texture")}
