"""`clipopt image`."""

from dataclasses import dataclass

from clipopt.commands.options import RunOptions
from clipopt.pipelines.image.settings import ImageSettings


@dataclass(frozen=True)
class Image(RunOptions, ImageSettings):
    """Make pictures from text.

    A picture starts as grey noise, or as a rough sketch of the words. A frozen scorer says how well random crops of
    it fit the words, and its gradient says what to change; after a hundred steps or so there is a picture. Another
    scorer, the judge, looks on: it is never in the loss, so its score tells whether there is something to see or the
    scorer was fooled.

        clipopt image "a red apple on a blue background"
        clipopt image "a blue star" "a green tree" --seeds 2        four pictures in one batch
        clipopt image '{"a red fox in the snow": 1, "a tree": -0.3}'  weights: a negative one repels
        clipopt image "a castle" --scorer openai/clip-vit-base-patch32
        clipopt image "a red apple" --param shapes --transparent --render-size 2048
        clipopt image "a heart" --init photo.png --mask mask.png    change what is white in the mask
        clipopt image "a green apple" --init apple.png --was "a red apple"
        clipopt image "a valley" --region left.png "a tree" --region right.png "a house"
        clipopt image --resume outputs/image/RUN                    continue where it stopped

    The last line names the folder: result.png, report.html (open it), summary.json, progress.mp4, a checkpoint.
    """
