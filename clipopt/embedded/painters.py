"""Painters: draw scenes of the embedded world as 64 px pictures.

Every picture depends on (seed, index) alone, so they can be drawn in parallel and in any order. Shapes are
flat and drawn here; things come from a colour emoji font, which is needed to train and not to use.
"""

import math
import re
from collections.abc import Callable, Sequence
from functools import cache, lru_cache
from pathlib import Path
from random import Random
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from clipopt.embedded.captions import Scene
from clipopt.embedded.concepts import COLOUR_NAMES, COLOURS, SHAPES, concepts, named_in, things
from clipopt.embedded.solids import FACING, VIEWS, solid_sprites
from clipopt.types import generator

Array = NDArray[np.float32]
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
NAMES = Path("/usr/share/unicode/emoji/emoji-test.txt")
_STRIKE = 109  # the one size at which the font holds its bitmaps
_LEVELS = (128, 88, 64, 48, 34, 24, 16)
_LAYOUTS = {  # where several of one kind stand, in canvases from the middle
    2: (
        ((-0.25, 0.0), (0.25, 0.0)),
        ((0.0, -0.25), (0.0, 0.25)),
        ((-0.23, -0.23), (0.23, 0.23)),
        ((0.23, -0.23), (-0.23, 0.23)),
    ),
    3: (
        ((-0.33, 0.0), (0.0, 0.0), (0.33, 0.0)),
        ((0.0, -0.24), (-0.25, 0.2), (0.25, 0.2)),
        ((0.0, 0.24), (-0.25, -0.2), (0.25, -0.2)),
    ),
    4: (
        ((-0.24, -0.24), (0.24, -0.24), (-0.24, 0.24), (0.24, 0.24)),
        ((0.0, -0.33), (0.0, 0.33), (-0.33, 0.0), (0.33, 0.0)),
    ),
}
_PLACE = {  # column and row of `PLACES`
    (0, 0): 0, (0, -1): 1, (0, 1): 2, (-1, 0): 3, (1, 0): 4, (-1, -1): 5, (1, -1): 6, (-1, 1): 7, (1, 1): 8,
}  # fmt: skip
_MODELLED = 0.2  # share of things that are picked among those with a solid, and shown as it
_SOLID, _ONE_COLOUR, _BARE = 0.5, 0.12, 0.35  # shares: solids of things that have both; of these in one colour, bare
_CLAY = (110.0, 195.0)  # how bright a bare shape is
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def _lab(rgb: Array) -> Array:
    """CIE L*a*b* of sRGB values in [0, 255], white point D65."""
    linear = np.where(rgb > 10.31, ((rgb / 255 + 0.055) / 1.055) ** 2.4, rgb / 255 / 12.92)
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = linear @ np.array(matrix, np.float32).T / np.array([0.9505, 1.0, 1.089], np.float32)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    lab = np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)
    return np.asarray(lab, np.float32)


_PALER: dict[str, tuple[tuple[int, int, int], ...]] = {  # what people still call by the same name
    "blue": ((150, 200, 240), (80, 180, 240), (20, 40, 110)),
    "green": ((160, 205, 60), (120, 180, 70), (20, 80, 30), (150, 220, 150)),
    "pink": ((252, 195, 195), (230, 90, 150)),
    "purple": ((190, 150, 220), (90, 30, 110)),
    "yellow": ((250, 230, 130),),
    "brown": ((160, 105, 60), (80, 50, 35)),
    "red": ((170, 20, 25),),
    "orange": ((245, 160, 70),),
}
_SHADES = [(i, rgb) for i, name in enumerate(COLOUR_NAMES) for rgb in (COLOURS[name], *_PALER.get(name, ()))]
_SHADE_OF = np.array([i for i, _ in _SHADES])
_PROTOTYPES = _lab(np.array([rgb for _, rgb in _SHADES], np.float32)) * np.array([0.6, 1, 1], np.float32)


def nearest_colour(rgb: Array) -> NDArray[np.intp]:
    """Number of the named colour closest to each sRGB value in [0, 255]."""
    lab = _lab(rgb)[..., None, :] * np.array([0.6, 1, 1], np.float32)
    return np.asarray(_SHADE_OF[((lab - _PROTOTYPES) ** 2).sum(-1).argmin(-1)])


