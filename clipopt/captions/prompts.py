"""Words that a scorer takes for a picture, found by gradient: hard prompts."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from clipopt.captions.candidates import Candidate
from clipopt.scorers import Scorer
from clipopt.scorers.huggingface import HuggingFaceScorer
from clipopt.scorers.reading import open_text
from clipopt.scorers.tower import TowerScorer
from clipopt.types import generator

LONGEST = 256
"""Most words of a search; no text tower reads more."""


class _Reader:
    """A scorer's text tower, opened at the embeddings of its words.

    Only words that are one token of their own are searched, so that a prompt written out and read again is the same.
    """

    def __init__(self, scorer: Scorer) -> None:
        if isinstance(scorer, TowerScorer):
            self.words = list(scorer.towers.config.vocabulary)
            self.ids = scorer.towers.tokenize(self.words)[:, 0]
        elif isinstance(scorer, HuggingFaceScorer):
            self.words, self.ids = _whole_words(scorer.tokenizer)
        else:
            raise ValueError(
                f"cannot search prompts for {scorer.name}: expected a scorer of transformers or of clipopt"
            )
        if not self.words:
            raise ValueError(f"{scorer.name} has no word that is one token: no prompt can be searched")
        self.name, self.tower = scorer.name, open_text(scorer)
        self.table: Float[Tensor, "v w"] = self.tower.table[self.ids.to(self.tower.table.device)].float()

    def frame(self, length: int) -> Int[Tensor, "1 _"]:
        """The tokens of a prompt of `length` words, all of them the first one, which stands for whatever comes."""
        tokens = self.tower.tokenize([" ".join([self.words[0]] * length)])
        if int((tokens == self.ids[0]).sum()) != length:
            raise ValueError(f"{self.name} does not read {length} words: ask for a shorter prompt")
        return tokens

    def encode(self, frame: Int[Tensor, "1 _"], embedded: Float[Tensor, "l w"]) -> Float[Tensor, " d"]:
        """The unit row of the prompt whose words have these embeddings, differentiable in them."""
        return self.tower.encode(frame, frame == self.ids[0].to(frame.device), embedded)[0]


class PromptSearch:
    """Words that a scorer takes for a picture, found by gradient among all that it knows.

    The words are moved freely; every step rounds them to known ones, takes the gradient there, and applies it to the
    free ones. What is proposed has been written out, read again by the scorer as any text is, and ranked by that.
    The words fit the scorer; do not expect a sentence.

    Args:
        scorer: Whose words.
        length: How many of them.
        steps: Steps for each picture.
        count: The best prompts to propose.
        lr: Learning rate.
        decay: Weight decay.
        seed: Of the words to start from.

    Raises:
        ValueError: the scorer's text tower cannot be opened, or reads fewer words.

    Reference:
        Wen et al., "Hard Prompts Made Easy: Gradient-Based Discrete Optimization for Prompt Tuning and Discovery"
        (2023), arXiv:2302.03668, with its AdamW of rate and decay 0.1.
    """

    def __init__(
        self,
        scorer: Scorer,
        *,
        length: int = 6,
        steps: int = 200,
        count: int = 8,
        lr: float = 0.1,
        decay: float = 0.1,
        seed: int = 0,
    ) -> None:
        if not 1 <= length <= LONGEST:
            raise ValueError(f"a search takes 1 to {LONGEST} words, got {length}; 6 is the usual choice")
        self.scorer, self._reader = scorer, _Reader(scorer)
        self._frame = self._reader.frame(length)
        self.length, self.steps, self.count, self.lr, self.decay, self.seed = length, steps, count, lr, decay, seed

    def __call__(
        self, pictures: Sequence[Float[Tensor, "3 _ _"]], embeddings: Float[Tensor, "b d"]
    ) -> list[list[Candidate]]:
        """The best prompts for each picture, best first, as read again."""
        return [self._search(row.detach()) for row in embeddings]

    def _search(self, row: Float[Tensor, " d"]) -> list[Candidate]:
        reader, table = self._reader, self._reader.table
        start = torch.randint(len(table), (self.length,), generator=generator(self.seed))
        free = table[start.to(table.device)].clone().requires_grad_()
        optimizer = torch.optim.AdamW([free], lr=self.lr, weight_decay=self.decay)
        directions = F.normalize(table, dim=1)
        met: dict[str, float] = {}
        for _ in range(self.steps):
            nearest = (F.normalize(free.detach(), dim=1) @ directions.T).argmax(1)
            rounded = table[nearest].clone().requires_grad_()
            cosine = reader.encode(self._frame, rounded) @ row
            met[" ".join(reader.words[int(i)] for i in nearest)] = float(cosine.detach())
            (gradient,) = torch.autograd.grad(-cosine, rounded)
            free.grad = gradient
            optimizer.step()
        promising = sorted(met, key=lambda text: -met[text])[: 2 * self.count]
        read = (self.scorer.encode_text(promising) @ row).tolist()
        ranked = sorted(zip(read, promising, strict=True), key=lambda pair: -pair[0])
        return [Candidate(text, "search") for _, text in ranked[: self.count]]


def _whole_words(tokenizer: Any) -> tuple[list[str], Int[Tensor, " v"]]:
    """The words of ASCII letters that are one token, with its number."""
    texts = {number: tokenizer.decode([number]).strip().lower() for number in range(len(tokenizer))}
    letters = {number: text for number, text in texts.items() if text.isascii() and text.isalpha()}
    rows = tokenizer(list(letters.values()), add_special_tokens=False)["input_ids"] if letters else []
    words = {row[0]: text for (number, text), row in zip(letters.items(), rows, strict=True) if row == [number]}
    return list(words.values()), torch.tensor(list(words), dtype=torch.long)
