"""CLIPAG: Ganz and Elad, "CLIPAG: Towards Generator-Free Text-to-Image Generation" (2023), arXiv:2306.16805.

A robust scorer, one trained against adversarial perturbations, has gradients that people understand. So plain
pixels are enough: from noise that already fits a little, towards the words, as a whole and patch by patch.

    python recipes/clipag.py "a red apple" --scorer embedded
    python recipes/clipag.py "a castle" --scorer hf-hub:chs20/fare2-clip --device cuda
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Generator, Tensor
from tqdm import tqdm

import clipopt as co


@dataclass(frozen=True)
class Config:
    """A picture from the pixels of a robust scorer."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to show."""
    scorer: str = "hf-hub:chs20/fare2-clip"
    """Who guides: "embedded" (it is robust), or a model by id. Published: a fine-tuned ViT-B/32 that no hub holds;
    this one is robust in the same sense, and larger."""
    size: int = 224
    """Pixels of the picture."""
    steps: int = 100
    """Steps of the optimizer."""
    lr: float = 0.07
    """Learning rate of AdamW. Published: 0.0175 for pixels; ours learns their logits, which move four times less."""
    clip: float = 0.001
    """Longest gradient; longer ones are cut to it."""
    views: int = 32
    """Views of the whole picture in a step."""
    patches: int = 32
    """Views of patches in a step."""
    patch: float = 128 / 224
    """Side of a patch, as a part of the picture."""
    patch_weight: float = 5.0
    """How much the patches count beside the whole."""
    starts: int = 1000
    """Pictures of noise, of which the best one is the start. Published: drawn from a mixture fitted to photographs;
    ours have their spectrum and colours."""
    seed: int = 0
    """The same seed gives the same picture."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/clipag.png")
    """The picture to write."""
    overwrite: bool = False
    """Replace it where it exists."""


def main(config: Config) -> None:
    """Make the picture and write it."""
    if config.out.exists() and not config.overwrite:
        raise SystemExit(f"{config.out} exists: name another --out, or say --overwrite")
    scorer = co.load_scorer(config.scorer, device=config.device)
    target = co.target(scorer, config.prompt)
    start = best_noise(config, scorer, target)
    image = co.params.Pixels(config.size, config.size, rng=co.generator(config.seed), init=start).to(config.device)

    def views(count: int, scale: tuple[float, float]) -> co.augment.Augment:
        # Colours, shift, resize, cutout, noise: what the paper takes from DiffAugment.
        a = co.augment
        seen = a.crops(count, scorer.image_size, scale=scale, shift=0.1, rotate=0.0, padding="border")
        return a.compose(seen, a.color(brightness=0.3, contrast=0.3, saturation=0.3), a.cutout(0.3), a.noise(0.01))

    whole = co.Matching(image, scorer, target, augment=views(config.views, (0.8, 1.2)))
    parts = co.Matching(image, scorer, target, augment=views(config.patches, (config.patch, config.patch)))

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        picture = image()
        near = parts.match(picture, step, rng)
        return {"whole": whole.match(picture, step, rng), "patches": config.patch_weight * near}

    image.logits.register_hook(lambda slope: slope * (config.clip / slope.norm()).clamp(max=1))
    optimizer = torch.optim.AdamW(image.parameters(), lr=config.lr)
    bar = tqdm(co.optimize(loss, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
    config.out.parent.mkdir(parents=True, exist_ok=True)
    # A sigmoid keeps the range, so there is nothing left for the paper's dynamic threshold to do.
    co.save(config.out, image().detach())
    print(config.out)


@torch.no_grad()
def best_noise(config: Config, scorer: co.Scorer, target: co.Target) -> Tensor:
    """Of many pictures of noise, (1, 3, h, w) at the scorer's size, the one that fits best."""
    best, side = (torch.tensor(-torch.inf), torch.zeros(1, 3, 1, 1)), scorer.image_size
    for number in tqdm(range(config.starts), unit="start"):
        rng = co.generator(config.seed, number)
        noise = co.params.Fourier(side, side, rng=rng, std=0.2, decay=1.5, colours="natural")()
        score = scorer.encode_image(noise.to(config.device)) @ target.embeddings[0]
        best = max(best, (score[0].cpu(), noise), key=lambda pair: float(pair[0]))
    return best[1]


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
