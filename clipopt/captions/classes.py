"""Captions of photographs out of the names of a classifier's classes: fine, coarse, and two things at once."""

import hashlib
import json
import math
import re
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipopt.captions.candidates import Candidate, TextEncoder
from clipopt.captions.everyday import EVERYDAY, SUBSTANCES
from clipopt.io.files import atomic, cache_folder
from clipopt.scorers import Perceives, Scorer
from clipopt.types import Images

STRANGE = 0.15
"""From which strangeness on a picture is no ordinary photograph: a texture, a drawing, the sky through a telescope."""
_CLASSES, _LEAST, _WORDS = 6, 0.02, 8
_SURE = 0.3  # probability of a class from which on even a strange picture shows a thing
_HALF, _TOGETHER = 0.5, 0.6
_LOWEST = 1e-3
_IMAGENET = 1000
_KINDS = (
    ("fish", 0, 6), ("bird", 7, 24), ("lizard", 38, 48), ("snake", 52, 68), ("spider", 72, 77), ("bird", 80, 100),
    ("bird", 127, 146), ("dog", 151, 268), ("cat", 281, 285), ("bear", 294, 297), ("beetle", 300, 307),
    ("insect", 300, 326), ("monkey", 369, 384), ("animal", 0, 397),
)  # fmt: skip
"""Neighbours in the order of ImageNet's classes that are of one kind: from the first to the last number."""


@runtime_checkable
class Naming(Protocol):
    """A scorer that knows classes by their names."""

    names: Sequence[Sequence[str]]

    def probabilities(self, images: Images) -> Float[Tensor, "b n"]:
        """Of each class."""
        ...


