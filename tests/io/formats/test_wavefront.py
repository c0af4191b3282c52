"""OBJ files by hand: materials, vertex colours, odd faces, and files that they name."""

import numpy as np
import pytest
import torch
from PIL import Image

from clipopt.io.mesh import load_mesh, with_vertex_colors

SQUARE = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
PLACES = "vt 0 0\nvt 1 0\nvt 1 1\nvt 0 1\n"


def write(folder, text, **files):
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)
    (folder / "a.obj").write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / "a.obj"


def picture(path, pixels):
    Image.fromarray(np.uint8(pixels)).save(path)


@pytest.mark.parametrize("faces", ["f 1 2 3 4\n", "f 1/1 2/2 3/3\nf 1/1 3/3 4/4\n", "f -4/-4/ -3/-3/ -2/-2/ -1/-1/\n"])
def test_kd_is_the_colour(tmp_path, faces):
    path = write(tmp_path, f"mtllib a.mtl\n{SQUARE}{PLACES}usemtl red paint\n{faces}",
                 a__mtl="newmtl red paint\r\nKd 0.8 0.1 0.1\r\n")  # fmt: skip
    mesh, changes = load_mesh(path)
    assert len(mesh.faces) == 2
    np.testing.assert_allclose(mesh.colors, np.tile([0.8, 0.1, 0.1], (4, 1)), atol=1e-5)
    assert not any("left out" in change for change in changes)


def test_two_materials_that_share_an_edge(tmp_path):
    text = f"mtllib a.mtl\n{SQUARE}v 2 0 0\nv 2 1 0\nusemtl a\nf 1 2 3 4\nusemtl b\nf 2 5 6 3\n"
    path = write(tmp_path, text, a__mtl="newmtl a\nKd 1 0 0\nnewmtl b\nKd 0 0 1\n")
    mesh, _ = load_mesh(path)
    shown = with_vertex_colors(mesh)
    at = mesh.place.of(mesh.vertices)[:, 0].round().long()
    np.testing.assert_allclose(shown.colors[at == 0], [[1, 0, 0]] * 2, atol=0.01)
    np.testing.assert_allclose(shown.colors[at == 2], [[0, 0, 1]] * 2, atol=0.01)


@pytest.mark.parametrize(
    ("line", "factor", "mean"),
    [
        ("Kd 0.5 1 1\nmap_Kd wood 1.png", 0.5, 0.5),
        ("Kd 0 0 0\nmap_Kd wood 1.png", 1.0, 0.5),
        ("map_Kd -clamp on -s 0.25 0.25 1 -o 0.6 0.5 0 wood 1.png", 1.0, 1.0),
        ('map_Kd -mm 0 1 "wood 1.png"', 1.0, 0.5),
        ("map_Kd C:\\art\\textures\\wood 1.png", 1.0, 0.5),
        ("map_Kd textures/wood 1.png", 1.0, 0.5),
    ],
)
def test_textures_times_kd_with_options_and_paths_of_others(tmp_path, line, factor, mean):
    ramp = np.zeros((16, 16, 3))
    ramp[:, 8:] = 255
    picture(tmp_path / "wood 1.png", ramp)
    path = write(tmp_path, f"mtllib a.mtl\n{SQUARE}{PLACES}usemtl a\nf 1/1 2/2 3/3 4/4\n", a__mtl=f"newmtl a\n{line}\n")
    mesh, _ = load_mesh(path)
    found = with_vertex_colors(mesh).colors.mean(0)
    np.testing.assert_allclose(found, mean * np.array([factor, 1, 1]), atol=0.02)


@pytest.mark.parametrize("scale", [1, 255])
def test_colours_of_vertices(tmp_path, scale):
    rows = [(0, 0, 0), (1, 0, 0), (0, 0.6, 0), (0, 0, 1)]
    points = ["0 0 0", "1 0 0", "1 1 0", "0 1 0"]
    text = "".join(f"v {p} {r * scale} {g * scale} {b * scale}\n" for p, (r, g, b) in zip(points, rows, strict=True))
    mesh, _ = load_mesh(write(tmp_path, text + "f 1 2 3 4\n"))
    np.testing.assert_allclose(mesh.colors, rows, atol=1e-4)


