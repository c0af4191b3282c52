"""Captions on the screen and in files."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clipopt.captions import Caption
from clipopt.io import files
from clipopt.io.picture_files import Found
from clipopt.io.terminal import printable
from clipopt.record.folder import check_writable

Captioned = tuple[Found, list[Caption]]


def check_file(out: Path, *, overwrite: bool) -> None:
    """Check that a file can be written.

    Raises:
        ValueError: it is there already and `overwrite` is off, it is no ordinary file, or its folder is not there or
            cannot be written.
    """
    if out.exists() and not out.is_file():
        what = "a folder" if out.is_dir() else "a pipe or device"
        raise ValueError(f"cannot write {out}: it is {what}; expected the name of a file")
    if not out.absolute().parent.is_dir():
        raise ValueError(f"cannot write {out}: there is no folder {out.parent}; create it first")
    if out.exists() and not overwrite:
        raise ValueError(f"{out} is there already: give another --out, or --overwrite to replace it")
    check_writable(out.absolute().parent)


def is_one_file(out: Path) -> bool:
    """Whether captions go to one file, or, into a folder, to one .txt for each picture."""
    return out.suffix.lower() in (".jsonl", ".csv")


def text_file(out: Path, found: Found) -> Path:
    """The .txt of a picture in the folder `out`."""
    return out / found.name.with_suffix(".txt")


def check_captions(out: Path, pictures: Sequence[Found], *, overwrite: bool) -> None:
    """Check that captions of `pictures` can be written to `out`.

    Raises:
        ValueError: something would be overwritten, two pictures would share a .txt, or `out` cannot be written. So
            is a name with another suffix, unless it is a folder already: a file was meant. And so is what leads, by a
            link in `out`, elsewhere.
    """
    if is_one_file(out):
        return check_file(out, overwrite=overwrite)
    if not out.is_dir() and (out.exists() or out.suffix):
        raise ValueError(
            f"cannot write captions to {out}: expected a folder for one .txt of each picture, or a name that ends in "
            ".jsonl or .csv; make a folder with a dot in its name first"
        )
    owners: dict[Path, Path] = {}
    for found in pictures:
        path = text_file(out, found)
        if path in owners:
            raise ValueError(f"{owners[path]} and {found.path} would both write {path}: use --out FILE.jsonl")
        check_within(path, out)
        if path.exists() and not overwrite:
            raise ValueError(f"{path} is there already: give another --out, or --overwrite to replace it")
        owners[path] = found.path
    check_writable(next(path for path in (out, *out.absolute().parents) if path.exists()))
    return None


def check_within(path: Path, folder: Path) -> None:
    """Check that no link stands between a folder and a file below it, and that the file can take its place.

    Raises:
        ValueError: one does, or something else than a file and its folders is there.
    """
    for parent in path.parents[: len(path.relative_to(folder).parts) - 1]:
        if parent.is_symlink() or (parent.exists() and not parent.is_dir()):
            raise ValueError(f"cannot write {path}: {parent} is a link or no folder, and is not followed")
    if path.exists() and not path.is_file():
        raise ValueError(f"cannot write {path}: it is no file; give another --out")


def as_json(captioned: Sequence[Captioned]) -> list[dict[str, Any]]:
    """Captions as JSON holds them."""
    return [{"picture": str(found.path), "captions": [asdict(c) for c in best]} for found, best in captioned]


def write_captions(out: Path, captioned: Sequence[Captioned]) -> None:
    """Write the best caption of each picture as .txt into a folder, or all into one .jsonl or .csv."""
    if out.suffix.lower() == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in as_json(captioned)]
        files.write_text(out, "".join(f"{line}\n" for line in lines))
    elif out.suffix.lower() == ".csv":
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(("picture", "rank", "caption", "score", "probability", "source"))
        for found, best in captioned:
            for rank, c in enumerate(best, 1):
                writer.writerow((found.path, rank, c.text, f"{c.score:.6f}", f"{c.probability:.6g}", c.source))
        files.write_text(out, text.getvalue())
    else:
        for found, best in captioned:
            if best:
                path = text_file(out, found)
                path.parent.mkdir(parents=True, exist_ok=True)
                files.write_text(path, f"{best[0].text}\n")


def table(captioned: Sequence[Captioned], top: int, *, sources: bool = False) -> str:
    """Captions for a person: one line a picture, or with `top` above 1 one line a caption with the parts.

    Args:
        captioned: Pictures and their captions, best first.
        top: How many captions of each were asked for.
        sources: Whether to say where each comes from.
    """
    if top == 1:
        named = [(printable(found.path), best) for found, best in captioned]
        width = max((len(name) for name, _ in named), default=0)
        return "".join(
            f"{name:{width}}  {printable(best[0].text)}  ({best[0].probability:.0%}{_source(best[0], sources)})\n"
            if best
            else f"{name}  -\n"
            for name, best in named
        )
    lines = []
    for found, best in captioned:
        lines.append(f"{printable(found.path)}{_source(best[0], sources) if best else ''}")
        if not best:
            lines.append("  no candidate")
            continue
        parts = list(best[0].parts) if len(best[0].parts) > 1 else []
        lines.append("".join(f"{name:>12}" for name in ("score", *parts, "probability")) + "  caption")
        for c in best:
            numbers = [f"{value:12.3f}" for value in (c.score, *(c.parts[name] for name in parts))]
            lines.append("".join(numbers) + f"{c.probability:>12.1%}  {printable(c.text)}")
    return "".join(f"{line}\n" for line in lines)


def _source(caption: Caption, shown: bool) -> str:
    return f", {caption.source}" if shown else ""
