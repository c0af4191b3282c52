"""A tower's own pictures, ascended a little further at every visit: negatives that it has to outgrow."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clipopt.types import Images
from recipes.embedded.perturbations import jitter, unit
from recipes.embedded.pictures import Pictures

_COUNT, _VISITS, _RESTART = 384, 48, 0.04  # pictures, those visited per batch, share of these that begin anew


class ReplayBuffer:
    """Pictures that a tower makes for captions of the world while it trains.

    Args:
        pictures: Whose captions are drawn.
        image: The tower's embedding of pictures, differentiable.
        text: And that of captions as numbers of words.
        scale: The tower's logit scale, as it is now.
        device: Where the pictures are kept.
    """

    def __init__(
        self,
        pictures: Pictures,
        image: Callable[[Images], Tensor],
        text: Callable[[Tensor], Tensor],
        scale: Callable[[], Tensor],
        *,
        device: str = "cpu",
    ) -> None:
        self._pictures, self._image, self._text, self._scale, self._device = pictures, image, text, scale, device
        self._images: Images | None = None
        self._numbers = torch.zeros(0, dtype=torch.long)

    def visit(self, rng: Generator) -> tuple[Images, Tensor]:
        """Ascend the score of some pictures; returns them and the numbers of their captions."""
        if self._images is None:
            self._images = _starts(_COUNT, rng, self._pictures.side).to(self._device)
            self._numbers = torch.randint(len(self._pictures), (_COUNT,), generator=rng)
        chosen = torch.randperm(_COUNT, generator=rng)[:_VISITS]
        numbers = self._numbers[chosen]
        images = self._climb(self._images[chosen], numbers, rng)
        kept = images.clone()
        anew = torch.rand(_VISITS, generator=rng) < _RESTART
        if anew.any():
            kept[anew] = _starts(int(anew.sum()), rng, self._pictures.side).to(self._device)
            self._numbers[chosen[anew]] = torch.randint(len(self._pictures), (int(anew.sum()),), generator=rng)
        self._images[chosen] = kept
        return images, numbers

    def _climb(self, images: Images, numbers: Tensor, rng: Generator) -> Images:
        with torch.no_grad():
            text = self._text(self._pictures.batch(numbers, torch.zeros_like(numbers)).ids)
        for _ in range(2):
            shift = torch.randint(-3, 4, (2,), generator=rng).tolist()
            images = images.detach().requires_grad_(True)
            score = (self._image(torch.roll(images, shift, (2, 3))) * text).sum()
            (gradient,) = torch.autograd.grad(score, images)
            step = 0.5 * unit(gradient)
            step = step + 0.8 * unit(F.avg_pool2d(step, 5, 1, 2))
            noise = torch.randn(images.shape, generator=rng).to(images)
            images = (images.detach() + 1.2 * step + 0.004 * noise).clamp(0, 1)
        return images

    def loss(self, images: Images, numbers: Tensor, rng: Generator) -> tuple[Tensor, float]:
        """Each caption must prefer the drawing it tells of to all of these; and by how much it does, as a cosine."""
        batch = self._pictures.batch(numbers, torch.zeros_like(numbers))
        real = jitter(batch.images.to(self._device).float() / 255, rng)
        both, text = self._image(torch.cat([real, images])), self._text(batch.ids)
        right, wrong = both.chunk(2)
        match = (right * text).sum(-1, keepdim=True)
        logits = self._scale().detach() * torch.cat([match, text @ wrong.T], 1)
        gap = float((match.mean() - (wrong * text).sum(-1).mean()).detach())
        return F.cross_entropy(logits, torch.zeros(len(text), dtype=torch.long, device=logits.device)), gap

    def state(self) -> dict[str, Any]:
        """What `resume` needs."""
        return {"images": self._images, "numbers": self._numbers}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._images, self._numbers = state["images"], state["numbers"]


def _starts(count: int, rng: Generator, side: int) -> Images:
    """What pictures begin as: grey or one colour, with soft and fine noise."""
    plain = torch.rand(count, 3, 1, 1, generator=rng)
    grey = torch.rand(count, 1, 1, 1, generator=rng) < 0.4
    images = torch.where(grey, torch.full_like(plain, 0.5), plain).expand(-1, -1, side, side)
    coarse = int(torch.randint(1, 5, (), generator=rng))
    soft = F.interpolate(torch.randn(count, 3, 2**coarse, 2**coarse, generator=rng), size=side, mode="bicubic")
    strength = torch.rand(count, 2, 1, 1, 1, generator=rng)
    fine = torch.randn(count, 3, side, side, generator=rng)
    return (images + 0.15 * strength[:, 0] * soft + 0.03 * strength[:, 1] * fine).clamp(0, 1)
