"""Training of the embedded scorer and judge: plain, then adversarial, then against its own pictures.

A plainly trained scorer draws texture that nobody recognises. What helps, in this order of effect: adversarial
fine-tuning from the plain model ("free" replay, Shafahi et al., arXiv:1904.12843, in the L2 ball), and a buffer
of the scorer's own optimized pictures as negatives for their captions, so that it learns that what it likes
best is no picture.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
from jaxtyping import Int
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from clipopt.embedded.captions import names, true_of, vocabulary
from clipopt.embedded.concepts import COLOUR_NAMES, things
from clipopt.embedded.muon import Muon
from clipopt.embedded.pictures import Batch, Pictures
from clipopt.scorers.tower import TowerConfig, Towers
from clipopt.types import Images, generator


@dataclass(frozen=True)
class Phase:
    """A stretch of training.

    Attributes:
        name: For the log.
        batches: How many batches it lasts.
        lr: Peak learning rate of AdamW; 100 updates of warm-up, then a cosine to zero. Muon's follows it.
        eps: Radius of the L2 ball of perturbations of pictures in [0, 1]; 0 trains plainly.
        replays: Updates per batch; the perturbation moves once in each.
        buffer: Weight of the loss on the tower's own pictures; 0 keeps none.
        hybrids: Pictures of each batch whose hybrids are further negatives, see `hybrids`.
    """

    name: str
    batches: int
    lr: float
    eps: float = 0.0
    replays: int = 1
    buffer: float = 0.0
    hybrids: int = 0


@dataclass(frozen=True)
class Recipe:
    """All settings of one training."""

    config: TowerConfig
    phases: tuple[Phase, ...]
    seed: int
    world: int
    pictures: int = 160_000
    batch: int = 128

    @property
    def batches(self) -> int:
        """Batches of all phases together."""
        return sum(p.batches for p in self.phases)

    def shortened(self, factor: float) -> "Recipe":
        """The same recipe with `factor` times the batches and pictures, at least a few of each."""
        phases = tuple(replace(p, batches=max(2, round(p.batches * factor))) for p in self.phases)
        return replace(self, phases=phases, pictures=max(2 * self.batch, round(self.pictures * factor)))


def recipe(which: str) -> Recipe:
    """The shipped settings of "scorer" and "judge", which share neither architecture, seed nor pictures.

    "plain" has the scorer's size, and knows nothing of what hardens that.
    """
    phases: tuple[Phase, ...]
    if which == "scorer":
        phases = (
            Phase("plain", 1000, 1.5e-3, hybrids=32),
            Phase("adversarial", 450, 1.2e-3, eps=1.5, replays=3, hybrids=32),
            Phase("buffer", 1250, 8e-4, eps=2.0, replays=2, buffer=0.5, hybrids=32),
        )
        return Recipe(TowerConfig(places=True, vocabulary=vocabulary()), phases, seed=0, world=1)
    if which == "plain":
        return Recipe(TowerConfig(vocabulary=vocabulary()), (Phase("plain", 1000, 1.5e-3),), seed=0, world=1)
    if which == "judge":
        config = TowerConfig(
            stem=4, widths=(96, 192, 320), depths=(1, 2, 1), activation="relu", sharp_pooling=False, places=True,
            dim=160, vocabulary=vocabulary(),
        )  # fmt: skip
        phases = (
            Phase("plain", 1200, 1.5e-3, hybrids=32),
            Phase("adversarial", 450, 1.2e-3, eps=1.5, replays=3, hybrids=32),
        )
        return Recipe(config, phases, seed=1, world=2)
    raise ValueError(f"expected 'scorer', 'judge' or 'plain', got {which!r}")


_BUFFER, _VISITS, _RESTART = 256, 32, 0.025  # pictures in the buffer, per batch, share started anew
_CLIMB = 4  # steps of an own picture at each visit
_FIRST_STEP, _LAST_STEP, _AGE = 1.5, 0.3, 60  # their lengths, from the first to the last, and how many are long
_REAL = 0.25  # share of own pictures that begin as a real one of something else
_OWN_SCALE = 20.0  # the logit scale of the loss on them, low enough that no picture is ever bad enough
_MAX_SCALE = 60.0
_MUON = 33.0  # Muon's learning rate over AdamW's
_NAMING = 0.5  # weight of the loss that names the thing or coloured shape among all of them


class Trainer:
    """One training run; `run()` yields after every batch, `state()` resumes it exactly."""

    def __init__(self, recipe: Recipe, pictures: Pictures, *, device: str = "cpu", amp: bool = True) -> None:
        self.recipe = recipe
        self.pictures = pictures
        self.device = device
        self.amp = amp
        with torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(generator(recipe.seed, -1).get_state())
            self.towers = Towers(recipe.config).to(device)
        self.average = copy.deepcopy(self.towers).requires_grad_(False)
        # Muon for what mixes channels; AdamW for what looks up words and places, biases, and the three input colours.
        mixing = {
            name for name, p in self.towers.named_parameters()
            if p.ndim > 1 and not any(part in name for part in ("embedding", "position", "stem"))
        }  # fmt: skip
        named = dict(self.towers.named_parameters())
        precision = torch.bfloat16 if amp else torch.float32
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (
            Muon([named[n] for n in named if n in mixing], lr=0.0, dtype=precision),
            torch.optim.AdamW([named[n] for n in named if n not in mixing], lr=0.0, betas=(0.9, 0.98), weight_decay=0),
        )
        known = self.towers.tokenize(names())
        self._names = F.pad(known, (0, recipe.config.context - known.shape[1]))
        self.done = 0
        self.updates = 0
        self.buffer: Tensor | None = None
        self.buffer_numbers = torch.zeros(0, dtype=torch.long)
        self.buffer_ages = torch.zeros(0)

    def run(self) -> Iterator[dict[str, float | str]]:
        """Train to the end of the recipe; yields figures after every batch."""
        while self.done < self.recipe.batches:
            phase, index = self._phase()
            if index == 0:
                self.updates = 0
            yield {"phase": phase.name, **self._batch(phase, index)}

    def _phase(self) -> tuple[Phase, int]:
        index = self.done
        for phase in self.recipe.phases:
            if index < phase.batches:
                return phase, index
            index -= phase.batches
        raise RuntimeError("the recipe has ended")

    def _batch(self, phase: Phase, index: int) -> dict[str, float]:
        rng = generator(self.recipe.seed, self.done)
        batch = self.pictures.draw(self.recipe.batch, rng)
        images = _jitter(batch.images.to(self.device).float() / 255, rng)
        progress = index / phase.batches
        eps = phase.eps * min(1.0, progress / 0.2) if phase.buffer == 0 else phase.eps
        delta = torch.zeros_like(images)
        own = self._visit_buffer(rng) if phase.buffer else None
        figures: dict[str, float] = {}
        for replay in range(phase.replays):
            self._set_lr(phase.lr, progress)
            perturbed = images + delta
            perturbed.requires_grad_(phase.eps > 0)
            mixed = hybrids(images[: phase.hybrids], rng) if replay == 0 else images[:0]
            loss = self._match(perturbed, batch, mixed)
            figures["loss"] = float(loss.detach())
            if own is not None and replay == 0:
                penalty, gap = self._own_loss(*own, rng)
                loss = loss + phase.buffer * penalty
                figures |= {"own": float(penalty.detach()), "gap": gap}
            self.towers.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(self.towers.parameters(), 1.0)
            for optimizer in self.optimizers:
                optimizer.step()
            self.updates += 1
            if perturbed.grad is not None:
                delta = _project(delta + 0.75 * eps * _unit(perturbed.grad), eps)
                delta = (images + delta).clamp(0, 1) - images
            self._track()
        self.done += 1
        return figures

    def _set_lr(self, peak: float, progress: float) -> None:
        warm = min(1.0, (self.updates + 1) / 100)
        lr = peak * warm * (0.5 + 0.5 * math.cos(math.pi * progress)) + 1e-5
        for optimizer, factor in zip(self.optimizers, (_MUON, 1.0), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = factor * lr

    @torch.no_grad()
    def _track(self) -> None:
        decay = min(0.998, self.updates / (self.updates + 50))
        for slow, fast in zip(self.average.parameters(), self.towers.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)

    def _image(self, images: Images) -> Tensor:
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.amp):
            return self.towers.image(images)

    def _text(self, ids: Tensor) -> Tensor:
        used = int((ids != 0).any(0).sum())
        with torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.amp):
            return self.towers.text(ids[:, :used].to(self.device))

    def _match(self, images: Images, batch: Batch, mixed: Images) -> Tensor:
        """Symmetric InfoNCE, with `mixed` as pictures that no caption is true of, and the naming loss.

        Captions also true of a picture are no negatives; one false caption each is. Named is the thing or coloured
        shape, among all of them: few of so many stand in one batch. A thing in a colour not its own is not called by
        its mere name.
        """
        count = len(images)
        text = self._text(torch.cat([batch.ids, batch.false_ids, self._names]))
        scale = self.towers.log_scale.exp().clamp(max=_MAX_SCALE)
        logits, wrong = (scale * self._image(torch.cat([images, mixed])) @ text.T).split([count, len(mixed)])
        logits, naming = logits[:, : 2 * count], logits[:, 2 * count :]
        said = torch.cat([batch.said, batch.false])
        also = true_of(said, batch.scenes) & ~(batch.tinted[:, None] & (said[:, 1] < 0))
        also = also.to(self.device)
        also &= ~torch.eye(count, 2 * count, dtype=torch.bool, device=self.device)
        logits = logits.masked_fill(also, -1e4)
        own = torch.arange(count, device=self.device)
        pictures = torch.cat([logits[:, :count], wrong[:, :count]]).T
        match = 0.5 * (F.cross_entropy(logits, own) + F.cross_entropy(pictures, own))
        name, other = (_name(batch.scenes[:, slots]).to(self.device) for slots in ([0, 1], [5, 6]))
        both = (other >= 0).nonzero()[:, 0]
        naming = naming.index_put((both, other[both]), naming.new_tensor(-1e4))
        name = name.masked_fill(batch.tinted.to(self.device), -1)
        return match + _NAMING * F.cross_entropy(naming, name, ignore_index=-1)

    def _visit_buffer(self, rng: Generator) -> tuple[Images, Tensor]:
        """Ascend the score of some buffer pictures; returns them and the numbers of their captions.

        Steps shorten with a picture's age. Half of the pictures climb away from a false caption, too.
        """
        if self.buffer is None:
            self.buffer = self._starts(_BUFFER, rng)
            self.buffer_numbers = torch.randint(len(self.pictures), (_BUFFER,), generator=rng)
            self.buffer_ages = torch.zeros(_BUFFER)
        chosen = torch.randperm(_BUFFER, generator=rng)[:_VISITS]
        numbers, ages = self.buffer_numbers[chosen], self.buffer_ages[chosen]
        images = self.buffer[chosen]
        batch = self.pictures.batch(numbers, torch.zeros_like(numbers))
        with torch.no_grad():
            true, false = (self._text(ids).float() for ids in (batch.ids, batch.false_ids))
        contrasting = (numbers % 2 == 0).to(self.device)
        for climbed in range(_CLIMB):
            shift = torch.randint(-3, 4, (2,), generator=rng).tolist()
            images = images.detach().requires_grad_(True)
            embedded = self._image(torch.roll(images, shift, (2, 3))).float()
            right, wrong = (embedded * true).sum(1), (embedded * false).sum(1)
            score = right - contrasting * F.softplus(_OWN_SCALE * (wrong - right)) / _OWN_SCALE
            (gradient,) = torch.autograd.grad(score.sum(), images)
            step = 0.5 * _unit(gradient)
            step = _unit(step + 0.8 * _unit(F.avg_pool2d(step, 5, 1, 2)))
            noise = 0.003 * torch.randn(images.shape, generator=rng).to(images)
            length = (_FIRST_STEP * torch.exp(-(ages + climbed) / _AGE)).clamp(min=_LAST_STEP)
            images = (images.detach() + length.view(-1, 1, 1, 1).to(images) * (step + noise)).clamp(0, 1)
        kept = images.clone()
        anew = torch.rand(_VISITS, generator=rng) < _RESTART
        if anew.any():
            kept[anew.to(self.device)] = self._starts(int(anew.sum()), rng)
            self.buffer_numbers[chosen[anew]] = torch.randint(len(self.pictures), (int(anew.sum()),), generator=rng)
        self.buffer[chosen] = kept
        self.buffer_ages[chosen] = torch.where(anew, 0, ages + _CLIMB)
        return images, numbers

    def _starts(self, count: int, rng: Generator) -> Images:
        """What own pictures begin as: grounds with noise, or real pictures."""
        starts = _fresh(count, rng)
        real = torch.rand(count, generator=rng) < _REAL
        if real.any():
            numbers = torch.randint(len(self.pictures), (int(real.sum()),), generator=rng)
            starts[real] = self.pictures.images(numbers).float() / 255
        return starts.to(self.device)

    def _own_loss(self, images: Images, numbers: Tensor, rng: Generator) -> tuple[Tensor, float]:
        """Each caption must prefer its real picture to all of the tower's own; and by how much it does."""
        batch = self.pictures.batch(numbers, torch.zeros_like(numbers))
        real = _jitter(batch.images.to(self.device).float() / 255, rng)
        both, text = self._image(torch.cat([real, images])), self._text(batch.ids)
        right, wrong = both.chunk(2)
        match = (right * text).sum(-1, keepdim=True)
        logits = _OWN_SCALE * torch.cat([match, text @ wrong.T], 1)
        gap = float((match.mean() - (wrong * text).sum(-1).mean()).detach())
        return F.cross_entropy(logits, torch.zeros(len(text), dtype=torch.long, device=logits.device)), gap

    def state(self) -> dict[str, Any]:
        """Everything that `resume` needs."""
        return {
            "towers": self.towers.state_dict(),
            "average": self.average.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "done": self.done,
            "updates": self.updates,
            "buffer": self.buffer,
            "buffer_numbers": self.buffer_numbers,
            "buffer_ages": self.buffer_ages,
        }

    def resume(self, state: dict[str, Any]) -> None:
        """Go on where `state` was taken."""
        self.towers.load_state_dict(state["towers"])
        self.average.load_state_dict(state["average"])
        for optimizer, kept in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(kept)
        self.done, self.updates = state["done"], state["updates"]
        self.buffer, self.buffer_numbers = state["buffer"], state["buffer_numbers"]
        self.buffer_ages = state["buffer_ages"]

    def result(self) -> tuple[Towers, dict[str, str]]:
        """The averaged weights, and what stands beside them in a tower file."""
        return copy.deepcopy(self.average), {"seed": str(self.recipe.seed), "world": str(self.recipe.world)}


