"""Pictures with labels: a folder with a subfolder for each label, or a CSV file of path and label."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path

from clipopt.io.folders import read_text
from clipopt.io.picture_files import Found, find_pictures


@dataclass(frozen=True)
class Labelled:
    """Picture files with labels.

    Attributes:
        pictures: The files.
        numbers: The label of each.
        labels: What they are called, sorted.
    """

    pictures: list[Found]
    numbers: list[int]
    labels: tuple[str, ...]


def subfolder(found: Found) -> str | None:
    """The subfolder of the given folder that a picture stands in, however deep; None where it stands in none.

    What is no UTF-8 in its name is replaced: scorers read text.
    """
    return os.fsencode(found.name.parts[0]).decode(errors="replace") if len(found.name.parts) > 1 else None


def find_labelled(data: Path) -> Labelled:
    """The pictures in the subfolders of `data`, each named like its label; or those that a CSV file lists.

    A CSV file has a line "path,label" for each picture, the path from the file's own folder; a first line of these two
    words is a head.

    Raises:
        ValueError: it is neither, it lists a file that is not there, or there are fewer than two labels.
    """
    if data.is_dir():
        pairs = [(found, label) for found in find_pictures([data]) if (label := subfolder(found)) is not None]
        if not pairs:
            raise ValueError(f"{data} has no subfolders with pictures: expected one for each label, named like it")
    else:
        pairs = _read(data)
    labels = tuple(sorted({label for _, label in pairs}))
    if len({label.lower() for label in labels}) < len(labels):
        raise ValueError(f"two labels in {data} differ in their capitals alone: call them by one name")
    if len(labels) < 2:
        raise ValueError(f"{data} has one label alone, {labels[0]}: expected at least two to tell apart")
    return Labelled([found for found, _ in pairs], [labels.index(label) for _, label in pairs], labels)


def _read(path: Path) -> list[tuple[Found, str]]:
    what = 'expected a folder with a subfolder for each label, or a CSV file with lines such as "a/1.png,fox"'
    try:
        rows = list(csv.reader(read_text(path).splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        reason = getattr(error, "strerror", None) or "it is no CSV file"
        raise ValueError(f"cannot read {path}: {what}; {reason}") from error
    pairs = []
    for number, row in enumerate(rows, 1):
        if not row or (number == 1 and [cell.strip().lower() for cell in row] == ["path", "label"]):
            continue
        if len(row) != 2 or not all(cell.strip() for cell in row):
            raise ValueError(f"{path}, line {number}: expected path,label, got {','.join(row)!r}")
        name, label = (cell.strip() for cell in row)
        pairs.append((Found(path.parent / name, Path(name), named=False), label))
    if not pairs:
        raise ValueError(f"{path} lists no picture: {what}")
    if lost := [found.path for found, _ in pairs if not found.path.is_file()]:
        raise ValueError(
            f"{path} lists {lost[0]}, and there is no such file ({len(lost)} are lacking): "
            "expected paths from the folder of the CSV file"
        )
    return pairs
