"""`clipopt latent`: pictures of a generator, improved by a scorer."""

import dataclasses
import json
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from clipopt.pipelines.checks import parse_size, require_positive, resolve_device
from clipopt.pipelines.config import anchored, as_config, of_run, refuse_beside_resume
from clipopt.pipelines.editing import Editing
from clipopt.pipelines.image.presets import check_guides
from clipopt.pipelines.latent.methods import LatentPlan, Method, Rule, settle, suited
from clipopt.pipelines.prompts import parse_prompt, with_negatives
from clipopt.pipelines.vocabulary import check_words

if TYPE_CHECKING:
    from clipopt.pipelines.latent.loop import LatentLoop
    from clipopt.record import Run

_CHOSEN = ("steps", "sample_steps", "guidance", "lr", "clip", "norm", "white", "drift", "crops", "tries", "strength",
           "rule", "scale", "backward", "repeats", "pool")  # fmt: skip


@dataclass(frozen=True)
class Latent:
    """Make pictures with a generator, and improve them by what a scorer thinks of them.

    A generator draws a picture of the words from noise. A frozen scorer says how well it fits, and the gradient goes
    through the generator to the noise: other noise, a better picture, and never one that the generator would not
    draw. A second scorer, the judge, looks on and is never in the loss.

        clipopt latent "a cat on a green background"
        clipopt latent "three red circles" "a cat left of a dog" --seeds 2      four pictures in one batch
        clipopt latent "a red fox" --generator stabilityai/sd-turbo --scorer openai/clip-vit-large-patch14
        clipopt latent "a red fox" --generator stabilityai/sd-turbo --scorer yuvalkirstain/PickScore_v1
        clipopt latent "a house" --method best-of-n --steps 100       draw a hundred, keep the best
        clipopt latent "a green apple" --init apple.png --mask mask.png --method latent
        clipopt latent --resume outputs/latent/RUN                    continue where it stopped

    Methods: noise (gradient through the sampler to its first noise; for generators of few steps), chain (to the noises
    of all steps), guided (the scorer guides each step of denoising), latent (the latents of the coder: least bound to
    what the generator knows), and two that need no gradient: best-of-n, and particles, which search near the best.

    The last line names the folder: result.png, before.png, sheet.png (both side by side), report.html (open it),
    summary.json, progress.mp4, a checkpoint.
    """

    prompts: tuple[str, ...]
    """What to show; each prompt makes its own picture. Plain text to the letter, unless it starts with a brace: then
    it is a JSON object of text to weight; the generator is told what has a positive weight."""
    generator: str = "embedded"
    """Who draws: "embedded", a pipeline of diffusers by its folder or its id on the Hugging Face hub; for --method
    latent also the folder of an AutoencoderKL or VQModel alone."""
    method: Method | None = None
    """What is learned or drawn, see above. By default latent for the embedded generator, noise for others."""
    scorer: tuple[str, ...] = ()
    """Who guides; see `clipopt image --help`. Also scorers of preference, such as yuvalkirstain/PickScore_v1 or
    open_clip:ViT-H-14/HPS_v2.1_compressed.pt. Given several times, they guide together."""
    scorer_weight: tuple[float, ...] = ()
    """How much a scorer counts beside the others: once for each --scorer. By default all alike."""
    judge: str = "embedded-judge"
    """Who looks on and reports: as --scorer, or "none". It stays silent where a prompt has words unknown to it."""
    told: str | None = None
    """What the generator is told, where that is not the prompt."""
    steps: int | None = None
    """Steps of the optimizer, or samples of --method guided, best-of-n and particles. By default as suits.
    Beside --resume: make a finished run longer, to so many in all."""
    sample_steps: int | None = None
    """Steps of denoising in each sample. By default as suits the generator."""
    guidance: float | None = None
    """Scale of the generator's classifier-free guidance. By default as suits the generator."""
    lr: float | None = None
    """Learning rate: of --method noise how far a gradient of length 1 moves it, in hundredths of its own length."""
    clip: float | None = None
    """Longest gradient of a picture; 0 is any."""
    norm: float | None = None
    """Weight of the prior on the noise's length."""
    white: float | None = None
    """Weight of the prior on its whiteness, without which much optimized noise leaves what the generator knows."""
    drift: float | None = None
    """Weight of the squared distance to the start, for --method latent."""
    crops: int | None = None
    """Random views of each picture in each step; 0: the picture as it is. By default as suits the generator."""
    tries: int | None = None
    """Samples of each picture, of which --method noise and latent improve the one that the scorer likes best."""
    rule: Rule | None = None
    """How --method guided guides. free-dom: at the length of classifier-free guidance. universal: the noise follows the
    gradient, and the clean latents take --backward steps along it. (default: free-dom)"""
    scale: float | None = None
    """How strongly --method guided guides: in lengths of classifier-free guidance, or of the noise with universal."""
    backward: int | None = None
    """Steps of the clean latents in each step of --rule universal."""
    repeats: int | None = None
    """How often --method guided takes the steps of its middle."""
    pool: int | None = None
    """Noises that --method particles keeps of each picture."""
    init: Path | None = None
    """A picture to start from: encoded, and for all methods but latent given noise again, see --strength."""
    mask: Path | None = None
    """A picture whose white part says where --init may change. All else stays as it is, to the bit."""
    alpha: Literal["white", "black", "drop"] = "white"
    """What transparent parts of --init and --mask lie on; drop shows the colours that they hide."""
    feather: float = Editing.feather
    """Width of the soft edge inside the mask, as a fraction of the picture's shorter side."""
    strength: float | None = None
    """Share of the denoising that --init goes through, above 0 to 1: more changes more."""
    negative: tuple[str, ...] = ()
    """A text to stay away from, with weight -0.3; the generator is told, too. Can be given several times."""
    size: str | None = None
    """Pixels of the picture: N for a square, or WxH. By default that of the generator."""
    seed: int = LatentPlan.seed
    """Seed of the first picture of each prompt. The same seed gives the same picture."""
    seeds: int = 1
    """Pictures of each prompt, with the seeds that follow."""
    dtype: str = "auto"
    """What the generator computes in: float32, bfloat16, float16; auto takes a half format on a GPU."""
    device: str = "auto"
    """Where to compute: cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Folder to write, exactly; by default a new one, outputs/latent/<time>-<prompt>."""
    overwrite: bool = False
    """Replace the run that --out holds."""
    resume: Path | None = None
    """Continue the run in this folder with its own settings: on the CPU bit for bit, with as many threads."""
    dry_run: bool = False
    """Check everything, load the models, take a step to measure what all would cost, and write nothing."""
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
        making, fingerprints = self._load()
        from clipopt.pipelines.run_loop import begin
        from clipopt.record import check_out

        check_out(self.out, overwrite=self.overwrite)
        if self.dry_run:
            return lambda: self._say_plan(making, fingerprints)

        def work() -> None:
            self._make(making, begin("latent", self, making.items[0].label, self._settings(making), fingerprints))

        return work

    def _prepare_resume(self, folder: Path) -> Callable[[], None]:
        from clipopt.pipelines.run_loop import restore
        from clipopt.record import Run

        refuse_beside_resume(self, ("resume", "steps", "device", "dry_run", "json", "quiet"))
        run = Run.resume(folder, "latent", steps=self.steps, dry=self.dry_run)
        settings = of_run(Latent, run)
        if self.device != "auto":
            settings = dataclasses.replace(settings, device=self.device)
        settings = dataclasses.replace(settings, dry_run=self.dry_run, json=self.json, quiet=self.quiet)
        making, fingerprints = settings._load()
        run.require(fingerprints=fingerprints)
        making.extend(run.total)
        restore(run, making.load_state)
        if self.dry_run:
            return lambda: settings._say_plan(making, fingerprints, run)
        return lambda: settings._make(making, run)

    def _load(self) -> "tuple[LatentLoop, dict[str, str]]":
        """Everything that the settings name, checked and in memory, with the fingerprints of what was read."""
        if not self.prompts:
            raise ValueError('say what to show, for example: clipopt latent "a cat on a green background"')
        prompts = [with_negatives(parse_prompt(argument), self.negative) for argument in self.prompts]
        require_positive(seeds=self.seeds)
        names = self.scorer or ("embedded",)
        check_guides(names, self.scorer_weight, ())
        if self.strength is not None and self.init is None:
            raise ValueError("--strength speaks of a picture: give it with --init FILE")
        from torch import Tensor

        from clipopt.diffusion.load import facts_of, fingerprint
        from clipopt.pipelines.latent.loop import LatentLoop
        from clipopt.pipelines.views import Item
        from clipopt.scorers import load_scorer

        editing = Editing(init=self.init, mask=self.mask, alpha=self.alpha, feather=self.feather)
        edit, _ = editing.load(resized=True)
        facts = facts_of(self.generator)
        given = {name: getattr(self, name) for name in _CHOSEN}
        plan = settle(self.method or suited(facts), self.generator, facts, given)
        size = None if self.size is None else parse_size(self.size)[::-1]
        plan = dataclasses.replace(plan, size=size, seed=self.seed, weights=self.scorer_weight)
        device = resolve_device(self.device)
        pipe = self._generator(plan.method, str(device))
        scorers = [load_scorer(name, device=str(device)) for name in names]
        judge = None if self.judge == "none" else load_scorer(self.judge, device=str(device))
        texts = [text for prompt in prompts for text in prompt]
        for scorer in scorers[1:]:
            check_words(texts, scorer, None)
        judge = check_words(texts, scorers[0], judge)
        fingerprints = {"generator": fingerprint(self.generator)}
        fingerprints |= {f"scorer {i}" if i else "scorer": scorer.fingerprint for i, scorer in enumerate(scorers)}
        fingerprints |= {} if judge is None else {"judge": judge.fingerprint}
        items, told = [], []
        for prompt in prompts:
            asked: dict[str | Tensor, float] = dict(prompt.items())
            items += [Item(asked, self.seed + i, self._label(prompt, i)) for i in range(self.seeds)]
            wanted = ", ".join(text for text, weight in prompt.items() if weight > 0)
            told += [wanted if self.told is None else self.told] * self.seeds
        making = LatentLoop(
            plan, items, told, scorers, pipe, judge=judge, edit=edit, negative=", ".join(self.negative), device=device
        )
        editing.check_shapes(edit, (making.before.shape[-2], making.before.shape[-1]))
        return making, fingerprints | editing.fingerprints()

    def _generator(self, method: Method, device: str) -> Any:
        """The pipeline, or the coder alone where that is all there is."""
        from clipopt.diffusion.load import holds_pipeline, load_coder, load_pipeline

        load = load_pipeline if method != "latent" or holds_pipeline(self.generator) else load_coder
        return load(self.generator, device=device, dtype=self.dtype)

    def _make(self, making: "LatentLoop", run: "Run") -> None:
        try:
            summary = making.run(run, quiet=self.quiet)
        except KeyboardInterrupt:
            command = f"clipopt latent --resume {shlex.quote(str(run.folder))}"
            sys.stderr.write(f"clipopt: interrupted and saved; continue with: {command}\n")
            raise
        sys.stdout.write(json.dumps(summary, ensure_ascii=False) + "\n" if self.json else f"{run.folder}\n")

    def _say_plan(self, making: "LatentLoop", fingerprints: Mapping[str, str], run: "Run | None" = None) -> None:
        from clipopt.pipelines.latent.forecast import expected_files, forecast, in_words

        folder = str(self.out or "outputs/latent/<time>-<prompt>") if run is None else str(run.folder)
        plan = {
            "items": [item.label for item in making.items],
            "settings": self._settings(making),
            "fingerprints": dict(fingerprints),
            **forecast(making, 0 if run is None else run.step),
            "files": expected_files(len(making.items)),
            "folder": folder,
        }
        sys.stdout.write((json.dumps(plan, ensure_ascii=False, default=str) if self.json else in_words(plan)) + "\n")

    def _label(self, prompt: Mapping[str, float], number: int) -> str:
        """What stands below a picture: its texts with weights other than 1, its seed."""
        parts = [text if weight == 1 else f"{text} ({weight:g})" for text, weight in prompt.items()]
        return ", ".join(parts) + (f", seed {self.seed + number}" if self.seeds > 1 else "")

    def _settings(self, making: "LatentLoop") -> dict[str, Any]:
        """What config.json keeps: enough to repeat the run from any folder."""
        plan = making.plan
        unused = {"strength"} if self.init is None else set()
        settings = as_config(self) | {name: getattr(plan, name) for name in _CHOSEN if name not in unused}
        settings |= {"scorer": tuple(map(anchored, self.scorer or ("embedded",))), "judge": anchored(self.judge)}
        return settings | {
            "method": plan.method, "generator": anchored(self.generator), "device": str(making.device),
        }  # fmt: skip
