"""Adapters: what was learned on top of a scorer, as a file, and the scorer that it makes.

`clipopt adapt` learns them, `load_scorer` reads them: the folder names its base scorer and that scorer's fingerprint,
and holds tensors of these kinds, alone or together:

    delta.NAME               added to the base's weight NAME, times `share`
    low.NAME, high.NAME      the two factors of such an addition
    turn (d, d)              a linear map of picture rows, before they are brought to unit length again
    context (m, w)           embeddings of tokens that stand before every text; (c, m, w) has some for each label
    shift (c, d)             added to the row of a text that names label c
    keys (k, d), owners (k)  rows of example pictures and their labels: a cache beside the cosine
"""

import copy
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.scorers.adapter_files import MANIFEST, check_bases, read_adapter
from clipopt.scorers.fingerprint import fingerprint
from clipopt.scorers.protocol import Abstains, KnowsWords, Perceives, ReadsCharacters, Reentrant, Scorer
from clipopt.scorers.reading import open_text
from clipopt.types import Embeddings, Images, PerItem, check_texts


@dataclass(frozen=True)
class Adapter:
    """What was learned on top of a scorer.

    Attributes:
        method: How it was learned.
        labels: What it can name.
        templates: Sentences with {} for a label, whose mean row stands for it.
        tensors: What was learned; see the head of this file.
        base: The spec by which the base scorer is loaded.
        fingerprint: Of the base scorer.
        alpha: Weight of the cache beside the cosine.
        beta: How fast the cache forgets pictures that are less alike.
        share: Of the additions to the weights: 0 is the base, 1 what was learned (WiSE-FT).
        notes: What a person may want to know: settings, results.
    """

    method: str
    labels: tuple[str, ...]
    templates: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    base: str
    fingerprint: str
    alpha: float = 1.0
    beta: float = 5.5
    share: float = 1.0
    notes: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path) -> "Adapter":
        """Read an adapter.

        Raises:
            ValueError: the folder holds none, or one that is damaged or of another version.
        """
        fields, tensors = read_adapter(folder)
        return cls(**fields, tensors=tensors)

    def apply(self, base: Scorer, *, name: str | None = None) -> "AdaptedScorer":
        """The adapted scorer. `base` stays as it is.

        Raises:
            ValueError: `base` is not the scorer that the adapter was learned on, or its tensors do not suit it.
        """
        if base.fingerprint != self.fingerprint:
            raise ValueError(
                f"this adapter was learned on {self.base} (fingerprint {self.fingerprint}), not on {base.name} "
                f"({base.fingerprint}): load it with its own base, or adapt again"
            )
        abilities = tuple(mine for theirs, mine in _ABILITIES.items() if isinstance(base, theirs))
        kind = type("AdaptedScorer", (*abilities, AdaptedScorer), {"__doc__": AdaptedScorer.__doc__})
        return kind(base, self, name=name or f"{base.name} + {self.method}")


