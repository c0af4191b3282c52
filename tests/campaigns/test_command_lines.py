"""Two thousand random command lines: each is done or refused in one line, and nothing is written where it is refused.

A third is right, with options drawn from what is sensible; a third has one value that is not; a third is absurd. One
alone: `pytest -m "" -n 0 "tests/campaigns/test_command_lines.py::test_done_or_refused_in_one_line[1234]"`.
"""

import dataclasses
import random
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

from campaigns.kit import quick
from campaigns.room import Room, cases, chance

from clipopt import cli

COMMANDS = ("image", "latent", "mesh", "motion", "story", "caption", "rank", "score", "index", "search", "classify",
            "adapt")  # fmt: skip
LONG = ("eval image", "eval mesh", "eval motion", "eval latent", "eval natural")
HOSTILE = (
    "", " ", "\n", "🍎", "赤いリンゴ", "красное яблоко", "a" * 5000, "a " * 400, "\x1b[31mred\x1b[0m", "a\nb", "a\tb",
    "\udcff\udcfe", "{", "{}", '{"a": 1}', '{"a": NaN}', '{"a": 1e999}', '{"a": "b"}', '{"a": -1}', '{"": 1}',
    '{"a": null}', '{"a": [1]}', '{"a": 1' + "0" * 5000 + "}", '{"a":' * 5000, "[1]", "null", "--", "-", "-x", "--x=y",
    "a|b", "a:2", "a red apple|a tree:2", "<|endoftext|>", "<|startoftext|>", "%s%n", "{0.__class__}", "../../x",
    "$HOME",
    "'; touch canary #", "\u202eapple", "a" * 300, "\U000e0001", "é" * 200, "é\u0301\u0301", "0", "None", "True",
    "file:///etc/passwd", "http://127.0.0.1:9/x", "~", "~nobody/x", "@texts.txt", "*", "?", "a,b,,c", ",", "\\", '"',
)  # fmt: skip
INTEGERS = ("0", "-1", "-0", "2147483648", "9223372036854775808", "1" + "0" * 30, "9" * 5000, "1.5", "1e3", "nan", "٣",
            "0x10", "", "one", " 2", "1_0", "+1", "½")  # fmt: skip
FLOATS = ("0", "-1", "nan", "inf", "-inf", "1e38", "1e400", "-1e-400", "1e-45", "0,5", "", "x", "1e", "٣", "9" * 400)
SIZES = ("0", "-1x4", "99999x99999", "1x16000", "16000x1", "1", "2", "x", "16x", "16x16x16", "٩x٩", "16 x 16", "1e3",
         "4294967296", "0x0", "16X24", "999999999")  # fmt: skip
NUMBERS = {int: ("1", "2", "3"), float: ("0.1", "0.5", "1", "2")}
FILES = (
    "photo.png", "mask.png", "scan.tiff", "palette.gif", "photos", "photos/apple/1.png", "texts.txt", "labels.txt",
    "data.csv", "captions.json", "references.json", "slots.json", "timeline.json", "timeline.txt", "mesh.glb",
    "mesh.obj",
    "mesh.3mf", "rig.bvh", "rig.glb", "head.pth", "scorer.safetensors", "clip", "pipeline", "image-run", "mesh-run",
    "photos.index", "photos.adapter",
)  # fmt: skip
PATHS = (
    "missing.png", "missing/x.png", "", ".", "/", "..", "/dev/null", "/dev/zero", "/proc/self/mem", "loop",
    "photo.png/x",
    "x" * 300, "a/" * 3000, "\udcff.png", "new\nline.png", "empty.png", "empty", "photo.png\x1b[2J", "-", "~/x.png",
)  # fmt: skip
OUT = ("out", "deep/er/out", "out.json", "out.csv", "out.jsonl", "photos", "photo.png", "photo.png/x", "image-run", "",
       ".", "x" * 300, "new\nline", "\udcff", "/proc/nope", "/dev/null/x", "empty", "photos.index", "loop")  # fmt: skip
SCORERS = ("scorer.safetensors", "judge.safetensors", "clip", "photos.adapter", "film-scorer.safetensors", "embedded",
           "embedded-plain", "embedded-motion")  # fmt: skip
NO_SCORERS = ("none", "natural-judge", "open_clip:x", "open_clip:clip", "owner/model", "hf-hub:owner/model",
"photo.png",
              "texts.txt", "pipeline", "missing.safetensors", "photos", "embedded-judg", "auto")  # fmt: skip
