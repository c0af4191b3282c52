"""Everything that makes a differentiable `generate(latent) -> images` of a diffusers model, as it is.

pipe = clipopt.diffusion.load_pipeline("embedded")
sampler = clipopt.diffusion.Sampler(pipe, ["a red circle"], seeds=[0])
noise = clipopt.diffusion.Noise(sampler)
images = noise()                                   # (1, 3, h, w), values in [0, 1]; differentiable in noise.noise
"""

from clipopt.diffusion.chain import Chain, free_dom, in_turn, universal
from clipopt.diffusion.coder import Coder
from clipopt.diffusion.latents import ChainNoise, Latents, Noise
from clipopt.diffusion.load import load_coder, load_pipeline
from clipopt.diffusion.priors import norm_prior, whiteness
from clipopt.diffusion.sampler import Sampler

__all__ = [
    "Chain",
    "ChainNoise",
    "Coder",
    "Latents",
    "Noise",
    "Sampler",
    "free_dom",
    "in_turn",
    "load_coder",
    "load_pipeline",
    "norm_prior",
    "universal",
    "whiteness",
]
