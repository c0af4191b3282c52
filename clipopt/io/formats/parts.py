"""Parts of a mesh as files have them, each with what colours it, and how they become one mesh.

A colour is a factor times a texture times colours at the corners, in sRGB or, where a format says so, in light.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from clipopt.geometry.atlas import LEAST_CELL, texels
from clipopt.geometry.mesh import Mesh
from clipopt.geometry.repair import same_places
from clipopt.io.formats.outside import LONGEST_SIDE, MOST_FACES, Texture, Unreadable

_GREY = 0.7
# Colours at one place that differ by more belong to two surfaces that meet there.
_SEAM = 0.02
_SMALLEST = 1024
_ROWS = 256
_RIM = 1e-4


@dataclass(frozen=True)
class Part:
    """Some faces and what colours them.

    Attributes:
        vertices: In double precision.
        faces: The corners of each triangle.
        factor: A colour for all of it; None where the file says none.
        colors: Of each corner of each face; None for none.
        uv: Places of the corners in the texture, (0, 0) its lower left.
        texture: A picture.
        linear: Whether factor and colours are light, as in glTF, rather than sRGB.
        bare: Its colour, sRGB grey, where nothing else is said, beside parts that have one.
    """

    vertices: Float[Tensor, "v 3"]
    faces: Int[Tensor, "f 3"]
    factor: tuple[float, float, float] | None = None
    colors: Float[Tensor, "f 3 3"] | None = None
    uv: Float[Tensor, "f 3 2"] | None = None
    texture: Texture | None = None
    linear: bool = False
    bare: float = _GREY

    @property
    def textured(self) -> bool:
        """Whether a picture colours it."""
        return self.texture is not None and self.uv is not None

    @property
    def coloured(self) -> bool:
        """Whether the file says what colour it has."""
        return self.textured or self.factor is not None or self.colors is not None


def to_linear(srgb: Tensor) -> Tensor:
    """Light of sRGB values, IEC 61966-2-1."""
    return torch.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)


def to_srgb(light: Tensor) -> Tensor:
    """The sRGB values of light."""
    return torch.where(light <= 0.0031308, 12.92 * light, 1.055 * light.clamp_min(1e-9) ** (1 / 2.4) - 0.055)


def join(parts: Sequence[Part]) -> Mesh:
    """One mesh of all parts: with their one texture, with colours of its vertices, or with a new texture for all.

    Raises:
        Unreadable: There are no faces or too many, or what should be a number is none.
    """
    parts = [part for part in parts if len(part.faces)]
    if not parts:
        raise Unreadable("expected a mesh with faces, got none")
    if (count := sum(len(part.faces) for part in parts)) > MOST_FACES:
        raise Unreadable(f"expected at most {MOST_FACES} faces, got {count}; simplify it first")
    for part in parts:
        if not 0 <= int(part.faces.min()) <= int(part.faces.max()) < len(part.vertices):
            got = f"{int(part.faces.min())} to {int(part.faces.max())}"
            raise Unreadable(f"expected faces of vertices 0 to {len(part.vertices) - 1}, got {got}; export it again")
        if part.colors is not None and not bool(part.colors.isfinite().all()):
            raise Unreadable("expected finite colours, got NaN or infinity; export it again")
    shifts = [0]
    for part in parts:
        shifts.append(shifts[-1] + len(part.vertices))
    vertices = torch.cat([part.vertices for part in parts])
    faces = torch.cat([part.faces + shift for part, shift in zip(parts, shifts, strict=False)])
    if not any(part.coloured for part in parts):
        return Mesh(vertices, faces)
    if (kept := _one_texture(parts)) is not None:
        return Mesh(vertices, faces, None, *kept)
    parts = [_clamped(part) for part in parts]
    roomy = LEAST_CELL * math.ceil(math.sqrt(len(faces) / 2) + 1) <= LONGEST_SIDE
    if not (roomy and any(part.textured for part in parts)):
        corners = torch.cat([_at_corners(part) for part in parts])
        mean, seams = _at_places(vertices, faces, corners)
        if not (roomy and seams):
            return Mesh(vertices, faces, mean)
    return Mesh(vertices, faces, None, *_baked(parts))


def _clamped(part: Part) -> Part:
    """The part with a texture that ends at the rims that it stays within: there nothing of the other side belongs."""
    if part.texture is None or part.uv is None:
        return part
    low, high = part.uv.amin((0, 1)), part.uv.amax((0, 1))
    within = ((low >= -_RIM) & (high <= 1 + _RIM)).tolist()
    x, y = ("clamp" if inside else wrap for inside, wrap in zip(within, part.texture.wrap, strict=True))
    return replace(part, texture=replace(part.texture, wrap=(x, y)))


def _at_corners(part: Part) -> Float[Tensor, "f 3 3"]:
    each, pixels = torch.arange(len(part.faces)), part.texture.pixels() if part.texture is not None else None
    weights = torch.eye(3)[:, None].expand(-1, len(each), -1)
    return torch.stack([_colour(part, pixels, each, weights[corner]) for corner in range(3)], 1)


def _at_places(vertices: Tensor, faces: Tensor, corners: Tensor) -> tuple[Float[Tensor, "v 3"], bool]:
    """Mean colours of the vertices over all corners where they lie, and whether these differ anywhere."""
    used, index = faces.reshape(-1).unique(return_inverse=True)
    place = same_places(vertices[used])[index]
    flat = corners.reshape(-1, 3)
    sums = torch.zeros(int(place.max()) + 1, 3).index_add(0, place, flat)
    mean = sums / torch.bincount(place)[:, None]
    colors = torch.full((len(vertices), 3), _GREY).index_copy(0, faces.reshape(-1), mean[place])
    return colors.clamp(0, 1), bool((flat - mean[place]).abs().max() > _SEAM)


def _colour(
    part: Part, pixels: UInt8[Tensor, "3 _ _"] | None, face: Int[Tensor, " n"], weights: Float[Tensor, "n 3"]
) -> Float[Tensor, "n 3"]:
    """sRGB colours at points of faces, by the weights of the corners; `pixels` are those of its texture."""
    if not part.coloured:
        return torch.full((len(face), 3), part.bare)
    color = torch.tensor(part.factor or (1.0, 1.0, 1.0)).expand(len(face), 3)
    if part.colors is not None:
        color = color * (weights[..., None] * part.colors[face]).sum(1)
    if part.texture is not None and part.uv is not None and pixels is not None:
        seen = _sampled(pixels, part.texture.wrap, (weights[..., None].double() * part.uv[face]).sum(1))
        color = color * (to_linear(seen) if part.linear else seen)
    color = color.clamp(0, 1)
    return to_srgb(color) if part.linear else color


def _sampled(pixels: UInt8[Tensor, "3 _ _"], wrap: tuple[str, str], uv: Float[Tensor, "n 2"]) -> Float[Tensor, "n 3"]:
    """Colours of a texture, interpolated between its texels and wrapped at its rims."""
    height, width = pixels.shape[1:]
    uv = uv.nan_to_num(0.0, 0.0, 0.0)
    low_x, part_x, next_x = _axis(uv[:, 0], width, wrap[0])
    low_y, part_y, next_y = _axis(1 - uv[:, 1], height, wrap[1])

    def texel(y: Tensor, x: Tensor) -> Tensor:
        return pixels[:, y, x].T.float() / 255

    upper = texel(low_y, low_x) * (1 - part_x) + texel(low_y, next_x) * part_x
    lower = texel(next_y, low_x) * (1 - part_x) + texel(next_y, next_x) * part_x
    return upper * (1 - part_y) + lower * part_y


def _axis(at: Tensor, size: int, wrap: str) -> tuple[Tensor, Tensor, Tensor]:
    """The texel before each place, how far it is past it, and the texel after."""
    if wrap == "clamp":
        at = at.clamp(0, 1)
    at = at.remainder(2.0) * size - 0.5  # two tiles: mirrored, only every second one is the same
    low = at.floor()

    def wrapped(index: Tensor) -> Tensor:
        if wrap == "clamp":
            return index.clamp(0, size - 1)
        if wrap == "mirror":
            index = index.remainder(2 * size)
            return torch.where(index < size, index, 2 * size - 1 - index)
        return index.remainder(size)

    return wrapped(low.long()), (at - low).float()[:, None], wrapped(low.long() + 1)


def _one_texture(parts: Sequence[Part]) -> tuple[Float[Tensor, "f 3 2"], Float[Tensor, "3 _ _"]] | None:
    """Texture coordinates and the texture, where one picture with one factor colours all; None where not."""
    first = parts[0]
    tints = []
    for part in parts:
        if part.texture is None or part.uv is None or not part.texture.same(first.texture):
            return None
        colors = torch.ones(1, 3) if part.colors is None else part.colors.reshape(-1, 3)
        if bool((colors - colors[:1]).abs().max() > 1e-3):
            return None
        tints.append(colors[0] * torch.tensor(part.factor or (1.0, 1.0, 1.0)))
    if any(bool((tint - tints[0]).abs().max() > 1e-3) for tint in tints) or first.texture is None:
        return None
    uv = torch.cat([part.uv for part in parts if part.uv is not None]).nan_to_num(0.0, 0.0, 0.0)
    for axis, wrap in enumerate(first.texture.wrap):
        own = uv[..., axis]
        if wrap == "repeat":  # a face that lies within one tile may as well lie in the first
            low, high = own.amin(1), own.amax(1)
            moved = torch.where((low < -_RIM) | (high > 1 + _RIM), (low + _RIM).floor(), 0.0)
            own = own - moved[:, None]
        if wrap != "clamp" and bool(((own < -_RIM) | (own > 1 + _RIM)).any()):
            return None
        uv[..., axis] = own.clamp(0, 1)
    pixels = first.texture.pixels().float() / 255
    tint = tints[0].view(3, 1, 1)
    if bool((tint != 1).any()):
        pixels = to_srgb(to_linear(pixels) * tint) if first.linear else pixels * tint
    return uv.float(), pixels.clamp(0, 1)


def _baked(parts: Sequence[Part]) -> tuple[Float[Tensor, "f 3 2"], Float[Tensor, "3 _ _"]]:
    """A new texture with room for every face, and the corners' places in it."""
    starts = torch.tensor([0] + [len(part.faces) for part in parts]).cumsum(0)
    count = int(starts[-1])
    pictures = {part.texture.data: part.texture for part in parts if part.texture is not None and part.uv is not None}
    spread = math.sqrt(max(1, len(pictures)))
    cells = LEAST_CELL * math.ceil(math.sqrt(count / 2) + 1)
    size = min(LONGEST_SIDE, max(_SMALLEST * math.ceil(spread), cells))
    # Together, they are not much larger than what they go into.
    pixels = {data: picture.pixels(math.ceil(2 * size / spread)) for data, picture in pictures.items()}
    texture = torch.zeros(3, size, size)
    uv = torch.zeros(count, 3, 2)
    for top in range(0, size, _ROWS):
        uv, face, weights = texels(count, size, range(top, min(size, top + _ROWS)))
        shape, (face, order) = face.shape, face.reshape(-1).sort()
        band, weights = torch.zeros(len(face), 3), weights.reshape(-1, 3)[order]
        bounds = torch.searchsorted(face, starts).tolist()
        for number, (first, last) in enumerate(pairwise(bounds)):
            if first < last:
                part = parts[number]
                picture = None if part.texture is None else pixels.get(part.texture.data)
                own = face[first:last] - starts[number]
                band[order[first:last]] = _colour(part, picture, own, weights[first:last])
        texture[:, top : top + _ROWS] = band.view(*shape, 3).permute(2, 0, 1)
    return uv, texture.clamp(0, 1)
