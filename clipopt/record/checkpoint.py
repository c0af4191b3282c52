"""What a resumed run is read from: config.json and checkpoint.pt, which may have been damaged or tampered with."""

import hashlib
import json
import re
import shlex
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

FORMAT = 1
"""Of the folder: a run of another format cannot be resumed."""
_LATER = "extended"  # what config.json gets after the checkpoints that it belongs to


def dumped(record: Mapping[str, Any]) -> str:
    """A record as the text of config.json.

    Raises:
        TypeError: JSON cannot hold it.
    """
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False, default=_plain) + "\n"
    # Names of files may hold bytes that are no text; JSON has a way to write the halves of characters that they become.
    return re.sub("[\ud800-\udfff]", lambda half: f"\\u{ord(half[0]):04x}", text)


def digest(record: Mapping[str, Any]) -> str:
    """By what a checkpoint knows the record that it belongs to."""
    began = {key: value for key, value in record.items() if key != _LATER}
    return hashlib.blake2b(dumped(began).encode(), digest_size=16).hexdigest()


def load_record(folder: Path, task: str) -> dict[str, Any]:
    """Read a run's config.json.

    Raises:
        ValueError: there is none, it is damaged, or of another task.
    """
    path = folder / "config.json"
    if not path.is_file():
        got = "a folder without config.json" if folder.is_dir() else "no folder"
        raise ValueError(f"no run to resume in {folder}: expected the folder that a run named last, got {got}")
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        dumped(record)  # numbers are finite
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error}") from error
    except (ValueError, TypeError, RecursionError):
        record = None
    if not _is_record(record):
        raise ValueError(f"no run to resume in {folder}: its config.json is damaged, or no clipopt run wrote it")
    if record["clipopt"] != FORMAT:
        raise ValueError(
            f"cannot resume {folder}: expected a run of format {FORMAT}, got {record['clipopt']!r}; "
            "use the clipopt version that started it"
        )
    if record["task"] != task:
        raise ValueError(
            f"cannot resume {folder}: expected a run of `clipopt {task}`, got one of `clipopt {record['task']}`; "
            f"use `clipopt {record['task']} --resume {shlex.quote(str(folder))}`"
        )
    return dict(record)


def _is_record(record: object) -> bool:
    """Whether all that every run has is there, and of its kind."""
    if not isinstance(record, dict):
        return False
    texts = [record.get("fingerprints"), record.get("versions")]
    command, extended = record.get("command"), record.get(_LATER, [])
    return (
        "clipopt" in record
        and isinstance(record.get("task"), str)
        and record["task"].isidentifier()
        and isinstance(record.get("config"), dict)
        and all(isinstance(each, dict) and all(isinstance(v, str) for v in each.values()) for each in texts)
        and isinstance(command, list)
        and all(isinstance(word, str) for word in command)
        and command[:1] == ["clipopt"]
        and isinstance(extended, list)
        and all(isinstance(pair, list) and len(pair) == 2 and all(map(_is_count, pair)) for pair in extended)
    )


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def load_checkpoint(folder: Path, digest: str) -> dict[str, Any] | None:
    """Read a run's checkpoint, None where there is none. Nothing that stands in it is ever executed.

    Args:
        folder: The run's.
        digest: Of the record that it must belong to.

    Raises:
        ValueError: it is damaged, or belongs to another record.
    """
    path = folder / "checkpoint.pt"
    if not path.is_file():
        return None
    again = f"delete {path} to start this run again from step 0"
    try:
        with zipfile.ZipFile(path) as archive:
            # Stored as they are, parts are never larger than the file.
            if any(part.compress_type != zipfile.ZIP_STORED for part in archive.infolist()):
                raise zipfile.BadZipFile("it is compressed")
            if (damaged := archive.testzip()) is not None:
                raise zipfile.BadZipFile(f"{damaged} has another checksum")
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        if not _is_checkpoint(checkpoint):
            raise ValueError("it holds something else")
    except Exception as error:  # of zipfile, pickle and torch, which have many
        reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise ValueError(f"the checkpoint {path} is cut short or damaged ({reason}); {again}") from error
    if checkpoint["run"] != digest:
        raise ValueError(f"{path.with_name('config.json')} was changed after {path.name}: restore it, or {again}")
    return dict(checkpoint)


def _is_checkpoint(value: object) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("run"), str)
        and _is_count(value.get("step"))
        and isinstance(value.get("seconds"), float)
        and 0 <= value["seconds"] < 2**53
        and (value.get("peak_memory") is None or _is_count(value["peak_memory"]))
        and isinstance(value.get("frames"), list)
        and all(map(_is_count, value["frames"]))
        and isinstance(value.get("state"), dict)
    )


def _plain(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"expected settings that JSON can hold, got {value!r}")
