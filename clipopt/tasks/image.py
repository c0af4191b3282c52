"""`clipopt image`: pictures from text."""

import dataclasses
import json
import math
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from clipopt.record import Run, check_out
from clipopt.scorers import load_scorer
from clipopt.tasks.checks import parse_size, require_memory, require_positive, resolve_device
from clipopt.tasks.drawing import Drawing, Item
from clipopt.tasks.editing import Editing
from clipopt.tasks.kinds import ANY_SIZE, GRIDS, SUITS, Param, parse_palette
from clipopt.tasks.planner import Plan, expected_files, forecast, in_words, memory_needed, stages_of
from clipopt.tasks.prompts import parse_prompt, with_negatives
from clipopt.tasks.sight import Cutouts
from clipopt.tasks.words import check_words

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
        clipopt image "a heart" --init photo.png --mask mask.png    change what is white in the mask
        clipopt image "a green apple" --init apple.png --was "a red apple"
        clipopt image "a meadow" --region left.png "a tree" --region right.png "a house"
        clipopt image --resume outputs/image/RUN                    continue where it stopped

    The last line names the folder: result.png, report.html (open it), summary.json, progress.mp4, a checkpoint.
    """

    prompts: tuple[str, ...]
    """What to show; each prompt makes its own picture. Plain text to the letter, unless it starts with a brace:
    then it is a JSON object of text to weight."""
    scorer: tuple[str, ...] = ()
    """Who guides: "embedded" (the default), a CLIP or SigLIP of the Hugging Face hub by id or local folder, one of
    open_clip's ("open_clip:ViT-B-32/laion2b_s34b_b79k"), or a .safetensors of `clipopt train`. Given several times,
    they guide together: what fools one seldom fools the others."""
    judge: str = "embedded-judge"
    """Who looks on and reports: as --scorer, or "none". It stays silent where a prompt has words unknown to it."""
    param: Param = Plan.param
    """What is learned: a pyramid of resolutions (calm shapes), raw pixels, a Fourier spectrum (for real models), pixel
    art of a palette, a network of sines or of convolutions, Bezier strokes or filled Bezier shapes (also as SVG)."""
    size: str | None = None
    """Pixels of the picture: N for a square, or WxH. By default that of --init, else 256."""
    steps: int | None = None
    """Steps of the optimizer; more is finer up to a point. By default as suits --param: 120 to 200."""
    seed: int = Plan.seed
    """Seed of the first picture of each prompt. The same seed gives the same picture."""
    seeds: int = 1
    """Pictures of each prompt, with the seeds that follow."""
    negative: tuple[str, ...] = ()
    """A text to stay away from, with weight -0.3; can be given several times."""
    lr: float | None = None
    """Learning rate at the start; it falls to zero along a cosine. By default as suits --param: 0.1 or 0.5."""
    crops: int = Plan.crops
    """Random views of each picture in each step. Memory does not grow with them, time does."""
    smooth: float = Plan.smooth
    """Weight of the total variation: more is calmer, 0 is none."""
    stages: int | None = None
    """Resolutions to go through, small ones first, each twice the one before; the last is --size. By default as many
    as let a large picture start at 512 pixels or below, so that its size costs time and memory in a few steps only."""
    cutouts: Cutouts = Plan.cutouts
    """What the scorer sees: crops of about the whole, or an overview of it on random grounds first and details at
    their own resolution later (for real models; give it 16 --crops or more)."""
    symmetry: float = 0.0
    """Weight of the difference between left and right; 10 is much."""
    text_off: float = 0.0
    """How much lettering repels, for real models, which like to spell the prompt; 0.1 is usual."""
    palette: str = Plan.palette
    """Colours for --param palette: mono, grey, gameboy, cga, pico8; a number of colours to be learned; or the colours,
    such as 000000,ff8800,ffffff."""
    render_size: str | None = None
    """Draw the result at this size in the end, N or WxH: sharp at every one with --param siren, strokes and shapes,
    and possible with fourier and palette."""
    editing: Editing = field(default_factory=Editing)
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Folder to write, exactly; by default a new one, outputs/image/<time>-<prompt>."""
    overwrite: bool = False
    """Replace the run that --out holds."""
    resume: Path | None = None
    """Continue the run in this folder with its own settings, on the CPU bit for bit."""
    dry_run: bool = False
    """Check everything, load the models, take a few steps of each size to measure what all would cost, say which
    memory, time and files to expect, and write nothing."""
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
        kept = ("resume", "device", "dry_run", "json", "quiet", "editing")
        groups = ((self, Image(())), (self.editing, Editing()))
        for given, default in groups:
            for name, value in vars(given).items():
                if name not in kept and value != getattr(default, name):
                    option = "a prompt" if name == "prompts" else f"--{name.replace('_', '-')}"
                    raise ValueError(f"--resume continues a run with its own settings: leave out {option}")
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
            return lambda: settings._say_plan(drawing, fingerprints, run)
        return lambda: settings._draw(drawing, run)

    def _load(self) -> tuple[Drawing, dict[str, str]]:
        """Everything that the settings name, checked and in memory, with the fingerprints of what was read."""
        prompts = self._prompts()
        edit, pictures = self.editing.load()
        plan = self._plan(None if edit.init is None else (edit.init.shape[-1], edit.init.shape[-2]))
        self.editing.check_shapes(edit, (plan.height, plan.width))
        device = resolve_device(self.device)
        count = len(prompts) * self.seeds
        shape = f"{plan.width} x {plan.height} pixels"
        what = f"a picture of {shape}" if count == 1 else f"a batch of {count} pictures of {shape}"
        require_memory(memory_needed(count, plan), device, what)
        scorers = [load_scorer(name, device=str(device)) for name in self.scorer or ("embedded",)]
        judge = None if self.judge == "none" else load_scorer(self.judge, device=str(device))
        texts = [text for prompt in (*prompts, *self.editing.texts()) for text in prompt]
        for scorer in scorers[1:]:
            check_words(texts, scorer, None)
        judge = check_words(texts, scorers[0], judge)
        fingerprints = {f"scorer {i}" if i else "scorer": scorer.fingerprint for i, scorer in enumerate(scorers)}
        fingerprints |= {} if judge is None else {"judge": judge.fingerprint}
        resembled = [(picture[0].to(device), 1.0) for picture in pictures]
        items = []
        for prompt in prompts:
            parts: list[tuple[str | Tensor, float]] = [*prompt.items(), *resembled]
            items += [Item(dict(parts), self.seed + i, self._label(prompt, i)) for i in range(self.seeds)]
        drawing = Drawing(plan, items, scorers, judge=judge, edit=edit, device=device)
        return drawing, fingerprints | self.editing.fingerprints()

    def _plan(self, given: tuple[int, int] | None) -> Plan:
        """The plan; `given` are width and height of the picture to start from."""
        width, height = given or (Plan.width, Plan.height)
        if self.size is not None:
            width, height = parse_size(self.size)
        grid = self.param in GRIDS
        stages = self.stages if self.stages is not None else stages_of(width, height) if grid else 1
        steps, lr = SUITS[self.param]
        steps, lr = (steps if self.steps is None else self.steps), (lr if self.lr is None else self.lr)
        require_positive(steps=steps, seeds=self.seeds, lr=lr, crops=self.crops, stages=stages)
        for name, weight in (("smooth", self.smooth), ("symmetry", self.symmetry), ("text-off", self.text_off)):
            if not (math.isfinite(weight) and weight >= 0):
                raise ValueError(f"--{name} must be 0 or more, got {weight}")
        if self.cutouts == "overview" and (self.crops < 2 or self.editing.tile):
            raise ValueError("--cutouts overview needs 2 --crops or more, and no --tile")
        if 2 ** (stages - 1) > min(width, height):
            raise ValueError(f"--stages {stages} would start below 1 pixel: leave it out for as many as suit the size")
        parse_palette(self.palette)
        if not grid and (stages > 1 or self.editing.tile):
            raise ValueError(f"--stages and --tile need --param {', '.join(GRIDS)}, got {self.param}")
        plan = Plan(width, height, self.param, steps, self.seed, lr, self.crops, self.smooth, stages, self.palette)
        plan = dataclasses.replace(plan, cutouts=self.cutouts, symmetry=self.symmetry, text_off=self.text_off)
        if self.render_size is None:
            return plan
        if self.param not in ANY_SIZE or self.editing.tile or self.editing.mask is not None:
            raise ValueError(f"--render-size needs --param {', '.join(ANY_SIZE)}, and neither --tile nor --mask")
        wide, high = parse_size(self.render_size, "--render-size")
        return dataclasses.replace(plan, render=(high, wide))

    def _prompts(self) -> list[dict[str, float]]:
        if not self.prompts and not self.editing.image_prompt:
            raise ValueError('say what to show, for example: clipopt image "a red apple on a blue background"')
        prompts = [parse_prompt(argument) for argument in self.prompts] or [{}]
        if any(self.editing.was in prompt for prompt in prompts):
            raise ValueError("--was and the prompt are the same text: say what --init shows, and what it shall become")
        return [with_negatives(prompt, self.negative) for prompt in prompts]

    def _draw(self, drawing: Drawing, run: Run) -> None:
        try:
            summary = drawing.run(run, quiet=self.quiet)
        except KeyboardInterrupt:
            command = f"clipopt image --resume {shlex.quote(str(run.folder))}"
            sys.stderr.write(f"clipopt: interrupted and saved; continue with: {command}\n")
            raise
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n" if self.json else f"{run.folder}\n")

    def _say_plan(self, drawing: Drawing, fingerprints: Mapping[str, str], run: Run | None = None) -> None:
        folder = str(self.out or "outputs/image/<time>-<prompt>") if run is None else str(run.folder)
        plan = {
            "items": [item.label for item in drawing.items],
            "settings": self._settings(drawing),
            "fingerprints": dict(fingerprints),
            **forecast(drawing, 0 if run is None else run.step),
            "files": expected_files(len(drawing.items), drawing.plan),
            "folder": folder,
        }
        sys.stdout.write((json.dumps(plan, ensure_ascii=False) if self.json else in_words(plan)) + "\n")

    def _label(self, prompt: Mapping[str, float], number: int) -> str:
        """What stands below a picture: its texts with weights other than 1, the pictures it resembles, its seed."""
        parts = [text if weight == 1 else f"{text} ({weight:g})" for text, weight in prompt.items()]
        parts += [f"like {path.name}" for path in self.editing.image_prompt]
        return ", ".join(parts) + (f", seed {self.seed + number}" if self.seeds > 1 else "")

    def _settings(self, drawing: Drawing) -> dict[str, Any]:
        """What config.json keeps: enough to repeat the run from any folder."""
        settings = {name: value for name, value in vars(self).items() if name not in _SETTINGS_OF_ONE_CALL}
        plan = drawing.plan
        settings["scorer"] = self.scorer or ("embedded",)
        settings |= {"size": f"{plan.width}x{plan.height}", "stages": plan.stages, "steps": plan.steps, "lr": plan.lr}
        return settings | {"editing": self.editing.as_config(), "device": str(drawing.device)}


def _from_config(config: Mapping[str, Any], folder: Path) -> Image:
    """The settings of a run that `_settings` wrote."""
    texts = {name: tuple(config.get(name, ())) for name in ("prompts", "negative", "scorer")}
    try:
        return Image(**{**config, **texts, "editing": Editing.from_config(config["editing"])})
    except (TypeError, KeyError) as error:
        raise ValueError(f"{folder / 'config.json'} is not of this clipopt: {error}") from error
