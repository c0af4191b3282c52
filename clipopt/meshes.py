"""Read, make and write meshes; what is wrong with one that is read is mended, and said.

mesh, changes = load_mesh("chair.obj")                 # OBJ, PLY, GLB, STL, ...; of radius 1 around the origin
for change in changes:
    print(change)
mesh = primitive("cylinder", 1280)
save_mesh("chair.glb", mesh)                           # .glb, .ply, .stl, or .obj with its .mtl and texture
"""

import io
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.files import atomic, save, write_text
from clipopt.geometry.atlas import bake
from clipopt.geometry.doctor import mend
from clipopt.geometry.mesh import Mesh, fit, icosphere, vertex_normals
from clipopt.geometry.remesh import with_faces
from clipopt.render.shade import sample_texture

PRIMITIVES = ("sphere", "cube", "cylinder", "cone", "capsule", "torus")
_FORMS = (
    ("sphere", (1.0, 1.0, 1.0)), ("sphere", (0.55, 1.0, 0.55)), ("sphere", (1.0, 0.55, 1.0)),
    ("sphere", (1.0, 0.55, 0.55)), ("cone", (1.0, 1.0, 1.0)), ("cone", (1.0, -1.0, -1.0)), ("cone", (0.6, -1.0, -0.6)),
    ("cylinder", (1.0, 1.0, 1.0)), ("cylinder", (0.5, 1.0, 0.5)), ("cylinder", (1.0, 0.4, 1.0)),
    ("cube", (1.0, 1.0, 1.0)), ("cube", (1.0, 0.5, 0.5)), ("cube", (0.6, 1.0, 0.5)), ("capsule", (1.0, 1.0, 1.0)),
    ("torus", (1.0, 1.0, 1.0)),
)  # fmt: skip
"""Names of the shapes that `primitive` makes."""
_FORMATS = (".glb", ".obj", ".ply", ".stl")


def primitive(name: str, faces: int = 1280) -> Mesh:
    """A simple upright shape of radius 1 around the origin, with about so many triangles of about one size.

    Raises:
        ValueError: another name than those in `PRIMITIVES`, or fewer than 20 faces.
    """
    if name not in PRIMITIVES:
        raise ValueError(f"expected a shape of {', '.join(PRIMITIVES)}, got {name!r}")
    if faces < 20:
        raise ValueError(f"expected 20 faces or more, got {faces}")
    if name == "torus":
        import trimesh

        grid = trimesh.creation.torus(major_radius=0.7, minor_radius=0.3)
        x, y, z = torch.tensor(np.asarray(grid.vertices)).unbind(1)
        # trimesh has z up.
        start = Mesh(torch.stack([y, z, x], 1), torch.tensor(np.asarray(grid.faces), dtype=torch.int64))
    else:
        start = icosphere(max(1, round(math.log(faces / 20, 4))))
        start = replace(start, vertices=_reach(name, start.vertices.double()) * start.vertices.double())
    made = start if name == "sphere" and len(start.faces) == faces else with_faces(start, faces)
    return replace(made, vertices=fit(made.vertices).float())


def forms(faces: int = 320) -> list[Mesh]:
    """Simple shapes in several proportions, one of them upside down: what a thing may begin as; see `primitive`."""
    return [_stretched(primitive(name, faces), stretch) for name, stretch in _FORMS]


def _stretched(mesh: Mesh, stretch: tuple[float, float, float]) -> Mesh:
    return replace(mesh, vertices=fit(mesh.vertices * torch.tensor(stretch)))


def _reach(name: str, toward: Float[Tensor, "v 3"]) -> Float[Tensor, "v 1"]:
    """How far the surface of a simple shape lies from its centre, by unit directions."""
    level, up = toward[:, [0, 2]].norm(dim=1), toward[:, 1]
    match name:
        case "cube":
            reach = 0.5 / toward.abs().amax(1)
        case "cylinder":
            reach = 1 / torch.maximum(level / 0.5, up.abs() / 0.7)
        case "cone":  # its tip lies 0.9 above the centre, its base, of radius 0.6, 0.5 below
            reach = 1 / torch.maximum(-up / 0.5, (1.4 * level + 0.6 * up) / (0.6 * 0.9))
        case "capsule":  # two half balls of radius 0.5, their centres 0.5 from the middle
            side, cap = 0.5 / level.clamp_min(1e-9), up.abs()
            reach = torch.where(side * up.abs() <= 0.5, side, cap)
        case _:
            reach = torch.ones_like(up)
    return reach[:, None]


