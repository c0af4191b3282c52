"""`clipopt motion`."""

from dataclasses import dataclass

from clipopt.commands.options import RunOptions
from clipopt.pipelines.motion.settings import MotionSettings


@dataclass(frozen=True)
class Motion(RunOptions, MotionSettings):
    """Make a motion from text: a figure that does what a sentence says, as BVH, animated GLB and joint positions.

    The sentence is taken apart at its "then". For each part a bank of poses is searched for what fits, pose after
    pose, as a scorer of films sees it; gradients through the renderer refine all of it together, and the feet are
    locked to the ground. Joint limits hold by construction. A second scorer, the judge, looks on and is never in the
    loss.

        clipopt motion "a person raises both arms, then squats"
        clipopt motion "a person walking" --seconds 4 --loop
        clipopt motion "a person waving with the left hand" --seconds 2
        clipopt motion "a person" --phases "a person squatting; a person raising both arms"
        clipopt motion "a person waves with both hands" --rig hero.glb
        clipopt motion "a person sits down" --scorer openai/clip-vit-base-patch32 --film microsoft/xclip-base-patch32
        clipopt motion --resume outputs/motion/RUN            continue where it stopped

    The last line names the folder: result.bvh and result.glb open in Blender, result.npz holds the 22 joints in
    HumanML3D's order; result.mp4, result.gif, sheet.png (over time), report.html, summary.json.
    """
