"""The command itself: help, errors, exit statuses."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

import clipopt
from clipopt import cli
from clipopt.cli import main

COMMANDS = (
    "image", "latent", "mesh", "motion", "story", "caption", "rank", "score", "index", "search", "classify", "adapt",
    "train",
    "eval",
)  # fmt: skip


def test_help_names_every_command(capsys: pytest.CaptureFixture):
    assert main([]) == main(["-h"]) == main(["--help"]) == 0
    out = capsys.readouterr().out
    for command in COMMANDS:
        assert f"  {command} " in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_teaches(command: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert not stop.value.code
    out = capsys.readouterr().out
    assert f"usage: clipopt {command}" in out
    assert "--out" in out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_is_off_until_it_is_given(command: str):
    needed = {"score": ["a.json", "b"], "index": ["."], "search": ["i"], "adapt": ["."]}
    needed |= {"train": ["scorer"], "eval": ["image"], "motion": ["a person walks"]}
    off = cli._parse(command, needed.get(command, []))
    flags = [field.name for field in dataclasses.fields(off) if field.type is bool]
    assert flags
    on = cli._parse(command, [*needed.get(command, []), *(f"--{flag.replace('_', '-')}" for flag in flags)])
    assert [(getattr(off, flag), getattr(on, flag)) for flag in flags] == [(False, True)] * len(flags)


def in_a_process_of_its_own(script: str, *arguments: str) -> str:
    root = str(Path(cli.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r}); {script}", *arguments],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_loads_no_command_and_no_heavy_library():
    found = "{'clipopt.tasks', 'torch', 'kornia', 'transformers', 'diffusers', 'tyro', 'jinja2'} & sys.modules.keys()"
    said = in_a_process_of_its_own(f"from clipopt.cli import main; main(['--help']); print(sorted({found}))")
    assert said.splitlines()[-1] == "[]"


LONGER = (
    "train scorer", "train motion", "train generator", "train describer", "train sketcher",
    "eval image", "eval latent", "eval mesh", "eval motion",
)  # fmt: skip


def test_no_help_of_a_command_loads_torch_or_another_heavy_library():
    script = """
import contextlib, io
from clipopt.cli import main
heavy = {"torch", "numpy", "PIL", "jaxtyping", "transformers", "diffusers", "kornia", "imageio", "trimesh"}
for command in sys.argv[1:]:
    try:
        with contextlib.redirect_stdout(io.StringIO()) as said:
            main([*command.split(), "--help"])
    except SystemExit:
        pass
    if not said.getvalue().startswith("usage: clipopt") or heavy & sys.modules.keys():
        sys.exit(f"{command}: {sorted(heavy & sys.modules.keys())}")
"""
    assert in_a_process_of_its_own(script, *(set(COMMANDS) - {"train", "eval"}), *LONGER) == ""


def test_a_missing_prompt_is_told_without_torch():
    script = """
from clipopt.cli import main
for command in sys.argv[1:]:
    assert main([command]) == 2, command
    assert "torch" not in sys.modules, command
"""
    assert in_a_process_of_its_own(script, "image", "latent", "mesh", "motion", "story") == ""


def test_public_names_are_read_when_asked_for_and_no_module_hides_one():
    script = (
        "import clipopt as co; print('torch' in sys.modules); import clipopt.optimize; print(callable(co.optimize)); "
    )
    said = in_a_process_of_its_own(f"{script} print([n for n in co.__all__ if not hasattr(co, n) or n not in dir(co)])")
    assert said.split("\n")[:3] == ["False", "True", "[]"]
    with pytest.raises(AttributeError, match="paint"):
        _ = clipopt.paint


def test_version(capsys: pytest.CaptureFixture):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("clipopt ")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["paint"], f"no command 'paint': expected one of {', '.join(COMMANDS)}"),
        (["--verbose"], "no command '--verbose'"),
        (["image", "a fox", "--stps", "3"], "--stps"),
        (["image", "a fox", "--steps"], "--steps"),
        (["image", "a fox", "--param", "oil"], "'pyramid'"),
        (["train", "painter"], "painter"),
    ],
)
def test_wrong_usage_is_one_line(arguments: list[str], reason: str, capsys: pytest.CaptureFixture):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.startswith("clipopt: ")
    assert err.count("\n") == 1
    assert not set(err) & set("│╭╰─")


class _Task:
    def __init__(self, failure: BaseException | None, at_work: bool) -> None:
        self.failure, self.at_work = failure, at_work

    def prepare(self):
        if self.failure is not None and not self.at_work:
            raise self.failure
        return self.work

    def work(self) -> None:
        if self.failure is not None:
            raise self.failure


@pytest.mark.parametrize(
    ("failure", "at_work", "status", "said"),
    [
        (None, True, 0, ""),
        (ValueError("expected a,\n  got b"), False, 2, "clipopt: expected a, got b\n"),
        (PermissionError("no"), False, 2, "clipopt: no\n"),
        (KeyboardInterrupt(), False, 130, ""),
        (KeyboardInterrupt(), True, 130, ""),
        (FloatingPointError("step 3: term 'match' is nan"), True, 1, "clipopt: step 3: term 'match' is nan\n"),
        (OSError("disk full"), True, 1, "clipopt: disk full\n"),
        (MemoryError(), True, 1, "clipopt: MemoryError\n"),
    ],
)
def test_exit_status(failure, at_work, status, said, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli, "_parse", lambda command, arguments: _Task(failure, at_work))
    assert main(["image"]) == status
    assert capsys.readouterr() == ("", said)


def test_a_bug_is_not_swallowed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli, "_parse", lambda command, arguments: _Task(ValueError("a bug"), at_work=True))
    with pytest.raises(ValueError, match="a bug"):
        main(["image"])
