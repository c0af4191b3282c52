"""Two scorers for all pictures: photographs go to the natural one, flat drawings to the embedded one."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.captions import Caption, Captioner
from clipopt.captions.classes import strangeness
from clipopt.captions.fitting import OWN_WORLD, is_unlike
from clipopt.scorers import Scorer
from clipopt.scorers.tower import TowerScorer

_OWN, _CLEARLY = OWN_WORLD, 50.0
"""Percentiles of the match of its own best sentence: below the first no picture is of the embedded world, from the
second on every one is."""
_FLAT, _LIKELY = 0.14, -2.0
"""A picture between is drawn, and no photograph, if it is as strange as that to the natural scorer, and its best
sentence as likely, in log probability, to who describes."""


class BothEyes:
    """Captions by whichever scorer a picture is for.

    The embedded scorer speaks of a picture that fits its own best sentence as well as pictures of its world fit theirs,
    and that does not look like a photograph to the natural one. The source of a caption begins with who spoke.

    Args:
        embedded: Speaks of flat drawings.
        natural: Speaks of everything else.
    """

    def __init__(self, embedded: Captioner, natural: Captioner) -> None:
        self.embedded, self.natural = embedded, natural

    @property
    def scorers(self) -> list[Scorer]:
        """Both."""
        return [self.embedded.scorer, self.natural.scorer]

    def is_unlike(self, best: Caption) -> bool:
        """Whether a picture is unlike everything that whoever spoke knows."""
        who, _, source = best.source.partition(": ")
        return is_unlike((self.embedded if who == "embedded" else self.natural).scorer, replace(best, source=source))

    def __call__(self, pictures: Sequence[Float[Tensor, "3 _ _"]], count: int = 1) -> list[list[Caption]]:
        """The best `count` captions of every picture in [0, 1], best first."""
        drawn = self.embedded(pictures, count)
        kept = [self._is_drawn(picture, best) for picture, best in zip(pictures, drawn, strict=True)]
        seen = iter(self.natural([p for p, drawing in zip(pictures, kept, strict=True) if not drawing], count))
        return [
            _by("embedded", best) if drawing else _by("natural", next(seen))
            for best, drawing in zip(drawn, kept, strict=True)
        ]

    def _is_drawn(self, picture: Float[Tensor, "3 _ _"], best: Sequence[Caption]) -> bool:
        eye = self.embedded.scorer
        if not best or not isinstance(eye, TowerScorer):
            return False
        fits = float(eye.percentile(torch.tensor([best[0].parts["match"]]))[0])
        if fits < _OWN or fits >= _CLEARLY:
            return fits >= _CLEARLY
        likely = self.embedded.second is None or self.embedded.second(picture, [best[0].text])[0] >= _LIKELY
        return likely and strangeness(self.natural.scorer, picture[None]) >= _FLAT


def _by(who: str, captions: Sequence[Caption]) -> list[Caption]:
    return [replace(caption, source=f"{who}: {caption.source}") for caption in captions]
