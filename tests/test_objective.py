import weakref
from dataclasses import replace

import pytest
import torch
from toy import ToyNatural, ToyScorer

from clipopt import augment, losses
from clipopt.loop import optimize
from clipopt.objective import Matching
from clipopt.params import Fourier, Pixels
from clipopt.scorers import Target, target
from clipopt.types import generator

SCORER = ToyScorer()
PROMPTS = ["a red fox", {"snow": 1.0, "text": -0.3}, "a boat"]
VIEWS = augment.compose(augment.crops(7, 16), augment.color(), augment.noise())


def images(items=3, size=(20, 27)):
    return Pixels(*size, rng=[generator(item) for item in range(items)], std=0.2)


def matching(param=None, **more):
    return Matching(
        images() if param is None else param,
        SCORER,
        more.pop("goal", target(SCORER, PROMPTS)),
        **{"augment": VIEWS, "seeds": (5, 6, 7)} | more,
    )


def naive(loss, step=0):
    """Everything in one graph: what Matching must equal."""
    pictures = loss.param()
    views = [loss.augment(pictures[i : i + 1], generator(seed, step, 1)) for i, seed in enumerate(loss.seeds)]
    values = []
    for item, view in enumerate(views):
        weights = loss.target.weights[item]
        values.append(loss.distance(loss.scorer.encode_image(view), loss.target.embeddings, weights).mean())
    return torch.stack(values)


def gradient(loss, terms):
    weights = torch.tensor([1.0, 2.0, 0.5])
    return torch.autograd.grad((weights * terms).sum(), list(loss.param.parameters()))[0]


@pytest.mark.parametrize("chunk", [1, 2, 5, 7, 14, 20, 64])
@pytest.mark.parametrize("distance", [losses.cosine, losses.spherical, losses.sigmoid])
def test_value_and_gradient_are_those_of_the_plain_computation(chunk, distance):
    loss = matching(chunk=chunk, distance=distance)
    terms = loss(0, generator(0, 0))
    expected = naive(loss)
    torch.testing.assert_close(terms["match"], expected.detach(), atol=1e-6, rtol=0)
    slope, reference = gradient(loss, terms["match"]), gradient(loss, expected)
    assert (slope - reference).abs().max() < 1e-6 * reference.abs().max().clamp_min(1)
    assert reference.abs().max() > 1e-3


class Counted:
    """Bytes that autograd keeps for the backward pass, now and at most."""

    def __init__(self):
        self.live = self.peak = 0
        self.storages = {}

    def pack(self, tensor):
        storage = tensor.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        box = [tensor]
        holder = _Box(box)
        if self.storages.setdefault(key, 0) == 0:
            self.live += size
            self.peak = max(self.peak, self.live)
        self.storages[key] += 1
        weakref.finalize(holder, self.drop, key, size)
        return holder

    def drop(self, key, size):
        self.storages[key] -= 1
        if self.storages[key] == 0:
            self.live -= size


class _Box:
    def __init__(self, box):
        self.tensor = box[0]


def peak_bytes(compute):
    counted = Counted()
    with torch.autograd.graph.saved_tensors_hooks(counted.pack, lambda box: box.tensor):
        compute().sum().backward()
    return counted.peak


def test_memory_does_not_grow_with_the_number_of_views():
    def stage(views):
        return augment.compose(augment.crops(views, 48), augment.color(), augment.noise())

    def ours(views, chunk):
        loss = matching(augment=stage(views), chunk=chunk)
        return peak_bytes(lambda: loss(0, generator(0))["match"])

    few, many = ours(8, 8), ours(96, 8)
    assert many < 1.05 * few
    # The same measure sees the growth where there is one.
    assert ours(96, 10_000) > 5 * few
    assert peak_bytes(lambda: naive(matching(augment=stage(96)))) > 5 * few


def test_the_renderer_runs_backward_once():
    class Count(torch.autograd.Function):
        calls = 0

        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, slope):
            Count.calls += 1
            return slope

    loss = matching(render=lambda scene, rng: Count.apply(scene), chunk=2)
    loss(0, generator(0))["match"].sum().backward()
    assert Count.calls == 1


def test_the_scorer_sees_no_more_views_than_a_chunk_and_each_once():
    class Watching(ToyScorer):
        def encode_image(self, images):
            sizes.append(len(images))
            return super().encode_image(images)

    for chunk in (1, 3, 7, 10, 21):
        sizes = []
        replace(matching(chunk=chunk), scorer=Watching())(0, generator(0))
        assert max(sizes) <= chunk
        assert sum(sizes) == 21


