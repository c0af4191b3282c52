"""What a run should match, and what it should stay away from."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipopt.scorers.protocol import Scorer

Prompt = str | Tensor
Item = Prompt | Mapping[str, float | int] | Mapping[Tensor, float | int] | Mapping[Prompt, float | int]


_THINGS = ("a picture", "a painting", "a photo of a house", "a drawing of an animal", "a landscape")
_LETTERED = ("{} with text", "{} with words written on it", "{} covered in letters", "{} with a caption")


@dataclass(frozen=True)
class Target:
    """Embedded prompts of a batch of items, ready for a distance. Made by `target`.

    Attributes:
        embeddings: Unit rows of the distinct prompts, shared by all items.
        weights: Weight of every prompt for every item: positive attracts, negative repels, 0 is not part of it.
    """

    embeddings: Float[Tensor, "t d"]
    weights: Float[Tensor, "b t"]


def target(scorer: Scorer, prompts: Item | Sequence[Item]) -> Target:
    """Encode prompts, each distinct one once.

    A prompt is a text or a picture of shape (3, h, w) in [0, 1]. An item is one prompt, or a dict of prompts with
    their weights, taken as they are: they need not sum to 1, and a negative one repels. A sequence makes several
    items.

        target(scorer, "a red fox in the snow")
        target(scorer, {"a red fox in the snow": 1.0, "text": -0.3})
        target(scorer, ["a cat", "a dog", {picture: 0.5, "at night": 0.5}])

    Raises:
        TypeError: if something is neither a text nor a picture, or no number is its weight.
        ValueError: if a prompt or an item is empty, a weight is not finite, all weights of an item are 0, or a
            picture has another shape.

    Example:
        >>> from clipopt.scorers import load_scorer
        >>> target(load_scorer("embedded"), {"a red apple": 1.0, "a leaf": -0.3}).weights
        tensor([[ 1.0000, -0.3000]])
    """
    several = [*prompts] if isinstance(prompts, Sequence) and not isinstance(prompts, str) else [prompts]
    items = [_weigh(item) for item in several]
    if not items:
        raise ValueError("no prompts: expected at least one text or picture")
    distinct = list(dict.fromkeys(prompt for item in items for prompt in item))
    texts = [prompt for prompt in distinct if isinstance(prompt, str)]
    rows: dict[Prompt, Tensor] = dict(zip(texts, scorer.encode_text(texts), strict=True)) if texts else {}
    with torch.no_grad():
        for prompt in distinct:
            if isinstance(prompt, Tensor):
                rows[prompt] = scorer.encode_image(prompt.view(1, *prompt.shape[-3:]))[0]
    embeddings = torch.stack([rows[prompt] for prompt in distinct])
    weights = torch.tensor([[item.get(prompt, 0.0) for prompt in distinct] for item in items])
    return Target(embeddings, weights.to(embeddings))


def text_off(goal: Target, scorer: Scorer, weight: float = 0.1) -> Target:
    """`goal`, and away from lettering: scorers read, and a picture that spells its prompt pleases them well.

    What is pushed away is a direction, the mean way from a thing to the same thing with words on it. So a picture
    loses its lettering and not its subject, which the plain negative prompt "text" may take along.

    Args:
        goal: What `target` returned for `scorer`.
        scorer: Says what lettering looks like to it.
        weight: How much the direction counts in every item.

    Raises:
        ValueError: if `weight` is not positive.

    Reference:
        The "textoff" vector prompt of pixray (2021), which has a weight of 0.1, too.
    """
    if not weight > 0:
        raise ValueError(f"the weight of what is pushed away must be positive, got {weight}")
    written = scorer.encode_text([template.format(thing) for thing in _THINGS for template in _LETTERED])
    direction = F.normalize(written.mean(0) - scorer.encode_text(_THINGS).mean(0), dim=0)
    away = torch.full_like(goal.weights[:, :1], -weight)
    return Target(torch.cat([goal.embeddings, direction[None]]), torch.cat([goal.weights, away], dim=1))


def _weigh(item: Item) -> dict[Prompt, float]:
    weights: dict[Prompt, float] = {}
    pairs = item.items() if isinstance(item, Mapping) else [(item, 1.0)]
    for prompt, weight in pairs:
        _check(prompt)
        if not isinstance(weight, int | float):
            raise TypeError(f"the weight of {_shown(prompt)} must be a number, got a {type(weight).__name__}")
        if not math.isfinite(weight):
            raise ValueError(f"the weight of {_shown(prompt)} must be a finite number, got {weight}")
        weights[prompt] = float(weight)
    if not any(weights.values()):
        raise ValueError("a prompt of several parts needs at least one part with a weight other than 0")
    return weights


def _check(prompt: Prompt) -> None:
    if isinstance(prompt, str):
        if not prompt.strip():
            raise ValueError("empty prompt: say what to match, or leave it out")
    elif not isinstance(prompt, Tensor):
        raise TypeError(
            "a prompt must be a text, a picture of shape (3, height, width), or a dict of them with their weights, "
            f"got a {type(prompt).__name__}"
        )
    elif prompt.shape[-3:-2] != (3,) or prompt.ndim not in (3, 4) or (prompt.ndim == 4 and len(prompt) != 1):
        raise ValueError(f"a picture as prompt must have the shape (3, height, width), got {tuple(prompt.shape)}")


def _shown(prompt: Prompt) -> str:
    return repr(prompt) if isinstance(prompt, str) else "a picture"
