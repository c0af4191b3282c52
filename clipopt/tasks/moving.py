"""What `clipopt motion` does: search, refine, lock the feet, look, write."""

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt import files, motions
from clipopt.geometry.contact import foot_skate, jerk
from clipopt.geometry.skeleton import joint_rotations, limits
from clipopt.params.motion import Motion, Stances
from clipopt.record import Film, Run
from clipopt.render.figure import Posed, pose
from clipopt.rigs import Rig, save_rig
from clipopt.tasks.choreography import Program, Search, build
from clipopt.tasks.phases import backward_sentence
from clipopt.tasks.posebank import SIZE, load_bank
from clipopt.tasks.refining import Refinement, grounded, lock_feet
from clipopt.tasks.watching import Watcher, pictures
from clipopt.types import Images

JUDGED = (-48.0, -22.0, 22.0, 48.0)
"""Azimuths from which a finished motion is judged, degrees; no step of the making looks from exactly there."""
_SIDE, _CELL, _SHOWN = 320, 192, 12


@dataclass(frozen=True)
class Plan:
    """Settings of a motion.

    Attributes:
        seconds: Its length.
        fps: Frames per second.
        loop: Whether its end goes over into its start.
        tries: Motions that the search looks at, for each phase.
        steps: Steps of the refinement.
        travel: Whether the figure goes where its feet carry it.
        lock: Steps that lock the feet.
        seed: Of what is left to chance.
        bank: Poses to search among.
    """

    seconds: float | int = 3.0
    fps: float | int = 30.0
    loop: bool = False
    tries: int = 140
    steps: int = 60
    travel: bool = True
    lock: int = 160
    seed: int = 0
    bank: int = SIZE


