from dataclasses import replace

import pytest
import torch
from toy import ToyScorer

from clipopt import augment, losses
from clipopt.ensemble import Ensemble
from clipopt.loop import optimize
from clipopt.objective import Matching
from clipopt.params import Pixels
from clipopt.scorers import target
from clipopt.types import generator

SCORERS = ToyScorer(), ToyScorer(image_size=12, dim=10, seed=1)
PROMPTS = ["a red fox", {"snow": 1.0, "text": -0.3}, "a boat"]


def images():
    return Pixels(20, 27, rng=[generator(item) for item in range(3)], std=0.2)


class Raw(torch.nn.Module):
    """Parameters that are the images, so that a gradient at the ones is that at the others."""

    def __init__(self):
        super().__init__()
        self.pixels = torch.nn.Parameter(images()().detach())

    def forward(self):
        return self.pixels


def members(param, **more):
    options = {"seeds": (5, 6, 7)} | more
    return [
        Matching(param, scorer, target(scorer, PROMPTS), augment=augment.crops(6, scorer.image_size), **options)
        for scorer in SCORERS
    ]


def slopes(loss, param, step=0):
    """The value of each term, and the gradient of their sum at each item's pixels."""
    terms = loss(step, generator(0, step))
    (gradient,) = torch.autograd.grad(sum(term.sum() for term in terms.values()), list(param.parameters()))
    return {name: term.detach() for name, term in terms.items()}, gradient


def lengths(gradient):
    return gradient.flatten(1).norm(dim=1)


def test_an_ensemble_of_one_is_that_one():
    param = images()
    alone = members(param, penalties={"smooth": losses.total_variation})[0]
    values, gradient = slopes(alone, param)
    same_values, same_gradient = slopes(Ensemble([alone], weights=[3.0]), param)
    assert values.keys() == same_values.keys() == {"match", "smooth"}
    assert all(torch.equal(values[name], same_values[name]) for name in values)
    torch.testing.assert_close(same_gradient, gradient, rtol=1e-6, atol=1e-9)


def test_gradient_is_that_of_the_members_brought_to_the_length_of_the_first():
    param = Raw()
    first, second = members(param)
    (_, one), (_, two) = slopes(first, param), slopes(second, param)
    ratio = (lengths(one) / lengths(two)).view(-1, 1, 1, 1)
    assert (ratio - 1).abs().min() > 0.05
    values, gradient = slopes(Ensemble([first, second], weights=[3, 1]), param)
    torch.testing.assert_close(gradient, 0.75 * one + 0.25 * ratio * two, rtol=1e-4, atol=1e-8)
    assert list(values) == ["match", "match 2"]
    torch.testing.assert_close(values["match"], 0.75 * first(0, generator(0, 0))["match"].detach())
    torch.testing.assert_close(values["match 2"], 0.25 * second(0, generator(0, 0))["match"].detach())


def test_the_scale_of_a_members_distance_does_not_matter():
    param = images()
    first, second = members(param)
    _, gradient = slopes(Ensemble([first, second]), param)
    for steep in (replace(second, distance=lambda *x: 1000 * losses.cosine(*x)), second):
        _, other = slopes(Ensemble([first, steep]), param)
        torch.testing.assert_close(other, gradient, rtol=1e-4, atol=1e-8)


def test_a_late_joiner_takes_part_from_its_step_on():
    param = images()
    first, second = members(param, seeds=None)
    loss = Ensemble([first, second], starts=[0, 3])
    values, gradient = slopes(loss, param, 2)
    assert values["match 2"].tolist() == [0, 0, 0]
    torch.testing.assert_close(gradient, slopes(first, param, 2)[1], rtol=1e-6, atol=1e-9)
    values, gradient = slopes(loss, param, 3)
    assert (values["match 2"] > 0).all()
    torch.testing.assert_close(gradient, slopes(replace(loss, starts=None), param, 3)[1])


def test_an_item_does_not_see_its_neighbours():
    param = images()
    _, gradient = slopes(Ensemble(members(param)), param)
    alone = Pixels(20, 27, rng=[generator(1)], std=0.2)
    parts = [
        Matching(alone, s, target(s, PROMPTS[1]), augment=augment.crops(6, s.image_size), seeds=(6,)) for s in SCORERS
    ]
    torch.testing.assert_close(slopes(Ensemble(parts), alone)[1][0], gradient[1], rtol=1e-4, atol=1e-8)


def test_the_renderer_is_gone_back_through_once():
    param, passes = images(), []

    def render(scene, rng):
        scene = scene * 1.0
        scene.register_hook(lambda gradient: passes.append(gradient.shape))
        return torch.cat([scene, scene.flip(-1)], 1).view(6, *scene.shape[1:])

    loss = Ensemble(members(param, render=render))
    terms = loss(0, generator(0, 0))
    assert terms["match"].shape == (3,)
    sum(term.sum() for term in terms.values()).backward()
    assert passes == [(3, 3, 20, 27)]


