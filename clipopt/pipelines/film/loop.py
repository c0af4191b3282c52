"""The loop behind `clipopt story`: move the picture, draw on, keep the frame."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from clipopt import augment, losses, params
from clipopt.io import files
from clipopt.loop import Step, optimize
from clipopt.objective import Matching
from clipopt.pipelines.film.plan import FilmPlan
from clipopt.pipelines.film.timeline import Timeline
from clipopt.pipelines.image.loop import views
from clipopt.pipelines.run_loop import Status, Update, finite
from clipopt.record import Film, Run
from clipopt.scorers import Scorer, Target, target
from clipopt.types import Images, PerItem, generator

HELD_OUT_VIEWS = 8
LOOKS = 40
"""How often in a film the prompts are scored on held-out views."""
SHEET_COLUMNS = 6
"""Frames of the contact sheet for each prompt."""
GIF_FRAMES = 120
_HELD_OUT = -1


class Eye:
    """Scores a picture for every prompt of the film, on views that no step of it draws."""

    def __init__(self, scorer: Scorer, timeline: Timeline, seed: int) -> None:
        self.scorer = scorer
        self.target: Target = target(scorer, [dict(key.prompt) for key in timeline.keys])
        self._views = views(HELD_OUT_VIEWS, scorer)
        self._draw = self._views.sample(generator(seed, _HELD_OUT))

    @torch.no_grad()
    def __call__(self, image: Images) -> PerItem:
        """The weighted cosine of the picture with every prompt, averaged over the views."""
        embeddings = self.scorer.encode_image(self._views.apply(image.to(self.target.weights.device), self._draw))
        scores: Tensor = self.target.weights @ (self.target.embeddings @ embeddings.T).mean(1)
        return scores.cpu()


class FilmLoop:
    """A film in the making: `frames` is the loop; see `clipopt.pipelines.run_loop.Loop`."""

    unit = "frame"

    def __init__(
        self,
        plan: FilmPlan,
        timeline: Timeline,
        scorer: Scorer,
        *,
        judge: Scorer | None = None,
        init: Images | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.plan, self.timeline = plan, timeline
        self.count = max(1, round(timeline.end * plan.fps))
        self.scorer = Eye(scorer, timeline, plan.seed)
        self.judge = None if judge is None else Eye(judge, timeline, plan.seed)
        self._kind = {"pyramid": params.Pyramid, "pixels": params.Pixels, "fourier": params.Fourier}[plan.param]
        self.image = self._new(init).to(device)
        self.optimizer = torch.optim.Adam(self.image.parameters(), lr=plan.lr)
        self._views = views(plan.crops, scorer)

    def _new(self, init: Images | None) -> torch.nn.Module:
        plan = self.plan
        return self._kind(plan.height, plan.width, rng=generator(plan.seed), init=init)

    def frames(self, start: int = 0) -> Iterator[tuple[int, Step]]:
        """The loop: yields the number of every frame with the last step that it took; `picture` is the frame.

        Raises:
            FloatingPointError: a term or a gradient is not finite; names the step.
        """
        for frame in range(start, self.count):
            if frame:
                self._move()
            first, last = self.plan.steps_before(frame), self.plan.steps_before(frame + 1)
            loss = self._loss(frame / self.plan.fps)
            for step in optimize(loss, self.optimizer, steps=last, seed=self.plan.seed, start=first):
                taken = step
            yield frame, taken

    def _move(self) -> None:
        """Set the parameter to its picture as the moved camera sees it; the optimizer keeps its momentum."""
        plan = self.plan
        moved = augment.warp(self.picture(), zoom=plan.zoom, pan=plan.pan, rotate=math.radians(plan.rotate))
        moved = torch.lerp(moved, torch.full_like(moved, 0.5), plan.fade)
        self.image.load_state_dict(self._new(moved).state_dict())

    def _loss(self, second: float) -> Matching:
        prompts = self.scorer.target
        shares = torch.tensor([self.timeline.shares(second)]).to(prompts.weights)
        blended = Target(prompts.embeddings, shares @ prompts.weights)
        penalties = {"smooth": self._roughness} if self.plan.smooth else {}
        return Matching(self.image, self.scorer.scorer, blended, augment=self._views, penalties=penalties)

    def _roughness(self, images: Images) -> PerItem:
        detail = min(images.shape[-2:]) / self.scorer.scorer.image_size
        return self.plan.smooth * detail * losses.total_variation(images)

    @torch.no_grad()
    def picture(self) -> Images:
        """The picture as it is now, (1, 3, h, w)."""
        image: Images = self.image()
        return image

    @property
    def total(self) -> int:
        """Frames."""
        return self.count

    @property
    def label(self) -> str:
        """The first prompt."""
        return self.timeline.keys[0].label

    def extend(self, steps: int | None) -> None:
        """A film is as long as its timeline."""

    def images(self) -> Images:
        """The frame as it is now."""
        return self.picture()

    def updates(self, start: int = 0) -> Iterator[Update]:
        """`frames` as updates, with scores now and then."""
        look_every = max(1, self.count // LOOKS)
        for frame, step in self.frames(start):
            picture = finite(self.picture(), frame)
            scores = self._look(picture) if frame % look_every == 0 else {}
            yield Update(frame + 1, replace(step, index=frame), scores, {"loss": f"{float(step.loss):.3f}"})

    def record(self, run: Run, update: Update | None) -> None:
        """Write every frame."""
        if update is not None:
            run.frame(update.done - 1, self.picture())

    def _look(self, picture: Images) -> dict[str, PerItem]:
        scores = {"score": self.scorer(picture)}
        return scores if self.judge is None else scores | {"judge": self.judge(picture)}

    def peaks(self, done: int) -> list[int]:
        """The frame in which each prompt is at its best, of the prompts that have begun in `done` frames."""
        fps = self.plan.fps
        begun = sum(key.at * fps < done for key in self.timeline.keys)
        return [min(int(second * fps + 1e-6), done - 1) for second in self.timeline.peaks()[:begun]]

    def finish(self, run: Run, status: Status, reason: str) -> dict[str, Any]:
        """Write the film; returns the summary."""
        frames = run.frames()
        if not frames:
            raise OSError("no frame of the film is left")

        def nearest(wanted: int) -> int:
            return min(frames, key=lambda frame: abs(frame - wanted))

        peaks = [nearest(peak) for peak in self.peaks(run.step)]
        best = torch.cat([files.load_image(frames[peak]) for peak in peaks])
        looked = [self._look(image) for image in best.split(1)]
        scores = {name: [float(look[name][i]) for i, look in enumerate(looked)] for name in looked[0]}
        self._write_sheet(run, frames)
        return run.finish(
            best=best,
            labels=[key.label for key in self.timeline.keys][: len(peaks)],
            scores=scores | {"at second": [round(peak / self.plan.fps, 3) for peak in peaks]},
            status=status,
            reason=reason,
            film=Film(frames, "story", self.plan.fps, unit="frame", shown=GIF_FRAMES, hold=0),
        )

    def _write_sheet(self, run: Run, frames: Mapping[int, Any]) -> None:
        """A contact sheet of frames from the first to the last."""
        count = min(len(frames), SHEET_COLUMNS * len(self.timeline.keys))
        chosen = [list(frames)[round(i * (len(frames) - 1) / max(count - 1, 1))] for i in range(count)]
        images = torch.cat([files.load_image(frames[frame]) for frame in chosen])
        labels = [f"{frame / self.plan.fps:.1f} s" for frame in chosen]
        files.save(run.folder / "sheet.png", files.sheet(images, labels, columns=SHEET_COLUMNS, cell=192))

    def state(self) -> dict[str, Any]:
        """What `load_state` needs to go on, bit for bit on the CPU with as many threads."""
        return {"image": self.image.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.image.load_state_dict(state["image"])
        self.optimizer.load_state_dict(state["optimizer"])