class Moving:
    """A motion in the making.

    Args:
        plan: The settings.
        prompt: The sentence.
        phases: What happens, one after the other.
        scorer: Who looks at pictures.
        film: Who looks at films, or None.
        judge: Who looks on, or None.
        rig: A skeleton that gets the motion too, or None.
    """

    def __init__(
        self,
        plan: Plan,
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

    def expected_seconds(self) -> int:
        """About how long it takes on one core, from a count of its pictures."""
        views = 2 * self.watcher.frames * self.plan.tries * len(self.phases) + 3 * self.watcher.frames * self.plan.steps
        return round(0.008 * views + 0.03 * self.plan.lock + 0.012 * 30 * self.plan.seconds + 15)

    def make(self, quiet: bool = True, run: Run | None = None) -> Stances:
        """Search, refine and ground; every frame of the result."""
        from tqdm import tqdm

        plan, count = self.plan, len(self.phases)
        total = count * plan.tries + plan.steps + plan.lock
        with tqdm(total=total, unit="look", disable=quiet, file=sys.stderr) as bar, torch.random.fork_rng(devices=[]):
            bank = load_bank(self.watcher.scorer, plan.bank)
            self.programs = []
            for number, text in enumerate(self.phases):
                done = number * plan.tries
                search = Search(self.watcher, bank, text, plan.seconds / count, plan.seed)
                self.programs.append(search.run(plan.tries, partial(_advance, bar, done)))
            motion = self._motion()
            instead = [backward_sentence(self.phases)] if count > 1 else []
            text = self.prompt if count > 1 else self.phases[0]
            refinement = Refinement(motion, self.watcher, self.phases, self.spans, text, instead)
            for step in refinement.run(plan.steps, plan.seed):
                bar.update(count * plan.tries + step.index + 1 - bar.n)
                if run is not None:
                    run.log(step.index, step.loss, step.terms)
            with torch.no_grad():
                stances = motion()
                stances = Stances(stances.angles.detach(), stances.root.detach())
            stances = grounded(stances, go=plan.travel)
            if plan.lock:
                stances = lock_feet(
                    stances, plan.fps, steps=plan.lock,
                    said=partial(_advance, bar, count * plan.tries + plan.steps),
                )  # fmt: skip
        return stances

    def _motion(self) -> Motion:
        plan = self.plan
        if not plan.loop:
            return build(self.programs, self.spans, plan.seconds, plan.fps)
        program = self.programs[0]
        if program.rounds == 1:  # there and back
            back = program.beats[-2:0:-1] if len(program.beats) > 2 else ()
            program = replace(program, beats=program.beats + back)
        keys = program.keys(0.0, plan.seconds)[: program.rounds * len(program.beats)]
        step = plan.seconds / len(keys)
        keys = [replace(key, at=number * step) for number, key in enumerate(keys)]
        rows = program.rows
        return Motion(rows[:, :-6], rows[:, -6:], keys, seconds=plan.seconds, fps=plan.fps, loop=True)

    def run(self, run: Run, *, quiet: bool = False) -> dict[str, Any]:
        """`make` with a folder; returns what summary.json holds."""
        stances = self.make(quiet, run)
        return self.write(run, stances)

    @torch.no_grad()
    def write(self, run: Run, stances: Stances) -> dict[str, Any]:
        """Every file of the result."""
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
            if who is not None and hasattr(who, "encode_video") and hasattr(who, "encode_text"):
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
            run.step = max(run.step, self.plan.steps)
            return run.finish(
                best=files.sheet(sheet[::2], columns=6, cell=_CELL), labels=[self.prompt], scores=scores, film=made,
                facts=facts,
            )  # fmt: skip


def _advance(bar: Any, before: int, done: int) -> None:
    bar.update(before + done - bar.n)


def measure(posed: Posed, stances: Stances, fps: float | int) -> dict[str, float | int]:
    """What is wrong with a motion, in numbers."""
    low, high = limits()
    beyond = (stances.angles < low - 1e-5) | (stances.angles > high + 1e-5)
    moved = posed.joints.diff(dim=0).norm(dim=-1).mean()
    return {
        "foot skate, cm/s": round(foot_skate(posed.joints, fps), 3),
        "jerk, m/s^3": round(jerk(posed.joints, fps), 2),
        "limit violations": int(beyond.sum()),
        "mean joint speed, m/s": round(float(moved) * fps, 3),
        "lowest point, cm": round(100 * float(posed.joints[..., 1].amin()), 2),
    }


def film(posed: Posed, side: int, azimuth: float | int = 32.0) -> list[Float[Tensor, "3 _ _"]]:
    """Every frame as a picture; the camera goes along."""
    return [picture for part in range(0, len(posed), 30) for picture in _shown(posed[part : part + 30], side, azimuth)]


def over_time(posed: Posed, count: int, side: int, azimuth: float | int = 32.0) -> Images:
    """Frames evenly over time."""
    return _shown(posed[_evenly(len(posed), count)], side, azimuth)


def _shown(posed: Posed, side: int, azimuth: float | int) -> Images:
    backdrop = torch.linspace(0.95, 0.8, 2 * side)[None, None, :, None].expand(1, 3, -1, 2 * side).contiguous()
    large = pictures(posed, azimuth, side=2 * side, background=backdrop, fine=True)
    return torch.nn.functional.avg_pool2d(large, 2).clamp(0, 1)


def _evenly(frames: int, count: int) -> Tensor:
    return torch.linspace(0, frames - 1, count).round().long()


@torch.no_grad()
def film_embeddings(who: Any, posed: Posed) -> Float[Tensor, "v f d"]:
    """Rows of the frames of a film, from each of `JUDGED`, as `who` sees them."""
    some = posed[_evenly(len(posed), who.frames)]
    seen = torch.cat([pictures(some, azimuth, side=who.image_size, elevation=6.0) for azimuth in JUDGED])
    rows: Tensor = who.encode_image(seen)
    return rows.unflatten(0, (len(JUDGED), -1))


@torch.no_grad()
def order_gaps(who: Any, posed: Posed, text: str, rows: Tensor | None = None) -> dict[str, float]:
    """How well a film fits a text, by how much less it does backward, and by how much less than its best frame held."""
    rows = film_embeddings(who, posed) if rows is None else rows
    asked = who.encode_text([text])[0]

    def fit(some: Tensor) -> float:
        return float((who.encode_rows(some) @ asked).mean())

    forward = fit(rows)
    held = max(fit(rows[:, n : n + 1].expand_as(rows)) for n in range(rows.shape[1]))
    return {
        "cosine": round(forward, 4),
        "reversed-time gap": round(forward - fit(rows.flip(1)), 4),
        "frozen-pose gap": round(forward - held, 4),
    }
