import pytest
import torch

from clipopt.loop import Step, optimize
from clipopt.types import generator

OPTIMIZERS = {
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.1),
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True),
    "lbfgs": lambda parameters: torch.optim.LBFGS(parameters, lr=0.5, max_iter=4, line_search_fn="strong_wolfe"),
}
every = pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)


class Problem:
    """A noisy bowl: each step sees another target near 1."""

    def __init__(self):
        self.x = torch.nn.Parameter(torch.linspace(-2, 2, 6).view(2, 3))
        self.seen = []

    def __call__(self, step, rng):
        draw = torch.randn(2, 3, generator=rng)
        self.seen.append((step, draw))
        return {"bowl": (self.x - 1 - 0.1 * draw).square().sum(1), "size": 0.01 * self.x.abs().sum()}


@every
def test_falls_and_reports_every_step(optimizer):
    problem = Problem()
    steps = list(optimize(problem, optimizer([problem.x]), steps=30, seed=0))
    assert [step.index for step in steps] == list(range(30))
    assert steps[-1].loss < 0.1 * steps[0].loss


@every
def test_the_loss_is_the_sum_of_its_terms_before_the_step(optimizer):
    problem = Problem()
    start = problem.x.detach().clone()
    step = next(optimize(problem, optimizer([problem.x]), steps=5, seed=0))
    assert isinstance(step, Step)
    torch.testing.assert_close(step.loss, sum(term.sum() for term in step.terms.values()))
    expected = (start - 1 - 0.1 * torch.randn(2, 3, generator=generator(0, 0))).square().sum(1)
    torch.testing.assert_close(step.terms["bowl"], expected)
    assert not step.loss.requires_grad
    assert not any(term.requires_grad for term in step.terms.values())


@every
def test_a_continued_run_is_the_same_run(optimizer):
    whole = Problem()
    losses = [step.loss for step in optimize(whole, optimizer([whole.x]), steps=9, seed=3)]

    first = Problem()
    saved = optimizer([first.x])
    for step in optimize(first, saved, steps=9, seed=3):
        if step.index == 3:
            break
    again = Problem()
    again.x.data.copy_(first.x.data)
    restored = optimizer([again.x])
    restored.load_state_dict(saved.state_dict())
    rest = [step.loss for step in optimize(again, restored, steps=9, seed=3, start=4)]
    assert torch.equal(torch.stack(rest), torch.stack(losses[4:]))
    assert torch.equal(again.x, whole.x)


def test_the_seed_and_the_step_make_the_draw():
    def draws(seed):
        problem = Problem()
        for _ in optimize(problem, OPTIMIZERS["sgd"]([problem.x]), steps=3, seed=seed):
            pass
        return torch.stack([draw for _, draw in problem.seen])

    state = torch.get_rng_state()
    assert torch.equal(draws(0), draws(0))
    assert not torch.equal(draws(0), draws(1))
    assert not torch.equal(draws(0)[0], draws(0)[1])
    assert torch.equal(torch.get_rng_state(), state)


def test_a_line_search_sees_one_frozen_draw_per_step():
    problem = Problem()
    for _ in optimize(problem, OPTIMIZERS["lbfgs"]([problem.x]), steps=3, seed=0):
        pass
    assert len(problem.seen) > 6
    for index in range(3):
        draws = [draw for step, draw in problem.seen if step == index]
        assert len(draws) > 1
        assert all(torch.equal(draw, draws[0]) for draw in draws)


@every
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_term_that_is_not_finite_stops_before_the_parameters_are_touched(optimizer, bad):
    problem = Problem()

    def breaks(step, rng):
        terms = problem(step, rng)
        factor = bad if step == 2 else 1.0
        return {"fine": terms["bowl"], "wrong": factor * terms["size"]}

    steps = optimize(breaks, optimizer([problem.x]), steps=5, seed=0)
    assert [next(steps).index for _ in range(2)] == [0, 1]
    before = problem.x.detach().clone()
    with pytest.raises(FloatingPointError, match="step 2: term 'wrong'"):
        next(steps)
    assert torch.equal(problem.x, before)


def test_a_line_search_that_fails_midway_puts_the_parameters_back():
    x = torch.nn.Parameter(torch.tensor([3.0, 2.0]))
    calls = []

    def breaks(step, rng):
        calls.append(step)
        return {"term": x.square() * (float("nan") if len(calls) == 3 else 1.0)}

    with pytest.raises(FloatingPointError, match="step 0"):
        list(optimize(breaks, torch.optim.LBFGS([x], lr=0.1), steps=1, seed=0))
    assert len(calls) == 3
    assert x.tolist() == [3.0, 2.0]


def test_a_gradient_that_is_not_finite_stops_too():
    x = torch.nn.Parameter(torch.zeros(2))
    with pytest.raises(FloatingPointError, match=r"step 0: the gradient of parameter 0, shape \(2,\)"):
        next(optimize(lambda step, rng: {"root": x.sqrt()}, torch.optim.SGD([x], lr=1.0), steps=1, seed=0))
    assert x.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("terms", "message"),
    [
        (lambda x: {}, "no terms"),
        (lambda x: {"a": x.square()}, r"'a' must be a scalar or have shape \(items,\), got \(2, 3\)"),
        (lambda x: {"a": x.detach().sum()}, "depends on a parameter"),
    ],
)
def test_a_wrong_loss_is_named(terms, message):
    x = Problem().x
    with pytest.raises(ValueError, match=message):
        next(optimize(lambda step, rng: terms(x), torch.optim.SGD([x], lr=1.0), steps=1, seed=0))


@pytest.mark.parametrize("start", [-1, 4])
def test_start_must_lie_in_the_run(start):
    problem = Problem()
    with pytest.raises(ValueError, match=r"0\.\.3"):
        next(optimize(problem, OPTIMIZERS["sgd"]([problem.x]), steps=3, seed=0, start=start))


def test_a_finished_run_has_no_steps_left():
    problem = Problem()
    assert list(optimize(problem, OPTIMIZERS["sgd"]([problem.x]), steps=3, seed=0, start=3)) == []


def test_gradients_do_not_pile_up_from_step_to_step():
    problem, other = Problem(), Problem()
    list(optimize(problem, torch.optim.SGD([problem.x], lr=0.1), steps=2, seed=0))
    for step in range(2):
        (slope,) = torch.autograd.grad(sum(t.sum() for t in other(step, generator(0, step)).values()), other.x)
        other.x.data -= 0.1 * slope
    torch.testing.assert_close(problem.x, other.x)