def load_mesh(path: str | Path) -> tuple[Mesh, list[str]]:
    """Read a mesh and mend it: merged, oriented outward, centred, of radius 1.

    Several objects become one mesh, their colours those of its vertices; where there is one object with a texture,
    it is kept.

    Returns:
        The mesh, and what was changed, one plain sentence each.

    Raises:
        ValueError: The file is missing, is no mesh, or has no faces.
    """
    import trimesh

    path = Path(path)
    hint = "expected a mesh file (GLB, OBJ, PLY, STL)"
    if not path.is_file():
        raise ValueError(f"cannot read {path}: {hint}, got {'a folder' if path.is_dir() else 'no such file'}")
    try:
        scene = trimesh.load_scene(path, process=False)
        placed = [scene.graph[node] for node in scene.graph.nodes_geometry]
        found = [(scene.geometry[name], place) for place, name in placed]
        parts = [(part, place) for part, place in found if isinstance(part, trimesh.Trimesh) and len(part.faces)]
    except Exception as error:  # every format fails in its own way
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"cannot read {path}: {hint}, got one that cannot be understood ({reason})") from error
    if not parts:
        raise ValueError(f"cannot read {path}: expected a mesh with faces, got none")
    meshes = [_from_trimesh(part, place, textured=len(parts) == 1) for part, place in parts]
    if path.suffix.lower() in (".glb", ".gltf"):
        meshes = [m if m.colors is None else replace(m, colors=_to_srgb(m.colors)) for m in meshes]
    shift, vertices, faces, colors = 0, [], [], []
    for mesh in meshes:
        vertices.append(mesh.vertices)
        faces.append(mesh.faces + shift)
        colors.append(torch.full_like(mesh.vertices, 0.7) if mesh.colors is None else mesh.colors)
        shift += len(mesh.vertices)
    coloured = any(mesh.colors is not None for mesh in meshes)
    whole = Mesh(
        torch.cat(vertices),
        torch.cat(faces),
        torch.cat(colors) if coloured else None,
        meshes[0].uv if len(meshes) == 1 else None,
        meshes[0].texture if len(meshes) == 1 else None,
    )
    mended, changes = mend(whole)
    if len(mended.faces) == 0:
        raise ValueError(f"cannot read {path}: expected a mesh with faces, got only faces without area")
    return mended, ([f"joined {len(parts)} objects into one mesh"] if len(parts) > 1 else []) + changes


def with_vertex_colors(mesh: Mesh) -> Mesh:
    """The mesh with colours of its vertices in place of its texture: what the texture shows there, in the mean."""
    if mesh.uv is None or mesh.texture is None:
        return mesh
    found = sample_texture(mesh.texture, mesh.uv.reshape(-1, 2))
    corners = mesh.faces.reshape(-1)
    count = torch.bincount(corners, minlength=len(mesh.vertices)).clamp_min(1)[:, None]
    colors = torch.zeros_like(mesh.vertices).index_add(0, corners, found) / count
    return replace(mesh, colors=colors.clamp(0, 1), uv=None, texture=None)


def save_mesh(path: str | Path, mesh: Mesh, *, texture: int = 1024) -> None:
    """Write a mesh; the suffix says how.

    .glb keeps vertex colours or a texture, .ply vertex colours, .stl the shape alone; .obj writes a .mtl of
    the same name and a texture NAME-texture.png beside it, into which vertex colours are baked.

    Args:
        path: Ends in .glb, .obj, .ply or .stl.
        mesh: What is written.
        texture: Side in texels of the texture that vertex colours are baked into; larger where there are many faces.

    Raises:
        ValueError: Another suffix, or vertices that are not finite.
    """
    path, mesh = Path(path), mesh.detach().to("cpu")
    if path.suffix.lower() not in _FORMATS:
        raise ValueError(f"cannot write {path}: expected one of {', '.join(_FORMATS)}, got {path.suffix or 'none'}")
    if not torch.isfinite(mesh.vertices).all():
        raise ValueError(f"cannot write {path}: expected finite vertices, got NaN or infinity")
    if path.suffix.lower() == ".obj":
        _save_obj(path, mesh, texture)
        return
    data = _glb(mesh) if path.suffix.lower() == ".glb" else _to_trimesh(mesh).export(file_type=path.suffix.lower()[1:])
    with atomic(path) as temporary:
        temporary.write_bytes(data)


def _glb(mesh: Mesh) -> bytes:
    """With normals, a material that is no metal, and colours of vertices linear in light, as glTF has them."""
    shape = _to_trimesh(mesh)
    normals = vertex_normals(mesh.vertices, mesh.faces)
    shape.vertex_normals = (
        normals if len(shape.vertices) == len(normals) else normals[mesh.faces].flatten(0, 1)
    ).numpy()
    if mesh.texture is None and mesh.colors is not None:
        shape.visual = type(shape.visual)()
        shape.vertex_attributes["color"] = _to_linear(mesh.colors.clamp(0, 1)).numpy()

    def finish(tree: dict[str, Any]) -> None:
        for part in (part for whole in tree["meshes"] for part in whole["primitives"]):
            for name in [name for name in part["attributes"] if name.upper() == "_COLOR"]:
                part["attributes"]["COLOR_0"] = part["attributes"].pop(name)
            if "material" not in part:
                surface = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
                tree["materials"] = [{"pbrMetallicRoughness": surface, "doubleSided": True}]
                part["material"] = 0

    data: bytes = shape.export(file_type="glb", include_normals=True, tree_postprocessor=finish)
    return data


