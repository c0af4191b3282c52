"""Search for motions: poses of the bank in turn, chosen by who looks at films; no gradients yet."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.geometry.posture import crossing, imbalance, overturned
from clipopt.geometry.skeleton import limits, mirror_angles, mirror_root
from clipopt.params.motion import Key, Motion
from clipopt.pipelines.motion.phases import Course, course
from clipopt.pipelines.motion.pose_bank import Bank, limbs
from clipopt.pipelines.motion.views import Look, Watcher, directed, random_look, seen_from
from clipopt.render.figure import pose
from clipopt.types import generator

SIGHTS, AGAIN, FRESH = 3, 12, 8
"""Looks at each film of a search; how many of the best are looked at again, and how often."""
_ECONOMY, _HASTE = 0.7, 0.15  # weights of what bends without need, and of speed beyond _FAST
_POSES, _START = 0.4, 0.5  # of each pose beyond two, and of not standing at the start
_STRANGE = 1.0  # of going otherwise than the action is known to
_ARROW, _SURE = 0.5, 2.0  # of fitting better than backward, and where that counts no more
_BALANCE, _LEGS = 4.0, 2.0  # of a metre out of balance, and of one by which legs cross
_OVERTURNED = 3.0  # of a metre by which the feet are above the head: people seldom are
_FAST = 2.5  # metres per second, in the mean of the joints
_TOGETHER = 8  # programs that are looked at together


@dataclass(frozen=True)
class Beat:
    """A pose at its turn: its number, whether it is mirrored, how far it is turned to the left, radians."""

    pose: int
    mirrored: bool = False
    yaw: float | int = 0.0


@dataclass(frozen=True)
class Program:
    """Poses and the order in which they come.

    Attributes:
        rows: Angles and root of each pose.
        beats: Their order; evenly spaced in time.
        rounds: How often the order is gone through.
        known: Whether it is how its action is known to go, some limbs aside.
    """

    rows: Float[Tensor, "p d"]
    beats: tuple[Beat, ...]
    rounds: int = 1
    known: bool = False

    def keys(self, start: float | int, end: float | int, first: int = 0) -> list[Key]:
        """Its keys between two seconds; numbers of poses begin at `first`."""
        turn = [replace(beat, yaw=beat.yaw + lap * self.lap) for lap in range(self.rounds) for beat in self.beats]
        if self.rounds > 1:
            turn.append(replace(self.beats[0], yaw=self.beats[0].yaw + self.rounds * self.lap))
        step = (end - start) / max(1, len(turn) - 1)
        return [Key(start + n * step, first + b.pose, b.mirrored, b.yaw) for n, b in enumerate(turn)]

    @property
    def lap(self) -> float:
        """How far a round turns the figure: where its beats turn, on by one more such step."""
        yaws = [beat.yaw for beat in self.beats]
        return (yaws[-1] - yaws[0]) * len(yaws) / (len(yaws) - 1) if len(yaws) > 1 and self.rounds > 1 else 0.0

    def state(self) -> dict[str, Any]:
        """As tensors and numbers."""
        beats = [[b.pose, b.mirrored, b.yaw] for b in self.beats]
        return {"rows": self.rows, "beats": beats, "rounds": self.rounds, "known": self.known}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Program":
        """The program that `state` was called on."""
        beats = tuple(Beat(*beat) for beat in state["beats"])
        return cls(state["rows"], beats, state["rounds"], state.get("known", False))


def build(
    programs: Sequence[Program],
    spans: Sequence[tuple[float | int, float | int]],
    seconds: float | int,
    fps: float | int,
) -> Motion:
    """The motion of programs, one after the other, each in its span of seconds."""
    keys: list[Key] = []
    rows: list[Tensor] = []
    for program, (start, end) in zip(programs, spans, strict=True):
        gap = min(0.35, (end - start) / 3) if keys else 0.0  # to come from one to the next
        keys += program.keys(start + gap, end, sum(map(len, rows)))
        rows.append(program.rows)
    every = torch.cat(rows)
    return Motion(every[:, :-6], every[:, -6:], keys, seconds=seconds, fps=fps)


def film_rows(watcher: Watcher, motions: Sequence[Motion], looks: Sequence[Look]) -> Tensor:
    """Rows of the frames of films (motions, looks, frames, d), by who looks at films."""
    seen = []
    for motion in motions:
        stances = motion.at(torch.linspace(0, motion.seconds, watcher.frames))
        posed = pose(stances.angles, stances.root)
        seen += [seen_from(posed, look, watcher.side) for look in looks]
    rows: Tensor = watcher.film.encode_image(torch.cat(seen))
    return rows.unflatten(0, (len(motions), len(looks), watcher.frames))


def economy(rows: Float[Tensor, "p d"], bank: Bank) -> float:
    """How much poses bend beyond standing: mean of angles, radians; the root counts by its tilt."""
    away = (rows[:, :-6] - bank.angles[0]).abs().mean() + 0.1 * rows[:, -2:].abs().mean()
    return float(away)


class Search:
    """The search for one phrase.

    Args:
        watcher: Who looks.
        bank: The poses.
        text: The phrase, with its subject.
        seconds: How long it shall take.
        seed: Of what is left to chance.
    """

    def __init__(self, watcher: Watcher, bank: Bank, text: str, seconds: float | int, seed: int) -> None:
        self.watcher, self.bank, self.text, self.seconds, self.seed = watcher, bank, text, seconds, seed
        self.rng = Random(f"search/{seed}/{text}")
        self.rows = torch.cat([bank.angles, bank.root], 1)
        self.scores = watcher.poses(bank.seen, text)
        self.found: list[tuple[float, Program]] = []
        self._course = course(text)
        looks = generator(seed, 0)
        self._looks = [random_look(looks, watcher.side) for _ in range(SIGHTS)]

    def run(self, tries: int) -> Iterator[int]:
        """Looks at simple programs first, then at changes of the best, `tries` in all; yields how many it has seen."""
        simple = self._simple()
        if not self.watcher.sees_films:
            self.found = [(0.0, simple[0])]
            yield tries
            return
        simple = simple[: max(1, tries // 2)]
        while len(self.found) < tries:
            seen = len(self.found)
            some = simple[seen : seen + _TOGETHER]
            self._score(some or [self._changed() for _ in range(min(_TOGETHER, tries - seen))])
            if len(self.found) >= tries:
                self._settle()
            yield len(self.found)

    @property
    def best(self) -> Program:
        """The best program so far."""
        return self.found[0][1]

    def state(self) -> dict[str, Any]:
        """What is needed to go on."""
        found = [{"total": total, **program.state()} for total, program in self.found]
        version, numbers, left = self.rng.getstate()
        return {"found": found, "chance": [version, list(numbers), left]}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        version, numbers, left = state["chance"]
        self.rng.setstate((version, tuple(numbers), left))
        self.found = [(one["total"], Program.from_state(one)) for one in state["found"]]

    def _score(self, programs: Sequence[Program]) -> None:
        self.found += self._totals(programs, self._looks)
        self.found.sort(key=lambda pair: -pair[0])

    def _settle(self) -> None:
        """Look again at the best: who is best of many by a few looks is so by these looks above all."""
        rng = generator(self.seed, 1)
        fresh = [random_look(rng, self.watcher.side) for _ in range(FRESH)]
        again = self._totals([program for _, program in self.found[:AGAIN]], fresh)
        self.found[:AGAIN] = sorted(again, key=lambda pair: -pair[0])

    @torch.no_grad()
    def _totals(self, programs: Sequence[Program], looks: Sequence[Look]) -> list[tuple[float, Program]]:
        motions = [build([p], [(0.0, self.seconds)], self.seconds, 30.0) for p in programs]
        rows = film_rows(self.watcher, motions, looks)
        fits = self.watcher.films(rows.flatten(0, 1), self.text).view(len(programs), -1).mean(1)
        if directed(self.text):  # and how much less well they fit backward
            back = self.watcher.films(rows.flip(2).flatten(0, 1), self.text).view(len(programs), -1).mean(1)
            fits = fits + _ARROW * (fits - back).clamp(-_SURE, _SURE)
        return [(f - self._cost(p, m), p) for f, p, m in zip(fits.tolist(), programs, motions, strict=True)]

    @torch.no_grad()
    def _cost(self, program: Program, motion: Motion) -> float:
        """Of what a program does beyond what it should."""
        stances = motion.at(torch.linspace(0, self.seconds, 24))
        joints = pose(stances.angles, stances.root).joints
        speed = float(joints.diff(dim=0).norm(dim=-1).mean()) * 23 / self.seconds
        cost = _BALANCE * float(imbalance(joints).mean()) + _LEGS * float(crossing(joints).mean())
        cost += _ECONOMY * economy(program.rows, self.bank) + _HASTE * max(0.0, speed - _FAST)
        cost += _OVERTURNED * float(overturned(joints).mean())
        cost += _POSES * max(0, len({beat.pose for beat in program.beats}) - 2)
        cost += _STRANGE * (self._course is not None and not program.known)
        if program.rounds == 1:
            first = program.rows[program.beats[0].pose]
            cost += _START * min(1.0, economy(first[None], self.bank))
        return cost

    def _simple(self) -> list[Program]:
        best = self.bank.best(self.scores, 6)
        made = []
        if self._course is not None:
            made += [replace(program, known=True) for program in self._courses(self._course)]
        stand = self.rows[:1]
        laps = max(1, round(self.seconds / 1.2))
        for number in best:
            pair = torch.cat([stand, self.rows[number : number + 1]])
            there, back = (Beat(0), Beat(1), Beat(1)), (Beat(1), Beat(0), Beat(0))
            made += [Program(pair, there), Program(pair, (Beat(0), Beat(1), Beat(0))), Program(pair, back)]
            made += [Program(pair[1:], (Beat(0), Beat(0, True)), laps), Program(pair, (Beat(0), Beat(1)), laps)]
        for one, other in pairwise(best):
            pair = self.rows[[one, other]]
            made += [Program(pair, (Beat(0), Beat(1)), laps), Program(pair, (Beat(0), Beat(1), Beat(1)))]
        for turn in (1.4, -1.4):
            made.append(Program(stand, (Beat(0, yaw=-turn), Beat(0, yaw=0.0), Beat(0, yaw=turn))))
            made.append(Program(stand, tuple(Beat(0, yaw=turn * 1.12 * n) for n in range(5))))
        return made

    def _courses(self, known: Course) -> list[Program]:
        """The known course with poses of the bank: the best way through the candidates of its pictures."""
        fits = [self.watcher.poses(self.bank.seen, f"a person {phrase}") for phrase in known.poses]
        made: list[Program] = []
        candidates = [self.bank.best(fit, 5) for fit in fits]
        candidates = [[0] if phrase == "standing" else c for phrase, c in zip(known.poses, candidates, strict=True)]
        for smooth in (0.0, 1.0, 4.0):
            way = viterbi(fits, candidates, self.bank.joints, smooth)
            if len(way) == 1 and known.loop and not known.mirrored:
                others = [c for c in candidates[0] if c != way[0]][:3]
                pairs = [self.rows[[way[0], c]] for c in others] + [self._arms(way[0], c) for c in others]
                made += [Program(pair, (Beat(0), Beat(1)), max(2, round(self.seconds / 1.1))) for pair in pairs]
                continue
            beats = tuple(map(Beat, range(len(way))))
            if known.mirrored:
                beats += tuple(Beat(n, True) for n in range(len(way)))
            laps = max(1, round(self.seconds / (0.65 * len(beats)))) if known.loop else 1
            made.append(Program(self.rows[way], beats, laps))
            if known.loop:  # over a pose between them
                between = torch.cat([self.rows[way], self.rows[:1]])
                relaxed = tuple(b for beat in beats for b in (beat, Beat(len(way))))
                made.append(Program(between, relaxed, laps))
        unique: list[Program] = []
        for program in made:
            if not any(len(p.rows) == len(program.rows) and torch.equal(p.rows, program.rows) for p in unique):
                unique.append(program)
        return unique

    def _arms(self, number: int, other: int) -> Float[Tensor, "2 d"]:
        """A pose, and the same with another's arms."""
        pair = self.rows[[number, number]]
        arms = [column for name, part in limbs().items() if name.endswith("arm") for column in part]
        pair[1, arms] = self.rows[other, arms]
        return pair

    def _changed(self) -> Program:
        """One of the best programs with something changed by chance."""
        rng = self.rng
        _, program = self.found[min(len(self.found) - 1, int(rng.expovariate(0.5)))]
        rows, beats, rounds = program.rows.clone(), list(program.beats), program.rounds
        which = rng.randrange(len(rows))
        way = rng.random()
        pool = self.scores.topk(min(150, len(self.scores))).indices
        donor = (
            self.rows[int(pool[rng.randrange(len(pool))])]
            if rng.random() < 0.6
            else self.rows[rng.randrange(len(self.rows))]
        )
        if rng.random() < 0.3:
            donor = torch.cat([mirror_angles(donor[:-6]), mirror_root(donor[-6:])])
        if way < 0.15:
            rows[which] = donor
        elif way < 0.45:  # a limb of another pose
            part = rng.choice(list(limbs().values()))
            rows[which, part] = donor[part]
        elif way < 0.6:  # a limb back to rest, or as in another beat
            part = rng.choice(list(limbs().values()))
            rows[which, part] = (self.rows[0] if rng.random() < 0.6 else rows[rng.randrange(len(rows))])[part]
        elif way < 0.8:
            low, high = limits()
            part = rng.choice(list(limbs().values()))
            noise = torch.tensor([rng.gauss(0, 0.35) for _ in part])
            rows[which, part] = (rows[which, part] + noise).clamp(low[part], high[part])
        elif way < 0.86 and len(beats) < 6:
            rows = torch.cat([rows, donor[None]])
            beats.insert(rng.randrange(len(beats) + 1), Beat(len(rows) - 1))
        elif way < 0.9 and len(beats) > 2:
            beats.pop(rng.randrange(len(beats)))
        elif way < 0.94:
            beats.reverse()
        elif way < 0.97:
            rounds = max(1, rounds + rng.choice((-1, 1)))
        else:
            place = rng.randrange(len(beats))
            beats[place] = replace(beats[place], mirrored=not beats[place].mirrored)
        known = program.known and (0.15 <= way < 0.8 or 0.94 <= way < 0.97)  # other limbs, other rounds
        return Program(rows, tuple(beats), min(rounds, max(1, int(self.seconds / (0.3 * len(beats))))), known)


def viterbi(
    fits: Sequence[Float[Tensor, " n"]],
    candidates: Sequence[Sequence[int]],
    joints: Float[Tensor, "n 22 3"],
    smooth: float | int,
) -> list[int]:
    """The way through one candidate of each step with the most fit, less `smooth` times the metres between steps.

    Args:
        fits: How well every pose fits each step.
        candidates: The poses to choose from at each step.
        joints: Where the joints of every pose are.
        smooth: What a metre costs, in the mean of the joints.
    """
    total = fits[0][list(candidates[0])]
    back: list[Tensor] = []
    for step in range(1, len(fits)):
        here, before = list(candidates[step]), list(candidates[step - 1])
        apart = (joints[here][:, None] - joints[before][None]).norm(dim=-1).mean(-1)
        reach, choice = (total[None] - smooth * apart).max(1)
        back.append(choice)
        total = fits[step][here] + reach
    index = int(total.argmax())
    way = [candidates[-1][index]]
    for step in range(len(fits) - 1, 0, -1):
        index = int(back[step - 1][index])
        way.append(candidates[step - 1][index])
    return way[::-1]
