"""The command itself: help, errors, exit statuses."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import clipopt
from clipopt import cli
from clipopt.cli import main

COMMANDS = (
    "image", "latent", "mesh", "motion", "story", "caption", "rank", "score", "index", "search", "classify", "adapt",
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
    needed |= {"eval": ["image"], "motion": ["a person walks"]}
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
    heavy = ["clipopt.commands.image", "torch", "kornia", "transformers", "diffusers", "tyro", "jinja2"]
    found = f"set({heavy}) & sys.modules.keys()"
    said = in_a_process_of_its_own(f"from clipopt.cli import main; main(['--help']); print(sorted({found}))")
    assert said.splitlines()[-1] == "[]"


LONGER = (
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
    assert in_a_process_of_its_own(script, *(set(COMMANDS) - {"eval"}), *LONGER) == ""


def test_a_missing_prompt_is_told_without_torch():
    script = """
from clipopt.cli import main
for command in sys.argv[1:]:
    assert main([command]) == 2, command
    assert "torch" not in sys.modules, command
"""
    assert in_a_process_of_its_own(script, "image", "latent", "mesh", "motion", "story") == ""


def test_public_names_are_read_when_asked_for_and_no_module_hides_one():
    script = "import clipopt as co; print('torch' in sys.modules); import clipopt.loop; print(callable(co.optimize)); "
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
        (["imge"], "no command 'imge' (did you mean image?): expected one of image,"),
        (["image", "a fox", "--stps", "3"], "no option --stps (did you mean --steps?)"),
        (["image", "a fox", "--symetry=3"], "no option --symetry (did you mean --symmetry?)"),
        (["image", "a fox", "--quie"], "no option --quie (did you mean --quiet?)"),
        (["image", "a fox", "--zzz"], "no option --zzz (`"),
        (["image", "a fox", "--steps"], "--steps needs a value"),
        (["image", "a fox", "--region", "a.png"], "--region needs 2 values"),
        (["image", "a fox", "--steps", "1e9"], "--steps must be a whole number, got '1e9'"),
        (["image", "a fox", "--seeds", "1.5"], "--seeds must be a whole number, got '1.5'"),
        (["image", "a fox", "--lr", "much"], "--lr must be a number, got 'much'"),
        (
            ["image", "a fox", "--param", "pyramide"],
            "--param must be fourier, palette, phases, pixels, prior, pyramid, shapes, siren or strokes, got "
            "'pyramide' (did you mean pyramid?)",
        ),
        (["score", "a.json", "b", "c"], "unexpected: c; put a text of several words into quotes"),
        (["image", "a fox", "--steps", str(10**30)], "--steps must be at most 10000000, got 1000000"),
        (
            ["image", "a fox", "--seed", str(-(2**63))],
            "--seed must be at most 9223372036854775807, got -9",
        ),
        (["image", "a fox", "--crops", "1000000000"], "--crops must be at most 10000000, got 1000000000"),
        (["image", "a fox", "--crops", "1000000"], "--crops must be at most 100000, got 1000000"),
        (["image", "a fox", "--stages", "10000000"], "--stages 10000000 would start below 1 pixel"),
        (["image", "a fox", "--lr", "nan"], "--lr must be a finite number, got nan"),
        (["image", "a fox", "--symmetry=-inf"], "--symmetry must be a finite number, got -inf"),
        (["image", "a fox", "--scorer-weight", "1e400"], "--scorer-weight must be a finite number, got inf"),
        (["score"], "CANDIDATES and PICTURES must be given"),
        (["eval"], "say what to eval: expected one of image, latent, mesh,"),
        (["eval", "meshs"], "cannot eval 'meshs' (did you mean mesh?)"),
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


def json_too_deep() -> RecursionError:
    with pytest.raises(RecursionError) as caught:
        json.loads("[" * 200_000)
    return caught.value


def broken_off_import() -> ImportError:
    error = ImportError("numpy's core failed to import")
    error.__context__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize(
    ("failure", "at_work", "status", "said"),
    [
        (None, True, 0, ""),
        (ValueError("expected a,\n  got b"), False, 2, "clipopt: expected a, got b\n"),
        (PermissionError("no"), False, 2, "clipopt: no\n"),
        (KeyboardInterrupt(), False, 130, "clipopt: interrupted before anything was written\n"),
        (KeyboardInterrupt(), True, 130, ""),
        (FloatingPointError("step 3: term 'match' is nan"), True, 1, "clipopt: step 3: term 'match' is nan\n"),
        (OSError("disk full"), True, 1, "clipopt: disk full\n"),
        (MemoryError(), True, 1, "clipopt: out of memory: ask for less at once, or for a smaller size\n"),
        (MemoryError("one view"), False, 1, "clipopt: one view\n"),
        (ValueError("\x1b[2J\nb\u202e"), False, 2, "clipopt: \\x1b[2J b\\u202e\n"),
        (ValueError("damaged"), True, 1, "clipopt: damaged\n"),
        (FileNotFoundError(2, "not there", "a\nb.png"), True, 1, "clipopt: not there: a b.png\n"),
        (json_too_deep(), False, 2, f"clipopt: {cli.TOO_DEEP}\n"),
        (KeyError("a"), False, 1, "clipopt: KeyError: 'a' (CLIPOPT_TRACEBACK=1 in the environment shows where)\n"),
        (broken_off_import(), False, 130, ""),
    ],
)
def test_exit_status(failure, at_work, status, said, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cli, "_prepare", lambda settings: _Task(failure, at_work).prepare())
    assert main(["image"]) == status
    assert capsys.readouterr() == ("", said)


def test_where_a_failure_happened_is_shown_when_asked_for(
    capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cli, "_prepare", lambda settings: _Task(TypeError("a bug"), at_work=True).prepare())
    monkeypatch.setenv(cli.TRACEBACK, "1")
    assert main(["image"]) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert "in work" in err


@pytest.mark.parametrize("command", [*COMMANDS, *LONGER])
def test_help_shows_no_default_that_cannot_be_given(command: str, capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        main([*command.split(), "--help"])
    out = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert "(default:" in out
    for nothing in ("(default: None)", "(default: False)", "(default: )"):
        assert nothing not in out


# Says a name that is not UTF-8, a heart, and a line of JSON; then warns.
SAYING = """
import json, sys, warnings
from clipopt import cli
class Task:
    def prepare(self):
        return self.work
    def work(self):
        sys.stderr.write("heard: a\\udcff \\u2665\\n")
        warnings.warn("careful:\\nhot")
        sys.stdout.write(json.dumps({"a\\udcff": "\\u2665 \\U0001f34e"}, ensure_ascii=False) + "\\n")
