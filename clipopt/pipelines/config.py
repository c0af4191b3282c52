"""Settings of a command: as config.json keeps them, as a command line says them, and beside --resume."""

import json
import types
from collections.abc import Collection, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from clipopt.io.folders import at_home

if TYPE_CHECKING:
    from clipopt.record import Run

T = TypeVar("T")

OF_ONE_CALL = ("out", "overwrite", "resume", "dry_run", "json", "quiet")
"""Settings that say nothing of what is made."""
WORDS = "read as"
"""What config.json keeps beside the settings: texts, and what scorers of a small vocabulary were told instead."""
_BUILT_IN = ("embedded", "natural", "auto", "none")


def as_config(settings: Any) -> dict[str, Any]:
    """The settings as config.json keeps them, with paths that lead there from every folder."""
    every = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return {name: _absolute(value) for name, value in every.items() if name not in OF_ONE_CALL}


def _absolute(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value.absolute())
    if isinstance(value, tuple):
        return tuple(map(_absolute, value))
    return as_config(value) if is_dataclass(value) else value


def from_config(kind: type[T], config: Mapping[str, Any]) -> T:
    """The settings that a config.json holds, which may have been tampered with.

    Args:
        kind: Their dataclass; what it nests are groups of settings.
        config: Of what JSON can hold. What is left out has its default.

    Raises:
        ValueError: a setting is unknown, lacks, or has a value of another kind.
    """
    known: list[Field[Any]] = [*fields(kind)]  # type: ignore[arg-type]
    if unknown := sorted(config.keys() - {field.name for field in known}):
        raise ValueError(f"it has no setting {unknown[0]!r}")
    hints = get_type_hints(kind)
    given = {
        field.name: _value(hints[field.name], config[field.name], field.name) for field in known if field.name in config
    }
    try:
        return kind(**given)
    except TypeError as error:
        raise ValueError(f"a setting lacks: {error}") from error


def _value(hint: Any, value: Any, name: str) -> Any:
    """A value of JSON as one of the kind that a field has."""
    origin, options = get_origin(hint), get_args(hint)
    wrong = ValueError(f"{name} is {json.dumps(value)[:80]}, which is of another kind")
    if origin in (Union, types.UnionType):
        for option in options:
            try:
                return _value(option, value, name)
            except ValueError:
                continue
        raise wrong
    if origin is Literal:
        if not isinstance(value, str) or value not in options:
            raise wrong
        return value
    if origin is tuple:
        if not isinstance(value, list) or (options[-1] is not ... and len(value) != len(options)):
            raise wrong
        each = options if options[-1] is not ... else options[:1] * len(value)
        return tuple(_value(option, part, name) for option, part in zip(each, value, strict=True))
    if is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise wrong
        return from_config(hint, value)
    kinds: dict[Any, Any] = {Path: str, float: (int, float), types.NoneType: types.NoneType}
    if not isinstance(value, kinds.get(hint, hint)) or (isinstance(value, bool) and hint is not bool):
        raise wrong
    if hint is types.NoneType:
        return None
    try:
        return hint(value)
    except OverflowError:
        raise wrong from None


def of_run(kind: type[T], run: "Run") -> T:
    """The settings of a run to be resumed.

    Raises:
        ValueError: its config.json holds none of this clipopt.
    """
    try:
        return from_config(kind, {name: value for name, value in run.config.items() if name != WORDS})
    except ValueError as error:
        raise ValueError(f"{run.folder / 'config.json'} is not of this clipopt: {error}") from error


def command_line(command: str, settings: Any) -> list[str]:
    """The words of a command line that asks for these settings, in a new folder."""
    texts, options = _words(settings)
    if any(text.startswith("-") for text in texts):
        return ["clipopt", command, *options, "--", *texts]
    return ["clipopt", command, *texts, *options]


def _words(settings: Any) -> tuple[list[str], list[str]]:
    """What stands by itself, and the options."""
    texts: list[str] = []
    options: list[str] = []
    hints = get_type_hints(type(settings))
    for field in fields(settings):
        value, name = getattr(settings, field.name), f"--{field.name.replace('_', '-')}"
        if is_dataclass(value):
            options += _words(value)[1]
        elif field.default is MISSING:
            texts += value
        elif field.name in OF_ONE_CALL or value is None or value == field.default:
            continue
        elif value is True:
            options.append(name)
        else:
            several = isinstance(value, tuple) and get_args(hints[field.name])[-1] is ...
            for each in value if several else [value]:
                words = [*map(str, each)] if isinstance(each, tuple) else [str(each)]
                joined = len(words) == 1 and words[0].startswith("-")
                options += [f"{name}={words[0]}"] if joined else [name, *words]
    return texts, options


def anchored(spec: str) -> str:
    """The name of a model, as an absolute path where it is one that is there: so it is found from every folder."""
    prefix, _, local = spec.partition("/") if spec.startswith("open_clip:") else ("", "", spec)
    path = at_home(local)
    if spec.split(":")[0] in _BUILT_IN or spec.startswith("embedded-") or not local or not path.exists():
        return spec
    return f"{prefix}/{path.absolute()}" if prefix else str(path.absolute())


def refuse_beside_resume(settings: Any, kept: Collection[str]) -> None:
    """Check that a command which resumes a run says nothing of what the run already knows.

    Args:
        settings: As given.
        kept: Which may be given all the same.

    Raises:
        ValueError: another is given.
    """
    for field in fields(settings):
        value = getattr(settings, field.name)
        if is_dataclass(value):
            refuse_beside_resume(value, kept)
            continue
        required = field.default is MISSING
        if field.name not in kept and value != (() if required else field.default):
            option = "a prompt" if required else f"--{field.name.replace('_', '-')}"
            raise ValueError(f"--resume continues a run with its own settings: leave out {option}")
