"""`clipopt motion`: a figure that does what a sentence says."""

import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from clipopt.record import Run, check_out
from clipopt.rigs import load_rig
from clipopt.scorers import load_scorer
from clipopt.tasks.checks import require_positive
from clipopt.tasks.moving import Moving, Plan
from clipopt.tasks.phases import split_phases
from clipopt.tasks.words import check_words


@dataclass(frozen=True)
class MotionTask:
    """Make a motion from text: a figure that does what a sentence says, as BVH, animated GLB and joint positions.

    The sentence is taken apart at its "then". For each part a bank of poses is searched for what fits, pose after
    pose, as a scorer of films sees it; gradients through the renderer refine all of it together, and the feet are
    locked to the ground. Joint limits hold by construction. A second scorer, the judge, looks on and is never in the
    loss.

        clipopt motion "a person raises both arms, then squats"
        clipopt motion "a person walking" --seconds 4 --loop
        clipopt motion "a person waving with the left hand" --seconds 2
        clipopt motion "a person at the gym" --phases "a person squatting; a person raising both arms"
        clipopt motion "a person waves with both hands" --rig hero.glb
        clipopt motion "a person sits down" --scorer openai/clip-vit-base-patch32 --film microsoft/xclip-base-patch32

    The last line names the folder: result.bvh and result.glb open in Blender, result.npz holds the 22 joints in
    HumanML3D's order; result.mp4, result.gif, sheet.png (over time), report.html, summary.json.
    """

    prompt: str
    """What the figure does, such as "a person raises both arms, then squats"."""
    seconds: float = 3.0
    """Length of the motion."""
    fps: float = 30.0
    """Frames per second."""
    phases: str | None = None
    """The parts of the motion, with semicolons between them, in place of the prompt's own."""
    loop: bool = False
    """Make the end go over into the start without a seam; one part only."""
    rig: Path | None = None
    """A skeleton of yours, BVH or GLB, upright and facing +z at rest, its bones named as usual (LeftUpLeg, thigh.L,
    left_hip, ...): it is written with the motion as rig.bvh or rig.glb."""
    scorer: str = "embedded-motion"
    """Who looks at pictures: embedded-motion knows people; or a real model, see `clipopt image --help`."""
    film: str = "auto"
    """Who looks at films: auto is the scorer itself where it sees order; or an X-CLIP, by hub id or folder; or none."""
    judge: str = "embedded-motion-judge"
    """Who looks on and reports, or "none"."""
    bank: int = Plan.bank
    """Poses to search among; drawn and encoded once for each scorer, then kept in ~/.cache/clipopt."""
    tries: int = Plan.tries
    """Motions that the search looks at, for each part."""
    steps: int = Plan.steps
    """Steps of the refinement by gradients; 0 leaves what the search found."""
    in_place: bool = False
    """Keep the figure where it is; without, it goes where its feet carry it."""
    lock: int = Plan.lock
    """Steps that lock the feet to the ground; 0 leaves them."""
    seed: int = Plan.seed
    """The same seed gives the same motion."""
    out: Path | None = None
    """Folder to write, exactly; by default a new one, outputs/motion/<time>-<prompt>."""
    overwrite: bool = False
    """Replace the run that --out holds."""
    dry_run: bool = False
    """Check everything, say what would be done, and write nothing."""
    json: bool = False
    """Print the summary alone on stdout."""
    quiet: bool = False
    """No progress bar."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the work.

        Raises:
            ValueError: a setting is wrong, in one line.
        """
        plan, phases = self._plan()
        check_out(self.out, overwrite=self.overwrite)
        rig = None if self.rig is None else load_rig(self.rig)
        scorer = load_scorer(self.scorer)
        film = self._film(scorer)
        judge = None if self.judge == "none" else load_scorer(self.judge)
        judge = check_words([self.prompt, *phases], scorer, judge)
        if judge is not None and not hasattr(judge, "encode_video"):
            raise ValueError(f"--judge must see films: expected embedded-motion-judge or none, got {self.judge}")
        fingerprints = {"scorer": scorer.fingerprint} | ({} if judge is None else {"judge": judge.fingerprint})
        if film is not None and film is not scorer:
            fingerprints["film"] = film.fingerprint
        moving = Moving(plan, self.prompt, phases, scorer, film, judge, rig)
        if self.dry_run:
            told = {"phases": phases, "settings": asdict(plan), "seconds expected": moving.expected_seconds()}
            return lambda: _say(json.dumps(told, indent=None if self.json else 2))

        def work() -> None:
            run = Run.create(
                self.out, "motion", self.prompt, {"prompt": self.prompt, "phases": phases, **asdict(plan)},
                command=["clipopt", *sys.argv[1:]], fingerprints=fingerprints, overwrite=self.overwrite,
            )  # fmt: skip
            summary = moving.run(run, quiet=self.quiet or self.json)
            _say(json.dumps(summary, ensure_ascii=False) if self.json else str(run.folder))

        return work

    def _plan(self) -> tuple[Plan, list[str]]:
        if not self.prompt.strip():
            raise ValueError('say what to do, for example: clipopt motion "a person raises both arms, then squats"')
        require_positive(seconds=self.seconds, fps=self.fps, tries=self.tries, bank=self.bank)
        phases = split_phases(self.prompt, self.phases)
        for name in ("steps", "lock"):
            if getattr(self, name) < 0:
                raise ValueError(f"--{name} must be 0 or more, got {getattr(self, name)}")
        if not 0.5 * len(phases) <= self.seconds <= 60:
            raise ValueError(
                f"--seconds must lie in {0.5 * len(phases):g} to 60 for {len(phases)} phases, got {self.seconds:g}"
            )
        if not 5 <= self.fps <= 240:
            raise ValueError(f"--fps must lie in 5 to 240, got {self.fps:g}")
        if self.loop and len(phases) > 1:
            raise ValueError(f"--loop takes one part, got {len(phases)}: {'; '.join(phases)}")
        plan = Plan(
            seconds=self.seconds, fps=self.fps, loop=self.loop, tries=self.tries, steps=self.steps,
            travel=not self.in_place, lock=self.lock, seed=self.seed, bank=self.bank,
        )  # fmt: skip
        return plan, phases

    def _film(self, scorer: Any) -> Any:
        if self.film == "none":
            return None
        if self.film == "auto":
            return scorer if hasattr(scorer, "encode_video") else None
        from clipopt.scorers.xclip import load_xclip

        return load_xclip(self.film)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
