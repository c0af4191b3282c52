"""`clipopt caption` and `clipopt rank`: what does a picture show?"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from clipopt.captions.weights import Weights


@dataclass(frozen=True)
class Caption:
    """Say what pictures show.

    Candidates are proposed, and a frozen scorer chooses. With the embedded scorer they are the sentences of its own
    small world, searched slot by slot; with the natural scorer the names of what it knows, fine and coarse. Where both
    are there and none is asked for, photographs go to the natural scorer, and flat drawings to the embedded one; the
    output says which spoke. Any other model needs to be told where candidates come from: a list, an index
    of texts, a template, a captioning model, a search for words; several may be given. The score of a caption is its
    mean cosine with views of the picture plus the parts below; --top 5 shows them. Pictures that are unlike anything
    that the embedded or the natural scorer knows are named in a line on stderr.

        clipopt caption picture.png
        clipopt caption photos/ --out captions.jsonl
        clipopt caption photo.jpg --scorer natural --top 5
        clipopt caption photo.jpg --scorer openai/clip-vit-base-patch32 --texts captions.txt --top 5
        clipopt caption photo.jpg --scorer MODEL --captioner Salesforce/blip-image-captioning-base
        clipopt caption photo.jpg --scorer MODEL --template "a {age} photo of a {thing}" --slots slots.json
    """

    pictures: tuple[Path, ...]
    """Picture files, and folders of them."""
    scorer: str = "auto"
    """The scorer that chooses; see `clipopt image --help`. Auto is the embedded scorer, and for photographs the natural
    one where clipopt[natural] is installed and no candidates are given."""
    texts: Path | None = None
    """A text file of candidates, one a line."""
    corpus: Path | None = None
    """An index of texts that `clipopt index` wrote with the same scorer."""
    nearest: int = 64
    """How many texts of the list or corpus to rank for each picture: the nearest ones."""
    template: str | None = None
    """A sentence with slots in braces; needs --slots."""
    slots: Path | None = None
    """A JSON file of the template's slots, each with its list of values; "" leaves a slot out."""
    captioner: str | None = None
    """An image-to-text model of transformers (BLIP, BLIP-2, GIT, ViT with GPT-2) whose captions are sampled."""
    samples: int = 16
    """Captions to sample for each picture."""
    temperature: float = 1.0
    """Of the sampling: lower is more alike."""
    search: int = 0
    """Search this many words by gradient that the scorer takes for the picture; 0 for none."""
    search_steps: int = 200
    """Steps of that search."""
    polish: str | None = None
    """A masked language model (BERT) that tries other words in the best captions."""
    second: str = "auto"
    """A second stage that ranks the best ten again: a BLIP with a matching head, another scorer, or none. Auto takes,
    beside the embedded scorer, the embedded describer for all of its own sentences: how likely it finds the whole of
    each; for candidates that are given, the embedded judge."""
    background: Path | None = None
    """Texts (a file, one a line) or pictures (a folder) that have nothing to do with the pictures: texts that fit
    those too lose score. The embedded scorer brings its own."""
    top: int = 1
    """Captions of each picture."""
    views: int = 1
    """1 scores the whole picture, up to 5 its corners too."""
    prior: float = Weights.prior
    """Weight of the mean cosine with the background."""
    consensus: float = Weights.consensus
    """Weight of the mean cosine with the other candidates."""
    likelihood: float | None = None
    """Weight of the mean log probability per token, by --language or else by the captioner: 0 unless told otherwise.
    Of the natural scorer's own candidates, of the log probability of their classes: 0.05."""
    language: str | None = None
    """A causal language model (GPT-2) for the likelihood."""
    second_weight: float | None = None
    """Weight of the second stage: 0.5 of a cosine, 0.05 of the describer's log likelihood, unless told otherwise."""
    diversity: float = Weights.diversity
    """With --top: how much a caption loses for being like one above it."""
    seed: int = 0
    """Of samples and searches."""
    alpha: Literal["white", "black", "drop"] = "white"
    """What transparent parts lie on; drop shows the colours that they hide, as the models' own processors do."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Where to write: FILE.jsonl or FILE.csv, or a folder that gets one .txt for each picture."""
    overwrite: bool = False
    """Replace what --out holds of these files."""
    json: bool = False
    """Print JSON alone on stdout."""
    quiet: bool = False
    """No progress bar."""


@dataclass(frozen=True)
class Rank:
    """Rank the texts of a list for every picture.

    The probability is what the scorer's head makes of it: among these texts (softmax, as CLIP), or of each text by
    itself (sigmoid, as SigLIP). --json prints all parts of the score.

        clipopt rank photo.jpg --texts captions.txt
    """

    pictures: tuple[Path, ...]
    """Picture files, and folders of them."""
    texts: Path | None = None
    """A text file, one text a line."""
    scorer: str = "embedded"
    """The scorer that ranks; see `clipopt image --help`."""
    second: str = "none"
    """A second stage; see `clipopt caption --help`."""
    background: Path | None = None
    """As in `clipopt caption`; without it there is no prior."""
    top: int = 5
    """How many of the texts to show for each picture."""
    views: int = 1
    """1 scores the whole picture, up to 5 its corners too."""
    prior: float = Weights.prior
    """Weight of the mean cosine with the background."""
    alpha: Literal["white", "black", "drop"] = "white"
    """What transparent parts lie on; drop shows the colours that they hide, as the models' own processors do."""
    device: str = "auto"
    """Where to compute: cpu, cuda, mps; auto takes a GPU where there is one."""
    out: Path | None = None
    """Where to write: FILE.jsonl or FILE.csv, or a folder that gets one .txt for each picture."""
    overwrite: bool = False
    """Replace what --out holds of these files."""
    json: bool = False
    """Print JSON alone on stdout."""
    quiet: bool = False
    """No progress bar."""