NAMED = {
    "prompts": (("a red apple", "a green tree", '{"a red apple": 1, "text": -0.3}'), HOSTILE),
    "prompt": (("a person raises both arms", "a person squats, then jumps"), HOSTILE),
    "query": (("a red apple", "photo.png"), HOSTILE), "scorer": (SCORERS, NO_SCORERS), "judge": (SCORERS, NO_SCORERS),
    "film": (("film-scorer.safetensors", "none", "auto"), NO_SCORERS), "second": (("none", *SCORERS), NO_SCORERS),
    "size": (("16", "24x16", "8"), SIZES), "render_size": (("32", "16x24"), SIZES), "device": (("cpu",), ("cuda",
    "cpu:7",
    "tpu", "meta", "mps", "")), "palette": (("pico8", "3", "000000,ffffff"), ("0", "-1", "zzz", "#", "1000000", "", ",",
    "00000,fff")), "mesh": (("sphere", "cone", "auto", "mesh.obj", "mesh.glb", "mesh.stl"), ("mesh.3mf", "photo.png",
    "ball",
    "photos", "")), "dtype": (("float32", "bfloat16"), ("float64", "int8", "x", "")), "generator": (("pipeline",),
    ("clip", "photo.png", "owner/model", "missing", "image-run", "")), "labels": (("apple,tree", "red apple,a fox"),
    (",", "apple,apple", "", " , ", "a" * 3000)), "templates": (("a photo of {}", "labels.txt"), ("{", "{}{}", "{0}",
    "{a}", "", "x", "{!r:>99999999}")), "template": (("a {colour} {thing}",), ("{", "{0}", "{colour", "{x}",
    "{colour!x}",
    "{colour.__class__}", "")), "aesthetic": (("head.pth",), ("owner/model/file", "photo.png", "scorer.safetensors",
    "x")),
    "captioner": (("clip",), ("owner/model", "pipeline", "photo.png")), "phases": (("raises an arm, then squats",),
    HOSTILE),
    "out": (("out",), OUT), "resume": (("image-run", "latent-run", "mesh-run", "motion-run", "story-run"), PATHS + OUT),
}  # fmt: skip


@cases(2000, quick=20)
def test_done_or_refused_in_one_line(number: int, room: Room) -> None:
    rng = chance("command line", number)
    folder = room.clean()
    (folder / "loop").symlink_to("loop")
    (folder / "empty.png").touch()
    (folder / "empty").mkdir()
    arguments = [text for text in _command_line(rng) if "\0" not in text]
    room.judge(arguments, limit=6, encoding=rng.choice(["utf-8", "utf-8", "ascii"]))


def _command_line(rng: random.Random) -> list[str]:
    if rng.random() < 0.05:
        return _long(rng)
    command, kind = rng.choice(COMMANDS), rng.random()
    fields, line = _fields(command), quick(command)
    if "resume" in fields and rng.random() < 0.1:
        line = [command, "--resume", f"{command}-run"]
    elif rng.random() < 0.2:
        line[1] = rng.choice(PATHS if command in ("caption", "rank", "score", "index", "adapt") else HOSTILE)
    if kind < 0.7:
        line += _options(rng, fields, wrong=int(kind >= 0.4))
        return line + rng.choice(([], [], ["--json"], ["--dry-run"] * ("dry_run" in fields)))
    line += _options(rng, fields, wrong=rng.randrange(5))
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(line) + 1)
        absurd = rng.choice((*HOSTILE, *PATHS, *INTEGERS, "--no-such", "--stpes", "--out", "--help", "--version"))
        match rng.randrange(4):
            case 0:
                line.insert(at, absurd)
            case 1:
                line[at : at + 1] = [absurd]
            case 2:
                line = line[:at]
            case 3:
                rng.shuffle(line)
    return line


def _long(rng: random.Random) -> list[str]:
    """What takes hours: refused, or interrupted after seconds."""
    line = rng.choice(LONG).split()
    if rng.random() < 0.5:
        return line + _options(rng, _fields(" ".join(line)), wrong=rng.randrange(2))
    wrong = (
        [],
        ["--out", rng.choice(OUT)],
        ["--share", rng.choice(FLOATS)],
        ["--steps", "0"],
        ["--resume", "image-run"],
    )
    return [*line, "--out", "out", *rng.choice(wrong)]


def _fields(command: str) -> dict[str, Any]:
    with patch.object(cli, "_settings", lambda settings, *_: settings):
        return dict(_named(cli._parse(command.split()[0], command.split()[1:])))  # type: ignore[arg-type]


def _named(settings: type) -> Iterator[tuple[str, Any]]:
    kinds = typing.get_type_hints(settings)
    for one in dataclasses.fields(settings):
        if dataclasses.is_dataclass(kinds[one.name]):
            yield from _named(kinds[one.name])
        else:
            yield one.name, kinds[one.name]


def _options(rng: random.Random, fields: dict[str, Any], *, wrong: int) -> list[str]:
    """Some options with values, so many of which are wrong."""
    named = [
        name for name in fields if name not in ("prompts", "prompt", "pictures", "query", "quiet", "task", "which")
    ]
    chosen = rng.sample(named, min(len(named), rng.choice((0, 1, 1, 2, 4)) + wrong))
    line: list[str] = []
    for place, name in enumerate(chosen):
        line.append(f"--{name.replace('_', '-')}")
        line += _values(rng, name, fields[name], wrong=place < wrong)
    return line


def _values(rng: random.Random, name: str, kind: Any, *, wrong: bool) -> list[str]:
    origin, inner = typing.get_origin(kind), [one for one in typing.get_args(kind) if one is not type(None)]
    if name in NAMED:
        return [rng.choice(NAMED[name][wrong])]
    if kind is bool:
        return [rng.choice(HOSTILE)] * wrong
    if origin is Literal:
        return [rng.choice(HOSTILE) if wrong else rng.choice(inner)]
    if kind in NUMBERS:
        return [rng.choice((INTEGERS if kind is int else FLOATS) if wrong else NUMBERS[kind])]
    if kind is Path:
        return [rng.choice(PATHS if wrong else FILES)]
    if origin is tuple:
        parts = inner if inner[-1] is not Ellipsis else inner[:1]
        return [value for part in parts for value in _values(rng, "", part, wrong=wrong)]
    if inner:
        return _values(rng, "", inner[0], wrong=wrong)
    return [rng.choice(HOSTILE) if wrong else rng.choice(("a red apple", "a green tree"))]
