"""New triangles for the same surface."""

import pytest
import torch

from clipopt.geometry.energy import self_intersection
from clipopt.geometry.mesh import Mesh, face_normals, icosphere, volume
from clipopt.geometry.remesh import edge_for, remesh, with_faces
from clipopt.geometry.repair import examine
from clipopt.io.mesh import primitive
from clipopt.types import generator


def lengths(mesh: Mesh) -> torch.Tensor:
    a, b = mesh.vertices[mesh.edges.ends].unbind(1)
    return (a - b).norm(dim=1)


def bumpy(subdivisions: int = 3) -> Mesh:
    """An egg with waves, coloured by place."""
    ball = icosphere(subdivisions)
    x, y, _ = ball.vertices.unbind(1)
    waves = 1 + 0.1 * torch.sin(5 * x) * torch.cos(4 * y)
    vertices = ball.vertices * waves[:, None] * torch.tensor([1.0, 1.8, 0.7])
    return Mesh(vertices, ball.faces, (ball.vertices + 1) / 2)


@pytest.mark.parametrize("faces", [300, 1300, 4000])
def test_closed_surface_stays_closed_in_its_place_with_even_triangles(faces: int):
    start = bumpy()
    mesh = with_faces(start, faces)
    health = examine(mesh)
    assert (health.watertight, health.genus, health.components) == (True, 0, 1)
    assert 0.7 * faces < len(mesh.faces) < 1.6 * faces
    assert lengths(mesh).std() / lengths(mesh).mean() < 0.2 < lengths(start).std() / lengths(start).mean()
    assert volume(mesh.vertices, mesh.faces) == pytest.approx(
        float(volume(start.vertices, start.faces)), rel=0.08 if faces > 500 else 0.12
    )
    assert self_intersection(mesh) == 0
    # Every vertex is near the old surface, and has the colour of the place.
    near = torch.cdist(mesh.vertices, start.vertices).min(1)
    assert near.values.max() < lengths(start).max()
    assert (mesh.colors - start.colors[near.indices]).abs().max() < 0.25
    assert set(mesh.faces.unique().tolist()) == set(range(len(mesh.vertices)))


def test_handles_stay():
    torus = primitive("torus", 1500)
    assert examine(torus).genus == 1
    assert examine(with_faces(torus, 400)).genus == 1


def test_rims_stay():
    ball = icosphere(2)
    bowl = Mesh(ball.vertices, ball.faces[face_normals(ball.vertices, ball.faces)[:, 1] < 0.2])
    before = examine(bowl)
    mesh = with_faces(bowl, 900)
    after = examine(mesh)
    assert before.boundary <= after.boundary
    assert (after.tangled, after.components) == (0, 1)
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    torch.testing.assert_close(torch.stack([low, high]), torch.stack([ball.vertices.amin(0), high]), atol=0.1, rtol=0)


def test_fan_of_three_sheets_is_left_together():
    vertices = torch.tensor([[0.0, 0, 0], [0, 1, 0], [1, 0, 0], [-1, 0, 0.5], [-1, 0, -0.5]])
    mesh = with_faces(Mesh(vertices, torch.tensor([[0, 2, 1], [0, 1, 3], [0, 1, 4]])), 200)
    assert len(mesh.faces) > 50
    assert examine(mesh).tangled > 1
    assert torch.isfinite(mesh.vertices).all()


def test_same_mesh_each_time_and_noise_is_survived():
    start = bumpy()
    rough = Mesh(start.vertices + 0.08 * torch.randn(start.vertices.shape, generator=generator(0)), start.faces)
    one, other = with_faces(rough, 900), with_faces(rough, 900)
    assert torch.equal(one.vertices, other.vertices)
    assert examine(one).watertight
    assert examine(one).genus == 0


@pytest.mark.parametrize("edge", [0.0, -1.0, float("nan"), float("inf")])
def test_edge_must_be_a_length(edge: float):
    with pytest.raises(ValueError, match="edge length above 0"):
        remesh(icosphere(1), edge)


def test_nothing_stays_nothing():
    none = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long))
    assert len(remesh(none, 1.0).faces) == 0
    assert edge_for(icosphere(3), 1280) == pytest.approx(float(lengths(icosphere(3)).mean()), rel=0.05)
