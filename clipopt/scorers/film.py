"""The small scorer of films that ships with the package: a picture tower, a word tower, and a head that sees order.

One safetensors file holds everything, as for `clipopt.scorers.tower`. It is a `Scorer` of pictures, and beyond that
has `frames` and `encode_video`: how well a film and a text go together depends on the order of the frames.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.scorers.tower import TowerConfig, Towers, TowerScorer
from clipopt.types import Embeddings, Images
from clipopt.weights import read_weights, write_weights


@dataclass(frozen=True)
class FilmConfig:
    """What the head looks like; stored with its weights.

    Attributes:
        frames: Frames of a film, evenly spaced.
        kind: "attention" over the frames, or "recurrent" in both directions.
        width: Channels inside.
        layers: How many layers.
        convolutions: Of the picture tower: kernel, stride and channels of each.
        hidden: Width of the layer behind them, which knows where in the picture it looks.
        activation: The picture tower's nonlinearity.
    """

    frames: int = 12
    kind: Literal["attention", "recurrent"] = "attention"
    width: int = 128
    layers: int = 2
    convolutions: tuple[tuple[int, int, int], ...] = ((5, 2, 16), (3, 2, 32), (3, 2, 64))
    hidden: int = 192
    activation: Literal["silu", "relu"] = "silu"


class FigureTower(nn.Module):
    """Pictures of a figure before a plain background to unit rows.

    A few convolutions, then one layer over all places: where a hand is matters, and a pooled tower learns it slowly.
    The colour of the border counts as nothing.
    """

    def __init__(self, config: FilmConfig, side: int, dim: int) -> None:
        super().__init__()
        self.side = side
        self.act = {"silu": F.silu, "relu": F.relu}[config.activation]
        inner = 3
        layers = []
        for kernel, stride, channels in config.convolutions:
            layers.append(nn.Conv2d(inner, channels, kernel, stride, (kernel - stride + 1) // 2))
            inner, side = channels, side // stride
        self.body = nn.ModuleList(layers)
        self.norm = nn.LayerNorm(inner * side * side)
        self.hidden = nn.Linear(inner * side * side, config.hidden)
        self.head = nn.Linear(config.hidden, dim)

    def forward(self, images: Images) -> Embeddings:
        """Unit rows of pictures that have the tower's size."""
        edge = torch.cat([images[..., 0, :], images[..., :, 0], images[..., :, -1]], -1).mean(-1)
        x = 3 * (images - edge[..., None, None])
        for layer in self.body:
            x = self.act(layer(x))
        return F.normalize(self.head(self.act(self.hidden(self.norm(x.flatten(1))))), dim=-1)


class FilmHead(nn.Module):
    """Unit rows of the frames of films to unit rows of the films.

    What it adds to the mean of the frames starts at zero: an untrained head is blind to order.
    """

    def __init__(self, config: FilmConfig, dim: int) -> None:
        super().__init__()
        self.config = config
        self.first = nn.Linear(2 * dim, config.width)
        if config.kind == "attention":
            self.time = nn.Parameter(0.1 * torch.randn(config.frames, config.width))
            layer = nn.TransformerEncoderLayer(
                config.width, 4, 3 * config.width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            self.body: nn.Module = nn.TransformerEncoder(layer, config.layers, enable_nested_tensor=False)
            inner = config.width
        else:
            self.body = nn.GRU(config.width, config.width, config.layers, batch_first=True, bidirectional=True)
            inner = 2 * config.width
        self.norm = nn.LayerNorm(inner)
        self.last = nn.Linear(inner, dim)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, rows: Float[Tensor, "b f d"]) -> Float[Tensor, "b d"]:
        """Unit rows of films, from those of their frames."""
        change = F.pad(rows.diff(dim=1), (0, 0, 1, 0))
        hidden = self.first(torch.cat([rows, 2 * change], -1) * rows.shape[-1] ** 0.5)
        attending = self.config.kind == "attention"
        hidden = self.body(hidden + self.time) if attending else self.body(F.gelu(hidden))[0]
        return F.normalize(rows.mean(1) + self.last(self.norm(hidden).mean(1)), dim=-1)


