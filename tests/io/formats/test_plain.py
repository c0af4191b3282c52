"""PLY, STL and OFF, and formats that are not read."""

import gzip
import io
import zipfile

import numpy as np
import pytest
import trimesh
from PIL import Image

from clipopt.io.mesh import load_mesh, with_vertex_colors

HEAD = """ply
format ascii 1.0
element vertex 3
property float x
property float y
property float z
{more}element face {faces}
property list uchar int vertex_indices
end_header
"""


def ply(folder, rows, *, more="", faces="3 0 1 2\n", count=1):
    (folder / "a.ply").write_text(HEAD.format(more=more, faces=count) + rows + faces)
    return folder / "a.ply"


BYTES = "property uchar red\nproperty uchar green\nproperty uchar blue\n"


@pytest.mark.parametrize(
    ("kind", "full"), [("uchar", 255), ("ushort", 65535), ("float", 1)], ids=["8 bit", "16 bit", "float"]
)
def test_colours_of_a_ply_whatever_their_type(tmp_path, kind, full):
    more = BYTES.replace("uchar", kind)
    half = full * 0.6 if kind == "float" else round(full * 0.6)
    rows = f"0 0 0 {full} 0 0\n1 0 0 0 {half} 0\n0 1 0 0 0 {full}\n"
    mesh, _ = load_mesh(ply(tmp_path, rows, more=more))
    np.testing.assert_allclose(mesh.colors, [[1, 0, 0], [0, 0.6, 0], [0, 0, 1]], atol=0.01)


def test_the_texture_of_a_ply_lies_beside_it(tmp_path):
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = 255
    Image.fromarray(image).save(tmp_path / "t.png")
    rows = "0 0 0 0 0\n1 0 0 1 0\n0 1 0 0 1\n"
    path = ply(tmp_path, rows, more="property float s\nproperty float t\n")
    path.write_text(path.read_text().replace("format ascii 1.0\n", "format ascii 1.0\ncomment TextureFile t.png\n"))
    mesh, _ = load_mesh(path)
    assert mesh.texture.shape == (3, 8, 8)
    np.testing.assert_allclose(with_vertex_colors(mesh).colors[:, 0], [0, 1, 0], atol=0.01)
    path.write_text(path.read_text().replace("t.png", "../t.png.gone"))
    _, changes = load_mesh(path)
    assert any("t.png.gone" in change for change in changes)


@pytest.mark.parametrize("form", ["ascii", "binary_little_endian", "binary_big_endian"])
def test_polygons_of_many_kinds(tmp_path, form):
    """A box: four quads, a bottom of two triangles, a top of a pentagon and a triangle."""
    points = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 1], [1, 0, 1], [1, 1, 1], [0, 1, 1],
                         [0.5, -0.5, 1]])  # fmt: skip
    faces = [[0, 1, 5, 8, 4], [1, 2, 6, 5], [2, 3, 7, 6], [3, 0, 4, 7], [0, 2, 1], [0, 3, 2], [4, 8, 5, 6, 7]]
    head = f"ply\nformat {form} 1.0\nelement vertex 9\nproperty float x\nproperty float y\nproperty float z\n"
    head += "element face 7\nproperty list uchar int vertex_indices\nproperty uchar flag\nend_header\n"
    order = ">" if "big" in form else "<"
    if form == "ascii":
        body = "\n".join(" ".join(map(str, row)) for row in points.tolist()) + "\n"
        body += "\n".join(" ".join(map(str, [len(face), *face, 7])) for face in faces)
        raw = body.encode()
    else:
        raw = points.astype(f"{order}f4").tobytes()
        for face in faces:
            raw += bytes([len(face)]) + np.array(face, f"{order}i4").tobytes() + b"\7"
    (tmp_path / "a.ply").write_bytes(head.encode() + raw)
    mesh, changes = load_mesh(tmp_path / "a.ply")
    assert len(mesh.faces) == 3 + 2 + 2 + 2 + 1 + 1 + 3
    assert not any("holes" in change for change in changes)


