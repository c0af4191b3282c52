"""Files of captions: an object of picture to caption, or COCO's lists; and whose picture a key names."""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from clipopt.io.folders import read_text
from clipopt.io.picture_files import Found

_CAPTIONS = '{"picture": "a caption", ...}, or COCO\'s [{"image_id": 42, "caption": "a caption"}, ...]'
_REFERENCES = '{"picture": ["a reference", ...], ...}, or COCO\'s annotations of captions'
_NUMBER = re.compile(r"(?:^|_)(\d{1,18})$")


def read_captions(path: Path) -> dict[str, str]:
    """The caption of each picture in a JSON file, by the picture's key, see `Owners`.

    Raises:
        ValueError: it cannot be read, holds something else, two captions of one picture, or an empty one.
    """
    found: dict[str, str] = {}
    for key, texts in _entries(path, _CAPTIONS):
        if not isinstance(texts, str):
            raise ValueError(f"{path} must hold JSON such as {_CAPTIONS}; {key!r:.80} has no text")
        if key in found:
            raise ValueError(f"{path} has two captions of {key}: expected one of each picture")
        found[key] = texts
    _check_empty(path, {key: [text] for key, text in found.items()})
    return found


def read_references(path: Path) -> dict[str, list[str]]:
    """The references of each picture in a JSON file: one text or several of each.

    Raises:
        ValueError: see `read_captions`.
    """
    found: dict[str, list[str]] = {}
    for key, texts in _entries(path, _REFERENCES):
        some = [texts] if isinstance(texts, str) else texts
        if not isinstance(some, list) or not all(isinstance(text, str) for text in some):
            raise ValueError(f"{path} must hold JSON such as {_REFERENCES}; {key!r:.80} has no texts")
        found.setdefault(key, []).extend(some)
    _check_empty(path, found)
    return found


class Owners:
    """Finds the picture that a key names: its path below the folder, or its file name, both with or without the suffix.

    Where there is none, a number names the picture whose name ends in it, behind a line or alone: 42 is
    000000000042.jpg, and COCO_val2014_000000000042.jpg.
    """

    def __init__(self, pictures: Sequence[Found]) -> None:
        ways: list[Callable[[Found], str | None]] = [
            lambda found: found.name.as_posix(),
            lambda found: found.name.name,
            lambda found: found.name.with_suffix("").as_posix(),
            lambda found: found.name.stem,
        ]
        self._by_name: list[dict[str, list[Found]]] = [_grouped(pictures, way) for way in ways]
        self._by_number = _grouped(pictures, lambda found: _number(found.name.stem))

    def __call__(self, key: str) -> list[Found]:
        """The pictures that `key` names: one, or none, or several that are called alike."""
        for names in self._by_name:
            if key in names:
                return names[key]
        return self._by_number.get(str(int(key)), []) if re.fullmatch(r"[0-9]{1,18}", key) else []


def _number(stem: str) -> str | None:
    found = _NUMBER.search(stem)
    return str(int(found[1])) if found else None


def _grouped(pictures: Sequence[Found], way: Callable[[Found], str | None]) -> dict[str, list[Found]]:
    groups: dict[str, list[Found]] = {}
    for found in pictures:
        if (name := way(found)) is not None:
            groups.setdefault(name, []).append(found)
    return groups


def _entries(path: Path, what: str) -> list[tuple[str, Any]]:
    """Keys and what belongs to them, in their order."""
    try:
        told: Any = json.loads(read_text(path), object_pairs_hook=_once)
    except (OSError, ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise ValueError(f"cannot read {path}: expected JSON such as {what}; {reason}") from error
    names: dict[Any, str] = {}
    if isinstance(told, dict) and _is_coco(told.get("annotations")):
        images = told.get("images")
        names = {
            image["id"]: Path(image["file_name"]).stem
            for image in (images if isinstance(images, list) else [])
            if isinstance(image, dict) and isinstance(image.get("id"), int) and isinstance(image.get("file_name"), str)
        }
        told = told["annotations"]
    if _is_coco(told):
        return [(names.get(one["image_id"], str(one["image_id"])), one["caption"]) for one in told]
    if not isinstance(told, dict) or not told:
        raise ValueError(f"{path} must hold JSON such as {what}")
    return list(told.items())


def _is_coco(told: Any) -> bool:
    def right(one: Any) -> bool:
        key = one.get("image_id") if isinstance(one, dict) else None
        return isinstance(key, int | str) and not isinstance(key, bool) and isinstance(one.get("caption"), str)

    return isinstance(told, list) and bool(told) and all(map(right, told))


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"{next(key for key in keys if keys.count(key) > 1)!r:.80} stands twice in one object")
    return found


def _check_empty(path: Path, found: Mapping[str, Sequence[str]]) -> None:
    for key, texts in found.items():
        if not all(text.strip() for text in texts):
            raise ValueError(f"{path}: a text of {key} is empty: write one, or leave the picture out")
