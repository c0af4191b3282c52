import math
from functools import partial

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from clipopt import losses
from clipopt.types import generator


def units(count, dim=8, seed=0, dtype=torch.float32):
    return F.normalize(torch.randn(count, dim, generator=generator(seed), dtype=dtype), dim=1)


def test_published_constants():
    assert math.isclose(losses.CLIP_SCALE_INIT, 14.285714, rel_tol=1e-6)
    assert losses.CLIP_SCALE_MAX == 100
    assert (losses.SIGLIP_SCALE_INIT, losses.SIGLIP_BIAS_INIT) == (10, -10)
    assert (losses.CLIPSCORE_WEIGHT, losses.CLIPSCORE_PREFIX) == (2.5, "A photo depicts ")


def test_cosine_and_spherical_at_known_angles():
    angles = torch.tensor([0.0, 1e-3, 1.0, math.pi / 2, math.pi])
    image = torch.stack((angles.cos(), angles.sin()), 1)
    text = torch.tensor([[1.0, 0]])
    torch.testing.assert_close(losses.cosine(image, text), 1 - angles.cos())
    torch.testing.assert_close(losses.spherical(image, text), angles**2 / 2)


def test_spherical_against_numpy():
    image, text = units(5, seed=1), units(3, seed=2)
    chord = np.linalg.norm(image.numpy()[:, None] - text.numpy()[None], axis=-1)
    summed = np.linalg.norm(image.numpy()[:, None] + text.numpy()[None], axis=-1)
    expected = ((2 * np.arctan2(chord, summed)) ** 2 / 2).mean(1)
    np.testing.assert_allclose(losses.spherical(image, text), expected, rtol=1e-6)
    np.testing.assert_allclose(losses.spherical(image, text), (2 * np.arcsin(chord / 2) ** 2).mean(1), rtol=1e-5)


@pytest.mark.parametrize("off", [0.0, 1e-12, 1e-6])
def test_spherical_is_finite_at_the_antipode(off):
    text = units(1, seed=3)
    image = (-text + off).requires_grad_()
    value = losses.spherical(image, text)
    (slope,) = torch.autograd.grad(value.sum(), image)
    assert math.isclose(value.item(), math.pi**2 / 2, rel_tol=1e-4)
    assert torch.isfinite(slope).all()


def test_spherical_gradient_length_is_the_angle():
    text = units(1, seed=4, dtype=torch.float64)
    side = F.normalize(units(1, seed=5, dtype=torch.float64) @ (torch.eye(8, dtype=torch.float64) - text.T @ text))
    for angle in (0.01, 1.0, 3.0):
        image = (math.cos(angle) * text + math.sin(angle) * side).requires_grad_()
        (slope,) = torch.autograd.grad(losses.spherical(image, text).sum(), image)
        along = slope - (slope * image).sum() * image
        assert math.isclose(along.norm().item(), angle, rel_tol=1e-6)


def test_softmax_is_cross_entropy():
    image, text, negatives = units(4, seed=1), units(1, seed=2), units(5, seed=3)
    logits = 20 * image @ torch.cat((text, negatives)).T
    expected = F.cross_entropy(logits, torch.zeros(4, dtype=torch.long), reduction="none")
    torch.testing.assert_close(losses.softmax(image, text, negatives=negatives, scale=20.0), expected)


def test_softmax_does_not_overflow():
    row = torch.tensor([[1.0, 0]])
    value = losses.softmax(row, -row, negatives=row, scale=100.0)
    torch.testing.assert_close(value, torch.tensor([200.0]))


def test_sigmoid_is_siglips_pair_loss():
    image, text = units(4, seed=1), units(4, seed=2)
    labels = 2 * torch.eye(4) - 1
    expected = -F.logsigmoid(labels * (10 * image @ text.T - 10)).sum() / 4
    torch.testing.assert_close(losses.sigmoid(image, text, labels).sum() / 4, expected)


def test_negative_weight_repels_and_stays_bounded_in_sigmoid():
    text = units(1, seed=2)
    value = losses.sigmoid(-text, text, torch.tensor([-1.0]))
    assert 0 <= float(value) < 1e-6


