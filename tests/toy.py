"""A tiny scorer for tests: a frozen random two-layer network for pictures, a hash for texts."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipopt.types import Embeddings, Images, PerItem, generator


@dataclass(frozen=True)
class ToyScorer:
    """Each row depends on its own image or text alone, and on every pixel."""

    image_size: int = 16
    dim: int = 24
    seed: int = 0
    name: str = "toy"
    fingerprint: str = "toy"
    head: Literal["softmax", "sigmoid"] = "softmax"

    def encode_image(self, images: Images) -> Embeddings:
        rng = generator(self.seed, 7)
        pixels = 3 * self.image_size**2
        first = (torch.randn(pixels, 4 * self.dim, generator=rng) / pixels**0.5).to(images)
        second = (torch.randn(4 * self.dim, self.dim, generator=rng) / (4 * self.dim) ** 0.5).to(images)
        size = (self.image_size, self.image_size)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True)
        hidden = torch.tanh(8 * (images - 0.5).flatten(1) @ first + 0.5)
        return F.normalize(hidden @ second, dim=1)

    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        keys = [int.from_bytes(hashlib.blake2b(text.encode(), digest_size=6).digest(), "big") for text in texts]
        return F.normalize(torch.stack([torch.randn(self.dim, generator=generator(key)) for key in keys]), dim=1)

    def logits(self, image: Float[Tensor, "b d"], text: Float[Tensor, "n d"]) -> Float[Tensor, "b n"]:
        return 100 * image @ text.T


@dataclass(frozen=True)
class ToyNatural(ToyScorer):
    """Also tells how strange pictures are, and has nothing to say of texts without a word of `knows`."""

    knows: tuple[str, ...] = ("fox", "apple")
    name: str = "toy natural"

    def perceive(self, images: Images) -> tuple[Embeddings, PerItem]:
        return self.encode_image(images), (images - 0.4).square().mean((1, 2, 3))

    def abstains(self, text: str) -> bool:
        return not set(self.knows) & set(text.split())
