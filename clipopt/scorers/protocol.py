"""What every scorer can do, whatever model is behind it."""

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Scorer(Protocol):
    """A frozen model that knows how well a picture and a text go together.

    It owns its resize, normalisation, tokenizer, precision, scale and bias: pictures go in as RGB in [0, 1], of
    any size, and embeddings come out as unit rows in float32, independent of their neighbours in the batch.

    Attributes:
        name: What a person calls it: the spec it was loaded by, or the name of its file.
        image_size: Side in pixels of the square that it sees; more detail than that is lost on it.
        head: How it was trained to read its logits: "softmax" over the candidates, or an independent "sigmoid".
        fingerprint: Short hash of specification and weights. Embeddings of equal fingerprints can be compared.
    """

    name: str
    image_size: int
    head: Literal["softmax", "sigmoid"]
    fingerprint: str

    def encode_image(self, images: Float[Tensor, "b 3 _ _"]) -> Float[Tensor, "b d"]:
        """Unit rows of pictures in [0, 1], differentiable in them."""
        ...

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit rows of texts, without gradient."""
        ...

    def logits(self, image: Float[Tensor, "b d"], text: Float[Tensor, "n d"]) -> Float[Tensor, "b n"]:
        """What the scorer's head turns into probabilities: scale * cosine + bias."""
        ...


@runtime_checkable
class Perceives(Protocol):
    """A scorer that also tells how unlike photographs pictures are to it."""

    def perceive(self, images: Float[Tensor, "b 3 _ _"]) -> tuple[Float[Tensor, "b d"], Float[Tensor, " b"]]:
        """What `encode_image` gives, and how far the statistics of the layers are from those of photographs, 0 or more.

        Both are differentiable.
        """
        ...


@runtime_checkable
class Abstains(Protocol):
    """A scorer that knows when it has nothing to say of a text."""

    def abstains(self, text: str) -> bool:
        """Whether nothing that it knows is near `text`."""
        ...


@runtime_checkable
class KnowsWords(Protocol):
    """A scorer of a small vocabulary."""

    def unknown_words(self, text: str) -> list[str]:
        """The words of `text` that it never learnt, in order, each once."""
        ...


@runtime_checkable
class KnowsPercentiles(Protocol):
    """A scorer that was shown many pictures of its own world with their captions."""

    def percentile(self, cosines: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """What share of those pictures, in %, matched their captions less well."""
        ...


@runtime_checkable
class SeesFilms(Protocol):
    """A scorer that sees several frames together, and so their order."""

    def encode_text(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """A unit row for each text."""
        ...

    def encode_video(self, frames: Float[Tensor, "n f 3 _ _"]) -> Float[Tensor, "n d"]:
        """A unit row for each film."""
        ...


@runtime_checkable
class Reentrant(Protocol):
    """A scorer that several threads may use at once, and so small that this is quicker than to split its operations."""

    reentrant: Literal[True]


def at_a_time(scorer: Scorer, device: torch.device) -> int:
    """How many batches `scorer` is best shown at the same time."""
    return torch.get_num_threads() if isinstance(scorer, Reentrant) and device.type == "cpu" else 1


@runtime_checkable
class ReadsCharacters(Protocol):
    """A scorer that knows which characters it cannot read."""

    def unread(self, text: str) -> list[str]:
        """The characters of `text` that say something and are lost on it, in order, each once."""
        ...
