"""The suite of solid things, and how a scorer names a mesh among its captions."""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from clipopt.embedded.captions import Scene, caption, compatible, slots
from clipopt.embedded.concepts import number_of
from clipopt.embedded.concepts import solids as embedded_solids
from clipopt.evaluation.suite import Prompt, Reading, bank, neighbour
from clipopt.scorers import Scorer

_THINGS = (
    "snowman", "rocket", "tree", "cactus", "light bulb", "strawberry", "carrot", "pineapple", "watermelon", "cupcake",
    "hamburger", "donut", "soccer ball", "basketball", "bomb", "ghost", "skull", "robot", "penguin", "owl", "fish",
    "turtle", "castle", "trophy",
)  # fmt: skip


_COLOURED = (
    ("red", "apple"), ("yellow", "banana"), ("red", "mushroom"), ("green", "pear"), ("yellow", "lemon"),
    ("red", "balloon"), ("orange", "pumpkin"), ("red", "car"), ("blue", "teapot"), ("yellow", "bell"),
    ("purple", "octopus"), ("red", "heart"),
)  # fmt: skip


@cache
def solid_prompts() -> tuple[Prompt, ...]:
    """The prompts in a fixed order: things of a solid form, by themselves and in a colour."""
    asked = [("things", Scene(number_of(noun))) for noun in _THINGS]
    asked += [("colours of things", Scene(number_of(noun), colour)) for colour, noun in _COLOURED]
    return tuple(Prompt(caption(scene), scene, group) for group, scene in asked)


@cache
def solid_bank(*, solids: bool = False) -> tuple[Prompt, ...]:
    """The captions that compete: those of `clipopt eval image`, the prompts, and a false neighbour of each of them.

    With `solids` only prompts, neighbours, and the things that the embedded world knows as solids.
    """
    scenes = [p.scene for p in solid_prompts()]
    scenes += [neighbour(p.scene, f"solid/{i}") for i, p in enumerate(solid_prompts())]
    known = [Scene(number) for number in embedded_solids()] if solids else [p.scene for p in bank()]
    return _captions(known + scenes)


@cache
def bare_bank(*, solids: bool = False) -> tuple[Prompt, ...]:
    """The captions that compete for bare shapes: every thing of `solid_bank`, once and in gray.

    All bare shapes are gray. Beside captions of other colours the few that say so would get them all.
    """
    numbers = dict.fromkeys(p.scene.concept for p in solid_bank(solids=solids) if p.scene.other is None)
    return _captions([Scene(number, "gray") for number in numbers])


def _captions(scenes: Sequence[Scene]) -> tuple[Prompt, ...]:
    unique = {caption(scene): scene for scene in scenes}
    return tuple(Prompt(text, scene, "bank") for text, scene in unique.items())


@torch.no_grad()
def read_solids(
    scorer: Scorer, views: Sequence[Tensor], asked: Sequence[Prompt], *, bare: bool = False, solids: bool = False
) -> list[Reading]:
    """Let `scorer` name things from the bank, by the mean over the views of each, (n, 3, h, w).

    A `bare` shape has lost its colours, so its name is its noun in gray: "a gray pumpkin" of an orange one.
    """
    among = bare_bank(solids=solids) if bare else solid_bank(solids=solids)
    scenes = [Scene(p.scene.concept, "gray") if bare else p.scene for p in asked]
    texts = [p.text for p in among]
    text = scorer.encode_text(texts)
    similarity = torch.stack([(scorer.encode_image(images.to(text.device)) @ text.T).mean(0) for images in views]).cpu()
    own = torch.tensor([texts.index(caption(scene)) for scene in scenes])
    rivals = ~compatible(slots(scenes), slots([p.scene for p in among]))
    rivals[torch.arange(len(own)), own] = True
    ranked = similarity.masked_fill(~rivals, -2.0).argmax(1).tolist()
    return [
        Reading(texts[best], best == int(own[row]), float(similarity[row, own[row]])) for row, best in enumerate(ranked)
    ]
