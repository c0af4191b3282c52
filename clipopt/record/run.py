"""A run: its life from the first file to the last."""

import json
import math
import os
import shlex
import time
import warnings
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Literal

import torch

from clipopt.geometry.mesh import Mesh
from clipopt.io import files, folders
from clipopt.record import results
from clipopt.record.checkpoint import FORMAT, digest, dumped, load_checkpoint, load_record
from clipopt.record.folder import (
    check_out,
    check_writable,
    clear,
    is_a,
    new_folder,
    numbered,
    refuse_links,
    remove_temporary,
    slug,
    sound,
)  # fmt: skip
from clipopt.record.machine import peak_memory, versions
from clipopt.record.results import Film
from clipopt.record.steps import Numbers, numbers, read_steps
from clipopt.types import Images


class Run:
    """A run's folder. Make one with `Run.create` or `Run.resume`.

    While there is a run, no other process writes its folder; `close`, or the end of a `with` block, lets go of it.

    Attributes:
        folder: where everything lands.
        task: the command, for example "image".
        config: the settings, as config.json holds them.
        fingerprints: which models took part, name to fingerprint.
        step: the number of steps done.
        total: how many steps there shall be in all where the run was made longer, else None.
        state: what was last given to `save` when resuming from a checkpoint, else None.
    """

    def __init__(
        self,
        folder: Path,
        record: Mapping[str, Any],
        checkpoint: Mapping[str, Any] | None,
        *,
        whole: bool,
        lock: ExitStack | None = None,
    ) -> None:
        self.folder = folder
        self.task: str = record["task"]
        self.config: dict[str, Any] = record["config"]
        self.fingerprints: dict[str, str] = record["fingerprints"]
        self.command: list[str] = record["command"]
        self.versions: dict[str, str] = record["versions"]
        self.extended: list[list[int]] = record.get("extended", [])
        self._record, self._lock, self._digest = dict(record), lock or ExitStack(), digest(record)
        checkpoint = checkpoint or {"step": 0, "seconds": 0.0, "peak_memory": 0, "frames": [], "state": None}
        self.step: int = checkpoint["step"]
        self.state: dict[str, Any] | None = checkpoint["state"]
        self._frames: list[int] = checkpoint["frames"]
        self._peak: int = checkpoint["peak_memory"] or 0
        self._before: float = checkpoint["seconds"]
        self._started = time.perf_counter()
        self._loadable = False
        self._whole = whole

    @classmethod
    def create(
        cls,
        out: Path | None,
        task: str,
        name: str,
        config: Mapping[str, Any],
        *,
        command: Sequence[str],
        fingerprints: Mapping[str, str] | None = None,
        overwrite: bool = False,
    ) -> "Run":
        """Start a run in a new folder.

        Args:
            out: the folder, exactly; None for outputs/<task>/<time>-<slug of name>, which is always new.
            task: the command that runs.
            name: what the folder is called after, for example the prompt.
            config: every setting that is needed to repeat the run, of what JSON can hold (and paths).
            command: the command line that started it, program first.
            fingerprints: which models take part.
            overwrite: let `out` hold a run; its files are deleted, all others stay.

        Raises:
            ValueError: `out` holds files and `overwrite` is off, or it cannot be written; nothing was written.
            BusyError: another process writes the run in it.
            OSError: writing failed all the same.
        """
        record = {
            "clipopt": FORMAT, "task": task, "config": config, "fingerprints": fingerprints or {},
            "command": list(command), "created": time.strftime("%Y-%m-%d %H:%M:%S %z"), "versions": versions(),
        }  # fmt: skip
        written = dumped(record)
        check_out(out, overwrite=overwrite)
        folder = new_folder(Path("outputs") / task, slug(name)) if out is None else out
        folder.mkdir(parents=True, exist_ok=True)
        lock = ExitStack()
        lock.enter_context(folders.writing(folder))
        check = out is not None and not overwrite
        if check and is_a("run", folder):  # of another process, which began at the same time
            lock.close()
            raise folders.BusyError(f"another process began a run in {folder}: give another folder with --out")
        if overwrite and is_a("run", folder):
            clear(folder)
        files.write_text(folder / "config.json", written)  # first: killed after it, this is a run that can be resumed
        files.write_text(folder / "steps.jsonl", "")
        return cls(folder, json.loads(written), None, whole=True, lock=lock)

    @classmethod
    def resume(cls, folder: Path, task: str, *, steps: int | None = None, dry: bool = False) -> "Run":
        """Take up a run at its checkpoint; what came after the checkpoint is dropped and will be done again.

        A run that was killed before its first checkpoint starts anew in its folder. Nothing but the lock is written
        before the first `log`, `preview` or `save`.

        Args:
            folder: the run's.
            task: the command that goes on.
            steps: make the run longer: so many steps in all. None leaves it as long as it is.
            dry: only look: nothing can be written, and another process may be writing.

        Raises:
            ValueError: no run of this task there, its checkpoint is damaged, or config.json is another than the
                one that the checkpoint belongs to.
            BusyError: another process writes it.
        """
        load_record(folder, task)  # a folder that is no run gets no lock
        lock = ExitStack()
        if not dry:
            check_writable(folder)
            lock.enter_context(folders.writing(folder))
        try:
            refuse_links(folder)
            record = load_record(folder, task)
            run = cls(folder, record, load_checkpoint(folder, digest(record)), whole=False, lock=lock)
            if steps is not None:
                run._extend(steps)
        except BaseException:
            lock.close()
            raise
        if run.state is not None and (now := versions()) != run.versions:
            was = ", ".join(f"{k} {v}" for k, v in run.versions.items() if now.get(k) != v)
            here = ", ".join(f"{k} {v}" for k, v in now.items() if run.versions.get(k) != v)
            warnings.warn(
                f"this run began with {was}, now {here}: it may not continue bit for bit", UserWarning, stacklevel=2
            )
        return run

    def _extend(self, steps: int) -> None:
        has = self.total or self.config.get("steps")
        if not isinstance(has, int) or steps < has:
            raise ValueError(
                f"--steps {steps} is less than the {has} that {self.folder} has: say how many it shall have in all, "
                "or leave --steps out"
            )
        if steps == has:
            return
        if self.step < has:
            raise ValueError(
                f"{self.folder} has done {self.step} of its {has} steps: resume it without --steps first, then make it "
                "longer"
            )
        self.extended = [*self.extended, [self.step, steps]]

    @property
    def total(self) -> int | None:
        """How many steps there shall be in all, where the run was made longer."""
        return self.extended[-1][1] if self.extended else None

    def close(self) -> None:
        """Let others write the folder."""
        self._lock.close()

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def require(
        self, *, config: Mapping[str, Any] | None = None, fingerprints: Mapping[str, str] | None = None
    ) -> None:
        """Check that settings and models are those of this run.

        Raises:
            ValueError: one is another; the message names it, the run's value and the one given.
        """
        for kind, given, own in (("setting", config, self.config), ("model", fingerprints, self.fingerprints)):
            for key, value in json.loads(dumped(dict(given or {}))).items():
                if key not in own or own[key] != value:
                    raise ValueError(
                        f"cannot continue {self.folder} with another {kind} {key}: expected {own.get(key)!r}, as the "
                        f"run began, got {value!r}; give the same, or start a new run"
                    )

    @property
    def seconds(self) -> float:
        """Seconds that the run has taken, those before it was resumed included."""
        return self._before + time.perf_counter() - self._started

    def log(
        self,
        index: int,
        loss: Numbers,
        terms: Mapping[str, Numbers],
        *,
        score: Numbers | None = None,
        judge: Numbers | None = None,
    ) -> None:
        """Append step `index` to steps.jsonl: the loss, its terms, and where measured the scores, per item."""
        self._repair()
        line: dict[str, Any] = {"step": index, "seconds": round(self.seconds, 3), "loss": numbers(loss)[0]}
        line["terms"] = {name: numbers(value) for name, value in terms.items()}
        line |= {name: numbers(value) for name, value in (("score", score), ("judge", judge)) if value is not None}
        with (self.folder / "steps.jsonl").open("a", encoding="utf-8", newline="\n") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")
        self.step = index + 1

    def preview(self, images: Images) -> None:
        """Keep the items, as they are after `step` steps, as one frame of the film (at most 768 px)."""
        self._repair()
        columns = math.ceil(len(images) ** 0.5)
        cell = max(1, min(max(images.shape[-2:]), 768 // columns))
        frame = files.jpeg(files.sheet(images, columns=columns, cell=cell))
        (self.folder / "previews").mkdir(exist_ok=True)
        with files.atomic(self._frame(self.step)) as temporary:
            temporary.write_bytes(frame)
        self._frames = sorted({*self._frames, self.step})

    def frame(self, number: int, image: Images) -> Path:
        """Keep one picture of a series that is a result itself, in frames/; of any size, lossless."""
        self._repair()
        path = self.folder / "frames" / f"{number:06d}.png"
        path.parent.mkdir(exist_ok=True)
        files.save(path, image)
        return path

    def frames(self) -> dict[int, Path]:
        """What `frame` has kept of the steps done, by number."""
        return sound(self._numbered())

    def _numbered(self) -> dict[int, Path]:
        return {step: self.folder / "frames" / f"{step:06d}.png" for step in range(self.step)}

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the checkpoint: `state` is what the task needs to go on, as after `step` steps.

        Args:
            state: tensors, numbers, text, and lists and dictionaries of them, such as `state_dict()` gives.

        Raises:
            TypeError: `state` holds something else.
        """
        self._repair()
        with (self.folder / "steps.jsonl").open("rb+") as file:
            os.fsync(file.fileno())
        checkpoint = {
            "format": FORMAT, "run": self._digest, "step": self.step, "seconds": self.seconds,
            "peak_memory": self._peak_memory(), "frames": self._frames, "state": dict(state),
        }  # fmt: skip
        with files.atomic(self.folder / "checkpoint.pt") as temporary:
            _save(checkpoint, temporary)
            if not self._loadable:  # once: what cannot be read back must show now, not when it is needed
                try:
                    torch.load(temporary, weights_only=True)
                except Exception as error:
                    raise TypeError(f"expected a state of tensors, numbers, text, lists and dicts: {error}") from error
                self._loadable = True

    def finish(
        self,
        *,
        best: Images,
        last: Images | None = None,
        labels: Sequence[str],
        scores: Mapping[str, Numbers],
        status: Literal["done", "interrupted", "failed"] = "done",
        reason: str = "",
        film: Film | None = None,
        solids: Sequence[Mesh] = (),
        facts: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Write the results: pictures, film, summary.json and report.html. Can be done again after a resume.

        Args:
            best: the items at their best step, (b, 3, h, w); these are the result.
            last: the items after the last step; None where the film alone says how it ended.
            labels: what each item shows, for captions and for the text inside its PNG.
            scores: columns of the score table, each with one number per item; "score" and "judge" first.
            status: "interrupted" when it was stopped before its end, "failed" when it could not go on.
            reason: why, in one line, where it is not done.
            film: the film; None for one of the previews, progress.mp4.
            solids: the items as meshes, where they are some: the page shows them from all sides.
            facts: what else summary.json shall say, and the page in a table.

        Returns:
            What summary.json holds.
        """
        if len(best) != len(labels):
            raise ValueError(f"expected one label per item ({len(best)}), got {len(labels)}")
        table = {name: numbers(values) for name, values in scores.items()}
        if wrong := [name for name, values in table.items() if len(values) != len(labels)]:
            raise ValueError(
                f"expected one number per item ({len(labels)}) in each score, not so in {', '.join(wrong)}"
            )
        self._repair()
        (self.folder / "summary.json").unlink(missing_ok=True)  # of a run that went on, it is no longer true
        if film is None:
            if last is not None and self._frames[-1:] != [self.step]:
                self.preview(last)
            film = Film(sound({step: self._frame(step) for step in self._frames}))
        results.write_pictures(self.folder, best, last, labels, self.config)
        results.write_film(self.folder, film)
        summary = {
            "status": status,
            "reason": reason,
            "task": self.task,
            "folder": str(self.folder),
            "items": list(labels),
            "scores": table,
            **(facts or {}),
            "steps": self.step,
            **({"extended": self.extended} if self.extended else {}),
            "seconds": round(self.seconds, 2),
            "peak_memory_bytes": self._peak_memory(),
            "fingerprints": self.fingerprints,
            "versions": versions(),
        }
        results.write_page(
            self.folder, summary, best, last,
            config=self.config, commands=self._commands(), film=film, log=read_steps(self.folder), solids=solids,
            facts=facts or {},
        )  # fmt: skip
        summary["peak_memory_bytes"] = self._peak_memory()
        files.write_text(self.folder / "summary.json", dumped(summary))
        return summary

    def _commands(self) -> dict[str, str]:
        """What to type to have the run again, and to go on with it."""
        again = shlex.join(self.command)
        for _, steps in self.extended:
            again = f'clipopt {self.task} --resume "$({again})" --steps {steps}'
        go_on = f"clipopt {self.task} --resume {shlex.quote(str(self.folder.absolute()))}"
        return {"Repeat this run": again, "Resume this run": go_on}

    def _peak_memory(self) -> int | None:
        here = peak_memory()
        return here if here is None else max(self._peak, here)

    def _frame(self, step: int) -> Path:
        return self.folder / "previews" / f"{step:06d}.jpg"

    def _repair(self) -> None:
        """Before the first write of a resumed run: drop what came after the checkpoint, and leftovers."""
        if self._whole:
            return
        if self.extended != self._record.get("extended", []):
            self._record["extended"] = self.extended
            files.write_text(self.folder / "config.json", dumped(self._record))
        kept = [line for line in read_steps(self.folder) if line["step"] < self.step]
        files.write_text(self.folder / "steps.jsonl", "".join(json.dumps(line) + "\n" for line in kept))
        kept_pictures = {self._frame(step) for step in self._frames} | set(self._numbered().values())
        for path, _ in numbered(self.folder):
            if path not in kept_pictures:
                path.unlink()
        remove_temporary(self.folder)
        self._whole = True


def _save(checkpoint: Mapping[str, Any], path: Path) -> None:
    try:
        with path.open("wb") as file:
            torch.save(dict(checkpoint), file)
    except RuntimeError as error:  # of the writer of torch, which hides a full disk behind itself
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
