import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional as F

from clipopt.geometry.camera import look_at, orbit, turntable
from clipopt.geometry.mesh import Mesh, icosphere
from clipopt.render.draw import draw, silhouettes
from clipopt.render.raster import NOTHING, rasterize
from clipopt.render.shade import GREY, Light
from clipopt.render.silhouette import _unseen_share
from clipopt.types import generator

GREEN = torch.tensor([0.1, 0.9, 0.2])


def bumpy(subdivisions):
    sphere = icosphere(subdivisions)
    v = sphere.vertices
    bump = torch.sin(5 * v[:, :1]) * torch.sin(5 * v[:, 1:2] + 1) * torch.sin(5 * v[:, 2:] + 2)
    return coloured(replace(sphere, vertices=v * (1 + 0.5 * bump)))


def torus(major, minor):
    i, j = torch.arange(major)[:, None], torch.arange(minor)
    a, b = 2 * math.pi * i / major, 2 * math.pi * j / minor
    level = 0.7 + 0.32 * b.cos()
    vertices = torch.stack([level * a.cos(), level * a.sin(), (0.32 * b.sin()).expand(major, -1)], -1).view(-1, 3)
    p, q = i * minor + j, (i + 1) % major * minor + j
    s, t = i * minor + (j + 1) % minor, (i + 1) % major * minor + (j + 1) % minor
    faces = torch.stack([torch.stack([p, q, t], -1), torch.stack([p, t, s], -1)]).view(-1, 3)
    return coloured(Mesh(vertices, faces))


def pair():
    """A small disc-like solid in front of a large one: a silhouette inside of another."""
    front, back = icosphere(2, 0.35), icosphere(2, 0.8)
    near = front.vertices + torch.tensor([0.25, 0.1, 1.0])
    faces = torch.cat([front.faces, back.faces + len(near)])
    colors = torch.cat([torch.tensor([[0.9, 0.2, 0.1]]).expand(len(near), 3), torch.full_like(back.vertices, 0.3)])
    return Mesh(torch.cat([near, back.vertices]), faces, colors)


def coloured(mesh):
    x, y, z = mesh.vertices.unbind(1)
    colors = torch.stack([torch.sin(4 * x), torch.cos(3 * y), torch.sin(5 * z + 1)], -1)
    return replace(mesh, colors=0.5 + 0.5 * colors)


def around(count, distance=2.6, fov=60):
    azimuth, elevation = torch.tensor([0.3, 2.1, 4.4])[:count], torch.tensor([0.4, -0.2, 0.1])[:count]
    return look_at(orbit(azimuth, elevation, torch.full((count,), distance)), fov=math.radians(fov))


def functional(size):
    """A smooth linear functional of pictures."""
    y, x = torch.meshgrid(*[(torch.arange(size) + 0.5) / size] * 2, indexing="ij")
    return torch.stack([torch.sin(7 * x + 3 * y), torch.cos(5 * y - 2 * x), torch.sin(6 * x * y + 1)])


def slopes(mesh, move, cameras, size, *, fine, h=0.01):
    """d(functional) / d(motion) by autograd at `size` pixels, and by differences of pictures `fine` times as large."""

    def value(e, side):
        view = draw(
            replace(mesh, vertices=move(mesh.vertices, e)),
            cameras,
            GREEN.view(1, 3, 1, 1).expand(1, 3, side, side),
            light=Light(F.normalize(cameras.eye, dim=-1), 1.0),
        )
        return (view * functional(side)).mean()

    e = torch.tensor(0.0, requires_grad=True)
    (slope,) = torch.autograd.grad(value(e, size), e)
    with torch.no_grad():
        return slope.item(), ((value(h, fine * size) - value(-h, fine * size)) / (2 * h)).item()


def turn(v, e):
    e = torch.as_tensor(e)
    x, y, z = v.unbind(1)
    return torch.stack([x * e.cos() + z * e.sin(), y, z * e.cos() - x * e.sin()], -1)


MOTIONS = {
    "scale": lambda v, e: v * (1 + e),
    "translation": lambda v, e: v + e * torch.tensor([0.6, 0.8, 0.0]),
    "rotation": turn,
    "waves": lambda v, e: v + e * 0.5 * torch.sin(3 * v.roll(1, dims=1) + torch.tensor([0.0, 1, 2])),
}


@pytest.mark.parametrize("make", [lambda: torus(48, 24), lambda: bumpy(4), pair], ids=["torus", "bumpy", "pair"])
def test_gradients_agree_with_differences(make):
    pairs = [slopes(make(), move, around(2), 224, fine=2) for move in MOTIONS.values()]
    error = sum(abs(slope - difference) for slope, difference in pairs) / sum(abs(d) for _, d in pairs)
    assert error < 0.05, pairs


