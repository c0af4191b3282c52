"""Pixel art: what shows is a hard choice, what learns is soft."""

import pytest
import torch

from clipopt.params import Palette
from clipopt.params.palette import PALETTES
from clipopt.types import generator

PAINTS = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])


def colours_of(image):
    return {tuple(colour) for colour in image.permute(0, 2, 3, 1).reshape(-1, 3).tolist()}


def test_shows_colours_of_the_palette_alone():
    for name in PALETTES:
        param = Palette(24, 30, rng=generator(0), std=0.5, cell=3, colours=name)
        image = param()
        given = {tuple((torch.tensor([*bytes.fromhex(code)]) / 255).tolist()) for code in PALETTES[name].split()}
        assert 1 < len(colours_of(image)) <= len(given)
        assert colours_of(image) <= given


def test_cells_are_squares_of_one_colour():
    param = Palette(10, 15, rng=generator(0), std=0.5, cell=4, colours=PAINTS)
    image = param()
    assert param.cells().shape == (1, 3, 3, 4)
    assert (image[..., :4, 4:8] == image[..., :1, 4:5]).all()
    big = param.render(30, 45)
    assert torch.equal(big, image.repeat_interleave(3, 2).repeat_interleave(3, 3))
    assert torch.equal(param.render(10, 15), image)
    assert Palette(256, 100, rng=generator(0)).cells().shape == (1, 3, 32, 13)


def test_gradient_is_that_of_the_mixture():
    param = Palette(4, 5, rng=generator(0), std=0.3, cell=1, colours=PAINTS)
    weight = torch.randn(1, 3, 4, 5, generator=generator(1))
    (param() * weight).sum().backward()
    logits = param.logits.detach().requires_grad_()
    mixture = torch.einsum("ikhw,kc->ichw", logits.softmax(1), PAINTS)
    (mixture * weight).sum().backward()
    torch.testing.assert_close(param.logits.grad, logits.grad)


def test_init_takes_the_nearest_colours():
    image = torch.rand(1, 3, 6, 8, generator=generator(0))
    shown = Palette(6, 8, rng=generator(0), cell=1, init=image, colours=PAINTS)()
    nearest = (image[:, None] - PAINTS[None, :, :, None, None]).square().sum(2).argmin(1)
    assert torch.equal(shown, PAINTS[nearest].permute(0, 3, 1, 2))


def test_learned_palette_holds_the_colours_of_the_image():
    image = PAINTS[torch.randint(4, (2, 8, 9), generator=generator(0))].permute(0, 3, 1, 2) * 0.8 + 0.1
    shown = Palette(8, 9, rng=[generator(0), generator(1)], cell=1, init=image, colours=6)()
    assert (shown - image).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cell": 0}, "at least 1 pixel"),
        ({"colours": 1}, "at least 2 colours"),
        ({"colours": "rainbow"}, "pico8"),
        ({"colours": 255 * PAINTS}, "divide bytes by 255"),
    ],
)
def test_bad_input_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        Palette(8, 8, rng=generator(0), **arguments)
    with pytest.raises(ValueError, match="positive height"):
        Palette(8, 8, rng=generator(0)).render(0, 8)
