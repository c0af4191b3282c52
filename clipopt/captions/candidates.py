"""Where captions come from: texts of a list or a corpus, and sentences that a grammar can say."""

import string
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.scorers import Scorer
from clipopt.scorers.clap import ClapScorer

_CORPUS_ROWS = 8192
_Score = Callable[[Sequence[str]], list[float]]


@dataclass(frozen=True)
class Candidate:
    """A text that might describe a picture.

    Attributes:
        text: What it says.
        source: Who proposed it.
        likelihood: Mean log probability of its tokens, where who proposed it knows; natural logarithm.
    """

    text: str
    source: str
    likelihood: float | None = None


@runtime_checkable
class Generator(Protocol):
    """Whoever proposes captions: one list for each picture, independent of its neighbours."""

    def __call__(
        self, pictures: Sequence[Float[Tensor, "3 _ _"]], embeddings: Float[Tensor, "b d"]
    ) -> list[list[Candidate]]:
        """Candidates for every picture in [0, 1], whose unit rows are `embeddings`."""
        ...


class TextEncoder:
    """A scorer's texts, each encoded once.

    Args:
        scorer: Who encodes.
        capacity: How many rows are kept; when it is reached, all are forgotten.
    """

    def __init__(self, scorer: Scorer | ClapScorer, capacity: int = 100_000) -> None:
        self.scorer = scorer
        self.capacity = capacity
        self._rows: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit rows of `texts`.

        Raises:
            ValueError: there are none.
        """
        # By length, because a batch is padded to its longest.
        if missing := sorted({text for text in texts if text not in self._rows}, key=len):
            if len(self._rows) + len(missing) > self.capacity:
                self._rows = {}
                missing = sorted(set(texts), key=len)
            self._rows |= dict(zip(missing, self.scorer.encode_text(missing), strict=True))
        if not texts:
            raise ValueError("no texts to encode: expected at least one")
        return torch.stack([self._rows[text] for text in texts])


@dataclass(frozen=True)
class Corpus:
    """The texts of a list that are nearest to a picture.

    Attributes:
        texts: The list.
        embeddings: Their unit rows by the same scorer; of any float type, and it may lie on disk.
        nearest: How many of them to propose; None for all.
        source: What to call it.
    """

    texts: Sequence[str]
    embeddings: Float[Tensor, "n d"]
    nearest: int | None = None
    source: str = "list"

    def __call__(
        self, pictures: Sequence[Float[Tensor, "3 _ _"]], embeddings: Float[Tensor, "b d"]
    ) -> list[list[Candidate]]:
        """The texts nearest to each picture, best first; of equal texts the first."""
        if self.nearest is None or self.nearest >= len(self.texts):
            return [[Candidate(text, self.source) for text in dict.fromkeys(self.texts)] for _ in pictures]
        rows = self.embeddings.split(_CORPUS_ROWS)
        similarity = torch.cat([embeddings @ some.to(embeddings).T for some in rows], 1)
        best = similarity.topk(self.nearest).indices.tolist()
        return [[Candidate(t, self.source) for t in dict.fromkeys(self.texts[i] for i in row)] for row in best]


@runtime_checkable
class Grammar(Protocol):
    """Sentences with slots."""

    @property
    def slots(self) -> Mapping[str, Sequence[Hashable]]:
        """Every slot's values, in the order in which a search fills them; None leaves a slot unsaid."""
        ...

    def say(self, filled: Mapping[str, Hashable]) -> str | None:
        """The sentence with these slots filled and the others unsaid; None if there is no such sentence."""
        ...


