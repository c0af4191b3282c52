"""Shape vocabulary, and the conventions that the whole package keeps.

- Images are RGB in [0, 1], batch x channel x height x width, float32.
- A batch holds *items* (prompts x seeds); no item's result depends on its neighbours. The views of one
  item stand together: with `n` views each, item `i` owns rows `i * n` to `(i + 1) * n - 1`.
- Embeddings are unit rows, float32.
- Angles are radians, lengths metres, y is up, coordinate systems are right-handed.
- Everything that is called a loss, a distance or a penalty is minimised.
- Randomness comes from an explicit `torch.Generator` on the CPU; nothing touches the global one.

What comes from outside is held to them by the `check_` functions below: they refuse in a sentence that says what was
expected, what came, and what to do.
"""

import hashlib
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Generator, Tensor

Images = Float[Tensor, "_ 3 _ _"]
Embeddings = Float[Tensor, "_ _"]
PerItem = Float[Tensor, " _"]
Render = Callable[[Any, Generator], Tensor]
LossFn = Callable[[int, Generator], Mapping[str, Tensor]]

_LOWEST, _HIGHEST = -1.0, 2.0
"""Values of pictures beyond these are no overshoot: they were never in [0, 1]."""


def generator(*keys: int) -> Generator:
    """The random stream that belongs to `keys`, for example `generator(seed, step)`.

    Equal keys give equal streams on every machine, different keys independent ones. So a step can be
    drawn again without replaying the steps before it, which is what makes a resumed run the same run.

    Example:
        >>> torch.rand(1, generator=generator(7)) == torch.rand(1, generator=generator(7))
        tensor([True])
    """
    digest = hashlib.blake2b(",".join(str(operator.index(key)) for key in keys).encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


def check_generator(rng: object) -> Generator:
    """The random stream.

    Raises:
        TypeError: it is none; a number makes one.
    """
    if isinstance(rng, Generator):
        return rng
    made = f"generator({rng})" if isinstance(rng, int) and not isinstance(rng, bool) else "generator(0)"
    raise TypeError(f"rng must be a torch.Generator, got {_kind(rng)}: clipopt.{made} makes one")


def check_texts(texts: object) -> Sequence[str]:
    """The texts.

    Raises:
        TypeError: they are no list of texts; a text alone is none.
        ValueError: there are none.
    """
    if isinstance(texts, str):
        raise TypeError(f"expected a list of texts, got the text {texts!r} alone: write [{texts!r}]")
    if not isinstance(texts, Sequence):
        raise TypeError(f"expected a list of texts, got {_kind(texts)}: make a list of it")
    if not texts:
        raise ValueError("no texts to encode: expected at least one")
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"expected a list of texts, got {_kind(text)} at place {place}: put it into words")
    return texts


def check_images(
    images: object, what: str = "images", *, like: Tensor | None = None, values: bool | None = None
) -> Tensor:
    """The images as float32 of shape (b, 3, height, width).

    Args:
        images: What should be some.
        what: What to call them.
        like: A tensor on the device where they are needed.
        values: Whether to look at every value, which takes a pass; None: not where a gradient is wanted.

    Raises:
        TypeError: they are no tensor of floats.
        ValueError: their shape is another, they are elsewhere, or their values are not in [0, 1], overshoot aside.
    """
    wanted = f"{what} must be floats in [0, 1] of shape (batch, 3, height, width)"
    if not isinstance(images, Tensor):
        raise TypeError(f"{wanted}, got {_kind(images)}: clipopt.io.files.load_image makes them of a file")
    if not images.is_floating_point():
        raise TypeError(f"{wanted}, got {images.dtype}: write images.float() / 255 for bytes")
    if images.ndim != 4 or images.shape[1] != 3 or 0 in images.shape[2:]:
        raise ValueError(f"{wanted}, got shape {tuple(images.shape)}{_advice(images)}")
    if like is not None and images.device != like.device:
        raise ValueError(
            f"{what} are on {images.device}, but what should see them is on {like.device}: "
            f'write images.to("{like.device}")'
        )
    seen = not (torch.is_grad_enabled() and images.requires_grad) if values is None else values
    if seen and images.numel():
        low, high = (float(value) for value in torch.aminmax(images.detach()))
        if low != low:
            raise ValueError(f"{wanted}, got values that are not a number: look at what made them")
        if not (low >= _LOWEST and high <= _HIGHEST):
            what_for = "divide bytes by 255" if low >= 0 else "leave out mean and std, every scorer has its own"
            raise ValueError(f"{wanted}, got values from {low:.3g} to {high:.3g}: {what_for}")
    return images.float()


def _advice(images: Tensor) -> str:
    """How to make images of a tensor of another shape."""
    shape = tuple(images.shape)
    if images.ndim == 3 and shape[0] == 3:
        return ": write images[None] for a batch of one"
    if images.ndim in (3, 4) and shape[-1] == 3:
        return f": move the channels, images{'[None]' if images.ndim == 3 else ''}.permute(0, 3, 1, 2)"
    if images.ndim == 4 and shape[1] == 1:
        return ": write images.expand(-1, 3, -1, -1) for grey ones"
    if images.ndim == 4 and shape[1] == 4:
        return ": write images[:, :3] to leave out how opaque they are"
    return ""


def _kind(value: object) -> str:
    """What a value is, for an error's sentence."""
    if value is None or isinstance(value, int | float):
        return repr(value)
    return f"a {type(value).__name__}"


def streams(rng: Generator | Sequence[Generator]) -> list[Generator]:
    """One random stream per item.

    Raises:
        TypeError: If something else is given in place of one.
        ValueError: If there is none.
    """
    each = [check_generator(one) for one in (rng if isinstance(rng, Iterable) else [rng])]
    if not each:
        raise ValueError("expected one generator per item, got none; pass rng=generator(seed)")
    return each
