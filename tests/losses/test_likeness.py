"""Likeness to a picture, as a scorer sees it."""

import pytest
import torch
from torch.nn import functional as F
from toy import ToyScorer

from clipopt import augment
from clipopt.losses.likeness import Likeness
from clipopt.scorers.tower import TowerConfig, Towers, TowerScorer
from clipopt.types import generator


def tower():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = TowerConfig(image_size=16, widths=(8, 16), depths=(1, 1), dim=16, text_width=16, vocabulary=("a",))
        return TowerScorer(Towers(config), "tower", "tower")


def pictures(count=2, seed=0):
    return torch.rand(count, 3, 20, 24, generator=generator(seed))


VIEWS = {"none": None, "crops": augment.compose(augment.crops(3, 16), augment.color())}
every = pytest.mark.parametrize("make", [tower, ToyScorer])
each = pytest.mark.parametrize("views", VIEWS.values(), ids=VIEWS)


@every
@each
def test_zero_with_zero_slope_at_the_reference_and_more_beside_it(make, views):
    likeness = Likeness(make(), pictures(), augment=views)
    at = pictures().requires_grad_()
    value = likeness(at)
    (slope,) = torch.autograd.grad(value.sum(), at)
    assert value.shape == (2,)
    assert value.abs().max() < 1e-6
    assert slope.abs().max() < 1e-5
    assert likeness(pictures(seed=1)).min() > 1e-3


@every
@each
def test_items_do_not_know_one_another(make, views):
    likeness = Likeness(make(), pictures(1), augment=views)
    images = pictures(3, seed=1)
    alone = torch.cat([likeness(image) for image in images.split(1)])
    torch.testing.assert_close(likeness(images), alone, atol=1e-6, rtol=1e-4)
    with pytest.raises(ValueError, match="one reference"):
        Likeness(make(), pictures(2), augment=views)(images)


@every
def test_falls_when_followed(make):
    likeness = Likeness(make(), pictures(1), augment=VIEWS["crops"])
    image = pictures(1, seed=1).requires_grad_()
    before = likeness(image)
    (slope,) = torch.autograd.grad(before.sum(), image)
    assert likeness(image - 0.05 * slope / slope.norm()).item() < before.item()


def test_stages_see_places_that_an_embedding_does_not():
    """Shuffled quarters: near to the same for a mean over places, far for the places themselves."""
    scorer, image = tower(), pictures(1)[..., :20, :20]
    shuffled = image.roll((10, 10), (-2, -1))
    levels = scorer.features(image)
    assert [level.shape for level in levels] == [(1, 8, 8, 8), (1, 16, 4, 4)]
    embeddings = scorer.encode_image(torch.cat((image, shuffled)))
    assert Likeness(scorer, image)(shuffled).item() > 2 * (2 - 2 * embeddings[0] @ embeddings[1]).item()


def test_features_are_those_behind_the_embedding():
    scorer, image = tower(), pictures(1)
    last = scorer.features(image)[-1].flatten(2).mT
    assert last.shape == (1, 16, 16)
    small = F.interpolate(image, (16, 16), mode="bicubic", antialias=True)
    assert torch.equal(scorer.features(small)[-1].flatten(2).mT, last)
