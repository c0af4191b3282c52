"""The command line: `clipopt COMMAND ...`, one command per file in `clipopt.commands`.

A command is a frozen dataclass of options, whose docstrings are its help. What it does stands in
`clipopt.commands.work`: a function `prepare` that takes the options, checks everything, writes nothing and returns the
work as a function. So bad input is told apart from a failure.
"""

import codecs
import contextlib
import dataclasses
import difflib
import io
import math
import os
import re
import select
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

from clipopt.io.folders import BusyError
from clipopt.io.terminal import forget_notes, say_notes
from clipopt.pipelines.interrupt import exit_status, stoppable, was_stopped

DONE, FAILED, BAD_INPUT = 0, 1, 2

HELP = """\
usage: clipopt COMMAND [-h] ...

Make and choose pictures, solid things and motion with a frozen image-text scorer.

commands:
  image    make a picture from text:  clipopt image "a red apple on a blue background"
  latent   make a picture with a generator:  clipopt latent "a cat on a green background"
  mesh     make a solid thing from text:  clipopt mesh "a red mushroom"
  motion   make a figure move:  clipopt motion "a person raises both arms, then squats"
  story    make a film along prompts:  clipopt story "a red apple" "a green tree"
  caption  say what pictures show:  clipopt caption picture.png
  rank     rank the texts of a list for pictures
  score    CLIPScore and RefCLIPScore of captions
  index    make the pictures of a folder searchable
  search   find pictures:  clipopt search photos.index "a red apple"
  classify say which of some labels pictures have
  adapt    teach a scorer labels of your own from a few pictures
  eval     measure a task on its fixed suite of prompts

`clipopt COMMAND --help` teaches a command, `clipopt --version` names the version.
Exit status: 0 done, 2 bad input (nothing was written), 1 anything else; interrupted, saved and resumable: 130 by
Ctrl-C, 143 by SIGTERM, 129 by SIGHUP.
"""

