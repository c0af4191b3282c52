from functools import partial

import pytest
import torch

from clipopt.geometry.energy import (
    edge_length,
    jacobian_identity,
    laplacian,
    normal_consistency,
    self_intersection,
)
from clipopt.geometry.mesh import Mesh, icosphere
from clipopt.optimizers import AdamUniform
from clipopt.params import GivenLook, Jacobians, LargeSteps, NormalField, Surface, Texture, VertexColors, Vertices
from clipopt.types import generator

SHAPES = {"vertices": Vertices, "large_steps": LargeSteps, "jacobians": Jacobians, "normals": NormalField}
every = pytest.mark.parametrize("make", SHAPES.values(), ids=SHAPES)


def two_spheres(subdivisions=1):
    one, other = icosphere(subdivisions, 0.4), icosphere(subdivisions, 0.3)
    vertices = torch.cat([one.vertices, other.vertices + torch.tensor([2.0, 0, 0])])
    return Mesh(vertices, torch.cat([one.faces, other.faces + len(one.vertices)]))


@every
@pytest.mark.parametrize("start", [icosphere(2), two_spheres()], ids=["one", "two components"])
def test_a_shape_begins_at_its_mesh_and_gives_every_parameter_a_gradient(make, start):
    before = torch.get_rng_state()
    shape = make(start)
    assert torch.allclose(shape(), start.vertices, atol=1e-6)
    assert torch.equal(shape(), shape())
    shape().square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in shape.parameters())
    assert torch.equal(torch.get_rng_state(), before)


@every
def test_a_shape_passes_a_gradient_check(make):
    shape = make(icosphere(0)).double()
    (parameter,) = shape.parameters()
    start = parameter.detach() + 0.05 * torch.randn(parameter.shape, generator=generator(0), dtype=torch.float64)

    def run(value):
        return torch.func.functional_call(shape, {next(iter(dict(shape.named_parameters()))): value}, ())

    assert torch.autograd.gradcheck(run, start.requires_grad_(), atol=1e-5)


@every
def test_state_round_trips_and_the_fit_falls(make):
    start, shape = icosphere(2), make(icosphere(2))
    goal = start.vertices * (1 + 0.05 * torch.sin(3 * start.vertices[:, :1]))
    optimizer = AdamUniform(shape.parameters(), lr=0.03 if make is LargeSteps else 0.01)
    errors = []
    for _ in range(40):
        optimizer.zero_grad()
        error = (shape() - goal).square().sum(1).mean()
        error.backward()
        optimizer.step()
        errors.append(error.item())
    assert errors[-1] < 0.5 * errors[0]
    other = make(start)
    other.load_state_dict(shape.state_dict())
    assert torch.equal(other(), shape())


def test_one_step_of_large_steps_moves_a_region_and_one_of_vertices_a_point():
    start = icosphere(3)
    moved = {}
    for name in ("vertices", "large_steps"):
        shape = SHAPES[name](start)
        shape()[0, 0].backward()
        AdamUniform(shape.parameters(), lr=0.1).step()
        moved[name] = (shape() - start.vertices).norm(dim=1)
    assert (moved["vertices"] > 1e-6).sum() == 1
    assert (moved["large_steps"] > 0.05 * moved["large_steps"].max()).sum() > 15


def test_jacobians_of_a_linear_map_make_that_map_about_each_centre():
    start = two_spheres()
    shape = Jacobians(start)
    matrix = torch.tensor([[1.2, 0.3, 0.0], [0.0, 0.8, 0.1], [0.2, 0.0, 1.0]])
    with torch.no_grad():
        shape.jacobians.copy_(matrix.expand_as(shape.jacobians))
    for part in (slice(0, 42), slice(42, 84)):
        centre = start.vertices[part].mean(0)
        assert torch.allclose(shape()[part], (start.vertices[part] - centre) @ matrix.T + centre, atol=1e-5)
    assert jacobian_identity(shape.jacobians).item() == pytest.approx((matrix - torch.eye(3)).square().sum().item())


def test_heights_have_a_limit():
    shape = NormalField(icosphere(2), limit=0.2)
    with torch.no_grad():
        shape.heights.fill_(100.0)
    assert torch.allclose(shape().norm(dim=1), torch.tensor(1.2), atol=1e-3)


def test_a_surface_wears_its_look():
    start = icosphere(1)
    plain = Surface(start, Vertices(start))()
    assert plain.colors is None
    assert plain.texture is None
    start = Mesh(start.vertices, start.faces, torch.rand(start.vertices.shape, generator=generator(4)))
    surface = Surface(start, Vertices(start), VertexColors(start))
    assert torch.allclose(surface().colors, start.colors.clamp(1 / 255, 254 / 255), atol=1e-6)
    assert surface().edges is surface().edges
    textured = Surface(start, Vertices(start), Texture(start, size=64))()
    assert textured.uv.shape == (80, 3, 2)
    assert textured.texture.shape == (3, 64, 64)
    again = Surface(textured, Vertices(textured), Texture(textured))()
    assert torch.allclose(again.texture, textured.texture, atol=1e-5)
    with pytest.raises(ValueError, match="size of at least 42"):
        Texture(start, size=32)


