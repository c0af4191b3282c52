"""The SVG says what the picture shows."""

import re
import xml.etree.ElementTree as ElementTree

import pytest
import torch

from clipopt.geometry.strokes import draw
from clipopt.params import Strokes
from clipopt.types import generator

SVG = "{http://www.w3.org/2000/svg}"


def rgb(code):
    return [channel / 255 for channel in bytes.fromhex(code.removeprefix("#"))]


def raster(text, height, width):
    """An independent reading of the file: its curves walked step by step, its numbers taken as they stand."""
    root = ElementTree.fromstring(text)
    outlines, colours, widths = [], [], []
    for path in root.iter(f"{SVG}path"):
        numbers = [float(number) for number in re.findall(r"-?[\d.]+", path.get("d"))]
        points = torch.tensor(numbers).view(-1, 2)
        curve = [points[0]]
        for first in range(0, len(points) - 1, 3):
            p0, p1, p2, p3 = points[first : first + 4]
            for t in (torch.arange(20) + 1) / 20:
                a, b, c = p0.lerp(p1, t), p1.lerp(p2, t), p2.lerp(p3, t)
                curve.append(a.lerp(b, t).lerp(b.lerp(c, t), t))
        outlines.append(torch.stack(curve))
        paint = "stroke" if path.get("stroke") else "fill"
        colours.append([*rgb(path.get(paint)), float(path.get(f"{paint}-opacity"))])
        widths.append(float(path.get("stroke-width", "0")))
    lines = torch.tensor([widths]) if any(widths) else None
    drawn = draw(torch.stack(outlines)[None], torch.tensor([colours]), lines, height, width)
    ground = torch.tensor(rgb(root.find(f"{SVG}rect").get("fill")))[:, None, None]
    return drawn[:, :3] + (1 - drawn[:, 3:]) * ground


@pytest.mark.parametrize("kind", ["strokes", "shapes"])
def test_svg_gives_the_same_picture(kind):
    param = Strokes(40, 56, rng=[generator(0), generator(1)], std=0.3, kind=kind, count=8, background=(0.2, 0.9, 1.0))
    text = param.svg(1)
    root = ElementTree.fromstring(text)
    assert root.get("viewBox") == "0 0 56 40"
    assert root.get("fill-rule" if kind == "shapes" else "stroke-linecap") in ("evenodd", "round")
    assert ("Z" in text) == (kind == "shapes")
    error = raster(text, 40, 56) - param()[1:]
    assert error.abs().mean() < 0.003
    assert error.abs().max() < 0.2


def test_bad_input_is_named():
    for arguments, message in (
        ({"count": 0}, "at least 1 curve"),
        ({"kind": "shapes", "segments": 1}, "2 where closed"),
        ({"background": (255, 255, 255)}, "divide bytes by 255"),
    ):
        with pytest.raises(ValueError, match=message):
            Strokes(8, 8, rng=generator(0), **arguments)
