"""What every augmentation must do; a new one joins the table. Below it, what each does by itself."""

import math

import pytest
import torch

from clipopt import augment
from clipopt.types import generator

AUGMENTS = {
    "crops": augment.crops(6, 12),
    "crops of the image's own size": augment.crops(6),
    "crops, wide range, black outside": augment.crops(6, 8, scale=(0.1, 2.0), shift=0.5, padding="zeros"),
    "details": augment.details(6, 12),
    "overview": augment.overview(6, 12),
    "a mix of two populations": augment.mix(augment.crops(4, 12), augment.overview(2, 12)),
    "crops before a backdrop": augment.backdrop(augment.crops(6, 12, padding="zeros")),
    "wide and zoom": augment.wide_and_zoom(6, 12),
    "overview to detail, early": augment.overview_to_detail(6, 12)(0.0),
    "overview to detail, late": augment.overview_to_detail(6, 12)(1.0),
    "affine": augment.affine(shear=0.2),
    "perspective": augment.perspective(),
    "color": augment.color(brightness=0.2, contrast=0.3, saturation=0.5, hue=0.4, gray=0.3),
    "noise": augment.noise(),
    "blur": augment.blur(1.5),
    "cutout": augment.cutout(0.4),
    "compose": augment.compose(
        augment.crops(6, 12),
        augment.perspective(0.2),
        augment.color(),
        augment.blur(),
        augment.noise(),
        augment.cutout(),
    ),
}
every = pytest.mark.parametrize("stage", AUGMENTS.values(), ids=AUGMENTS)


def pictures(count=2, height=25, width=31, seed=0):
    return torch.rand(count, 3, height, width, generator=generator(seed))


def draws(stage, count, seed=1):
    return augment.concat([stage.sample(generator(seed, item), views=6) for item in range(count)])


@every
def test_deterministic_given_the_rng_and_leaves_the_global_one_alone(stage):
    state = torch.get_rng_state()
    first, second = stage(pictures(), generator(1)), stage(pictures(), generator(1))
    assert torch.equal(first, second)
    assert not torch.equal(first, stage(pictures(), generator(2)))
    assert torch.equal(torch.get_rng_state(), state)
    assert len(first) == 2 * stage.views


@every
def test_a_draw_is_small_and_can_be_replayed(stage):
    draw = draws(stage, 2)
    kept = {name: values.clone() for name, values in draw.items()}
    assert torch.equal(stage.apply(pictures(), draw), stage.apply(pictures(), draw))
    assert all(torch.equal(kept[name], values) for name, values in draw.items())
    assert all(len(values) == 12 and values[0].numel() <= 16 for values in draw.values())


