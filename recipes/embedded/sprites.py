"""Sprites: things and shapes as painters paste them, from a colour emoji font, solids, and shapes drawn here."""

import math
import re
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from clipopt.embedded.concepts import COLOUR_NAMES, COLOURS, concepts, things
from recipes.embedded.solids import FACING, solid_sprites

Array = NDArray[np.float32]
FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
NAMES = Path("/usr/share/unicode/emoji/emoji-test.txt")
STRIKE = 109
"""The one size at which the font holds its bitmaps."""
_LEVELS = (128, 88, 64, 48, 34, 24, 16)
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


def shape_mask(name: str, side: int = 512) -> Image.Image:
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


def symbols() -> dict[str, str]:
    """Unicode's emoji by name."""
    if not FONT.is_file() or not NAMES.is_file():
        raise ValueError(
            f"training draws from {FONT} and {NAMES}, which are not there; "
            "install them first (on Debian: apt install fonts-noto-color-emoji unicode-data)"
        )
    lines = re.findall(r"; fully-qualified\s+# (\S+) E[\d.]+ (.*)$", NAMES.read_text("utf-8"), re.MULTILINE)
    return {name: symbol for symbol, name in lines}


def glyph(symbol: str) -> Image.Image:
    """An emoji as the font draws it, with transparency."""
    image = Image.new("RGBA", (200, 200))
    ImageDraw.Draw(image).text((20, 20), symbol, font=_font(), embedded_color=True)
    return image


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(FONT), STRIKE)


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
    emoji = symbols()
    drawn = []
    for number, concept in enumerate(concepts()):
        if concept.emoji:
            if concept.emoji not in emoji:
                raise ValueError(f"{NAMES} names no emoji {concept.emoji!r}; expected Unicode 15 or later")
            image = glyph(emoji[concept.emoji])
        elif number < len(things()):
            image = solid_sprites().picture(number, FACING)
        else:
            mask = shape_mask(concept.noun)
            image = Image.merge("RGBA", [*Image.new("RGB", mask.size, (128, 128, 128)).split(), mask])
        drawn.append(Sprite(image, own_colour=number < len(things())))
    return tuple(drawn)
