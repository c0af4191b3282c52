"""What rendering a mesh costs beside scoring its picture, and how true its gradient is. See README.md beside this file.

    python benchmarks/render.py [--rounds N] [--fields N] [--out FILE]

Prints progress on stderr and one JSON object on stdout.
"""

import argparse
import json
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from clipopt.geometry.camera import Cameras, look_at, orbit
from clipopt.geometry.mesh import Mesh, find_edges, icosphere
from clipopt.render.draw import draw
from clipopt.render.raster import interpolate, rasterize, to_screen
from clipopt.render.shade import Light
from clipopt.types import generator

SIZE = 224
VIEWS = 4
BACKGROUND = torch.tensor([0.1, 0.9, 0.2])


def coloured(vertices: Tensor, faces: Tensor) -> Mesh:
    """A mesh with smooth colours."""
    x, y, z = vertices.unbind(1)
    colors = torch.stack([torch.sin(4 * x), torch.cos(3 * y), torch.sin(5 * z + 1)], -1)
    return Mesh(vertices, faces, 0.5 + 0.5 * colors)


def torus() -> Mesh:
    """2304 faces that hide one another."""
    import trimesh

    ring = trimesh.creation.torus(0.7, 0.32, major_sections=48, minor_sections=24)
    return coloured(torch.tensor(ring.vertices).float(), torch.tensor(ring.faces.copy()).long())


def bumpy(subdivisions: int) -> Mesh:
    """A sphere with folds."""
    sphere = icosphere(subdivisions)
    v = sphere.vertices
    bump = torch.sin(5 * v[:, :1]) * torch.sin(5 * v[:, 1:2] + 1) * torch.sin(5 * v[:, 2:] + 2)
    return coloured(v * (1 + 0.5 * bump), sphere.faces)


def seconds(work: Callable[[], object], rounds: int) -> float:
    """Median processor time of a call."""
    work()
    taken = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return statistics.median(taken)