def _shape(name: str, side: int = 512) -> Image.Image:
    """One shape in white on black, as large as fits."""
    image = Image.new("L", (side, side))
    draw = ImageDraw.Draw(image)
    c, r = side / 2, side * 0.49

    def corners(n: int, turn: float = 0.0, radius: float = r) -> list[tuple[float, float]]:
        angles = [turn - math.pi / 2 + 2 * math.pi * k / n for k in range(n)]
        return [(c + radius * math.cos(a), c + radius * math.sin(a)) for a in angles]

    def disc(x: float, y: float, radius: float, fill: int) -> None:
        draw.ellipse([x - radius, y - radius, x + radius, y + radius], fill=fill)

    def box(half_width: float, half_height: float) -> None:
        draw.rectangle([c - half_width, c - half_height, c + half_width, c + half_height], fill=255)

    if name == "circle":
        disc(c, c, r, 255)
    elif name == "square":
        box(0.82 * r, 0.82 * r)
    elif name == "rectangle":
        box(r, 0.5 * r)
    elif name == "cross":
        box(r, 0.3 * r)
        box(0.3 * r, r)
    elif name == "ring":
        disc(c, c, r, 255)
        disc(c, c, 0.56 * r, 0)
    elif name == "crescent":
        disc(c, c, r, 255)
        disc(c + 0.45 * r, c - 0.15 * r, 0.88 * r, 0)
    elif name == "triangle":
        draw.polygon(corners(3), fill=255)
    elif name == "hexagon":
        draw.polygon(corners(6, math.pi / 6), fill=255)
    elif name == "diamond":
        draw.polygon([(c, c - r), (c + 0.66 * r, c), (c, c + r), (c - 0.66 * r, c)], fill=255)
    elif name == "star":
        tips, notches = corners(5), corners(5, math.pi / 5, 0.42 * r)
        draw.polygon([p for pair in zip(tips, notches, strict=True) for p in pair], fill=255)
    elif name == "heart":
        t = np.linspace(0, 2 * np.pi, 200)
        x, y = 16 * np.sin(t) ** 3, 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
        draw.polygon([(c + r * a / 16.5, c - r * (b + 2.5) / 16.5) for a, b in zip(x, y, strict=True)], fill=255)
    elif name == "arrow":
        half = [(-1, 0.25), (0.1, 0.25), (0.1, 0.7), (1, 0)]
        outline = half + [(x, -y) for x, y in reversed(half)]
        draw.polygon([(c + r * x, c + r * y) for x, y in outline], fill=255)
    return image


def _emoji() -> dict[str, str]:
    """Unicode's emoji by name."""
    if not FONT.is_file() or not NAMES.is_file():
        raise ValueError(
            f"training draws from {FONT} and {NAMES}, which are not there; "
            "install them first (on Debian: apt install fonts-noto-color-emoji unicode-data)"
        )
    lines = re.findall(r"; fully-qualified\s+# (\S+) E[\d.]+ (.*)$", NAMES.read_text("utf-8"), re.MULTILINE)
    return {name: symbol for symbol, name in lines}


class Sprite:
    """A thing or shape at several sizes, with what is needed to recolour it.

    Attributes:
        picture: It, with transparency, in the middle of the smallest square.
        colour: The named colour of most of it; "" where no colour covers half.
        luma: How bright that is, 0 to 255.
    """

    def __init__(self, image: Image.Image, own_colour: bool) -> None:
        image = image.crop(image.getbbox())
        side = max(image.size)
        self.picture = Image.new("RGBA", (side, side))
        self.picture.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
        self._levels: dict[int, Image.Image] = {}
        pixels = np.asarray(self._level(64), np.float32)
        solid = pixels[..., 3] > 128
        named = nearest_colour(pixels[..., :3])
        counts = np.bincount(named[solid], minlength=len(COLOURS))
        main = int(counts.argmax())
        self.colour = COLOUR_NAMES[main] if own_colour and counts[main] >= 0.5 * solid.sum() else ""
        chosen = solid & (named == main)
        self.luma = float((pixels[..., :3] @ _LUMA)[chosen].mean())

    @classmethod
    def of(cls, picture: Image.Image, colour: str, luma: float) -> "Sprite":
        """The sprite with these attributes, which are not looked for again."""
        made = cls.__new__(cls)
        made.picture, made.colour, made.luma, made._levels = picture, colour, luma, {}
        return made

    def _level(self, side: int) -> Image.Image:
        if side not in self._levels:
            self._levels[side] = self.picture.resize((side, side), Image.Resampling.LANCZOS)
        return self._levels[side]

    def place(
        self, size: float, x: float, y: float, angle: float, flip: bool, side: int, tint: Array | None
    ) -> tuple[Array, Array]:
        """Colours (side, side, 3) in [0, 255] and coverage (side, side, 1) of the sprite put on a canvas."""
        level = self._level(min((level for level in _LEVELS if level >= 0.98 * size), default=_LEVELS[0]))
        scale = level.width / size
        c, s, half = math.cos(angle) * scale, math.sin(angle) * scale, level.width / 2
        m = -1 if flip else 1
        matrix = (m * c, m * s, half - m * (c * x + s * y), -s, c, half + s * x - c * y)
        moved = np.asarray(
            level.transform((side, side), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC), np.float32
        )
        rgb, cover = moved[..., :3], moved[..., 3:] / 255
        if tint is not None and self.colour:
            mine = (nearest_colour(rgb) == COLOUR_NAMES.index(self.colour))[..., None]
            shade = np.clip((rgb @ _LUMA)[..., None] / max(self.luma, 40.0), 0.6, 1.25)
            rgb = np.where(mine, np.clip(tint * shade, 0, 255), rgb)
        return np.asarray(rgb, np.float32), np.asarray(cover, np.float32)


