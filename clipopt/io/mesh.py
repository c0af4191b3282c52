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
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.geometry.atlas import bake
from clipopt.geometry.mesh import Mesh, Place, face_normals, fit, icosphere, vertex_normals
from clipopt.geometry.remesh import with_faces
from clipopt.geometry.repair import mend
from clipopt.geometry.texture import sample_texture
from clipopt.io.files import atomic, save, write_text
from clipopt.io.formats.gltf import read_gltf
from clipopt.io.formats.outside import Unreadable
from clipopt.io.formats.parts import Part, join, to_linear
from clipopt.io.formats.plain import read_plain
from clipopt.io.formats.ply import read_ply
from clipopt.io.formats.scene import Scene
from clipopt.io.formats.wavefront import read_obj

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
# A mesh whose centre is so many radii away has too few digits in single precision.
_FAR = 100.0
_READABLE = "GLB, glTF, OBJ, PLY, STL, OFF"


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


@cache
def forms(faces: int = 320) -> tuple[Mesh, ...]:
    """Simple shapes in several proportions, one of them upside down: what a thing may begin as; see `primitive`."""
    return tuple(_stretched(primitive(name, faces), stretch) for name, stretch in _FORMS)


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
    """Read a mesh and mend it: merged, oriented outward, centred, of radius 1; `save_mesh` puts it back.

    Several objects become one mesh. What colours them is multiplied as their format says: the material's colour, its
    texture, colours of vertices. One texture stays as it is; where there are several, or where colours meet at edges,
    a new texture has them all. Files beside it are read where it names them, nothing outside of its folder.

    Returns:
        The mesh, and what was changed, one plain sentence each.

    Raises:
        ValueError: The file is missing, is no mesh, or has no faces.
    """
    path = Path(path)
    if not path.is_file():
        got = "a folder" if path.is_dir() else "no such file"
        raise ValueError(f"cannot read {path}: expected a mesh file ({_READABLE}), got {got}")
    try:
        parts, said = _parts(path)
        whole = join(parts)
        mended, changes = mend(whole)
    except ValueError as error:
        reason = " ".join(str(error).split())
        if isinstance(error, Unreadable) or reason.startswith("expected"):
            raise ValueError(f"cannot read {path}: {reason}") from None
        raise ValueError(f"cannot read {path}: {_damaged(reason)}") from error
    except Exception as error:  # every format fails in its own way
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ValueError(f"cannot read {path}: {_damaged(reason)}") from error
    if len(mended.faces) == 0:
        raise ValueError(f"cannot read {path}: expected a mesh with faces, got only faces without area")
    joined = [f"joined {len(parts)} objects into one mesh"] if len(parts) > 1 else []
    return mended, joined + said + changes


def _damaged(reason: str) -> str:
    return f"expected a mesh file ({_READABLE}), got one that cannot be understood ({reason[:200]}); export it again"


