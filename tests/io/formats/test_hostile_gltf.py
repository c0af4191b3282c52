"""glTF files with faults, each refused in one line that names it."""

import json

import numpy as np
import pytest
from glb import SQUARE, SQUARE_UV, Builder, pack

from clipopt.io.mesh import load_mesh


def deep(levels):
    return b"[" * levels + b"]" * levels


def broken(name):
    """A GLB with one fault, and a word of the sentence that refuses it."""
    made = Builder()
    told = made.mesh(material=made.material((1, 0, 0)))
    tree, accessors = made.tree, made.tree["accessors"]
    match name:
        case "draco":
            tree["extensionsRequired"] = ["KHR_draco_mesh_compression"]
            return made, "Draco"
        case "draco, optional":
            told["extensions"] = {"KHR_draco_mesh_compression": {"bufferView": 0}}
            del accessors[0]["bufferView"]
            return made, "Draco"
        case "meshopt":
            tree["bufferViews"][0]["extensions"] = {"EXT_meshopt_compression": {"buffer": 1}}
            return made, "meshopt"
        case "unknown extension":
            tree["extensionsRequired"] = ["ACME_voxels"]
            return made, "ACME_voxels"
        case "basis texture":
            tree["textures"] = [{"extensions": {"KHR_texture_basisu": {"source": 0}}}]
            tree["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
            told["attributes"]["TEXCOORD_0"] = made.numbers(SQUARE_UV)
            return made, "KHR_texture_basisu"
        case "index":
            told["indices"] = made.numbers(np.uint16([0, 1, 4]))
            return made, "vertices 0 to 3, got 4"
        case "huge count":
            accessors[0] |= {"count": 10**12}
            return made, "at most"
        case "huge count without data":
            del accessors[0]["bufferView"]
            accessors[0]["count"] = 10**9
            return made, "at most"
        case "count beyond the data":
            accessors[0]["count"] = 5
            return made, "cut short"
        case "view beyond the data":
            tree["bufferViews"][0]["byteLength"] = 10**6
            return made, "cut short"
        case "negative offset":
            tree["bufferViews"][0]["byteOffset"] = -4
            return made, "bytes -4"
        case "negative index":
            told["indices"] = -1
            return made, "got number -1"
        case "nan":
            told["attributes"]["POSITION"] = made.numbers(SQUARE * np.float32("nan"))
            return made, "finite"
        case "nan colour":
            told["attributes"]["COLOR_0"] = made.numbers(SQUARE * np.float32("nan"))
            return made, "finite colours"
        case "circle":
            tree["nodes"] = [{"children": [1], "mesh": 0}, {"children": [0]}]
            return made, "circle"
        case "two parents":
            tree["nodes"] += [{"children": [0]}, {"children": [0]}]
            return made, "below two"
        case "list of nodes":
            tree["nodes"] = [[1, 2, 3]]
            return made, "objects"
        case "tree is a list":
            made.tree = {"x": 1}
            made.write = lambda path: path.write_bytes(pack(b"[1, 2]"))
            return made, "object"
        case "deep":
            made.write = lambda path: path.write_bytes(pack(deep(200_000)))
            return made, "JSON"
        case "points":
            told["mode"] = 0
            return made, "faces, got none"
        case "no nodes":
            tree["scenes"] = [{"nodes": []}]
            return made, "faces, got none"
        case "many instances":
            told["indices"] = made.numbers(np.zeros(60_000, np.uint16))
            tree["nodes"] = [{"mesh": 0}] * 1000
            tree["scenes"][0]["nodes"] = list(range(1000))
            return made, "at most 5000000 faces"
        case "no texture":
            tree["images"] = [{"uri": "missing.png"}]
            tree["textures"] = [{"source": 0}]
            tree["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
            told["attributes"]["TEXCOORD_0"] = made.numbers(SQUARE_UV)
            return made, "missing.png"
        case "other":
            tree["images"] = [{"bufferView": made.view(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")}]
            tree["textures"] = [{"source": 0}]
            tree["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] = {"index": 0}
            told["attributes"]["TEXCOORD_0"] = made.numbers(SQUARE_UV)
            return made, "texture"
        case "wrong types":
            accessors[0]["count"] = "four"
            return made, "expected"
    raise KeyError(name)


@pytest.mark.parametrize(
    "name",
    [
        "draco", "draco, optional", "meshopt", "unknown extension", "basis texture", "index", "huge count",
        "huge count without data", "count beyond the data", "view beyond the data", "negative offset",
        "negative index", "nan", "nan colour", "circle", "two parents", "list of nodes", "tree is a list", "deep",
        "points", "no nodes", "many instances", "no texture", "other", "wrong types",
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_in_one_line(tmp_path, name):
    made, word = broken(name)
    made.write(tmp_path / "a.glb")
    with pytest.raises(ValueError, match=r"cannot read .*a\.glb") as caught:
        load_mesh(tmp_path / "a.glb")
    assert word in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("uri", ["../secret.bin", "/etc/hostname", "file:///etc/hostname", "https://example.org/a.bin",
                                 "..%2Fsecret.bin", "C:\\secret.bin", "link.bin"])  # fmt: skip
def test_nothing_outside_of_its_folder_is_read(tmp_path, uri, monkeypatch):
    made = Builder()
    made.mesh()
    folder = tmp_path / "mine"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(made.data)
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = folder / "a.gltf"
    made.write(path)
    tree = json.loads(path.read_text())
    tree["buffers"][0]["uri"] = uri
    path.write_text(json.dumps(tree))
    with pytest.raises(ValueError, match="in its own folder"):
        load_mesh(path)


def test_cut_short_anywhere_is_refused(tmp_path):
    made = Builder()
    made.mesh(material=made.material((1, 0, 0)))
    whole = made.write(tmp_path / "a.glb").read_bytes()
    for length in range(0, len(whole) - 4, 37):
        (tmp_path / "b.glb").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cannot read .*b\.glb"):
            load_mesh(tmp_path / "b.glb")