def test_falls_under_optimisation_for_both_members_and_needs_no_gradient_to_be_read():
    param = images()
    loss = Ensemble(members(param))
    with torch.no_grad():
        before = loss(0, generator(0, 0))
    assert not before["match 2"].requires_grad
    list(optimize(loss, torch.optim.Adam(param.parameters(), lr=0.03), steps=15, seed=0))
    after = loss(0, generator(0, 0))
    assert all((after[name] < before[name]).all() for name in before)


def test_a_member_without_a_gradient_takes_nothing_from_the_others():
    param = images()
    first, second = members(param)
    flat = replace(second, distance=lambda rows, *_: 0 * rows.sum(1))
    _, gradient = slopes(Ensemble([first, flat]), param)
    torch.testing.assert_close(gradient, 0.5 * slopes(first, param)[1], rtol=1e-6, atol=1e-9)


def test_an_item_may_be_left_to_some_of_the_members():
    param = Raw()
    first, second = members(param)
    (_, one), (_, two) = slopes(first, param), slopes(second, param)
    weights = torch.tensor([1.0, 0.0, 3.0]), torch.tensor([0.0, 2.0, 1.0])
    values, gradient = slopes(Ensemble([first, second], weights=weights), param)
    torch.testing.assert_close(gradient[0], one[0], rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(gradient[1], two[1], rtol=1e-5, atol=1e-9)
    both = 0.75 * one[2] + 0.25 * lengths(one)[2] / lengths(two)[2] * two[2]
    torch.testing.assert_close(gradient[2], both, rtol=1e-4, atol=1e-8)
    assert (values["match"] == 0).tolist() == [False, True, False]
    assert (values["match 2"] == 0).tolist() == [True, False, False]


def test_what_a_neighbour_is_asked_does_not_matter():
    param = Raw()
    pair = members(param)
    left, asked = (
        slopes(Ensemble(pair, weights=[torch.tensor([1.0, other, 1.0]), torch.ones(3)]), param)[1] for other in (0, 1)
    )
    assert torch.equal(left[[0, 2]], asked[[0, 2]])
    assert not torch.equal(left[1], asked[1])


def test_of_three_members_the_first_that_takes_part_is_the_measure():
    param = Raw()
    first, second = members(param)
    third = replace(second, distance=lambda *x: 50 * losses.cosine(*x))
    weights = [torch.tensor([1.0, 0.0, 1.0]), 1.0, 1.0]
    _, gradient = slopes(Ensemble([first, second, third], weights=weights), param)
    _, one = slopes(first, param)
    _, two = slopes(second, param)
    torch.testing.assert_close(gradient[1], two[1], rtol=1e-4, atol=1e-8)
    mixed = (one + 2 * (lengths(one) / lengths(two)).view(-1, 1, 1, 1) * two) / 3
    torch.testing.assert_close(gradient[[0, 2]], mixed[[0, 2]], rtol=1e-4, atol=1e-8)


def test_an_item_that_only_a_late_joiner_is_asked_does_not_wait():
    param = Raw()
    first, second = members(param)
    loss = Ensemble([first, second], weights=[torch.tensor([1.0, 0.0, 1.0]), 1.0], starts=[0, 5])
    _, gradient = slopes(loss, param)
    torch.testing.assert_close(gradient[[0, 2]], slopes(first, param)[1][[0, 2]], rtol=1e-5, atol=1e-9)
    torch.testing.assert_close(gradient[1], slopes(second, param)[1][1], rtol=1e-5, atol=1e-9)


def test_a_member_that_nobody_asks_has_a_term_of_0_for_each_item():
    param = images()
    pair = members(param, render=lambda scene, rng: torch.cat([scene, scene.flip(-1)], 1).view(6, *scene.shape[1:]))
    terms = Ensemble(pair, weights=[0, 1])(0, generator(0, 0))
    assert terms["match"].tolist() == [0, 0, 0]
    assert list(terms) == ["match", "match 2"]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda m: Ensemble([]), "at least one member"),
        (lambda m: Ensemble([m[0], replace(m[1], param=images())]), "same param, render and seeds"),
        (lambda m: Ensemble([m[0], replace(m[1], seeds=None)]), "same param, render and seeds"),
        (lambda m: Ensemble([m[0], replace(m[1], penalties={"x": losses.total_variation})]), "only the first member"),
        (lambda m: Ensemble(m, weights=[1.0]), "expected 2 positive weights"),
        (lambda m: Ensemble(m, weights=[1.0, -1.0]), "expected 2 positive weights"),
        (lambda m: Ensemble(m, weights=[torch.tensor([1.0, 0, 1]), torch.tensor([1.0, 0, 1])]), "2 positive weights"),
        (lambda m: Ensemble(m, starts=[0]), "expected 2 starts"),
        (lambda m: Ensemble(m, starts=[4, 0]), "the first of them 0"),
    ],
)
def test_what_does_not_belong_together_is_refused(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        change(members(images()))
