"""What people of the embedded world do: actions that have a name, and sentences that say them.

for move in moves():
    print("a person " + move.phrase, move.seconds)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from random import Random

import torch
from jaxtyping import Float
from torch import Generator, Tensor

from clipopt.embedded.people import Pose, Stance, exchanged, poses, stance
from clipopt.geometry.body import Clothes, default_clothes
from clipopt.geometry.spline import catmull_rom
from clipopt.scorers.tower import words

AIM, SPAN = 0.98, 2.55
"""Height that cameras look at, and metres that a picture spans."""


ALIKE = (  # a film of the one shows the other as well
    ("squatting", "squatting down"), ("sitting", "sitting down"), ("kneeling", "kneeling down"),
    ("lying on the back", "lying down"), ("doing a push-up", "doing push-ups"), ("doing a sit-up", "doing sit-ups"),
    ("on all fours", "crawling"),
)  # fmt: skip


@dataclass(frozen=True)
class Move:
    """An action that has a name.

    Attributes:
        phrase: What stands behind "a person", such as "walking".
        synonyms: Other words for it.
        keys: Stances it goes through, evenly spaced in time.
        seconds: How long it takes, or one round of a loop.
        loop: Whether it goes on and on.
        backward: What it is when played backward: the phrase of another action; "!" where that has no name; "" where
            it is the same.
        aside: Whether it is hard to tell from straight in front.
    """

    phrase: str
    synonyms: tuple[str, ...]
    keys: tuple[Stance, ...]
    seconds: float | int
    loop: bool
    backward: str
    aside: bool

    def at(self, u: Float[Tensor, " t"]) -> Float[Tensor, "t _"]:
        """Angles and root, side by side, when a share `u` of it has passed; a loop goes on beyond 1."""
        rounds = 2 + math.ceil(float(u.max())) if self.loop else 1
        rows = torch.stack([torch.cat([key.angles, key.root]) for key in self.keys]).repeat(rounds, 1)
        if self.loop:  # turning goes on in its direction
            rows[:, -3:] = rows[0, -3:] + torch.cat([torch.zeros(1, 3), _wrapped(rows[:, -3:].diff(dim=0))]).cumsum(0)
            times = torch.arange(len(rows)) / len(self.keys) - 1
            return catmull_rom(rows, times, u)
        return catmull_rom(rows, torch.linspace(0, 1, len(rows)), u)


def _wrapped(angles: Tensor) -> Tensor:
    return (angles + math.pi - 1e-4).remainder(2 * math.pi) - math.pi + 1e-4


@cache
def moves() -> tuple[Move, ...]:
    """All named actions, in a fixed order; a mirror image follows its original."""
    made = []
    for line in files("clipopt.embedded").joinpath("moves.txt").read_text("utf-8").splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        aside, line = line.startswith(">"), line.removeprefix(">").strip()
        twofold, line = line.startswith("~"), line.removeprefix("~")
        said, time, keys, backward = (part.strip() for part in line.split("|"))
        phrase, *synonyms = (part.strip() for part in said.split(";"))
        kind, seconds = time.split()
        texts = keys.removesuffix("&").split("/")
        stances: list[Stance] = []
        for text in texts:
            stances.append(stances[-1] if text.strip() == "..." else stance(text))
        if keys.endswith("&"):
            stances += [key.mirrored() for key in stances]
        one = Move(phrase, tuple(synonyms), tuple(stances), float(seconds), kind == "loop", backward, aside)
        made.append(one)
        if twofold:
            mirrored = tuple(key.mirrored() for key in stances)
            made.append(
                replace(
                    one,
                    phrase=exchanged(phrase),
                    synonyms=tuple(map(exchanged, synonyms)),
                    keys=mirrored,
                    backward=exchanged(backward),
                )
            )
    return tuple(made)


@cache
def deeds() -> dict[str, tuple[Pose | None, Move | None]]:
    """Every phrase of `poses` and `moves`, with what shows it."""
    named: dict[str, tuple[Pose | None, Move | None]] = {one.phrase: (one, None) for one in poses()}
    for move in moves():
        named[move.phrase] = (named.get(move.phrase, (None, None))[0], move)
    return named


@cache
def synonyms() -> dict[str, tuple[str, ...]]:
    """Other words for each phrase, none of which could stand for two."""
    mine = {phrase: {s for one in both if one for s in one.synonyms} - {phrase} for phrase, both in deeds().items()}
    count: dict[str, int] = {}
    for said in mine.values():
        for word in said:
            count[word] = count.get(word, 0) + 1
    return {p: tuple(sorted(w for w in said if count[w] == 1 and w not in mine)) for p, said in mine.items()}


_BARE = {  # what the rules below would get wrong
    "doing": "do", "lying": "lie", "going": "go", "crying": "cry", "flying": "fly", "saying": "say", "ducking": "duck",
    "sitting": "sit", "putting": "put", "running": "run", "jogging": "jog", "squatting": "squat", "hugging": "hug",
    "clapping": "clap", "nodding": "nod", "shrugging": "shrug", "stepping": "step", "skipping": "skip",
    "hopping": "hop", "getting": "get", "flapping": "flap", "spinning": "spin", "kneeling": "kneel",
}  # fmt: skip
_SILENT = (
    "rais", "wav", "fac", "hid", "mov", "liv", "celebrat", "propos", "balanc", "glid", "skat", "driv", "pric", "circl",
    "meditat", "practic", "danc", "com", "tak", "mak", "giv", "strik", "leav", "prun", "argu", "div", "rotat", "receiv",
    "shak", "ris", "salut", "lung",
)  # fmt: skip


def third_person(phrase: str) -> str:
    """What stands behind "a person" in the present: "raising both arms" becomes "raises both arms"."""
    if " and " in phrase:
        return " and ".join(third_person(part) for part in phrase.split(" and "))
    first, space, rest = phrase.partition(" ")
    if not first.endswith("ing"):
        return (
            ("has " + rest)
            if first == "with"
            else phrase
            if first not in ("in", "on", "like", "curled")
            else "is " + phrase
        )
    stem = first.removesuffix("ing")
    bare = _BARE.get(first, stem + "e" if stem in _SILENT else stem)
    if bare.endswith("y") and bare[-2] not in "aeiou":
        ended = bare[:-1] + "ies"
    else:
        ended = bare + ("es" if bare.endswith(("s", "x", "z", "ch", "sh", "o")) else "s")
    return ended + space + rest


WHO = ("a person",) * 6 + ("someone", "a man", "a woman", "the person", "a figure", "somebody")
FRAMED = ("{}",) * 6 + ("a picture of {}", "a photo of {}", "a 3d render of {}", "an animation of {}", "a video of {}")
THEN = (", then ",) * 3 + (" and then ", ", and then ", " before ")


def sentence(phrases: Sequence[str], rng: Random | None = None) -> str:
    """One or more phrases, one after the other, as a sentence; with `rng`, in words that vary."""
    if rng is None:
        return "a person " + ", then ".join(phrases)
    chosen = [rng.choice((p, p, *synonyms().get(p, ()))) for p in phrases]
    link = rng.choice(THEN)
    if rng.random() < 0.4 and link != " before ":
        return rng.choice(WHO) + " " + link.join(map(third_person, chosen))
    return rng.choice(FRAMED).format(rng.choice(WHO) + " " + link.join(chosen))


@cache
def vocabulary() -> tuple[str, ...]:
    """Every word that a sentence about people can hold, sorted."""
    said: set[str] = set()
    for phrase in deeds():
        for one in (phrase, *synonyms()[phrase], *(s for both in deeds()[phrase] if both for s in both.synonyms)):
            said |= {*words(one), *words(third_person(one))}
    for fixed in (*WHO, *FRAMED, *THEN):
        said |= set(words(fixed))
    return tuple(sorted(said))


def plain_look(noise: Generator) -> tuple[Float[Tensor, "1 3 1 1"], Clothes]:
    """A plain background and clothes, each a little off the usual ones: what the scorers of films know."""
    usual = default_clothes()
    parts = (usual.parts + 0.07 * torch.randn(6, 3, generator=noise)).clamp(0, 1)
    shade = 0.62 + 0.14 * torch.randn(1, 1, 1, 1, generator=noise).clamp(-2, 2)
    return (shade + 0.05 * torch.randn(1, 3, 1, 1, generator=noise)).clamp(0, 1), Clothes(parts, usual.ground)