class TwoThings(TextEncoder):
    """Rows of texts for a scorer that reads one thing a text: "a cat and a dog" has the mean row of both."""

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit rows of `texts`."""
        halves = [text.split(" and ") if text.count(" and ") == 1 else [text] for text in texts]
        rows = super().__call__([half for each in halves for half in each])
        parts = rows.split([len(each) for each in halves])
        return F.normalize(torch.stack([part.mean(0) for part in parts]), dim=1)


class Classes:
    """Proposes what a picture may show: the likeliest classes, everyday words near to them, two unrelated things.

    The likelihood of a candidate is the log of the probability that the picture shows one of the classes that it
    means: "a cat" gathers what five kinds of cats share. What looks like no photograph and like no class is called a
    texture, with what it resembles.

    Args:
        scorer: Knows the classes, and encodes pictures and texts.
        encode: The rows of texts.
        words: Coarse words to try beside the names.
        source: What to call it.
    """

    def __init__(
        self, scorer: Scorer, encode: TextEncoder, words: Sequence[str] = EVERYDAY, *, source: str = "classes"
    ) -> None:
        if not isinstance(scorer, Naming):
            raise ValueError(f"{scorer.name} has no classes with names: give captions in another way")
        self.scorer, self.naming, self.encode, self.source = scorer, scorer, encode, source
        self.words = tuple(words)
        self._shown = [_shown(first) for first, *_ in scorer.names]
        self._rows: Tensor | None = None

    @torch.no_grad()
    def __call__(
        self, pictures: Sequence[Float[Tensor, "3 _ _"]], embeddings: Float[Tensor, "b d"]
    ) -> list[list[Candidate]]:
        """Candidates for each picture."""
        return [self._propose(picture[None], row) for picture, row in zip(pictures, embeddings, strict=True)]

    def _propose(self, picture: Images, row: Float[Tensor, " d"]) -> list[Candidate]:
        shares = self.naming.probabilities(picture)[0].cpu()
        strange = strangeness(self.scorer, picture)
        likely = shares.topk(min(_CLASSES, len(shares)))
        kept = [n for n, p in zip(likely.indices.tolist(), likely.values.tolist(), strict=True) if p >= _LEAST]
        names = list(dict.fromkeys(self._shown[n] for n in kept or likely.indices[:1].tolist()))
        texture = strange > STRANGE and float(likely.values[0]) < _SURE
        if not texture:
            near = (self._word_rows().to(row) @ row).topk(min(_WORDS, len(self.words))).indices.tolist()
            names += [self.words[n] for n in near if self.words[n] not in names]
        start = "a texture or pattern like" if texture else "a photo of"
        found = [Candidate(f"{start} {with_article(n)}", self.source, self._likelihood(n, shares)) for n in names]
        if not texture:
            found += self._kinds(shares) + self._two(picture)
        return found

    def _likelihood(self, name: str, shares: Float[Tensor, " n"]) -> float:
        """Log of the probability of all classes that a name means."""
        row = self.encode([name])[0].cpu()
        if len(row) % len(shares):  # no row of classes
            return math.log(_LOWEST)
        meant = row.view(-1, len(shares)).abs().amax(0)
        return float(shares[meant > 0.1 * meant.amax()].sum().clamp_min(_LOWEST).log())

    def _kinds(self, shares: Float[Tensor, " n"]) -> list[Candidate]:
        """What many classes together are, where they are likely together and none is by itself."""
        if len(shares) != _IMAGENET or float(shares.max()) > _SURE:
            return []
        sums = {kind: float(shares[first : last + 1].sum()) for kind, first, last in _KINDS}
        return [
            Candidate(f"a photo of {with_article(kind)}", self.source, math.log(share))
            for kind, share in sums.items()
            if share >= _TOGETHER
        ]

    def _two(self, picture: Images) -> list[Candidate]:
        """Two unrelated things, each of which fills a half of the picture."""
        high, wide = picture.shape[-2] // 2, picture.shape[-1] // 2
        if min(high, wide) < 8:
            return []
        sides = ((picture[..., :wide], picture[..., -wide:]), (picture[..., :high, :], picture[..., -high:, :]))
        found = []
        for pair in sides:
            best = [self.naming.probabilities(half)[0].max(0) for half in pair]
            one, other = (int(index) for _, index in best)
            share = math.prod(float(value) for value, _ in best)
            if min(float(value) for value, _ in best) >= _HALF and not self._related(one, other):
                names = [with_article(self._shown[n]) for n in (one, other)]
                found.append(Candidate(f"a photo of {names[0]} and {names[1]}", self.source, math.log(share)))
        return found

    def _related(self, one: int, other: int) -> bool:
        """Whether a word means both classes."""
        if self._word_rows().shape[1] % len(self._shown):
            return one == other
        means = self._word_rows().view(len(self.words), -1, len(self._shown)).amax(1) > 0
        return one == other or bool((means[:, one] & means[:, other]).any())

    def _word_rows(self) -> Float[Tensor, "n d"]:
        """Rows of the words, from the cache of an earlier process where it has them."""
        if self._rows is not None:
            return self._rows
        from safetensors import SafetensorError
        from safetensors.torch import load_file, save_file

        mark = hashlib.sha256(json.dumps([self.scorer.fingerprint, self.words]).encode()).hexdigest()[:16]
        path = cache_folder() / f"words-{mark}.safetensors"
        try:
            self._rows = load_file(path)["rows"]
        except (OSError, SafetensorError, KeyError):
            self._rows = self.encode(self.words).cpu()
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with atomic(path) as partial:
                    save_file({"rows": self._rows.contiguous()}, partial)
            except OSError:  # a cache that cannot be written is none
                pass
        return self._rows


def strangeness(scorer: Scorer, picture: Images) -> float:
    """How unlike a photograph a picture is to a scorer; 0 for one that does not tell."""
    if not isinstance(scorer, Perceives):
        return 0.0
    with torch.no_grad():
        return float(scorer.perceive(picture)[1][0])


def _shown(name: str) -> str:
    """The name of a class as a sentence says it."""
    name = re.sub(r"\s*\(.*?\)", "", name).strip()
    return re.sub(r"^an? ", "", name)


def with_article(name: str) -> str:
    """A thing with its article."""
    if name in SUBSTANCES or (name.endswith("s") and not name.endswith(("ss", "us"))):
        return name
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
