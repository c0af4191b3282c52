"""ReNO: Eyring et al., "ReNO: enhancing one-step text-to-image models through reward-based noise optimization" (2024).

arXiv:2406.04312. The first noise of a one-step generator is learned under scorers of match and preference. Gradients
of length 0.1 at most and a large rate make steps of about one length; a prior keeps the norm of the noise; the best
picture by the rewards alone is kept.

    python recipes/reno.py "a red fox in the snow" --generator stabilityai/sd-turbo
    python recipes/reno.py "a red apple" --generator embedded --scorer embedded --reward-scale 1
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Generator, Tensor
from tqdm import tqdm

import clipopt as co
from clipopt import diffusion


@dataclass(frozen=True)
class Config:
    """A picture of a one-step generator, improved."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to show."""
    generator: str = "stabilityai/sd-turbo"
    """Who draws: "embedded", a folder or an id of a pipeline of diffusers."""
    scorer: tuple[str, ...] = ("laion/CLIP-ViT-H-14-laion2B-s32B-b79K", "yuvalkirstain/PickScore_v1")
    """Who guides. Published: these, HPSv2.1 ("open_clip:ViT-H-14/HPS_v2.1_compressed.pt") and ImageReward."""
    weight: tuple[float, ...] = ()
    """Weight of each scorer's 1 - cosine. Published: 1 for CLIP, 5 for HPS and PickScore in their own units."""
    sample_steps: int = 1
    """Steps of denoising."""
    guidance: float = 0.0
    """Classifier-free guidance, which one-step generators do without."""
    steps: int = 50
    """Steps of the optimizer."""
    lr: float = 5.0
    """Learning rate for noise of 4 x 64 x 64; in proportion to the length of other noise."""
    clip: float = 0.1
    """Longest gradient."""
    norm: float = 0.01
    """Weight of the prior on the norm."""
    seed: int = 0
    """The same seed gives the same picture."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/reno.png")
    """The picture to write; beside it, with -before in its name, the sample it started from."""
    overwrite: bool = False
    """Replace it where it exists."""


def main(config: Config) -> None:
    """Make the picture and write it."""
    if config.out.exists() and not config.overwrite:
        raise SystemExit(f"{config.out} exists: name another --out, or say --overwrite")
    weights = config.weight or (1.0,) * len(config.scorer)
    if len(weights) != len(config.scorer):
        raise SystemExit("give --weight once for each scorer")
    pipe = diffusion.load_pipeline(config.generator, device=config.device)
    scorers = [co.load_scorer(name, device=config.device) for name in config.scorer]
    targets = [co.target(scorer, config.prompt) for scorer in scorers]
    sampler = diffusion.Sampler(
        pipe, [config.prompt], [config.seed], steps=config.sample_steps, guidance=config.guidance
    )
    learned = diffusion.Noise(sampler)
    kept: dict[str, Tensor] = {}

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        image = learned()
        # The picture as it is: the generator is prior enough, no augmentation is needed.
        pairs = zip(scorers, targets, weights, strict=True)
        rewards = [w * co.losses.cosine(s.encode_image(image), t.embeddings, t.weights) for s, t, w in pairs]
        reward = torch.stack(rewards).sum()
        kept.setdefault("first", image.detach())
        if "reward" not in kept or reward.detach() < kept["reward"]:
            kept["reward"], kept["image"] = reward.detach(), image.detach()
        return {"reward": reward, "norm": config.norm * diffusion.norm_prior(learned.noise).sum()}

    def shorten(gradient: Tensor) -> Tensor:
        return gradient * (config.clip / gradient.norm().clamp_min(1e-12)).clamp(max=1)

    learned.noise.register_hook(shorten)
    rate = config.lr * (learned.noise.numel() / (4 * 64 * 64)) ** 0.5
    optimizer = torch.optim.SGD(learned.parameters(), lr=rate, momentum=0.9, nesterov=True)
    bar = tqdm(co.optimize(loss, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        bar.set_postfix(reward=f"{float(step.terms['reward']):.3f}", refresh=False)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    co.save(config.out, kept["image"])
    co.save(config.out.with_stem(config.out.stem + "-before"), kept["first"])
    print(config.out)


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
