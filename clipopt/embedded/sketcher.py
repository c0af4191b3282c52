"""The embedded sketcher: a small transformer that lays out what a prompt of the embedded world says, in one step.

It reads the words and answers with the latents of the embedded generator's coder, place by place. A drawing begins at
what the coder makes of them: a rough picture of the right thing where nothing better is known than the words.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.scorers.tower import PAD, UNKNOWN, words
from clipopt.weights import read_weights, write_weights

_PATCH = 2  # latents of a place: so many in height and width


@dataclass(frozen=True)
class SketcherConfig:
    """What a sketcher looks like; stored with its weights.

    Attributes:
        vocabulary: The words that it knows.
        channels: Of the latents.
        side: Their height and width.
        width: Of its layers.
        layers: How many.
        whole: Width of the layer that draws the whole picture at once, which the places then correct.
        heads: Of their attention.
        context: Longest prompt in words.
    """

    vocabulary: tuple[str, ...]
    channels: int = 8
    side: int = 12
    width: int = 192
    layers: int = 3
    whole: int = 640
    heads: int = 6
    context: int = 24


class Sketcher(nn.Module):
    """Transformer over the words of a prompt and the places of a picture, which all attend to each other.

    One more place stands for the whole: what it has read becomes a picture at once, which learns the look of a thing
    sooner than places by themselves do. Where things stand, and how many, is for the places.
    """

    def __init__(self, config: SketcherConfig) -> None:
        super().__init__()
        self.config = config
        width, places = config.width, (config.side // _PATCH) ** 2
        self.embedding = nn.Embedding(len(config.vocabulary) + 2, width)
        self.positional_words = nn.Parameter(0.02 * torch.randn(config.context, width))
        self.positional_places = nn.Parameter(0.5 * torch.randn(places + 1, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, config.heads, 3 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, config.channels * _PATCH**2)
        self.whole = nn.Sequential(
            nn.Linear(width, config.whole), nn.GELU(), nn.Linear(config.whole, config.channels * config.side**2)
        )
        nn.init.normal_(self.embedding.weight, std=0.5)
        self._index = {word: n + 2 for n, word in enumerate(config.vocabulary)}

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "n t"]:
        """Numbers of the words, padded to the longest text; what is too long is cut."""
        rows = [[self._index.get(word, UNKNOWN) for word in words(text)][: self.config.context] for text in texts]
        longest = max(map(len, rows), default=0)
        return torch.tensor([row + [PAD] * (longest - len(row)) for row in rows], dtype=torch.long)

    def knows(self, text: str) -> bool:
        """Whether `text` says something, in words that it knows."""
        return bool(words(text)) and all(word in self._index for word in words(text))

    def forward(self, ids: Int[Tensor, "n t"]) -> Float[Tensor, "n c h w"]:
        """Latents of unit variance."""
        told = self.embedding(ids) + self.positional_words[: ids.shape[1]]
        x = torch.cat([self.positional_places.expand(len(ids), -1, -1), told], 1)
        places = len(self.positional_places)
        padded = F.pad(ids == PAD, (places, 0), value=False)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=padded)
        x = self.norm(x[:, :places])
        made = self.out(x[:, :-1]).mT.unflatten(2, (self.config.side // _PATCH, -1))
        side = self.config.side
        return F.pixel_shuffle(made, _PATCH) + self.whole(x[:, -1]).unflatten(1, (self.config.channels, side, side))


def save_sketcher(sketcher: Sketcher, path: Path, facts: dict[str, str]) -> None:
    """Write weights in float16 and architecture to one safetensors file."""
    write_weights(path, sketcher, "clipopt_sketcher", asdict(sketcher.config), facts)


def load_sketcher(path: Path | None = None) -> Sketcher:
    """Read a sketcher that `recipes.embedded` trained; by default the one in the package.

    Raises:
        ValueError: the file is missing or holds no sketcher.
    """
    if path is None:
        with as_file(files("clipopt.embedded") / "weights" / "sketcher.safetensors") as shipped:
            return load_sketcher(shipped)
    tensors, fields, _ = read_weights(path, "clipopt_sketcher", "sketcher", "sketcher")
    sketcher = Sketcher(SketcherConfig(**{**fields, "vocabulary": tuple(fields["vocabulary"])}))
    sketcher.load_state_dict(tensors)
    return sketcher.eval().requires_grad_(False)
