"""Where the hands come from: packages of other makers' emoji and clip art, which stand on this machine already.

Nothing is fetched here. A package whose licence is not the one that was read is refused.
"""

import json
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from clipopt.embedded.concepts import things
from recipes.embedded import sprites


@dataclass(frozen=True)
class Hand:
    """One maker's drawings of many things.

    Attributes:
        name: As files and options call it.
        package: Which package carries it, of npm (with "/") or Debian.
        licence: SPDX identifier of the drawings' licence.
        credit: Who drew them.
        declared: What the package says of its licence, where that is the code's and not the drawings'.
    """

    name: str
    package: str
    licence: str
    credit: str
    declared: str = ""

    @property
    def share_alike(self) -> bool:
        """Whether what is adapted from the drawings has to stay under their licence."""
        return "-SA-" in self.licence


def _iconify(name: str, licence: str, credit: str, declared: str = "") -> Hand:
    return Hand(name, f"@iconify-json/{name}", licence, credit, declared)


HANDS = (
    _iconify("noto-v1", "Apache-2.0", "Google Inc., Noto Emoji of before 2018 (the blobs)"),
    _iconify("openmoji", "CC-BY-SA-4.0", "OpenMoji, HfG Schwäbisch Gmünd"),
    _iconify("fluent-emoji", "MIT", "Microsoft Corporation, Fluent Emoji"),
    _iconify("fluent-emoji-flat", "MIT", "Microsoft Corporation, Fluent Emoji"),
    _iconify("fluent-emoji-high-contrast", "MIT", "Microsoft Corporation, Fluent Emoji"),
    _iconify("emojione-v1", "CC-BY-SA-4.0", "Emoji One, version 1"),
    _iconify("emojione", "CC-BY-4.0", "Emoji One, version 2"),
    _iconify("emojione-monotone", "CC-BY-4.0", "Emoji One, version 2"),
    _iconify("fxemoji", "CC-BY-4.0", "Mozilla, Firefox OS Emoji", declared="Apache-2.0"),
    _iconify("streamline-emojis", "CC-BY-4.0", "Streamline (streamlinehq.com)"),
    Hand("openclipart", "openclipart-svg", "CC-PDDC", "the artists of the Open Clip Art Library, release 0.18"),
    _iconify("twemoji", "CC-BY-4.0", "Twitter, Inc. and other contributors"),
    Hand("symbola", "fonts-symbola", "LicenseRef-Symbola", "George Douros"),
)
HELD_OUT = ("twemoji", "symbola")
"""Hands that measure: no training ever sees them."""
LEFT_OUT = {
    "emoji-datasource-apple": "copyright of Apple Inc., not licensed for commercial use",
    "emoji-datasource-facebook": "no clear licence",
    "emoji-datasource-emojione": "EmojiOne 4, not under a free licence",
    "emoji-datasource-google": "Noto's emoji again: the world's own hand",
    "emoji-datasource-twitter": "Twemoji again: held out",
}
"""Packages of drawings that are not used, and why."""

_SYMBOLA = "usr/share/fonts/truetype/ancient-scripts/Symbola_hint.ttf"
_LOOK = 48  # width at which the margins of a drawing are found
_INK = "#141416"  # of hands of one colour
_OTHER = {  # what older hands drew by this name is another thing
    "cricket": {"emojione", "emojione-monotone"},
    "water pistol": {"noto-v1", "emojione-v1", "emojione", "emojione-monotone", "fxemoji", "streamline-emojis"},
}
_SKIN = re.compile("[\U0001f3fb-\U0001f3ff]")


@dataclass(frozen=True)
class Roots:
    """Where packages were installed or unpacked.

    Attributes:
        npm: The folder `node_modules`.
        debian: What Debian's packages were unpacked into: "/" where they are installed.
    """

    npm: Path = Path("node_modules")
    debian: Path = Path("/")

    def place(self, hand: Hand) -> Path:
        """What must be there for this hand to be drawn."""
        if "/" in hand.package:
            return self.npm / hand.package / "icons.json"
        return self.debian / (_SYMBOLA if hand.name == "symbola" else "usr/share/openclipart/svg")


def install(hands: tuple[Hand, ...] = HANDS) -> str:
    """The command lines that bring the packages of these hands, and of the words."""
    npm = " ".join(h.package for h in hands if "/" in h.package)
    debian = " ".join(h.package for h in hands if "/" not in h.package)
    return (
        f"npm install --ignore-scripts {npm} cldr-annotations-full\n"
        f"apt-get install {debian} fonts-noto-color-emoji unicode-data\n"
        "pip install 'clipopt[train]'"
    )


def key(symbol: str) -> str:
    """An emoji by its code points, "1f431"; without the mark that asks for colour."""
    return "-".join(f"{ord(c):x}" for c in symbol if c != "\ufe0f")


