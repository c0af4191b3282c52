from dataclasses import replace

import pytest
import torch
import trimesh

from clipopt.geometry.atlas import bake
from clipopt.geometry.camera import turntable
from clipopt.geometry.mesh import Mesh, icosphere, subdivide, volume
from clipopt.geometry.remesh import with_faces
from clipopt.geometry.repair import examine, mend
from clipopt.io.mesh import PRIMITIVES, forms, load_mesh, primitive, save_mesh, with_vertex_colors
from clipopt.params import Surface, Vertices
from clipopt.render.draw import draw
from clipopt.types import generator


def coloured(subdivisions=2):
    sphere = icosphere(subdivisions)
    return Mesh(sphere.vertices, sphere.faces, 0.5 + 0.5 * sphere.vertices)


@pytest.mark.parametrize("suffix", [".glb", ".ply"])
def test_vertex_colours_survive(tmp_path, suffix):
    mesh = coloured()
    save_mesh(tmp_path / f"a{suffix}", mesh)
    (seen,) = trimesh.load_scene(tmp_path / f"a{suffix}", process=False).geometry.values()
    assert torch.allclose(torch.tensor(seen.vertices, dtype=torch.float32), mesh.vertices, atol=1e-6)
    assert torch.equal(torch.tensor(seen.faces.copy()).long(), mesh.faces)
    if suffix == ".ply":
        colors = torch.tensor(seen.visual.vertex_colors[:, :3].copy()) / 255
        assert torch.allclose(colors, mesh.colors, atol=0.51 / 255)
    else:  # glTF has them linear in light, and without a material it is a mirror
        colors = torch.tensor(seen.visual.vertex_attributes["color"][:, :3].copy())
        assert torch.allclose(colors, mesh.colors**2.2, atol=0.01)
        assert seen.visual.material.metallicFactor == 0
        assert torch.allclose(torch.tensor(seen.vertex_normals.copy()).float(), mesh.vertices, atol=0.05)
    again, changes = load_mesh(tmp_path / f"a{suffix}")
    assert changes == []
    assert torch.allclose(again.vertices, mesh.vertices, atol=1e-5)
    assert torch.allclose(again.colors, mesh.colors, atol=0.51 / 255)


@pytest.mark.parametrize("suffix", [".glb", ".obj"])
def test_a_texture_survives_and_looks_like_the_colours_it_was_baked_from(tmp_path, suffix):
    mesh = coloured()
    save_mesh(tmp_path / f"a{suffix}", bake(mesh, 256) if suffix == ".glb" else mesh, texture=256)
    again, _ = load_mesh(tmp_path / f"a{suffix}")
    assert len(again.faces) == len(mesh.faces)
    assert again.texture.shape == (3, 256, 256)
    cameras, background = turntable(2), torch.ones(1, 3, 64, 64)
    difference = (draw(again, cameras, background) - draw(mesh, cameras, background)).abs()
    assert difference.mean() < 2 / 255
    assert difference.max() < 0.1
    if suffix == ".obj":
        assert "map_Kd a-texture.png" in (tmp_path / "a.mtl").read_text()


def test_stl_keeps_the_shape(tmp_path):
    save_mesh(tmp_path / "a.stl", coloured())
    again, changes = load_mesh(tmp_path / "a.stl")
    assert changes == ["merged 798 vertices that lay on others"]
    assert examine(again).watertight
    assert volume(again.vertices, again.faces).item() == pytest.approx(volume(*coloured_parts()).item(), rel=1e-4)


def coloured_parts():
    return coloured().vertices, coloured().faces


def test_a_box_of_many_ills_is_mended_and_all_is_said():
    sphere = icosphere(1)
    corners = sphere.vertices[sphere.faces].reshape(-1, 3) * 3 + 10  # nothing is joined
    faces = torch.arange(240).view(80, 3)
    faces[10:20] = faces[10:20].flip(1)
    faces = torch.cat([faces, faces[:2], torch.tensor([[0, 0, 1], [0, 1, 1]])])
    vertices = torch.cat([corners, torch.tensor([[9.0, 9, 9]])])
    mended, said = mend(Mesh(vertices, faces))
    assert len(mended.vertices) == 42
    assert len(mended.faces) == 80
    assert examine(mended) == examine(sphere)
    assert volume(mended.vertices, mended.faces) > 3
    assert mended.vertices.norm(dim=1).max().item() == pytest.approx(1)
    text = "\n".join(said)
    for sentence in (
        "merged 198 vertices",
        "removed 2 faces without area",
        "removed 2 faces that were there twice",
        "removed 1 vertices without a face",
        "turned 10 faces over",
        "centred and scaled from",
    ):
        assert sentence in text
    assert mend(mended)[1] == []


