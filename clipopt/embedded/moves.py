"""What people of the embedded world do: actions that have a name, and short films of them.

for move in moves():
    print("a person " + move.phrase, move.seconds)
film = plan(seed=0, index=7)                         # angles and root of 12 frames, and what they show
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from random import Random

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Generator, Tensor

from clipopt.embedded.people import Pose, Stance, exchanged, jittered, poses, stance
from clipopt.geometry.body import Clothes, default_clothes
from clipopt.geometry.skeleton import limits
from clipopt.geometry.spline import catmull_rom
from clipopt.render.figure import Posed, cameras, pose
from clipopt.render.tiles import shoot_together
from clipopt.types import generator

FRAMES = 12
"""Frames of a film as a scorer sees it, evenly spaced from its start to its end."""
AIM, SPAN = 0.98, 2.55
"""Height that cameras look at, and metres that a picture spans."""


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
        words, time, keys, backward = (part.strip() for part in line.split("|"))
        phrase, *synonyms = (part.strip() for part in words.split(";"))
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
    for words in mine.values():
        for word in words:
            count[word] = count.get(word, 0) + 1
    return {p: tuple(sorted(w for w in words if count[w] == 1 and w not in mine)) for p, words in mine.items()}


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


@dataclass(frozen=True)
class Film:
    """Frames of a figure, and what they show.

    Attributes:
        phrases: What it does, one after the other.
        rows: Angles and root of each frame.
        still: Whether nothing moves.
        aside: Whether it should be seen from aside.
    """

    phrases: tuple[str, ...]
    rows: Float[Tensor, "f _"]
    still: bool
    aside: bool

    @property
    def backward(self) -> str:
        """What it is played backward: "!" where that has no name, "" where it is the same."""
        if len(self.phrases) > 1:
            return "!"
        phrase = self.phrases[0]
        move = deeds()[phrase][1]
        return move.backward if move else "" if self.still else "!"


def plan(seed: int, index: int, frames: int = FRAMES) -> Film:
    """Film `index` of the world `seed`: one action, a pose that is taken or held, or two things in turn."""
    rng = Random(f"film/{seed}/{index}")
    kind = rng.random()
    count = 1 if kind < 0.65 else 2
    chosen: list[str] = []
    for _ in range(count):
        pool = (
            [m.phrase for m in moves()] if rng.random() < (0.7 if count == 1 else 0.5) else [p.phrase for p in poses()]
        )
        chosen.append(rng.choice([p for p in pool if p not in chosen]))
    spread = torch.linspace(0, 1, frames)
    cut = [0.0, 1.0] if count == 1 else [0.0, rng.uniform(0.42, 0.58), 1.0]
    noise = Random(rng.random())
    parts, still = [], False
    for number, phrase in enumerate(chosen):
        local = (spread - cut[number]) / (cut[number + 1] - cut[number])
        rows, still = _part(phrase, local, rng, alone=count == 1)
        parts.append(rows)
    whole = parts[0]
    if count == 2:
        blend = ((spread - cut[1]) / 0.16 + 0.5).clamp(0, 1)
        blend = (blend * blend * (3 - 2 * blend))[:, None]
        whole = torch.lerp(parts[0], parts[1], blend)
    low, high = limits()
    wobble = jittered(stance(""), noise, 4.0).angles - stance("").angles
    angles = torch.minimum(torch.maximum(whole[:, :-6] + wobble, low), high)
    aside = any(one.aside for phrase in chosen for one in deeds()[phrase] if one)
    return Film(tuple(chosen), torch.cat([angles, whole[:, -6:]], 1), still and count == 1, aside)


def _part(phrase: str, u: Tensor, rng: Random, *, alone: bool) -> tuple[Tensor, bool]:
    """Rows of one thing that is done from u = 0 to u = 1, and whether it is held still."""
    held, move = deeds()[phrase]
    if move is not None:
        strength = rng.uniform(0.85, 1.1)
        if move.loop:
            rounds = rng.uniform(1.2, 2.6) if alone else rng.uniform(0.9, 1.4)
            rows = move.at((u * rounds + rng.random()).clamp_min(0))
            rows = torch.cat([torch.lerp(rows.mean(0), rows, strength)[:, :-6], rows[:, -6:]], 1)
        else:
            start, end = rng.uniform(0, 0.15), rng.uniform(0.85, 1)
            rows = move.at(((u - start) / (end - start)).clamp(0, 1))
        return rows, False
    if held is None:
        raise ValueError(f"nothing shows {phrase!r}")
    one = rng.choice(held.stances)
    row, rest = (torch.cat([s.angles, s.root]) for s in (one, stance("")))
    if alone and rng.random() < 0.35:
        return row.expand(len(u), -1), True
    start, end = rng.uniform(0, 0.2), rng.uniform(0.45, 0.7)
    share = ((u - start) / (end - start)).clamp(0, 1)
    share = (share * share * (3 - 2 * share))[:, None]
    return torch.lerp(rest.expand(len(u), -1), row.expand(len(u), -1), share), False


def plain_look(noise: Generator) -> tuple[Float[Tensor, "1 3 1 1"], Clothes]:
    """A plain background and clothes, each a little off the usual ones: what the scorers of films know."""
    usual = default_clothes()
    parts = (usual.parts + 0.07 * torch.randn(6, 3, generator=noise)).clamp(0, 1)
    shade = 0.62 + 0.14 * torch.randn(1, 1, 1, 1, generator=noise).clamp(-2, 2)
    return (shade + 0.05 * torch.randn(1, 3, 1, 1, generator=noise)).clamp(0, 1), Clothes(parts, usual.ground)


@torch.no_grad()
def show(rows: Float[Tensor, "f _"], aside: bool, seed: int, index: int, side: int = 64) -> NDArray[np.uint8]:
    """Pictures (f, side, side, 3) of a figure's frames: one camera, plain ground, clothes and light a little off."""
    return show_posed(pose(rows[:, :-6], rows[:, -6:]), aside, seed, index, side)


