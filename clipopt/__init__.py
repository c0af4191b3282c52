"""Make and choose pictures, latents, meshes and motion with the gradient of a frozen image-text scorer.

scorer = clipopt.load_scorer("embedded")
image = clipopt.params.Fourier(128, 128, rng=clipopt.generator(0))
loss = clipopt.Matching(
    image, scorer, clipopt.target(scorer, "a red circle"), augment=clipopt.augment.crops(16, scorer.image_size)
)
for step in clipopt.optimize(loss, torch.optim.Adam(image.parameters(), lr=0.05), steps=100, seed=0):
    print(step.index, float(step.loss))
clipopt.save("circle.png", image().detach())
"""

from clipopt import augment, losses, params
from clipopt.ensemble import Ensemble
from clipopt.files import save
from clipopt.meshes import load_mesh, save_mesh
from clipopt.objective import Matching
from clipopt.optimize import Step, optimize
from clipopt.scorers import Scorer, Target, load_scorer, target, text_off
from clipopt.types import generator

__all__ = [
    "Ensemble",
    "Matching",
    "Scorer",
    "Step",
    "Target",
    "augment",
    "generator",
    "load_mesh",
    "load_scorer",
    "losses",
    "optimize",
    "params",
    "save",
    "save_mesh",
    "target",
    "text_off",
]