@pytest.mark.parametrize("distance", [0.15, 0.3, 0.5, 0.8, 1.0])
def test_slopes_at_pixels_and_the_edge_add_up_on_round_surfaces(distance):
    """A colour that falls like the root of the distance to the outline, sampled at pixel centres."""
    count = 4000
    inside = (0.5 / (distance + torch.arange(count, dtype=torch.float64)).sqrt()).sum().item()
    whole = math.sqrt(distance + count - 0.5)
    share = _unseen_share(torch.tensor(distance)).item()
    assert math.sqrt(distance) * (1 - share) == pytest.approx(whole - inside, abs=0.03)


def test_an_occluding_outline_has_a_gradient():
    """Only the small sphere in front moves, and its outline lies wholly before the large one."""
    mesh = pair()
    small = (torch.arange(len(mesh.vertices)) < 162)[:, None]
    camera = look_at(torch.tensor([[0.0, 0, 3]]))
    for direction in ([1.0, 0, 0], [0.0, 1, 0]):
        slope, difference = slopes(mesh, lambda v, e, d=direction: v + e * small * torch.tensor(d), camera, 224, fine=2)
        assert slope == pytest.approx(difference, rel=0.05)


def test_the_area_of_a_fine_sphere_grows_as_it_should():
    """The slivers at its outline are smaller than a pixel: where antialiasing asks visible triangles, this fails."""
    sphere, camera = icosphere(4), around(1, distance=3.0)
    scale = torch.tensor(1.0, requires_grad=True)
    (slope,) = torch.autograd.grad(
        silhouettes(replace(sphere, vertices=scale * sphere.vertices), camera, (96, 96)).mean(), scale
    )
    radius = 48 / math.tan(math.radians(30))

    def covered(r):
        return math.pi * (radius * r / math.sqrt(9 - r * r)) ** 2 / 96**2

    assert slope.item() == pytest.approx((covered(1.01) - covered(0.99)) / 0.02, rel=0.02)


def test_colours_have_the_gradient_of_a_linear_map():
    mesh, camera, background = bumpy(2), around(2), torch.rand(1, 3, 40, 40, generator=generator(0))
    colors = mesh.colors.double().requires_grad_()
    double = replace(mesh, vertices=mesh.vertices.double(), colors=colors)
    wide = replace(camera, matrix=camera.matrix.double(), eye=camera.eye.double())
    weight = functional(40).double()

    def value(c):
        return (draw(replace(double, colors=c), wide, background.double()) * weight).sum()

    (slope,) = torch.autograd.grad(value(colors), colors)
    step = torch.randn(colors.shape, generator=generator(1), dtype=torch.float64)
    with torch.no_grad():
        assert (slope * step).sum().item() == pytest.approx((value(colors + step) - value(colors)).item(), rel=1e-6)


def test_vertices_pass_a_gradient_check_away_from_the_rasters_jumps():
    vertices = torch.tensor([[-0.7, -0.6, 0.1], [0.8, -0.5, 0], [0.1, 0.7, -0.2]], dtype=torch.float64)
    mesh = Mesh(vertices, torch.tensor([[0, 1, 2]]), torch.eye(3, dtype=torch.float64))
    camera = look_at(torch.tensor([[0.0, 0, 3]], dtype=torch.float64))
    light = Light(torch.tensor([[0.0, 0, 1]], dtype=torch.float64), 1.0)
    background = torch.zeros(1, 3, 12, 12, dtype=torch.float64)

    def seen(v):
        return draw(replace(mesh, vertices=v), camera, background, light=light)[..., 5:8, 5:7]

    assert torch.autograd.gradcheck(seen, vertices.requires_grad_(), eps=1e-6, atol=1e-5)