cli._prepare = lambda settings: Task().prepare()
sys.exit(cli.main(["image"]))
"""


HELPING = "import sys; from clipopt.cli import main; sys.exit(main(['image', '--help']))"


def said_by(script: str, environment: dict[str, str], redirection: str = "") -> subprocess.CompletedProcess[bytes]:
    """Output and exit status of a script whose streams the shell has redirected."""
    command = f'"{sys.executable}" -c "$SCRIPT" {redirection}'
    root = str(Path(cli.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "SCRIPT": script, **environment}
    return subprocess.run(["bash", "-o", "pipefail", "-c", command], env=environment, capture_output=True)


ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}


@pytest.mark.parametrize("environment", [{"PYTHONUTF8": "1"}, ASCII, {"PYTHONIOENCODING": "latin-1"}])
def test_every_terminal_can_be_written_to(environment: dict[str, str]):
    done = said_by(SAYING, environment)
    assert done.returncode == 0, done.stderr
    assert b"clipopt: careful: hot\n" in done.stderr
    encoding = "utf-8" if "PYTHONUTF8" in environment and environment["PYTHONUTF8"] == "1" else "latin-1"
    assert json.loads(done.stdout.decode(encoding)) == {"a\udcff": "♥ 🍎"}


@pytest.mark.parametrize("redirection", ["| true", "| head -c 1", "2>&1 | true", ">&-", "2>&-"])
@pytest.mark.parametrize("script", [SAYING, HELPING])
def test_nobody_needs_to_listen(script: str, redirection: str):
    done = said_by(script, {"PYTHONUTF8": "1"}, redirection)
    assert done.returncode == 0
    assert b"Broken" not in done.stderr + done.stdout
    assert b"Exception" not in done.stderr + done.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_for_what_is_printed_is_a_failure():
    done = said_by(SAYING, {"PYTHONUTF8": "1"}, ">/dev/full")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == b"clipopt: [Errno 28] No space left on device"


def test_an_interrupt_that_a_library_swallows_is_one(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    class Swallowing(_Task):
        def prepare(self):
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
            raise ImportError("cannot load module more than once per process")

    monkeypatch.setattr(cli, "_prepare", lambda settings: Swallowing(None, at_work=False).prepare())
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    try:
        assert main(["image"]) == 130
    finally:
        signal.signal(signal.SIGINT, before)
    assert "more than once" not in capsys.readouterr().err
    monkeypatch.setattr(cli, "_prepare", lambda settings: _Task(ImportError("no torch"), at_work=False).prepare())
    assert main(["image"]) == 1
