"""What a picture of the embedded world shows, and the sentences that are true of it.

A `Scene` holds every attribute of a picture. A caption states some of them; the rest are `None`. So whether a
caption is true of a picture, and whether two captions can be true of one picture, is decided slot by slot.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from clipopt.embedded.concepts import COLOUR_NAMES, SHAPES, concepts, things, with_article

SIZES = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
PLACES = (
    ("in the center", "in the middle"),
    ("at the top",),
    ("at the bottom",),
    ("on the left", "on the left side"),
    ("on the right", "on the right side"),
    ("in the top left corner", "in the top left"),
    ("in the top right corner", "in the top right"),
    ("in the bottom left corner", "in the bottom left"),
    ("in the bottom right corner", "in the bottom right"),
)
COUNTS = {2: "two", 3: "three", 4: "four"}
RELATIONS = {
    ("beside", False): ("left of", "to the left of"),
    ("beside", True): ("right of", "to the right of"),
    ("over", False): ("above", "over"),
    ("over", True): ("below", "under"),
}
_FRAMES = ("a picture of {}", "an image of {}", "a drawing of {}", "a photo of {}", "a painting of {}")
_GROUNDS = ("on {} background", "on {} background", "against {} background", "in front of {} background")
_UNNAMED, _NONE, _UNSTATED = -2, -3, -1


@dataclass(frozen=True)
class Scene:
    """Everything that captions can say of a picture.

    Attributes:
        concept: Number of the thing or shape, see `concepts()`.
        colour: Its named colour; "" where it has no single one.
        count: How many of it, 1 to 4.
        size: "small", "medium" or "large".
        place: Index into `PLACES`; None where it stands at none of them.
        other: Number of a second, different concept.
        other_colour: Its colour.
        relation: "beside" (the first is left) or "over" (the first is above).
        background: Its named colour; "" where it has none.
        tinted: Whether the colour is not the thing's own: "a snowman" is white, and captions of a purple one say so.
        other_tinted: Likewise of the second.

    In a caption any attribute but `concept` may be None, for unstated; `other` is then None for "no other".
    """

    concept: int
    colour: str | None = None
    count: int | None = 1
    size: str | None = None
    place: int | None = None
    other: int | None = None
    other_colour: str | None = None
    relation: str | None = None
    background: str | None = None
    tinted: bool = False
    other_tinted: bool = False

    def slots(self) -> list[int]:
        """The attributes as small integers: -1 unstated, -2 unnamed, -3 absent."""

        def colour(name: str | None) -> int:
            return _UNSTATED if name is None else COLOUR_NAMES.index(name) if name else _UNNAMED

        single = self.other is None
        return [
            self.concept,
            colour(self.colour),
            _UNSTATED if self.count is None else self.count,
            _UNSTATED if self.size is None else ("small", "medium", "large").index(self.size),
            _UNSTATED if self.place is None else self.place,
            _NONE if self.other is None else self.other,
            _NONE if single else colour(self.other_colour),
            _NONE if single else _UNSTATED if self.relation is None else ("beside", "over").index(self.relation),
            colour(self.background),
        ]

    @classmethod
    def of(cls, slots: Sequence[int]) -> "Scene":
        """The scene of these `slots`; whether colours are the things' own is not in them."""

        def colour(number: int) -> str | None:
            return None if number in (_UNSTATED, _NONE) else "" if number == _UNNAMED else COLOUR_NAMES[number]

        def one(names: tuple[str, ...], number: int) -> str | None:
            return names[number] if number >= 0 else None

        concept, own, count, size, place, other, others, relation, ground = slots
        return cls(
            concept,
            colour(own),
            count if count > 0 else None,
            one(("small", "medium", "large"), size),
            place if place >= 0 else None,
            other if other >= 0 else None,
            colour(others),
            one(("beside", "over"), relation),
            colour(ground),
        )


SLOTS = 9


def true_of(captions: Int[Tensor, "c 9"], pictures: Int[Tensor, "p 9"]) -> Bool[Tensor, "p c"]:
    """Which captions are true of which pictures, both given as `Scene.slots`."""

    def agree(c: Tensor) -> Tensor:
        return ((c[None] == _UNSTATED) | (c[None] == pictures[:, None])).all(-1)

    unordered = captions[:, 7] == _UNSTATED  # "a cat and a dog" is true of both orders
    swapped = captions[:, [5, 6, 2, 3, 4, 0, 1, 7, 8]]
    return agree(captions) | (unordered & agree(swapped))


def compatible(a: Int[Tensor, "a 9"], b: Int[Tensor, "b 9"]) -> Bool[Tensor, "a b"]:
    """Which pairs of captions could be true of one and the same picture."""

    def agree(b: Tensor) -> Tensor:
        return ((a[:, None] == _UNSTATED) | (b[None] == _UNSTATED) | (a[:, None] == b[None])).all(-1)

    swapped = b[:, [5, 6, 2, 3, 4, 0, 1, 7, 8]]
    loose = (a[:, None, 7] == _UNSTATED) | (b[None, :, 7] == _UNSTATED)
    return agree(b) | (loose & agree(swapped))


def _noun(number: int, count: int, rng: Random | None) -> str | None:
    concept = concepts()[number]
    if count > 1:
        return concept.plural
    return rng.choice((concept.noun, concept.noun, *concept.synonyms)) if rng else concept.noun