@every
def test_views_do_not_depend_on_the_chunks_or_the_neighbours(stage):
    images, draw = pictures(), draws(stage, 2)
    whole = stage.apply(images, draw)
    assert len(whole) == 12
    parts = [
        stage.apply(images[:1], augment.rows(draw, slice(0, 1))),
        stage.apply(images[:1], augment.rows(draw, slice(1, 6))),
        stage.apply(images[1:], augment.rows(draw, slice(6, 12))),
    ]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-6, rtol=0)
    each = [stage.apply(images[row // 6][None], augment.rows(draw, slice(row, row + 1))) for row in range(12)]
    torch.testing.assert_close(torch.cat(each), whole, atol=1e-6, rtol=0)


@every
def test_n_views_are_n_distinct_views(stage):
    views = stage.apply(pictures(1), draws(stage, 1))
    assert len(views) == 6
    if stage is AUGMENTS["color"]:
        views = views[[not gray for gray in draws(stage, 1)["gray"]]]
    distance = torch.cdist(views.flatten(1), views.flatten(1)) + 1e9 * torch.eye(len(views))
    assert distance.min() > 1e-3


@every
def test_is_not_the_identity(stage):
    views = AUGMENTS["crops of the image's own size"] if stage.views > 1 else stage
    images = pictures(1, 25, 25)
    assert (stage.apply(images, draws(stage, 1)).mean((0, 2, 3)) - images.mean((0, 2, 3))).abs().max() < 0.5
    assert (views.apply(images, draws(views, 1)) - images).abs().flatten(1).max(1).values.min() > 1e-3


@every
@pytest.mark.parametrize("size", [(25, 31), (31, 25), (64, 64), (97, 50)])
def test_gradient_reaches_every_pixel(stage, size):
    images = pictures(1, *size).requires_grad_()
    total = torch.zeros_like(images)
    for seed in range(24):
        views = stage.apply(images, draws(stage, 1, seed))
        weights = 0.5 + torch.rand(views.shape, generator=generator(9))
        total += torch.autograd.grad((views * weights).sum(), images)[0].abs()
    assert total.isfinite().all()
    assert total.min() > 0


@every
def test_gradcheck(stage):
    images = torch.rand(1, 3, 6, 7, generator=generator(0), dtype=torch.float64).requires_grad_()
    draw = augment.rows(draws(stage, 1), slice(0, 3))
    assert torch.autograd.gradcheck(lambda images: stage.apply(images, draw), images, fast_mode=True)


@every
def test_keeps_the_dtype(stage):
    assert stage(pictures().double(), generator(0)).dtype == torch.float64


@every
def test_odd_and_tiny_images(stage):
    for size in ((1, 1), (2, 3), (7, 5)):
        assert stage(pictures(1, *size), generator(0)).isfinite().all()


@every
def test_a_draw_that_cannot_be_shared_out_is_an_error(stage):
    with pytest.raises(ValueError, match="shared out"):
        stage.apply(pictures(4), draws(stage, 1))


# crops


def whole_image(size, **more):
    return augment.crops(1, size, scale=(1.0, 1.0), shift=0.0, rotate=0.0, **more)


def test_a_crop_of_everything_is_the_image():
    image = pictures(1, 16, 16)
    torch.testing.assert_close(whole_image(16)(image, generator(0)), image)


def test_a_crop_of_everything_at_half_the_size_is_the_mean_of_blocks():
    image = pictures(1, 16, 16)
    expected = image.view(1, 3, 8, 2, 8, 2).mean((3, 5))
    torch.testing.assert_close(whole_image(8)(image, generator(0)), expected)


def test_a_shrunk_view_is_antialiased():
    stripes = (torch.arange(256) % 2).float().expand(1, 3, 256, 256)
    for size in (20, 24, 32, 64):
        view = augment.crops(4, size, shift=0.0)(stripes, generator(0))
        assert (view - 0.5).abs().max() < 0.3, size
        assert (view - 0.5).abs().mean() < 0.05, size


def test_crops_are_squares_turned_about_their_centre():
    """A ramp along x, seen by a view turned by a right angle, is a ramp along y of the same steepness."""
    ramp = torch.linspace(0, 1, 60).expand(1, 3, 30, 60)
    stage = augment.crops(1, 15, scale=(0.5, 0.5))
    draw = {"scale": torch.tensor([0.5]), "centre": torch.zeros(1, 2), "angle": torch.zeros(1)}
    straight = stage.apply(ramp, draw)[0, 0]
    turned = stage.apply(ramp, draw | {"angle": torch.tensor([math.pi / 2])})[0, 0]
    torch.testing.assert_close(straight.diff(dim=1), torch.full((15, 14), 1 / 59))
    torch.testing.assert_close(straight[7, 7], torch.tensor(0.5))
    torch.testing.assert_close(turned.diff(dim=0).abs(), torch.full((14, 15), 1 / 59), atol=1e-5, rtol=0)


def test_crops_stay_inside_without_shift_and_reach_both_ends_of_a_long_image():
    ramp = torch.linspace(0.1, 0.9, 80).expand(1, 3, 20, 80)
    views = augment.crops(64, 10, scale=(0.5, 1.0), shift=0.0, rotate=0.0, padding="zeros")(ramp, generator(0))
    assert views.min() > 0.09
    assert views.min() < 0.2
    assert views.max() > 0.8


def test_crops_cover_the_range_of_scales_in_one_step():
    scale = augment.crops(10, scale=(0.5, 1.5)).sample(generator(0))["scale"]
    assert ((scale - 0.5) * 10).floor().tolist() == list(range(10))


def test_bad_ranges_are_named():
    for build in (
        lambda: augment.crops(0),
        lambda: augment.crops(4, scale=(1.0, 0.5)),
        lambda: augment.affine(scale=(0.0, 1.0)),
        lambda: augment.perspective(1.0),
        lambda: augment.color(gray=2.0),
        lambda: augment.noise(-1.0),
        lambda: augment.blur(0.0),
        lambda: augment.cutout(1.5),
        lambda: augment.compose(),
        lambda: augment.compose(augment.crops(2), augment.crops(3)),
        lambda: augment.mix(),
        lambda: augment.details(0, 8),
        lambda: augment.overview(2, 8, scale=(0.0, 1.0)),
        lambda: augment.backdrop(augment.crops(2), slope=1.5),
        lambda: augment.wide_and_zoom(1, 8),
        lambda: augment.wide_and_zoom(4, 8, wide=1.5),
        lambda: augment.overview_to_detail(4, 8, switch=2.0),
        lambda: augment.overview_to_detail(4, 8)(1.1),
        lambda: augment.warp(pictures(), zoom=0.0),
        lambda: augment.mix(augment.crops(2, 8), augment.crops(2, 9))(pictures(), generator(0)),
        lambda: augment.backdrop(augment.crops(2, 8))(pictures()[:, :2], generator(0)),
    ):
        with pytest.raises(ValueError, match="got"):
            build()


# cutouts


def test_details_are_native_pixels_at_their_smallest():
    """A view of 8 pixels of an image in which every value stands once finds 8 neighbours of it, unchanged."""
    image = torch.arange(40 * 30.0).view(1, 1, 40, 30).expand(1, 3, -1, -1) / 1200
    stage = augment.details(1, 8, rotate=0.0)
    draw = {"scale": torch.tensor([1.0]), "centre": torch.zeros(1, 2), "angle": torch.zeros(1)}
    torch.testing.assert_close(stage.apply(image, draw)[0], image[0, :, 16:24, 11:19], atol=1e-5, rtol=0)
    whole = stage.apply(image[..., :30, :], draw | {"scale": torch.tensor([2.0])})
    torch.testing.assert_close(whole.mean(), image[..., :30, :].mean(), atol=2e-3, rtol=0)


@pytest.mark.parametrize("size", [(16, 48), (48, 16)])
def test_an_overview_holds_all_of_a_long_image(size):
    image = torch.ones(1, 3, *size)
    views = augment.overview(8, 24, scale=(1.0, 1.0), shift=0.0, rotate=0.0, padding="zeros")(image, generator(0))
    assert views.mean((1, 2, 3)).tolist() == pytest.approx([1 / 3] * 8, abs=0.03)


def test_a_mix_shares_out_any_number_of_rows():
    stage = augment.mix(augment.crops(3, 8), augment.crops(2, 8, scale=(2.0, 3.0)))
    assert stage.views == 5
    for count, expected in ((5, [3, 2]), (10, [6, 4]), (1, [1, 0]), (0, [0, 0])):
        drawn = stage.sample(generator(0), count)
        assert torch.bincount(drawn["population"], minlength=2).tolist() == expected
    scale = stage.sample(generator(0))["0.scale"][:3]
    assert ((scale - 0.6) * 6).floor().tolist() == [0, 1, 2]


def test_a_mix_gives_each_image_both_populations():
    stage = augment.mix(augment.color(gray=1.0), augment.color())
    gray = (stage.apply(pictures(), draws(stage, 2)).std(dim=1) < 1e-6).flatten(1).all(1)
    assert gray.tolist() == ([True] * 3 + [False] * 3) * 2


def test_a_backdrop_fills_what_lies_outside_and_what_is_transparent():
    stage = augment.backdrop(augment.crops(16, 12, scale=(2.0, 2.0), shift=0.0, rotate=0.0, padding="zeros"))
    views = stage.apply(torch.full((1, 3, 12, 12), 0.5), stage.sample(generator(0)) | {"0.centre": torch.zeros(16, 2)})
    torch.testing.assert_close(views[:, :, 5:7, 5:7], torch.full((16, 3, 2, 2), 0.5))
    corners = views[:, :, 0, 0]
    assert corners.std(0).min() > 0.1
    assert views.min() >= 0
    assert views.max() <= 1
    clear = torch.cat((pictures(1), torch.zeros(1, 1, 25, 31)), 1)
    other = torch.cat((1 - pictures(1), torch.zeros(1, 1, 25, 31)), 1)
    torch.testing.assert_close(stage(clear, generator(1)), stage(other, generator(1)))
    solid = torch.cat((pictures(1), torch.ones(1, 1, 25, 31)), 1)
    torch.testing.assert_close(stage(solid, generator(1)), stage(pictures(1), generator(1)))


def test_what_is_invisible_does_not_bleed_into_what_is_seen():
    layers = torch.ones(1, 4, 16, 16)
    layers[:, :3, :, 8:], layers[:, 3, :, 8:] = 0.0, 0.0
    plain = {"0.scale": torch.ones(1), "0.centre": torch.zeros(1, 2), "0.angle": torch.full((1,), 0.3)}
    white = plain | {"ground": torch.ones(1, 3, 2, 2)}
    assert augment.backdrop(augment.crops(1, 12, padding="border")).apply(layers, white).min() > 1 - 1e-5


def test_the_schedule_goes_from_overviews_to_details_with_as_many_views():
    schedule = augment.overview_to_detail(16, 8)
    shares = [torch.bincount(schedule(p).sample(generator(0))["population"]).tolist() for p in (0.0, 0.39, 0.4, 1.0)]
    assert shares == [[12, 4], [12, 4], [4, 12], [4, 12]]
    image = pictures(1, 40, 40)
    assert {len(schedule(progress)(image, generator(0))) for progress in (0.0, 0.7)} == {16}


# warp


def disc(x, y, size=64):
    """A soft spot with its middle at (x, y), from -1 at the left and upper edge to 1."""
    v, u = torch.meshgrid(
        (2 * torch.arange(size) + 1) / size - 1, (2 * torch.arange(size) + 1) / size - 1, indexing="ij"
    )
    return torch.exp(-((u - x) ** 2 + (v - y) ** 2) / 0.02).expand(1, 3, size, size)


def middle(image):
    size = image.shape[-1]
    axis = (2 * torch.arange(size) + 1) / size - 1
    weight = image[0, 0] / image[0, 0].sum()
    return (weight.sum(0) @ axis).item(), (weight.sum(1) @ axis).item()


@pytest.mark.parametrize(
    ("move", "expected"),
    [
        ({}, (0.4, -0.2)),
        ({"zoom": 1.5}, (0.6, -0.3)),
        ({"zoom": 0.8}, (0.32, -0.16)),
        ({"pan": (0.1, 0.0)}, (0.2, -0.2)),
        ({"pan": (0.0, 0.1)}, (0.4, -0.4)),
        ({"rotate": math.pi / 2}, (-0.2, -0.4)),
    ],
)
def test_warp_moves_the_picture_the_way_it_says(move, expected):
    assert middle(augment.warp(disc(0.4, -0.2), **move)) == pytest.approx(expected, abs=0.02)


def test_no_move_changes_nothing():
    torch.testing.assert_close(augment.warp(pictures()), pictures(), atol=1e-4, rtol=0)


def test_many_moves_blur_as_little_as_one():
    """Bilinear reading loses nine tenths of this texture on the way."""
    v, u = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    texture = (0.5 + 0.3 * torch.sin(0.9 * u + 0.3 * v)).expand(1, 3, 96, 96)
    image = texture
    for _ in range(40):
        image = augment.warp(image, rotate=0.02)
    once = augment.warp(texture, rotate=0.8)
    inner = (..., slice(30, 66), slice(30, 66))
    assert image[inner].std().item() == pytest.approx(once[inner].std().item(), rel=0.1)
    assert (image - once)[inner].abs().mean() < 0.01


def test_warp_mirrors_the_border():
    ramp = torch.linspace(0.2, 0.8, 32).expand(1, 3, 32, 32)
    moved = augment.warp(ramp, pan=(0.25, 0.0))
    torch.testing.assert_close(moved[..., :24], ramp[..., 8:], atol=0.01, rtol=0)
    torch.testing.assert_close(moved[..., 24:], ramp[..., 24:].flip(-1), atol=0.01, rtol=0)


# the other stages


@pytest.mark.parametrize(
    "stage",
    [
        augment.color(brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0, gray=0.0),
        augment.affine(rotate=0.0, shift=0.0, scale=(1.0, 1.0), shear=0.0),
        augment.perspective(0.0),
        augment.noise(0.0),
        augment.cutout(0.0),
    ],
)
def test_nothing_asked_for_is_nothing_done(stage):
    images = pictures()
    torch.testing.assert_close(stage.apply(images, draws(stage, 2)), images.repeat_interleave(6, 0), atol=1e-5, rtol=0)


def test_gray_happens_as_often_as_asked_for():
    image = pictures(1, 4, 4)

    def grey_views(probability):
        stage = augment.color(gray=probability)
        views = stage.apply(image, stage.sample(generator(0), 400))
        return (views.std(dim=1) < 1e-6).flatten(1).all(1).float().mean().item()

    assert grey_views(0.0) == 0
    assert grey_views(1.0) == 1
    assert abs(grey_views(0.25) - 0.25) < 0.08


def test_color_leaves_grey_pictures_grey_and_turns_hues():
    grey = torch.rand(1, 1, 4, 4, generator=generator(0)).expand(1, 3, 4, 4)
    views = augment.color(saturation=0.5, hue=1.0)(grey, generator(0))
    assert views.std(dim=1).max() < 1e-6
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)
    stage = augment.color(brightness=0.0, contrast=0.0, saturation=0.0, hue=3.0)
    turned = stage.apply(red, stage.sample(generator(0), 1) | {"hue": torch.tensor([2 * math.pi / 3])})
    torch.testing.assert_close(turned.flatten(), torch.tensor([0.0, 1, 0]), atol=1e-6, rtol=0)


def test_noise_has_mean_zero_and_its_std():
    image = torch.full((1, 3, 32, 32), 0.5)
    stage = augment.noise(0.1)
    added = stage.apply(image, stage.sample(generator(0), 64)) - image
    assert abs(added.mean().item()) < 5 * 0.1 / added.numel() ** 0.5
    assert abs(added.std().item() - 0.1) < 1e-3
    correlation = torch.corrcoef(added.flatten(1)) - torch.eye(64)
    assert correlation.abs().max() < 0.1


def test_blur_keeps_the_mean_and_takes_the_detail():
    board = ((torch.arange(32)[:, None] + torch.arange(32)) % 2).float().expand(1, 3, 32, 32)
    stage = augment.blur(2.0)
    views = stage.apply(board, {"sigma": torch.tensor([0.1, 0.6, 2.0])})
    torch.testing.assert_close(views.mean((1, 2, 3)), torch.full((3,), 0.5), atol=1e-3, rtol=0)
    deviation = views.std((1, 2, 3))
    assert deviation[0] > 0.49 > 0.3 > deviation[1] > deviation[2]
    assert deviation[2] < 0.01


def test_cutout_hides_its_share():
    image = torch.zeros(1, 3, 40, 40)
    stage = augment.cutout(0.5)
    views = stage.apply(image, {"centre": torch.tensor([[0.5, 0.5], [0.0, 0.0]])})
    assert views[0].mean().item() == pytest.approx(0.5 * 0.25)
    assert views[1].mean().item() == pytest.approx(0.5 * 0.0625)
    assert (views[0, :, 10:30, 10:30] == 0.5).all()


def test_perspective_moves_the_corners_where_the_draw_says():
    y, x = torch.meshgrid(torch.linspace(-1, 1, 201), torch.linspace(-1, 1, 201), indexing="ij")
    image = torch.stack((x, y, torch.zeros_like(x)))[None]
    moves = torch.tensor([[[0.2, 0.1], [-0.1, 0.2], [-0.3, -0.1], [0.1, -0.2]]])
    view = augment.perspective().apply(image, {"corners": moves})[0, :2]
    corners = torch.stack((view[:, 0, 0], view[:, 0, -1], view[:, -1, -1], view[:, -1, 0]))
    expected = torch.tensor([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]) + moves[0]
    torch.testing.assert_close(corners, expected, atol=0.02, rtol=0)


def test_composed_stages_run_in_order():
    grey_then_noise = augment.compose(augment.color(gray=1.0), augment.noise(0.2))
    noise_then_grey = augment.compose(augment.noise(0.2), augment.color(gray=1.0))
    assert grey_then_noise(pictures(), generator(0)).std(dim=1).mean() > 0.05
    assert noise_then_grey(pictures(), generator(0)).std(dim=1).max() < 1e-6
    assert augment.compose(augment.crops(5), augment.noise()).views == 5
