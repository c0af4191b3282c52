"""How well a tower names unseen pictures of the embedded world, clean and under attack, and reads each attribute."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from random import Random

import torch
from torch import Tensor
from torch.nn import functional as F

from clipopt.embedded.captions import PLACES, Scene, caption, describe, shape_number
from clipopt.embedded.concepts import COLOUR_NAMES, SHAPES, concepts, things
from clipopt.scorers.tower import TowerScorer
from clipopt.types import Images, generator
from recipes.embedded.painters import Painter
from recipes.embedded.perturbations import project, unit

UNSEEN = 1_000_003
"""Seed of the world that no training draws from."""


def unseen(count: int, vocabulary: Sequence[str], side: int = 64) -> tuple[Images, Tensor, list[str]]:
    """Pictures of one thing in its own colours or one coloured shape, their captions' numbers, all captions.

    They show what has a name in this vocabulary, and are `side` pixels wide.
    """
    painter, index = Painter.of(vocabulary, UNSEEN, side), 0
    scenes = [Scene(n) for n in painter.drawn]
    scenes += [Scene(shape_number(s), c) for s in SHAPES for c in COLOUR_NAMES]
    number = {(s.concept, s.colour): i for i, s in enumerate(scenes)}
    images: list[Tensor] = []
    right: list[int] = []
    while len(images) < count:
        picture, scene = painter.paint(index)
        index += 1
        if scene.other is None and scene.count == 1:
            shape = scene.concept >= len(things())
            images.append(torch.from_numpy(picture).permute(2, 0, 1).float() / 255)
            right.append(number[scene.concept, scene.colour if shape else None])
    return torch.stack(images), torch.tensor(right), [caption(s) for s in scenes]


def accuracy(scorer: TowerScorer, count: int = 1000, eps: float = 0.0, steps: int = 20, restarts: int = 1) -> float:
    """Share of unseen pictures named correctly among all captions, top-1.

    Args:
        scorer: The tower to measure.
        count: How many pictures.
        eps: Radius of the L2 ball around pictures in [0, 1] that the attack may use; 0 attacks nothing.
        steps: Projected gradient steps of the attack (Madry et al., arXiv:1706.06083), each 2.5 eps / steps long.
        restarts: Attacks per picture; it counts as named only if all of them fail.
    """
    device = scorer.towers.log_scale.device
    images, right, captions = unseen(count, scorer.towers.config.vocabulary, scorer.image_size)
    text = scorer.encode_text(captions)
    named = torch.zeros(count, dtype=torch.bool)
    for start in range(0, count, 125):
        x, y = images[start : start + 125].to(device), right[start : start + 125].to(device)
        correct = torch.ones(len(x), dtype=torch.bool, device=device)
        for attempt in range(restarts if eps else 1):
            moved = _attack(scorer, x, y, text, eps, steps, attempt) if eps else x
            with torch.no_grad():
                correct &= (scorer.encode_image(moved) @ text.T).argmax(1) == y
        named[start : start + 125] = correct.cpu()
    return float(named.float().mean())


def _attack(scorer: TowerScorer, x: Images, y: Tensor, text: Tensor, eps: float, steps: int, attempt: int) -> Images:
    def within(delta: Tensor) -> Tensor:
        return (x + project(delta, eps)).clamp(0, 1) - x

    noise = torch.randn(x.shape, generator=generator(UNSEEN, attempt)).to(x)
    delta = within(noise) if attempt else torch.zeros_like(x)
    for _ in range(steps):
        delta.requires_grad_(True)
        loss = F.cross_entropy(scorer.logits(scorer.encode_image(x + delta), text), y)
        (gradient,) = torch.autograd.grad(loss, delta)
        delta = within(delta.detach() + unit(gradient) * 2.5 * eps / steps)
    return x + delta.detach()


def attributes(scorer: TowerScorer, count: int = 1000) -> dict[str, tuple[float, int]]:
    """Share of unseen pictures in which an attribute is read correctly, and how many pictures have it.

    For each attribute the true caption stands against the same one with every other value of it: 11 colours of the
    thing or background, 12 shapes, 4 counts, 9 places, small or large, and of two things the four relations and the
    two orders. Chance is one over their number.
    """
    device = scorer.towers.log_scale.device
    painter = Painter.of(scorer.towers.config.vocabulary, UNSEEN + 1, scorer.image_size)
    right: dict[str, list[bool]] = {}
    for index in range(count):
        picture, scene = painter.paint(index)
        image = torch.from_numpy(picture).permute(2, 0, 1)[None].to(device).float() / 255
        with torch.no_grad():
            embedding = scorer.encode_image(image)
        for name, candidates in _rivals(scene):
            best = (embedding @ scorer.encode_text([caption(s) for s in candidates]).T).argmax()
            right.setdefault(name, []).append(int(best) == 0)
    return {name: (sum(values) / len(values), len(values)) for name, values in sorted(right.items())}


def matches(scorer: TowerScorer, count: int = 1000) -> list[float]:
    """How well unseen pictures match what is said of them: the percentiles of the cosine, 0 to 100."""
    painter = Painter.of(scorer.towers.config.vocabulary, UNSEEN + 2, scorer.image_size)
    rng = Random(UNSEEN + 2)
    device, cosines = scorer.towers.log_scale.device, []
    for start in range(0, count, 100):
        painted = [painter.paint(index) for index in range(start, min(start + 100, count))]
        images = torch.stack([torch.from_numpy(picture).permute(2, 0, 1) for picture, _ in painted])
        texts = [caption(describe(scene, rng), rng) for _, scene in painted]
        with torch.no_grad():
            embeddings = scorer.encode_image(images.to(device).float() / 255)
        cosines.append((embeddings * scorer.encode_text(texts)).sum(1).cpu())
    return torch.cat(cosines).quantile(torch.linspace(0, 1, 101)).tolist()


def _rivals(scene: Scene) -> Iterator[tuple[str, list[Scene]]]:
    """By attribute: captions of which the first alone is true."""

    def against(said: Scene, others: Iterable[Scene]) -> list[Scene]:
        return [said, *(other for other in others if other != said)]

    shapes = [shape_number(s) for s in SHAPES]
    if scene.other is not None:
        said = Scene(scene.concept, scene.colour or None, other=scene.other, other_colour=scene.other_colour or None)
        said = replace(said, relation=scene.relation)
        turned = Scene(scene.other, said.other_colour, other=scene.concept, other_colour=said.colour)
        turned = replace(turned, relation=said.relation)
        wrong = "over" if scene.relation == "beside" else "beside"
        yield "order", [said, turned]
        yield "relation", [said, turned, replace(said, relation=wrong), replace(turned, relation=wrong)]
        return
    said = Scene(scene.concept, count=scene.count)
    if scene.concept in shapes:
        said = replace(said, colour=scene.colour)
        yield "shape", against(said, (replace(said, concept=n) for n in shapes))
        said = replace(said, colour=None)
    if concepts()[scene.concept].plural:
        yield "count", against(said, (replace(said, count=n) for n in (1, 2, 3, 4)))
    if scene.colour:
        yield "colour", against(replace(said, colour=scene.colour), (replace(said, colour=c) for c in COLOUR_NAMES))
    if scene.place is not None:
        everywhere = (replace(said, place=n) for n in range(len(PLACES)))
        yield "place", against(replace(said, place=scene.place), everywhere)
    if scene.size in ("small", "large"):
        yield "size", against(replace(said, size=scene.size), (replace(said, size=s) for s in ("small", "large")))
    if scene.background:
        grounds = (replace(said, background=c) for c in COLOUR_NAMES)
        yield "background", against(replace(said, background=scene.background), grounds)
