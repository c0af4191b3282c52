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

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipopt import adapt, augment, captions, diffusion, evaluation, io, losses, params, pipelines, render, search
    from clipopt.ensemble import Ensemble
    from clipopt.io.files import save
    from clipopt.io.image import load_image
    from clipopt.io.mesh import load_mesh, save_mesh
    from clipopt.loop import Step, optimize
    from clipopt.objective import Matching
    from clipopt.scorers import Scorer, load_scorer
    from clipopt.scorers.target import Target, target, text_off
    from clipopt.types import generator

__all__ = [
    "Ensemble",
    "Matching",
    "Scorer",
    "Step",
    "Target",
    "adapt",
    "augment",
    "captions",
    "diffusion",
    "evaluation",
    "generator",
    "io",
    "load_image",
    "load_mesh",
    "load_scorer",
    "losses",
    "optimize",
    "params",
    "pipelines",
    "render",
    "save",
    "save_mesh",
    "search",
    "target",
    "text_off",
]

_HOMES = {
    "Ensemble": "ensemble", "Matching": "objective", "Scorer": "scorers", "Step": "loop", "Target": "scorers",
    "generator": "types", "load_image": "io.image", "load_mesh": "io.mesh", "load_scorer": "scorers",
    "optimize": "loop", "save": "io.files", "save_mesh": "io.mesh", "target": "scorers", "text_off": "scorers",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """A public name, read from its module when it is first asked for: `clipopt --help` need not wait for torch."""
    if name not in __all__:
        # The name and the module let Python suggest a name that is close.
        raise AttributeError(f"module 'clipopt' has no attribute {name!r}", name=name, obj=sys.modules[__name__])
    value = import_module(f"clipopt.{_HOMES.get(name, name)}")
    if name in _HOMES:
        value = getattr(value, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