@torch.no_grad()
def show_posed(posed: Posed, aside: bool, seed: int, index: int, side: int = 64) -> NDArray[np.uint8]:
    """`show`, of a figure that stands on the ground already."""
    rng, count = Random(f"show/{seed}/{index}"), len(posed)
    azimuth, elevation = _side(aside, rng), math.radians(rng.uniform(-2, 22))
    turn, rise = torch.full((count,), azimuth), torch.full((count,), elevation)
    return _drawn(posed, turn, rise, rng, generator(seed, index), side)


def _drawn(posed: Posed, turn: Tensor, rise: Tensor, rng: Random, noise: Generator, side: int) -> NDArray[np.uint8]:
    aim = torch.tensor([rng.gauss(0, 0.06), AIM + rng.gauss(0, 0.07), rng.gauss(0, 0.06)])
    shots = cameras(turn, rise, aim.expand(len(posed), -1), height=SPAN * rng.uniform(0.88, 1.12))
    lamp = float(turn.mean()) + math.radians(rng.uniform(-45, 45))
    toward = torch.nn.functional.normalize(torch.tensor([math.sin(lamp), 0.8, math.cos(lamp)]), dim=0)
    back, clothes = plain_look(noise)
    pictures = shoot_together(posed, shots, back.expand(1, 3, side, side), clothes, toward)
    return (pictures.permute(0, 2, 3, 1).clamp(0, 1) * 255).round().to(torch.uint8).numpy()


@torch.no_grad()
def stills(seed: int, first: int, count: int, side: int = 64) -> NDArray[np.uint8]:
    """Pictures (count, side, side, 3) of the world `seed`, from number `first` on: number `i` shows `poses[i % n]`.

    Sixteen in a row share clothes and light, each has a camera of its own.
    """
    rows = torch.stack([still_row(seed, index) for index in range(first, first + count)])
    posed = pose(rows[:, :-6], rows[:, -6:])
    made = []
    for start in range(0, count, 16):
        numbers = range(first + start, first + min(start + 16, count))
        turn = torch.tensor([side_of(poses()[n % len(poses())].aside, seed, -1 - n) for n in numbers])
        rng = Random(f"stills/{seed}/{first + start}")
        rise = torch.tensor([math.radians(rng.uniform(-2, 22)) for _ in numbers])
        part = posed[start : start + len(numbers)]
        made.append(_drawn(part, turn, rise, rng, generator(seed, -1 - first - start), side))
    return np.concatenate(made)


def still_row(seed: int, index: int) -> Float[Tensor, " _"]:
    """Angles and root of what picture `index` of `stills` shows."""
    rng = Random(f"still/{seed}/{index}")
    one = jittered(rng.choice(poses()[index % len(poses())].stances), rng, 5.0)
    return torch.cat([one.angles, one.root])


def side_of(aside: bool, seed: int, index: int) -> float:
    """Azimuth of the camera of `show` and of `stills`, radians."""
    return _side(aside, Random(f"show/{seed}/{index}"))


def _side(aside: bool, rng: Random) -> float:
    degrees = rng.choice((-1, 1)) * rng.uniform(22, 85) if aside else max(-80.0, min(80.0, rng.gauss(0, 32)))
    return math.radians(degrees)
