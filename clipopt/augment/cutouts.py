"""Ready-made populations of views, and what stands behind a picture that does not fill them."""

from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from clipopt.augment.stage import Augment, Draw, compose, like, mix, part
from clipopt.augment.views import crops, details, overview, perspective


def backdrop(stage: Augment, *, slope: float = 0.5) -> Augment:
    """`stage` in front of a random ground, another one for every view: what belongs to the picture must stand out.

    The ground fills whatever is transparent: the fourth channel of the images where they have one, and what lies
    beyond their border where `stage` pads with "zeros". It runs from one colour to another between its corners.

    Args:
        stage: Makes or changes views.
        slope: How far the ground's corners differ: 0 is one plain colour for each view, 1 four independent colours.

    Raises:
        ValueError: If `slope` does not lie in [0, 1]; when applied, if images have neither 3 nor 4 channels.

    Reference:
        Random grounds behind a scene: Jain et al., "Zero-Shot Text-Guided Object Generation with Dream Fields"
        (2022), arXiv:2112.01455, section 4.
    """
    if not 0 <= slope <= 1:
        raise ValueError(f"slope must lie in [0, 1], got {slope}")

    def draw(count: int, rng: Generator) -> Draw:
        plain, corners = torch.rand(count, 3, 1, 1, generator=rng), torch.rand(count, 3, 2, 2, generator=rng)
        drawn = {f"0.{name}": values for name, values in stage.draw(count, rng).items()}
        return drawn | {"ground": torch.lerp(plain.expand_as(corners), corners, slope)}

    def run(images: Tensor, draw: Draw) -> Tensor:
        # Colours are multiplied by how opaque they are before they are averaged, or what is invisible would bleed.
        if images.shape[1] == 3:
            layers = torch.cat((images, torch.ones_like(images[:, :1])), 1)
        elif images.shape[1] == 4:
            layers = torch.cat((images[:, :3] * images[:, 3:], images[:, 3:]), 1)
        else:
            raise ValueError(f"expected images of 3 channels, or 4 with how opaque they are, got {images.shape[1]}")
        views = stage.run(layers, part(draw, 0))
        ground = F.interpolate(like(draw["ground"], views), views.shape[-2:], mode="bilinear", align_corners=True)
        return views[:, :3] + (1 - views[:, 3:]) * ground

    return Augment(draw, run, stage.views)


def wide_and_zoom(views: int, size: int, *, wide: float = 0.4) -> Augment:
    """Two populations: the whole picture on random grounds, and slanted close-ups of a quarter to all of it.

    Args:
        views: Number of views of each image, 2 or more.
        size: Side of a view in pixels, best the scorer's `image_size`.
        wide: Share of the wide ones; at least one view is of each kind.

    Raises:
        ValueError: If a number is out of its range.

    Reference:
        The cutouts of White, "pixray" (2021), whose shares are these.
    """
    first, second = _shares(views, wide)
    far = backdrop(compose(overview(first, size, padding="zeros"), perspective(0.2, padding="zeros")))
    near = compose(crops(second, size, scale=(0.5, 0.97), shift=0.0), perspective(0.4))
    return mix(far, near)


def overview_to_detail(
    views: int, size: int, *, shares: tuple[float, float] = (0.75, 0.25), switch: float = 0.4
) -> Callable[[float], Augment]:
    """Composition first, detail later: a schedule of views, as a function of the run's progress from 0 to 1.

    The views are `overview`s on random grounds, and `details` at native resolution; their number stays the same.

        schedule = overview_to_detail(16, scorer.image_size)
        loss = lambda step, rng: dataclasses.replace(matching, augment=schedule(step / steps))(step, rng)

    Args:
        views: Number of views of each image, 2 or more.
        size: Side of a view in pixels, best the scorer's `image_size`.
        shares: Share of the overviews before and after the switch; at least one view is of each kind.
        switch: Progress at which the shares change.

    Raises:
        ValueError: If a number is out of its range.

    Reference:
        Crowson and Letts, "Disco Diffusion" (2022), where 12 and 4 of 16 cutouts change places at 40 % of the run.
    """
    if not 0 <= switch <= 1:
        raise ValueError(f"switch must lie in [0, 1], got {switch}")
    early, late = (
        mix(backdrop(overview(first, size, padding="zeros")), details(second, size))
        for first, second in (_shares(views, share) for share in shares)
    )

    def at(progress: float) -> Augment:
        if not 0 <= progress <= 1:
            raise ValueError(f"progress must lie in [0, 1], got {progress}")
        return early if progress < switch else late

    return at


def _shares(views: int, share: float) -> tuple[int, int]:
    if views < 2 or not 0 <= share <= 1:
        raise ValueError(f"expected views >= 2 and a share in [0, 1], got views={views}, share={share}")
    first = min(max(round(views * share), 1), views - 1)
    return first, views - first