def _name(slots: Int[Tensor, "b 2"]) -> Int[Tensor, " b"]:
    """Numbers, among `names()`, of concepts with their colours; negative where there is no concept."""
    concept, colour = slots.unbind(1)
    shape = concept - len(things())
    return torch.where(shape >= 0, len(things()) + shape * len(COLOUR_NAMES) + colour, concept)


def _norm(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)[:, None, None, None] + 1e-12


def _unit(x: Tensor) -> Tensor:
    return x / _norm(x)


def _project(x: Tensor, radius: float) -> Tensor:
    return x * (radius / _norm(x)).clamp(max=1)


def _jitter(images: Images, rng: Generator) -> Images:
    """Shift by up to 5 pixels and change contrast, brightness and colour a little."""
    side, count = images.shape[-1], len(images)
    dy, dx = torch.randint(0, 11, (2,), generator=rng).tolist()
    images = F.pad(images, (5, 5, 5, 5), mode="replicate")[..., dy : dy + side, dx : dx + side]

    def normal(channels: int, std: float) -> Tensor:
        return std * torch.randn(count, channels, 1, 1, generator=rng).to(images)

    return ((images - 0.5) * (1 + normal(1, 0.15)) + 0.5 + normal(1, 0.05) + normal(3, 0.03)).clamp(0, 1)


