"""A wider vocabulary: names and keywords of things from Unicode's annotations and the Open Clip Art Library.

What is written is made anew at will and not part of the package: `words.json` says which names each thing has, and
`concepts.txt` is the world's list of things in its own format, with further synonyms and further things.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from clipopt.embedded.captions import vocabulary
from clipopt.embedded.concepts import COLOUR_NAMES, SHAPES, pluralize, things
from clipopt.io import files
from clipopt.scorers.tower import words as words_of
from recipes.embedded import clipart, sprites
from recipes.embedded.hands import CLIPS, open_hands
from recipes.embedded.sources import emoji, key

_ANNOTATIONS = "cldr-annotations-full/annotations/en/annotations.json"
_LEAST = 3  # hands that must draw what becomes a thing
_GROUPS = ("Smileys & Emotion", "People & Body", "Animals & Nature", "Food & Drink", "Travel & Places", "Activities",
           "Objects")  # fmt: skip
_SUBGROUPS = ("time", "heart", "emotion", "family", "person-symbol", "place-religious", "person-gesture", "hand-")
_NOT_NAMES = frozenset(COLOUR_NAMES) | frozenset(SHAPES) | frozenset(  # what many things are or have, or verbs
    re.findall("[a-z]+", "grey light dark left right up down small large big old new open closed no not and or the a")
)  # fmt: skip

# Whole words. Brands and works; people by name; what offends, and what a picture book leaves out.
_BRANDS = """tux linux gnu debian ubuntu gnome kde microsoft macintosh ipod iphone ipad google android nikon canon sony
nintendo gameboy playstation xbox sega atari pacman tetris pong lego rubik rubiks barbie disney mickey pokemon pikachu
simpson simpsons batman superman spiderman marvel garfield snoopy smurf kitty chevrolet ford dodge chrysler toyota honda
bmw mercedes volkswagen skoda ferrari porsche fiat shelby hummer jeep boeing airbus concorde cisco alcatel nokia
motorola ericsson hp dell ibm intel amd nvidia cocacola coke pepsi mcdonalds heineken guinness starbucks adidas nike
levis facebook twitter youtube instagram whatsapp netflix wikipedia mozilla firefox opera fedora redhat suse perl
inkscape gimp strat fender gibson tupperware velcro kleenex jacuzzi bluetooth olympic olympics zippo swatch rolex tesla
uber lyft"""
_PEOPLE = """jesus christ buddha muhammad beethoven bach handel mozart einstein newton lincoln washington obama trump
biden clinton bush putin merkel luther martin beckham elvis lennon lenin stalin mao hitler gandhi mandela guevara"""
_OFFENSIVE = """sex sexy sexual nude naked porn erotic penis vagina breast boob butt ass arse booty tits dick cock horny
slut whore bitch bastard damn hell shit crap poop poo turd dung fart pee piss puke vomit vomiting fuck suck screw nazi
swastika kkk racist slave negro gypsy eskimo squaw redskin retard cripple moron idiot dumb fat ugly gun pistol rifle
revolver bomb grenade nuke weapon kill killing murder suicide die dead death corpse hang shoot terror terrorist war drug
drugs cannabis marijuana weed cocaine heroin stoned drunk hangover wasted smoke smoking cigarette tobacco nicotine
condom hooker pimp chav thot simp stfu wtf omfg love coffin funeral urn"""
FORBIDDEN = frozenset(f"{_BRANDS} {_PEOPLE} {_OFFENSIVE}".split())
"""Words that no name holds."""


@dataclass(frozen=True)
class Names:
    """What a thing is called.

    Attributes:
        noun: As captions say it.
        emoji: Its name in Unicode's list, or "" for what clip art alone shows.
        new: Whether the world does not know it yet.
        synonyms: Names of it and of nothing else; the world's own first.
        about: Keywords that are said of it and of others: for searching, not for naming.
    """

    noun: str
    emoji: str
    new: bool
    synonyms: tuple[str, ...]
    about: tuple[str, ...]


def clean(name: str) -> str:
    """A name in lower case and plain letters, or "" where it is no name: too long, a sign, forbidden."""
    name = re.sub(r"\s+", " ", name.lower().replace("\u2019", "'").replace("-", " ")).strip()
    parts = name.split()
    if not re.fullmatch(r"[a-z][a-z' ]*[a-z]", name) or len(parts) > 4 or len(name) > 32:
        return ""
    plain = {part.removesuffix("'s") for part in parts}
    plain |= {part.removesuffix("s") for part in plain}
    return "" if plain & FORBIDDEN else name


def annotations(npm: Path) -> dict[str, tuple[str, tuple[str, ...]]]:
    """Unicode's short name and keywords of each emoji, by `key`.

    Raises:
        ValueError: the package is not there.
    """
    path = npm / _ANNOTATIONS
    if not path.is_file():
        raise ValueError(f"expected {path}: npm install --ignore-scripts cldr-annotations-full, or name --npm")
    told = json.loads(path.read_text("utf-8"))["annotations"]["annotations"]
    return {key(symbol): (a.get("tts", [""])[0], tuple(a.get("default", ()))) for symbol, a in told.items()}


def groups() -> dict[str, tuple[str, str]]:
    """Group and subgroup of each emoji in Unicode's list, by `key`."""
    found: dict[str, tuple[str, str]] = {}
    group = subgroup = ""
    for line in sprites.NAMES.read_text("utf-8").splitlines():
        if line.startswith("# group: "):
            group = line.removeprefix("# group: ")
        elif line.startswith("# subgroup: "):
            subgroup = line.removeprefix("# subgroup: ")
        elif line and not line.startswith("#"):
            found[key("".join(chr(int(point, 16)) for point in line.split(";")[0].split()))] = (group, subgroup)
    return found