class AdaptedScorer(nn.Module):
    """A scorer with an adapter, which is a scorer again. Made by `Adapter.apply`.

    What else its base can do, of the protocols beside `Scorer`, it can do, too.

    A label, alone or in one of the adapter's templates, has the row that was learned for it. In any other text a
    label that is named moves the row as it was learned for the label alone.

    With a cache, a picture's logit for a label is scale * cosine + alpha * sum exp(-beta * (1 - cosine with a key of
    that label)). Rows of both sides are lengthened so that this is again a scale times the cosine of unit rows.

    Attributes:
        base: The scorer underneath, its weights changed where the adapter changes them.
        labels: What it learned to name.
    """

    head: Literal["softmax", "sigmoid"]
    turn: Tensor | None
    context: Tensor | None
    shift: Tensor
    keys: Tensor | None
    owners: Tensor | None

    def __init__(self, base: Any, adapter: Adapter, *, name: str) -> None:
        super().__init__()
        self.name = name
        self.image_size: int = base.image_size
        self.head = base.head
        self.labels, self.templates = adapter.labels, adapter.templates
        described = {key: value for key, value in asdict(adapter).items() if key not in ("tensors", "notes", "base")}
        self.fingerprint = fingerprint(described, adapter.tensors)
        self.base = _changed(base, adapter)
        like = self.base.encode_text(["a"])
        self.scale, self.alpha, self.beta = scale_of(self.base), adapter.alpha, adapter.beta
        nothing = like.new_zeros(len(self.labels), like.shape[1])
        for part in ("shift", "turn", "keys"):
            if part in adapter.tensors and adapter.tensors[part].shape[-1] != like.shape[1]:
                raise ValueError(f"{base.name} has rows of length {like.shape[1]}, {part} is for others: adapt again")
        for part in ("turn", "context", "shift", "keys", "owners"):
            tensor = adapter.tensors.get(part, nothing if part == "shift" else None)
            self.register_buffer(part, None if tensor is None else tensor.to(like.device))
        if self.owners is not None:
            self.one_hot = F.one_hot(self.owners.long(), len(self.labels)).float()
            # The longest that the lengthened rows can get, and the split between both sides that keeps it short.
            self._most = math.sqrt(float(self.one_hot.sum(0).square().sum()))
            self._gain = self.alpha / self.scale
            self._stretch = 1 + self._gain * self._most
        names = sorted(map(re.escape, self.labels), key=len, reverse=True)
        self._named = re.compile(rf"\b({'|'.join(names)})\b", re.IGNORECASE)
        self._number = {label.lower(): number for number, label in enumerate(self.labels)}
        self._whole = {_plain(t.format(label)): n for n, label in enumerate(self.labels) for t in self.templates}
        self._whole |= {_plain(label): n for n, label in enumerate(self.labels)}
        self.rows = self._label_rows()
        self.eval().requires_grad_(False)

    def encode_image(self, images: Images) -> Embeddings:
        """Unit rows of pictures of any size, differentiable in them."""
        return self.adapt_rows(self.base.encode_image(images))

    def adapt_rows(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n _"]:
        """Rows of pictures by the base, which may have been kept, as rows by this scorer; differentiable."""
        if self.turn is not None:
            rows = F.normalize(rows @ self.turn.T, dim=1)
        if self.keys is None:
            return rows
        near = torch.exp(-self.beta * (1 - rows @ self.keys.T)) @ self.one_hot
        return _lengthen(rows, near * math.sqrt(self._gain / self._most), self._stretch, last=0)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """Unit rows of texts; see the class."""
        texts = check_texts(texts)
        known = [self._whole.get(_plain(text), -1) for text in texts]
        named = [self.mentioned(text) if n < 0 else [n] for text, n in zip(texts, known, strict=True)]
        whole = torch.tensor(known, device=self.rows.device)
        several = self.shift.new_tensor([[float(n in some) for n in range(len(self.labels))] for some in named])
        rows = F.normalize(self._read(texts, named) + several @ self.shift, dim=1)
        rows = torch.where((whole >= 0)[:, None], self.rows[whole], rows)
        if self.keys is None:
            return rows
        owned = F.normalize(several, dim=1) * math.sqrt(self._gain * self._most)
        return _lengthen(rows, owned, self._stretch, last=1)

    def logits(self, image: Float[Tensor, "b d"], text: Float[Tensor, "n d"]) -> Float[Tensor, "b n"]:
        """Scaled cosines, plus what the cache says and the bias of a sigmoid head."""
        return self.base.logits(image if self.keys is None else self._stretch * image, text)

    def mentioned(self, text: str) -> list[int]:
        """Numbers of the labels that a text names, in order, each once."""
        return list(dict.fromkeys(self._number[found.lower()] for found in self._named.findall(text)))

    def without_labels(self, text: str) -> str:
        """What a text says beside the labels that it names."""
        return self._named.sub(" ", text)

    def _label_rows(self) -> Float[Tensor, "c d"]:
        templates = ("{}",) if self.context is not None else self.templates
        texts = [template.format(label) for label in self.labels for template in templates]
        read = self._read(texts, [[n] for n in range(len(self.labels)) for _ in templates])
        rows = F.normalize(read.view(len(self.labels), len(templates), -1).mean(1), dim=1)
        return F.normalize(rows + self.shift, dim=1)

    @torch.no_grad()
    def _read(self, texts: Sequence[str], named: Sequence[Sequence[int]]) -> Embeddings:
        """Rows of texts, behind the learned context if there is one."""
        if self.context is None:
            return self.base.encode_text(texts)
        context = self.context
        shared = context if context.ndim == 2 else context.mean(0)
        own = [context[some[0]] if some and context.ndim == 3 else shared for some in named]
        return read_behind(self.base, torch.stack(own), texts)


class _KnowsWords(AdaptedScorer):
    def unknown_words(self, text: str) -> list[str]:
        """The words of `text` outside its labels that the base never learnt."""
        return self.base.unknown_words(self.without_labels(text))


class _ReadsCharacters(AdaptedScorer):
    def unread(self, text: str) -> list[str]:
        """The characters of `text` outside its labels that are lost on the base."""
        return self.base.unread(self.without_labels(text))


class _Abstains(AdaptedScorer):
    def abstains(self, text: str) -> bool:
        """Whether `text` names no label, and the base knows nothing near it."""
        return not self.mentioned(text) and self.base.abstains(text)


class _Perceives(AdaptedScorer):
    def perceive(self, images: Images) -> tuple[Embeddings, PerItem]:
        """What `encode_image` gives, and how unlike photographs the pictures are to the base; differentiable."""
        rows, strange = self.base.perceive(images)
        return self.adapt_rows(rows), strange


class _Reentrant(AdaptedScorer):
    reentrant: Literal[True] = True


_ABILITIES: dict[type, type[AdaptedScorer]] = {
    KnowsWords: _KnowsWords, ReadsCharacters: _ReadsCharacters, Abstains: _Abstains, Perceives: _Perceives,
    Reentrant: _Reentrant,
}  # fmt: skip


def read_behind(scorer: Scorer, context: Float[Tensor, "n m w"], texts: Sequence[str]) -> Float[Tensor, "n d"]:
    """Unit rows of texts, each behind its own embeddings of m tokens; differentiable in these."""
    tower = open_text(scorer)
    if context.shape[2] != tower.table.shape[1]:
        own = tower.table.shape[1]
        raise ValueError(f"the context has tokens of {context.shape[2]} numbers, {scorer.name} of {own}: adapt again")
    # Some tokenizers write a word in another way at the start of a text: there has to be one before it.
    ids, before, length = tower.tokenize([f"a {text}" for text in texts]), tower.length("a"), context.shape[1]
    place = ids[:, tower.first, None].expand(-1, length)
    longer = torch.cat([ids[:, : tower.first], place, ids[:, tower.first + before :]], 1)
    ids, cut = longer[:, : tower.longest], longer[:, tower.longest :]
    if not (cut == ids[:, -1:]).all():
        raise ValueError(f"{scorer.name} reads {tower.longest} tokens: a text is too long behind {length} of a context")
    where = torch.zeros_like(ids, dtype=torch.bool)
    where[:, tower.first : tower.first + length] = True
    return tower.encode(ids, where, context.flatten(0, 1))


def load_adapted(
    folder: Path, load: Callable[..., Scorer], *, device: str = "cpu", dtype: str = "auto"
) -> AdaptedScorer:
    """Read an adapter and the scorer underneath, which `load` loads as `load_scorer` does.

    Raises:
        ValueError: the adapter is damaged, its base cannot be loaded, or is another one by now.
    """
    check_bases(folder)
    adapter = Adapter.load(folder)
    changes = any(name.startswith(("delta.", "low.")) for name in adapter.tensors)
    try:
        base: Any = load(adapter.base, device=device, dtype="float32" if changes else dtype)
    except ValueError as error:
        raise ValueError(f"cannot load the base of {folder}: {error} (or correct {folder / MANIFEST})") from error
    adapted = adapter.apply(base, name=folder.name)
    if changes and hasattr(adapted.base, "model"):  # a small change would be lost in weights that are rounded already
        from clipopt.scorers.precision import resolve_dtype

        number_format = resolve_dtype(dtype, device)
        adapted.base.model.to(number_format)
        if hasattr(adapted.base, "dtype"):
            adapted.base.dtype = number_format
    return adapted


def scale_of(scorer: Scorer) -> float:
    """The factor between a scorer's cosines and its logits."""
    row = F.normalize(scorer.encode_text(["a"])[:1], dim=1)
    return float((scorer.logits(row, row) - scorer.logits(0 * row, row)).detach())


def _changed(base: Any, adapter: Adapter) -> Any:
    """The base, or a copy of it with other weights."""
    changes = {name.partition(".")[2] for name in adapter.tensors if name.startswith(("delta.", "low."))}
    if not changes:
        return base
    base = copy.deepcopy(base)
    weights = dict(base.named_parameters())
    if unknown := sorted(changes - weights.keys()):
        raise ValueError(f"the adapter changes {unknown[0]}, which {base.name} does not have: adapt again")
    with torch.no_grad():
        for name in changes:
            weight, delta = weights[name], adapter.tensors.get(f"delta.{name}")
            if delta is None:
                high, low = adapter.tensors[f"high.{name}"], adapter.tensors[f"low.{name}"]
                fits = (len(high), low.shape[1]) == (weight.shape[:1].numel(), weight[:1].numel())
                delta = high @ low if fits else high
            else:
                fits = delta.shape == weight.shape
            if not fits:
                raise ValueError(f"what the adapter adds to {name} has another shape than that: adapt again")
            weight += adapter.share * delta.to(weight).view_as(weight)
    return base


def _lengthen(
    rows: Float[Tensor, "n d"], more: Float[Tensor, "n c"], stretch: float, last: int
) -> Float[Tensor, "n _"]:
    """Unit rows of `rows` and `more` beside each other; what lacks in length goes to a coordinate of this side."""
    rest = (stretch - 1 - more.square().sum(1, keepdim=True)).clamp(min=0)
    # The slope of a root is infinite at 0; nothing is lost by a length of a thousandth there.
    rest = (rest + 1e-12).sqrt()
    sides = (rest, torch.zeros_like(rest)) if last == 0 else (torch.zeros_like(rest), rest)
    return torch.cat([rows, more, *sides], 1) / math.sqrt(stretch)


def _plain(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))