def test_the_nearer_surface_is_seen_and_its_texture_follows_perspective():
    # A floor that recedes: halfway up the picture lies much farther than halfway along the floor.
    vertices = torch.tensor([[-1.0, -1, 1], [1, -1, 1], [1, -1, -30], [-1, -1, -30]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    colors = torch.tensor([[0.0, 0, 0], [0, 0, 0], [1, 1, 1], [1, 1, 1]])
    camera = look_at(torch.tensor([[0.0, 0, 3]]), torch.tensor([[0.0, 0, 0]]))
    light = Light(torch.tensor([[0.0, 1, 0]]), 1.0)
    picture = draw(Mesh(vertices, faces, colors), camera, torch.zeros(1, 3, 200, 200), light=light)
    # The ray through this row meets the floor at depth w: y = -1 there.
    row = 150
    w = 1 / (((row + 0.5) / 100 - 1) * math.tan(math.radians(25)))
    assert picture[0, 0, row, 100].item() == pytest.approx((w - 2) / 31, abs=1e-3)


def test_left_right_up_and_down_on_the_picture():
    """From +x, what lies at +z is in the left half, and what lies at +y in the upper half."""
    small = icosphere(2, 0.2)
    camera = look_at(torch.tensor([[3.0, 0, 0]]))
    for shift, half in (([0, 0, 0.6], (slice(None), slice(0, 32))), ([0, 0.6, 0], (slice(0, 32), slice(None)))):
        mask = silhouettes(replace(small, vertices=small.vertices + torch.tensor(shift)), camera, (64, 64))[0]
        assert mask.sum() > 50
        assert mask[half].sum() == pytest.approx(mask.sum().item())


def test_order_of_depth_does_not_depend_on_the_order_of_faces():
    mesh, camera = pair(), look_at(torch.tensor([[0.0, 0, 3]]))
    red = draw(mesh, camera, torch.zeros(1, 3, 48, 48))[0, :, 20, 32]
    assert red[0] > 2 * red[1]
    turned = draw(replace(mesh, faces=mesh.faces.flip(0)), camera, torch.zeros(1, 3, 48, 48))[0, :, 20, 32]
    assert torch.allclose(red, turned)


def test_neighbours_leave_no_gap():
    """Every pixel inside the outline of a closed mesh sees it, at a size where faces are smaller than pixels too."""
    for size in (17, 64, 200):
        ids, depth = rasterize(around(1).project(icosphere(4).vertices), icosphere(4).faces, (size, size))
        hit = ids[0] >= 0
        assert torch.equal(hit, depth[0] < NOTHING)
        for row in hit[hit.any(1)]:
            run = row.nonzero()[:, 0]
            assert len(run) == run[-1] - run[0] + 1


def test_light_comes_from_where_the_lamp_is_and_both_sides_are_lit():
    sphere, camera = icosphere(3), look_at(torch.tensor([[0.0, 0, 3]]))
    picture = draw(sphere, camera, torch.zeros(1, 3, 64, 64), light=Light(torch.tensor([[1.0, 0, 0]]), 0.2))[0, 0]
    assert picture[32, 46] > 2 * picture[32, 18]
    assert picture[32, 18].item() == pytest.approx(0.2 * GREY, rel=0.05)
    inside_out = replace(sphere, faces=sphere.faces.flip(1))
    again = draw(inside_out, camera, torch.zeros(1, 3, 64, 64), light=Light(torch.tensor([[1.0, 0, 0]]), 0.2))[0, 0]
    assert torch.allclose(again, picture, atol=1e-4)


def test_textureless_pictures_are_grey():
    picture = draw(bumpy(2), around(2), torch.full((1, 3, 32, 32), 0.5), textureless=torch.tensor([False, True]))
    spread = picture.amax(1) - picture.amin(1)
    assert spread[0].max() > 0.3
    assert spread[1].max() < 1e-5


def test_a_texture_lies_as_its_coordinates_say():
    texture = torch.zeros(3, 8, 8)
    texture[0, :4] = 1  # the upper half is red, the lower right is green
    texture[1, 4:, 4:] = 1
    corners = torch.tensor([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    vertices = torch.cat([2 * corners - 1, torch.zeros(4, 1)], 1)
    mesh = Mesh(vertices, faces, uv=corners[faces], texture=texture.requires_grad_())
    light = Light(torch.tensor([[0.0, 0, 1]]), 1.0)
    picture = draw(mesh, look_at(torch.tensor([[0.0, 0, 3]])), torch.zeros(1, 3, 60, 60), light=light)[0]
    assert picture[:, 20, 30].tolist() == pytest.approx([1, 0, 0])
    assert picture[:, 42, 40].tolist() == pytest.approx([0, 1, 0])
    assert picture[:, 42, 20].tolist() == pytest.approx([0, 0, 0])
    picture.sum().backward()
    assert (texture.grad > 0).all()


@pytest.mark.parametrize(
    "mesh",
    [
        Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long)),
        Mesh(torch.tensor([[0.0, 0, 9], [1, 0, 9], [0, 1, 9]]), torch.tensor([[0, 1, 2]])),
        Mesh(torch.tensor([[90.0, 0, 0], [91, 0, 0], [90, 1, 0]]), torch.tensor([[0, 1, 2]])),
        Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0]]), torch.tensor([[0, 1, 2]])),
        Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 1, 0]]), torch.tensor([[1, 1, 1], [0, 1, 1]])),
    ],
    ids=["empty", "behind", "beside", "collinear", "degenerate"],
)
def test_what_cannot_be_seen_leaves_the_background_and_no_gradient_but_0(mesh):
    vertices = mesh.vertices.clone().requires_grad_()
    background = torch.rand(2, 3, 24, 24, generator=generator(3))
    cameras = look_at(torch.tensor([[0.0, 0, 3], [0.1, 0, 3]]))
    picture = draw(replace(mesh, vertices=vertices), cameras, background)
    assert torch.equal(picture, background)
    (picture.sum() + 0 * vertices.sum()).backward()
    assert torch.equal(vertices.grad, torch.zeros_like(vertices))


