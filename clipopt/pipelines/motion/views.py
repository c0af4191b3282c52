"""How a scorer looks at a moving figure: pictures of its frames, films of it, and how well they fit words."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor
from torch.nn import functional as F

from clipopt.embedded.moves import AIM, ALIKE, SPAN, deeds, plain_look, third_person
from clipopt.geometry.body import Clothes, default_clothes
from clipopt.params.motion import Stances
from clipopt.pipelines.motion.phases import without_subject
from clipopt.render.figure import Posed, cameras, pose, shoot
from clipopt.render.tiles import shoot_together
from clipopt.scorers import Scorer, SeesFilms
from clipopt.types import Images

VIEWS = (-42.0, 12.0, 48.0)
"""Azimuths from which poses are looked at when nothing is left to chance, degrees."""
SIDE = 64
"""Pixels of a picture's side where the scorer sees no more."""


def pictures(
    posed: Posed,
    azimuth: float | int,
    *,
    side: int = SIDE,
    elevation: float | int = 9.0,
    clothes: Clothes | None = None,
    background: Images | None = None,
    span: float | int = SPAN,
    fine: bool = False,
) -> Images:
    """One picture of every frame, from one side; the camera goes along with the figure.

    Args:
        posed: The frames.
        azimuth: Where the camera stands, degrees: 0 in front, above 0 on the figure's left.
        side: Pixels of a side.
        elevation: Over the horizon, degrees.
        clothes: The colours.
        background: One for all.
        span: Metres that a picture shows.
        fine: For people: a smooth surface, on a floor with its shadow; a scorer needs neither.
    """
    count = len(posed)
    aim = posed.joints[:, 0].detach().clone()
    aim[:, 1] = AIM
    turn, rise = (torch.full((count,), math.radians(v)) for v in (azimuth, elevation))
    plain = torch.full((1, 3, side, side), 0.62) if background is None else background
    shots = cameras(turn, rise, aim, height=span)
    if fine:
        return shoot(posed, shots, plain, clothes or default_clothes())
    lamp = F.normalize(torch.tensor([math.sin(turn[0]), 0.8, math.cos(turn[0])]), dim=0)
    return shoot_together(posed, shots, plain, clothes or default_clothes(), lamp)


@dataclass(frozen=True)
class Look:
    """One draw of a camera, a background and clothes."""

    azimuth: float | int
    elevation: float | int
    span: float | int
    background: Images
    clothes: Clothes


def random_look(rng: Generator, side: int) -> Look:
    """A camera in front or aside: what only works from one side does not work."""

    def uniform(low: float | int, high: float | int) -> float:
        return low + (high - low) * float(torch.rand((), generator=rng))

    sign = 1 if uniform(0, 1) < 0.5 else -1
    background, clothes = plain_look(rng)
    return Look(
        sign * uniform(8, 62), uniform(-2, 20), SPAN * uniform(0.9, 1.1), background.expand(1, 3, side, side), clothes
    )


def seen_from(posed: Posed, look: Look, side: int) -> Images:
    """One picture of every frame by this look."""
    return pictures(
        posed, look.azimuth, side=side, elevation=look.elevation,
        span=look.span, background=look.background, clothes=look.clothes,
    )  # fmt: skip


@dataclass
class Watcher:
    """A scorer before a figure, and the texts that a result must be told from.

    Attributes:
        scorer: Who looks at pictures.
        film: Who looks at films: a scorer with `encode_video` and texts of its own, an X-CLIP, or None.
        side: Pixels of a picture's side.
    """

    scorer: Scorer
    film: Any
    side: int = SIDE
    _known: dict[str, Tensor] = field(default_factory=dict)
    _deeds: Tensor = field(default_factory=lambda: torch.zeros(0))

    @property
    def frames(self) -> int:
        """Frames of a film."""
        return int(self.film.frames) if self.film is not None else 8

    def text(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit rows of texts, each encoded once, and by itself: so a row does not depend on what came before."""
        for text in texts:
            if text not in self._known:
                self._known[text] = self.scorer.encode_text([text])[0]
        return torch.stack([self._known[text] for text in texts])

    def others(self, text: str) -> Float[Tensor, "n d"]:
        """Rows of what else a person may do, but for what `text` says in other words."""
        if not len(self._deeds):
            self._deeds = self.scorer.encode_text([f"a person {phrase}" for phrase in deeds()])
        same = same_deeds(text)
        return self._deeds[[phrase not in same for phrase in deeds()]]

    def poses(self, seen: Float[Tensor, "n v d"], text: str) -> Float[Tensor, " n"]:
        """How well poses fit a text rather than another: from 0 down, by the rows of their pictures."""
        mine = (seen @ self.text([text])[0]).mean(1)
        others = torch.einsum("nvd,md->nvm", seen, self.others(text)).mean(1)
        return _rather(self.scorer, mine, others)

    @property
    def sees_films(self) -> bool:
        """Whether films have rows of their own that texts can be compared with."""
        return isinstance(self.film, SeesFilms)

    def films(self, rows: Float[Tensor, "b f d"], text: str) -> Float[Tensor, " b"]:
        """How well films fit a text rather than another, from 0 down, by the rows of their frames."""
        made = self.film.encode_rows(rows)
        return _rather(self.film, made @ self.text([text])[0], made @ self.others(text).T)


def same_deeds(text: str) -> set[str]:
    """The known phrases that `text` says in these or other words, its subject left out.

    Where none says just that, the ones that say more: who waves with the left hand waves.
    """
    plain = without_subject(text).strip(" .").lower().removeprefix("is ")
    table = {phrase: {phrase, *(s for one in both if one for s in one.synonyms)} for phrase, both in deeds().items()}
    table = {phrase: said | set(map(third_person, said)) for phrase, said in table.items()}
    found = {phrase for phrase, said in table.items() if plain in said}
    if not found and plain:
        found = {phrase for phrase, said in table.items() if any(_says_more(one, plain) for one in said)}
    return found | {other for pair in ALIKE for other in pair if found & set(pair)}


def _says_more(phrase: str, plain: str) -> bool:
    """Whether a phrase begins with the same word and has all other words, too."""
    said, asked = phrase.split(), plain.split()
    return said[0] == asked[0] and set(asked) <= set(said)


def directed(text: str) -> bool:
    """Whether what `text` says is known to be something else, or nothing, when it is played backward."""
    moves = (deeds()[phrase][1] for phrase in same_deeds(text))
    return any(move is not None and move.backward != "" for move in moves)


def _rather(scorer: Any, mine: Tensor, others: Tensor) -> Tensor:
    both = torch.cat([mine[:, None], others], 1)
    # The head's own scale, by way of its logits: these are linear in the cosines.
    one = torch.ones(1, 1).to(mine)
    scale = float(scorer.logits(one, one) - scorer.logits(one, 0 * one)) if hasattr(scorer, "logits") else 20.0
    return F.log_softmax(min(scale, 30.0) * both, 1)[:, 0]


def put_down(stances: Stances) -> Posed:
    """The figure on the ground."""
    return pose(stances.angles, stances.root)