def test_an_inside_out_part_is_turned_and_several_parts_are_named():
    one = icosphere(1, 0.5)
    shifted = one.vertices + torch.tensor([2.0, 0, 0])
    mended, said = mend(Mesh(torch.cat([one.vertices, shifted]), torch.cat([one.faces, one.faces.flip(1) + 42])))
    assert any("turned 80 faces" in line for line in said)
    assert any("2 parts" in line for line in said)
    assert examine(mended).components == 2
    assert examine(mended).genus == 0


def test_holes_and_handles_are_counted():
    ring = trimesh.creation.torus(0.7, 0.3, major_sections=12, minor_sections=8)
    mesh = Mesh(torch.tensor(ring.vertices).float(), torch.tensor(ring.faces.copy()).long())
    assert examine(mesh).genus == 1
    opened = Mesh(mesh.vertices, mesh.faces[1:].clone())
    assert examine(opened).boundary == 3
    assert examine(opened).genus is None
    assert any("3 edges with one face" in line for line in mend(opened)[1])


def test_several_objects_become_one(tmp_path):
    scene = trimesh.Scene([trimesh.creation.box(), trimesh.creation.icosphere(1).apply_translation([3, 0, 0])])
    scene.export(tmp_path / "a.glb")
    mesh, changes = load_mesh(tmp_path / "a.glb")
    assert changes[0] == "joined 2 objects into one mesh"
    assert examine(mesh).components == 2


FAR = [("map", 1.0, [448262.0, 5411932.0, 120.0]), ("large", 1e7, [3e7, 0, 0]), ("tiny", 1e-9, [0, 0, 0]),
       ("tiny, far", 1e-3, [1000.0, -2000.0, 0])]  # fmt: skip


def placed(path, scale, centre):
    ring = trimesh.creation.torus(0.35, 0.15, major_sections=16, minor_sections=8)
    ring.apply_scale(scale)
    ring.apply_translation(centre)
    # Seventeen digits: by hand, for trimesh writes decimals.
    lines = ["v " + " ".join(f"{x:.17g}" for x in row) for row in ring.vertices]
    path.write_text("\n".join(lines + ["f " + " ".join(str(i + 1) for i in row) for row in ring.faces]))
    return ring


@pytest.mark.parametrize(("scale", "centre"), [row[1:] for row in FAR], ids=[row[0] for row in FAR])
def test_a_mesh_far_away_is_as_good_as_a_near_one(tmp_path, scale, centre):
    placed(tmp_path / "near.obj", 1.0, [0, 0, 0])
    ring = placed(tmp_path / "far.obj", scale, centre)
    near, far = (load_mesh(tmp_path / f"{name}.obj")[0] for name in ("near", "far"))
    torch.testing.assert_close(far.vertices, near.vertices, atol=1e-5, rtol=0)
    assert torch.equal(far.faces, near.faces)
    assert far.vertices.dtype == torch.float32
    assert far.place.size == pytest.approx(scale * near.place.size, rel=1e-4)
    assert far.place.centre == pytest.approx(centre, abs=1e-3 * scale)
    place = far.place.of(far.vertices).numpy()
    assert abs(place - ring.vertices).max() < 1e-6 * scale


@pytest.mark.parametrize(("scale", "centre"), [row[1:] for row in FAR], ids=[row[0] for row in FAR])
@pytest.mark.parametrize("suffix", [".obj", ".ply", ".glb", ".stl"])
@pytest.mark.parametrize("look", ["bare", "coloured", "textured"])
def test_files_are_written_where_the_mesh_was(tmp_path, suffix, scale, centre, look):
    ring = placed(tmp_path / "far.obj", scale, centre)
    mesh, _ = load_mesh(tmp_path / "far.obj")
    if look != "bare":
        mesh = replace(mesh, colors=mesh.vertices / 2 + 0.5)
    if look == "textured":
        mesh = bake(mesh, 128)
    save_mesh(tmp_path / f"out{suffix}", mesh, texture=128)
    found = trimesh.load(tmp_path / f"out{suffix}", force="mesh", process=False)
    assert abs(found.bounds - ring.bounds).max() < 2e-6 * scale
    again, _ = load_mesh(tmp_path / f"out{suffix}")
    assert len(again.vertices) == len(mesh.vertices)
    assert again.place.size == pytest.approx(mesh.place.size, rel=1e-5)


