"""What all pipelines do: take settings and models, and make something of a prompt, at once or step by step."""

import dataclasses
import difflib
import json
import shutil
import tempfile
import types
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from clipopt.pipelines.models import Models

if TYPE_CHECKING:
    from torch import Tensor

    from clipopt.types import Images, PerItem

L = TypeVar("L")


@dataclass(frozen=True)
class Progress(Generic[L]):
    """Where a pipeline is after a step.

    Attributes:
        done: How much is done, of `loop.total`.
        loss: What was minimised, as it was before the step; None of a look of a search.
        terms: The weighted terms that it is the sum of, each of shape (items,).
        scores: What scorer and judge think of each item, where they looked.
        loop: What is in the making: its parameters, its optimizer, its best so far.
    """

    done: int
    loss: "Tensor | None"
    terms: Mapping[str, "Tensor"]
    scores: Mapping[str, "PerItem"]
    loop: L

    @property
    def images(self) -> "Images":
        """The items as they are now, (items, 3, height, width) in [0, 1]."""
        loop: Any = self.loop
        images: Images = loop.images()
        return images


@dataclass(frozen=True)
class Result(Generic[L]):
    """What a pipeline made.

    Attributes:
        summary: Scores, settings and measurements, as in summary.json.
        loop: What it was made by; holds the best of each item in full precision.
        folder: Where its files are until `save` copies them; gone when the result is.
    """

    summary: Mapping[str, Any]
    loop: L
    folder: Path

    @property
    def images(self) -> "Images":
        """The results, (items, 3, height, width) in [0, 1]: of meshes and motions pictures of them."""
        import torch

        from clipopt.io.image import load_image

        several = sorted(self.folder.glob("result-[0-9]*.png"))
        return torch.cat([load_image(path) for path in several or [self.folder / "result.png"]])

    @property
    def scores(self) -> dict[str, list[float]]:
        """What scorer and judge think of each item."""
        told: dict[str, list[float]] = self.summary["scores"]
        return {name: told[name] for name in ("score", "judge") if name in told}

    def save(self, folder: "str | Path", *, overwrite: bool = False) -> Path:
        """Write everything into a folder: results, film, report.html, summary.json, a checkpoint to go on from.

        Args:
            folder: Where; it may exist if it is empty.
            overwrite: Replace the run that it holds.

        Returns:
            The folder.

        Raises:
            ValueError: it holds something.
        """
        from clipopt.record import Run, check_out
        from clipopt.record.folder import copy_run

        out = Path(folder).expanduser()
        check_out(out, overwrite=overwrite)
        copy_run(self.folder, out)
        loop: Any = self.loop
        with Run.resume(out, self.summary["task"]) as run:  # so that its report names the folder where it is
            loop.finish(run, self.summary["status"], self.summary["reason"])
        return out


class Pipeline(Generic[L]):
    """Makes something of prompts; what is given here holds for every call.

    Args:
        settings: Any of `Settings`, by its name. A scorer, a judge or a generator may be a name or a loaded object;
            several scorers are a list. Models are loaded when they are first asked for, and once.

    Raises:
        TypeError: there is no such setting, or one has a value of another kind.
    """

    Settings: ClassVar[type]

    def __init__(self, **settings: Any) -> None:
        self.models = Models()
        self._settings = self._read(settings)

    def loop(self, *prompts: Any, **settings: Any) -> L:
        """What is made of the prompts, before its first step.

        Raises:
            ValueError: a setting is wrong, in one line.
        """
        loop: L = self._told(prompts, settings).load(self.models)[0]
        return loop

    def steps(self, *prompts: Any, **settings: Any) -> Iterator[Progress[L]]:
        """Make something step by step; leave the loop when you have seen enough.

        Yields:
            After each step how far it is; `images` are made when they are asked for.
        """
        loop: Any = self.loop(*prompts, **settings)
        for update in loop.updates():
            step = update.step
            loss, terms = (None, {}) if step is None else (step.loss, step.terms)
            yield Progress(update.done, loss, terms, update.scores, loop)

    def __call__(self, *prompts: Any, quiet: bool = False, **settings: Any) -> Result[L]:
        """Make something: the same bytes as the command makes with these settings.

        Args:
            prompts: What to show; each is an item. A text, or a dict of text to weight.
            quiet: No progress bar.
            settings: Of this call alone.

        Raises:
            ValueError: a setting is wrong, in one line.
            KeyboardInterrupt: it was interrupted; nothing is kept.
            FloatingPointError: it diverged.
        """
        from clipopt.pipelines.run_loop import begin, carry_out

        asked = self._told(prompts, settings)
        loop, fingerprints = asked.load(self.models)
        kept = Path(tempfile.mkdtemp(prefix="clipopt-"))
        try:
            summary = carry_out(loop, begin(asked, loop, fingerprints, out=kept / "run"), quiet=quiet)
        except BaseException:
            shutil.rmtree(kept, ignore_errors=True)
            raise
        result = Result(summary, loop, kept / "run")
        weakref.finalize(result, shutil.rmtree, kept, ignore_errors=True)
        return result

    def _told(self, prompts: tuple[Any, ...], settings: Mapping[str, Any]) -> Any:
        first = fields(self.Settings)[0].name
        texts = tuple(json.dumps(p) if isinstance(p, Mapping) else p for p in prompts)
        return self.Settings(**{**self._settings, **self._read(settings), first: texts})

    def _read(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of their kind; those of a group, such as `init`, are found in it."""
        hints = get_type_hints(self.Settings)
        own = {each.name: hints[each.name] for each in fields(self.Settings)}
        groups: dict[str, Any] = {name: hint for name, hint in own.items() if is_dataclass(hint)}
        homes = {each.name: group for group, hint in groups.items() for each in fields(hint)}
        read: dict[str, Any] = {}
        for name, value in given.items():
            if name in homes:
                group = homes[name]
                start = read.get(group) or getattr(self, "_settings", {}).get(group) or groups[group]()
                read[group] = dataclasses.replace(
                    start, **{name: self._fit(get_type_hints(groups[group])[name], value)}
                )
            elif name in own:
                read[name] = self._fit(own[name], value)
            else:
                close = difflib.get_close_matches(name, [*own, *homes], n=1)
                meant = f", did you mean {close[0]!r}?" if close else ""
                raise TypeError(f"{type(self).__name__} has no setting {name!r}{meant}")
        return read

    def _fit(self, hint: Any, value: Any) -> Any:
        """A value as a setting keeps it: paths for texts, names for models, a tuple for one thing or a list."""
        options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
        if value is None or any(isinstance(option, type) and isinstance(value, option) for option in options):
            return value
        for option in options:
            if get_origin(option) is tuple and get_args(option)[-1] is ...:
                several = [*value] if isinstance(value, list | tuple) else [value]
                return tuple(self._fit(get_args(option)[0], one) for one in several)
        if Path in options and isinstance(value, str):
            return Path(value)
        if str in options:
            return str(value) if isinstance(value, int | float | Path) else self.models.name_of(value)
        return value
