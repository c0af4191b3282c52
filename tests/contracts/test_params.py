"""What every image parameter must do; a new one joins the table."""

import math
from functools import partial

import pytest
import torch

from clipopt.params import DeepPrior, Fourier, Palette, Phases, Pixels, Pyramid, Siren, Strokes
from clipopt.types import generator

LINEAR = {
    "pixels": Pixels,
    "pyramid": Pyramid,
    "pyramid of equal weights": partial(Pyramid, decay=1.0),
    "fourier": Fourier,
    "fourier, steep and grey": partial(Fourier, decay=1.5, chroma=0.2),
    "fourier, white": partial(Fourier, decay=0.0, chroma=1.0),
    "fourier, colours of photographs": partial(Fourier, colours="natural"),
}
EXACT = LINEAR | {"phases": Phases, "phases, amplitudes held": partial(Phases, freedom=0)}
SMOOTH = LINEAR | {
    "siren": partial(Siren, hidden=32, depth=3),
    "deep prior": partial(DeepPrior, channels=8),
    "strokes": partial(Strokes, count=12),
    "shapes": partial(Strokes, count=12, kind="shapes"),
}
PARAMS = SMOOTH | {
    "phases": Phases,
    "palette": Palette,
    "palette, given": partial(Palette, colours="cga"),
    "shapes on paper": partial(Strokes, count=6, kind="shapes", segments=2, background=(1.0, 0.9, 0.5)),
}
every = pytest.mark.parametrize("make", PARAMS.values(), ids=PARAMS)
every_smooth = pytest.mark.parametrize("make", SMOOTH.values(), ids=SMOOTH)
every_exact = pytest.mark.parametrize("make", EXACT.values(), ids=EXACT)
every_linear = pytest.mark.parametrize("make", LINEAR.values(), ids=LINEAR)
SIZES = [(32, 32), (33, 47), (48, 17), (3, 5), (1, 1)]


def photo(height=20, width=26, count=1):
    """Smooth, colourful, and with pure black and white in it."""
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 5, width), indexing="ij")
    image = torch.stack((torch.sin(x + y), torch.cos(2 * x), torch.sin(3 * y - x))) / 2 + 0.5
    image[:, :4, :4], image[:, :4, 6:10] = 0, 1
    return image.expand(count, -1, -1, -1)


@every
@pytest.mark.parametrize("size", SIZES)
def test_images_in_range_at_any_size(make, size):
    param = make(*size, rng=generator(0))
    image = param()
    assert image.shape == (1, 3, *size)
    assert image.dtype == torch.float32
    assert 0 <= image.min().item() <= image.max().item() <= 1


@pytest.mark.parametrize("make", (SMOOTH | EXACT).values(), ids=SMOOTH | EXACT)
def test_starts_near_grey_with_the_noise_asked_for(make):
    for std in (0.02, 0.05):
        image = make(32, 40, rng=[generator(0), generator(1)], std=std)()
        torch.testing.assert_close(image.flatten(1).std(dim=1), torch.full((2,), std), rtol=0.1, atol=0)
    assert make(32, 40, rng=generator(0))().std() > 0.01
    assert (make(32, 40, rng=generator(0), std=0.0)() - 0.5).abs().max() < 1e-6


@every
def test_start_is_the_generators_alone(make):
    state = torch.get_rng_state()
    first, second = make(16, 20, rng=generator(3), std=0.3), make(16, 20, rng=generator(3), std=0.3)
    assert torch.equal(first(), second())
    assert torch.equal(first(), first())
    assert not torch.equal(first(), make(16, 20, rng=generator(4), std=0.3)())
    assert torch.equal(torch.get_rng_state(), state)


@every
def test_an_item_does_not_know_its_neighbours(make):
    alone = make(16, 21, rng=generator(5), std=0.2)()
    beside = make(16, 21, rng=[generator(5), generator(6), generator(7)], std=0.2)()
    torch.testing.assert_close(beside[:1], alone, atol=1e-6, rtol=0)
    assert not torch.allclose(beside[0], beside[1])


@every_exact
@pytest.mark.parametrize("size", [(20, 26), (21, 33), (3, 5)])
def test_reproduces_an_init_image(make, size):
    image = photo(*size, count=2).clone()
    image[1] = image[1].flip(-1)
    param = make(*size, rng=[generator(0), generator(1)], init=image)
    assert (param() - image).abs().max() < 2 / 255
    assert (make(*size, rng=[generator(0), generator(1)], init=image[:1])() - image[:1]).abs().max() < 2 / 255


@pytest.mark.parametrize(
    ("make", "bound"),
    [
        (partial(Siren, hidden=32, depth=3), 0.03),
        (DeepPrior, 0.06),
        (partial(Strokes, count=48), 0.1),
        (partial(Strokes, count=32, kind="shapes"), 0.1),
    ],
)
def test_resembles_an_init_image(make, bound):
    state = torch.get_rng_state()
    start = make(20, 26, rng=generator(0), init=photo())()
    assert (start - photo()).abs().mean() < bound
    assert torch.equal(torch.get_rng_state(), state)