def test_a_new_mesh_from_an_old_one_keeps_its_place(tmp_path):
    placed(tmp_path / "far.obj", 2.0, [100.0, 0, 0])
    mesh, _ = load_mesh(tmp_path / "far.obj")
    surface = Surface(mesh, Vertices(mesh))
    for made in (mesh.to("cpu"), mesh.detach(), subdivide(mesh), with_faces(mesh, 400), surface(), mend(mesh)[0]):
        assert made.place == mesh.place
    halved, _ = mend(replace(mesh, vertices=mesh.vertices / 2 + 1))
    assert halved.place.size == pytest.approx(mesh.place.size / 2)
    assert halved.place.centre == pytest.approx([100 + mesh.place.size] + [mesh.place.size] * 2, rel=1e-5)


def test_one_stray_vertex_far_away_does_not_shrink_the_mesh():
    ball = icosphere(2)
    mesh = Mesh(torch.cat([ball.vertices.double(), torch.full((1, 3), 1e12).double()]), ball.faces)
    mended, said = mend(mesh)
    assert len(mended.faces) == len(ball.faces)
    assert said == ["removed 1 vertices without a face"]


def test_many_loose_faces_are_mended_in_time():
    count = 20_000
    corners = torch.rand(count, 1, 3, generator=generator(0)) * 100 + torch.eye(3)
    mended, said = mend(Mesh(corners.view(-1, 3).double(), torch.arange(3 * count).view(-1, 3)))
    assert len(mended.faces) == count
    assert any(f"{count} parts" in line for line in said)


def test_unreadable_files_are_told_in_one_line(tmp_path):
    (tmp_path / "text.obj").write_text("hello")
    (tmp_path / "noise.glb").write_bytes(bytes(torch.randint(0, 255, (300,), generator=generator(1)).tolist()))
    (tmp_path / "empty.ply").touch()
    for path in (tmp_path / "none.obj", tmp_path, *tmp_path.iterdir()):
        with pytest.raises(ValueError, match="cannot read") as caught:
            load_mesh(path)
        assert "\n" not in str(caught.value)


def test_saving_elsewhere_says_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match=r"expected one of .*, got \.fbx"):
        save_mesh(tmp_path / "a.fbx", coloured())
    with pytest.raises(ValueError, match="finite"):
        save_mesh(tmp_path / "a.ply", Mesh(torch.full((3, 3), torch.nan), torch.tensor([[0, 1, 2]])))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", PRIMITIVES)
def test_simple_shapes_are_sound_and_stand_upright(name):
    mesh = primitive(name, 900)
    health = examine(mesh)
    assert health.watertight
    assert (health.components, health.genus) == (1, int(name == "torus"))
    assert 500 < len(mesh.faces) < 2500
    assert volume(mesh.vertices, mesh.faces) > 0.3
    assert float(mesh.vertices.norm(dim=1).amax()) == pytest.approx(1, abs=1e-4)
    size = mesh.vertices.amax(0) - mesh.vertices.amin(0)
    tallest = {"cylinder": 1, "cone": 1, "capsule": 1}.get(name)
    assert tallest is None or size.argmax() == tallest
    if name == "cone":
        assert mesh.vertices[mesh.vertices[:, 1].argmax()].norm() == pytest.approx(
            float(mesh.vertices[:, 1].amax()), abs=0.02
        )
    if name == "torus":
        assert size.argmin() == 1


def test_simple_shapes_have_names_and_faces_enough():
    torch.testing.assert_close(primitive("sphere", 1280).vertices, icosphere(3).vertices)
    with pytest.raises(ValueError, match="got 'teapot'"):
        primitive("teapot")
    with pytest.raises(ValueError, match="20 faces or more"):
        primitive("cube", 3)


def test_a_texture_becomes_colours_of_the_vertices():
    mesh = coloured(3)
    back = with_vertex_colors(bake(mesh, 512))
    assert back.texture is None
    assert (back.colors - mesh.colors).abs().max() < 0.03
    assert with_vertex_colors(mesh) is mesh


def test_forms_to_begin_at_differ_are_whole_and_face_outward():
    made = forms(320)
    assert len(made) == 15
    for form in made:
        health = examine(form)
        assert health.watertight
        assert form.vertices.norm(dim=1).max() == pytest.approx(1, abs=1e-4)
        assert volume(form.vertices, form.faces) > 0.1  # negative if turned inside out
    spans = torch.stack([form.vertices.amax(0) - form.vertices.amin(0) for form in made])
    assert (spans[:, 1] / spans[:, 0]).max() > 2 * (spans[:, 1] / spans[:, 0]).min()