def _shown(where: tuple[str, str]) -> bool:
    group, subgroup = where
    return group in _GROUPS and not subgroup.startswith(_SUBGROUPS)


def collect(
    told: Mapping[str, tuple[str, Sequence[str]]],
    where: Mapping[str, tuple[str, str]],
    drawn: Mapping[str, int],
    titles: Sequence[tuple[str, Sequence[str]]],
) -> list[Names]:
    """All things, those of the world first, with their names.

    Args:
        told: Short name and keywords of emoji by key.
        where: Their group and subgroup.
        drawn: How many hands draw each.
        titles: Title and keywords of clip art that no training is kept from.
    """
    keys = {name: k for k, name in emoji().items()}
    said = Counter(clean(word) for name, words in told.values() for word in {name, *words})
    taken = {name for thing in things() for name in (thing.noun, thing.plural, *thing.synonyms, thing.emoji) if name}
    taken |= {clean(name) for name in taken} | _NOT_NAMES

    def named(k: str, noun: str, own: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Synonyms that nothing else has, and keywords."""
        short, words = told.get(k, ("", ()))
        short, cleaned = clean(short), [clean(word) for word in words]
        names = [*own]
        for name in (short, *cleaned):
            # A keyword is a name if no other emoji has it, and the noun ends in it: the light bulb is a bulb.
            kin = name == short or re.split(" (?:of|with|in|on|and|for) ", noun)[0].endswith(f" {name}")
            if name and kin and said[name] <= 1 and name not in taken and name != noun:
                names.append(name)
                taken.add(name)
        about = [w for w in dict.fromkeys(cleaned) if w and w != noun and w not in names and w not in _NOT_NAMES]
        return tuple(dict.fromkeys(names)), tuple(about)

    found = []
    for thing in things():
        synonyms, about = named(keys.get(thing.emoji, ""), thing.noun, thing.synonyms)
        found.append(Names(thing.noun, thing.emoji, False, synonyms, about))
    known = {thing.emoji for thing in things()}
    for k, name in emoji().items():
        noun = clean(told.get(k, (name, ()))[0] or name)
        fit = name not in known and _shown(where.get(k, ("", ""))) and drawn.get(k, 0) >= _LEAST
        if fit and noun and noun not in taken:
            taken.add(noun)
            synonyms, about = named(k, noun, ())
            found.append(Names(noun, name, True, synonyms, about))
    spoken = {word for name, words in told.values() for each in (name, *words) for word in clean(each).split()}
    return found + list(_from_titles(titles, taken, spoken))


def _from_titles(titles: Sequence[tuple[str, Sequence[str]]], taken: set[str], spoken: set[str]) -> Iterator[Names]:
    """Things that several pieces of clip art are titled by in words that are `spoken`, and a keyword agrees."""
    heads: dict[str, list[Sequence[str]]] = {}
    for title, keywords in titles:
        heads.setdefault(clean(clipart.head(title)), []).append(keywords)
    for noun, each in sorted(heads.items()):
        agreed = any({noun, pluralize(noun), noun.split()[-1]} & {*keywords} for keywords in each) if noun else False
        if len(each) >= _LEAST and agreed and noun not in taken and spoken.issuperset(noun.split()):
            taken.add(noun)
            about = dict.fromkeys(clean(word) for keywords in each for word in keywords)
            yield Names(noun, "", True, (), tuple(word for word in about if word and word != noun))


def lines(found: Sequence[Names]) -> str:
    """The things in the format of the world's concepts.txt."""
    own = {thing.noun: thing for thing in things()}
    rows = ["# Made by `python -m recipes.embedded words`; the world's own things first, so that numbers stay."]
    for each in found:
        if each.new and not each.emoji:  # the world itself has no picture of it
            continue
        thing = own.get(each.noun)
        counted = not re.search(r" (with|in|and|of) |s$", each.noun)
        plural = thing.plural if thing else pluralize(each.noun) if counted else None
        row = f"{each.emoji or '-'} = {each.noun} | {plural or '-'}"
        rows.append(row + (f" ; {', '.join(each.synonyms)}" if each.synonyms else ""))
    return "\n".join(rows) + "\n"


def counts(found: Sequence[Names]) -> dict[str, int]:
    """How many things, names and words there are."""
    said = [name for each in found for name in (each.noun, *each.synonyms)]
    spoken = {w for name in said for w in words_of(name)}
    related = {w for each in found for name in each.about for w in words_of(name)}
    return {
        "things": len(found), "new things": sum(each.new for each in found), "names": len({*said}),
        "words of today": len(vocabulary()), "words of names": len({*vocabulary()} | spoken),
        "words of names and keywords": len({*vocabulary()} | spoken | related),
    }  # fmt: skip


@dataclass(frozen=True)
class Words:
    """Collect names and keywords of things, old and new, from Unicode's annotations and clip art."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of `hands`, which says what is drawn; the words are written into it."""
    npm: Path = Path("node_modules")
    """The folder that `npm install` filled."""

    def prepare(self) -> Callable[[], None]:
        """Check the options and return the work."""
        told = annotations(self.npm)
        hands = open_hands(self.folder)
        return lambda: self._write(told, hands)

    def _write(self, told: Mapping[str, tuple[str, Sequence[str]]], hands: Mapping[str, Any]) -> None:
        drawn = Counter(k for name, hand in hands.items() if name != CLIPS for k in hand.places)
        titles: list[tuple[str, Sequence[str]]] = []
        if CLIPS in hands:
            facts = hands[CLIPS].facts
            titles = list(zip(facts["titles"], facts["keywords"], strict=True))
        found = collect(told, groups(), drawn, titles)
        summary = counts(found)
        rows = {"counts": summary, "things": [asdict(each) for each in found]}
        files.write_text(self.folder / "words.json", json.dumps(rows, indent=1, ensure_ascii=False) + "\n")
        files.write_text(self.folder / "concepts.txt", lines(found))
        print("\n".join(f"{count:6d} {what}" for what, count in summary.items()))
        print(f"{self.folder / 'words.json'}, {self.folder / 'concepts.txt'}")