class Template:
    """A sentence in words with slots in braces: `Template("a {age} photo of a {thing}", {"age": [...], ...})`.

    A slot that is not filled yet is left out, and so is the blank beside it.

    Args:
        text: The sentence; a brace that is meant as one is written twice.
        slots: The values of every slot in it; "" leaves the slot unsaid.

    Raises:
        ValueError: if a slot has no values, or values have no slot.
    """

    def __init__(self, text: str, slots: Mapping[str, Sequence[str]]) -> None:
        try:
            named = [name for _, name, spec, conversion in string.Formatter().parse(text) if name is not None]
        except ValueError as error:
            raise ValueError(f"no template: {text!r} ({error}); expected slots such as {{thing}}") from error
        if not named or any(not name.isidentifier() for name in named):
            raise ValueError(f"expected a template with named slots, such as 'a photo of {{thing}}', got {text!r}")
        if set(named) != set(slots) or not all(slots.values()):
            wanted, given = (", ".join(sorted(names)) for names in (set(named), {n for n in slots if slots[n]}))
            raise ValueError(f"the template has the slots {wanted}; values were given for {given or 'none'}")
        self.text = text
        self.slots: Mapping[str, Sequence[Hashable]] = {n: [v or None for v in slots[n]] for n in dict.fromkeys(named)}

    def say(self, filled: Mapping[str, Hashable]) -> str | None:
        """The sentence with these slots filled."""
        return " ".join(self.text.format(**{name: filled.get(name) or "" for name in self.slots}).split())


class Beam:
    """Searches a grammar's sentences for those that fit a picture, slot by slot.

    A slot with more than `keep` values is cut down first: each value is scored alone, in the sentence that says
    nothing else. Then sentences grow by one slot at a time, and the `width` best go on. What is proposed are the
    best of all sentences that were met on the way, long and short.

    Args:
        encode: The texts' rows.
        grammar: What can be said.
        width: Sentences that go on.
        keep: Values of a large slot that stay.
        count: Sentences to propose.
        source: What to call it.
    """

    def __init__(
        self,
        encode: TextEncoder,
        grammar: Grammar,
        *,
        width: int = 16,
        keep: int = 8,
        count: int = 32,
        source: str = "grammar",
    ) -> None:
        self.encode, self.grammar = encode, grammar
        self.width, self.keep, self.count, self.source = width, keep, count, source

    def __call__(
        self, pictures: Sequence[Float[Tensor, "3 _ _"]], embeddings: Float[Tensor, "b d"]
    ) -> list[list[Candidate]]:
        """The best sentences for each picture, best first."""
        return [self._search(row) for row in embeddings]

    def _search(self, row: Float[Tensor, " d"]) -> list[Candidate]:
        met: dict[str, float] = {}

        def score(said: Sequence[str]) -> list[float]:
            if new := [text for text in dict.fromkeys(said) if text not in met]:
                met.update(zip(new, (self.encode(new) @ row).tolist(), strict=True))
            return [met[text] for text in said]

        beam: dict[str, dict[str, Hashable]] = {"": {}}
        for slot, values in self.grammar.slots.items():
            if len(values) > self.keep:
                values = self._best_alone(slot, values, score)
            grown: dict[str, dict[str, Hashable]] = {}
            for filled in beam.values():
                for value in values:
                    more = {**filled, slot: value}
                    if (text := self.grammar.say(more)) is not None:
                        grown.setdefault(text, more)
            if grown:
                ranked = sorted(zip(score(list(grown)), grown, strict=True), key=lambda pair: -pair[0])
                beam = {text: grown[text] for _, text in ranked[: self.width]}
        best = sorted(met, key=lambda text: -met[text])[: self.count]
        return [Candidate(text, self.source) for text in best]

    def _best_alone(self, slot: str, values: Sequence[Hashable], score: _Score) -> list[Hashable]:
        """The values whose sentence alone fits best, with those that have none and so cannot be told apart."""
        said = {value: self.grammar.say({slot: value}) for value in values}
        texts = [text for value, text in said.items() if text is not None and value is not None]
        if not texts:
            return list(values)
        worth = dict(zip(texts, score(texts), strict=True))
        known = sorted((v for v, t in said.items() if t in worth), key=lambda v: -worth[said[v] or ""])
        return [v for v in values if v is None or v in known[: self.keep] or said[v] is None]
