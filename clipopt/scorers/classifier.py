"""Any image classifier whose classes have names, joined to any sentence encoder: a scorer for natural pictures.

A network of natural photographs knows a thousand things by sight and no language; a sentence encoder knows language
and sees nothing. The names of the classes join them: a sentence is as near to a class as to its name.
"""

import hashlib
import json
from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.scorers.efficientnet import load_efficientnet
from clipopt.scorers.protocol import ReadsCharacters
from clipopt.scorers.sentences import Sentences, load_sentences
from clipopt.scorers.vocabulary import NEAR, Reading, Vocabulary, imagenet_names
from clipopt.types import Embeddings, Images, PerItem, check_images, check_texts

Rule = Literal["logits", "conse"]


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


@runtime_checkable
class Photographic(Network, Protocol):
    """A network that also knows which statistics its layers have in photographs."""

    def perceive(self, images: Images) -> tuple[Float[Tensor, "b n"], PerItem]:
        """Logits, and how far the statistics of its layers are from those of photographs."""
        ...


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
        self._vocabulary, self._temperature = Vocabulary(names, sentences, nearest), temperature
        said = [[*map(list, names)], networks_fingerprint, sentences.fingerprint, rule, nearest, temperature]
        self.fingerprint = hashlib.sha256(json.dumps(said).encode()).hexdigest()[:12]
        self._index = {each[0].lower(): number for number, each in enumerate(names)}

    def encode_image(self, images: Images) -> Embeddings:
        """Unit rows of pictures of any size, differentiable in them."""
        images = self._checked(images)
        return self._join([network(images) for network in self.networks])

    def _checked(self, images: Images) -> Images:
        return check_images(images, like=next(self.parameters(), None))

    def _join(self, logits: Sequence[Tensor]) -> Embeddings:
        if self.rule == "conse":
            bank = self._vocabulary.bank.to(logits[0])
            rows = [F.normalize((each / self._temperature).softmax(-1) @ bank + 1e-6, dim=-1) for each in logits]
        else:
            rows = [F.normalize(each - each.mean(-1, keepdim=True), dim=-1) for each in logits]
        return torch.cat(rows, 1) / len(rows) ** 0.5

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """Unit rows of `texts`, of one that it abstains from, too."""
        texts = check_texts(texts)
        if self.rule == "conse":
            things = self._vocabulary.encode([self._vocabulary.shares(text)[2] for text in texts])
            row = F.normalize(things - self._vocabulary.mean, dim=-1)
        else:
            row = F.normalize(torch.stack([self._vocabulary.shares(text)[0] for text in texts]), dim=-1)
        place = next(self.parameters(), row).device
        return (row.repeat(1, len(self.networks)) / len(self.networks) ** 0.5).to(place)

    def logits(self, image: Float[Tensor, "b d"], text: Float[Tensor, "n d"]) -> Float[Tensor, "b n"]:
        """Scaled cosines."""
        return self.scale * image @ text.T

    @torch.no_grad()
    def probabilities(self, images: Images) -> Float[Tensor, "b n"]:
        """Of each class, the mean over the networks."""
        return torch.stack([network(images).softmax(-1) for network in self.networks]).mean(0)

    def names_in(self, images: Images, most: int = 3) -> list[str]:
        """What it sees in each picture: the likeliest classes with their probabilities, in words."""
        told = self.probabilities(images).topk(min(most, len(self.names)))
        rows = zip(told.indices.tolist(), told.values.tolist(), strict=True)
        return [", ".join(f"{self.names[n][0]} {p:.2f}" for n, p in zip(*row, strict=True)) for row in rows]

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
        return self._vocabulary.reading(text)

    def abstains(self, text: str) -> bool:
        """Whether no class is near `text`."""
        return self.reading(text).nearness < NEAR

    def unread(self, text: str) -> list[str]:
        """The characters of `text` that its sentence encoder has no token for, in order, each once."""
        sentences = self._vocabulary.sentences
        return sentences.unread(text) if isinstance(sentences, ReadsCharacters) else []


class NaturalClassifier(Classifier):
    """A `Classifier` of networks that all know the statistics of photographs, see `Photographic`."""

    reentrant: Literal[True] = True

    def perceive(self, images: Images) -> tuple[Embeddings, PerItem]:
        """Unit rows, and how far the statistics of the layers are from those of photographs; differentiable."""
        images = self._checked(images)
        seen = [network.perceive(images) for network in self.networks if isinstance(network, Photographic)]
        return self._join([logits for logits, _ in seen]), torch.stack([strange for _, strange in seen]).mean(0)


NATURAL = {"natural": "lite0+lite2", "natural-judge": "lite1"}
"""The scorers in packages, by their networks; others are "natural:lite0", which is faster, or "natural:lite2"."""


def is_natural(spec: str) -> bool:
    """Whether `spec` names a network of the packages."""
    return spec in NATURAL or spec.startswith("natural:")


def load_natural(spec: str = "natural", *, device: str = "cpu", rule: Rule = "logits") -> NaturalClassifier:
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
    return NaturalClassifier(
        networks, imagenet_names(), sentences, name=spec, networks_fingerprint="+".join(variants), rule=rule
    ).to(device)
