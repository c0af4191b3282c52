"""What a scorer is shown of the pictures, and how well it thinks that they fit."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn import functional as F

from clipopt import augment, losses
from clipopt.augment import Augment
from clipopt.objective import Matching
from clipopt.parallel import side_by_side
from clipopt.pipelines.kinds import Cutouts
from clipopt.scorers import KnowsPercentiles, Perceives, Scorer, at_a_time, target
from clipopt.scorers import text_off as away_from_text
from clipopt.types import Images, PerItem, generator

HELD_OUT_VIEWS = 8
EARLY, SMALLER = 0.5, 0.7
"""Part of a run in which a natural scorer is shown smaller views, and how small: layout needs no detail, and time."""
_HELD_OUT = -1
# How far the views of a part reach beyond it, as a fraction of its sides: what is around it belongs to the picture.
_AROUND = 0.25
# Jumps below this count as flat: a sixteenth of what 8 bits can tell apart.
_FLAT = 1 / 255 / 16

Mask = Bool[Tensor, "1 1 _ _"]


@dataclass(frozen=True)
class Item:
    """One picture to make.

    Attributes:
        prompt: Texts and pictures (3, h, w) with their weights.
        seed: Its own seed; no neighbour changes what it gives.
        label: What a person reads below it.
    """

    prompt: Mapping[str | Tensor, float]
    seed: int
    label: str


@dataclass(frozen=True)
class Part:
    """The part of the pictures that is looked at.

    Attributes:
        box: Its top, bottom, left and right in pixels.
        gain: Shape (1, 1, height, width), how much of the gradient each pixel of the pictures gets; None: all.
    """

    box: tuple[int, int, int, int]
    gain: Tensor | None = None


def views(
    count: int,
    scorer: Scorer,
    *,
    part: Part | None = None,
    tile: bool = False,
    cutouts: Cutouts = "crops",
    progress: float | int = 0,
    padding: augment.Padding = "border",
    side: int | None = None,
    closest: float | int = 0.75,
) -> Augment:
    """The views that a scorer gets of a picture: crops at the size it sees, with jittered colours and noise.

    Args:
        count: How many of each picture.
        scorer: Whose size they have.
        part: What they show; None for all.
        tile: They reach over every border to the opposite side, all places of a tile alike.
        cutouts: "crops" of about the whole, or "overview": the whole on random grounds first, then details.
        progress: How much of the run is done, 0 to 1.
        padding: What lies beyond the border of a picture.
        side: Their side in pixels; None: as the scorer sees.
        closest: Least part of the picture's shorter side that a crop shows.
    """
    side = side or scorer.image_size
    scale, shift = (
        ((0.375, 0.575), 0.0) if tile else ((closest, 1.15), 0.1)
    )  # a tile is shown with half of itself around
    if cutouts == "overview":
        crops = augment.overview_to_detail(count, side)(progress)
    else:
        crops = augment.crops(count, side, scale=scale, shift=shift, padding=padding)
    before = ([] if part is None else [_only(part)]) + ([_repeated()] if tile else [])
    return augment.compose(*before, crops, augment.color(), augment.noise(0.05))


def _only(part: Part) -> Augment:
    top, bottom, left, right = part.box

    def run(images: Tensor, draw: augment.Draw) -> Tensor:
        if part.gain is not None:
            images = torch.lerp(images.detach(), images, part.gain)
        return images[..., top:bottom, left:right]

    return Augment(lambda count, rng: {}, run)


def box(mask: Mask) -> tuple[int, int, int, int]:
    """Top, bottom, left and right of a mask with a little around it."""
    edges = []
    for axis, side in enumerate(mask.shape[-2:]):
        places = mask[0, 0].any(dim=1 - axis).nonzero().flatten()
        first, last = int(places[0]), int(places[-1]) + 1
        around = math.ceil(_AROUND * (last - first))
        edges += [max(first - around, 0), min(last + around, side)]
    top, bottom, left, right = edges
    return top, bottom, left, right


def _repeated() -> Augment:
    def run(images: Tensor, draw: augment.Draw) -> Tensor:
        height, width = images.shape[-2:]
        halves = (width // 2, width - width // 2, height // 2, height - height // 2)
        return F.pad(images, halves, mode="circular")

    return Augment(lambda count, rng: {}, run)


def seam(images: Images) -> PerItem:
    """How visible the borders are where a tile meets itself: about 1 is seamless, more is a line.

    The mean jump of the values across a border over the mean jump between the neighbours to either side of it, up to
    an eighth of the side away; of the two borders the worse.
    """
    worst = torch.zeros(len(images))
    for axis in (-1, -2):
        side = images.shape[axis]
        near = min(max(1, side // 8), side - 1)
        # Twice the tile, so that the border is in the middle, between `near` and the next.
        across = torch.cat((images.narrow(axis, side - near - 1, near + 1), images.narrow(axis, 0, near + 1)), axis)
        jumps = across.diff(dim=axis).abs().mean((1, 2 if axis == -1 else 3)).cpu()
        around = (jumps.sum(1) - jumps[:, near]) / max(1, jumps.shape[1] - 1)
        worst = torch.maximum(worst, jumps[:, near] / around.clamp_min(_FLAT))
    return worst


class Sight:
    """What is asked of the pictures, of all of each or of one part: as a loss, and as a score.

    Args:
        scorer: Who looks.
        items: What is asked of each picture.
        part: Where; None for everywhere.
        tile: Whether the views reach over the borders.
        size: Height and width of the pictures, to which those in the prompts are fitted.
        text_off: How much lettering repels.
        change: What the pictures were before, (1, 3, h, w), and a text that says so. The loss then asks for the change
            from that text to those of the prompts, not for what they say.
    """

    def __init__(
        self,
        scorer: Scorer,
        items: Sequence[Item],
        *,
        part: Part | None = None,
        tile: bool = False,
        size: tuple[int, int] | None = None,
        text_off: float | int = 0.0,
        change: tuple[Images, str] | None = None,
    ) -> None:
        self.scorer, self.items = scorer, items
        self._simple = change is None and not text_off
        self.target = target(scorer, [item.prompt for item in items])
        # Last pixels, continued, are stripes: no photograph has them.
        padding: augment.Padding = "reflection" if isinstance(scorer, Perceives) else "border"
        self._views = partial(views, scorer=scorer, part=part, tile=tile, padding=padding)
        asked = list(dict.fromkeys(prompt for item in items for prompt in item.prompt))
        self._words = [column for column, prompt in enumerate(asked) if isinstance(prompt, str)]
        if text_off:
            self.target = away_from_text(self.target, scorer, float(text_off))
            self._words.append(len(asked))
        self._pictures = [column for column, prompt in enumerate(asked) if isinstance(prompt, Tensor)]
        pictures = [prompt[None] for prompt in asked if isinstance(prompt, Tensor)]
        self._paired = [] if change is None else [change[0]]
        self._paired += pictures if size is None else [cover(picture, size) for picture in pictures]
        self._source = None if change is None else scorer.encode_text([change[1]])
        held_out = self._views(HELD_OUT_VIEWS)
        self._apply = held_out.apply
        self._draws = [held_out.sample(generator(item.seed, _HELD_OUT)) for item in items]

    def matching(
        self,
        param: Callable[[], Images],
        crops: int,
        *,
        chunk: int,
        cutouts: Cutouts = "crops",
        progress: float | int = 0,
        statistics: float | int = 0,
        stage: int = 0,
    ) -> Matching:
        """The loss over `crops` views of each picture, drawn anew in each step; see `views`.

        Args:
            param: Returns the pictures.
            crops: Views of each.
            chunk: Views that the scorer sees at once.
            cutouts: Which views.
            progress: How much of the run is done, 0 to 1.
            statistics: How much those of photographs count, for a scorer that knows them.
            stage: How often the pictures were enlarged.
        """
        side, closest = None, 0.75
        if isinstance(self.scorer, Perceives):
            # Detail is drawn at its own size: the larger the picture, the closer some views come.
            closest /= 2**stage
        if statistics and isinstance(self.scorer, Perceives) and progress < EARLY:
            side = round(SMALLER * self.scorer.image_size)
        return Matching(
            param,
            self.scorer,
            self.target,
            augment=self._views(crops, cutouts=cutouts, progress=progress, side=side, closest=closest),
            distance=self._distance if self._paired else losses.cosine,
            paired=self._paired,
            statistics=statistics if isinstance(self.scorer, Perceives) else 0,
            seeds=[item.seed for item in self.items],
            chunk=chunk,
        )

    def _distance(self, image: Tensor, asked: Tensor, weights: Tensor, *paired: Tensor) -> Tensor:
        """Texts against all views alike; a picture against the view of itself that shows the same place."""
        words, shares = asked[self._words], weights[:, self._words]
        if self._source is None:
            total = losses.cosine(image, words, shares)
        else:
            total = losses.directional(image, paired[0], words, self._source, shares)
        pictures = paired if self._source is None else paired[1:]
        for column, picture in zip(self._pictures, pictures, strict=True):
            total = total + weights[:, column] * (1 - (image * picture).sum(1))
        return total

    @torch.no_grad()
    def score(self, images: Images, chunk: int = HELD_OUT_VIEWS) -> PerItem:
        """The weighted cosine of every item with its prompt, averaged over views that no step draws.

        Of an edit it is the cosine of the two changes.
        """
        scores = []
        for image, draw, weights in zip(images.split(1), self._draws, self.target.weights, strict=True):
            embeddings = self._embed(image, draw, chunk)
            if self._paired:
                paired = [self._embed(picture, draw, chunk) for picture in self._paired]
                every = weights.expand(HELD_OUT_VIEWS, -1)
                distance = self._distance(embeddings, self.target.embeddings, every, *paired)
                scores.append(weights.sum() - distance.mean())
            else:
                scores.append((embeddings @ self.target.embeddings.T).mean(0) @ weights)
        return torch.stack(scores).cpu()

    @torch.no_grad()
    def percentile(self, images: Images) -> PerItem:
        """What share of drawings of the scorer's world, in %, match their captions less well than these their prompts.

        The drawings were measured whole and as they are, and so are these: not in views. NaN where the scorer does not
        know how they match, or where more is asked than one text.
        """
        alone = [self._simple and [(type(k), v) for k, v in item.prompt.items()] == [(str, 1)] for item in self.items]
        if not isinstance(self.scorer, KnowsPercentiles) or not any(alone):
            return torch.full((len(self.items),), torch.nan)
        rows = torch.cat([self.scorer.encode_image(image) for image in images.split(1)])
        cosines = (rows @ self.target.embeddings.T * self.target.weights).sum(1).cpu()
        return torch.where(torch.tensor(alone), self.scorer.percentile(cosines), torch.nan)

    def _embed(self, image: Images, draw: augment.Draw, chunk: int) -> Tensor:
        at_once = at_a_time(self.scorer, image.device)
        chunk = max(1, min(chunk, HELD_OUT_VIEWS) // at_once)
        some = [augment.rows(draw, slice(start, start + chunk)) for start in range(0, HELD_OUT_VIEWS, chunk)]

        def look(rows: augment.Draw) -> Tensor:
            return self.scorer.encode_image(self._apply(image, rows))

        return torch.cat([*side_by_side(look, some, at_once)])


def cover(images: Images, size: tuple[int, int]) -> Images:
    """Pictures that fill `size` (height, width), the middle of them where the shape is another."""
    height, width = images.shape[-2:]
    zoom = max(size[0] / height, size[1] / width)
    inner = [max(1, round(side / zoom)) for side in size]
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    return resize(images[..., top : top + inner[0], left : left + inner[1]], size)


def resize(images: Images, size: tuple[int, int]) -> Images:
    """Pictures in [0, 1] at another height and width; the very same where it is theirs."""
    if images.shape[-2:] == size:
        return images
    return F.interpolate(images, size, mode="bicubic", antialias=True).clamp(0, 1)
