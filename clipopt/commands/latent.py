"""`clipopt latent`."""

from dataclasses import dataclass

from clipopt.commands.options import RunOptions
from clipopt.pipelines.latent.settings import LatentSettings


@dataclass(frozen=True)
class Latent(RunOptions, LatentSettings):
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