def test_directional_ignores_where_the_edit_starts_from():
    source, text, source_text = units(1, seed=1), units(1, seed=2), units(1, seed=3)
    change = text - source_text
    aligned = losses.directional(source + 0.3 * change, source, text, source_text)
    against = losses.directional(source - 0.3 * change, source, text, source_text)
    torch.testing.assert_close(aligned, torch.zeros(1), atol=1e-4, rtol=0)
    torch.testing.assert_close(against, torch.full((1,), 2.0), atol=1e-4, rtol=0)


def test_directional_at_the_source_is_one_and_points_to_the_change():
    source, text, source_text = units(1, seed=1), units(1, seed=2), units(1, seed=3)
    image = source.clone().requires_grad_()
    value = losses.directional(image, source, text, source_text)
    (slope,) = torch.autograd.grad(value.sum(), image)
    assert value.item() == 1
    torch.testing.assert_close(F.normalize(-slope), F.normalize(text - source_text))


def total_variation_oracle(images):
    out = []
    for image in images:
        down, right = np.zeros_like(image), np.zeros_like(image)
        down[:, :-1] = image[:, 1:] - image[:, :-1]
        right[:, :, :-1] = image[:, :, 1:] - image[:, :, :-1]
        out.append(np.sqrt(down**2 + right**2).mean())
    return np.array(out)


def test_total_variation_against_numpy():
    images = torch.rand(2, 3, 7, 5, generator=generator(0))
    np.testing.assert_allclose(losses.total_variation(images), total_variation_oracle(images.numpy()), rtol=1e-5)


def test_total_variation_is_isotropic():
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    slope, turned = x / 64, (x + y) / 64 / math.sqrt(2)
    values = losses.total_variation(torch.stack((slope, turned))[:, None].expand(2, 3, 64, 64))
    torch.testing.assert_close(values, torch.full((2,), 1 / 64), rtol=0.03, atol=0)


def test_total_variation_is_flat_and_finite_on_flat_images():
    images = torch.full((1, 3, 5, 6), 0.4, requires_grad=True)
    (slope,) = torch.autograd.grad(losses.total_variation(images).sum(), images)
    assert losses.total_variation(images).item() == 0
    assert (slope == 0).all()


def test_l2_pulls_to_the_reference_and_not_to_zero():
    reference = torch.rand(1, 3, 4, 5, generator=generator(0))
    at = reference.clone().requires_grad_()
    (slope,) = torch.autograd.grad(losses.l2(at, reference).sum(), at)
    assert (slope == 0).all()
    torch.testing.assert_close(losses.l2(reference + 0.1, reference), torch.tensor([0.01]))
    with pytest.raises(ValueError, match="shape of the images"):
        losses.l2(torch.rand(2, 3, 4, 5), torch.rand(2, 3, 5, 4))


def test_range_penalty():
    images = torch.tensor([-0.1, 0.0, 0.5, 1.0, 1.2, 0.3]).view(1, 3, 1, 2)
    torch.testing.assert_close(losses.range_penalty(images), torch.tensor([(0.01 + 0.04) / 6]))


def test_symmetry_knows_its_axis():
    across = torch.linspace(0, 1, 8).expand(1, 3, 6, 8)
    assert losses.symmetry(across).item() > 0.1
    assert losses.symmetry(across, "up-down").item() == 0
    assert losses.symmetry(across.mT, "up-down").item() > 0.1
    assert losses.symmetry(across + across.flip(-1)).item() < 1e-12


def test_saturation_is_the_published_measure():
    images = torch.rand(2, 3, 9, 7, generator=generator(0))
    for image, value in zip(images.double().numpy(), losses.saturation(images).tolist(), strict=True):
        red, green, blue = 255 * image.reshape(3, -1)
        one, two = red - green, (red + green) / 2 - blue
        published = np.hypot(one.std(), two.std()) + 0.3 * np.hypot(one.mean(), two.mean())
        assert 255 * value == pytest.approx(published, rel=1e-5)