@cache
def sprites() -> tuple[Sprite, ...]:
    """All concepts as sprites, by their numbers."""
    emoji = _emoji()
    font = ImageFont.truetype(str(FONT), _STRIKE)
    drawn = []
    for number, concept in enumerate(concepts()):
        if concept.emoji:
            if concept.emoji not in emoji:
                raise ValueError(f"{NAMES} names no emoji {concept.emoji!r}; expected Unicode 15 or later")
            image = Image.new("RGBA", (200, 200))
            ImageDraw.Draw(image).text((20, 20), emoji[concept.emoji], font=font, embedded_color=True)
        elif number < len(things()):
            image = solid_sprites().picture(number, FACING)
        else:
            mask = _shape(concept.noun)
            image = Image.merge("RGBA", [*Image.new("RGB", mask.size, (128, 128, 128)).split(), mask])
        drawn.append(Sprite(image, own_colour=number < len(things())))
    return tuple(drawn)


@lru_cache(256)
def _solid(number: int, view: int) -> Sprite:
    return Sprite(solid_sprites().picture(number, view), own_colour=True)


class What(NamedTuple):
    """What to paint: a concept, the name of its colour, the colour to paint it in if not its own, and its picture."""

    number: int
    colour: str
    tint: Array | None
    sprite: Sprite
    tinted: bool = False


def shade(name: str, rng: Random) -> Array:
    """A colour that is called by this name."""
    return np.array([min(255.0, max(0.0, v + rng.gauss(0, 10))) for v in COLOURS[name]], np.float32)


def coloured(number: int, sprite: Sprite, rng: Random) -> What:
    """A thing in its own colour or, if most of it has one, now and then in another."""
    own = sprite.colour
    if own and rng.random() < 0.3:
        colour = rng.choice(COLOUR_NAMES)
        if colour != own:
            return What(number, colour, shade(colour, rng), sprite, tinted=True)
    return What(number, own, None, sprite)