def test_an_item_does_not_know_its_neighbours():
    loss = matching(images(3))
    whole = loss(4, generator(0, 4))["match"]
    whole.sum().backward()
    for item, prompt in enumerate(PROMPTS):
        alone = Pixels(20, 27, rng=generator(item), std=0.2)
        single = matching(alone, goal=target(SCORER, prompt), seeds=(5 + item,))
        value = single(4, generator(99, 4))["match"]
        value.sum().backward()
        torch.testing.assert_close(value[0], whole[item], atol=1e-6, rtol=0)
        torch.testing.assert_close(alone.logits.grad[0], loss.param.logits.grad[item], atol=1e-7, rtol=1e-4)


def test_views_follow_the_items_seed_and_the_step():
    loss = matching(images(1), goal=target(SCORER, "a fox"), seeds=(5,))

    def value(loss, step):
        return loss(step, generator(0, step))["match"].item()

    assert value(loss, 0) == value(loss, 0)
    assert value(loss, 0) != value(loss, 1)
    assert value(loss, 0) != value(replace(loss, seeds=(6,)), 0)


def test_without_seeds_items_differ_and_follow_the_rng():
    param = Pixels(20, 27, rng=[generator(0), generator(0)], std=0.2)
    loss = matching(param, goal=target(SCORER, "a fox"), seeds=None)
    first, again, other = loss(0, generator(0)), loss(0, generator(0)), loss(0, generator(1))
    assert first["match"][0] != first["match"][1]
    assert torch.equal(first["match"], again["match"])
    assert not torch.equal(first["match"], other["match"])


def test_one_row_of_weights_serves_all_items():
    one = matching(goal=target(SCORER, "a fox"))
    three = matching(one.param, goal=target(SCORER, ["a fox"] * 3))
    torch.testing.assert_close(one(0, generator(0))["match"], three(0, generator(0))["match"])


def test_the_match_is_the_mean_over_views_and_not_the_best():
    loss = matching(images(1), goal=target(SCORER, "a fox"), seeds=(5,))
    views = loss.augment(loss.param(), generator(5, 0, 1))
    distances = losses.cosine(SCORER.encode_image(views), loss.target.embeddings)
    torch.testing.assert_close(loss(0, generator(0))["match"], distances.mean()[None])
    assert distances.min() < distances.mean() - 1e-3


def test_rendered_views_belong_to_their_item():
    def render(scene, rng):
        return torch.cat([torch.stack((image, 1 - image)) for image in scene])

    loss = matching(images(2), goal=target(SCORER, ["a fox", "a boat"]), seeds=(1, 2), render=render, augment=None)
    pictures = loss.param()
    expected = [
        losses.cosine(SCORER.encode_image(torch.stack((picture, 1 - picture))), SCORER.encode_text([text])).mean()
        for picture, text in zip(pictures, ["a fox", "a boat"], strict=True)
    ]
    torch.testing.assert_close(loss(0, generator(0))["match"], torch.stack(expected))
    with_views = replace(loss, augment=VIEWS, seeds=None)
    assert with_views(0, generator(0))["match"].shape == (2,)


def test_penalties_are_terms_of_the_scene_and_the_loss_is_their_sum():
    param = images(3)
    penalties = {"tv": lambda scene: 0.1 * losses.total_variation(scene), "mean": lambda scene: scene.mean()}
    loss = matching(param, penalties=penalties)
    step = next(optimize(loss, torch.optim.Adam(param.parameters()), steps=1, seed=0))
    assert list(step.terms) == ["match", "tv", "mean"]
    torch.testing.assert_close(step.loss, sum(term.sum() for term in step.terms.values()))
    with pytest.raises(ValueError, match='called "match"'):
        matching(penalties={"match": losses.total_variation})


def test_an_image_is_found_for_each_prompt():
    param = Fourier(24, 24, rng=[generator(item) for item in range(3)])
    goal = target(SCORER, ["a red fox", "snow", "a boat"])
    loss = matching(param, goal=goal, distance=losses.spherical)
    for _ in optimize(loss, torch.optim.Adam(param.parameters(), lr=0.1), steps=60, seed=0):
        pass
    with torch.no_grad():
        cosines = SCORER.encode_image(param()) @ goal.embeddings.T
    assert (cosines.argmax(1) == torch.arange(3)).all()
    assert cosines.diagonal().min() > 0.5