def test_saturation_of_grey_is_0_and_flat():
    images = torch.full((1, 3, 4, 4), 0.4, requires_grad=True)
    (slope,) = torch.autograd.grad(losses.saturation(images).sum(), images)
    assert losses.saturation(images).item() == 0
    assert (slope == 0).all()


def test_palette_pulls_each_pixel_to_its_nearest_colour():
    colors = torch.tensor([[1.0, 0, 0], [0, 0, 1.0]])
    images = torch.tensor([[0.9, 0.1, 0.0], [0.2, 0.0, 0.7], [1.0, 0.0, 0.0]]).T.view(1, 3, 1, 3).requires_grad_()
    value = losses.palette(images, colors)
    assert value.item() == pytest.approx((0.01 + 0.01 + 0.04 + 0.09) / 9)
    (slope,) = torch.autograd.grad(value.sum(), images)
    moved = (images - 4.5 * slope)[0, :, 0].T
    torch.testing.assert_close(moved, colors[[0, 1, 0]])


def test_border_looks_at_the_strip_alone():
    images = torch.rand(1, 3, 20, 30, generator=generator(0))
    images[..., :2, :], images[..., -2:, :], images[..., :2], images[..., -2:] = 0.3, 0.3, 0.3, 0.3
    assert losses.border(images, 0.1).item() < 1e-12
    assert losses.border(images, 0.15).item() > 1e-3
    assert losses.border(images, 0.1, torch.tensor([0.3, 0.3, 0.5])).item() == pytest.approx(0.04 / 3)
    assert losses.border(images, 0.5).item() == pytest.approx(
        (images - images.mean((2, 3), keepdim=True)).square().mean().item()
    )
    with pytest.raises(ValueError, match="width"):
        losses.border(images, 0.0)


def test_edge_strength_is_the_slope_of_the_brightness():
    ramp = (0.02 * torch.arange(12.0)).expand(1, 3, 9, 12)
    torch.testing.assert_close(losses.edge_strength(ramp)[..., 1:-1], torch.full((1, 1, 9, 10), 0.02))
    torch.testing.assert_close(losses.edge_strength(ramp.mT)[..., 1:-1, :], torch.full((1, 1, 10, 9), 0.02))


def test_edges_follow_the_map_whatever_its_strength():
    y, x = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    disc = torch.sigmoid(8 - torch.hypot(x - 12, y - 12)).expand(1, 3, 24, 24)
    moved = torch.sigmoid(4 - torch.hypot(x - 3, y - 3)).expand(1, 3, 24, 24)
    wanted = losses.edge_strength(disc)
    same, paler, other = (losses.edges(images, 7 * wanted).item() for images in (disc, 0.5 * disc + 0.2, moved))
    assert same < 0.01
    assert paler < 0.01
    assert other > 0.7
    assert losses.edges(torch.full((1, 3, 24, 24), 0.5), wanted).item() == pytest.approx(1)
    with pytest.raises(ValueError, match="edge_map"):
        losses.edges(disc, wanted[..., :12])


def test_perceptual_of_embeddings_is_twice_the_cosine_distance():
    a, b = units(3, seed=1), units(3, seed=2)
    torch.testing.assert_close(losses.perceptual([a], [b]), 2 - 2 * (a * b).sum(1))


def test_perceptual_averages_places_and_levels_and_ignores_lengths():
    fine, coarse = torch.randn(2, 4, 6, 5, generator=generator(0)), torch.randn(2, 8, 3, generator=generator(1))
    assert losses.perceptual([fine, coarse], [3 * fine, 0.1 * coarse]).abs().max() < 1e-6
    half = fine.clone()
    half[..., :3, :] *= -1
    torch.testing.assert_close(losses.perceptual([fine, coarse], [half, coarse]), torch.full((2,), 1.0))
    with pytest.raises(ValueError, match="levels"):
        losses.perceptual([fine], [coarse])


