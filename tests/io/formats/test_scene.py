"""glTF files by hand: what colours a mesh, and where its parts stand."""

import numpy as np
import pytest
import torch
import trimesh
from glb import SQUARE, SQUARE_UV, TWO, Builder

from clipopt.io.mesh import load_mesh, save_mesh, with_vertex_colors


def srgb(light):
    light = np.asarray(light, float)
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def colours(path):
    """The mesh, and its colours by where the file had the vertices."""
    mesh, _ = load_mesh(path)
    shown = with_vertex_colors(mesh)
    where = [tuple(place) for place in mesh.place.of(mesh.vertices).round(decimals=4).tolist()]
    return mesh, dict(zip(where, shown.colors.numpy(), strict=True))


def test_a_base_colour_is_light(tmp_path):
    made = Builder()
    made.mesh(material=made.material((0.2158605, 0.5, 0)), TEXCOORD_0=SQUARE_UV)
    mesh, _ = colours(made.write(tmp_path / "a.glb"))
    assert mesh.texture is None
    np.testing.assert_allclose(mesh.colors, np.tile(srgb([0.2158605, 0.5, 0]), (4, 1)), atol=1e-3)


def test_bytes_that_trimesh_wrote_are_as_they_are_seen(tmp_path):
    box = trimesh.creation.box()
    material = trimesh.visual.material.PBRMaterial(baseColorFactor=[200, 30, 30, 255])
    box.visual = trimesh.visual.TextureVisuals(uv=np.zeros((8, 2)), material=material)
    box.export(tmp_path / "a.glb")
    mesh, _ = load_mesh(tmp_path / "a.glb")
    np.testing.assert_allclose(mesh.colors, np.tile(np.float32([200, 30, 30]) / 255, (8, 1)), atol=1e-3)
    box.visual = trimesh.visual.ColorVisuals(box, vertex_colors=np.tile(np.uint8([10, 120, 240, 255]), (8, 1)))
    box.export(tmp_path / "b.glb")
    mesh, _ = load_mesh(tmp_path / "b.glb")
    np.testing.assert_allclose(mesh.colors[0], np.float32([10, 120, 240]) / 255, atol=1e-3)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float32"])
@pytest.mark.parametrize("width", [3, 4])
def test_colours_of_vertices_times_base_colour_whatever_their_type(tmp_path, kind, width):
    made = Builder()
    light = np.float64([[0, 0.25, 1, 1], [0.5, 0.5, 0.5, 1], [1, 0, 0.2, 0], [1, 1, 1, 1]])[:, :width]
    values = np.float32(light) if kind == "float32" else (light * np.iinfo(kind).max).round().astype(kind)
    if kind == "uint8" and width == 3:  # rows of three bytes are padded to four
        values = np.pad(values, ((0, 0), (0, 1)))
    told = made.mesh(material=made.material((0.5, 1, 0.8)), COLOR_0=values)
    made.tree["accessors"][told["attributes"]["COLOR_0"]]["normalized"] = kind != "float32"
    _, seen = colours(made.write(tmp_path / "a.glb"))
    for place, own in zip(SQUARE, light, strict=True):
        np.testing.assert_allclose(seen[tuple(place)], srgb(own[:3] * [0.5, 1, 0.8]), atol=0.01)


def test_one_texture_times_base_colour_stays_a_texture(tmp_path):
    made = Builder()
    picture = np.zeros((8, 8, 3), np.uint8)
    picture[:4, :4], picture[4:, 4:] = (200, 100, 50), (255, 255, 255)
    white = np.ones((4, 4), np.float32)
    made.mesh(material=made.material((0.5, 1, 0), made.texture(picture)), TEXCOORD_0=SQUARE_UV, COLOR_0=white)
    mesh, seen = colours(made.write(tmp_path / "a.glb"))
    light = torch.tensor([200, 100, 50]).double() / 255
    light = torch.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    expected = srgb(light.numpy() * [0.5, 1, 0])
    assert mesh.texture.shape == (3, 8, 8)
    np.testing.assert_allclose(mesh.texture[:, 0, 0], expected, atol=0.003)
    np.testing.assert_allclose(seen[0, 1, 0], expected, atol=0.003)  # the upper left corner
    np.testing.assert_allclose(seen[1, 1, 0], 0, atol=0.003)
    np.testing.assert_allclose(seen[1, 0, 0], srgb([0.5, 1, 0]), atol=0.003)


