import math
from dataclasses import replace

import pytest
import torch

from clipopt.geometry.mesh import Mesh, find_edges, fit, icosphere, subdivide, vertex_normals, volume


def test_an_icosphere_is_a_closed_sphere_that_looks_outward():
    sphere = icosphere(3, radius=0.5)
    assert len(sphere.faces) == 1280
    assert len(sphere.vertices) - len(sphere.edges.ends) + len(sphere.faces) == 2
    assert torch.allclose(sphere.vertices.norm(dim=1), torch.tensor(0.5))
    assert volume(sphere.vertices, sphere.faces).item() == pytest.approx(4 / 3 * math.pi * 0.125, rel=0.02)
    normals = vertex_normals(sphere.vertices, sphere.faces)
    assert ((normals * sphere.vertices).sum(1) > 0.49).all()


def test_edges_know_their_faces():
    # Two triangles that share (0, 1), a third sheet on it, and so one edge with three faces and six with one.
    faces = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]])
    edges = find_edges(faces)
    assert edges.ends.tolist() == [[0, 1], [0, 2], [0, 3], [0, 4], [1, 2], [1, 3], [1, 4]]
    assert edges.count.tolist() == [3, 1, 1, 1, 1, 1, 1]
    assert edges.opposite[0].tolist() == [2, 3, 4]
    assert edges.sides[0].tolist() == [0, 1, 2]
    assert edges.opposite[1].tolist() == [1, 1, 1]
    assert edges.sides[2].tolist() == [1, 1, 1]
    assert find_edges(faces[:0]).ends.shape == (0, 2)


def test_edges_are_handed_on_with_the_faces_and_only_with_them():
    sphere = icosphere(1)
    assert replace(sphere, vertices=2 * sphere.vertices).edges is sphere.edges
    assert len(replace(sphere, faces=sphere.faces[:1].clone()).edges.ends) == 3


def test_subdivision_keeps_the_surface_and_interpolates_colours():
    mesh = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), torch.eye(3))
    fine = subdivide(mesh)
    assert fine.faces.shape == (4, 3)
    assert torch.allclose(fine.vertices.sum(1), torch.ones(6))
    assert torch.allclose(fine.colors, fine.vertices)
    normals = torch.linalg.cross(
        fine.vertices[fine.faces[:, 1]] - fine.vertices[fine.faces[:, 0]],
        fine.vertices[fine.faces[:, 2]] - fine.vertices[fine.faces[:, 0]],
    )
    assert (normals.sum(1) > 0).all(), "a face was turned over"


def test_fit_centres_and_scales():
    fitted = fit(torch.tensor([[1.0, 0, 0], [5, 0, 0], [3, 1, 0]]))
    assert fitted[:2].tolist() == [[-1, pytest.approx(-0.25, abs=0.02), 0], [1, pytest.approx(-0.25, abs=0.02), 0]] or (
        fitted.norm(dim=1).max().item() == pytest.approx(1)
    )


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="subdivisions must be 0 or more"):
        icosphere(-1)
