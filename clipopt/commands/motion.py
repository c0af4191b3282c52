"""`clipopt motion`: a figure that does what a sentence says."""

import dataclasses
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clipopt.pipelines.checks import require_positive
from clipopt.pipelines.config import anchored, as_config, of_run, refuse_beside_resume
from clipopt.pipelines.motion.phases import split_phases
from clipopt.pipelines.motion.plan import MotionPlan
from clipopt.pipelines.vocabulary import check_words

if TYPE_CHECKING:
    from clipopt.pipelines.motion.loop import MotionLoop
    from clipopt.record import Run


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
        clipopt motion "a person" --phases "a person squatting; a person raising both arms"
        clipopt motion "a person waves with both hands" --rig hero.glb
        clipopt motion "a person sits down" --scorer openai/clip-vit-base-patch32 --film microsoft/xclip-base-patch32
        clipopt motion --resume outputs/motion/RUN            continue where it stopped

    The last line names the folder: result.bvh and result.glb open in Blender, result.npz holds the 22 joints in
    HumanML3D's order; result.mp4, result.gif, sheet.png (over time), report.html, summary.json.
    """

    prompt: tuple[str, ...]
    """What the figure does: one sentence in quotes, such as "a person raises both arms, then squats"."""
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
    bank: int = MotionPlan.bank
    """Poses to search among; drawn and encoded once for each scorer, then kept in ~/.cache/clipopt."""
    tries: int = MotionPlan.tries
    """Motions that the search looks at, for each part."""
    steps: int | None = None
    """Steps of the refinement by gradients, by default 60; 0 leaves what the search found. Beside --resume: refine a
    finished motion on, to so many in all, and lock its feet anew."""
    in_place: bool = False
    """Keep the figure where it is; without, it goes where its feet carry it."""
    lock: int = MotionPlan.lock
    """Steps that lock the feet to the ground; 0 leaves them."""
    seed: int = MotionPlan.seed
    """The same seed gives the same motion."""
    out: Path | None = None
    """Folder to write, exactly; by default a new one, outputs/motion/<time>-<prompt>."""
    overwrite: bool = False
    """Replace the run that --out holds."""
    resume: Path | None = None
    """Continue the run in this folder with its own settings: on the CPU bit for bit, with as many threads."""
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
        if self.resume is not None:
            return self._prepare_resume(self.resume)
        moving, fingerprints = self._load()
        from clipopt.pipelines.run_loop import begin
        from clipopt.record import check_out

        check_out(self.out, overwrite=self.overwrite)
        if self.dry_run:
            return lambda: self._say_plan(moving)

        def work() -> None:
            self._make(moving, begin("motion", self, moving.prompt, self._settings(), fingerprints))

        return work

    def _prepare_resume(self, folder: Path) -> Callable[[], None]:
        from clipopt.pipelines.run_loop import restore
        from clipopt.record import Run

        refuse_beside_resume(self, ("resume", "steps", "dry_run", "json", "quiet"))
        run = Run.resume(folder, "motion", steps=self.steps, dry=self.dry_run)
        settings = of_run(MotionTask, run)
        settings = dataclasses.replace(settings, dry_run=self.dry_run, json=self.json, quiet=self.quiet)
        moving, fingerprints = settings._load()
        run.require(fingerprints=fingerprints)
        moving.extend(run.total)
        restore(run, moving.load_state)
        if self.dry_run:
            return lambda: settings._say_plan(moving)
        return lambda: settings._make(moving, run)

    def _load(self) -> "tuple[MotionLoop, dict[str, str]]":
        """Everything that the settings name, checked and in memory, with the fingerprints of what was read."""
        plan, prompt, phases = self._plan()
        from clipopt.io.rig import load_rig
        from clipopt.pipelines.motion.loop import MotionLoop
        from clipopt.scorers import load_scorer

        rig = None if self.rig is None else load_rig(self.rig)
        scorer = load_scorer(self.scorer)
        film = self._film(scorer)
        judge = None if self.judge == "none" else load_scorer(self.judge)
        judge = check_words([prompt, *phases], scorer, judge)
        if judge is not None and not hasattr(judge, "encode_video"):
            raise ValueError(f"--judge must see films: expected embedded-motion-judge or none, got {self.judge}")
        fingerprints = {"scorer": scorer.fingerprint} | ({} if judge is None else {"judge": judge.fingerprint})
        if film is not None and film is not scorer:
            fingerprints["film"] = film.fingerprint
        if self.rig is not None:
            fingerprints["rig"] = sha256(self.rig.read_bytes()).hexdigest()[:12]
        return MotionLoop(plan, prompt, phases, scorer, film, judge, rig), fingerprints

    def _make(self, moving: "MotionLoop", run: "Run") -> None:
        try:
            summary = moving.run(run, quiet=self.quiet or self.json)
        except KeyboardInterrupt:
            command = f"clipopt motion --resume {shlex.quote(str(run.folder))}"
            sys.stderr.write(f"clipopt: interrupted and saved; continue with: {command}\n")
            raise
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n" if self.json else f"{run.folder}\n")

    def _say_plan(self, moving: "MotionLoop") -> None:
        told = {
            "phases": moving.phases, "settings": asdict(moving.plan), "seconds expected": moving.expected_seconds()
        }  # fmt: skip
        sys.stdout.write(json.dumps(told, indent=None if self.json else 2) + "\n")

    def _settings(self) -> dict[str, Any]:
        """What config.json keeps: enough to repeat the run from any folder."""
        steps = MotionPlan.steps if self.steps is None else self.steps
        return (
            as_config(self)
            | {"steps": steps}
            | {name: anchored(getattr(self, name)) for name in ("scorer", "film", "judge")}
        )

    def _plan(self) -> tuple[MotionPlan, str, list[str]]:
        if not "".join(self.prompt).strip():
            raise ValueError('say what to do, for example: clipopt motion "a person raises both arms, then squats"')
        if len(self.prompt) > 1:
            raise ValueError(f"expected one sentence, got {len(self.prompt)}: write it in quotes")
        (prompt,) = self.prompt
        require_positive(seconds=self.seconds, fps=self.fps, tries=self.tries, bank=self.bank)
        phases = split_phases(prompt, self.phases)
        steps = MotionPlan.steps if self.steps is None else self.steps
        for name, number in (("steps", steps), ("lock", self.lock)):
            if number < 0:
                raise ValueError(f"--{name} must be 0 or more, got {number}")
        if not 0.5 * len(phases) <= self.seconds <= 60:
            raise ValueError(
                f"--seconds must lie in {0.5 * len(phases):g} to 60 for {len(phases)} phases, got {self.seconds:g}"
            )
        if not 5 <= self.fps <= 240:
            raise ValueError(f"--fps must lie in 5 to 240, got {self.fps:g}")
        if self.loop and len(phases) > 1:
            raise ValueError(f"--loop takes one part, got {len(phases)}: {'; '.join(phases)}")
        plan = MotionPlan(
            seconds=self.seconds, fps=self.fps, loop=self.loop, tries=self.tries, steps=steps,
            travel=not self.in_place, lock=self.lock, seed=self.seed, bank=self.bank,
        )  # fmt: skip
        return plan, prompt, phases

    def _film(self, scorer: Any) -> Any:
        if self.film == "none":
            return None
        if self.film == "auto":
            return scorer if hasattr(scorer, "encode_video") else None
        from clipopt.scorers.xclip import load_xclip

        return load_xclip(self.film)
