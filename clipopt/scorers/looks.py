"""A natural scorer that also keeps what a picture looks like, place by place: for learning from a few pictures.

The classes of a network say little about what none of them is, such as a digit; layers in its middle see it well.
"""

import hashlib
import math
from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.scorers.classifier import NaturalClassifier, load_natural
from clipopt.scorers.efficientnet import EfficientNetLite
from clipopt.types import Embeddings, Images, PerItem, check_images

MARK = "+looks"
"""Behind the name of a natural scorer: with looks."""
_NAMED = 0.5  # of the squared length of a row, what the classes are; the rest are looks
_SIDE = 4


class Looks(nn.Module):
    """A `Scorer` whose picture rows hold the classes, and beside them the looks, which texts say nothing of.

    Texts choose as they do without; what is learned from pictures can use the looks too.

    Args:
        base: Whose networks are asked.
    """

    head: Literal["softmax", "sigmoid"] = "softmax"

    def __init__(self, base: NaturalClassifier) -> None:
        super().__init__()
        self.base, self.name, self.image_size = base, f"{base.name}{MARK}", base.image_size
        self.fingerprint = hashlib.sha256(f"{base.fingerprint} looks {_NAMED} {_SIDE}".encode()).hexdigest()[:12]
        self.scale = base.scale / math.sqrt(_NAMED)

    def encode_image(self, images: Images) -> Embeddings:
        """Unit rows of pictures of any size, differentiable in them."""
        images = check_images(images, like=next(self.base.parameters(), None))
        logits, looks = [], []
        for network in self.base.networks:
            if not isinstance(network, EfficientNetLite):
                raise ValueError(f"{self.base.name} does not tell what its middle layers see: leave out {MARK}")
            said, seen = network.look(images, _SIDE)
            logits.append(F.normalize(said - said.mean(-1, keepdim=True), dim=-1))
            looks += [F.normalize(each, dim=-1) for each in seen]
        named, seen_all = (torch.cat(each, 1) / len(each) ** 0.5 for each in (logits, looks))
        return torch.cat([named * math.sqrt(_NAMED), seen_all * math.sqrt(1 - _NAMED)], 1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """Unit rows of `texts`, zero where the looks are."""
        more = sum(network.looks for network in self.base.networks if isinstance(network, EfficientNetLite))
        return F.pad(self.base.encode_text(texts), (0, more))

    def logits(self, image: Float[Tensor, "b d"], text: Float[Tensor, "n d"]) -> Float[Tensor, "b n"]:
        """Scaled cosines; of texts the same as without looks."""
        return self.scale * image @ text.T

    def perceive(self, images: Images) -> tuple[Embeddings, PerItem]:
        """Unit rows, and how far the statistics of the layers are from those of photographs; differentiable."""
        return self.encode_image(images), self.base.perceive(images)[1]

    def abstains(self, text: str) -> bool:
        """Whether no class is near `text`."""
        return self.base.abstains(text)


def load_looks(spec: str, *, device: str = "cpu") -> Looks:
    """The scorer "natural+looks", or of other networks "natural:lite0+looks".

    Raises:
        ValueError: a network is unknown, or a package is missing.
    """
    return Looks(load_natural(spec.removesuffix(MARK), device=device))