def test_a_resumed_run_is_the_same_run():
    def start():
        param = Fourier(18, 23, rng=[generator(0), generator(1)])
        loss = matching(param, goal=target(SCORER, ["a fox", "a boat"]), seeds=(0, 1))
        return param, loss, torch.optim.Adam(param.parameters(), lr=0.05, betas=(0.0, 0.999))

    whole, loss, optimizer = start()
    list(optimize(loss, optimizer, steps=6, seed=0))
    first, loss, optimizer = start()
    steps = optimize(loss, optimizer, steps=6, seed=0)
    for _ in range(3):
        next(steps)
    resumed, loss, continued = start()
    resumed.load_state_dict(first.state_dict())
    continued.load_state_dict(optimizer.state_dict())
    list(optimize(loss, continued, steps=6, seed=0, start=3))
    assert torch.equal(resumed(), whole())


def test_without_gradient_it_only_measures():
    loss = matching()
    with torch.no_grad():
        value = loss(0, generator(0))["match"]
    torch.testing.assert_close(value, loss(0, generator(0))["match"].detach())
    assert not value.requires_grad


def test_the_global_rng_is_left_alone():
    loss, state = matching(), torch.get_rng_state()
    loss(0, generator(0))["match"].sum().backward()
    assert torch.equal(torch.get_rng_state(), state)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="chunk"):
        matching(chunk=0)
    with pytest.raises(ValueError, match="weights for 3"):
        matching(images(2), seeds=None)(0, generator(0))
    with pytest.raises(ValueError, match="each of 2 items"):
        matching(images(4), goal=Target(torch.eye(24)[:1], torch.ones(1, 1)), seeds=(1, 2))(0, generator(0))
    with pytest.raises(ValueError, match="each of 2 items"):
        matching(images(3), goal=Target(torch.eye(24)[:1], torch.ones(1, 1)), seeds=(1, 2))(0, generator(0))


def test_paired_pictures_are_seen_through_the_same_views():
    seen = []

    def distance(image, text, weights, *pictures):
        seen.append((image.detach(), pictures))
        return losses.cosine(image, text, weights)

    scene = images()
    other = images(1)().detach() * 0.5
    loss = matching(scene, distance=distance, paired=[scene().detach(), other], chunk=5)
    loss(3, generator(0, 3))
    assert len(seen) > 3
    for views, (same, dark) in seen:
        assert torch.equal(views, same)
        assert not torch.allclose(views, dark, atol=0.01)


def test_no_gradient_reaches_a_paired_picture():
    picture = images(1)().detach().requires_grad_()
    scene = images()
    loss = matching(scene, distance=lambda image, text, weights, seen: 1 - (image * seen).sum(1), paired=[picture])
    loss(0, generator(0))["match"].sum().backward()
    assert picture.grad is None
    assert all(parameter.grad.abs().sum() > 0 for parameter in scene.parameters())


def strange(**more):
    eye = ToyNatural()
    return Matching(images(), eye, target(eye, PROMPTS), augment=VIEWS, seeds=(5, 6, 7), **more)


@pytest.mark.parametrize("chunk", [5, 64])
def test_statistics_add_to_the_match_and_to_its_gradient(chunk):
    with_, without = strange(statistics=0.7, chunk=chunk), strange(chunk=chunk)
    with_, without = (replace(loss, param=with_.param) for loss in (with_, without))
    pictures = with_.param()
    seen = [VIEWS(pictures[i : i + 1], generator(seed, 0, 1)) for i, seed in enumerate(with_.seeds)]
    strangeness = torch.stack([with_.scorer.perceive(views)[1].mean() for views in seen])
    more, less = (loss(0, generator(0, 0))["match"] for loss in (with_, without))
    torch.testing.assert_close(more - less, 0.7 * strangeness, atol=1e-6, rtol=0)
    expected = gradient(with_, 0.7 * strangeness)
    torch.testing.assert_close(gradient(with_, more) - gradient(without, less), expected, atol=1e-7, rtol=1e-4)


def test_a_scorer_that_does_not_perceive_knows_no_statistics():
    with pytest.raises(ValueError, match="toy does not know the statistics"):
        matching(statistics=0.1)
    assert matching(statistics=0).statistics == 0
