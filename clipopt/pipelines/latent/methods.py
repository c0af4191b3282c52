"""How `clipopt latent` looks for a better picture: its methods, and the settings that suit a generator."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Method = Literal["noise", "latent", "chain", "guided", "best-of-n", "particles"]
Rule = Literal["free-dom", "universal"]
METHODS: tuple[Method, ...] = get_args(Method)
GRADIENT: tuple[Method, ...] = ("noise", "latent", "chain")
"""The methods that follow a gradient step by step; the others draw samples and keep the best."""
CHAINED: tuple[Method, ...] = ("chain", "guided")


@dataclass(frozen=True)
class LatentPlan:
    """How pictures of a generator are improved.

    Attributes:
        method: What is learned or drawn.
        steps: Steps of the optimizer, or samples of each item.
        sample_steps: Steps of denoising in each sample; None: what the pipeline does.
        guidance: Scale of classifier-free guidance; None: what the pipeline does.
        lr: Learning rate; of noise in a hundredth of its length, else that of Adam.
        clip: Longest gradient of an item; 0: any.
        norm: Weight of the norm prior, see `clipopt.diffusion.norm_prior`.
        white: Weight of the whiteness prior.
        drift: Weight of the squared distance of latents to their start.
        crops: Views of a picture in a step; 0: the picture as it is.
        tries: Samples of each item of which the best is optimized, by --method noise.
        strength: Share of the denoising that a start from a picture goes through.
        rule: How guided sampling is guided, see `clipopt.diffusion.free_dom` and `universal`.
        scale: How strongly.
        backward: Steps that the clean latents take in each step of universal guidance.
        repeats: How often it takes the steps of its middle.
        pool: Noises of an item that the particle search keeps.
        size: Height and width in pixels; None: those of the generator.
        seed: Of the run; every item has its own besides.
        weights: How much each scorer counts; empty: all alike.
    """

    method: Method = "noise"
    steps: int = 40
    sample_steps: int | None = None
    guidance: float | int | None = None
    lr: float = 5.0
    clip: float | int = 0.1
    norm: float | int = 0.01
    white: float | int = 0.0
    drift: float | int = 0.0
    crops: int = 0
    tries: int = 1
    strength: float | int = 0.6
    rule: Rule = "free-dom"
    scale: float | int = 0.2
    backward: int = 0
    repeats: int = 1
    pool: int = 6
    size: tuple[int, int] | None = None
    seed: int = 0
    weights: tuple[float | int, ...] = ()


PUBLISHED: dict[Method, dict[str, Any]] = {
    "noise": {"steps": 50, "lr": 3.9, "clip": 0.1, "norm": 0.01},
    "latent": {"steps": 300, "lr": 0.1, "clip": 0.0, "norm": 0.0, "crops": 32, "drift": 0.0},
    "chain": {"steps": 100, "lr": 0.01, "clip": 1.0, "norm": 0.0, "white": 1e-3, "sample_steps": 50, "guidance": 5.0},
    "guided": {"steps": 1, "scale": 0.2, "repeats": 3, "sample_steps": 100},
    "best-of-n": {"steps": 50},
    "particles": {"steps": 50},
}
"""For real models, as published; docs/latent.md says where from. A noise of 4 x 64 x 64 is 128 long: lr 3.9 is 5."""

EMBEDDED: dict[Method, dict[str, Any]] = {
    "noise": {"steps": 30, "lr": 6.0, "clip": 0.1, "norm": 0.01, "crops": 2, "tries": 4, "sample_steps": 4},
    "latent": {"steps": 40, "lr": 0.1, "clip": 0.0, "norm": 0.0, "crops": 3, "tries": 4},
    "chain": {"steps": 30, "lr": 0.05, "clip": 1.0, "norm": 0.0, "white": 1e-3, "crops": 2, "sample_steps": 4},
    "guided": {"steps": 4, "scale": 0.2, "repeats": 2, "sample_steps": 12, "crops": 2},
    "best-of-n": {"steps": 60},
    "particles": {"steps": 60},
}
"""For the generator in the package. Measured on the suite: latent, and on a part of it noise; the others are not."""

UNIVERSAL: dict[str, Any] = {"scale": 0.5, "backward": 2}
"""Where the rule is "universal": the noise moves by half its length, and the clean latents take two steps."""

_FEW = {"turbo": (1, 0.0), "schnell": (4, 0.0), "sprint": (2, None), "lightning": (4, 0.0), "lcm": (4, 1.0),
        "hyper": (1, 0.0), "dmd": (1, 0.0), "flash": (4, 0.0)}  # fmt: skip


def sampling(spec: str, facts: Mapping[str, Any]) -> tuple[int | None, float | None]:
    """Steps of denoising and scale of guidance that suit a generator, by what it says of itself or by its name.

    Args:
        spec: Its name.
        facts: What stands in the generator.json of its folder, where there is one.
    """
    if facts:
        return facts.get("steps"), facts.get("guidance")
    name = spec.lower()
    return next((value for part, value in _FEW.items() if part in name), (20, None))


def suited(facts: Mapping[str, Any]) -> Method:
    """The method that suits a generator: the small one in the package knows less than its coder can show."""
    return "latent" if facts.get("embedded") else "noise"


def settle(method: Method, spec: str, facts: Mapping[str, Any], given: Mapping[str, Any]) -> LatentPlan:
    """The settings: those given, and for the others what suits the method and the generator.

    Raises:
        ValueError: a number is out of its range.
    """
    import math

    steps, guidance = sampling(spec, facts)
    suits = (EMBEDDED if facts.get("embedded") else PUBLISHED)[method]
    chosen = {"sample_steps": steps, "guidance": guidance} | suits
    chosen |= UNIVERSAL if given.get("rule") == "universal" else {}
    chosen |= {name: value for name, value in given.items() if value is not None}
    quest = LatentPlan(method=method, **chosen)
    for name in ("steps", "lr", "strength", "tries", "repeats", "pool"):
        if not (math.isfinite(getattr(quest, name)) and getattr(quest, name) > 0):
            raise ValueError(f"--{name} must be above 0, got {getattr(quest, name)}")
    if quest.sample_steps is not None and quest.sample_steps < 1:
        raise ValueError(f"--sample-steps must be at least 1, got {quest.sample_steps}")
    for name in ("clip", "norm", "white", "drift", "crops", "scale", "backward", "guidance"):
        value = getattr(quest, name)
        if value is not None and not (math.isfinite(value) and value >= 0):
            raise ValueError(f"--{name} must be 0 or more, got {value}")
    if quest.strength > 1:
        raise ValueError(f"--strength must lie above 0 up to 1, got {quest.strength}")
    return quest
