"""The two files of an adapter, which may come from anyone: nothing in them is run, and nothing believed.

adapter.json says what was learned and on which base, and the checksum of adapter.safetensors, which holds the tensors.
"""

import hashlib
import json
import math
import re
import shutil
import string
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipopt.io import files, folders
from clipopt.io.folders import at_home

MANIFEST, TENSORS = "adapter.json", "adapter.safetensors"
_EARLIER = ".adapter.tmp.safetensors"
"""The tensors of an adapter that is being replaced; by its name safe to delete."""
FORMAT = 1
_SUM = "sha256"
_FIELDS = {
    "method": str, "labels": list, "templates": list, "base": str, "fingerprint": str, "alpha": float, "beta": float,
    "share": float, "notes": dict,
}  # fmt: skip
_MOST_BYTES = 2**26
_MOST_BASES = 8
_NAME = re.compile(r"turn|context|shift|keys|owners|(delta|low|high)\..+")


def check_templates(templates: Sequence[str]) -> None:
    """Check that every template has one place for a label, as {}.

    Raises:
        ValueError: one has not, or there is none.
    """
    for template in templates:
        try:
            # Parsed, not filled: a width such as {:>999999999} would be obeyed.
            fields = [parsed[1:] for parsed in string.Formatter().parse(template) if parsed[1] is not None]
        except (ValueError, TypeError):
            fields = []
        if fields not in ([("", "", None)], [("0", "", None)]):
            raise ValueError(
                f"a template needs one {{}} for the label, such as 'a photo of a {{}}', got {template!r:.200}"
            )
    if not templates:
        raise ValueError("expected at least one template, such as 'a photo of a {}'")


def write_adapter(folder: Path, fields: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write both files into a folder that is there, and let them take their names one right after the other.

    Until both have, the tensors of an adapter that is replaced stay beside them: a process that is killed just between
    leaves the earlier adapter, which `read_adapter` then finds.
    """
    from safetensors.torch import save_file

    with files.atomic(folder / MANIFEST) as manifest, files.atomic(folder / TENSORS) as weights:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, weights)
        said = {"format": FORMAT, **fields, _SUM: _sum(weights)}
        manifest.write_text(json.dumps(said, indent=2, ensure_ascii=False) + "\n", "utf-8", "backslashreplace", "\n")
        with suppress(OSError, ValueError):
            if (kept := _tensors_of(folder, read_fields(folder).get(_SUM))).name == TENSORS:
                (folder / _EARLIER).unlink(missing_ok=True)
                shutil.copy2(kept, folder / _EARLIER)
    (folder / _EARLIER).unlink(missing_ok=True)


def _tensors_of(folder: Path, told: str | None) -> Path:
    """The tensors with the sum that adapter.json tells: those beside it, or the earlier ones where a write was killed.

    Raises:
        ValueError: neither has it.
        OSError: they are not there, or are links.
    """
    path = folders.within(folder, TENSORS)
    if told is None or told == _sum(path):
        return path
    with suppress(OSError):
        if told == _sum(earlier := folders.within(folder, _EARLIER)):
            return earlier
    raise ValueError(f"{TENSORS} is damaged, or of another adapter than {MANIFEST}")


def read_fields(folder: Path) -> dict[str, Any]:
    """What adapter.json says, checked; labels and templates as tuples.

    Raises:
        ValueError: it is missing, damaged, or of another version.
    """
    path = folders.within(folder, MANIFEST)
    if path.stat().st_size > _MOST_BYTES:
        raise ValueError(f"{MANIFEST} has more than {_MOST_BYTES} bytes")
    fields = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(fields, dict) or "format" not in fields:
        raise ValueError(f"{MANIFEST} says no format")
    if (version := fields.pop("format")) != FORMAT:
        raise ValueError(f"it has the format {version!r:.20}, expected {FORMAT}")
    for key, kind in _FIELDS.items():
        value = fields.get(key)
        number = isinstance(value, float | int) and not isinstance(value, bool) and 0 <= value < math.inf
        if not (number if kind is float else isinstance(value, kind)):
            raise ValueError(f"{MANIFEST}: expected {_said(kind)} as {key}, got {value!r:.40}")
    if more := fields.keys() - _FIELDS.keys() - {_SUM}:
        raise ValueError(f"{MANIFEST} says {min(more)!r:.40}, which this version does not know")
    labels = fields["labels"] = tuple(fields["labels"])
    if not labels or not all(isinstance(label, str) and label.strip() for label in labels):
        raise ValueError(f"{MANIFEST}: expected labels that are words, got {labels!r:.60}")
    if len({label.lower() for label in labels}) < len(labels):
        raise ValueError(f"{MANIFEST} has a label twice")
    if not all(isinstance(template, str) for template in fields["templates"]):
        raise ValueError(f"{MANIFEST}: expected templates that are texts, got {fields['templates']!r:.60}")
    check_templates(fields["templates"])
    fields["templates"] = tuple(fields["templates"])
    if fields["share"] > 1 or not fields["alpha"] or not fields["beta"]:
        raise ValueError(f"{MANIFEST}: expected alpha and beta above 0, and a share of 0 to 1")
    return fields


def read_adapter(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """What adapter.json says, and the tensors.

    Raises:
        ValueError: a file is missing, a link, damaged, or does not belong to the other.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        fields = read_fields(folder)
        path = _tensors_of(folder, fields.pop(_SUM, None))
        _check_shapes(path, len(fields["labels"]))
        tensors = load_file(path)
        _check_values(tensors, len(fields["labels"]))
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"cannot read an adapter from {folder}: {reason}; adapt again") from error
    return fields, tensors


