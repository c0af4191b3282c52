"""The commands of this folder; `python -m recipes.embedded --help`."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Annotated, Any

import tyro
from tqdm import tqdm

from clipopt.embedded.concepts import things
from clipopt.io.folders import BusyError
from clipopt.pipelines.interrupt import exit_status, stoppable
from recipes.embedded import sheets, words
from recipes.embedded.hands import CLIPS_HELD_OUT, SIDE, Drawings, build, open_hands, path_of, unseen
from recipes.embedded.painting import drawn_by, painter
from recipes.embedded.sources import HANDS, LEFT_OUT, Roots, emoji, install
from recipes.embedded.train import Train


@dataclass(frozen=True)
class Hands:
    """Render the drawings of every hand whose package is on this machine, each hand into one file."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Where to keep them. A file that is there already is kept."""
    npm: Path = Path("node_modules")
    """The folder that `npm install` filled."""
    debian: Path = Path("/")
    """What Debian's packages were installed or unpacked into."""
    only: tuple[str, ...] = ()
    """These hands alone."""
    side: int = SIDE
    """Height and width of a drawing in pixels."""
    anew: bool = False
    """Render those that are there, too."""

    def prepare(self) -> Callable[[], None]:
        """Check the options and return the work."""
        unknown = {*self.only} - {hand.name for hand in HANDS}
        if unknown:
            raise ValueError(f"expected hands of {', '.join(h.name for h in HANDS)}, got {', '.join(sorted(unknown))}")
        if not 16 <= self.side <= 512:
            raise ValueError(f"--side must be 16 to 512, got {self.side}")
        return self._build

    def _build(self) -> None:
        roots = Roots(self.npm, self.debian)
        missing = []
        for hand in tqdm([h for h in HANDS if not self.only or h.name in self.only], file=sys.stderr):
            if not self.anew and path_of(self.folder, hand.name).is_file():
                continue
            if roots.place(hand).exists():
                build(hand, roots, self.folder, self.side)
            else:
                missing.append(hand)
        print(table(self.folder))
        if missing:
            print(f"\nNot on this machine: {', '.join(h.name for h in missing)}. They come with\n")
            print(install(tuple(missing)))


def table(folder: Path) -> str:
    """What the hands of a folder draw, and under which licence."""
    rows = ["| hand | things of the world | drawings | file | licence | for |", "|---|---|---|---|---|---|"]
    known = {thing.emoji for thing in things()}
    for name in [h.name for h in HANDS] + [CLIPS_HELD_OUT]:
        path = path_of(folder, name)
        if not path.is_file():
            continue
        hand = Drawings(path)
        shown = len(drawn_by(hand)) if "titles" in hand.facts else sum(emoji().get(k) in known for k in hand.places)
        use = "measuring alone" if unseen(name) else "training"
        size = f"{path.stat().st_size / 1e6:.1f} MB"
        rows.append(f"| {name} | {shown} | {len(hand)} | {size} | {hand.facts['licence']} | {use} |")
    rows.append("\nLeft out: " + "; ".join(f"{package}, {why}" for package, why in LEFT_OUT.items()) + ".")
    return "\n".join(rows)


@dataclass(frozen=True)
class Sheet:
    """Draw contact sheets of hands, of manners, and of the pictures that a training would see."""

    folder: Annotated[Path, tyro.conf.Positional]
    """Folder of `hands`."""
    out: Path = Path("outputs/hands")
    """Folder to write."""
    count: int = 16
    """Things to show."""
    seed: int = 0
    """Which things and pictures."""

    def prepare(self) -> Callable[[], None]:
        """Check the options and return the work."""
        if not 1 <= self.count <= 64:
            raise ValueError(f"--count must be 1 to 64, got {self.count}")
        open_hands(self.folder)
        return self._draw

    def _draw(self) -> None:
        hands = open_hands(self.folder)
        emoji_hands = [hand for hand in hands.values() if "titles" not in hand.facts]
        known = {thing.emoji for thing in things()}
        keys = Random(self.seed).sample([k for k, name in emoji().items() if name in known], self.count)
        rows = [[h.picture(h.places[k][0]) if k in h.places else None for k in keys] for h in emoji_hands]
        sheets.save(sheets.sheet(rows), self.out / "hands.png")
        fullest = max(emoji_hands, key=len)
        shown = [fullest.picture(fullest.places[k][0]) for k in keys if k in fullest.places]
        sheets.save(sheets.sheet(sheets.manners(shown)), self.out / "manners.png")
        world = painter(self.seed, 64, folder=self.folder)
        pictures = [world.paint(n)[0] for n in range(10 * self.count)]
        sheets.save(sheets.painted(pictures, self.count), self.out / "painted.png")
        print(self.out)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; bad input is one line on stderr and status 2."""
    commands: dict[str, Callable[..., Any]] = {"hands": Hands, "sheet": Sheet, "words": words.Words, "train": Train}
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.OmitSubcommandPrefixes, tyro.conf.FlagCreatePairsOff)
    task = tyro.extras.subcommand_cli_from_dict(
        commands, prog="python -m recipes.embedded", description=__doc__, args=arguments, config=config
    )
    at_work = False
    try:
        with stoppable():
            work = task.prepare()
            at_work = True
            work()
    except KeyboardInterrupt:
        return exit_status()
    except (ValueError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 1 if at_work and not isinstance(error, BusyError) else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
