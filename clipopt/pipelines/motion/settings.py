"""What `clipopt motion` and `clipopt.pipelines.Motion` can be told."""

from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from clipopt.pipelines.checks import require_positive
from clipopt.pipelines.config import anchored, as_config
from clipopt.pipelines.models import Models
from clipopt.pipelines.motion.phases import split_phases
from clipopt.pipelines.motion.plan import MotionPlan
from clipopt.pipelines.vocabulary import check_words

if TYPE_CHECKING:
    from clipopt.pipelines.motion.loop import MotionLoop


@dataclass(frozen=True)
class MotionSettings:
    """How motions are made from text; see `clipopt.pipelines.Motion`."""

    task: ClassVar[str] = "motion"
    longer: ClassVar[bool] = True
    """Whether --steps makes a finished run longer."""

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
    """The scorer of pictures: embedded-motion knows people; or a real model, see `clipopt image --help`."""
    film: str = "auto"
    """The scorer of films: auto is the scorer itself where it sees order; or an X-CLIP, by hub id or folder; or
    none."""
    judge: str = "embedded-motion-judge"
    """The judge, a scorer that only looks on and reports, or "none"."""
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

    def load(self, models: Models) -> "tuple[MotionLoop, dict[str, str]]":
        """Everything that the settings name, checked and in memory, with the fingerprints of what was read.

        Raises:
            ValueError: a setting is wrong, in one line.
        """
        plan, prompt, phases = self._plan()
        from clipopt.io.rig import load_rig
        from clipopt.pipelines.motion.loop import MotionLoop
        from clipopt.scorers import SeesFilms

        rig = None if self.rig is None else load_rig(self.rig)
        scorer = models.scorer(self.scorer, "cpu")
        film = self._film(scorer)
        judge = models.judge(self.judge, "cpu")
        judge = check_words([prompt, *phases], scorer, judge)
        if judge is not None and not isinstance(judge, SeesFilms):
            raise ValueError(f"--judge must see films: expected embedded-motion-judge or none, got {self.judge}")
        fingerprints = {"scorer": scorer.fingerprint} | ({} if judge is None else {"judge": judge.fingerprint})
        if film is not None and film is not scorer:
            fingerprints["film"] = film.fingerprint
        if self.rig is not None:
            fingerprints["rig"] = sha256(self.rig.read_bytes()).hexdigest()[:12]
        return MotionLoop(plan, prompt, phases, scorer, film, judge, rig), fingerprints

    def forecast(self, loop: "MotionLoop", start: int = 0) -> dict[str, Any]:
        """What the motion would take."""
        return {
            "phases": loop.phases, "settings": asdict(loop.plan), "seconds expected": loop.expected_seconds(),
        }  # fmt: skip

    def config(self, loop: "MotionLoop") -> dict[str, Any]:
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
            from clipopt.scorers import SeesFilms

            return scorer if isinstance(scorer, SeesFilms) else None
        from clipopt.scorers.xclip import load_xclip

        return load_xclip(self.film)