class FilmTowers(nn.Module):
    """The trainable towers with the head."""

    def __init__(self, towers: TowerConfig, film: FilmConfig) -> None:
        super().__init__()
        self.towers = Towers(towers)
        self.towers.image = FigureTower(film, towers.image_size, towers.dim)  # type: ignore[assignment]
        self.head = FilmHead(film, towers.dim)

    def save(self, path: Path, metadata: dict[str, str] | None = None) -> None:
        """Write weights, architecture and vocabulary to one safetensors file, see `write_weights`."""
        config = [asdict(self.towers.config), asdict(self.head.config)]
        write_weights(path, self, "clipopt_film", config, metadata or {})


class FilmScorer(nn.Module):
    """Frozen towers and head as a `Scorer` that also reads films. Made by `load_film_scorer`.

    Attributes:
        frames: How many frames of a film it takes.
    """

    head: Literal["softmax", "sigmoid"] = "softmax"

    def __init__(self, model: FilmTowers, name: str, fingerprint: str, metadata: dict[str, str] | None = None) -> None:
        super().__init__()
        self.still = TowerScorer(model.towers, name, fingerprint, metadata)
        self.film = model.head.requires_grad_(False)
        self.name, self.fingerprint, self.metadata = name, fingerprint, metadata or {}
        self.image_size = self.still.image_size
        self.frames = model.head.config.frames
        self.eval()

    def encode_image(self, images: Images) -> Embeddings:
        """Unit rows of pictures of any size in [0, 1]; differentiable."""
        return self.still.encode_image(images)

    def encode_video(self, films: Float[Tensor, "b f 3 _ _"]) -> Embeddings:
        """Unit rows of films of `frames` frames in [0, 1], evenly spaced; differentiable.

        Raises:
            ValueError: If a film has another number of frames.
        """
        if films.ndim != 5 or films.shape[1] != self.frames:
            raise ValueError(
                f"{self.name} takes {self.frames} frames of a film, (batch, frames, 3, height, width), got shape "
                f"{tuple(films.shape)}"
            )
        return self.encode_rows(self.encode_image(films.flatten(0, 1)).unflatten(0, films.shape[:2]))

    def encode_rows(self, rows: Float[Tensor, "b f d"]) -> Embeddings:
        """Unit rows of films whose frames have these unit rows: cached ones, reversed ones."""
        made: Tensor = self.film(rows)
        return made

    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """Unit rows of `texts`; unknown words all read alike, see `unknown_words`."""
        return self.still.encode_text(texts)

    def logits(self, image: Float[Tensor, "b d"], text: Float[Tensor, "n d"]) -> Float[Tensor, "b n"]:
        """Scaled cosines."""
        return self.still.logits(image, text)

    def unknown_words(self, text: str) -> list[str]:
        """The words of `text` that were never learnt, in order, each once."""
        return self.still.unknown_words(text)


def is_film_scorer(path: Path) -> bool:
    """Whether a file holds a scorer of films."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        return False
    try:
        with safe_open(path, "pt") as file:
            return "clipopt_film" in (file.metadata() or {})
    except SafetensorError:
        return False


def load_film_scorer(path: Path | str, *, name: str | None = None, device: str = "cpu") -> FilmScorer:
    """Read a scorer of films that `recipes.embedded` trained.

    Raises:
        ValueError: the file is missing, no safetensors, or holds no scorer of films.
    """
    path = Path(path)
    tensors, (towers, film), metadata = read_weights(path, "clipopt_film", "film scorer", "motion")
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in towers.items()}
    film["convolutions"] = tuple(tuple(layer) for layer in film["convolutions"])
    model = FilmTowers(TowerConfig(**fields), FilmConfig(**film))
    model.load_state_dict(tensors)
    fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return FilmScorer(model, name or path.stem, fingerprint, metadata).to(device)
