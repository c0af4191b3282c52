"""The embedded scorers of films: one that guides `clipopt motion`, and its judge.

Pictures of poses must be named among all poses; films among all actions and poses, and be told from the same film
backward, from one frame of it held, and from the same two things in the other order. First plainly, then against
perturbations ("free" replay, Shafahi et al., arXiv:1904.12843, in the L2 ball), for what guides must not be fooled.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clipopt.embedded.moves import ALIKE, deeds, sentence, vocabulary
from clipopt.embedded.people import poses
from clipopt.geometry.skeleton import JOINTS
from clipopt.io import files
from clipopt.pipelines.progress import progress
from clipopt.scorers.film import FilmConfig, FilmTowers, load_film_scorer
from clipopt.scorers.tower import TowerConfig
from clipopt.types import Images, generator
from recipes.embedded import films, training
from recipes.embedded.film_measure import measure
from recipes.embedded.films import Film, Films
from recipes.embedded.perturbations import project, unit
from recipes.embedded.trainer import descend, optimizers_of, seeded, set_rates, track

_MUON, _MAX_SCALE = 25.0, 60.0
UNSEEN = 7
"""The world that a finished training is measured on; nobody trains there."""


@dataclass(frozen=True)
class Lesson:
    """All settings of one training.

    Attributes:
        towers: Architecture of the towers.
        film: Architecture of the head.
        seed: Of weights and draws.
        world: Of the pictures.
        batches: Plain batches, then those against perturbations.
        eps: Radius of the L2 ball of perturbations of a picture.
        films: Films drawn for it.
        stills: Stills drawn for it.
        lr: Peak learning rate.
        batch: Films, and stills, of a batch.
    """

    towers: TowerConfig
    film: FilmConfig
    seed: int
    world: int
    batches: tuple[int, int] = (6500, 500)
    eps: float | int = 1.0
    films: int = 5000
    stills: int = 20000
    lr: float | int = 2e-3
    batch: tuple[int, int] = (12, 64)

    def shortened(self, factor: float | int) -> "Lesson":
        """The same with `factor` times the batches and pictures, at least a few of each."""
        plain, hard = (max(2, round(n * factor)) for n in self.batches)
        return replace(
            self,
            batches=(plain, hard),
            films=max(1, round(self.films * factor)),
            stills=max(1, round(self.stills * factor)),
        )


def lesson(which: str) -> Lesson:
    """The settings of "motion" and "motion-judge", which share neither architecture, seed nor pictures."""

    def towers(dim: int) -> TowerConfig:
        # The pooled picture tower is not used: see `FigureTower`.
        return TowerConfig(
            widths=(8,), depths=(1,), dim=dim, text_width=96, context=32, vocabulary=vocabulary()
        )  # fmt: skip

    if which == "motion":
        return Lesson(towers(128), FilmConfig(), seed=10, world=11)
    if which == "motion-judge":
        film = FilmConfig(
            kind="recurrent", width=96, layers=1, convolutions=((8, 4, 40), (3, 2, 64)), hidden=160, activation="relu"
        )
        return Lesson(towers(112), film, seed=20, world=12, batches=(5000, 300), eps=0.7, films=4200, stills=16000)
    raise ValueError(f"expected 'motion' or 'motion-judge', got {which!r}")


class Trainer:
    """One training run; `run()` yields after every batch, `state()` resumes it exactly."""

    def __init__(self, lesson: Lesson, films: Films, *, amp: bool = True) -> None:
        self.lesson, self.films, self.amp = lesson, films, amp
        self.model, self.guides = seeded(lesson.seed, lambda: (FilmTowers(lesson.towers, lesson.film), _guides(lesson)))
        self.average = copy.deepcopy(self.model).requires_grad_(False)
        apart = ("embedding", "position", "image.body.0", "image.hidden", "time", "bias_", "weight_hh", "weight_ih")
        self.optimizers = optimizers_of(
            self.model, lambda name: not any(part in name for part in apart), amp=amp, others=self.guides.parameters()
        )
        self.done = self.updates = 0
        self._labels = list(deeds())
        self._alike = torch.eye(len(self._labels), dtype=torch.bool)
        for pair in ALIKE:
            one, other = map(self._labels.index, pair)
            self._alike[one, other] = self._alike[other, one] = True
        self._poses = torch.tensor([self._labels.index(one.phrase) for one in poses()])

    def run(self) -> Iterator[dict[str, float]]:
        """Train to the end of the lesson; yields figures after every batch."""
        while self.done < sum(self.lesson.batches):
            yield self._batch()

    def _batch(self) -> dict[str, float]:
        plain, hard = self.lesson.batches
        rng, said = generator(self.lesson.seed, self.done), Random(f"{self.lesson.seed}/{self.done}")
        count, singles = self.lesson.batch
        numbers = torch.randint(len(self.films.told), (count,), generator=rng)
        told = [self.films.told[n] for n in numbers.tolist()]
        frames = self.films.take(numbers)
        stills, names, joints = self.films.draw_stills(singles, rng)
        joints = torch.cat([self.films.joints[numbers].flatten(0, 1), joints])
        seen = torch.cat([
            _jitter(frames.float() / 255, rng).flatten(0, 1), _jitter(stills[:, None].float() / 255, rng)[:, 0]
        ])  # fmt: skip
        attacked = self.done >= plain
        progress = (self.done - plain * attacked) / (hard if attacked else plain)
        eps = self.lesson.eps * min(1.0, progress / 0.2) if attacked else 0.0
        delta = torch.zeros_like(seen)
        figures: dict[str, float] = {}
        for replay in range(2 if attacked else 1):
            self._set_lr(progress, 0.6 if attacked else 1.0)
            shown = (seen + delta).requires_grad_(attacked)
            loss, parts = self._loss(shown, told, names, joints, said)
            if replay == 0:
                figures = parts
            descend(loss, self.optimizers, self.model, self.guides)
            self.updates += 1
            if shown.grad is not None:
                delta = project(delta + 0.75 * eps * unit(shown.grad), eps)
                delta = (seen + delta).clamp(0, 1) - seen
            track(self.average, self.model, min(0.99, self.updates / (self.updates + 20)))
        self.done += 1
        return figures

    def _set_lr(self, progress: float | int, share: float | int) -> None:
        warm = min(1.0, (self.updates + 1) / 60)
        lr = self.lesson.lr * share * warm * (0.5 + 0.5 * math.cos(math.pi * progress)) + 1e-5
        set_rates(self.optimizers, lr, _MUON)

    def _loss(
        self, seen: Images, told: Sequence[Film], names: Tensor, joints: Tensor, said: Random
    ) -> tuple[Tensor, dict[str, float]]:
        count = len(told)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.amp):
            rows = self.model.towers.image(seen).float()
        placed = self.guides["joints"](rows * rows.shape[1] ** 0.5).view_as(joints)
        place = (placed - joints + self.films.still_joints.mean(0)).square().sum(-1).mean()
        stills = rows[count * self.lesson.film.frames :]
        kind = F.cross_entropy(self.guides["poses"](stills * rows.shape[1] ** 0.5), names)
        rows = rows[: count * self.lesson.film.frames].unflatten(0, (count, -1))
        double = [n for n, film in enumerate(told) if len(film.phrases) > 1]
        texts = [sentence([phrase], said) for phrase in self._labels]
        texts += [sentence(told[n].phrases, said) for n in double]
        texts += [sentence(told[n].phrases[::-1], said) for n in double]
        with torch.autocast("cpu", torch.bfloat16, enabled=self.amp):
            text = self.model.towers.text(self.model.towers.tokenize(texts)).float()
        scale = self.model.towers.log_scale.exp().clamp(max=_MAX_SCALE)
        own = torch.tensor([
            len(self._labels) + double.index(n) if n in double else self._labels.index(film.phrases[0])
            for n, film in enumerate(told)
        ])  # fmt: skip
        held = rows[:, torch.randint(rows.shape[1], (1,), generator=generator(self.done, count))].expand_as(rows)
        known = [(n, film.backward) for n, film in enumerate(told) if film.backward in deeds()]
        backward = rows.flip(1)
        films = self.model.head(torch.cat([rows, backward, held]))
        forward, backward, held = films.split(count)
        logits = scale * forward @ text.T
        single = (own < len(self._labels)).nonzero()[:, 0]
        also = torch.zeros_like(logits, dtype=torch.bool)
        also[single, : len(self._labels)] = self._alike[own[single]]
        also[torch.arange(count), own] = False
        logits = logits.masked_fill(also, -1e4)
        naming = F.cross_entropy(logits, own)
        if known:
            which = torch.tensor([n for n, _ in known])
            partner = torch.tensor([self._labels.index(phrase) for _, phrase in known])
            naming = naming + len(known) / count * F.cross_entropy(scale * backward[which] @ text.T, partner)
        # Each film's caption must prefer it to the others, to itself backward and to one of its frames held.
        mine = text[own]
        others = scale * mine @ forward.T
        same = (own[:, None] == own[None]) | also[:, own]
        same &= ~torch.eye(count, dtype=torch.bool)
        turned = torch.tensor([film.backward == "" for film in told])
        frozen = torch.tensor([film.still for film in told])
        wrong = torch.stack([
            (scale * (mine * backward).sum(1)).masked_fill(turned, -1e4),
            (scale * (mine * held).sum(1)).masked_fill(frozen, -1e4),
        ], 1)  # fmt: skip
        ranking = F.cross_entropy(torch.cat([others.masked_fill(same, -1e4), wrong], 1), torch.arange(count))
        poses_ = text[self._poses]
        posing = F.cross_entropy(scale * stills @ poses_.T, names)
        with torch.no_grad():
            figures = {
                "place": float(place),
                "posing": float(posing), "naming": float(naming), "ranking": float(ranking),
                "poses": float(((stills @ poses_.T).argmax(1) == names).float().mean()),
                "films": float((logits.argmax(1) == own).float().mean()),
            }  # fmt: skip
        return posing + naming + 0.5 * ranking + 3 * place + 0.5 * kind, figures

    def state(self) -> dict[str, Any]:
        """Everything that `resume` needs."""
        return {
            "model": self.model.state_dict(),
            "guides": self.guides.state_dict(), "average": self.average.state_dict(), "done": self.done,
            "updates": self.updates, "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }  # fmt: skip

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["average"])
        self.guides.load_state_dict(state["guides"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.done, self.updates = state["done"], state["updates"]

    def result(self) -> tuple[FilmTowers, dict[str, str]]:
        """The averaged weights, and what stands beside them in their file."""
        return copy.deepcopy(self.average), {"seed": str(self.lesson.seed), "world": str(self.lesson.world)}


def _guides(lesson: Lesson) -> nn.ModuleDict:
    """Further tasks of the picture tower, for training alone: where the joints are, and which pose it is."""
    joints = nn.Sequential(nn.Linear(lesson.towers.dim, 192), nn.SiLU(), nn.Linear(192, 3 * len(JOINTS)))
    return nn.ModuleDict({"joints": joints, "poses": nn.Linear(lesson.towers.dim, len(poses()))})


def _jitter(films: Tensor, rng: Generator) -> Tensor:
    """Every film (b, f, 3, s, s) a little aside, brighter or darker, in other colours, and noisy."""
    count, _, _, side, _ = films.shape
    gain = 1 + 0.25 * torch.randn(count, 1, 1, 1, 1, generator=rng).clamp(-2, 2)
    lift = 0.08 * torch.randn(count, 1, 3, 1, 1, generator=rng)
    films = (films - 0.5) * gain + 0.5 + lift
    films = films + 0.04 * torch.rand(count, 1, 1, 1, 1, generator=rng) * torch.randn(films.shape, generator=rng)
    padded = F.pad(films.clamp(0, 1).flatten(0, 1), (5, 5, 5, 5), mode="replicate").unflatten(0, films.shape[:2])
    offsets = torch.randint(0, 11, (count, 2), generator=rng).tolist()
    return torch.stack([p[..., y : y + side, x : x + side] for p, (y, x) in zip(padded, offsets, strict=True)])


@dataclass(frozen=True)
class MotionTraining(training.Training):
    """Train the embedded scorer of films, or its judge, from nothing.

    Draws people in named poses, and films of what they do, with the package's own figure; then trains a picture tower,
    a word tower and a head that sees order together, first plainly, then against perturbations. The two share neither
    architecture, seed nor pictures. The folder that the last line names holds motion.safetensors (or motion-judge),
    which `clipopt motion` takes as --scorer or --judge.

    It takes about 25 minutes of one free CPU core (motion) or 18 (motion-judge), drawing included. The same seed gives
    the same weights on one machine. To try the machinery first: --share 0.01
    """

    device: Literal["cpu"] = "cpu"
    """Where to train."""
    pictures: Path | None = None
    """Folder to keep the drawn films in, for further trainings; by default they are deleted at the end."""
    save_every: int = 50
    """Batches between checkpoints."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the training."""
        task, settings = training.settle(self)
        asked = training.fit(lesson(task.which), settings)
        return lambda: _train(task, settings, asked)


def _train(task: MotionTraining, settings: dict[str, Any], lesson: Lesson) -> None:
    with training.folder(task, settings, "checkpoint.pt") as out:
        folder = task.pictures or out / "pictures"
        with progress(None, name="drawing", unit="file", quiet=task.json) as bar:
            for done, total in films.draw(lesson.world, lesson.films, lesson.stills, folder):
                bar.total = total
                bar.update(done - bar.n)
        trainer = Trainer(lesson, Films(lesson.world, folder), amp=settings["precision"] == "bfloat16")
        seconds = training.run(task, trainer, sum(lesson.batches), out / "checkpoint.pt")
        model, facts = trainer.result()
        path = out / f"{task.which}.safetensors"
        with files.atomic(path) as temporary:
            model.save(temporary, facts)
        scorer, count = load_film_scorer(path), max(4, round(200 * settings["share"]))
        measured = {"fingerprint": scorer.fingerprint, **measure(scorer, UNSEEN, count, 2 * count)}
        training.finish(
            task, out, file=str(path), batches=trainer.done, **measured, seconds_of_training=round(seconds, 1)
        )
