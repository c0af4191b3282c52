"""What `clipopt image` and `clipopt.pipelines.Image` can be told."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from clipopt.pipelines.checks import parse_size, require_memory, require_positive, resolve_device
from clipopt.pipelines.config import WORDS, anchored, as_config
from clipopt.pipelines.editing import Editing
from clipopt.pipelines.extras import Extras
from clipopt.pipelines.image.forecast import expected_files, forecast
from clipopt.pipelines.image.plan import ImagePlan, memory_needed, stages_of
from clipopt.pipelines.image.presets import SETTLED, check_guides, kind_of, settle
from clipopt.pipelines.kinds import ANY_SIZE, GRIDS, VECTORS, Begin, Cutouts, Param, default_scorers, is_natural
from clipopt.pipelines.models import Models
from clipopt.pipelines.prompts import parse_prompt, with_negatives
from clipopt.pipelines.vocabulary import understand

if TYPE_CHECKING:
    from clipopt.pipelines.image.loop import ImageLoop


@dataclass(frozen=True)
class ImageSettings:
    """How pictures are made from text; see `clipopt.pipelines.Image`."""

    task: ClassVar[str] = "image"
    longer: ClassVar[bool] = True
    """Whether --steps makes a finished run longer."""

    prompts: tuple[str, ...]
    """What to show; each prompt makes its own picture. Plain text to the letter, unless it starts with a brace:
    then it is a JSON object of text to weight."""
    scorer: tuple[str, ...] = ()
    """The scorers that guide: by default "embedded", which knows colours, counts and places, together with "natural",
    which knows what things look like in photographs (with clipopt[natural] installed); tiles, strokes and shapes by
    "embedded" alone. Or a CLIP or SigLIP of the Hugging Face hub by id or local folder, one of open_clip's
    ("open_clip:ViT-B-32/laion2b_s34b_b79k"), or a .safetensors of `recipes.embedded`. Given several times, they guide
    together: what fools one seldom fools the others."""
    judge: str | None = None
    """The judge, a scorer that only looks on and reports, or "none". By default "natural-judge" where "natural" guides,
    else "embedded-judge". It says nothing of prompts that it does not understand."""
    scorer_weight: tuple[float, ...] = ()
    """How much a scorer counts beside the others: once for each --scorer, in their order. By default all alike."""
    scorer_start: tuple[float, ...] = ()
    """At which part of the run a scorer joins, 0 to below 1: once for each --scorer, the first at 0."""
    preset: Literal["auto", "robust", "plain", "natural"] = "auto"
    """Settings that suit the kind of the first scorer, each of which its own option overrides. "robust", for scorers
    hardened against perturbed pictures: small ones --param pyramid --crops 6, real ones --param pixels --crops 32.
    "plain": small ones --param fourier --crops 8, real ones --param fourier --crops 32 --cutouts overview --text-off
    0.1. "natural", for networks of photographs: --param phases --crops 6 --statistics 0.8 --centre 0.7. By its name:
    "embedded", FARE, TeCoA, CLIPAG are robust; --dry-run says what was taken."""
    param: Param | None = None
    """What is learned: a pyramid of resolutions (calm shapes), raw pixels, a Fourier spectrum (for plain scorers), its
    phases alone (for natural ones, from noise), pixel art of a palette, a network of sines or of convolutions, Bezier
    strokes or filled Bezier shapes (also as SVG). By default as --preset says."""
    size: str | None = None
    """Pixels of the picture: N for a square, or WxH. By default that of --init, else 256."""
    steps: int | None = None
    """Steps of the optimizer; more is finer up to a point. Beside --resume: make a finished run longer, to so many in
    all. By default as suits --param, 120 to 200; 100 with a
    natural scorer, 60 with both small ones."""
    seed: int = ImagePlan.seed
    """Seed of the first picture of each prompt. The same seed gives the same picture."""
    seeds: int = 1
    """Pictures of each prompt, with the seeds that follow."""
    negative: tuple[str, ...] = ()
    """A text to stay away from, with weight -0.3; can be given several times."""
    lr: float | None = None
    """Largest learning rate: it rises for a sixth of the steps, then falls to zero along a cosine. By default as suits
    --param: 0.1 or 0.5; 0.08 with a natural scorer."""
    crops: int | None = None
    """Random views of each picture in each step; a network of photographs, which is larger, gets a third of them.
    Memory does not grow with them, time does. By default as --preset."""
    smooth: float | None = None
    """Weight of the total variation: more is calmer, 0 is none. By default 0.5."""
    stages: int | None = None
    """Resolutions to go through, small ones first, each twice the one before; the last is --size. By default as many
    as let a large picture start at 512 pixels or below, so that its size costs time and memory in a few steps only."""
    begin: Begin | None = None
    """What a picture begins as without --init: grey noise; the sketch that a small network in the package draws of the
    words, or samples of the small generator there, which vary more and show less: of either the best of --tries, where
    all words are known. By default a sketch with the embedded scorer, but not of tiles and of what is transparent;
    else noise."""
    tries: int | None = None
    """Starts of each picture: of noise, the one that the scorer likes best after a fifth of the steps is drawn; of
    sketches, each moved a little, and of samples, the one that the embedded scorer likes best. By default 4 with that
    scorer, else 1; with --init there is one."""
    statistics: float | None = None
    """How much pictures must have the statistics of photographs, as the layers of a natural scorer see them: contrast,
    calm surfaces, natural colours. More is calmer and less to the point. By default as --preset says."""
    centre: float | None = None
    """How far from the middle a natural scorer draws, in half sides of the picture: one thing before a calm background.
    0 draws everywhere. By default as --preset says."""
    low_first: float = ImagePlan.low_first
    """Part of the run in which the resolutions of --param pyramid open one after another, coarse ones first; 0.5 is
    much, 0 lets all learn from the start."""
    cutouts: Cutouts | None = None
    """What the scorer sees: crops of about the whole, or an overview of it on random backgrounds first and details at
    their own resolution later (for real models; give it 16 --crops or more). By default as --preset says."""
    text_off: float | None = None
    """How much lettering repels, for real models, which like to spell the prompt. By default as --preset says."""
    palette: str = ImagePlan.palette
    """Colours for --param palette and --few-colours: mono, grey, gameboy, cga, pico8; a number of colours to be learned
    (with --param palette); or the colours, such as 000000,ff8800,ffffff."""
    render_size: str | None = None
    """Draw the result at this size in the end, N or WxH: sharp at every one with --param siren, strokes and shapes,
    and possible with fourier, phases and palette."""
    transparent: bool = False
    """Strokes or shapes without a background: cutout.png has an alpha channel, and so has the SVG. Each step puts
    another random background behind them, so that they stand out."""
    extras: Extras = field(default_factory=Extras)
    editing: Editing = field(default_factory=Editing)
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."""

    def load(self, models: Models) -> "tuple[ImageLoop, dict[str, str]]":
        """Everything that the settings name, checked and in memory, with the fingerprints of what was read.

        Raises:
            ValueError: a setting is wrong, in one line.
        """
        prompts = self._prompts()
        from torch import Tensor

        from clipopt.pipelines.edits import check_shapes, load_edit
        from clipopt.pipelines.image.loop import ImageLoop, Item
        from clipopt.pipelines.penalties import load_penalties

        edit, pictures = load_edit(self.editing, resized=self.size is not None)
        plan = self._plan(None if edit.init is None else (edit.init.shape[-1], edit.init.shape[-2]))
        check_shapes(self.editing, edit, (plan.height, plan.width))
        device = resolve_device(self.device)
        count = len(prompts) * self.seeds
        shape = f"{plan.width} x {plan.height} pixels"
        what = f"a picture of {shape}" if count == 1 else f"a batch of {count} pictures of {shape}"
        require_memory(memory_needed(count, plan), device, what)
        scorers = [models.scorer(name, device) for name in self._scorers()]
        judge = models.judge(self._judge(), device)
        texts = [text for prompt in (*prompts, *self.editing.texts()) for text in prompt]
        said, judge = understand(texts, scorers, judge)
        fingerprints = {f"scorer {i}" if i else "scorer": scorer.fingerprint for i, scorer in enumerate(scorers)}
        fingerprints |= {} if judge is None else {"judge": judge.fingerprint}
        resembled = [(picture[0].to(device), 1.0) for picture in pictures]
        items = []
        for prompt in prompts:
            parts: list[tuple[str | Tensor, float]] = [*prompt.items(), *resembled]
            items += [Item(dict(parts), self.seed + i, self._label(prompt, i)) for i in range(self.seeds)]
        extras = load_penalties(
            self.extras, scorers[0], plan.palette, has_init=edit.init is not None, alpha=self.editing.alpha
        )
        drawing = ImageLoop(plan, items, scorers, judge=judge, edit=edit, extras=extras, said=said, device=device)
        return drawing, fingerprints | self.editing.fingerprints() | self.extras.fingerprints()

    def _plan(self, given: tuple[int, int] | None) -> ImagePlan:
        """The plan; `given` are width and height of the picture to start from."""
        from clipopt.pipelines.image.parameters import parse_palette

        width, height = given or (ImagePlan.width, ImagePlan.height)
        if self.size is not None:
            width, height = parse_size(self.size)
        plan = self._suited()
        grid = plan.param in GRIDS
        stages = self.stages if self.stages is not None else stages_of(width, height) if grid else 1
        require_positive(seeds=self.seeds, stages=stages)
        if plan.low_first and plan.param != "pyramid":
            raise ValueError(f"--low-first needs --param pyramid, got {plan.param}")
        if plan.cutouts == "overview" and (plan.crops < 2 or self.editing.tile):
            raise ValueError("--cutouts overview needs 2 --crops or more, and no --tile")
        if not min(width, height) >> (stages - 1):
            raise ValueError(f"--stages {stages} would start below 1 pixel: leave it out for as many as suit the size")
        parse_palette(self.palette)
        if not grid and (stages > 1 or self.editing.tile):
            raise ValueError(f"--stages and --tile need --param {', '.join(GRIDS)}, got {plan.param}")
        if self.transparent and (plan.param not in VECTORS or self.editing.mask is not None):
            raise ValueError(f"--transparent needs --param {' or '.join(VECTORS)}, and no --mask")
        plan = dataclasses.replace(plan, width=width, height=height, stages=stages)
        if self.render_size is None:
            return plan
        if plan.param not in ANY_SIZE or self.editing.tile or self.editing.mask is not None:
            raise ValueError(f"--render-size needs --param {', '.join(ANY_SIZE)}, and neither --tile nor --mask")
        wide, high = parse_size(self.render_size, "--render-size")
        return dataclasses.replace(plan, render=(high, wide))

    def _scorers(self) -> tuple[str, ...]:
        """The scorers that guide: as asked, or both small ones, or the one that is there."""
        if self.scorer:
            return self.scorer
        plain = self.transparent or self.param in VECTORS or self.editing.tile
        return ("embedded",) if plain else default_scorers()

    def _judge(self) -> str:
        natural = any(is_natural(name) for name in self._scorers())
        return self.judge or ("natural-judge" if natural else "embedded-judge")

    def _suited(self) -> ImagePlan:
        """What the preset says where no option does, checked; the size is not yet that of the pictures."""
        names = self._scorers()
        check_guides(names, self.scorer_weight, self.scorer_start)
        if not 0 <= self.low_first <= 1:
            raise ValueError(f"--low-first must lie in 0 to 1, got {self.low_first}")
        given = {name: getattr(self, name) for name in SETTLED}
        if self.editing.tile or self.transparent:
            # A sample stands in the middle of its ground: its borders do not meet, and it covers everything.
            given["begin"] = self.begin or "noise"
        if self.editing.tile:
            given["cutouts"] = self.cutouts or "crops"
        return ImagePlan(
            seed=self.seed, palette=self.palette, transparent=self.transparent, low_first=self.low_first,
            weights=self.scorer_weight, starts=self.scorer_start, **settle(names, self.preset, given),
        )  # fmt: skip

    def _prompts(self) -> list[dict[str, float]]:
        if not self.prompts and not self.editing.image_prompt:
            raise ValueError('say what to show, for example: clipopt image "a red apple on a blue background"')
        prompts = [parse_prompt(argument) for argument in self.prompts] or [{}]
        if any(self.editing.was in prompt for prompt in prompts):
            raise ValueError("--was and the prompt are the same text: say what --init shows, and what it shall become")
        return [with_negatives(prompt, self.negative) for prompt in prompts]

    def forecast(self, loop: "ImageLoop", start: int = 0) -> dict[str, Any]:
        """What a run from step `start` on would take, and what it leaves."""
        return {
            "items": [item.label for item in loop.items],
            "preset": self._preset(),
            **forecast(loop, start),
            "files": expected_files(len(loop.items), loop.plan),
        }

    def _preset(self) -> str:
        (first, *others), plan = self._scorers(), self._suited()
        kind = kind_of(first) if self.preset == "auto" else self.preset
        settings = (
            f"{plan.param}, {plan.crops} crops, {plan.cutouts}, smooth {plan.smooth:g}, text off {plan.text_off:g}"
        )
        if plan.statistics or plan.centre:
            settings += f", statistics {plan.statistics:g}, centre {plan.centre:g}"
        return f"{kind}, for {' and '.join((first, *others))}: {settings}; lr {plan.lr:g}, begin {plan.begin}"

    def _label(self, prompt: Mapping[str, float], number: int) -> str:
        """What stands below a picture: its texts with weights other than 1, the pictures it resembles, its seed."""
        parts = [text if weight == 1 else f"{text} ({weight:g})" for text, weight in prompt.items()]
        parts += [f"like {path.name}" for path in self.editing.image_prompt]
        return ", ".join(parts) + (f", seed {self.seed + number}" if self.seeds > 1 else "")

    def config(self, loop: "ImageLoop") -> dict[str, Any]:
        """What config.json keeps: enough to repeat the run from any folder."""
        plan, aesthetic = loop.plan, self.extras.aesthetic
        settings = as_config(self) | {name: getattr(plan, name) for name in SETTLED}
        settings |= {"scorer": tuple(map(anchored, self._scorers())), "judge": anchored(self._judge())}
        settings |= {"size": f"{plan.width}x{plan.height}", "stages": plan.stages, "device": str(loop.device)}
        settings["extras"]["aesthetic"] = aesthetic and anchored(aesthetic)
        return settings | {WORDS: dict(loop.said)}
