"""`clipopt story`."""

from dataclasses import dataclass

from clipopt.commands.options import RunOptions
from clipopt.pipelines.film.settings import FilmSettings


@dataclass(frozen=True)
class Story(RunOptions, FilmSettings):
    """Make a film that goes from prompt to prompt.

    Each frame is the one before as a moving camera sees it, drawn on by a few steps of the optimizer. Between two
    prompts the scorer is asked for both, with weights that pass from one to the other.

        clipopt story "a red apple" "a green tree" "a blue house"
        clipopt story "a sun" "a moon" --zoom 1.02 --rotate 1        come closer and turn, frame by frame
        clipopt story --timeline story.txt --size 384x256            lines such as: 2.5 a green tree
        clipopt story --resume outputs/story/RUN                     continue where it stopped

    The last line names the folder: story.mp4, story.gif, frames/, sheet.png (a contact sheet), result.png (each
    prompt at its best), report.html (open it), summary.json, a checkpoint.
    """
