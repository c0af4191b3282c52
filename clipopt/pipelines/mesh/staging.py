"""How `clipopt mesh` shows a mesh to the scorer: the settings that keep it from cheating."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from clipopt.pipelines.vocabulary import unknown_words

if TYPE_CHECKING:
    from clipopt.render.views import Views
    from clipopt.scorers import Scorer

Side = Literal["front", "side", "back", "top", "bottom"]

SAID: dict[Side, str] = {
    "front": "front view", "side": "side view", "back": "back view", "top": "view from above",
    "bottom": "view from below",
}  # fmt: skip
"""What is added to a prompt for each side."""


@dataclass(frozen=True)
class Staging:
    """What the scorer sees, drawn anew for every view."""

    views: int = 8
    """Views of each mesh in each step, from all around."""
    size: int | None = None
    """Pixels of a view's side. By default half as many again as the scorer sees, at most 224."""
    elevation: tuple[float, float] = (-5.0, 30.0)
    """Lowest and highest place of the camera over the horizon, degrees."""
    offset: float = 0.1
    """How far the mesh may lie off the middle of a view, in halves of its side; 0 is always in the middle."""
    backgrounds: Literal["auto", "busy", "soft", "none"] = "auto"
    """What stands behind: noise, checkers and plain colours (busy), colours that pass into one another (soft), or light
    grey. By default soft for the embedded scorers, who have seen no others, and busy for all others."""
    textureless: float = 0.5
    """Share of the views that show the bare shape in the first half of the run, so that colours cannot fake it."""
    jitter: float = 25.0
    """How far the light may stand off the camera, degrees; 0 is right at it."""
    stratified: bool = True
    """Cameras spread evenly around. --no-stratified places each by chance."""
    adaptive: bool = True
    """Cameras that go nearer to a small mesh and away from a large one. --no-adaptive keeps them where they are."""
    view_prompts: Literal["auto", "on", "off"] = "auto"
    """Add the side to the prompt ("a red car, back view"), with a soft passage from side to side. By default where the
    scorers know these words."""
    view: tuple[tuple[Side, str], ...] = ()
    """Another prompt for one side, for example: back "the back of a red car". Can be given several times."""

    def make(self, scorer: "Scorer", *, textured: bool) -> "Views":
        """The views for a scorer; `textured` says whether there are colours to be seen.

        Raises:
            ValueError: a setting is out of its range.
        """
        from clipopt.render.views import Views
        from clipopt.scorers import KnowsWords

        size = min(224, scorer.image_size * 3 // 2) if self.size is None else self.size
        low, high = self.elevation
        checks = (
            ("--views", self.views, self.views >= 1, "1 or more"),
            ("--size", size, 8 <= size <= 4096, "8 to 4096 pixels"),
            ("--elevation", f"{low:g} {high:g}", -90 <= low <= high <= 90, "two rising angles within -90 to 90"),
            ("--offset", self.offset, 0 <= self.offset < 1, "0 to below 1"),
            ("--textureless", self.textureless, 0 <= self.textureless <= 1, "0 to 1"),
            ("--jitter", self.jitter, 0 <= self.jitter <= 180, "0 to 180 degrees"),
        )
        for option, got, right, expected in checks:
            if not right:
                raise ValueError(f"{option} must be {expected}, got {got}")
        sides = [side for side, _ in self.view]
        if len(set(sides)) < len(sides):
            raise ValueError("--view gives one side two prompts: say each side once")
        if any(not text.strip() for _, text in self.view):
            raise ValueError('--view gives a side an empty prompt: say what to show, for example back "a red car"')
        # What reads a small vocabulary has seen the embedded world alone, whose grounds are calm.
        calm = isinstance(scorer, KnowsWords)
        backgrounds = self.backgrounds if self.backgrounds != "auto" else "soft" if calm else "busy"
        return Views(
            count=self.views,
            size=size,
            elevation=(math.radians(low), math.radians(high)),
            offset=self.offset,
            backgrounds=backgrounds,
            textureless=self.textureless if textured else 0.0,
            jitter=math.radians(self.jitter),
            stratified=self.stratified,
            adaptive=self.adaptive,
            ambient=0.75 if textured else 0.4,
        )

    def sided(self, scorers: "list[Scorer]") -> bool:
        """Whether the prompts name the side."""
        if self.view_prompts != "auto":
            return self.view_prompts == "on"
        return not any(unknown_words(scorer, list(SAID.values())) for scorer in scorers)