def test_odd_but_sound_text_is_read(tmp_path):
    text = b"\xef\xbb\xbf# by hand\r\no thing\r\nv 0 0 0 1.0\r\nv\t1 0 0\r\nv 1 1 0 # corner\r\nv 0 1 \\\r\n0\r\n"
    text += b"s off\r\ng caf\xe9\r\nf 1//1 2//1 3//1 4//1 # a square\r\nl 1 2\r\n"
    mesh, _ = load_mesh(write(tmp_path, text))
    assert len(mesh.faces) == 2
    assert mesh.colors is None


def test_what_is_missing_or_elsewhere_is_said(tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    (tmp_path / "evil.mtl").write_text("newmtl a\nKd 1 0 0\n")
    for name in ("../evil.mtl", str(tmp_path / "evil.mtl"), "https://example.org/evil.mtl", "gone.mtl"):
        mesh, changes = load_mesh(write(folder, f"mtllib {name}\n{SQUARE}usemtl a\nf 1 2 3 4\n"))
        assert mesh.colors is None
        assert any(name[:80] in change and "left out" in change for change in changes)
        assert any("nowhere to be found" in change for change in changes)
    path = write(folder, f"mtllib a.mtl\n{SQUARE}{PLACES}usemtl a\nf 1/1 2/2 3/3\n",
                 a__mtl="newmtl a\nKd 1 0 0\nmap_Kd ../evil.png\n")  # fmt: skip
    picture(tmp_path / "evil.png", np.full((4, 4, 3), 255))
    mesh, changes = load_mesh(path)
    np.testing.assert_allclose(mesh.colors, [[1, 0, 0]] * 3)
    assert any("evil.png" in change for change in changes)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (SQUARE + "f 1 2 9\n", "1 to 4, got 9"),
        (SQUARE + "f 1 2 -7\n", "got -7 in line 5"),
        (SQUARE + "f 1 2 0\n", "got 0"),
        (SQUARE + "f 1 2\n", "three corners"),
        (SQUARE + "f 1 2 x\n", "'x' in line 5"),
        (SQUARE + "f 1 2 99999999999999999999999\n", "got 99999999999999999999999"),
        ("v 0 0\nf 1 1 1\n", "3 numbers"),
        ("v 0 zero 0\nf 1 1 1\n", "3 numbers"),
        (SQUARE + "v nan 0 0\nf 1 2 5\n", "finite"),
        (SQUARE + "v 1e999 0 0\nf 1 2 5\n", "finite"),
        (SQUARE, "got none"),
        ("", "got none"),
        ("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n", "without area"),
        (SQUARE + "mtllib a.mtl\nusemtl a\nf 1 2 3\n", "Kd"),
    ],
)
def test_what_is_wrong_is_named_in_one_line(tmp_path, text, word):
    path = write(tmp_path, text, a__mtl="newmtl a\nKd 1 0 red\n")
    with pytest.raises(ValueError, match=r"cannot read .*a\.obj") as caught:
        load_mesh(path)
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_picture_of_another_kind_starts_no_program(tmp_path):
    (tmp_path / "wood.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EOF\n")
    path = write(tmp_path, f"mtllib a.mtl\n{SQUARE}{PLACES}usemtl a\nf 1/1 2/2 3/3\n",
                 a__mtl="newmtl a\nmap_Kd wood.png\n")  # fmt: skip
    with pytest.raises(ValueError, match="texture"):
        load_mesh(path)


def test_texture_coordinates_that_are_not_there_are_said(tmp_path):
    picture(tmp_path / "wood.png", np.full((4, 4, 3), 255))
    path = write(tmp_path, f"mtllib a.mtl\n{SQUARE}usemtl a\nf 1/7 2/2 3/3\n",
                 a__mtl="newmtl a\nKd 0 1 0\nmap_Kd wood.png\n")  # fmt: skip
    mesh, changes = load_mesh(path)
    assert torch.equal(mesh.colors, torch.tensor([[0.0, 1, 0]] * 3))
    assert any("texture coordinates" in change for change in changes)
