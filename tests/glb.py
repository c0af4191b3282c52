"""Small GLB files, made by hand: what stands in them is what a test says."""

import base64
import io
import json
import struct

import numpy as np
from PIL import Image

CODES = {"int8": 5120, "uint8": 5121, "int16": 5122, "uint16": 5123, "uint32": 5125, "float32": 5126}
KINDS = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}
SQUARE = np.float32([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
TWO = np.uint16([0, 1, 2, 0, 2, 3])
SQUARE_UV = np.float32([[0, 1], [1, 1], [1, 0], [0, 0]])
"""With (0, 0) the picture's upper left: the picture lies on the square as it is."""


class Builder:
    """Gathers the tree and the numbers of a glTF file."""

    def __init__(self):
        self.data = b""
        self.tree = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": []}], "nodes": [], "meshes": []}
        for name in ("accessors", "bufferViews", "materials", "images", "textures", "samplers"):
            self.tree[name] = []

    def view(self, raw):
        self.data += b"\0" * (-len(self.data) % 4)
        self.tree["bufferViews"].append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(raw)})
        self.data += raw
        return len(self.tree["bufferViews"]) - 1

    def numbers(self, values, **more):
        values = np.ascontiguousarray(values)
        told = {"bufferView": self.view(values.tobytes()), "componentType": CODES[values.dtype.name]}
        told |= {"count": len(values), "type": KINDS[values.shape[1] if values.ndim > 1 else 1]}
        self.tree["accessors"].append(told | more)
        return len(self.tree["accessors"]) - 1

    def texture(self, pixels, **sampler):
        """A texture of (h, w, 3) bytes."""
        buffer = io.BytesIO()
        Image.fromarray(np.uint8(pixels)).save(buffer, "PNG")
        self.tree["images"].append({"bufferView": self.view(buffer.getvalue()), "mimeType": "image/png"})
        self.tree["samplers"].append(sampler)
        self.tree["textures"].append(
            {"source": len(self.tree["images"]) - 1, "sampler": len(self.tree["samplers"]) - 1}
        )
        return len(self.tree["textures"]) - 1

    def material(self, factor=None, texture=None, **info):
        surface = {} if factor is None else {"baseColorFactor": [*factor, 1]}
        surface |= {} if texture is None else {"baseColorTexture": {"index": texture, **info}}
        self.tree["materials"].append({"pbrMetallicRoughness": surface})
        return len(self.tree["materials"]) - 1

    def mesh(self, points=SQUARE, index=TWO, material=None, mode=4, node=None, **attributes):
        """A mesh with one primitive, and a node of the scene that shows it."""
        told = {"attributes": {"POSITION": self.numbers(np.float32(points))}, "mode": mode}
        told |= {} if index is None else {"indices": self.numbers(index)}
        told |= {} if material is None else {"material": material}
        told["attributes"] |= {name: self.numbers(values) for name, values in attributes.items()}
        self.tree["meshes"].append({"primitives": [told]})
        self.tree["nodes"].append({"mesh": len(self.tree["meshes"]) - 1} | (node or {}))
        self.tree["scenes"][0]["nodes"].append(len(self.tree["nodes"]) - 1)
        return told

    def write(self, path):
        self.tree["buffers"] = [{"byteLength": len(self.data)}]
        tree = {name: value for name, value in self.tree.items() if value != []}
        if path.suffix == ".gltf":
            uri = "data:application/octet-stream;base64," + base64.b64encode(self.data).decode()
            tree["buffers"][0].setdefault("uri", uri)
            path.write_text(json.dumps(tree))
        else:
            path.write_bytes(pack(tree, self.data))
        return path


def pack(tree, data=b""):
    """The bytes of a GLB."""
    text = tree if isinstance(tree, bytes) else json.dumps(tree).encode()
    text += b" " * (-len(text) % 4)
    data += b"\0" * (-len(data) % 4)
    body = struct.pack("<I4s", len(text), b"JSON") + text + struct.pack("<I4s", len(data), b"BIN\0") + data
    return struct.pack("<4sII", b"glTF", 2, 12 + len(body)) + body
