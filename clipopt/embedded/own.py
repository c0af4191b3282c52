"""A tower's own pictures, ascended a little further at every visit: negatives that it has to outgrow."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clipopt.embedded.perturbations import jitter, unit
from clipopt.embedded.pictures import Pictures
from clipopt.types import Images

_COUNT, _VISITS, _RESTART = 256, 32, 0.025  # pictures, those visited per batch, share of these that begin anew
_CLIMB = 4  # steps of a picture at each visit
_FIRST, _LAST, _AGE = (
    1.5,
    0.3,
    60,
)  # L2 lengths of its first and last steps; how fast they shorten
_REAL = 0.25  # share that begins as a real picture of something else
_SCALE = 20.0  # logit scale of the loss: at the tower's own, up to 60, no picture would be good enough to matter


class OwnPictures:
    """Pictures that a tower makes for captions of the world while it trains.

    They must be as good as what a drawing reaches, or they teach nothing: a picture lives for 160 steps on average,
    which shorten with its age. Half of them also climb away from a false caption.

    Args:
        pictures: Whose captions are drawn.
        image: The tower's embedding of pictures, differentiable.
        text: And that of captions as numbers of words.
        device: Where the pictures are kept.
    """

    def __init__(
        self,
        pictures: Pictures,
        image: Callable[[Images], Tensor],
        text: Callable[[Tensor], Tensor],
        *,
        device: str = "cpu",
    ) -> None:
        self._pictures, self._image, self._text, self._device = pictures, image, text, device
        self._images: Images | None = None
        self._numbers = torch.zeros(0, dtype=torch.long)
        self._ages = torch.zeros(0)

    def visit(self, rng: Generator) -> tuple[Images, Tensor]:
        """Ascend the score of some pictures; returns them and the numbers of their captions."""
        if self._images is None:
            self._images = self._starts(_COUNT, rng)
            self._numbers = torch.randint(len(self._pictures), (_COUNT,), generator=rng)
            self._ages = torch.zeros(_COUNT)
        chosen = torch.randperm(_COUNT, generator=rng)[:_VISITS]
        numbers, ages, images = self._numbers[chosen], self._ages[chosen], self._images[chosen]
        images = self._climb(images, numbers, ages, rng)
        kept = images.clone()
        anew = torch.rand(_VISITS, generator=rng) < _RESTART
        if anew.any():
            kept[anew.to(self._device)] = self._starts(int(anew.sum()), rng)
            self._numbers[chosen[anew]] = torch.randint(len(self._pictures), (int(anew.sum()),), generator=rng)
        self._images[chosen] = kept
        self._ages[chosen] = torch.where(anew, 0, ages + _CLIMB)
        return images, numbers

    def _climb(self, images: Images, numbers: Tensor, ages: Tensor, rng: Generator) -> Images:
        batch = self._pictures.batch(numbers, torch.zeros_like(numbers))
        with torch.no_grad():
            true, false = (self._text(ids).float() for ids in (batch.ids, batch.false_ids))
        contrasting = (numbers % 2 == 0).to(self._device)
        for climbed in range(_CLIMB):
            shift = torch.randint(-3, 4, (2,), generator=rng).tolist()
            images = images.detach().requires_grad_(True)
            embedded = self._image(torch.roll(images, shift, (2, 3))).float()
            right, wrong = (embedded * true).sum(1), (embedded * false).sum(1)
            score = right - contrasting * F.softplus(_SCALE * (wrong - right)) / _SCALE
            (gradient,) = torch.autograd.grad(score.sum(), images)
            step = 0.5 * unit(gradient)
            step = unit(step + 0.8 * unit(F.avg_pool2d(step, 5, 1, 2)))
            noise = 0.003 * torch.randn(images.shape, generator=rng).to(images)
            length = (_FIRST * torch.exp(-(ages + climbed) / _AGE)).clamp(min=_LAST)
            images = (images.detach() + length.view(-1, 1, 1, 1).to(images) * (step + noise)).clamp(0, 1)
        return images

    def loss(self, images: Images, numbers: Tensor, rng: Generator) -> tuple[Tensor, float]:
        """Each caption must prefer its real picture to all of these; and by how much it does, as a cosine."""
        batch = self._pictures.batch(numbers, torch.zeros_like(numbers))
        real = jitter(batch.images.to(self._device).float() / 255, rng)
        both, text = self._image(torch.cat([real, images])), self._text(batch.ids)
        right, wrong = both.chunk(2)
        match = (right * text).sum(-1, keepdim=True)
        logits = _SCALE * torch.cat([match, text @ wrong.T], 1)
        gap = float((match.mean() - (wrong * text).sum(-1).mean()).detach())
        return F.cross_entropy(logits, torch.zeros(len(text), dtype=torch.long, device=logits.device)), gap

    def _starts(self, count: int, rng: Generator) -> Images:
        """What pictures begin as: grounds with noise, or real pictures."""
        starts = _grounds(count, rng)
        real = torch.rand(count, generator=rng) < _REAL
        if real.any():
            numbers = torch.randint(len(self._pictures), (int(real.sum()),), generator=rng)
            starts[real] = self._pictures.images(numbers).float() / 255
        return starts.to(self._device)

    def state(self) -> dict[str, Any]:
        """What `resume` needs."""
        return {"images": self._images, "numbers": self._numbers, "ages": self._ages}

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self._images, self._numbers, self._ages = state["images"], state["numbers"], state["ages"]


def _grounds(count: int, rng: Generator, side: int = 64) -> Images:
    """Grey or one colour, with soft and fine noise."""
    plain = torch.rand(count, 3, 1, 1, generator=rng)
    grey = torch.rand(count, 1, 1, 1, generator=rng) < 0.4
    images = torch.where(grey, torch.full_like(plain, 0.5), plain).expand(-1, -1, side, side)
    coarse = int(torch.randint(1, 5, (), generator=rng))
    soft = F.interpolate(torch.randn(count, 3, 2**coarse, 2**coarse, generator=rng), size=side, mode="bicubic")
    strength = torch.rand(count, 2, 1, 1, 1, generator=rng)
    fine = torch.randn(count, 3, side, side, generator=rng)
    return (images + 0.15 * strength[:, 0] * soft + 0.03 * strength[:, 1] * fine).clamp(0, 1)