class Painter:
    """Draws picture `index` of the world `seed`, and says what it shows.

    Args:
        side: Height and width of a picture in pixels.
        drawn: Numbers of the things that it may show; by default all.
        solids: Whether a thing may be shown as a solid.
        look: How a flat thing is drawn, by its number; by default as in the emoji font.
    """

    def __init__(
        self,
        seed: int,
        side: int = 64,
        drawn: Sequence[int] | None = None,
        *,
        solids: bool = True,
        look: Callable[[int, Random], What] | None = None,
    ) -> None:
        self.look = look
        self.seed = seed
        self.side = side
        self.drawn = range(len(things())) if drawn is None else drawn
        self.solids = solid_sprites().numbers.intersection(self.drawn) if solids else frozenset()
        self._modelled = sorted(self.solids)
        self._y, self._x = np.mgrid[0:side, 0:side].astype(np.float32) / (side - 1) - 0.5

    @classmethod
    def of(cls, vocabulary: Sequence[str], seed: int, side: int = 64) -> "Painter":
        """A painter for models with these words.

        Of all of the world, if they read all of its names. The shipped ones are older than its solids and many of its
        things: then of what has a name in their words, as the emoji font draws it. Twelve of these things they have
        not seen (an egg, a truck, a ball: words of other names).
        """
        read = named_in(vocabulary)
        if len(read) == len(concepts()):
            return cls(seed, side)
        return cls(seed, side, [n for n in read if n < len(things()) and concepts()[n].emoji], solids=False)

    def paint(self, index: int) -> tuple[NDArray[np.uint8], Scene]:
        """The picture (side, side, 3) and its scene."""
        rng = Random(f"{self.seed}/{index}")
        noise = generator(self.seed, index)
        kind = rng.random()
        if kind < 0.16:
            image, scene = self._pair(rng, noise)
        elif kind < 0.30:
            image, scene = self._several(rng, noise)
        else:
            image, scene = self._single(rng, noise)
        return np.clip(image + 0.5, 0, 255).astype(np.uint8), scene

    def _concept(self, rng: Random, shapes: float) -> What:
        if rng.random() < shapes:
            colour, number = rng.choice(COLOUR_NAMES), len(things()) + rng.randrange(len(SHAPES))
            return What(number, colour, shade(colour, rng), sprites()[number])
        modelled = bool(self._modelled) and rng.random() < _MODELLED
        number = rng.choice(self._modelled if modelled else self.drawn)
        sprite = sprites()[number]
        if number in self.solids and (modelled or not concepts()[number].emoji or rng.random() < _SOLID):
            view = rng.randrange(VIEWS)
            if rng.random() < _BARE:
                bare = Sprite(solid_sprites().picture(number, view, (rng.uniform(*_CLAY),) * 3), own_colour=False)
                return What(number, "gray", None, bare)
            sprite = _solid(number, view)
            if rng.random() < _ONE_COLOUR:
                colour = rng.choice(COLOUR_NAMES)
                whole = Sprite(solid_sprites().picture(number, view, shade(colour, rng)), own_colour=False)
                return What(number, colour, None, whole, tinted=colour != sprite.colour)
        return coloured(number, sprite, rng) if self.look is None else self.look(number, rng)

    def _ground(self, rng: Random, noise: torch.Generator, avoid: set[str]) -> tuple[Array, str]:
        name = "" if rng.random() < 0.12 else rng.choice([c for c in COLOUR_NAMES if c not in avoid])
        if name:
            start = shade(name, rng)
            shift = [rng.gauss(0, 20) * (rng.random() < 0.5) for _ in range(3)]
            end = np.clip(start + np.array(shift, np.float32), 0, 255)
        else:
            start, end = (np.array([rng.uniform(0, 255) for _ in range(3)], np.float32) for _ in range(2))
            between = np.stack([start + t * (end - start) for t in np.linspace(0, 1, 5, dtype=np.float32)])
            near = set(nearest_colour(between).tolist())
            name = COLOUR_NAMES[near.pop()] if len(near) == 1 else ""  # which is what an eye calls it, too
        angle = rng.uniform(0, 2 * math.pi)
        along = self._x * math.cos(angle) + self._y * math.sin(angle)
        t = np.clip(along + 0.5, 0, 1)[..., None]
        image = start * (1 - t) + end * t
        texture = rng.random()
        if texture < 0.2:
            image = image + self._noise(noise, self.side, 1 if rng.random() < 0.5 else 3) * rng.uniform(2, 12)
        elif texture < 0.4:
            coarse = self._noise(noise, rng.choice((3, 5, 9, 16)), 1)[..., 0]
            soft = Image.fromarray(coarse, "F").resize((self.side, self.side), Image.Resampling.BICUBIC)
            image = image + np.asarray(soft)[..., None] * rng.uniform(4, 16)
        elif texture < 0.48:
            image = image + rng.uniform(6, 16) * np.sign(np.sin(along * rng.uniform(12, 45)))[..., None]
        return image.astype(np.float32), name

    @staticmethod
    def _noise(noise: torch.Generator, side: int, channels: int) -> Array:
        return torch.randn(side, side, channels, generator=noise).numpy()

    def _put(
        self,
        image: Array,
        rng: Random,
        what: What,
        size: float,
        x: float,
        y: float,
        tilt: float,
    ) -> Array:
        thing, tint = what.number < len(things()), what.tint
        rgb, cover = what.sprite.place(
            size, x, y, rng.gauss(0, tilt), thing and rng.random() < 0.4, self.side, tint if thing else None
        )
        if not thing:
            rgb = np.broadcast_to(tint if tint is not None else np.zeros(3, np.float32), rgb.shape)
            if rng.random() < 0.3:
                rgb = rgb * (1 + rng.uniform(-0.25, 0.25) * self._y[..., None])
        else:
            gain, lift = rng.uniform(0.85, 1.15), np.array([rng.gauss(0, 5) for _ in range(3)], np.float32)
            rgb = (rgb - 128) * gain + 128 + rng.gauss(0, 7) + lift
        return image * (1 - cover) + np.clip(rgb, 0, 255) * cover

    def _single(self, rng: Random, noise: torch.Generator) -> tuple[Array, Scene]:
        what = self._concept(rng, 0.27)
        number, colour = what[:2]
        image, ground = self._ground(rng, noise, {colour, what.sprite.colour})
        share = rng.uniform(0.28, 0.98) if number >= len(things()) else rng.uniform(0.34, 1.02)
        room = max(0.0, (1 - share) / 2)
        u, v = (
            rng.choice((-1, 0, 0, 1)) * rng.uniform(0.6, 1) if rng.random() < 0.5 else rng.uniform(-1, 1) for _ in "xy"
        )
        place = None
        if share < 0.62:
            column, row = (0 if abs(t) < 0.25 else math.copysign(1, t) if abs(t) > 0.5 else None for t in (u, v))
            if column is not None and row is not None:
                place = _PLACE[int(column), int(row)]
        x, y = (self.side * (0.5 + t * room) for t in (u, v))
        image = self._put(image, rng, what, self.side * share, x, y, 0.12)
        size = "small" if share < 0.42 else "large" if share > 0.72 else "medium"
        return image, Scene(number, colour, 1, size, place, background=ground, tinted=what.tinted)

    def _several(self, rng: Random, noise: torch.Generator) -> tuple[Array, Scene]:
        what = self._concept(rng, 0.5)
        number, colour = what[:2]
        image, ground = self._ground(rng, noise, {colour, what.sprite.colour})
        count = rng.choice((2, 2, 3, 4)) if concepts()[number].plural else 1
        if count == 1:
            return self._finish_single(image, rng, what, ground)
        spots = rng.choice(_LAYOUTS[count])
        gap = min(math.dist(a, b) for i, a in enumerate(spots) for b in spots[:i])
        share = min(0.46, gap) * rng.uniform(0.82, 1.02)
        dx, dy = rng.gauss(0, 0.02), rng.gauss(0, 0.02)
        for u, v in spots:
            x, y = (self.side * (0.5 + t + d + rng.gauss(0, 0.012)) for t, d in ((u, dx), (v, dy)))
            image = self._put(image, rng, what, self.side * share * rng.uniform(0.93, 1.05), x, y, 0.1)
        return image, Scene(number, colour, count, "medium", None, background=ground, tinted=what.tinted)

    def _finish_single(self, image: Array, rng: Random, what: What, ground: str) -> tuple[Array, Scene]:
        image = self._put(image, rng, what, self.side * 0.65, self.side / 2, self.side / 2, 0.12)
        return image, Scene(what[0], what[1], 1, "medium", None, background=ground, tinted=what.tinted)

    def _pair(self, rng: Random, noise: torch.Generator) -> tuple[Array, Scene]:
        shapes = rng.choice((0.0, 1.0, 1.0, 0.5))
        first, second = self._concept(rng, shapes), self._concept(rng, shapes)
        while second.number == first.number:
            second = self._concept(rng, shapes)
        avoid = {first.colour, second.colour, first.sprite.colour, second.sprite.colour}
        image, ground = self._ground(rng, noise, avoid)
        relation = rng.choice(("beside", "over"))
        gap = rng.uniform(0.23, 0.27)
        du, dv = (gap, 0.0) if relation == "beside" else (0.0, gap)
        du, dv = du + rng.gauss(0, 0.02), dv + rng.gauss(0, 0.02)
        cx, cy = 0.5 + rng.gauss(0, 0.02), 0.5 + rng.gauss(0, 0.02)
        for what, sign in ((first, -1), (second, 1)):
            x, y = self.side * (cx + sign * du), self.side * (cy + sign * dv)
            image = self._put(image, rng, what, self.side * rng.uniform(0.36, 0.47), x, y, 0.1)
        return image, Scene(*first[:2], 1, "medium", None, *second[:2], relation, ground, first.tinted, second.tinted)