def test_a_texture_times_colours_of_vertices_is_painted_anew(tmp_path):
    made = Builder()
    light = np.float32([[1, 1, 1], [0.25, 0.25, 0.25], [0.25, 0.25, 0.25], [1, 1, 1]])
    texture = made.texture(np.full((4, 4, 3), (255, 128, 0)))
    made.mesh(material=made.material(texture=texture), TEXCOORD_0=SQUARE_UV, COLOR_0=light)
    mesh, seen = colours(made.write(tmp_path / "a.glb"))
    half = 0.2158605  # the light of 128
    np.testing.assert_allclose(seen[0, 0, 0], srgb([1, half, 0]), atol=0.01)
    np.testing.assert_allclose(seen[1, 0, 0], srgb([0.25, half / 4, 0]), atol=0.01)
    assert mesh.texture is not None


def test_every_object_keeps_its_colours(tmp_path):
    made = Builder()
    red, blue = (made.texture(np.full((4, 4, 3), c)) for c in ((220, 20, 20), (20, 20, 220)))
    made.mesh(material=made.material(texture=red), TEXCOORD_0=SQUARE_UV)
    made.mesh(material=made.material(texture=blue), TEXCOORD_0=SQUARE_UV, node={"translation": [3, 0, 0]})
    made.mesh(material=made.material((0.2158605, 1, 0)), node={"translation": [6, 0, 0]})
    made.mesh(node={"translation": [9, 0, 0]})
    byte = np.uint8([[255, 0, 0, 255]] * 4)
    told = made.mesh(COLOR_0=byte, node={"translation": [12, 0, 0]})
    made.tree["accessors"][told["attributes"]["COLOR_0"]]["normalized"] = True
    _, seen = colours(made.write(tmp_path / "a.glb"))
    assert len(seen) == 20
    expected = [(220, 20, 20), (20, 20, 220), (128, 255, 0), (255, 255, 255), (255, 0, 0)]
    for (x, _, _), color in seen.items():
        np.testing.assert_allclose(color, np.array(expected[int(x // 3)]) / 255, atol=0.01)


def test_the_rim_of_a_texture_shows_nothing_of_the_other_side(tmp_path):
    made = Builder()
    halves = np.zeros((4, 4, 3))
    halves[:, 2:] = 255
    material = made.material(texture=made.texture(halves))
    made.mesh(material=material, TEXCOORD_0=SQUARE_UV)
    made.mesh(material=made.material((0, 1, 0)), node={"translation": [3, 0, 0]})
    _, seen = colours(made.write(tmp_path / "a.glb"))
    np.testing.assert_allclose(seen[0, 0, 0], 0, atol=0.01)
    np.testing.assert_allclose(seen[1, 0, 0], 1, atol=0.01)


def test_numbers_may_be_sparse_strided_and_small(tmp_path):
    made = Builder()
    told = made.mesh()
    both = np.zeros(4, [("at", "<f4", 3), ("light", "u1", 4)])
    both["at"], both["light"] = SQUARE * np.float32([1, 1, 1]), [(255, 0, 0, 255)] * 4
    view = made.view(both.tobytes())
    made.tree["bufferViews"][view]["byteStride"] = 16
    where, what = made.view(np.uint8([2]).tobytes()), made.view(np.float32([[5, 1, 0]]).tobytes())
    sparse = {"count": 1, "indices": {"bufferView": where, "componentType": 5121}, "values": {"bufferView": what}}
    common = {"bufferView": view, "count": 4}
    made.tree["accessors"] += [
        common | {"componentType": 5126, "type": "VEC3", "sparse": sparse},
        common | {"componentType": 5121, "type": "VEC4", "byteOffset": 12, "normalized": True},
    ]
    told["attributes"] = {"POSITION": 2, "COLOR_0": 3}
    mesh, seen = colours(made.write(tmp_path / "a.glb"))
    assert set(seen) == {(0, 0, 0), (1, 0, 0), (5, 1, 0), (0, 1, 0)}
    np.testing.assert_allclose(mesh.colors, [[1, 0, 0]] * 4, atol=1e-3)
    made = Builder()
    told = made.mesh(node={"scale": [0.001, 0.001, 0.001]})
    told["attributes"]["POSITION"] = made.numbers(np.pad(np.int16(SQUARE * 1000), ((0, 0), (0, 1))))
    made.tree["accessors"][-1]["type"] = "VEC3"
    made.tree["bufferViews"][-1]["byteStride"] = 8
    made.tree["extensionsRequired"] = ["KHR_mesh_quantization"]
    mesh, _ = load_mesh(made.write(tmp_path / "b.glb"))
    np.testing.assert_allclose(mesh.place.of(mesh.vertices), SQUARE, atol=1e-6)


def test_colours_that_meet_at_an_edge_both_stay(tmp_path):
    made = Builder()
    made.mesh(SQUARE, TWO, made.material((1, 0, 0)))
    made.mesh(SQUARE + np.float32([1, 0, 0]), TWO, made.material((0, 0, 1)))
    mesh, _ = load_mesh(made.write(tmp_path / "a.glb"))
    assert len(mesh.vertices) == 6
    texels = mesh.texture.flatten(1).T
    for pure in ([1.0, 0, 0], [0, 0, 1.0]):
        assert (texels - torch.tensor(pure)).abs().amax(1).lt(0.01).float().mean() > 0.24


@pytest.mark.parametrize(
    ("move", "corner"),
    [
        ({"offset": [0.5, 0]}, (0, 1)),
        ({"scale": [0.5, 0.5]}, (0, 0)),
        ({"offset": [0, 1], "rotation": np.pi / 2, "scale": [0.5, 0.5]}, (1, 0)),  # the extension's own example
        ({"offset": [0, 1], "scale": [1, -1]}, (1, 0)),
    ],
)
def test_texture_transforms_are_honoured(tmp_path, move, corner):
    made = Builder()
    picture = np.arange(1, 5).reshape(2, 2).repeat(8, 0).repeat(8, 1)[..., None] * np.array([60, 0, 0])
    info = {"extensions": {"KHR_texture_transform": move}}
    # One small face at the upper left of the texture.
    place = SQUARE_UV * 0.4 + np.float32(0.05)
    made.mesh(material=made.material(texture=made.texture(picture), **info), TEXCOORD_0=place)
    made.tree["extensionsRequired"] = ["KHR_texture_transform"]
    mesh, _ = load_mesh(made.write(tmp_path / "a.glb"))
    row, column = corner
    found = with_vertex_colors(mesh).colors.mean(0)[0]
    assert found == pytest.approx((row * 2 + column + 1) * 60 / 255, abs=0.02)


def test_a_transform_may_choose_other_coordinates(tmp_path):
    made = Builder()
    picture = np.zeros((4, 4, 3))
    picture[:, 2:] = 255
    info = {"texCoord": 0, "extensions": {"KHR_texture_transform": {"texCoord": 1}}}
    right = SQUARE_UV * np.float32([0.3, 1]) + np.float32([0.65, 0])
    made.mesh(
        material=made.material(texture=made.texture(picture), **info), TEXCOORD_0=SQUARE_UV * 0.3, TEXCOORD_1=right
    )
    mesh, _ = load_mesh(made.write(tmp_path / "a.glb"))
    assert with_vertex_colors(mesh).colors.min() > 0.99


@pytest.mark.parametrize(("wrap", "expected"), [(10497, 0.25), (33648, 0.75), (33071, 1.0)])
def test_what_lies_beyond_the_rim_of_a_texture(tmp_path, wrap, expected):
    made = Builder()
    ramp = np.linspace(0, 255, 256)[None, :, None].repeat(4, 0).repeat(3, 2)
    texture = made.texture(ramp, wrapS=wrap, wrapT=wrap)
    place = SQUARE_UV * np.float32([0, 1]) + np.float32([1.25, 0])
    made.mesh(material=made.material(texture=texture), TEXCOORD_0=place)
    mesh, _ = load_mesh(made.write(tmp_path / "a.glb"))
    np.testing.assert_allclose(with_vertex_colors(mesh).colors, expected, atol=0.02)


def test_a_face_over_several_tiles_shows_them_all(tmp_path):
    made = Builder()
    stripes = np.zeros((4, 4, 3))
    stripes[:, :2] = 255
    made.mesh(material=made.material(texture=made.texture(stripes)), TEXCOORD_0=SQUARE_UV * 4)
    mesh, _ = load_mesh(made.write(tmp_path / "a.glb"))
    along = mesh.texture[0, mesh.texture.shape[1] * 3 // 4]  # of the lower triangle
    assert ((along[1:] > 0.5) != (along[:-1] > 0.5)).sum() >= 4


def test_nodes_place_turn_scale_and_mirror(tmp_path):
    made = Builder()
    child = {"translation": [1, 0, 0], "scale": [2, 2, 2]}
    made.mesh(node=child)
    made.tree["nodes"].append({"children": [0], "rotation": [0, 0, 2**-0.5, 2**-0.5], "translation": [0, 5, 0]})
    made.tree["scenes"][0]["nodes"] = [1]
    mesh, _ = load_mesh(made.write(tmp_path / "a.glb"))
    # (1, 0, 0) turned by a quarter is (0, 1, 0): the square spans x -2..0 and y 6..8.
    found = mesh.place.of(mesh.vertices)
    np.testing.assert_allclose(found.amin(0), [-2, 6, 0], atol=1e-6)
    np.testing.assert_allclose(found.amax(0), [0, 8, 0], atol=1e-6)
    made = Builder()
    made.mesh(node={"matrix": [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1]})
    mesh, _ = load_mesh(made.write(tmp_path / "b.glb"))
    a, b, c = mesh.vertices[mesh.faces[0]]
    assert torch.linalg.cross(b - a, c - a)[2] > 0


def test_a_skin_places_what_it_carries(tmp_path):
    made = Builder()
    made.mesh(
        node={"skin": 0, "translation": [100, 0, 0]},
        JOINTS_0=np.uint8([[0, 0, 0, 0]] * 4),
        WEIGHTS_0=np.float32([[1, 0, 0, 0]] * 4),
    )
    made.tree["nodes"].append({"scale": [3, 3, 3]})
    made.tree["scenes"][0]["nodes"].append(1)
    made.tree["skins"] = [{"joints": [1]}]
    mesh, _ = load_mesh(made.write(tmp_path / "a.glb"))
    np.testing.assert_allclose(mesh.place.of(mesh.vertices).amax(0), [3, 3, 0], atol=1e-6)


@pytest.mark.parametrize(("mode", "index"), [(5, [0, 1, 3, 2]), (6, [0, 1, 2, 3])])
def test_strips_and_fans(tmp_path, mode, index):
    made = Builder()
    made.mesh(index=np.uint32(index), mode=mode)
    mesh, _ = load_mesh(made.write(tmp_path / "a.glb"))
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    assert (torch.linalg.cross(b - a, c - a)[:, 2] > 0).all()
    assert len(mesh.faces) == 2


def test_gltf_with_files_beside_it(tmp_path):
    made = Builder()
    made.mesh(material=made.material((1, 0, 0)))
    made.tree["buffers"] = []
    path = made.write(tmp_path / "a.gltf")
    mesh, _ = load_mesh(path)
    assert len(mesh.faces) == 2
    import json

    tree = json.loads(path.read_text())
    (tmp_path / "my data.bin").write_bytes(made.data)
    tree["buffers"][0]["uri"] = "my%20data.bin"
    path.write_text(json.dumps(tree))
    assert len(load_mesh(path)[0].faces) == 2


def test_our_own_glb_comes_back_the_same(tmp_path):
    made = Builder()
    made.mesh(SQUARE * 3 + np.float32([7, 8, 9]), COLOR_0=np.float32([[0, 0.2, 1], [1, 0, 0], [0, 1, 0], [0, 0, 0]]))
    mesh, _ = load_mesh(made.write(tmp_path / "a.glb"))
    save_mesh(tmp_path / "b.glb", mesh)
    again, _ = load_mesh(tmp_path / "b.glb")
    torch.testing.assert_close(again.place.of(again.vertices), mesh.place.of(mesh.vertices), atol=1e-5, rtol=0)
    torch.testing.assert_close(again.colors, mesh.colors, atol=1e-4, rtol=0)