def test_faces_that_cross_the_near_plane_are_cut_there():
    """A floor from far ahead to behind the camera fills the lower half of the picture, in one piece and in many."""
    camera = look_at(torch.tensor([[0.0, 0, 3]]))
    vertices = torch.tensor([[-50.0, -0.5, 9], [50, -0.5, 9], [50, -0.5, -40], [-50, -0.5, -40]]).requires_grad_()
    floor = Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.ones(4, 3))
    picture = draw(floor, camera, torch.zeros(1, 3, 32, 32), light=Light(torch.tensor([[0.0, 1, 0]]), 0.0))[0, 0]
    assert (picture[18:] > 0.99).all()
    assert (picture[:16] == 0).all()
    picture.sum().backward()
    assert torch.isfinite(vertices.grad).all()


def test_open_meshes_have_a_gradient_at_their_boundary():
    vertices = torch.tensor([[-0.5, -0.5, 0], [0.5, -0.5, 0], [0.5, 0.5, 0], [-0.5, 0.5, 0]])
    sheet = Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    scale = torch.tensor(1.0, requires_grad=True)
    camera = look_at(torch.tensor([[0.0, 0, 3]]))
    mask = silhouettes(replace(sheet, vertices=scale * vertices), camera, (128, 128))
    (slope,) = torch.autograd.grad(mask.sum(), scale)
    assert slope.item() == pytest.approx(2 * mask.sum().item(), rel=0.03)


def test_sheets_that_meet_in_one_edge_are_no_silhouette_there():
    """Three sheets on the y axis, one to either side and one toward the eye: the middle line is inside the picture."""
    vertices = torch.tensor([[0.0, -0.6, 0], [0, 0.6, 0], [-0.7, 0, 0], [0.7, 0, 0], [0.02, 0, 0.6]])
    mesh = Mesh(vertices, torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]]))
    mask = silhouettes(mesh, look_at(torch.tensor([[0.0, 0, 3]])), (48, 48))[0]
    assert (mask[20:28, 19:29] == 1).all()


def test_groups_of_views_change_nothing_but_the_memory():
    mesh, cameras, background = bumpy(2), turntable(5), torch.rand(5, 3, 24, 24, generator=generator(7))

    def run(memory):
        vertices = mesh.vertices.clone().requires_grad_()
        picture = draw(replace(mesh, vertices=vertices), cameras, background, memory=memory)
        return picture, torch.autograd.grad((picture * functional(24)).sum(), vertices)[0]

    whole, slope = run(1e9)
    parts, slope_of_parts = run(1e6)
    assert torch.allclose(whole, parts, atol=1e-5)
    assert torch.allclose(slope, slope_of_parts, atol=1e-4)
    clip = cameras.project(mesh.vertices)
    for one, other in zip(
        rasterize(clip, mesh.faces, (24, 24)), rasterize(clip, mesh.faces, (24, 24), fragments=500), strict=True
    ):
        assert torch.equal(one, other)


def test_the_same_picture_every_time():
    mesh, cameras, background = bumpy(3), turntable(2), torch.zeros(1, 3, 40, 40)
    assert torch.equal(draw(mesh, cameras, background), draw(mesh, cameras, background))


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="backgrounds for 1 or 3 cameras"):
        draw(icosphere(0), turntable(3), torch.zeros(2, 3, 8, 8))


def test_the_gradient_does_not_depend_on_the_number_of_threads():
    """Sums over pixels, faces and edges are taken in one order; indexing would take them as threads come."""
    mesh, cameras, found = bumpy(4), around(3), []
    background, threads = torch.rand(3, 3, 160, 160, generator=generator(2)), torch.get_num_threads()
    weights = torch.randn(3, 3, 160, 160, generator=generator(3))
    try:
        for count in (1, 3, 7):
            torch.set_num_threads(count)
            vertices, colors = mesh.vertices.clone().requires_grad_(), mesh.colors.clone().requires_grad_()
            picture = draw(replace(mesh, vertices=vertices, colors=colors), cameras, background)
            found.append([picture.detach(), *torch.autograd.grad((picture * weights).sum(), (vertices, colors))])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        for first, again in zip(found[0], other, strict=True):
            assert torch.equal(first, again)
