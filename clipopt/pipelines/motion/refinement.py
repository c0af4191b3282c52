"""Gradients for motions that a search has found, and feet that stay where they stand."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F

from clipopt.geometry.body import default_skin
from clipopt.geometry.contact import FEET as _FEET
from clipopt.geometry.contact import LEVELS, fallen, footsteps, slides, touching, travel
from clipopt.geometry.posture import crossing, imbalance
from clipopt.geometry.skeleton import JOINTS, NAMES, limits, unbounded
from clipopt.loop import Step, optimize
from clipopt.params.motion import Frames, Motion, Stances
from clipopt.pipelines.motion.views import Look, Watcher, directed, random_look, seen_from
from clipopt.render.figure import Posed, pose

_RATES = (0.01, 0.003)  # of the angles and of the place, where feet are locked


@dataclass(frozen=True)
class Weights:
    """How much each term of the refinement counts.

    Attributes:
        film: The whole film against the whole text, and a part of it against its phase.
        pictures: Pictures of a phase against its text: where nobody sees films.
        direction: The change from phase to phase.
        acceleration: Of the joints, (m/s^2)^2.
        jerk: Of the joints, (m/s^3)^2.
        contact: Feet that slide, m/s.
        freeze: Joints slower than 0.12 m/s in the mean.
        rest: Away from standing, radians^2.
        stay: Away from what the search found, of the unbounded angles.
        root: Away from it, of lift, pitch and roll, metres^2 and radians^2.
        arrow: The whole film, where it has a direction, against itself backward.
        balance: The centre of mass outside of what carries it, metres.
        legs: Legs that cross, metres.
    """

    film: float | int = 1.0
    pictures: float | int = 1.0
    direction: float | int = 0.5
    acceleration: float | int = 4e-4
    jerk: float | int = 1e-6
    contact: float | int = 0.2
    freeze: float | int = 1.0
    rest: float | int = 0.2
    stay: float | int = 0.15
    root: float | int = 2.0
    arrow: float | int = 0.5
    balance: float | int = 3.0
    legs: float | int = 2.0


class Refinement:
    """A motion under gradients.

    Args:
        motion: What is learned.
        watcher: Who looks.
        phases: What happens, one after the other.
        spans: When, in seconds.
        text: The whole sentence.
        instead: What it must be told from besides: the same in another order.
        weights: Of the terms.
        lr: Rate of the poses; the root takes a third of it.
    """

    def __init__(
        self,
        motion: Motion,
        watcher: Watcher,
        phases: Sequence[str],
        spans: Sequence[tuple[float | int, float | int]],
        text: str,
        instead: Sequence[str] = (),
        weights: Weights | None = None,
        lr: float | int = 0.03,
    ) -> None:
        self.motion, self.watcher, self.phases, self.spans, self.text = motion, watcher, list(phases), list(spans), text
        self.instead, self.weights = list(instead), weights or Weights()
        self._start, self._root = motion.poses.detach().clone(), motion.root.detach().clone()
        self._standing = watcher_standing()
        groups: list[dict[str, Any]] = [
            {"params": [motion.poses, motion.waves], "lr": lr},
            {"params": [motion.root], "lr": lr / 3},
        ]
        self.optimizer = torch.optim.Adam(groups)

    def run(self, steps: int, seed: int, start: int = 0) -> Iterator[Step]:
        """Steps of Adam from `start` on; the motion changes in place."""
        return optimize(self.loss, self.optimizer, steps=steps, seed=seed, start=start)

    def state(self) -> dict[str, Any]:
        """What is needed to go on."""
        return {"motion": self.motion.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.motion.load_state_dict(state["motion"])
        self.optimizer.load_state_dict(state["optimizer"])

    def loss(self, step: int, rng: Generator) -> dict[str, Tensor]:
        """All terms of one step."""
        look, w = random_look(rng, self.watcher.side), self.weights
        terms = dict(self._seen(step, look, rng))
        stances = self.motion.at(torch.linspace(0, self.motion.seconds, max(8, int(15 * self.motion.seconds))))
        posed = pose(stances.angles, stances.root)
        rate = (len(stances) - 1) / self.motion.seconds
        moved = posed.joints.diff(dim=0) * rate
        terms["acceleration"] = w.acceleration * (moved.diff(dim=0) * rate).square().sum(-1).mean()
        terms["jerk"] = w.jerk * (moved.diff(n=2, dim=0) * rate**2).square().sum(-1).mean()
        hold = touching(posed.joints)
        both = hold[1:] * hold[:-1]
        terms["contact"] = w.contact * (both * slides(_gone(posed).joints, rate)).sum() / both.sum().clamp_min(1)
        speed = (moved.square().sum(-1) + 1e-9).sqrt().mean()
        terms["freeze"] = w.freeze * (0.12 - speed).clamp_min(0) / 0.12
        terms["balance"] = w.balance * imbalance(posed.joints).mean()
        terms["legs"] = w.legs * crossing(posed.joints).mean()
        terms["rest"] = w.rest * (stances.angles - self._standing).square().mean()
        terms["stay"] = w.stay * (self.motion.poses - self._start).square().mean()
        terms["root"] = w.root * (self.motion.root - self._root).square().sum(1).mean()
        return terms

    def _seen(self, step: int, look: Look, rng: Generator) -> dict[str, Tensor]:
        w, watcher, made = self.weights, self.watcher, {}
        several = len(self.phases) > 1
        if watcher.film is not None:
            part = int(torch.randint(len(self.phases), (), generator=rng)) if several and step % 2 else None
            span = (0.0, self.motion.seconds) if part is None else self.spans[part]
            text = self.text if part is None else self.phases[part]
            film = self._pictures(torch.linspace(*span, watcher.frames), look)
            if watcher.sees_films:
                rows = watcher.film.encode_image(film)[None]
                others = watcher.others(text)
                if part is None and self.instead:
                    others = torch.cat([others, watcher.text(self.instead)])
                both = torch.cat([watcher.text([text]), others])
                fits = 20 * watcher.film.encode_rows(rows) @ both.T
                made["film"] = w.film * F.cross_entropy(fits, torch.tensor([0]))
                if directed(text) or (several and part is None):
                    back = 20 * watcher.film.encode_rows(rows.flip(1)) @ both[0]
                    made["arrow"] = w.arrow * F.softplus(back - fits[:, 0]).mean()
            else:
                rivals = [text, *(p for p in self.phases if p != text), *self.instead, "a person standing"]
                made["film"] = w.film * F.cross_entropy(watcher.film.logits(film[None], rivals), torch.tensor([0]))
        peaks = torch.tensor([start + 0.8 * (end - start) for start, end in self.spans])
        if watcher.film is None or several:
            rows = watcher.scorer.encode_image(self._pictures(peaks, look))
            texts = watcher.text(self.phases)
            if watcher.film is None:
                made["pictures"] = w.pictures * (1 - (rows * texts).sum(1)).mean()
            if several:
                change, asked = rows.diff(dim=0), texts.diff(dim=0)
                made["direction"] = w.direction * (1 - F.cosine_similarity(change, asked, dim=1, eps=1e-4)).mean()
        return made

    def _pictures(self, seconds: Tensor, look: Look) -> Tensor:
        stances = self.motion.at(seconds)
        return seen_from(pose(stances.angles, stances.root), look, self.watcher.side)


def watcher_standing() -> Float[Tensor, " a"]:
    """Angles of a standing figure."""
    from clipopt.embedded.people import stance

    return stance("").angles


def _gone(posed: Posed) -> Posed:
    """The figure as it travels when what touches the ground stays where it is."""
    spots, heights = _spots(posed)
    way = travel(spots, heights)
    shift = torch.stack([way[:, 0], torch.zeros_like(way[:, 0]), way[:, 1]], 1)
    return replace(posed, joints=posed.joints + shift[:, None])


def _spots(posed: Posed) -> tuple[Tensor, Tensor]:
    skin = default_skin()
    carriers, places = skin.contacts
    spots = posed.joints[:, carriers] + (posed.turns[:, carriers] @ places.to(posed.joints)[..., None])[..., 0]
    return spots, spots[..., 1] - skin.radius.to(spots)


def flat_footed(stances: Stances, fps: float | int) -> Stances:
    """The same with level feet, where one rests near to the ground, its sole down; ankles stay inside their limits."""
    with torch.no_grad():
        posed = pose(stances.angles, stances.root)
        angles, (low, high) = stances.angles.clone(), limits()
        _, heights = _spots(posed)
        carriers = default_skin().contacts[0]
        for side in ("left", "right"):
            ankle, column = JOINTS.index(f"{side}_ankle"), NAMES.index(f"{side}_ankle")
            turn = posed.turns[:, ankle]
            toes = turn[:, :, 2]
            rise = torch.atan2(toes[:, 1], toes[:, [0, 2]].norm(dim=1))
            down = ((turn[:, 1, 1] - 0.4) / 0.3).clamp(0, 1)
            height = heights[:, carriers == ankle].amin(1)
            share = down * torch.exp(-((height / 0.08) ** 2))
            moved = posed.joints[:, ankle].diff(dim=0, append=posed.joints[-1:, ankle]).norm(dim=1) * fps
            share = _smooth(share / (1 + moved**2), 2)
            angles[:, column] = (angles[:, column] - share * rise).clamp(low[column], high[column])
    return Stances(angles, stances.root)


def _smooth(values: Float[Tensor, " f"], reach: int) -> Float[Tensor, " f"]:
    padded = F.pad(values[None, None], (reach, reach), mode="replicate")
    return F.avg_pool1d(padded, 2 * reach + 1, stride=1)[0, 0]


def landed(stances: Stances, fps: float | int) -> Stances:
    """The same without what hangs in the air: only jumps leave the ground."""
    root = stances.root.clone()
    root[:, 1] = fallen(root[:, 1], fps)
    return Stances(stances.angles, root)


def grounded(stances: Stances, *, go: bool = True) -> Stances:
    """The figure as it travels by its feet: what touches the ground stays where it is.

    Args:
        stances: A figure that does not travel.
        go: False leaves it where it is.
    """
    if not go:
        return stances
    with torch.no_grad():
        way = travel(*_spots(pose(stances.angles, stances.root)))
        root = stances.root.clone()
        root[:, 0] += way[:, 0]
        root[:, 2] += way[:, 1]
    return Stances(stances.angles, root)


class FeetLock:
    """Corrections of single frames, so that feet stand where they touch the ground; angles stay inside their limits.

    Feet are held where they are near to the ground, all frames stay near to what they were, and changes are smooth.

    Args:
        start: The motion, where it travels.
        fps: Frames per second.
        steps: How many there will be.
    """

    def __init__(self, start: Stances, fps: float | int, *, steps: int = 160) -> None:
        self.fps, self.steps = fps, steps
        self.frames = Frames(start)
        with torch.no_grad():
            self._start = pose(start.angles, start.root).joints
            self.plan = footsteps(self._start, fps)
        self._free = unbounded(start.angles, 0.02)
        self.optimizer = torch.optim.Adam(
            [{"params": [self.frames.change], "lr": _RATES[0]}, {"params": [self.frames.shift], "lr": _RATES[1]}]
        )

    def loss(self, step: int, rng: Generator) -> dict[str, Tensor]:
        """All terms of one step."""
        made, start, plan = self.frames(), self._start, self.plan
        joints = pose(made.angles, made.root).joints
        moved, was = joints.diff(n=2, dim=0), start.diff(n=2, dim=0)
        both = plan.stands[1:] * plan.stands[:-1]
        speeds, near = slides(joints, self.fps), touching(joints, 0.03)
        scuffs = (1 - both) * near[1:] * near[:-1] * speeds.detach().clamp_max(1.0)  # up with them
        off = (joints[:, _FEET][..., [0, 2]] - plan.places).square().sum(-1)
        low = (plan.above + torch.tensor(LEVELS) - joints[:, _FEET, 1]).clamp_min(0) * (1 - plan.stands)
        return {
            "slide": 6.0 * (both * speeds).sum() / both.sum().clamp_min(1),
            "scuff": 6.0 * scuffs.sum() / both.sum().clamp_min(1),
            "stand": 200.0 * (plan.stands * off).sum() / plan.stands.sum().clamp_min(1),
            "step": 400.0 * low.square().sum() / (1 - plan.stands).sum().clamp_min(1),
            "place": 12.0 * (joints - start).square().sum(-1).mean(),
            "smooth": 150.0 * (moved - was).square().sum(-1).mean(),
            "angles": 0.02 * (unbounded(made.angles, 0.02) - self._free).square().mean(),
        }

    def run(self, seed: int = 0, start: int = 0) -> Iterator[Step]:
        """Steps of Adam from `start` on, each smaller than the one before."""
        for step in optimize(self.loss, self.optimizer, steps=self.steps, seed=seed, start=start):
            for group, rate in zip(self.optimizer.param_groups, _RATES, strict=True):
                group["lr"] = rate * (1 - step.index / self.steps)
            yield step

    def stances(self) -> Stances:
        """Every frame as it is by now."""
        with torch.no_grad():
            made = self.frames()
        return Stances(made.angles.detach(), made.root.detach())

    def state(self) -> dict[str, Any]:
        """What is needed to go on."""
        return {"frames": self.frames.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.frames.load_state_dict(state["frames"])
        self.optimizer.load_state_dict(state["optimizer"])