@cache
def emoji() -> dict[str, str]:
    """The emoji that a hand is asked for, names by `key`: no skin tones, and few flags and families.

    Of flags, and of what is composed of several emoji, only what the world knows.
    """
    known = {thing.emoji for thing in things()}
    names: dict[str, str] = {}
    for name, symbol in sprites.symbols().items():
        composed = "\u200d" in symbol or name.startswith(("flag: ", "keycap: "))
        if not _SKIN.search(symbol) and (name in known or not composed):
            names[key(symbol)] = name
    return names


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", re.sub("[\u2019']", "", name.lower()))
    return re.sub(r"[^a-z0-9]", "", plain.encode("ascii", "ignore").decode())


class Icons:
    """An unpacked package of Iconify.

    Raises:
        ValueError: its licence is not the one that was read.
    """

    def __init__(self, folder: Path, hand: Hand) -> None:
        declared = json.loads((folder / "info.json").read_text("utf-8"))["license"]["spdx"]
        if declared != (hand.declared or hand.licence):
            raise ValueError(
                f"{folder} is under {declared}, expected {hand.declared or hand.licence}: "
                "read its licence, and change the table in recipes/embedded/sources.py if it permits this use"
            )
        self._set: dict[str, Any] = json.loads((folder / "icons.json").read_text("utf-8"))
        self._icons: dict[str, dict[str, Any]] = self._set["icons"]
        parents = {name: alias["parent"] for name, alias in self._set.get("aliases", {}).items() if len(alias) == 1}
        self._names = {_slug(name): parent for name, parent in parents.items() if parent in self._icons}
        self._names |= {_slug(name): name for name in self._icons}
        self.by_key = {k.replace("-fe0f", ""): name for k, name in _characters(folder).items() if name in self._icons}

    def find(self, key: str, names: list[str]) -> list[str]:
        """The icons of an emoji: by its code points, else the first of these names that is one's, and its variants."""
        if key in self.by_key:
            return [self.by_key[key]]
        for name in map(_slug, names):
            found = [self._names[n] for n in (name, *(f"{name}{i}" for i in (1, 2, 3))) if n in self._names]
            if found:
                return list(dict.fromkeys(found))
        return []

    def svg(self, name: str) -> str:
        """An icon as a picture of its own."""
        icon = self._icons[name]
        left, top = (icon.get(side, self._set.get(side, 0)) for side in ("left", "top"))
        width, height = (icon.get(side, self._set.get(side, 16)) for side in ("width", "height"))
        return (
            '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
            f'color="{_INK}" viewBox="{left} {top} {width} {height}" width="{width}" height="{height}">'
            f"{icon['body']}</svg>"
        )


def _characters(folder: Path) -> dict[str, str]:
    path = folder / "chars.json"
    return json.loads(path.read_text("utf-8")) if path.is_file() else {}


def rendered(svg: str | Path, side: int) -> Image.Image | None:
    """A drawing, cut out, in the middle of a square; None if there is nothing to see."""
    import resvg_py

    asked: dict[str, Any] = {"svg_path": str(svg)} if isinstance(svg, Path) else {"svg_string": svg}
    asked |= {"skip_system_fonts": True, "dpi": 96}  # without dpi, what is measured in millimetres has no size
    try:
        small = Image.open(BytesIO(resvg_py.svg_to_bytes(**asked, width=_LOOK)))
        box = small.getbbox()
        if box is None:
            return None
        # Again, so that what is drawn and not its page is as large as asked for.
        wide = min(8 * side, round(side * _LOOK / max(box[2] - box[0], box[3] - box[1])))
        wide = min(wide, round(8 * side * small.width / small.height))
        image = Image.open(BytesIO(resvg_py.svg_to_bytes(**asked, width=wide)))
    except ValueError:
        return None
    return squared(image.convert("RGBA"), side)


def squared(image: Image.Image, side: int) -> Image.Image | None:
    """A picture without its empty margins in the middle of a square of this side; None if it is empty."""
    box = image.getbbox()
    if box is None:
        return None
    image = image.crop(box)
    longest = max(image.size)
    square = Image.new("RGBA", (longest, longest))
    square.paste(image, ((longest - image.width) // 2, (longest - image.height) // 2))
    return square if longest == side else square.resize((side, side), Image.Resampling.LANCZOS)


def _spellings(roots: Roots) -> dict[str, list[str]]:
    """Names of emoji by `key`, as Iconify's packages may spell them."""
    spelt: dict[str, list[str]] = {key: [name] for key, name in emoji().items()}
    for other in ("openmoji", "fluent-emoji-flat"):
        for k, name in _characters(roots.npm / "@iconify-json" / other).items():
            spelt.get(k.replace("-fe0f", ""), []).insert(0, name)
    for k, names in spelt.items():
        if "-" not in k:
            names.append(unicodedata.name(chr(int(k, 16)), ""))
    symbols = sprites.symbols()
    for thing in things():
        if thing.emoji:
            spelt[key(symbols[thing.emoji])] += [thing.noun, *thing.synonyms]
    return {k: [name for name in names if name] for k, names in spelt.items()}


def drawings(hand: Hand, roots: Roots, side: int) -> Iterator[tuple[str, Image.Image]]:
    """A hand's emoji: each one's key, and the drawing in a square; several where the hand has several."""
    if hand.name == "symbola":
        yield from _glyphs(roots.place(hand), side)
        return
    icons = Icons(roots.place(hand).parent, hand)
    for k, names in _spellings(roots).items():
        for name in icons.find(k, names) if hand.name not in _OTHER.get(emoji()[k], ()) else ():
            image = rendered(icons.svg(name), side)
            if image is not None:
                yield k, image


def _glyphs(path: Path, side: int) -> Iterator[tuple[str, Image.Image]]:
    font = ImageFont.truetype(str(path), side)
    missing = bytes(font.getmask("\U0010fffd"))
    for k in emoji():
        symbol = "" if "-" in k else chr(int(k, 16))
        if not symbol or font.getmask(symbol).getbbox() is None or bytes(font.getmask(symbol)) == missing:
            continue
        image = Image.new("RGBA", (3 * side, 3 * side))
        ImageDraw.Draw(image).text((side, side), symbol, font=font, fill=_INK)
        square = squared(image, side)
        if square is not None:
            yield k, square
