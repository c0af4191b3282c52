"""Hands as files: the drawings of one maker, rendered once, read one by one.

build(sources.HANDS[1], roots, folder)                 # folder/openmoji.safetensors
hand = open_hand(folder / "openmoji.safetensors")
sprite = hand.sprite(hand.places["1f431"][0])          # the cat
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import save_file

from clipopt.io import files
from recipes.embedded import clipart
from recipes.embedded.sources import HANDS, HELD_OUT, Hand, Roots, drawings, rendered
from recipes.embedded.sprites import Sprite

SIDE = 128
"""Height and width of a cached drawing in pixels."""
CLIPS = "openclipart"
CLIPS_HELD_OUT = "openclipart-held-out"
"""The drawings of the library that measure, in a file of their own."""
_FORMAT = "clipopt-hand-1"
_LEAST = 0.01  # of a square that a drawing covers


def unseen(name: str) -> bool:
    """Whether a file of drawings is for measuring alone."""
    return name in (*HELD_OUT, CLIPS_HELD_OUT)


def path_of(folder: Path, name: str) -> Path:
    """Where a hand is kept."""
    return folder / f"{name}.safetensors"


class Drawings:
    """The drawings in one file.

    Attributes:
        name: The hand's.
        facts: Its licence and makers, and which drawings they are.
        places: Numbers of the drawings of each emoji, by `sources.key`, or of each clip, by its name.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with safe_open(path, "numpy") as file:
            told = file.metadata() or {}
            if _FORMAT not in told:
                raise ValueError(f"{path} is no file of `python -m recipes.embedded hands`: make it again")
            self.facts: dict[str, Any] = json.loads(told[_FORMAT])
            self._ends = file.get_tensor("ends")
        self.name: str = self.facts["name"]
        self.places: dict[str, list[int]] = {}
        for number, key in enumerate(self.facts["keys"]):
            self.places.setdefault(key, []).append(number)

    def __len__(self) -> int:
        return len(self._ends)

    @cached_property
    def _bytes(self) -> Any:
        return safe_open(self.path, "numpy").get_slice("png")

    def picture(self, number: int) -> Image.Image:
        """A drawing, with transparency."""
        begin = int(self._ends[number - 1]) if number else 0
        return Image.open(BytesIO(self._bytes[begin : int(self._ends[number])].tobytes())).convert("RGBA")

    def sprite(self, number: int) -> Sprite:
        """A drawing as painters paste it."""
        return Sprite.of(self.picture(number), self.facts["colours"][number], self.facts["lumas"][number])

    @property
    def digest(self) -> str:
        """Says whether two files hold the same drawings."""
        return str(self.facts["digest"])


def _save(path: Path, hand: Hand, made: Sequence[tuple[str, Image.Image]], **more: Any) -> None:
    """Write drawings with their keys, and more facts."""
    digest = sha256()
    blobs, colours, lumas = [], [], []
    for key, image in made:
        digest.update(key.encode() + image.tobytes())
        packed = BytesIO()
        image.save(packed, "PNG")
        blobs.append(packed.getvalue())
        sprite = Sprite(image, own_colour=True)
        colours.append(sprite.colour)
        lumas.append(round(sprite.luma, 2))
    facts = {
        "name": path.stem, "licence": hand.licence, "credit": hand.credit, "package": hand.package,
        "digest": digest.hexdigest()[:16], "keys": [key for key, _ in made], "colours": colours, "lumas": lumas,
        **more,
    }  # fmt: skip
    tensors: dict[str, NDArray[Any]] = {
        "png": np.frombuffer(b"".join(blobs), np.uint8),
        "ends": np.cumsum([len(blob) for blob in blobs], dtype=np.int64),
    }
    with files.atomic(path) as temporary:
        save_file(tensors, temporary, {_FORMAT: json.dumps(facts)})  # one key: the order of several is random


def build(hand: Hand, roots: Roots, folder: Path, side: int = SIDE) -> list[Path]:
    """Render a hand into its file, and clip art into two, of which a drawing that is there already is left away.

    Raises:
        ValueError: its package is not there, or is under another licence than the one that was read.
    """
    if not roots.place(hand).exists():
        raise ValueError(f"{hand.name}: expected {roots.place(hand)} of the package {hand.package}, which is not there")
    folder.mkdir(parents=True, exist_ok=True)
    if hand.name != CLIPS:
        _save(path_of(folder, hand.name), hand, [d for d in drawings(hand, roots, side) if _solid(d[1])])
        return [path_of(folder, hand.name)]
    found = list(clipart.library(roots.place(hand)))
    kept_apart = clipart.held_out([clip for clip, _ in found])
    clips = {clip.name: clip for clip, _ in found}
    made = ((clip.name, rendered(path, side)) for clip, path in found)
    shown = list(_different((name, image) for name, image in made if image is not None and _solid(image)))
    for file, apart in ((CLIPS, False), (CLIPS_HELD_OUT, True)):
        some = [(n, image) for n, image in shown if (n in kept_apart) == apart and (apart or _cut_out(image))]
        titles, keywords = [clips[n].title for n, _ in some], [clips[n].keywords for n, _ in some]
        _save(path_of(folder, file), hand, some, titles=titles, keywords=keywords)
    return [path_of(folder, name) for name in (CLIPS, CLIPS_HELD_OUT)]


def _different(made: Iterable[tuple[str, Image.Image]]) -> Iterator[tuple[str, Image.Image]]:
    """Drawings that differ from all before them."""
    seen = set()
    for key, image in made:
        digest = sha256(image.tobytes()).digest()
        if digest not in seen:
            seen.add(digest)
            yield key, image


def _solid(image: Image.Image) -> bool:
    """Whether there is enough to see."""
    return bool((np.asarray(image)[..., 3] > 128).mean() > _LEAST)


def _cut_out(image: Image.Image) -> bool:
    """Whether a drawing has no ground of its own: four corners that are covered are taken for one."""
    cover = np.asarray(image.crop(image.getbbox()))[..., 3]
    inset = min(cover.shape) // 32  # not where the edge is smooth
    near, far = inset, -1 - inset
    return bool(cover[[near, near, far, far], [near, far, near, far]].min() < 200)


def open_hands(folder: Path, *, measuring: bool = False) -> dict[str, Drawings]:
    """The hands of a folder by name: those to train on, or those that measure.

    Raises:
        ValueError: there are none.
    """
    names = [h.name for h in HANDS] + [CLIPS_HELD_OUT]
    paths = [path_of(folder, name) for name in names if unseen(name) == measuring]
    found = {path.stem: Drawings(path) for path in paths if path.is_file()}
    if not found:
        raise ValueError(f"{folder} holds no hands: make them first with `python -m recipes.embedded hands {folder}`")
    return found
