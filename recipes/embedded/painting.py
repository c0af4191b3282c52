"""Painters of a world of many hands: how a thing is drawn is picked at random, each time that it is shown.

    image, scene = painter(1, 64, folder=Path("hands")).paint(0)

What pictures show and what captions say of them follows the rules of `recipes.embedded.painters`: colours are exact,
counts, places and sizes are as said.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import accumulate
from pathlib import Path
from random import Random

from PIL import Image

from clipopt.embedded.concepts import COLOUR_NAMES, things
from recipes.embedded import clipart, sprites
from recipes.embedded.hands import CLIPS, Drawings, open_hands, unseen
from recipes.embedded.manners import MANNERS
from recipes.embedded.painters import Painter, What, coloured, shade
from recipes.embedded.sources import emoji
from recipes.embedded.sprites import Sprite

WORLD = "world"
"""The hand of the emoji font that the world has always had."""
_KEPT = 3000  # sprites at hand in one process, some 30 to 100 kB each
_SEEDS = 6  # ways to draw one drawing in one manner
_SILHOUETTE = "gray"  # what painters take for the colour to replace


@dataclass(frozen=True)
class Weights:
    """How often a thing is drawn by which hand and in which manner.

    Attributes:
        hands: Of hands by name, 1 for those not named; of the hands that draw a thing, one is picked by these.
        manners: Shares of drawings that are redrawn in a manner.
    """

    hands: Mapping[str, float] = field(default_factory=lambda: {WORLD: 2.0})
    manners: Mapping[str, float] = field(
        default_factory=lambda: {"lines": 0.1, "silhouette": 0.04, "sketch": 0.06, "grey": 0.05}
    )

    def __post_init__(self) -> None:
        held = [name for name in self.hands if unseen(name) and self.hands[name]]
        if held:
            raise ValueError(f"{', '.join(held)} measure and are in no training: give them no weight")
        if not {*self.manners} <= {*MANNERS} or min(self.manners.values(), default=0) < 0:
            raise ValueError(f"expected shares of {', '.join(MANNERS)}, got {dict(self.manners)}")
        if sum(self.manners.values()) > 1:
            raise ValueError(f"the shares of manners must not exceed 1, got {sum(self.manners.values()):g}")

    @classmethod
    def of(cls, asked: str) -> "Weights":
        """The usual weights but for those in a text such as "openmoji=0.5,lines=0.2".

        Raises:
            ValueError: a word is of another form, or names a hand that measures.
        """
        hands, manners = dict(cls().hands), dict(cls().manners)
        for word in asked.split(",") if asked else ():
            name, _, number = word.partition("=")
            try:
                share = float(number)
            except ValueError:
                share = -1.0
            if not 0 <= share < float("inf"):
                raise ValueError(f"expected NAME=WEIGHT with a weight of 0 or more, got {word}")
            (manners if name.strip() in MANNERS else hands)[name.strip()] = share
        return cls(hands, manners)


class ManyHands:
    """Looks of things in many hands, for `Painter(look=...)`.

    Args:
        folder: What `python -m recipes.embedded hands` made.
        weights: How often which.
        side: Of the pictures to paint, in pixels.
    """

    def __init__(self, folder: Path, weights: Weights | None = None, side: int = 64) -> None:
        self.weights = weights or Weights()
        self.hands = open_hands(folder)
        unknown = {*self.weights.hands} - {WORLD, *self.hands}
        if unknown:
            raise ValueError(
                f"{folder} has no hand called {', '.join(sorted(unknown))}: expected {', '.join(self.hands)}"
            )
        self._fine = min(128, 3 * side // 2)
        self._choices = _choices(self.hands, self.weights.hands)
        self._sprites: OrderedDict[tuple[str, int, str, int], Sprite] = OrderedDict()

    def __call__(self, number: int, rng: Random) -> What:
        """How to show a thing."""
        drawn, totals = self._choices[number]
        hand, place = rng.choices(drawn, cum_weights=totals)[0]
        roll, manner = rng.random(), ""
        for name, share in self.weights.manners.items():
            if 0 <= roll < share:
                manner = name
            roll -= share
        seed = rng.randrange(_SEEDS)
        if not manner:
            return coloured(number, self._sprite(hand, place), rng)
        sprite = self._sprite(hand, place, manner, seed)
        if manner == "silhouette":
            colour = rng.choice(COLOUR_NAMES) if rng.random() < 0.5 else "black"
            own = self._sprite(hand, place).colour
            return What(number, colour, shade(colour, rng), sprite, tinted=colour != own)
        if manner == "grey":
            return What(number, sprite.colour, None, sprite)
        return What(number, "", None, sprite)  # nobody calls a thing black for the ink of its outline

    def _sprite(self, hand: str, place: int, manner: str = "", seed: int = 0) -> Sprite:
        if hand == WORLD and not manner:
            return sprites.sprites()[place]
        asked = (hand, place, manner, seed if manner in ("lines", "sketch", "grey") else 0)
        if asked in self._sprites:
            self._sprites.move_to_end(asked)
            return self._sprites[asked]
        if manner:
            made = _in_manner(self._sprite(hand, place).picture, manner, seed, self._fine)
        else:
            made = self.hands[hand].sprite(place)
        self._sprites[asked] = made
        if len(self._sprites) > _KEPT:
            self._sprites.popitem(last=False)
        return made


def _in_manner(picture: Image.Image, manner: str, seed: int, side: int) -> Sprite:
    if picture.width > side:
        picture = picture.resize((side, side), Image.Resampling.LANCZOS)
    redrawn = MANNERS[manner](picture, seed)
    if manner == "grey":
        return Sprite(redrawn, own_colour=True)
    # Grounds keep clear of a sprite's colour: so no black lines stand on black.
    return Sprite.of(redrawn, _SILHOUETTE if manner == "silhouette" else "black", 135.0)


def _choices(
    hands: Mapping[str, Drawings], weights: Mapping[str, float]
) -> list[tuple[list[tuple[str, int]], list[float]]]:
    """By whom each thing can be drawn, as hand and number of the drawing, and the running totals of their weights."""
    keys = {name: k for k, name in emoji().items()}
    taken = {thing.emoji for thing in things()}
    clips = drawn_by(hands[CLIPS]) if CLIPS in hands else {}
    found = []
    for number, thing in enumerate(things()):
        drawn, shares = [(WORLD, number)], [weights.get(WORLD, 1.0)]
        poses = {thing.emoji, thing.noun} - (taken - {thing.emoji})  # the cat's face, and all of the cat
        for name, hand in hands.items():
            if name == CLIPS:
                places = clips.get(number, [])
            else:
                places = [p for pose in sorted(poses) for p in hand.places.get(keys.get(pose, ""), [])]
            for place in places:
                drawn.append((name, place))
                shares.append(weights.get(name, 1.0) / len(places))
        if not any(shares):
            shares[0] = 1.0
        found.append((drawn, list(accumulate(shares))))
    return found


def drawn_by(hand: Drawings) -> dict[int, list[int]]:
    """Clip art by the numbers of the things that it shows."""
    shown: dict[int, list[int]] = {}
    words = hand.facts["keywords"]
    for place, (name, title) in enumerate(zip(hand.facts["keys"], hand.facts["titles"], strict=True)):
        number = clipart.thing(clipart.Clip(name, title, tuple(words[place])))
        if number is not None:
            shown.setdefault(number, []).append(place)
    return shown


def painter(seed: int, side: int, *, folder: Path, weights: Weights | None = None) -> Painter:
    """A painter of this world; `pictures.paint` takes it as `make`."""
    return Painter(seed, side, look=ManyHands(folder, weights, side))


def told(folder: Path, weights: Weights | None = None) -> str:
    """What decides the pictures beside seed and side, in short: for the file that keeps worlds apart."""
    weights = weights or Weights()
    known = [(name, hand.digest) for name, hand in open_hands(folder).items()]
    rules = (sorted(known), sorted(weights.hands.items()), sorted(weights.manners.items()), _SEEDS)
    return sha256(repr(rules).encode()).hexdigest()[:16]
