"""Shape vocabulary, and the conventions that the whole package keeps.

- Images are RGB in [0, 1], batch x channel x height x width, float32.
- A batch holds *items* (prompts x seeds); no item's result depends on its neighbours. The views of one
  item stand together: with `n` views each, item `i` owns rows `i * n` to `(i + 1) * n - 1`.
- Embeddings are unit rows, float32.
- Angles are radians, lengths metres, y is up, coordinate systems are right-handed.
- Everything that is called a loss, a distance or a penalty is minimised.
- Randomness comes from an explicit `torch.Generator` on the CPU; nothing touches the global one.
"""

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

Images = Float[Tensor, "_ 3 _ _"]
Embeddings = Float[Tensor, "_ _"]
PerItem = Float[Tensor, " _"]
Render = Callable[[Any, Generator], Tensor]
LossFn = Callable[[int, Generator], Mapping[str, Tensor]]


def generator(*keys: int) -> Generator:
    """The random stream that belongs to `keys`, for example `generator(seed, step)`.

    Equal keys give equal streams on every machine, different keys independent ones. So a step can be
    drawn again without replaying the steps before it, which is what makes a resumed run the same run.
    """
    digest = hashlib.blake2b(",".join(map(str, keys)).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)
