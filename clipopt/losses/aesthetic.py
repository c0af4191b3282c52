"""How much people like a picture, guessed from its embedding."""

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.io.folders import at_home
from clipopt.types import Embeddings, PerItem

BEST = 10.0
"""Top of the scale on which people gave their marks; 1 is its bottom."""


@dataclass(frozen=True)
class Aesthetic:
    """A linear head on a scorer's embeddings of pictures. Made by `load_aesthetic`.

    Used as a penalty of `Matching`, whose scorer must be the very model that the head was trained on:

        penalties={"aesthetic": lambda images: 0.02 * head.penalty(scorer.encode_image(images))}

    Attributes:
        weight: One per dimension of the embeddings.
        bias: A single number.
    """

    weight: Float[Tensor, " d"]
    bias: Float[Tensor, ""]

    def __call__(self, embeddings: Embeddings) -> PerItem:
        """The mark that people would give, about 1 to 10; higher is better.

        Raises:
            ValueError: If the embeddings are of another model.
        """
        if embeddings.shape[1] != len(self.weight):
            raise ValueError(
                f"the aesthetic head reads embeddings of {len(self.weight)} numbers, got {embeddings.shape[1]}: "
                "use the scorer that it was trained on"
            )
        return embeddings @ self.weight.to(embeddings) + self.bias.to(embeddings)

    def penalty(self, embeddings: Embeddings) -> PerItem:
        """What is missing to the top mark, as a loss.

        Reference:
            Schuhmann, "improved-aesthetic-predictor" (2022); as a loss: White, "pixray" (2021), with weight 0.02.
        """
        return BEST - self(embeddings)


def load_aesthetic(spec: str | Path) -> Aesthetic:
    """Read an aesthetic head: LAION's linear one, or its stack of linear layers.

    The published stack has nothing between its layers but dropout, so it is linear too and is multiplied out.

    Args:
        spec: A local .safetensors, .pth or .pt file, or OWNER/MODEL/FILE on the Hugging Face hub.

    Raises:
        ValueError: If it cannot be read, or holds no chain of linear layers that ends in one number.
    """
    path = at_home(spec)
    if not path.is_file():
        path = _download(str(spec))
    layers = _layers(path, _read(path))
    weight, bias = layers[0]
    for later, shift in layers[1:]:
        weight, bias = later @ weight, later @ bias + shift
    return Aesthetic(weight[0].float(), bias[0].float())


def _layers(path: Path, tensors: dict[str, Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Weight and bias of each layer in double precision, in the order of the numbers in their names."""
    names = sorted(
        (name.removesuffix("weight") for name in tensors if name.endswith("weight")),
        key=lambda name: [int(number) for number in re.findall(r"\d+", name)],
    )
    layers = [(tensors[f"{n}weight"].double(), tensors[f"{n}bias"].double()) for n in names if f"{n}bias" in tensors]
    sizes = [tuple(weight.shape) for weight, _ in layers]
    widths = [size[0] for size in sizes]
    fits = all(len(size) == 2 for size in sizes) and [size[1] for size in sizes[1:]] == widths[:-1]
    if not layers or not fits or widths[-1] != 1 or 2 * len(layers) != len(tensors):
        raise ValueError(f"{path} is no aesthetic head: expected linear layers that end in one number, got {sizes}")
    return layers


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # pickle and safetensors have errors of their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"cannot read the aesthetic head {path}: {reason}") from error
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} is no aesthetic head: expected the weights of linear layers")
    return state


def _download(spec: str) -> Path:
    from huggingface_hub import hf_hub_download

    parts = spec.split("/", 2)
    if len(parts) < 3 or not all(parts):
        raise ValueError(
            f"no such aesthetic head: {spec}: expected a file, or OWNER/MODEL/FILE on the Hugging Face hub"
        )
    model = "/".join(parts[:2])
    try:
        return Path(hf_hub_download(model, parts[2], etag_timeout=4))
    except Exception as error:  # a download fails in the ways of half a dozen libraries
        reason = " ".join(str(error).split())
        raise ValueError(f"no such file {spec}, and it cannot be downloaded from the hub: {reason}") from error
