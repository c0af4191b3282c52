"""The command line: `clipopt COMMAND ...`, one command per file in `clipopt.tasks`.

A command is a frozen dataclass of settings, whose docstrings are its help, with a method `prepare` that checks
everything, writes nothing and returns the work as a function. So bad input is told apart from a failure.
"""

import contextlib
import io
import os
import re
import sys
from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar, runtime_checkable

DONE, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130

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
  train    train the embedded scorers, judges, describer, generator or sketcher again
  eval     measure a task on its fixed suite of prompts

`clipopt COMMAND --help` teaches a command, `clipopt --version` names the version.
Exit status: 0 done, 2 bad input (nothing was written), 130 interrupted (saved, resumable), 1 anything else.
"""

T = TypeVar("T")


@runtime_checkable
class Settings(Protocol):
    """What a task's dataclass can do."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the work.

        The work raises `KeyboardInterrupt` once it has saved what an interrupted run leaves.

        Raises:
            ValueError: a setting is wrong; one line says expected, got and what to do.
            OSError: a file cannot be read, or a folder cannot be written.
        """
        ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    # Threads that spin long while they wait make a busy machine three times as slow; torch reads this when it loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if command in ("-h", "--help"):
        sys.stdout.write(HELP)
        return DONE
    if command == "--version":
        from clipopt.record import versions

        sys.stdout.write("".join(f"{name} {version}\n" for name, version in versions().items()))
        return DONE
    try:
        try:
            work = _parse(command, rest).prepare()
        except (ValueError, OSError) as error:
            return _fail(error, BAD_INPUT)
        try:
            work()
        except (FloatingPointError, OSError, MemoryError) as error:
            return _fail(error, FAILED)
    except KeyboardInterrupt:
        return INTERRUPTED
    return DONE


def _parse(command: str, arguments: Sequence[str]) -> Settings:
    match command:
        case "image":
            from clipopt.tasks.image import Image

            return _settings(Image, command, arguments)
        case "latent":
            from clipopt.tasks.latent import Latent

            return _settings(Latent, command, arguments)
        case "mesh":
            from clipopt.tasks.mesh import Solid

            return _settings(Solid, command, arguments)
        case "motion":
            from clipopt.tasks.motion import MotionTask

            return _settings(MotionTask, command, arguments)
        case "story":
            from clipopt.tasks.story import Story

            return _settings(Story, command, arguments)
        case "caption":
            from clipopt.tasks.caption import Caption

            return _settings(Caption, command, arguments)
        case "rank":
            from clipopt.tasks.caption import Rank

            return _settings(Rank, command, arguments)
        case "score":
            from clipopt.tasks.score import Score

            return _settings(Score, command, arguments)
        case "index":
            from clipopt.tasks.index import Index

            return _settings(Index, command, arguments)
        case "search":
            from clipopt.tasks.search import Search

            return _settings(Search, command, arguments)
        case "classify":
            from clipopt.tasks.classify import Classify

            return _settings(Classify, command, arguments)
        case "adapt":
            from clipopt.tasks.adapt import Adapt

            return _settings(Adapt, command, arguments)
        case "train" if arguments[:1] and arguments[0].startswith("motion"):
            from clipopt.tasks.train_motion import TrainMotion

            return _settings(TrainMotion, command, arguments)
        case "train" if arguments[:1] == ["generator"]:
            from clipopt.tasks.train_generator import TrainGenerator

            return _settings(TrainGenerator, command, arguments)
        case "train" if arguments[:1] == ["describer"]:
            from clipopt.tasks.train_describer import TrainDescriber

            return _settings(TrainDescriber, command, arguments)
        case "train" if arguments[:1] == ["sketcher"]:
            from clipopt.tasks.train_sketcher import TrainSketcher

            return _settings(TrainSketcher, command, arguments)
        case "train":
            from clipopt.tasks.train import Train

            return _settings(Train, command, arguments)
        case "eval" if arguments[:1] == ["mesh"]:
            from clipopt.tasks.evaluate_mesh import EvaluateMesh

            return _settings(EvaluateMesh, command, arguments)
        case "eval" if arguments[:1] == ["motion"]:
            from clipopt.tasks.evaluate_motion import EvaluateMotion

            return _settings(EvaluateMotion, command, arguments)
        case "eval" if arguments[:1] == ["latent"]:
            from clipopt.tasks.evaluate_latent import EvaluateLatent

            return _settings(EvaluateLatent, command, arguments)
        case "eval" if arguments[:1] == ["natural"]:
            from clipopt.tasks.evaluate_natural import EvaluateNatural

            return _settings(EvaluateNatural, command, arguments)
        case "eval":
            from clipopt.tasks.evaluate import Evaluate

            return _settings(Evaluate, command, arguments)
    known = re.findall(r"^  (\w+) +", HELP, re.MULTILINE)
    raise ValueError(f"no command {command!r}: expected one of {', '.join(known)}, see `clipopt --help`")


def _settings(task: type[T], command: str, arguments: Sequence[str]) -> T:
    import tyro

    program = f"clipopt {command}"
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                task,
                prog=program,
                args=arguments,
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
            raise
        raise ValueError(f"{_one_line(said.getvalue())} (`{program} --help`)") from None


def _one_line(panel: str) -> str:
    """The message of the panel that tyro draws: what stands between its title and the first rule below.

    In a locale without box-drawing characters a rule of hyphens stands below the title, too.
    """
    lines = [line.strip("│╭╮╰╯ ") for line in panel.splitlines()[1:]]
    rules = [n for n, line in enumerate(lines) if line and not line.strip("─-")]
    first = rules.pop(0) + 1 if rules and not "".join(lines[: rules[0]]) else 0
    return " ".join(line for line in lines[first : rules[0] if rules else None] if line)


def _fail(error: BaseException, status: int) -> int:
    message = " ".join(str(error).split()) or type(error).__name__
    sys.stderr.write(f"clipopt: {message}\n")
    return status