PRIORS = {
    "total variation": losses.total_variation,
    "range": losses.range_penalty,
    "symmetry": losses.symmetry,
    "symmetry, up and down": partial(losses.symmetry, axis="up-down"),
    "saturation": losses.saturation,
    "palette": partial(losses.palette, colors=torch.tensor([[0.1, 0.2, 0.9], [0.8, 0.3, 0.1], [1.0, 1.0, 1.0]])),
    "border": partial(losses.border, width=0.3),
    "border of a colour": partial(losses.border, color=torch.tensor([0.1, 0.5, 0.9])),
    "edges": partial(losses.edges, edge_map=torch.rand(1, 1, 4, 5, generator=generator(4))),
}


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_priors_gradcheck_and_do_not_couple_items(prior):
    images = (1.5 * torch.rand(2, 3, 4, 5, generator=generator(1), dtype=torch.float64) - 0.25).requires_grad_()
    assert torch.autograd.gradcheck(prior, images)
    torch.testing.assert_close(prior(images)[:1], prior(images[:1]))
    assert prior(images).shape == (2,)
    torch.testing.assert_close(prior(images.float()), prior(images).float())


@pytest.mark.parametrize("prior", PRIORS.values(), ids=PRIORS)
def test_priors_fall_when_followed(prior):
    images = (1.5 * torch.rand(1, 3, 4, 5, generator=generator(2)) - 0.25).requires_grad_()
    before = prior(images)
    (slope,) = torch.autograd.grad(before.sum(), images)
    assert prior(images - 0.01 * slope / slope.norm()).item() < before.item()


def published_head(dim, seed=0):
    """The names and shapes of LAION's second head, small."""
    widths = [dim, 9, 7, 5, 3, 1]
    places = (0, 2, 4, 6, 7)  # dropout between them
    state = {}
    for place, inner, outer in zip(places, widths, widths[1:], strict=False):
        state[f"layers.{place}.weight"] = torch.randn(outer, inner, generator=generator(seed, place))
        state[f"layers.{place}.bias"] = torch.randn(outer, generator=generator(seed, place, 1))
    return state


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_aesthetic_reads_the_published_stack(tmp_path, suffix):
    state, path = published_head(8), tmp_path / f"head{suffix}"
    torch.save(state, path) if suffix == ".pth" else save_file(state, path)
    hidden = rows = units(4)
    for place in (0, 2, 4, 6, 7):
        hidden = hidden @ state[f"layers.{place}.weight"].T + state[f"layers.{place}.bias"]
    head = losses.load_aesthetic(path)
    torch.testing.assert_close(head(rows), hidden[:, 0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(head.penalty(rows), 10 - head(rows))
    with pytest.raises(ValueError, match="8 numbers, got 6"):
        head(units(2, dim=6))


def test_aesthetic_reads_the_linear_head_and_its_penalty_raises_the_mark(tmp_path):
    state = {"weight": torch.randn(1, 8, generator=generator(3)), "bias": torch.tensor([5.0])}
    torch.save(state, tmp_path / "head.pth")
    head = losses.load_aesthetic(str(tmp_path / "head.pth"))
    rows = units(2).requires_grad_()
    torch.testing.assert_close(head(rows), rows @ state["weight"][0] + 5)
    (slope,) = torch.autograd.grad(head.penalty(rows).sum(), rows)
    assert (head(rows - 0.1 * slope) > head(rows)).all()


def test_what_is_no_aesthetic_head_is_named(tmp_path):
    text, broken = tmp_path / "head.pth", tmp_path / "head.safetensors"
    text.write_text("no weights")
    broken.write_bytes(b"none")
    wide = published_head(8)
    wide["layers.7.weight"], wide["layers.7.bias"] = torch.zeros(2, 3), torch.zeros(2)
    torch.save(wide, tmp_path / "wide.pth")
    torch.save(published_head(8) | {"layers.9.scale": torch.ones(1)}, tmp_path / "more.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for name in ("head.pth", "head.safetensors", "wide.pth", "more.pth", "list.pth", "missing.pth"):
        with pytest.raises(ValueError, match=name):
            losses.load_aesthetic(tmp_path / name)
