"""The fixed prompts and captions that measure text-to-image on the embedded world.

R-Precision@1 (Park et al., NeurIPS 2021, "Benchmark for Compositional Text-to-Image Synthesis"): the share of
pictures whose own prompt a scorer ranks first among all captions of the bank. Captions that could be true of
the same picture ("a star" beside "a yellow star") do not compete; one false neighbour of every prompt (another
colour, count or order) does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from random import Random

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.embedded.captions import Scene, caption, compatible, falsify, shape_number, slots
from clipopt.embedded.concepts import COLOUR_NAMES, SHAPES, learnt, number_of, things
from clipopt.scorers import Scorer
from clipopt.types import Images, generator

_THINGS = (
    "cat", "tree", "house", "car", "sunflower", "penguin", "banana", "pizza", "rocket", "snowman", "butterfly",
    "fish", "guitar", "strawberry", "mushroom", "umbrella", "owl", "cactus", "sailboat", "key", "crown", "lion",
    "ice cream", "light bulb", "dog", "horse", "elephant", "frog", "duck", "turtle", "snail", "bee", "ladybug", "tulip",
    "palm tree", "pineapple", "watermelon", "carrot", "grapes", "hamburger", "donut", "cupcake", "lollipop", "castle",
    "bus", "bicycle", "airplane", "anchor", "hourglass", "moon", "snowflake", "pumpkin", "gift", "soccer ball",
    "scissors", "hammer", "chair", "robot", "deer", "peacock", "sheep", "bird", "squirrel", "sandwich", "bagel", "mug",
    "lamp", "table", "vase", "lighthouse", "windmill", "sword", "suitcase", "kite", "mailbox", "igloo", "boot",
    "astronaut", "hand", "submarine",
)  # fmt: skip
_COLOURED = (
    ("red", "apple", "blue"), ("blue", "car", None), ("pink", "heart", None), ("green", "umbrella", None),
    ("purple", "butterfly", None), ("yellow", "balloon", "black"), ("blue", "rose", None), ("red", "teapot", None),
    ("white", "rabbit", "green"), ("orange", "cat", "white"), ("purple", "octopus", None), ("green", "dress", None),
    ("yellow", "bus", "white"), ("red", "house", "green"), ("blue", "fish", None), ("green", "frog", "pink"),
    ("orange", "fish", "blue"), ("pink", "cupcake", None), ("black", "cat", "yellow"), ("brown", "bear", "white"),
    ("yellow", "chair", None), ("purple", "mushroom", None), ("red", "kite", "white"), ("blue", "mug", None),
    ("green", "boot", None), ("red", "lamp", None), ("white", "sheep", "blue"), ("gray", "elephant", None),
    ("orange", "vase", None), ("pink", "suitcase", None),
)  # fmt: skip
_COUNTED = (
    (2, None, "banana"), (2, "purple", "hexagon"), (2, None, "strawberry"), (3, "red", "circle"), (3, None, "apple"),
    (3, "yellow", "star"), (4, "blue", "square"), (4, "red", "heart"), (2, None, "fish"), (2, "green", "triangle"),
    (2, None, "key"), (3, None, "mushroom"), (3, "blue", "ring"), (3, None, "butterfly"), (4, None, "tree"),
    (4, "orange", "diamond"), (4, None, "balloon"), (2, "black", "cross"), (3, None, "penguin"), (4, "pink", "circle"),
    (2, None, "mug"), (3, "red", "balloon"),
)  # fmt: skip
_GROUNDED = (
    ("cat", "blue"), ("penguin", "pink"), ("tree", "white"), ("banana", "purple"), ("rocket", "black"),
    ("strawberry", "green"), ("owl", "orange"), ("lighthouse", "yellow"),
)  # fmt: skip
_RELATED = (
    ("blue", "square", "beside", "red", "triangle"), ("yellow", "circle", "beside", "green", "square"),
    ("red", "heart", "over", "blue", "ring"), ("white", "star", "over", "purple", "hexagon"),
    (None, "cat", "beside", None, "dog"), (None, "sun", "over", None, "house"),
    (None, "tree", "beside", None, "car"), ("black", "diamond", "over", "orange", "rectangle"),
    ("red", "circle", "beside", "blue", "square"), ("green", "star", "beside", "pink", "heart"),
    ("orange", "triangle", "over", "black", "circle"), ("yellow", "crescent", "over", "blue", "square"),
    (None, "apple", "beside", None, "banana"), (None, "penguin", "beside", None, "snowman"),
    (None, "moon", "over", None, "tree"), (None, "balloon", "over", None, "car"),
    ("red", "apple", "beside", "green", "pear"), ("blue", "umbrella", "over", None, "cat"),
    (None, "mushroom", "beside", "red", "square"), ("purple", "ring", "over", None, "fish"),
    (None, "key", "beside", None, "padlock"), (None, "airplane", "over", None, "house"),
)  # fmt: skip


@dataclass(frozen=True)
class Prompt:
    """A prompt of the suite: its words, its meaning, and the group it is reported in."""

    text: str
    scene: Scene
    group: str


def _number(noun: str) -> int:
    return shape_number(noun) if noun in SHAPES else number_of(noun)


@cache
def prompts() -> tuple[Prompt, ...]:
    """The prompts in a fixed order: things, coloured things, shapes, backgrounds, counts, relations."""
    scenes = [("things", Scene(number_of(noun))) for noun in _THINGS]
    scenes += [("colours of things", Scene(_number(noun), c, background=ground)) for c, noun, ground in _COLOURED]
    for index, name in enumerate(SHAPES):
        # Steps round the eleven colours: every shape in two or three, half of them also on a ground.
        hues = [COLOUR_NAMES[(index + step) % len(COLOUR_NAMES)] for step in (0, 4, 5, 6, 8)]
        asked = hues[0], hues[3], *hues[4 : 4 + (index + 1) % 2]
        scenes += [("shapes", Scene(shape_number(name), hue)) for hue in asked]
        scenes.append(("backgrounds", Scene(shape_number(name), hues[2], background=hues[1])))
    scenes += [("backgrounds", Scene(_number(noun), background=ground)) for noun, ground in _GROUNDED]
    scenes += [("counts", Scene(_number(noun), colour, count)) for count, colour, noun in _COUNTED]
    scenes += [
        ("relations", Scene(_number(first), colour, other=_number(second), other_colour=other, relation=relation))
        for colour, first, relation, other, second in _RELATED
    ]
    return tuple(Prompt(caption(scene), scene, group) for group, scene in scenes)


def neighbour(scene: Scene, key: str) -> Scene:
    """A false neighbour of what a prompt says, of concepts that the shipped models know; the same for the same key."""
    rng = Random(key)
    while not {(wrong := falsify(scene, rng)).concept, wrong.other} <= {*learnt(), None}:
        pass
    return wrong


@cache
def bank() -> tuple[Prompt, ...]:
    """The captions that compete: all prompts, all things, all coloured shapes, a false neighbour of each prompt."""
    scenes = [p.scene for p in prompts()]
    scenes += [neighbour(p.scene, f"bank/{i}") for i, p in enumerate(prompts())]
    scenes += [Scene(number) for number in learnt() if number < len(things())]
    scenes += [Scene(shape_number(name), colour) for name in SHAPES for colour in COLOUR_NAMES]
    unique = {caption(scene): scene for scene in scenes}
    return tuple(Prompt(text, scene, "bank") for text, scene in unique.items())


@dataclass(frozen=True)
class Reading:
    """What a scorer reads in a picture that was made for a prompt.

    Attributes:
        best: The caption it ranks first.
        right: Whether that is the prompt.
        cosine: Its cosine with the prompt.
    """

    best: str
    right: bool
    cosine: float


@torch.no_grad()
def read(scorer: Scorer, images: Images, asked: Sequence[Prompt]) -> list[Reading]:
    """Let `scorer` name pictures (b, 3, h, w), the i-th made for `asked[i]`, from the bank."""
    texts = [p.text for p in bank()]
    for prompt in asked:
        if prompt.text not in texts:
            raise ValueError(f"{prompt.text!r} is not in the bank of captions; expected one of the suite's prompts")
    text = scorer.encode_text(texts)
    similarity: Float[Tensor, "b n"] = scorer.encode_image(images) @ text.T
    own = torch.tensor([texts.index(p.text) for p in asked])
    rivals = ~compatible(slots([p.scene for p in asked]), slots([p.scene for p in bank()]))
    rivals[torch.arange(len(own)), own] = True
    ranked = similarity.masked_fill(~rivals.to(similarity.device), -2.0).argmax(1).cpu()
    return [
        Reading(texts[int(best)], int(best) == int(mine), float(similarity[row, mine]))
        for row, (best, mine) in enumerate(zip(ranked, own, strict=True))
    ]


def interval(right: Sequence[bool], draws: int = 2000, seed: int = 0) -> tuple[float, float]:
    """The 95 % bootstrap interval of a share, resampling the pictures."""
    values = torch.tensor(right, dtype=torch.float32)
    picks = torch.randint(len(values), (draws, len(values)), generator=generator(seed))
    low, high = values[picks].mean(1).quantile(torch.tensor([0.025, 0.975])).tolist()
    return low, high