TASKS = {
    "image": "image.Image",
    "latent": "latent.Latent",
    "mesh": "mesh.Mesh",
    "motion": "motion.Motion",
    "story": "story.Story",
    "caption": "caption.Caption",
    "rank": "caption.Rank",
    "score": "score.Score",
    "index": "index.Index",
    "search": "search.Search",
    "classify": "classify.Classify",
    "adapt": "adapt.Adapt",
    "eval": "eval_image.Evaluate",
    "eval image": "eval_image.Evaluate",
    "eval latent": "eval_latent.EvaluateLatent",
    "eval mesh": "eval_mesh.EvaluateMesh",
    "eval motion": "eval_motion.EvaluateMotion",
    "eval natural": "eval_natural.EvaluateNatural",
}
"""The dataclass of each command in `clipopt.commands`; of some the second word says which."""
MAKING = ("image", "latent", "mesh", "motion", "story")
"""Those that make something, which one module carries out."""
TRACEBACK = "CLIPOPT_TRACEBACK"
"""Set in the environment, a failure shows where it happened."""
TOO_DEEP = "what was given is nested too deeply to be read: JSON within JSON, most likely"
LARGEST, LARGEST_SEED = 10**7, 2**63 - 1
"""Of the whole numbers that options take, however many steps, pictures or faces they count."""
LONGEST = 2000
"""Characters of an error's line."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    # Threads that spin long while they wait make a busy machine three times as slow; torch reads this when it loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    sys.stdout, sys.stderr = _writable(sys.stdout), _writable(sys.stderr)
    try:
        with stoppable(), _warnings_in_a_line():
            status = _run(sys.argv[1:] if arguments is None else arguments)
            sys.stdout.flush()
    except KeyboardInterrupt:
        return exit_status()
    except BrokenPipeError as error:  # who reads, as `head` does, has enough
        unread = _unread(sys.stdout)
        _detach(sys.stdout)
        return DONE if unread else _fail(error, FAILED)
    except OSError as error:
        _detach(sys.stdout)
        return _fail(error, FAILED)
    return status


def _run(arguments: Sequence[str]) -> int:
    command, *rest = arguments or ["--help"]
    if command in ("-h", "--help"):
        sys.stdout.write(HELP)
        return DONE
    if command == "--version":
        from clipopt.record import versions

        sys.stdout.write("".join(f"{name} {version}\n" for name, version in versions().items()))
        return DONE
    at_work = False
    try:
        forget_notes()
        work = _prepare(_parse(command, rest))
        at_work = True
        say_notes()
        work()
    except BrokenPipeError:
        raise
    except KeyboardInterrupt:
        if not at_work:
            sys.stderr.write("clipopt: interrupted before anything was written\n")
        raise
    except Exception as error:
        if _interrupted(error) or was_stopped():
            raise KeyboardInterrupt from None
        bad_input = not at_work and isinstance(error, ValueError | OSError | RecursionError)
        # That another process writes into a folder may show only when the work begins.
        return _fail(error, BAD_INPUT if bad_input or isinstance(error, BusyError) else FAILED)
    return DONE


def _prepare(settings: Any) -> Callable[[], None]:
    """Check everything, write nothing, and return the work of a command."""
    module = type(settings).__module__.rpartition(".")[2]
    work = import_module(f"clipopt.commands.work.{'making' if module in MAKING else module}")
    prepared: Callable[[], None] = work.prepare(settings)
    return prepared


def _parse(command: str, arguments: Sequence[str]) -> Any:
    """The settings of a command."""
    kinds = [name.removeprefix(f"{command} ") for name in TASKS if name.startswith(f"{command} ")]
    kind = arguments[0] if arguments else ""
    name = f"{command} {kind}" if kind in kinds else command
    if command not in TASKS or " " in command:
        known = [name for name in TASKS if " " not in name]
        raise ValueError(
            f"no command {command!r}{_meant(command, known)}: expected one of {', '.join(known)}, see `clipopt --help`"
        )
    if kinds and name == command and kind not in ("-h", "--help"):
        what = f"cannot {command} {kind!r}{_meant(kind, kinds)}" if kind[:1].strip("-") else f"say what to {command}"
        raise ValueError(f"{what}: expected one of {', '.join(kinds)} (`clipopt {command} --help`)")
    module, _, task = TASKS[name].partition(".")
    return _settings(getattr(import_module(f"clipopt.commands.{module}"), task), command, arguments)


def _settings(task: Any, command: str, arguments: Sequence[str]) -> Any:
    import tyro

    registry = tyro.constructors.ConstructorRegistry()
    registry.struct_rule(_Unsaid())
    program = f"clipopt {command}"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            settings = tyro.cli(
                task,
                prog=program,
                args=arguments,
                registry=registry,
                config=(
                    tyro.conf.PositionalRequiredArgs,
                    tyro.conf.PositionalMetavarFromFieldName,
                    tyro.conf.UseAppendAction,
                    tyro.conf.FlagCreatePairsOff,
                    tyro.conf.DisallowNone,
                    tyro.conf.OmitArgPrefixes,
                ),
            )
    except SystemExit as stop:
        if not stop.code:
            sys.stdout.flush()
            raise
        raise ValueError(f"{_explain(said.getvalue(), _options(task))} (`{program} --help`)") from None
    _check_numbers(settings)
    return settings


def _check_numbers(settings: Any) -> None:
    """Refuse numbers that no option takes; what else is out of an option's range, its command knows.

    Raises:
        ValueError: a number is not finite, or so large that it would not end.
    """
    for each in dataclasses.fields(settings):
        value, option = getattr(settings, each.name), f"--{each.name.replace('_', '-')}"
        if dataclasses.is_dataclass(value):
            _check_numbers(value)
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, float) and not math.isfinite(number):
                raise ValueError(f"{option} must be a finite number, got {number}")
            most = LARGEST_SEED if each.name == "seed" else LARGEST
            if isinstance(number, int) and abs(number) > most:
                raise ValueError(f"{option} must be at most {most}, got {number}")


class _Unsaid:
    """A rule for tyro by which help keeps defaults to itself that say nothing: of flags, and those that are None."""

    def __init__(self) -> None:
        self._asking = False

    def __call__(self, info: Any) -> Any:
        """What tyro's own rules say of a dataclass, with an empty hint in place of such a default."""
        import tyro

        if self._asking or not dataclasses.is_dataclass(info.type):
            return None
        self._asking = True
        try:
            spec: Any = tyro.constructors.ConstructorRegistry.get_struct_spec(info)
        finally:
            self._asking = False
        silent = tyro.conf.arg(help_behavior_hint="")
        unsaid = (None, False, tyro.constructors.MISSING_NONPROP)
        fields = [
            dataclasses.replace(each, type=Annotated[each.type, silent])
            if any(each.default is one for one in unsaid)
            else each
            for each in spec.fields
        ]
        return dataclasses.replace(spec, fields=tuple(fields))


def _options(task: Any) -> list[str]:
    """The options of a task, those of its groups, too."""
    names = ["--help"]
    for each in dataclasses.fields(task):
        grouped = each.default_factory if isinstance(each.default_factory, type) else None
        nested = grouped is not None and dataclasses.is_dataclass(grouped)
        names += _options(grouped)[1:] if nested else [f"--{each.name.replace('_', '-')}"]
    return names


def _meant(given: str, known: Sequence[str]) -> str:
    """A question in brackets where something known looks like what was given."""
    close = difflib.get_close_matches(given, known, n=1, cutoff=0.7)
    # A beginning is meant even where much is missing.
    close = close or [name for name in known if len(given.strip("-")) > 1 and name.startswith(given)][:1]
    return f" (did you mean {close[0]}?)" if close else ""


