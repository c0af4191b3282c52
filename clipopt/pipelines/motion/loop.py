"""What `clipopt motion` does: search, refine, lock the feet, look, write."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from clipopt.geometry.skeleton import joint_rotations
from clipopt.io import files
from clipopt.io import motion as motions
from clipopt.io.rig import Rig, save_rig
from clipopt.loop import Step
from clipopt.params.motion import Motion, Stances
from clipopt.pipelines.motion.phases import backward_sentence
from clipopt.pipelines.motion.plan import MotionPlan
from clipopt.pipelines.motion.pose_bank import load_bank
from clipopt.pipelines.motion.refinement import FeetLock, Refinement, flat_footed, grounded, landed
from clipopt.pipelines.motion.results import evenly, film, measure, order_gaps, over_time
from clipopt.pipelines.motion.search import AGAIN, FRESH, SIGHTS, Program, Search, build
from clipopt.pipelines.motion.views import Watcher, pictures
from clipopt.pipelines.run_loop import Status, Update
from clipopt.record import Film, Run
from clipopt.render.figure import pose
from clipopt.scorers import SeesFilms
from clipopt.types import Images

_SIDE, _CELL, _SHOWN = 320, 192, 12
_LOOKS = (26.0, -50.0)  # azimuths from which feet are judged, degrees


class MotionLoop:
    """A motion in the making: a search for each phase, steps of the refinement, steps that lock the feet.

    Args:
        plan: The settings.
        prompt: The sentence.
        phases: What happens, one after the other.
        scorer: Who looks at pictures.
        film: Who looks at films, or None.
        judge: Who looks on, or None.
        rig: A skeleton that gets the motion too, or None.
    """

    unit = "look"

    def __init__(
        self,
        plan: MotionPlan,
        prompt: str,
        phases: Sequence[str],
        scorer: Any,
        film: Any,
        judge: Any,
        rig: Rig | None = None,
    ) -> None:
        self.plan, self.prompt, self.phases, self.judge, self.rig = plan, prompt, list(phases), judge, rig
        self.watcher = Watcher(scorer, film, min(224, scorer.image_size))
        step = plan.seconds / len(self.phases)
        self.spans = [(n * step, (n + 1) * step) for n in range(len(self.phases))]
        self.programs: list[Program] = []
        self._search: Search | None = None
        self._refinement: Refinement | None = None
        self._lock: FeetLock | None = None
        self._refined = self._locked = 0
        self._left: dict[str, Any] = {}

    @property
    def total(self) -> int:
        """Looks of the search and steps, all in all."""
        return len(self.phases) * self.plan.tries + self.plan.steps + self.plan.lock

    def extend(self, steps: int | None) -> None:
        """Let the refinement of a finished run take more steps, so many in all; the feet are then locked anew."""
        if steps is not None:
            self.plan = replace(self.plan, steps=steps)

    def expected_seconds(self) -> int:
        """About how long it takes on one core, from a count of its pictures."""
        seen = (SIGHTS * self.plan.tries + FRESH * AGAIN) * len(self.phases) + 3 * self.plan.steps
        views = self.watcher.frames * seen
        return round(0.008 * views + 0.03 * self.plan.lock + 0.012 * 30 * self.plan.seconds + 15)

    def draw(self) -> Iterator[tuple[int, Step | None]]:
        """All that is left to do: yields what is done, of `total`, and the step of the refinement, where it was one."""
        plan, count = self.plan, len(self.phases)
        bank = load_bank(self.watcher.scorer, plan.bank)
        while len(self.programs) < count:
            text = self.phases[len(self.programs)]
            self._search = Search(self.watcher, bank, text, plan.seconds / count, plan.seed)
            if "search" in self._left:
                self._search.load_state(self._left["search"])
            for looked in self._search.run(plan.tries):
                yield len(self.programs) * plan.tries + looked, None
            self.programs.append(self._search.best)
            self._search, self._left = None, {}
        self._refinement = self._begin()
        if "refinement" in self._left:
            self._refinement.load_state(self._left["refinement"])
        for step in self._refinement.run(plan.steps, plan.seed, self._refined):
            self._refined = step.index + 1
            yield count * plan.tries + self._refined, step
        if plan.lock:
            self._lock = FeetLock(self._grounded(), plan.fps, steps=plan.lock)
            if "lock" in self._left:
                self._lock.load_state(self._left["lock"])
            for step in self._lock.run(plan.seed, self._locked):
                self._locked = step.index + 1
                yield count * plan.tries + plan.steps + self._locked, None

    def make(self) -> Stances:
        """Search, refine and ground; every frame of the result."""
        for _ in self.draw():
            pass
        return self.stances()

    def stances(self) -> Stances:
        """Every frame, as it is by now: of a search that goes on the best so far."""
        return self._grounded() if self._lock is None else self._lock.stances()

    def _grounded(self) -> Stances:
        programs = self.programs + ([] if self._search is None else [self._search.best])
        motion = self._motion(programs) if self._refinement is None else self._refinement.motion
        with torch.no_grad():
            stances = motion()
        return grounded(self._stood(landed(stances, self.plan.fps)), go=self.plan.travel)

    @torch.no_grad()
    def _stood(self, stances: Stances) -> Stances:
        """With flat feet, unless who looks at films clearly likes it less: someone on tiptoe."""
        flat = flat_footed(stances, self.plan.fps)
        if not self.watcher.sees_films:
            return flat
        fits = []
        for one in (flat, stances):
            posed = pose(one.angles, one.root)[evenly(len(one), self.watcher.frames)]
            seen = torch.cat([pictures(posed, look, side=self.watcher.side) for look in _LOOKS])
            rows = self.watcher.film.encode_image(seen).unflatten(0, (len(_LOOKS), -1))
            fits.append(float(self.watcher.films(rows, self.prompt).mean()))
        return flat if fits[0] > fits[1] - 0.5 else stances

    def _begin(self) -> Refinement:
        several = len(self.phases) > 1
        text, instead = (self.prompt, [backward_sentence(self.phases)]) if several else (self.phases[0], [])
        return Refinement(self._motion(self.programs), self.watcher, self.phases, self.spans, text, instead)

    def _motion(self, programs: Sequence[Program]) -> Motion:
        plan = self.plan
        if not plan.loop:
            return build(programs, self.spans[: len(programs)], plan.seconds, plan.fps)
        program = programs[0]
        if program.rounds == 1:  # there and back
            back = program.beats[-2:0:-1] if len(program.beats) > 2 else ()
            program = replace(program, beats=program.beats + back)
        keys = program.keys(0.0, plan.seconds)[: program.rounds * len(program.beats)]
        step = plan.seconds / len(keys)
        keys = [replace(key, at=number * step) for number, key in enumerate(keys)]
        rows = program.rows
        return Motion(rows[:, :-6], rows[:, -6:], keys, seconds=plan.seconds, fps=plan.fps, loop=True)

    def state(self) -> dict[str, Any]:
        """What is needed to go on."""
        parts = {"search": self._search, "refinement": self._refinement, "lock": self._lock}
        return {
            "programs": [program.state() for program in self.programs],
            "refined": self._refined,
            "locked": self._locked,
            **{name: part.state() for name, part in parts.items() if part is not None},
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.programs = [Program.from_state(one) for one in state["programs"]]
        self._refined, self._locked, self._left = state["refined"], state["locked"], dict(state)
        if self._refined < self.plan.steps and self._left.pop("lock", None) is not None:  # of a run made longer
            self._locked = 0

    @property
    def label(self) -> str:
        """The sentence."""
        return self.prompt

    def images(self) -> Images:
        """The figure as it moves by now, a picture now and then."""
        stances = self.stances()
        return over_time(pose(stances.angles, stances.root), _SHOWN, _CELL)

    def updates(self, start: int = 0) -> Iterator[Update]:
        """`draw` as updates; where it goes on, `load_state` knows."""
        for done, step in self.draw():
            yield Update(done, step)

    def record(self, run: Run, update: Update | None) -> None:
        """The film is drawn at the end."""

    @torch.no_grad()
    def finish(self, run: Run, status: Status, reason: str) -> dict[str, Any]:
        """Write every file of the result; returns the summary."""
        stances = self.stances()
        posed = pose(stances.angles, stances.root)
        rotations = joint_rotations(stances.angles, stances.root)
        fps, folder = self.plan.fps, run.folder
        motions.save_bvh(folder / "result.bvh", rotations, posed.joints[:, 0], fps=fps)
        motions.save_glb(folder / "result.glb", rotations, posed.joints[:, 0], fps=fps)
        motions.save_npz(
            folder / "result.npz", posed.joints, fps=fps, angles=stances.angles, root=stances.root, rotations=rotations
        )
        if self.rig is not None:
            name = "rig.bvh" if self.rig.lines else "rig.glb"
            save_rig(folder / name, self.rig, posed.turns, posed.joints[:, 0], fps=fps)
        facts: dict[str, Any] = {"phases": self.phases, "measured": measure(posed, stances, fps)}
        scores: dict[str, Any] = {}
        for name, who in (("score", self.watcher.film), ("judge", self.judge)):
            if isinstance(who, SeesFilms):
                told = order_gaps(who, posed, self.prompt)
                scores[name] = [told["cosine"]]
                facts[f"{'judge' if name == 'judge' else 'scorer'} on order"] = told
        sheet = over_time(posed, _SHOWN, _CELL)
        seconds = [f"{n * (len(posed) - 1) / (_SHOWN - 1) / fps:.2f} s" for n in range(_SHOWN)]
        files.save(folder / "sheet.png", files.sheet(sheet, seconds, columns=6, cell=_CELL))
        with tempfile.TemporaryDirectory() as place:
            frames = {}
            for number, picture in enumerate(film(posed, _SIDE)):
                frames[number] = Path(place) / f"{number:06d}.png"
                files.save(frames[number], picture)
            made = Film(frames, name="result", fps=fps, unit="frame", hold=0 if self.plan.loop else 1)
            return run.finish(
                best=files.sheet(sheet[::2], columns=6, cell=_CELL), labels=[self.prompt], scores=scores, film=made,
                facts=facts, status=status, reason=reason,
            )  # fmt: skip