@every_exact
def test_init_is_resized_and_takes_noise(make):
    small = make(10, 13, rng=generator(0), init=photo(20, 26))()
    assert (small - photo(20, 26)[:, :, ::2, ::2]).abs().mean() < 0.15
    noisy = make(20, 26, rng=generator(0), init=photo(), std=0.05)()
    assert 0.005 < (noisy - photo()).std() < 0.06


@every
def test_every_parameter_gets_a_gradient(make):
    param = make(16, 21, rng=[generator(0), generator(1)])
    (param() * torch.randn(2, 3, 16, 21, generator=generator(1))).sum().backward()
    for name, parameter in param.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), name


@every_smooth
def test_gradcheck(make):
    param = make(5, 4, rng=generator(0), std=0.2).double()
    parameters = list(param.parameters())
    names = [name for name, _ in param.named_parameters()]

    def image(*values):
        return torch.func.functional_call(param, dict(zip(names, values, strict=True)))

    # Networks have too many parameters to turn each: one random direction of all.
    fast = sum(parameter.numel() for parameter in parameters) > 150
    values = [parameter.detach().requires_grad_() for parameter in parameters]
    assert torch.autograd.gradcheck(image, values, fast_mode=fast)


@every
def test_state_round_trips(make):
    param = make(16, 21, rng=[generator(0), generator(1)])
    other = make(16, 21, rng=[generator(2), generator(3)])
    other.load_state_dict(param.state_dict())
    assert torch.equal(other(), param())


@every
def test_falls_under_optimisation(make):
    goal, param = photo(24, 31), make(24, 31, rng=generator(0))
    optimizer = torch.optim.Adam(param.parameters(), lr=0.05)
    errors = []
    for _ in range(60):
        optimizer.zero_grad()
        error = (param() - goal).square().mean()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.5 * errors[0]


@every_smooth
@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_a_unit_step_moves_the_logits_by_about_one(make, size):
    """The learning rate means the same in every parameter and at every size."""
    param = make(*size, rng=generator(0), std=0.0)
    with torch.no_grad():
        for number, parameter in enumerate(param.parameters()):
            signs = torch.rand(parameter.shape, generator=generator(1, number)) < 0.5
            parameter += 1e-2 * (2 * signs - 1)
    moved = torch.logit(param()).std().item()
    assert 0.4e-2 < moved < 1.3e-2


@every
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 0}, "positive height"),
        ({"rng": []}, "one generator per item"),
        ({"std": -1.0}, "std must be 0 or more"),
        ({"init": torch.rand(3, 3, 8, 8)}, "1 or 2 images"),
        ({"init": 255 * torch.rand(1, 3, 8, 8)}, "divide bytes by 255"),
        ({"init": torch.full((1, 3, 8, 8), math.nan)}, "in \\[0, 1\\]"),
    ],
)
def test_bad_input_is_named(make, arguments, message):
    with pytest.raises(ValueError, match=message):
        make(**{"height": 8, "width": 8, "rng": [generator(0), generator(1)]} | arguments)


def test_fourier_amplitudes_fall_with_frequency():
    def share_of_fine_detail(decay):
        spectrum = torch.fft.fft2(Fourier(64, 64, rng=generator(0), decay=decay)().mean(1)[0] - 0.5).abs().square()
        frequency = torch.hypot(torch.fft.fftfreq(64)[:, None], torch.fft.fftfreq(64))
        return (spectrum[frequency > 0.25].sum() / spectrum.sum()).item()

    assert share_of_fine_detail(1.5) < share_of_fine_detail(1.0) < 0.5 * share_of_fine_detail(0.0)


def test_fourier_chroma_weighs_colour():
    def colour(chroma):
        return Fourier(32, 32, rng=generator(0), chroma=chroma)().std(dim=1).mean().item()

    assert colour(0.1) < 0.5 * colour(1.0)


@pytest.mark.parametrize(
    "make", [partial(Pyramid, decay=0.0), partial(Fourier, decay=-1.0), partial(Fourier, chroma=0.0)]
)
def test_bad_shape_of_the_prior_is_named(make):
    with pytest.raises(ValueError, match="got"):
        make(8, 8, rng=generator(0))


def test_phases_keep_the_amplitudes_of_photographs():
    def spectrum(image):
        return torch.fft.rfft2(torch.logit(image).mean(1)).abs()

    held = Phases(64, 64, rng=generator(0), freedom=0)
    free = Phases(64, 64, rng=generator(0))
    start = spectrum(held())
    for param in (held, free):
        optimizer = torch.optim.Adam(param.parameters(), lr=0.08)
        for _ in range(20):
            optimizer.zero_grad()
            (param() - photo(64, 64)).square().mean().backward()
            optimizer.step()
    torch.testing.assert_close(spectrum(held()).square().sum(), start.square().sum(), rtol=0.1, atol=0)
    assert start[0, 1, 1] > 5 * start[0, 10:20, 10:20].mean() > 5 * start[0, 30:33, 25:].mean()
    assert (free() - photo(64, 64)).square().mean() < (held() - photo(64, 64)).square().mean()
    with pytest.raises(ValueError, match="freedom must be 0 or more"):
        Phases(8, 8, rng=generator(0), freedom=-0.1)
