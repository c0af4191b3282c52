"""Which candidate describes a picture best: a score that shows its parts."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.captions.candidates import Candidate, Generator, TextEncoder
from clipopt.captions.weights import Weights
from clipopt.scorers import Scorer
from clipopt.scorers.clap import ClapScorer

VIEWS = 5
"""The most views of a picture: the whole, and its corners."""
_CORNER = 7 / 8
_AT_ONCE = 16

Language = Callable[[Sequence[str]], Sequence[float]]
"""Mean log probability per token of texts."""
Pairs = Callable[[Float[Tensor, "3 _ _"], Sequence[str]], Sequence[float]]
"""How well texts go with a picture, by a model that reads both; larger is better."""
Polish = Callable[[Sequence[Candidate]], list[Candidate]]
"""Variants of good candidates."""


@dataclass(frozen=True)
class Caption:
    """A caption and why it stands where it stands.

    Attributes:
        text: What it says.
        score: The sum of `parts`.
        probability: What the scorer's head makes of its logit: against all candidates if it is a softmax, by
            itself if it is a sigmoid.
        source: Who proposed it.
        parts: Every part of the score, weighted; "match" is the mean cosine.
    """

    text: str
    score: float
    probability: float
    source: str
    parts: dict[str, float]


class Captioner:
    """Captions of pictures: generators propose, the reranker chooses.

    Args:
        scorer: Who scores.
        generators: Who proposes.
        weights: What counts.
        views: 1 scores the whole picture, up to `VIEWS` its corners too.
        background: Mean row of pictures or captions that have nothing to do with the picture, for the prior.
        language: For the likelihood of candidates that come without one.
        second: The second stage.
        polish: Proposes variants of the best candidates, which then compete with them.
        encode: The scorer's texts; give the one that the generators use, so that no text is encoded twice.

    Raises:
        ValueError: if nobody proposes, or the number of views is not within 1 to `VIEWS`.
    """

    def __init__(
        self,
        scorer: Scorer,
        generators: Sequence[Generator],
        weights: Weights | None = None,
        *,
        views: int = 1,
        background: Float[Tensor, " d"] | None = None,
        language: Language | None = None,
        second: Pairs | None = None,
        polish: Polish | None = None,
        encode: TextEncoder | None = None,
    ) -> None:
        if not generators:
            raise ValueError("nobody proposes captions: expected at least one generator")
        if not 1 <= views <= VIEWS:
            raise ValueError(f"views must be 1 to {VIEWS}, got {views}")
        self.scorer, self.generators, self.views = scorer, generators, views
        self.weights = weights or Weights()
        self.background = background
        self.language, self.second, self.polish = language, second, polish
        self.encode = encode or TextEncoder(scorer)

    def __call__(self, pictures: Sequence[Float[Tensor, "3 _ _"]], count: int = 1) -> list[list[Caption]]:
        """The best `count` captions of every picture in [0, 1], best first; fewer if fewer were proposed."""
        if not pictures:
            return []
        views = encode_views(self.scorer, pictures, self.views)
        proposed = [generate(pictures, views[:, 0]) for generate in self.generators]
        return [
            self._choose(picture, rows, [c for lists in proposed for c in lists[i]], count)
            for i, (picture, rows) in enumerate(zip(pictures, views, strict=True))
        ]

    def _choose(
        self, picture: Float[Tensor, "3 _ _"], views: Float[Tensor, "v d"], candidates: list[Candidate], count: int
    ) -> list[Caption]:
        unique = list({c.text: c for c in reversed(candidates) if c.text.strip()}.values())[::-1]
        if not unique:
            return []
        if self.polish is not None:
            parts = self._parts(views, unique)
            best = torch.stack(list(parts.values())).sum(0).topk(min(self.weights.stage, len(unique))).indices
            known = {c.text for c in unique}
            polished = self.polish([unique[i] for i in best.tolist()])
            unique += [c for c in {c.text: c for c in polished}.values() if c.text not in known]
        rows = self.encode([c.text for c in unique])
        parts = self._parts(views, unique)
        if self.second is not None:
            total = torch.stack(list(parts.values())).sum(0)
            kept = total.topk(min(self.weights.stage, len(unique))).indices
            said = total.new_tensor(self.second(picture, [unique[i].text for i in kept.tolist()]))
            parts = {name: values[kept] for name, values in parts.items()}
            parts["second"] = self.weights.second * said
        else:
            kept = torch.arange(len(unique), device=rows.device)
        probability = probabilities(self.scorer, views, rows).mean(0)
        score = torch.stack(list(parts.values())).sum(0)
        order = _diverse(score, rows[kept], self.weights.diversity, count)
        return [
            Caption(
                unique[int(kept[i])].text,
                float(score[i]),
                float(probability[kept[i]]),
                unique[int(kept[i])].source,
                {name: float(values[i]) for name, values in parts.items()},
            )
            for i in order
        ]

    def _parts(self, views: Float[Tensor, "v d"], candidates: Sequence[Candidate]) -> dict[str, Tensor]:
        """Every weighted part of the candidates' scores but the second stage."""
        weights, texts = self.weights, [c.text for c in candidates]
        rows = self.encode(texts)
        parts = {"match": (rows @ views.T).mean(1)}
        if weights.prior and self.background is not None:
            parts["prior"] = -weights.prior * (rows @ self.background.to(rows))
        if weights.consensus and len(rows) > 1:
            others = (rows @ rows.T).fill_diagonal_(0).sum(1) / (len(rows) - 1)
            parts["consensus"] = weights.consensus * others
        if weights.likelihood:
            parts["likelihood"] = weights.likelihood * rows.new_tensor(self._likelihood(candidates))
        return parts

    def _likelihood(self, candidates: Sequence[Candidate]) -> Sequence[float]:
        if self.language is not None:
            return self.language([c.text for c in candidates])
        known = [c.likelihood for c in candidates if c.likelihood is not None]
        # Who does not know is neither helped nor harmed.
        mean = sum(known) / len(known) if known else 0.0
        return [mean if c.likelihood is None else c.likelihood for c in candidates]