def _to_linear(srgb: Tensor) -> Tensor:
    """Light of sRGB values, IEC 61966-2-1."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def _to_srgb(light: Tensor) -> Tensor:
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp_min(1e-9) ** (1 / 2.4) - 0.055)


def _from_trimesh(part: Any, place: Any, *, textured: bool) -> Mesh:
    """The part of a scene at its place, a 4 x 4 matrix; trimesh's own way there loses colours beside a material."""
    place = torch.tensor(np.asarray(place), dtype=torch.float64)
    points = torch.tensor(np.asarray(part.vertices), dtype=torch.float64)
    vertices = (points @ place[:3, :3].T + place[:3, 3]).float()
    faces = torch.tensor(np.asarray(part.faces), dtype=torch.int64)
    if torch.linalg.det(place[:3, :3]) < 0:  # a mirror turns faces over
        faces = faces.flip(1)
    colors = uv = texture = None
    visual = part.visual
    if visual.kind == "texture" and visual.uv is not None:
        material = visual.material
        image = getattr(material, "baseColorTexture", None) or getattr(material, "image", None)
        if image is not None and textured:
            pixels = np.array(image.convert("RGB"))
            texture = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
            uv = torch.tensor(np.asarray(visual.uv), dtype=torch.float32)[faces]
        else:
            visual = visual.to_color()
    beside = getattr(visual, "vertex_attributes", {}).get("color")  # a GLB may have both, a material and these
    if texture is None and beside is not None and len(beside) == len(vertices):
        given = np.asarray(beside)[:, :3]
        largest = np.iinfo(given.dtype).max if given.dtype.kind in "ui" else 1.0
        return Mesh(vertices, faces, torch.tensor(given / largest, dtype=torch.float32).clamp(0, 1))
    if texture is None and visual.kind in ("vertex", "face"):
        rgba = visual.vertex_colors if visual.kind == "vertex" else part.visual.to_color().vertex_colors
        colors = torch.tensor(np.asarray(rgba)[:, :3], dtype=torch.float32) / 255
    return Mesh(vertices, faces, colors, uv, texture)


def _to_trimesh(mesh: Mesh) -> Any:
    import trimesh
    from PIL import Image

    if mesh.uv is not None and mesh.texture is not None:
        # A vertex for every corner: neighbours have different places in the texture.
        vertices = mesh.vertices[mesh.faces].reshape(-1, 3).numpy()
        faces = np.arange(len(vertices)).reshape(-1, 3)
        picture = Image.fromarray(_bytes(mesh.texture.permute(1, 2, 0)))
        material = trimesh.visual.material.PBRMaterial(
            baseColorTexture=picture, metallicFactor=0.0, roughnessFactor=1.0, doubleSided=True
        )
        visual = trimesh.visual.TextureVisuals(uv=mesh.uv.reshape(-1, 2).numpy(), material=material)
        return trimesh.Trimesh(vertices, faces, visual=visual, process=False)
    colors = None
    if mesh.colors is not None:
        colors = np.concatenate([_bytes(mesh.colors), np.full((len(mesh.colors), 1), 255, np.uint8)], 1)
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), vertex_colors=colors, process=False)


def _save_obj(path: Path, mesh: Mesh, size: int) -> None:
    if mesh.texture is None and mesh.colors is not None:
        least = 8 * int((len(mesh.faces) / 2 + 1) ** 0.5 + 1)
        mesh = bake(mesh, max(size, least))
    out = io.StringIO()
    textured = mesh.texture is not None and mesh.uv is not None
    if textured:
        out.write(f"mtllib {path.stem}.mtl\nusemtl surface\n")
    for x, y, z in mesh.vertices.tolist():
        out.write(f"v {x:.7g} {y:.7g} {z:.7g}\n")
    corners = (mesh.faces + 1).tolist()
    if mesh.texture is not None and mesh.uv is not None:
        for u, v in mesh.uv.reshape(-1, 2).tolist():
            out.write(f"vt {u:.7g} {v:.7g}\n")
        for i, (a, b, c) in enumerate(corners):
            out.write(f"f {a}/{3 * i + 1} {b}/{3 * i + 2} {c}/{3 * i + 3}\n")
        picture = f"{path.stem}-texture.png"
        save(path.with_name(picture), mesh.texture.clamp(0, 1))
        lines = ["newmtl surface", "Ka 1 1 1", "Kd 1 1 1", "Ks 0 0 0", "illum 1", f"map_Kd {picture}"]
        write_text(path.with_suffix(".mtl"), "\n".join(lines) + "\n")
    else:
        for a, b, c in corners:
            out.write(f"f {a} {b} {c}\n")
    write_text(path, out.getvalue())


def _bytes(values: Tensor) -> Any:
    return (values.clamp(0, 1) * 255).round().to(torch.uint8).contiguous().numpy()