def _explain(panel: str, options: Sequence[str]) -> str:
    """What tyro says in a panel, in a line."""
    said = _one_line(panel)
    if found := re.match(r"Unrecognized options: (.*)", said):
        words = found[1].split(", ")
        option = next((word for word in words if word.startswith("-")), None)
        if option is None:
            return f"unexpected: {found[1]}; put a text of several words into quotes"
        name = option.split("=")[0].replace("_", "-")
        return f"no option {name}{_meant(name, options)}"
    if found := re.match(r"invalid choice (.*) for argument '(.*?)'. Expected one of \((.*)\)", said):
        choices = [choice for choice in re.findall(r"'(.*?)'", found[3]) if choice != "None"]
        return f"{found[2]} must be {_or(sorted(choices))}, got {found[1]}{_meant(found[1].strip(chr(39)), choices)}"
    if found := re.match(r"Error parsing (\S+?): .*?(INT|FLOAT|int\(\)|float\b).*?(\['.*?'\]|'.*')", said):
        kind = "a whole number" if found[2].lower().startswith("int") else "a number"
        return f"{found[1]} must be {kind}, got {found[3].strip('[]')}"
    if found := re.match(r"Missing value for argument '(.*?)'. Expected (\d+) values", said):
        name = found[1] if found[1].startswith("-") else found[1].upper()
        return f"{name} needs {'a value' if found[2] == '1' else f'{found[2]} values'}"
    if said.startswith("Missing from"):
        names = re.findall(r"^[│ ] {5}(\S+)", panel, re.MULTILINE)
        return f"{' and '.join(name for name in names if name != 'clipopt')} must be given"
    return said


def _or(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _one_line(panel: str) -> str:
    """The message of the panel that tyro draws: what stands between its title and the first rule below.

    In a locale without box-drawing characters a rule of hyphens stands below the title, too.
    """
    lines = [line.strip("│╭╮╰╯ ") for line in panel.splitlines()[1:]]
    rules = [n for n, line in enumerate(lines) if line and not line.strip("─-")]
    first = rules.pop(0) + 1 if rules and not "".join(lines[: rules[0]]) else 0
    return " ".join(line for line in lines[first : rules[0] if rules else None] if line)


def _fail(error: BaseException, status: int) -> int:
    """Say in a line what went wrong."""
    if os.environ.get(TRACEBACK):
        traceback.print_exception(error, file=sys.stderr)
    message = _printable(str(error))
    if isinstance(error, RecursionError):
        message = TOO_DEEP
    elif isinstance(error, MemoryError):
        message = message or "out of memory: ask for less at once, or for a smaller size"
    elif not isinstance(error, ValueError | OSError | FloatingPointError):
        # Nobody foresaw it.
        message = f"{type(error).__name__}: {message} ({TRACEBACK}=1 in the environment shows where)"
    elif isinstance(error, OSError) and error.strerror and error.filename is not None:
        message = _printable(f"{error.strerror}: {os.fsdecode(error.filename)}")
    message = message or type(error).__name__
    if len(message) > LONGEST:
        message = f"{message[: LONGEST // 2]} ... {message[-LONGEST // 2 :]}"
    with contextlib.suppress(OSError):  # nobody may be listening
        sys.stderr.write(f"clipopt: {message}\n")
        sys.stderr.flush()
    return status


def _printable(text: str) -> str:
    """`text` in one line, without codes that a terminal would obey."""
    return "".join(c if c.isprintable() or "\ud800" <= c < "\ue000" else repr(c)[1:-1] for c in " ".join(text.split()))


def _interrupted(error: BaseException) -> bool:
    """Whether a Ctrl-C is behind an error, as when it comes while a library is being loaded."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, KeyboardInterrupt):
        behind = behind.__cause__ or behind.__context__
    return behind is not None


@contextlib.contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Let warnings look like everything else that is said."""
    usual = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"clipopt: {_printable(str(message))}\n"
    try:
        yield
    finally:
        warnings.formatwarning = usual


def _escape(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that a terminal cannot show; in JSON it says the same."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2)), error.end


codecs.register_error("clipopt", _escape)


def _writable(stream: Any) -> Any:
    """A stream that takes every character; one to nowhere where there is none."""
    if stream is None:
        return Path(os.devnull).open("w", encoding="utf-8", errors="clipopt")
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="clipopt")
    return stream


def _unread(stream: Any) -> bool:
    """Whether a stream is a pipe that nobody reads any more."""
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)
    except (AttributeError, OSError, ValueError):  # not on every system, not of every stream
        return False
    return bool(poll.poll(0))


def _detach(stream: Any) -> None:
    """Send what is left in a broken stream nowhere, so that Python's end is silent, too."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
