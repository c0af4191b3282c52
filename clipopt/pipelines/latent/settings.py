"""What `clipopt latent` and `clipopt.pipelines.Latent` can be told."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from clipopt.pipelines.checks import parse_size, require_positive, resolve_device
from clipopt.pipelines.config import anchored, as_config
from clipopt.pipelines.editing import Editing
from clipopt.pipelines.image.presets import check_guides
from clipopt.pipelines.latent.methods import LatentPlan, Method, Rule, settle, suited
from clipopt.pipelines.models import Models
from clipopt.pipelines.prompts import parse_prompt, with_negatives
from clipopt.pipelines.vocabulary import check_words

if TYPE_CHECKING:
    from clipopt.pipelines.latent.loop import LatentLoop

_CHOSEN = ("steps", "sample_steps", "guidance", "lr", "clip", "norm", "white", "drift", "crops", "tries", "strength",
           "rule", "scale", "backward", "repeats", "pool")  # fmt: skip


@dataclass(frozen=True)
class LatentSettings:
    """How pictures of a generator are improved; see `clipopt.pipelines.Latent`."""

    task: ClassVar[str] = "latent"
    longer: ClassVar[bool] = True
    """Whether --steps makes a finished run longer."""

    prompts: tuple[str, ...]
    """What to show; each prompt makes its own picture. Plain text to the letter, unless it starts with a brace: then
    it is a JSON object of text to weight; the generator is told what has a positive weight."""
    generator: str = "embedded"
    """The generator: "embedded", a pipeline of diffusers by its folder or its id on the Hugging Face hub; for --method
    latent also the folder of an AutoencoderKL or VQModel alone."""
    method: Method | None = None
    """What is learned or drawn, see above. By default latent for the embedded generator, noise for others."""
    scorer: tuple[str, ...] = ()
    """The scorer that guides; see `clipopt image --help`. Also scorers of preference, such as
    yuvalkirstain/PickScore_v1 or open_clip:ViT-H-14/HPS_v2.1_compressed.pt. Given several times, they guide
    together."""
    scorer_weight: tuple[float, ...] = ()
    """How much a scorer counts beside the others: once for each --scorer. By default all alike."""
    judge: str = "embedded-judge"
    """The judge, a scorer that only looks on and reports, or "none". It stays silent where a prompt has words unknown
    to it."""
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

    def load(self, models: Models) -> "tuple[LatentLoop, dict[str, str]]":
        """Everything that the settings name, checked and in memory, with the fingerprints of what was read.

        Raises:
            ValueError: a setting is wrong, in one line.
        """
        if not self.prompts:
            raise ValueError('say what to show, for example: clipopt latent "a cat on a green background"')
        prompts = [with_negatives(parse_prompt(argument), self.negative) for argument in self.prompts]
        require_positive(seeds=self.seeds)
        names = self.scorer or ("embedded",)
        check_guides(names, self.scorer_weight, ())
        if self.strength is not None and self.init is None:
            raise ValueError("--strength speaks of a picture: give it with --init FILE")
        from torch import Tensor

        from clipopt.pipelines.edits import check_shapes, load_edit
        from clipopt.pipelines.latent.loop import LatentLoop
        from clipopt.pipelines.views import Item

        editing = Editing(init=self.init, mask=self.mask, alpha=self.alpha, feather=self.feather)
        edit, _ = load_edit(editing, resized=True)
        facts = models.facts(self.generator)
        given = {name: getattr(self, name) for name in _CHOSEN}
        plan = settle(self.method or suited(facts), self.generator, facts, given)
        size = None if self.size is None else parse_size(self.size)[::-1]
        plan = dataclasses.replace(plan, size=size, seed=self.seed, weights=self.scorer_weight)
        device = resolve_device(self.device)
        alone = plan.method == "latent"
        pipe = models.generator(self.generator, alone=alone, device=str(device), dtype=self.dtype)
        scorers = [models.scorer(name, device) for name in names]
        judge = models.judge(self.judge, device)
        texts = [text for prompt in prompts for text in prompt]
        for scorer in scorers[1:]:
            check_words(texts, scorer, None)
        judge = check_words(texts, scorers[0], judge)
        fingerprints = {"generator": models.fingerprint(self.generator)}
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
        check_shapes(editing, edit, (making.before.shape[-2], making.before.shape[-1]))
        return making, fingerprints | editing.fingerprints()

    def forecast(self, loop: "LatentLoop", start: int = 0) -> dict[str, Any]:
        """What a run from step `start` on would take, and what it leaves."""
        from clipopt.pipelines.latent.forecast import expected_files, forecast

        items = [item.label for item in loop.items]
        return {"items": items, **forecast(loop, start), "files": expected_files(len(items))}

    def _label(self, prompt: Mapping[str, float], number: int) -> str:
        """What stands below a picture: its texts with weights other than 1, its seed."""
        parts = [text if weight == 1 else f"{text} ({weight:g})" for text, weight in prompt.items()]
        return ", ".join(parts) + (f", seed {self.seed + number}" if self.seeds > 1 else "")

    def config(self, loop: "LatentLoop") -> dict[str, Any]:
        """What config.json keeps: enough to repeat the run from any folder."""
        plan = loop.plan
        unused = {"strength"} if self.init is None else set()
        settings = as_config(self) | {name: getattr(plan, name) for name in _CHOSEN if name not in unused}
        settings |= {"scorer": tuple(map(anchored, self.scorer or ("embedded",))), "judge": anchored(self.judge)}
        return settings | {
            "method": plan.method, "generator": anchored(self.generator), "device": str(loop.device),
        }  # fmt: skip