def check_bases(folder: Path) -> None:
    """Check that an adapter does not stand, over others, on itself.

    Raises:
        ValueError: it does, or on too many others.
    """
    seen, here = list[Path](), folder
    while (here / MANIFEST).is_file():
        if here.resolve() in seen or len(seen) == _MOST_BASES:
            what = "itself" if here.resolve() in seen else f"more than {_MOST_BASES} others"
            raise ValueError(
                f"the adapter {folder} stands on {what}: correct the base in {here / MANIFEST}, or adapt again"
            )
        seen.append(here.resolve())
        try:
            base = read_fields(here)["base"]
        except (OSError, ValueError, RecursionError):
            return  # which is said when it is read
        if "\0" in base or len(base) > 4096:
            return
        here = at_home(base)


def _said(kind: type) -> str:
    return {str: "a text", list: "a list", float: "a number from 0 on", dict: "an object"}[kind]


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_shapes(path: Path, count: int) -> None:
    """Check names, types and sizes, which the head of the file says, before anything is loaded.

    Raises:
        ValueError: they cannot be an adapter's for `count` labels.
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        shapes = {name: tuple(each.get_shape()) for name, each in slices.items()}
        types = {name: str(each.get_dtype()) for name, each in slices.items()}
    for name, shape in shapes.items():
        right = _NAME.fullmatch(name) and 0 not in shape and len(shape) <= 5
        if not right or types[name] not in (("I64", "I32") if name == "owners" else ("F32", "F16", "BF16", "F64")):
            raise ValueError(f"{TENSORS} holds {name!r:.60} of shape {shape!s:.60} and type {types[name]}")
    width = next((shapes[name][-1] for name in ("shift", "turn", "keys") if shapes.get(name)), 0)
    expected: dict[str, list[tuple[int, ...]]] = {"shift": [(count, width)], "turn": [(width, width)]}
    rows = (shapes.get("keys") or (0,))[0]
    expected |= {"keys": [(rows, width)], "owners": [(rows,)]}
    context = shapes.get("context", ())
    expected["context"] = [context[-2:], (count, *context[-2:])] if len(context) > 1 else []
    for name, some in expected.items():
        if name in shapes and shapes[name] not in some:
            raise ValueError(
                f"{TENSORS}: {name} has the shape {shapes[name]!s:.60}, which does not suit {count} labels"
            )
    if ("keys" in shapes) != ("owners" in shapes):
        raise ValueError(f"{TENSORS}: keys and owners belong together, got one of them")
    for name, other in (("low", "high"), ("high", "low")):
        for key in shapes:
            kind, _, place = key.partition(".")
            if kind == name and len(shapes.get(f"{other}.{place}", ())) != 2:
                raise ValueError(f"{TENSORS}: {key} lacks its other factor")
    for key in shapes:
        if key.startswith("low.") and shapes[key][:1] != shapes[f"high.{key[4:]}"][1:]:
            raise ValueError(f"{TENSORS}: the factors of {key[4:]} do not fit one another")


def _check_values(tensors: Mapping[str, Tensor], count: int) -> None:
    for name, tensor in tensors.items():
        if name != "owners" and not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"{TENSORS}: {name} is not finite")
    if "owners" in tensors and not bool(((tensors["owners"] >= 0) & (tensors["owners"] < count)).all()):
        raise ValueError(f"{TENSORS}: owners are no numbers of labels")
