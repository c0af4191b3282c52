"""A scorer's text tower, opened: from token numbers to unit rows, with embeddings of one's own among the tokens'.

`Scorer.encode_text` takes strings and no gradient. What learns words (hard prompts, prompt vectors, fine-tuning)
comes in here.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.scorers.huggingface import HuggingFaceScorer
from clipopt.scorers.protocol import Scorer
from clipopt.scorers.tower import TowerScorer


@dataclass(frozen=True)
class TextTower:
    """The inside of a scorer's `encode_text`.

    Attributes:
        embedding: The layer that looks token embeddings up.
        tokenize: Texts to token numbers, padded to a common length.
        rows: Token numbers to unit rows, differentiable in the tower's weights.
        first: Place of a text's first token: 1 behind a token that marks the start.
        longest: The most tokens that are read.
    """

    embedding: nn.Module
    tokenize: Callable[[Sequence[str]], Int[Tensor, "n _"]]
    rows: Callable[[Int[Tensor, "n _"]], Float[Tensor, "n _"]]
    first: int
    longest: int

    @property
    def table(self) -> Float[Tensor, "v w"]:
        """The embeddings of all tokens."""
        weight: Any = self.embedding.weight
        return weight

    def length(self, text: str) -> int:
        """How many tokens `text` has when more follows.

        Raises:
            ValueError: it has none.
        """
        alone, twice = (self.tokenize([t])[0].tolist() for t in (text, f"{text} {text}"))
        same = next(
            (i for i, (a, b) in enumerate(zip(alone, twice, strict=False)) if a != b), min(map(len, (alone, twice)))
        )
        if same <= self.first:
            raise ValueError(f"expected a text with at least one token, got {text!r}")
        return same - self.first

    def encode(
        self, ids: Int[Tensor, "n l"], where: Bool[Tensor, "n l"], vectors: Float[Tensor, "m w"]
    ) -> Float[Tensor, "n _"]:
        """Unit rows of texts whose tokens at `where` have these embeddings, row by row; differentiable in them."""
        with self._replaced(where, vectors):
            return self.rows(ids)

    @contextmanager
    def _replaced(self, where: Tensor, vectors: Tensor) -> Iterator[None]:
        def replace(module: Any, inputs: Any, output: Tensor) -> Tensor:
            output = output.clone()
            output[where] = vectors.to(output.dtype)
            return output

        hook = self.embedding.register_forward_hook(replace)
        try:
            yield
        finally:
            hook.remove()


def open_text(scorer: Scorer) -> TextTower:
    """The text tower of a scorer of the package, of transformers or of open_clip.

    Raises:
        ValueError: it is another kind of scorer, such as one that is adapted already.
    """
    if isinstance(scorer, TowerScorer):
        towers = scorer.towers
        device = towers.log_scale.device
        return TextTower(
            towers.text.embedding,
            lambda texts: towers.tokenize(texts).to(device),
            towers.text,
            0,
            towers.config.context,
        )
    if isinstance(scorer, HuggingFaceScorer):
        tokenizer, model = scorer.tokenizer, scorer.model
        starts = (tokenizer.bos_token_id, tokenizer.cls_token_id)

        def numbers(texts: Sequence[str]) -> Tensor:
            return scorer.tokenize(texts).to(model.device)

        first = int(int(numbers(["a"])[0, 0]) in [n for n in starts if n is not None])
        return TextTower(model.text_model.get_input_embeddings(), numbers, scorer.read, first, scorer.context)
    if hasattr(scorer, "model") and hasattr(scorer, "tokenizer"):
        return _open_clip(scorer)
    raise ValueError(
        f"the text tower of {scorer.name} cannot be opened: expected a scorer of clipopt, transformers or open_clip"
    )


def _open_clip(scorer: Any) -> TextTower:
    model, inner = scorer.model, getattr(scorer.tokenizer, "tokenizer", None)
    tower = getattr(model, "text", model)
    embedding = getattr(tower, "token_embedding", None)
    if embedding is None:
        embedding = tower.transformer.get_input_embeddings()

    def numbers(texts: Sequence[str]) -> Tensor:
        return scorer.tokenize(texts).to(model.logit_scale.device)

    def rows(ids: Tensor) -> Tensor:
        return F.normalize(model.encode_text(ids).float(), dim=-1)

    starts = [scorer.tokenizer.sot_token_id] if inner is None else [inner.bos_token_id, inner.cls_token_id]
    first = int(int(numbers(["a"])[0, 0]) in [n for n in starts if n is not None])
    return TextTower(embedding, numbers, rows, first, scorer.context)
