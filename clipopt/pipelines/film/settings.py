"""What `clipopt story` and `clipopt.pipelines.Film` can be told."""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from clipopt.pipelines.checks import parse_size, require_memory, require_positive, resolve_device
from clipopt.pipelines.config import anchored, as_config
from clipopt.pipelines.film.plan import FilmPlan, memory_needed
from clipopt.pipelines.film.timeline import Key, Timeline, read_keys
from clipopt.pipelines.models import Models
from clipopt.pipelines.prompts import parse_prompt
from clipopt.pipelines.vocabulary import check_words

if TYPE_CHECKING:
    from clipopt.pipelines.film.loop import FilmLoop


@dataclass(frozen=True)
class FilmSettings:
    """How films are made along prompts; see `clipopt.pipelines.Film`."""

    task: ClassVar[str] = "story"
    longer: ClassVar[bool] = False
    """Whether --steps makes a finished run longer."""

    prompts: tuple[str, ...]
    """What to show, one after the other. Plain text to the letter, unless it starts with a brace: then it is a JSON
    object of text to weight."""
    timeline: Path | None = None
    """Instead of prompts: a file of lines "SECOND PROMPT", or a .json list of {"at": SECOND, "prompt": PROMPT}."""
    seconds_per_prompt: float = 2.0
    """Seconds for which a prompt holds; of a --timeline, the last one."""
    blend: float = float(Timeline.blend)
    """Part of that time in which a prompt turns into the next: 0 is a cut, 1 never rests."""
    fps: float = FilmPlan.fps
    """Frames per second. More is smoother and takes as much longer."""
    zoom: float = FilmPlan.zoom
    """Of each frame over the one before: above 1 comes closer, below 1 goes back."""
    pan: str = "0"
    """How far the camera moves to the right in each frame, as a fraction of the width; or X,Y, with Y down."""
    rotate: float = FilmPlan.rotate
    """Degrees by which the picture turns counter-clockwise in each frame."""
    fade: float = FilmPlan.fade
    """Part of the picture that returns to grey in each frame, so that what is no longer asked for goes away."""
    steps: int = FilmPlan.steps
    """Steps of the optimizer in each frame: more follows the prompts closer, fewer is calmer."""
    first_steps: int = FilmPlan.first_steps
    """Steps before the first frame, so that the film begins with a picture; few let it rise from grey."""
    scorer: str = "embedded"
    """The scorer that guides; see `clipopt image --help`."""
    judge: str = "embedded-judge"
    """The judge, a scorer that only looks on and reports, or "none". It stays silent where a prompt has words unknown
    to it."""
    param: Literal["pyramid", "pixels", "fourier"] = FilmPlan.param
    """What is learned; see `clipopt image --help`."""
    size: str = "256"
    """Pixels of a frame: N for a square, or WxH."""
    seed: int = FilmPlan.seed
    """The same seed gives the same film."""
    init: Path | None = None
    """A picture to start from, by default grey noise."""
    alpha: Literal["white", "black", "drop"] = "white"
    """What its transparent parts lie on; drop shows the colours that they hide."""
    lr: float = FilmPlan.lr
    """Learning rate."""
    crops: int = FilmPlan.crops
    """Random views of the picture in each step."""
    smooth: float = FilmPlan.smooth
    """Weight of the total variation: more is calmer, 0 is none."""
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."""

    def load(self, models: Models) -> "tuple[FilmLoop, dict[str, str]]":
        """Everything that the settings name, checked and in memory, with the fingerprints of what was read.

        Raises:
            ValueError: a setting is wrong, in one line.
        """
        timeline, plan = self._timeline(), self._plan()
        if any(later - at < 1 / plan.fps for at, later in timeline.spans()):
            raise ValueError(f"every prompt needs a frame of its own, 1/{plan.fps:g} s: raise --fps or its seconds")
        from clipopt.io.image import LOOKED_AT, load_image
        from clipopt.pipelines.film.loop import FilmLoop

        device = resolve_device(self.device)
        require_memory(memory_needed(plan), device, f"a film of {plan.width} x {plan.height} pixels")
        init = None if self.init is None else load_image(self.init, alpha=self.alpha, most=LOOKED_AT)
        scorer = models.scorer(self.scorer, device)
        judge = models.judge(self.judge, device)
        judge = check_words((text for key in timeline.keys for text in key.prompt), scorer, judge)
        fingerprints = {"scorer": scorer.fingerprint} | ({} if judge is None else {"judge": judge.fingerprint})
        read = {"timeline": self.timeline, "init": self.init}
        fingerprints |= {name: _digest(path) for name, path in read.items() if path is not None}
        return FilmLoop(plan, timeline, scorer, judge=judge, init=init, device=device), fingerprints

    def _timeline(self) -> Timeline:
        require_positive(seconds_per_prompt=self.seconds_per_prompt)
        if self.timeline is None and not self.prompts:
            raise ValueError('say what to show, for example: clipopt story "a red apple" "a green tree"')
        if self.timeline is None:
            each = enumerate(self.prompts)
            keys = [Key(number * self.seconds_per_prompt, parse_prompt(prompt)) for number, prompt in each]
        elif self.prompts:
            raise ValueError("the prompts come from --timeline: leave out the others, or --timeline")
        else:
            keys = read_keys(self.timeline)
        return Timeline(keys, keys[-1].at + self.seconds_per_prompt, self.blend)

    def _plan(self) -> FilmPlan:
        width, height = parse_size(self.size)
        require_positive(
            fps=self.fps, zoom=self.zoom, steps=self.steps, first_steps=self.first_steps, lr=self.lr, crops=self.crops
        )
        if not (math.isfinite(self.smooth) and self.smooth >= 0):
            raise ValueError(f"--smooth must be 0 or more, got {self.smooth}")
        if not 0 <= self.fade < 1:
            raise ValueError(f"--fade must lie in 0 to below 1, got {self.fade}")
        if not math.isfinite(self.rotate):
            raise ValueError(f"--rotate must be a number of degrees, got {self.rotate}")
        return FilmPlan(
            width, height, self.fps, self.zoom, _parse_pan(self.pan), self.rotate, self.fade, self.steps,
            self.first_steps, self.param, self.seed, self.lr, self.crops, self.smooth,
        )  # fmt: skip

    def forecast(self, loop: "FilmLoop", start: int = 0) -> dict[str, Any]:
        """What a film from frame `start` on would take."""
        keys, peaks = loop.timeline.keys, loop.timeline.peaks()
        return {
            "timeline": [
                {"at": key.at, "prompt": dict(key.prompt), "peak": peak} for key, peak in zip(keys, peaks, strict=True)
            ],
            "seconds": loop.timeline.end,
            "frames": loop.count,
            "frames_done": start,
            "steps": loop.plan.steps_before(loop.count),
            "memory_needed_bytes": int(memory_needed(loop.plan)),
        }

    def config(self, loop: "FilmLoop") -> dict[str, Any]:
        """What config.json keeps: enough to repeat the run from any folder."""
        models = {"scorer": anchored(self.scorer), "judge": anchored(self.judge)}
        return as_config(self) | models | {"device": str(loop.picture().device)}


def _parse_pan(text: str) -> tuple[float, float]:
    try:
        x, y = (float(part) for part in (text if "," in text else f"{text},0").split(","))
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise ValueError(
            f"--pan must be X or X,Y, fractions of the width and height, such as 0.01,-0.005, got {text!r}"
        )
    return x, y


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