def test_faces_may_name_several_textures(tmp_path):
    rows = "0 0 0\n1 0 0\n0 1 0\n5 0 0\n6 0 0\n5 1 0\n"
    text = HEAD.format(more="", faces=2).replace("vertex 3", "vertex 6")
    text = text.replace(
        "vertex_indices\n", "vertex_indices\nproperty list uchar float texcoord\nproperty int texnumber\n"
    )
    text = text.replace("1.0\n", "1.0\ncomment TextureFile r.png\ncomment TextureFile g.png\n", 1)
    for name, color in (("r", (255, 0, 0)), ("g", (0, 255, 0))):
        Image.new("RGB", (4, 4), color).save(tmp_path / f"{name}.png")
    (tmp_path / "a.ply").write_text(text + rows + "3 0 1 2 6 0 0 1 0 0 1 0\n3 3 4 5 6 0 0 1 0 0 1 1\n")
    mesh, _ = load_mesh(tmp_path / "a.ply")
    found = with_vertex_colors(mesh).colors
    np.testing.assert_allclose(found[:3], [[1, 0, 0]] * 3, atol=0.01)
    np.testing.assert_allclose(found[3:], [[0, 1, 0]] * 3, atol=0.01)


def test_colours_of_faces_stay_sharp(tmp_path):
    ball = trimesh.creation.box()
    ball.visual.face_colors = np.tile([[255, 0, 0, 255], [0, 0, 255, 255]], (6, 1))
    ball.export(tmp_path / "a.ply")
    mesh, _ = load_mesh(tmp_path / "a.ply")
    assert len(mesh.vertices) == 8
    red = (mesh.texture[0] > 0.99) & (mesh.texture[2] < 0.01)
    blue = (mesh.texture[2] > 0.99) & (mesh.texture[0] < 0.01)
    assert (red | blue).all()


@pytest.mark.parametrize("name", ["nan", "nan index", "index", "negative", "count", "points", "short", "huge"])
def test_broken_plys_are_refused_in_one_line(tmp_path, name):
    rows = "0 0 0\n1 0 0\n0 1 0\n"
    match name:
        case "nan":
            path = ply(tmp_path, "nan 0 0\n1 0 0\n0 1 0\n")
        case "nan index":
            path = ply(tmp_path, rows, faces="3 0 1 nan\n")
        case "index":
            path = ply(tmp_path, rows, faces="3 0 1 7\n")
        case "negative":
            path = ply(tmp_path, rows, faces="3 0 1 -1\n")
        case "count":
            path = ply(tmp_path, rows, faces="3 0 1\n")
        case "points":
            path = ply(tmp_path, rows, faces="", count=0)
        case "short":
            path = ply(tmp_path, rows)
            path.write_bytes(path.read_bytes()[:120])
        case "huge":
            path = ply(tmp_path, rows)
            path.write_text(path.read_text().replace("ascii", "binary_little_endian").replace("x 3", "x 99999999999"))
    with pytest.raises(ValueError, match=r"cannot read .*a\.ply: expected") as caught:
        load_mesh(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".zip", ".3mf", ".usdz", ".dae", ".gz", ".xyz", ".svg", ".dxf", ".npz", "", ".png"])
def test_other_formats_are_refused_unopened(tmp_path, suffix):
    """Archives above all: a small one can hold any amount."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.obj", b"v 0 0 0\n" * 100_000)
    (tmp_path / f"a{suffix}").write_bytes(gzip.compress(b"0" * 100_000) if suffix == ".gz" else buffer.getvalue())
    with pytest.raises(ValueError, match="expected a mesh file"):
        load_mesh(tmp_path / f"a{suffix}")


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    with (tmp_path / "a.stl").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(ValueError, match="at most 512 MB"):
        load_mesh(tmp_path / "a.stl")


@pytest.mark.parametrize("suffix", [".stl", ".off"])
def test_a_damaged_file_is_told_once(tmp_path, capfd, suffix):
    (tmp_path / f"a{suffix}").write_text("solid x\nfacet normal 0 0 x\nvertex a b c\nendsolid\nOFF\n3 x")
    with pytest.raises(ValueError, match="cannot read"):
        load_mesh(tmp_path / f"a{suffix}")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("suffix", [".stl", ".off"])
def test_stl_and_off_are_read(tmp_path, suffix):
    trimesh.creation.icosphere(1).export(tmp_path / f"a{suffix}")
    mesh, _ = load_mesh(tmp_path / f"a{suffix}")
    assert len(mesh.faces) == 80
