"""`clipopt image`: pictures from text."""

import dataclasses
import hashlib
import json
import math
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from clipopt import files
from clipopt.record import Run, check_out
from clipopt.scorers import Scorer, load_scorer
from clipopt.tasks.checks import parse_size, require_memory, require_positive, resolve_device
from clipopt.tasks.drawing import Drawing, Item, Plan, memory_needed
from clipopt.tasks.prompts import parse_prompt, with_negatives

REAL_SCORER = "openai/clip-vit-base-patch32"
"""What is recommended where the embedded scorer lacks words."""

_SETTINGS_OF_ONE_CALL = ("out", "overwrite", "resume", "dry_run", "json", "quiet")


@dataclass(frozen=True)
class Image:
    """Make pictures from text.

    A picture starts as grey noise. A frozen scorer says how well random crops of it fit the words, and its
    gradient says what to change; after a hundred steps or so there is a picture. A second scorer, the judge, looks
    on: it is never in the loss, so its score tells whether there is something to see or the scorer was fooled.

        clipopt image "a red apple on a blue background"
        clipopt image "a blue star" "a green tree" --seeds 2        four pictures in one batch
        clipopt image '{"a red fox in the snow": 1, "text": -0.3}'  weights: a negative one repels
        clipopt image "a castle" --scorer openai/clip-vit-base-patch32
        clipopt image --resume outputs/image/RUN                    continue where it stopped

    The last line names the folder: result.png, report.html (open it), summary.json, progress.mp4, a checkpoint.
    """

    prompts: tuple[str, ...]
    """What to show; each prompt makes its own picture. Plain text to the letter, unless it starts with a brace:
    then it is a JSON object of text to weight."""
    scorer: str = "embedded"
    """Who guides: "embedded", a CLIP or SigLIP of the Hugging Face hub by id or local folder, or a .safetensors of
    `clipopt train`."""
    judge: str = "embedded-judge"
    """Who looks on and reports: as --scorer, or "none". It stays silent where a prompt has words unknown to it."""
    param: Literal["pyramid", "pixels", "fourier"] = Plan.param
    """What is learned: a pyramid of resolutions (calm shapes), raw pixels, or a Fourier spectrum (for real models)."""
    size: str = "256"
    """Pixels of the picture: N for a square, or WxH."""
    steps: int = Plan.steps
    """Steps of the optimizer. More is finer up to a point."""
    seed: int = Plan.seed
    """Seed of the first picture of each prompt. The same seed gives the same picture."""
    seeds: int = 1
    """Pictures of each prompt, with the seeds that follow."""
    negative: tuple[str, ...] = ()
    """A text to stay away from, with weight -0.3; can be given several times."""
    image_prompt: tuple[Path, ...] = ()
    """A picture to resemble, beside the words or instead of them; can be given several times."""
    init: Path | None = None
    """A picture to start from, by default grey noise."""
    lr: float = Plan.lr
    """Learning rate at the start; it falls to zero along a cosine."""
    crops: int = Plan.crops
    """Random views of each picture in each step. Memory does not grow with them, time does."""
    smooth: float = Plan.smooth
    """Weight of the total variation: more is calmer, 0 is none."""
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Folder to write, exactly; by default a new one, outputs/image/<time>-<prompt>."""
    overwrite: bool = False
    """Replace the run that --out holds."""
    resume: Path | None = None
    """Continue the run in this folder with its own settings, on the CPU bit for bit."""
    dry_run: bool = False
    """Check everything, load the models, say what would be done, and write nothing."""
    json: bool = False
    """Print the summary alone on stdout."""
    quiet: bool = False
    """No progress bar."""

    def prepare(self) -> Callable[[], None]:
        """Check everything, write nothing, and return the work.

        Raises:
            ValueError: a setting is wrong, in one line.
        """
        if self.resume is not None:
            return self._prepare_resume(self.resume)
        drawing, fingerprints = self._load()
        check_out(self.out, overwrite=self.overwrite)
        if self.dry_run:
            return lambda: self._say_plan(drawing, fingerprints)

        def work() -> None:
            run = Run.create(
                self.out, "image", drawing.items[0].label, self._settings(drawing),
                command=["clipopt", *sys.argv[1:]], fingerprints=fingerprints, overwrite=self.overwrite,
            )  # fmt: skip
            self._draw(drawing, run)

        return work

    def _prepare_resume(self, folder: Path) -> Callable[[], None]:
        kept = ("resume", "device", "dry_run", "json", "quiet")
        for field in dataclasses.fields(self):
            default = () if field.name == "prompts" else field.default
            if field.name not in kept and getattr(self, field.name) != default:
                name = "a prompt" if field.name == "prompts" else f"--{field.name.replace('_', '-')}"
                raise ValueError(f"--resume continues a run with its own settings: leave out {name}")
        run = Run.resume(folder, "image")
        settings = _from_config(run.config, folder)
        if self.device != "auto":
            settings = dataclasses.replace(settings, device=self.device)
        settings = dataclasses.replace(settings, dry_run=self.dry_run, json=self.json, quiet=self.quiet)
        drawing, fingerprints = settings._load()
        run.require(fingerprints=fingerprints)
        if run.state is not None:
            drawing.load_state(run.state)
        if self.dry_run:
            return lambda: settings._say_plan(drawing, fingerprints)
        return lambda: settings._draw(drawing, run)

    def _load(self) -> tuple[Drawing, dict[str, str]]:
        """Everything that the settings name, checked and in memory, with the fingerprints of what was read."""
        prompts = self._prompts()
        plan = self._plan()
        device = resolve_device(self.device)
        count = len(prompts) * self.seeds
        shape = f"{plan.width} x {plan.height} pixels"
        what = f"a picture of {shape}" if count == 1 else f"a batch of {count} pictures of {shape}"
        require_memory(memory_needed(count, plan), device, what)
        paths = {"init": self.init} | {f"image-prompt {i}": path for i, path in enumerate(self.image_prompt)}
        images = {name: files.load_image(path) for name, path in paths.items() if path is not None}
        init = images.pop("init", None)
        scorer = load_scorer(self.scorer, device=str(device))
        judge = None if self.judge == "none" else load_scorer(self.judge, device=str(device))
        judge = self._check_words(prompts, scorer, judge)
        fingerprints = {"scorer": scorer.fingerprint} | ({} if judge is None else {"judge": judge.fingerprint})
        fingerprints |= {name: _digest(path) for name, path in paths.items() if path is not None}
        resembled = [(image[0].to(device), 1.0) for image in images.values()]
        items = []
        for prompt in prompts:
            parts: list[tuple[str | Tensor, float]] = [*prompt.items(), *resembled]
            items += [Item(dict(parts), self.seed + i, self._label(prompt, i)) for i in range(self.seeds)]
        return Drawing(plan, items, scorer, judge=judge, init=init, device=device), fingerprints

    def _plan(self) -> Plan:
        width, height = parse_size(self.size)
        require_positive(steps=self.steps, seeds=self.seeds, lr=self.lr, crops=self.crops)
        if not (math.isfinite(self.smooth) and self.smooth >= 0):
            raise ValueError(f"--smooth must be 0 or more, got {self.smooth}")
        return Plan(width, height, self.param, self.steps, self.seed, self.lr, self.crops, self.smooth)

    def _prompts(self) -> list[dict[str, float]]:
        if not self.prompts and not self.image_prompt:
            raise ValueError('say what to show, for example: clipopt image "a red apple on a blue background"')
        prompts = [parse_prompt(argument) for argument in self.prompts] or [{}]
        return [with_negatives(prompt, self.negative) for prompt in prompts]

    def _check_words(self, prompts: list[dict[str, float]], scorer: Scorer, judge: Scorer | None) -> Scorer | None:
        """Warn about words that the scorer lacks; returns the judge, or None where it lacks some itself."""
        if lacked := _unknown_words(scorer, prompts):
            sys.stderr.write(
                f"clipopt: warning: the scorer {self.scorer} does not know {_quoted(lacked)}: expect nothing of it. "
                f"For any words, use a real model, for example --scorer {REAL_SCORER}\n"
            )
        if judge is None or not (unjudged := _unknown_words(judge, prompts)):
            return judge
        if unjudged != lacked:
            sys.stderr.write(
                f"clipopt: note: the judge {self.judge} does not know {_quoted(unjudged)}: it does not judge this run\n"
            )
        return None

    def _draw(self, drawing: Drawing, run: Run) -> None:
        try:
            summary = drawing.run(run, quiet=self.quiet)
        except KeyboardInterrupt:
            command = f"clipopt image --resume {shlex.quote(str(run.folder))}"
            sys.stderr.write(f"clipopt: interrupted and saved; continue with: {command}\n")
            raise
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n" if self.json else f"{run.folder}\n")

    def _say_plan(self, drawing: Drawing, fingerprints: Mapping[str, str]) -> None:
        plan = {
            "items": [item.label for item in drawing.items],
            "settings": self._settings(drawing),
            "fingerprints": dict(fingerprints),
            "memory_needed_bytes": int(memory_needed(len(drawing.items), drawing.plan)),
            "folder": str(self.resume or self.out or "outputs/image/<time>-<prompt>"),
        }
        sys.stdout.write(json.dumps(plan, ensure_ascii=False, indent=None if self.json else 2) + "\n")

    def _label(self, prompt: Mapping[str, float], number: int) -> str:
        """What stands below a picture: its texts with weights other than 1, the pictures it resembles, its seed."""
        parts = [text if weight == 1 else f"{text} ({weight:g})" for text, weight in prompt.items()]
        parts += [f"like {path.name}" for path in self.image_prompt]
        return ", ".join(parts) + (f", seed {self.seed + number}" if self.seeds > 1 else "")

    def _settings(self, drawing: Drawing) -> dict[str, Any]:
        """What config.json keeps: enough to repeat the run from any folder."""
        settings = {name: value for name, value in vars(self).items() if name not in _SETTINGS_OF_ONE_CALL}
        settings["init"] = None if self.init is None else self.init.absolute()
        settings["image_prompt"] = [path.absolute() for path in self.image_prompt]
        return settings | {"device": str(drawing.pictures().device)}


def _from_config(config: Mapping[str, Any], folder: Path) -> Image:
    """The settings of a run that `_settings` wrote."""
    paths = {"init": config.get("init") and Path(config["init"])}
    paths |= {"image_prompt": tuple(map(Path, config.get("image_prompt", ())))}
    texts = {name: tuple(config.get(name, ())) for name in ("prompts", "negative")}
    try:
        return Image(**{**config, **paths, **texts})
    except TypeError as error:
        raise ValueError(f"{folder / 'config.json'} is not of this clipopt: {error}") from error


def _unknown_words(scorer: Scorer, prompts: Sequence[Mapping[str, float]]) -> list[str]:
    """The words that a scorer of a small vocabulary lacks, each once; a scorer that reads all words lacks none."""
    lacks = getattr(scorer, "unknown_words", None)
    if lacks is None:
        return []
    return list(dict.fromkeys(word for prompt in prompts for text in prompt for word in lacks(text)))


def _quoted(words: Sequence[str]) -> str:
    return ", ".join(f'"{word}"' for word in words)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:12]