def costs(rounds: int) -> dict[str, float]:
    """Seconds per view of rendering, and per picture of a ViT-B/32 of random weights, forward and backward."""
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    cameras = look_at(orbit(torch.arange(VIEWS) * 1.6, torch.full((VIEWS,), 0.3), torch.full((VIEWS,), 2.6)))
    found = {}
    for name, mesh in {"sphere 5120": bumpy(4), "sphere 20480": bumpy(5)}.items():
        vertices, colors = mesh.vertices.clone().requires_grad_(), mesh.colors.clone().requires_grad_()
        background = torch.rand(VIEWS, 3, SIZE, SIZE, generator=generator(0))

        def step(mesh: Mesh = mesh, v: Tensor = vertices, c: Tensor = colors, b: Tensor = background) -> None:
            draw(replace(mesh, vertices=v, colors=c), cameras, b).square().mean().backward()

        found[name] = seconds(step, rounds) / VIEWS
    with torch.random.fork_rng():
        tower = CLIPVisionModelWithProjection(CLIPVisionConfig(patch_size=32)).eval().requires_grad_(False)
    pictures = torch.rand(VIEWS, 3, SIZE, SIZE, generator=generator(1), requires_grad=True)
    found["vit-b-32 float32"] = (
        seconds(lambda: tower(pictures).image_embeds.sum().backward(), max(1, rounds // 3)) / VIEWS
    )
    half, tower = pictures.detach().bfloat16().requires_grad_(), tower.bfloat16()
    found["vit-b-32 bfloat16"] = seconds(lambda: tower(half).image_embeds.sum().backward(), max(1, rounds // 3)) / VIEWS
    return found


def plain(mesh: Mesh, cameras: Cameras, background: Tensor, light: Light) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The picture without antialiasing, rows of pixels last but one, with the screen, triangles and depths."""
    clip = cameras.project(mesh.vertices)
    ids, depth = rasterize(clip.detach(), mesh.faces, background.shape[-2:])
    pixels, values = interpolate(clip, mesh.faces, ids, mesh.colors[mesh.faces])
    image = background.permute(0, 2, 3, 1).reshape(-1, 3).index_copy(0, pixels, values)
    return image.view(*ids.shape, 3), to_screen(clip, background.shape[-2:]), ids, depth


def visible_triangles(mesh: Mesh, cameras: Cameras, background: Tensor, light: Light) -> Tensor:
    """Antialiasing that asks the visible triangles for their silhouettes: the usual rule, written for comparison.

    Between two neighbouring pixels that see different triangles, the nearer one's edge that crosses the segment
    between them, if it is a silhouette, says how they blend.
    """
    image, screen, ids, depth = plain(mesh, cameras, background, light)
    views, height, width = ids.shape
    flat = image.reshape(-1, 3)
    out, triangle, nearness = flat, ids.reshape(-1), depth.reshape(-1)
    edges = find_edges(mesh.faces)
    base = len(mesh.vertices)
    keys = edges.ends[:, 0] * base + edges.ends[:, 1]
    grid = torch.arange(ids.numel()).view(views, height, width)
    for axis, (low, high) in enumerate(((grid[:, :, :-1], grid[:, :, 1:]), (grid[:, :-1], grid[:, 1:]))):
        low, high = low.reshape(-1), high.reshape(-1)
        differ = triangle[low] != triangle[high]
        low, high = low[differ], high[differ]
        owner = torch.where(nearness[high] < nearness[low], high, low)
        face = triangle[owner]
        view, row, column = low // (height * width), low // width % height, low % width
        u, v = axis, 1 - axis
        line = (row if axis == 0 else column) + 0.5
        start = (column if axis == 0 else row) + 0.5
        best = torch.zeros(len(low))
        taken = torch.zeros(len(low), dtype=torch.bool)
        for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
            corners = mesh.faces[face]
            pair = corners[:, [a, b]].sort(1).values
            edge = torch.searchsorted(keys, pair[:, 0] * base + pair[:, 1])
            p, q, r = (screen[view, corners[:, k]] for k in (a, b, c))
            others = edges.opposite[edge]
            other = torch.where(others[:, 0] == corners[:, c], others[:, -1], others[:, 0])
            s = screen[view, other].detach()
            with torch.no_grad():
                side = [(q - p)[:, 0] * (x - p)[:, 1] - (q - p)[:, 1] * (x - p)[:, 0] for x in (r, s)]
                silhouette = (side[0] * side[1] > 0) | (edges.count[edge] == 1)
                steep = (q - p)[:, v].abs() >= (q - p)[:, u].abs()
                crosses = (p[:, v] - line) * (q[:, v] - line) < 0
            fall = torch.where((q - p)[:, v].abs() < 1e-4, 1e-4, (q - p)[:, v])
            at = p[:, u] + (line - p[:, v]) / fall * (q - p)[:, u] - start
            good = silhouette & steep & crosses & (at > 0) & (at < 1) & ~taken
            best, taken = torch.where(good, at, best), taken | good
        inward = owner == high
        reach = torch.where(inward, 0.5 - best, best - 0.5)[taken]
        inner, outer = owner[taken], (low + high - owner)[taken]
        out = out.index_add(0, torch.where(reach > 0, outer, inner), reach[:, None] * (flat[inner] - flat[outer]))
    return out.view_as(image).permute(0, 3, 1, 2)


def errors(fields: int) -> dict[str, dict[str, float]]:
    """Share by which d(functional of the picture) / d(smooth deformation) is missed, against differences."""
    rng = generator(3)
    azimuth, elevation = 6.28 * torch.rand(3, generator=rng), 0.8 * torch.rand(3, generator=rng) - 0.24
    cameras = look_at(orbit(azimuth, elevation, torch.full((3,), 2.6)), fov=math.radians(60))
    light = Light(F.normalize(cameras.eye, dim=-1), 1.0)
    fine = 4
    y, x = torch.meshgrid(*[(torch.arange(SIZE) + 0.5) / SIZE] * 2, indexing="ij")
    weight = torch.stack([torch.sin(7 * x + 3 * y), torch.cos(5 * y - 2 * x), torch.sin(6 * x * y + 1)])
    fine_weight = weight.repeat_interleave(fine, 1).repeat_interleave(fine, 2)
    rules: dict[str, Callable[[Mesh, Cameras, Tensor, Light], Tensor]] = {
        "none": lambda *given: plain(*given)[0].permute(0, 3, 1, 2),
        "visible triangles": visible_triangles,
        "silhouette edges": lambda mesh, cameras, background, light: draw(mesh, cameras, background, light=light),
    }
    found = {}
    for name, mesh in {"torus 2304": torus(), "bumpy sphere 5120": bumpy(4), "bumpy sphere 1280": bumpy(3)}.items():
        rows = []
        for field in range(fields):
            draws = generator(0, field)
            turn, phase = torch.randn(3, 3, generator=draws), torch.randn(3, generator=draws)
            move = 0.5 * torch.sin(2 * mesh.vertices @ turn.T + phase)
            row = []
            for rule in rules.values():
                e = torch.tensor(0.0, requires_grad=True)
                background = BACKGROUND.view(1, 3, 1, 1).expand(3, 3, SIZE, SIZE)
                picture = rule(replace(mesh, vertices=mesh.vertices + e * move), cameras, background, light)
                row.append(float(torch.autograd.grad((picture * weight).mean(), e)[0]))
            with torch.no_grad():
                large = BACKGROUND.view(1, 3, 1, 1).expand(3, 3, fine * SIZE, fine * SIZE)
                sides = [
                    (
                        draw(replace(mesh, vertices=mesh.vertices + h * move), cameras, large, light=light)
                        * fine_weight
                    ).mean()
                    for h in (0.01, -0.01)
                ]
            rows.append([*row, float(sides[0] - sides[1]) / 0.02])
            print(name, rows[-1], file=sys.stderr)
        table = torch.tensor(rows, dtype=torch.float64)
        missed = (table[:, :-1] - table[:, -1:]).abs().sum(0) / table[:, -1].abs().sum()
        found[name] = dict(zip(rules, (round(share, 4) for share in missed.tolist()), strict=True))
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--fields", type=int, default=4)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cost = costs(given.rounds)
    report = {
        "size": SIZE,
        "seconds per view": {name: round(value, 5) for name, value in cost.items()},
        "render 5120 over vit-b-32 float32": round(cost["sphere 5120"] / cost["vit-b-32 float32"], 3),
        "render 5120 over vit-b-32 bfloat16": round(cost["sphere 5120"] / cost["vit-b-32 bfloat16"], 3),
        "gradient error": errors(given.fields),
    }
    text = json.dumps(report, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
