import math

import pytest
import torch

from clipopt.geometry.mesh import face_normals, volume
from recipes.embedded.props.forms import arc, ball, box, cylinder, join, moved, slab, tube, turned

C = (0.2, 0.4, 0.6)


@pytest.mark.parametrize(
    ("mesh", "size"),
    [
        (ball(C, 1), 4 / 3 * math.pi),
        (ball(C, (1, 2, 0.5), at=(3, 1, 0)), 4 / 3 * math.pi),
        (box(C, (1, 2, 3), turn=(0.3, 1, 2)), 6),
        (cylinder(C, 1, 2), 2 * math.pi),
        (cylinder(C, 1, 2, top=0), 2 / 3 * math.pi),
        (cylinder(C, 1, 1.5, top=0, sides=4), 1),
        (slab(C, [(0, 0), (1, 0), (0, 1)], 2), 1),
        (tube(C, [(0, 0, 0), (0, 5, 0)], 1), 5 * math.pi + 4 / 3 * math.pi),
        (tube(C, arc(2, 0, 2 * math.pi * 31 / 32, 32), 0.5, closed=True), math.pi**2),
        (turned(C, [(0, 1), (1, 0), (1, 0), (0, 0)], sides=4, flat=True), 2 / 3),
    ],
)
def test_forms_look_outward_and_hold_what_geometry_says(mesh, size):
    assert float(volume(mesh.vertices, mesh.faces)) == pytest.approx(size, rel=0.09)
    assert mesh.colors is not None
    assert mesh.colors.shape == mesh.vertices.shape
    assert torch.allclose(mesh.colors, torch.tensor(C))


def test_turns_are_about_x_then_y_then_z_and_right_handed():
    tip = moved(box(C, (0.01, 0.01, 0.01), at=(0, 1, 0)), turn=(math.pi / 2, 0, 0)).vertices.mean(0)
    assert torch.allclose(tip, torch.tensor([0.0, 0, 1]), atol=0.01)
    tip = moved(box(C, (0.01, 0.01, 0.01), at=(0, 1, 0)), turn=(math.pi / 2, math.pi / 2, 0)).vertices.mean(0)
    assert torch.allclose(tip, torch.tensor([1.0, 0, 0]), atol=0.01)


def test_sharp_edges_stay_sharp_and_joined_parts_keep_their_places():
    rod = cylinder(C, 0.5, 2)
    up = face_normals(rod.vertices, rod.faces)[:, 1].abs()
    assert ((up < 1e-5) | (up > 1 - 1e-5)).all()
    assert len(rod.vertices) > 28 * 4
    both = join(rod, moved(rod, at=(2, 0, 0)))
    assert len(both.faces) == 2 * len(rod.faces)
    assert both.vertices[:, 0].max() == pytest.approx(2.5, abs=1e-5)
    assert float(volume(both.vertices, both.faces)) == pytest.approx(
        2 * float(volume(rod.vertices, rod.faces)), rel=1e-5
    )
