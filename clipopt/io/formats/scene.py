"""The scene of a glTF file as parts: where each stands, what it is made of, what colours it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.io.formats.gltf import Gltf, matrix, parents, refuse_compression
from clipopt.io.formats.outside import MOST_FACES, Texture, Unreadable
from clipopt.io.formats.parts import Part, to_linear

_WRAPS = {10497: "repeat", 33648: "mirror", 33071: "clamp"}
_KNOWN = (  # what may be required: read here, or of no matter for shape and colour
    "KHR_mesh_quantization", "KHR_texture_transform", "KHR_materials_pbrSpecularGlossiness", "EXT_texture_webp",
    "KHR_lights_punctual", "KHR_materials_variants", "KHR_xmp_json_ld", "KHR_animation_pointer",
)  # fmt: skip
_TRIANGLES, _STRIP, _FAN = 4, 5, 6
_BYTES = 5121


class Scene:
    """Reads the parts of a scene, and collects what has to be said of them in `said`."""

    def __init__(self, gltf: Gltf) -> None:
        self.gltf = gltf
        self.said: list[str] = []
        self._textures: dict[int, Texture] = {}
        required = gltf.tree.get("extensionsRequired", [])
        refuse_compression(required)
        for name in required:
            if name not in _KNOWN and not str(name).startswith("KHR_materials_"):
                raise Unreadable(f"expected glTF without the extension {str(name)[:60]}, got one that requires it")

    def parts(self) -> list[Part]:
        """All parts of the scene at their places.

        Raises:
            Unreadable: Something in the file is not as it should be.
        """
        tree = self.gltf.tree
        above = parents(self.gltf)
        if tree.get("scenes"):
            nodes = list(self.gltf.item("scenes", tree.get("scene", 0)).get("nodes", []))
        else:
            nodes = [number for number in range(len(tree.get("nodes", []))) if number not in above]
        places: dict[int, Tensor] = {}
        for number in nodes:
            node = self.gltf.item("nodes", number)
            own = matrix(node)
            over = places.get(above.get(number, -1))
            places[number] = own if over is None else over @ own
            nodes += node.get("children", [])
        found: list[Part] = []
        count = 0
        for number, place in places.items():
            node = self.gltf.item("nodes", number)
            if "mesh" not in node:
                continue
            for told in self.gltf.item("meshes", node["mesh"])["primitives"]:
                part = self._part(told, node, place, places)
                if part is not None:
                    count += len(part.faces)
                    found.append(part)
                if count > MOST_FACES:  # a small file can show one mesh very often
                    raise Unreadable(f"expected at most {MOST_FACES} faces, got more; simplify it first")
        return found

    def _part(
        self, told: Mapping[str, Any], node: Mapping[str, Any], place: Tensor, places: Mapping[int, Tensor]
    ) -> Part | None:
        attributes, mode = told["attributes"], told.get("mode", _TRIANGLES)
        if mode not in (_TRIANGLES, _STRIP, _FAN):
            self._say("left out points and lines: only faces can be shown")
            return None
        points = self.gltf.item("accessors", attributes["POSITION"])
        if "bufferView" not in points:
            refuse_compression(told.get("extensions", {}))
        vertices = torch.from_numpy(self.gltf.accessor(attributes["POSITION"], 3).astype(np.float64))
        if "indices" in told:
            index = self.gltf.accessor(told["indices"], 1)[:, 0].astype(np.int64)
        else:
            index = np.arange(len(vertices))
        faces = _triangles(torch.from_numpy(index), mode)
        if len(faces) == 0:
            return None
        if int(faces.max()) >= len(vertices):
            raise Unreadable(f"expected faces of vertices 0 to {len(vertices) - 1}, got {int(faces.max())}")
        if "skin" in node and "JOINTS_0" in attributes and "WEIGHTS_0" in attributes:
            vertices = self._posed(vertices, attributes, self.gltf.item("skins", node["skin"]), places)
        else:
            vertices = vertices @ place[:3, :3].T + place[:3, 3]
            if torch.linalg.det(place[:3, :3]) < 0:  # a mirror turns faces over
                faces = faces.flip(1)
        colors = None
        if "COLOR_0" in attributes:
            colors = self._colors(attributes["COLOR_0"], len(vertices))[faces]
        factor, uv, texture = None, None, None
        if "material" in told:
            factor, uv, texture = self._material(told["material"], attributes, faces)
        return Part(vertices, faces, factor, colors, uv, texture, linear=True, bare=1.0)

    def _colors(self, number: Any, count: int) -> Float[Tensor, "v 3"]:
        values = self.gltf.accessor(number, 3, 4)
        seen = self._seen and self.gltf.item("accessors", number)["componentType"] == _BYTES
        if values.dtype.kind in "ui":  # whole numbers are parts of 1 here, said or not
            values = values / np.iinfo(values.dtype).max
        if len(values) != count:
            raise Unreadable(f"expected a colour for each of {count} vertices, got {len(values)}; export it again")
        colors = torch.from_numpy(values[:, :3].astype(np.float32))
        return to_linear(colors) if seen else colors

    @property
    def _seen(self) -> bool:
        """Whether colours in bytes are as they are seen: trimesh writes a user's sRGB bytes where glTF wants light."""
        return "trimesh" in str(self.gltf.tree.get("asset", {}).get("generator", ""))

    def _posed(
        self, vertices: Tensor, attributes: Mapping[str, Any], skin: Mapping[str, Any], places: Mapping[int, Tensor]
    ) -> Tensor:
        """Where the joints put the vertices at rest; the place of the node counts for nothing then."""
        joints = skin["joints"]
        bind = torch.eye(4, dtype=torch.float64).repeat(len(joints), 1, 1)
        if "inverseBindMatrices" in skin:
            values = self.gltf.accessor(skin["inverseBindMatrices"], 16).astype(np.float64)
            bind = torch.from_numpy(values).view(-1, 4, 4).mT
        moved = torch.stack([places.get(j, torch.eye(4, dtype=torch.float64)) for j in joints]) @ bind[: len(joints)]
        which = torch.from_numpy(self.gltf.accessor(attributes["JOINTS_0"], 4).astype(np.int64))
        weights = torch.from_numpy(self.gltf.accessor(attributes["WEIGHTS_0"], 4).astype(np.float64))
        if len(which) and int(which.max()) >= len(joints):
            raise Unreadable(f"expected joints 0 to {len(joints) - 1}, got {int(which.max())}; export it again")
        weights = weights / weights.sum(1, keepdim=True).clamp_min(1e-9)
        ahead = torch.cat([vertices, torch.ones(len(vertices), 1, dtype=torch.float64)], 1)
        result = torch.zeros_like(vertices)
        for column in range(4):
            turned = (moved[which[:, column], :3] @ ahead[:, :, None])[:, :, 0]
            result = result + weights[:, column, None] * turned
        return result

    def _material(
        self, number: Any, attributes: Mapping[str, Any], faces: Tensor
    ) -> tuple[tuple[float, float, float] | None, Float[Tensor, "f 3 2"] | None, Texture | None]:
        told = self.gltf.item("materials", number)
        if told.get("alphaMode", "OPAQUE") != "OPAQUE":
            self._say("its transparency is not shown: all of it is solid")
        old = told.get("extensions", {}).get("KHR_materials_pbrSpecularGlossiness")
        base = told.get("pbrMetallicRoughness", {}) if old is None else old
        key, name = ("baseColorFactor", "baseColorTexture") if old is None else ("diffuseFactor", "diffuseTexture")
        factor = None
        if key in base:
            red, green, blue = (float(value) for value in base[key][:3])
            factor = (red, green, blue)
            if not all(map(math.isfinite, factor)):
                raise Unreadable(f"expected a colour of finite numbers, got {factor}; export it again")
            if self._seen and all(abs(255 * value - round(255 * value)) < 1e-3 for value in factor):
                red, green, blue = to_linear(torch.tensor(factor)).tolist()
                factor = (red, green, blue)
        if name not in base:
            return factor, None, None
        info = base[name]
        move = info.get("extensions", {}).get("KHR_texture_transform", {})
        channel = f"TEXCOORD_{move.get('texCoord', info.get('texCoord', 0))}"
        if channel not in attributes:
            self._say("left out a texture: no texture coordinates belong to it")
            return factor, None, None
        if (texture := self._texture(info["index"])) is None:
            return factor, None, None
        uv = torch.from_numpy(self.gltf.accessor(attributes[channel], 2).astype(np.float64))
        if int(faces.max()) >= len(uv):
            raise Unreadable(f"expected texture coordinates of all vertices, got {len(uv)}; export it again")
        return factor, _transformed(uv, move)[faces], texture

    def _texture(self, number: Any) -> Texture | None:
        told = self.gltf.item("textures", number)
        if number not in self._textures:
            source = told.get("extensions", {}).get("EXT_texture_webp", {}).get("source", told.get("source"))
            if source is None:
                kinds = ", ".join(told.get("extensions", {})) or "no picture"
                raise Unreadable(f"expected textures that are PNG, JPEG or WebP, got {kinds}; export it with PNG")
            image = self.gltf.item("images", source)
            sampler = self.gltf.item("samplers", told["sampler"]) if "sampler" in told else {}
            wrap = (_WRAPS[sampler.get("wrapS", 10497)], _WRAPS[sampler.get("wrapT", 10497)])
            if "bufferView" in image:
                data = self.gltf.view(image["bufferView"])
            else:
                data = self.gltf.linked(str(image["uri"]), "its texture")
            self._textures[number] = Texture(data, wrap)
        return self._textures[number]

    def _say(self, sentence: str) -> None:
        if sentence not in self.said:
            self.said.append(sentence)