def test_colours_begin_as_they_are_and_a_layer_paints_as_far_as_it_spreads():
    start = icosphere(3)
    start = Mesh(start.vertices, start.faces, 0.5 + 0.4 * start.vertices)
    look = VertexColors(start, spreads=(0.0, 3.0, 30.0))
    assert torch.allclose(look()[0], start.colors, atol=1e-5)
    reach = []
    for layer in range(3):
        with torch.no_grad():
            look.layers[layer, 7] += 5.0
            changed = (look()[0] - start.colors).abs().amax(1)
            look.layers[layer, 7] -= 5.0
        reach.append(int((changed > 0.05 * changed.max()).sum()))
    assert reach[0] == 1 < 5 < reach[1] < reach[2]
    for wrong in ((), (1.0, -1.0)):
        with pytest.raises(ValueError, match="spreads of 0 or more"):
            VertexColors(start, spreads=wrong)


def test_a_given_look_stays():
    start = Mesh(icosphere(1).vertices, icosphere(1).faces, torch.rand(42, 3, generator=generator(4)))
    surface = Surface(start, Vertices(start), GivenLook(start))
    assert torch.equal(surface().colors, start.colors)
    assert [name for name, _ in surface.named_parameters()] == ["shape.vertices"]
    assert Surface(icosphere(1), Vertices(icosphere(1)), GivenLook(icosphere(1)))().colors is None


def test_one_scale_for_all_or_one_for_each():
    steps = {}
    for uniform in (True, False):
        x = torch.nn.Parameter(torch.zeros(2))
        optimizer = AdamUniform([{"params": [x], "uniform": uniform}], lr=0.1)
        (x * torch.tensor([1.0, 0.01])).sum().backward()
        optimizer.step()
        steps[uniform] = x.tolist()
    assert steps[True] == pytest.approx([-0.1, -0.001])
    assert steps[False] == pytest.approx([-0.1, -0.1])


def test_energies_know_smooth_from_rough():
    smooth = icosphere(3)
    noise = 0.03 * torch.randn(smooth.vertices.shape, generator=generator(2))
    rough = Mesh(smooth.vertices + noise, smooth.faces)
    for energy in (laplacian, normal_consistency, edge_length):
        assert energy(rough) > 3 * energy(smooth) > 0
        assert energy(Mesh(5 * rough.vertices, rough.faces)).item() == pytest.approx(energy(rough).item(), rel=1e-3)
        vertices = smooth.vertices.clone().requires_grad_()
        energy(Mesh(vertices, smooth.faces)).backward()
        assert torch.isfinite(vertices.grad).all()
    flat = Mesh(torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]]), torch.tensor([[0, 1, 2], [0, 2, 3]]))
    assert normal_consistency(flat).item() == pytest.approx(0, abs=1e-6)
    assert normal_consistency(Mesh(flat.vertices, torch.tensor([[0, 1, 2], [0, 3, 2]]))).item() == pytest.approx(2)


def test_self_intersection_counts_the_faces_that_cross():
    assert self_intersection(icosphere(3)) == 0
    apart = two_spheres()
    assert self_intersection(apart) == 0
    together = Mesh(apart.vertices - torch.tensor([1.5, 0, 0]) * (apart.vertices[:, :1] > 1), apart.faces)
    assert 0.05 < self_intersection(together) < 0.6
    # A needle through one of two triangles that lie apart, the third is the needle's own.
    vertices = [
        [0.0, 0, 0],
        [1, 0, 0],
        [0, 1, 0],
        [5, 0, 0],
        [6, 0, 0],
        [5, 1, 0],
        [0.2, 0.2, -1],
        [0.2, 0.2, 1],
        [2, 2, 0],
    ]
    mesh = Mesh(torch.tensor(vertices), torch.arange(9).view(3, 3))
    assert self_intersection(mesh) == pytest.approx(2 / 3)


def test_adam_uniform_keeps_the_direction_and_bounds_the_step():
    x = torch.nn.Parameter(torch.zeros(3))
    x.grad = torch.tensor([4.0, 1.0, 0.0])
    AdamUniform([x], lr=0.1).step()
    assert x.tolist() == pytest.approx([-0.1, -0.025, 0])


def test_adam_uniform_resumes_exactly():
    def run(stop):
        x = torch.nn.Parameter(torch.ones(4))
        optimizer = AdamUniform([x], lr=0.1)
        for step in range(6):
            if step == stop:
                state, value = optimizer.state_dict(), x.detach().clone()
                x = torch.nn.Parameter(value)
                optimizer = AdamUniform([x], lr=0.1)
                optimizer.load_state_dict(state)
            x.grad = 2 * x.detach() * torch.tensor([1.0, 2, 3, 4])
            optimizer.step()
        return x.detach()

    assert torch.equal(run(3), run(99))


@pytest.mark.parametrize(
    "make",
    [
        partial(LargeSteps, icosphere(0), smooth=-1.0),
        partial(NormalField, icosphere(0), limit=0.0),
        partial(AdamUniform, [torch.zeros(1, requires_grad=True)], lr=-1.0),
    ],
)
def test_bad_input_is_named(make):
    with pytest.raises(ValueError, match="got"):
        make()