def hybrids(images: Images, rng: Generator) -> Images:
    """Each picture's edges over the soft colours of another, or over one colour.

    Captions must prefer the pictures themselves. Otherwise a tower may read the colour of a thing at its rim alone,
    and then its gradient paints no more than the rim.

    Reference:
        Oliva, Torralba, Schyns, "Hybrid images" (SIGGRAPH 2006); there to be read twice, here not at all.
    """
    count = len(images)
    if not count:
        return images
    sigma = float(torch.rand((), generator=rng)) * 2.5 + 1.5
    reach = math.ceil(2 * sigma)
    taps = torch.exp(-(torch.arange(-reach, reach + 1) ** 2) / (2 * sigma**2)).to(images)
    kernel = (taps / taps.sum()).expand(3, 1, -1)
    padded = F.pad(images, (reach,) * 4, mode="replicate")
    soft = F.conv2d(F.conv2d(padded, kernel[..., None], groups=3), kernel[..., None, :], groups=3)
    plain = torch.rand(count, 3, 1, 1, generator=rng).to(images)
    one = (torch.rand(count, 1, 1, 1, generator=rng) < 0.5).to(images.device)
    return (images - soft + torch.where(one, plain, soft.roll(1, 0))).clamp(0, 1)


def _fresh(count: int, rng: Generator, side: int = 64) -> Images:
    """Starts of optimized pictures: grey or one colour, with soft and fine noise."""
    plain = torch.rand(count, 3, 1, 1, generator=rng)
    grey = torch.rand(count, 1, 1, 1, generator=rng) < 0.4
    images = torch.where(grey, torch.full_like(plain, 0.5), plain).expand(-1, -1, side, side)
    coarse = int(torch.randint(1, 5, (), generator=rng))
    soft = F.interpolate(torch.randn(count, 3, 2**coarse, 2**coarse, generator=rng), size=side, mode="bicubic")
    strength = torch.rand(count, 2, 1, 1, 1, generator=rng)
    fine = torch.randn(count, 3, side, side, generator=rng)
    return (images + 0.15 * strength[:, 0] * soft + 0.03 * strength[:, 1] * fine).clamp(0, 1)
