"""Random views of images, each differentiable; what is drawn stands apart from how it is applied.

A draw is a dict of small tensors with one row per view. So the same views can be applied again, to another image
or in chunks of any size, with the same result. Images may be fewer than the rows of a draw: image `i` then owns
rows `i * k` to `(i + 1) * k - 1`.

Nothing is clamped: a view may leave [0, 1] by what jitter and noise add, and no pixel loses its gradient.
"""

from clipopt.augment.cutouts import backdrop, overview_to_detail, wide_and_zoom
from clipopt.augment.looks import blur, color, cutout, noise
from clipopt.augment.resampling import Padding, warp
from clipopt.augment.stage import Augment, Draw, compose, concat, mix, rows
from clipopt.augment.views import affine, crops, details, overview, perspective

__all__ = [
    "Augment",
    "Draw",
    "Padding",
    "affine",
    "backdrop",
    "blur",
    "color",
    "compose",
    "concat",
    "crops",
    "cutout",
    "details",
    "mix",
    "noise",
    "overview",
    "overview_to_detail",
    "perspective",
    "rows",
    "warp",
    "wide_and_zoom",
]
