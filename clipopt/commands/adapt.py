"""`clipopt adapt`: teach a scorer labels of your own from a few pictures."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipopt.adapt.options import Method, Options


@dataclass(frozen=True)
class Adapt:
    """Teach a scorer labels of your own from a few pictures of each.

    DATA is a folder with a subfolder of pictures for each label, named like it, or a CSV file of path,label. --shots of
    each label are learned from; the others are held out, and how many of them are named rightly is reported beside the
    base scorer without training. Nothing is chosen by the held-out pictures.

    What is written is a scorer again, for any command that takes --scorer, and for guiding `clipopt image`.

        clipopt adapt animals/ --shots 8 --out animals.adapter
        clipopt adapt animals.csv --method lora --scorer openai/clip-vit-base-patch32 --out animals.adapter
        clipopt classify photos/ --scorer animals.adapter
        clipopt image "a photo of a dog" --scorer animals.adapter

    Methods: probe (a linear classifier held to the labels' texts), projection (a matrix on picture rows held to the
    identity), tip (the pictures as a cache, no training) and tip-f (trained), coop (learned words before the label),
    lora (thin additions to matrices and kernels), full (all weights), wise-ft (half way back from there).
    """

    data: Path
    """The pictures with their labels."""
    method: Method = "probe"
    """How to learn; probe, projection and tip take seconds."""
    shots: int = 16
    """Pictures of each label to learn from; 0 for all of them."""
    scorer: str = "embedded"
    """The base: see `clipopt image --help`. An adapter belongs to its base."""
    templates: tuple[str, ...] = ()
    """Sentences with {} for the label; see `clipopt classify --help`."""
    anchor: float | None = None
    """probe, projection: how strongly they are held to their start."""
    alpha: float = Options.alpha
    """tip, tip-f: weight of the cache beside the text."""
    beta: float = Options.beta
    """tip, tip-f: how fast the cache forgets pictures that are less alike."""
    context: str = Options.context
    """coop: the words that the learned ones start from."""
    rank: int = Options.rank
    """lora: columns of the factors."""
    share: float = Options.share
    """wise-ft: how far to go from the base (0) to the fine-tuned weights (1)."""
    objective: Literal["auto", "contrastive", "sigmoid"] = Options.objective
    """lora, wise-ft, full: the loss; auto takes what the scorer was trained with."""
    steps: int | None = None
    """Steps of tip-f, coop, lora, wise-ft, full."""
    rate: float | None = None
    """Their learning rate, in units of the size of what is learned."""
    transparency: Literal["white", "black", "drop"] = "white"
    """What transparent parts lie on (--alpha of other commands); drop shows the colours that they hide, as the models'
    own processors do."""
    seed: int = 0
    """Of the choice of pictures and of the run."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """The adapter, a folder; by default the name of the data with .adapter behind it."""
    overwrite: bool = False
    """Replace an adapter that is there."""
    json: bool = False
    """Print the summary as JSON alone on stdout."""