def probabilities(
    scorer: Scorer | ClapScorer, image: Float[Tensor, "b d"], text: Float[Tensor, "n d"]
) -> Float[Tensor, "b n"]:
    """What the scorer's head makes of its logits: a raw cosine of 0.3 says nothing, a probability does.

    A softmax head says which of these texts it is, so that every row sums to 1; a sigmoid head says of each text
    by itself whether it belongs to the picture.
    """
    with torch.no_grad():
        logits = scorer.logits(image, text)
        return logits.softmax(1) if scorer.head == "softmax" else logits.sigmoid()


@torch.no_grad()
def encode_views(scorer: Scorer, pictures: Sequence[Float[Tensor, "3 _ _"]], views: int = 1) -> Float[Tensor, "b v d"]:
    """Unit rows of the views of each picture, the whole first; pictures of one size share a batch."""
    rows: list[list[Tensor]] = [[] for _ in pictures]
    for view in range(views):
        cut = [_view(picture, view) for picture in pictures]
        sizes: dict[tuple[int, ...], list[int]] = {}
        for index, picture in enumerate(cut):
            sizes.setdefault(tuple(picture.shape), []).append(index)
        for same in sizes.values():
            for start in range(0, len(same), _AT_ONCE):
                some = same[start : start + _AT_ONCE]
                encoded = scorer.encode_image(torch.stack([cut[i] for i in some]))
                for index, row in zip(some, encoded, strict=True):
                    rows[index].append(row)
    return torch.stack([torch.stack(own) for own in rows])


def _view(picture: Float[Tensor, "3 _ _"], number: int) -> Float[Tensor, "3 _ _"]:
    if not number:
        return picture
    height, width = (max(1, round(side * _CORNER)) for side in picture.shape[-2:])
    right, low = (number - 1) % 2, (number - 1) // 2
    rows = slice(-height, None) if low else slice(height)
    columns = slice(-width, None) if right else slice(width)
    return picture[:, rows, columns]


def _diverse(score: Float[Tensor, " n"], rows: Float[Tensor, "n d"], diversity: float, count: int) -> list[int]:
    """The best `count`, each chosen with what it loses for being like one chosen before."""
    if not diversity:
        return score.argsort(descending=True, stable=True)[:count].tolist()
    alike, left, chosen = rows @ rows.T, score.clone(), list[int]()
    penalty = torch.zeros_like(score)
    while len(chosen) < min(count, len(score)):
        best = int((left - diversity * penalty).argmax())
        chosen.append(best)
        left[best] = -torch.inf
        penalty = torch.maximum(penalty, alike[best])
    return chosen
