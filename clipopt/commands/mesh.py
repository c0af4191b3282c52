"""`clipopt mesh`."""

from dataclasses import dataclass

from clipopt.commands.options import RunOptions
from clipopt.pipelines.mesh.settings import MeshSettings


@dataclass(frozen=True)
class Mesh(RunOptions, MeshSettings):
    """Make a coloured mesh from text, or change one.

    A simple form is looked at from all around, over random backgrounds and in changing light; a frozen scorer says how
    well the views fit the words, and its gradient moves the vertices and paints them. A second scorer, the judge,
    looks on and is never in the loss.

        clipopt mesh "a red mushroom"
        clipopt mesh "a red apple" "a snowman" --seeds 2            four meshes
        clipopt mesh "a red mushroom" --mesh cylinder               start from another shape
        clipopt mesh "a chick" --mesh duck.obj --was "a duck"       deform a mesh of yours
        clipopt mesh "a zebra" --mesh horse.glb --mode style        colours, and a relief
        clipopt mesh --resume outputs/mesh/RUN                      continue where it stopped

    The last line names the folder: result.glb, .obj (with .mtl and texture) and .ply, sheet.png (all sides, with and
    without colours), turntable.mp4, report.html (turn it with the mouse), summary.json, a checkpoint.
    """