def _phrase(number: int, colour: str | None, count: int, size: str | None, rng: Random | None) -> str:
    noun = _noun(number, count, rng) or concepts()[number].noun
    if rng and colour == "gray" and rng.random() < 0.3:
        colour = "grey"
    size = (rng.choice(SIZES[size]) if rng else size) if size else None
    phrase = " ".join(word for word in (size, colour, noun) if word)
    if count > 1:
        return f"{COUNTS[count]} {phrase}"
    return phrase if concepts()[number].plural is None and noun[-1:] == "s" else with_article(phrase)


def caption(said: Scene, rng: Random | None = None) -> str:
    """The sentence that states what `said` holds; with `rng`, in words that vary."""
    text = _phrase(said.concept, said.colour, said.count or 1, said.size, rng)
    if said.other is not None:
        other = _phrase(said.other, said.other_colour, 1, None, rng)
        if said.relation is None:
            pair = (text, other) if rng is None or rng.random() < 0.5 else (other, text)
            text = " and ".join(pair)
        else:
            turned = rng is not None and rng.random() < 0.5
            names = RELATIONS[said.relation, turned]
            name = rng.choice(names) if rng else names[0]
            text = f"{other} {name} {text}" if turned else f"{text} {name} {other}"
    if said.place is not None:
        text += " " + (rng.choice(PLACES[said.place]) if rng else PLACES[said.place][0])
    if said.background:
        ground = with_article(said.background)
        text += " " + (rng.choice(_GROUNDS) if rng else _GROUNDS[0]).format(ground)
    elif rng and rng.random() < 0.15:
        text = rng.choice(_FRAMES).format(text)
    return text


def describe(scene: Scene, rng: Random) -> Scene:
    """A choice of what to say of `scene`: its concepts always, each other attribute now and then."""
    shape = scene.concept >= len(things())
    colour = scene.colour if (scene.colour and rng.random() < (0.85 if shape else 0.5)) or scene.tinted else None
    if scene.other is not None:
        other_shape = scene.other >= len(things())
        return Scene(
            scene.concept,
            colour,
            other=scene.other,
            other_colour=scene.other_colour
            if (scene.other_colour and rng.random() < (0.85 if other_shape else 0.4)) or scene.other_tinted
            else None,
            relation=scene.relation if rng.random() < 0.85 else None,
            background=scene.background if scene.background and rng.random() < 0.15 else None,
        )
    return Scene(
        scene.concept,
        colour,
        count=scene.count,
        size=scene.size if scene.size != "medium" and rng.random() < 0.3 else None,
        place=scene.place if rng.random() < 0.3 else None,
        background=scene.background if scene.background and rng.random() < 0.4 else None,
    )


def falsify(said: Scene, rng: Random) -> Scene:
    """`said` with one stated attribute made false: the hard negative of a caption."""
    ways = ["concept"]
    if said.colour:
        ways += ["colour", "colour"]
    if said.background:
        ways += ["background"]
        if said.colour:
            ways += ["exchange"]
    if said.other is not None:
        if said.relation:
            ways += ["turn", "turn", "turn", "relation"]
        if said.colour and said.other_colour and said.colour != said.other_colour:
            ways += ["colours", "colours"]
    elif concepts()[said.concept].plural and said.place is None:
        ways += ["count"] * (4 if (said.count or 1) > 1 else 1)
    if said.place is not None:
        ways += ["place"] * 2
    if said.size:
        ways += ["size"]
    way = rng.choice(ways)
    if way == "concept":
        pool = range(len(things()), len(concepts())) if said.concept >= len(things()) else range(len(things()))
        return replace(said, concept=rng.choice([n for n in pool if n not in (said.concept, said.other)]))
    if way == "colour":
        return replace(said, colour=rng.choice([c for c in COLOUR_NAMES if c != said.colour]))
    if way == "background":
        return replace(said, background=rng.choice([c for c in COLOUR_NAMES if c != said.background]))
    if way == "exchange":
        return replace(said, colour=said.background, background=said.colour)
    if way == "turn":
        return replace(
            said, concept=said.other or 0, colour=said.other_colour, other=said.concept, other_colour=said.colour
        )
    if way == "relation":
        return replace(said, relation="over" if said.relation == "beside" else "beside")
    if way == "colours":
        return replace(said, colour=said.other_colour, other_colour=said.colour)
    if way == "count":
        return replace(said, count=rng.choice([n for n in (1, 2, 3, 4) if n != said.count]))
    if way == "place":
        return replace(said, place=rng.choice([n for n in range(len(PLACES)) if n != said.place]))
    return replace(said, size="small" if said.size == "large" else "large")


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word that a caption can hold, sorted."""
    from clipopt.scorers.tower import words

    pieces: list[str] = [*COLOUR_NAMES, "grey", *COUNTS.values(), *_FRAMES, *_GROUNDS, "a an and background".strip()]
    pieces += [w for names in (*SIZES.values(), *PLACES, *RELATIONS.values()) for w in names]
    for concept in concepts():
        pieces += [concept.noun, concept.plural or "", *concept.synonyms]
    return tuple(sorted({w for piece in pieces for w in words(piece)}))


@cache
def names() -> tuple[str, ...]:
    """What a picture's one thing or shape can be called: "cat", ...; "red circle", ..., shape by shape."""
    return tuple(c.noun for c in things()) + tuple(f"{colour} {shape}" for shape in SHAPES for colour in COLOUR_NAMES)


def slots(scenes: Sequence[Scene]) -> Int[Tensor, "n 9"]:
    """`Scene.slots` of many scenes as one tensor."""
    return torch.tensor([s.slots() for s in scenes], dtype=torch.long).view(-1, SLOTS)


def shape_number(name: str) -> int:
    """The number of a shape among all concepts."""
    return len(things()) + SHAPES.index(name)