def _parts(path: Path) -> tuple[list[Part], list[str]]:
    match path.suffix.lower():
        case ".glb" | ".gltf":
            scene = Scene(read_gltf(path))
            return scene.parts(), scene.said
        case ".obj":
            return read_obj(path)
        case ".ply":
            return read_ply(path)
        case ".stl" | ".off":
            return read_plain(path), []
    raise Unreadable(f"expected a mesh file ({_READABLE}), got {path.suffix or 'no suffix'}; export it as one of these")


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
    """Write a mesh, where it was and as large as it was; the suffix says how.

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
    match path.suffix.lower():
        case ".obj":
            _save_obj(path, mesh, texture)
            return
        case ".ply":
            data = _ply(with_vertex_colors(mesh))
        case ".stl":
            data = _stl(mesh)
        case _:
            data = _glb(mesh)
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
        shape.vertex_attributes["color"] = to_linear(mesh.colors.clamp(0, 1)).numpy()

    def finish(tree: dict[str, Any]) -> None:
        tree["asset"]["generator"] = "clipopt"
        for part in (part for whole in tree["meshes"] for part in whole["primitives"]):
            for name in [name for name in part["attributes"] if name.upper() == "_COLOR"]:
                part["attributes"]["COLOR_0"] = part["attributes"].pop(name)
            if "material" not in part:
                surface = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
                tree["materials"] = [{"pbrMetallicRoughness": surface, "doubleSided": True}]
                part["material"] = 0
        if mesh.place != Place():  # positions are single there, places of nodes are not
            for node in (node for node in tree["nodes"] if "mesh" in node):
                node |= {"translation": [*mesh.place.centre], "scale": [mesh.place.size] * 3}

    data: bytes = shape.export(file_type="glb", include_normals=True, tree_postprocessor=finish)
    return data


def _ply(mesh: Mesh) -> bytes:
    """With colours of vertices; in double precision where the mesh has a place of its own."""
    real, said = ("<f8", "double") if mesh.place != Place() else ("<f4", "float")
    kinds, names = [("at", real, 3)], [f"property {said} {axis}" for axis in "xyz"]
    if mesh.colors is not None:
        kinds.append(("rgba", "u1", 4))
        names += [f"property uchar {name}" for name in ("red", "green", "blue", "alpha")]
    points = np.full(len(mesh.vertices), 255, np.dtype(kinds))
    points["at"] = mesh.place.of(mesh.vertices).numpy()
    if mesh.colors is not None:
        points["rgba"][:, :3] = _bytes(mesh.colors)
    faces = np.full(len(mesh.faces), 3, np.dtype([("count", "u1"), ("corners", "<i4", 3)]))
    faces["corners"] = mesh.faces.numpy()
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(points)}", *names]
    head += [f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header"]
    return ("\n".join(head) + "\n").encode() + points.tobytes() + faces.tobytes()


def _stl(mesh: Mesh) -> bytes:
    """Binary; as text, which holds more digits, where a mesh is small for how far away it is."""
    place, corners = mesh.place, mesh.place.of(mesh.vertices)[mesh.faces]
    normals = face_normals(mesh.vertices, mesh.faces)
    if max(map(abs, place.centre)) > _FAR * place.size:
        out = io.StringIO()
        out.write("solid mesh\n")
        form, digits = "vertex {:.{n}g} {:.{n}g} {:.{n}g}\n", _digits(place)
        for normal, face in zip(normals.tolist(), corners.tolist(), strict=True):
            out.write("facet normal {:.7g} {:.7g} {:.7g}\nouter loop\n".format(*normal))
            out.writelines(form.format(*corner, n=digits) for corner in face)
            out.write("endloop\nendfacet\n")
        out.write("endsolid mesh\n")
        return out.getvalue().encode()
    kinds = [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")]
    faces = np.zeros(len(corners), np.dtype(kinds))
    faces["normal"], faces["corners"] = normals.numpy(), corners.numpy()
    return b"\0" * 80 + np.uint32(len(faces)).tobytes() + faces.tobytes()


def _digits(place: Place) -> int:
    """Digits of coordinates that tell apart what is apart in single precision at the origin."""
    return min(17, 7 + max(0, math.ceil(math.log10(1 + max(map(abs, place.centre)) / place.size))))


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
    return trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False)


def _save_obj(path: Path, mesh: Mesh, size: int) -> None:
    if mesh.texture is None and mesh.colors is not None:
        least = 8 * int((len(mesh.faces) / 2 + 1) ** 0.5 + 1)
        mesh = bake(mesh, max(size, least))
    out = io.StringIO()
    textured = mesh.texture is not None and mesh.uv is not None
    if textured:
        out.write(f"mtllib {path.stem}.mtl\nusemtl surface\n")
    digits = _digits(mesh.place)
    for x, y, z in mesh.place.of(mesh.vertices).tolist():
        out.write(f"v {x:.{digits}g} {y:.{digits}g} {z:.{digits}g}\n")
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