def _triangles(index: Tensor, mode: int) -> Tensor:
    if mode == _TRIANGLES:
        if len(index) % 3:
            raise Unreadable(f"expected three corners for each face, got {len(index)} in all; is it cut short?")
        return index.view(-1, 3)
    if len(index) < 3:
        return index.new_zeros(0, 3)
    if mode == _FAN:
        return torch.stack([index[1:-1], index[2:], index[:1].expand(len(index) - 2)], 1)
    strip = torch.stack([index[:-2], index[1:-1], index[2:]], 1)
    strip[1::2] = strip[1::2][:, [0, 2, 1]]  # every second one runs the other way
    return strip


def _transformed(uv: Float[Tensor, "v 2"], move: Mapping[str, Any]) -> Float[Tensor, "v 2"]:
    """Texture coordinates after KHR_texture_transform, from an origin at the upper left to one at the lower left."""
    turn = float(move.get("rotation", 0.0))
    c, s = math.cos(turn), math.sin(turn)
    scale, offset = (
        torch.tensor([float(v) for v in move.get(name, (d, d))[:2]], dtype=torch.float64)
        for name, d in (("scale", 1), ("offset", 0))
    )
    # Counter-clockwise with v downward, as its example and its viewers have it.
    moved = (uv * scale) @ torch.tensor([[c, s], [-s, c]], dtype=torch.float64).T + offset
    return torch.stack([moved[:, 0], 1 - moved[:, 1]], 1)
