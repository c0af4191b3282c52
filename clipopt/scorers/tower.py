"""The small scorer that ships with the package: a residual picture tower beside a word transformer.

One safetensors file holds everything: weights in float16, and in its metadata the architecture and the
vocabulary. `recipes.embedded` writes such files, `load_tower` reads them.
"""

import hashlib
import json
import math
import re
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.scorers.characters import plain, runs, saying
from clipopt.types import Embeddings, Images, check_images, check_texts
from clipopt.weights import read_weights, write_weights

PAD, UNKNOWN = 0, 1
_SPECIAL = 2
_ACTIVATIONS = {"silu": F.silu, "relu": F.relu}


@dataclass(frozen=True)
class TowerConfig:
    """What a tower looks like; stored with its weights.

    Attributes:
        image_size: Side of the square input in pixels.
        stem: Stride of the first convolution; its kernel has 2 * stem - 1 taps a side.
        widths: Channels of each stage; every stage after the first halves the resolution.
        depths: Residual blocks of each stage.
        activation: Name of the nonlinearity.
        sharp_pooling: Whether log-sum-exp pooling stands beside the mean.
        places: Whether the last two stages know where in the picture they look; pooling alone forgets left and right.
        dim: Length of an embedding.
        text_width: Width of the word transformer.
        text_layers: Its layers.
        context: Longest prompt in words; what lies beyond is not read.
        vocabulary: The known words; all others share one embedding.
    """

    image_size: int = 64
    stem: int = 2
    widths: tuple[int, ...] = (48, 96, 192, 320)
    depths: tuple[int, ...] = (1, 1, 1, 1)
    activation: Literal["silu", "relu"] = "silu"
    sharp_pooling: bool = True
    places: bool = False
    dim: int = 192
    text_width: int = 128
    text_layers: int = 2
    context: int = 24
    vocabulary: tuple[str, ...] = field(default=(), repr=False)


def words(text: str) -> list[str]:
    """The words of `text` as a tower reads them: lower case, letters without accents and digits only."""
    return re.findall(r"[a-z]+|[0-9]+", plain(text).lower())


class _Block(nn.Module):
    """Pre-activation residual block without normalisation; the last convolution starts at zero."""

    def __init__(self, inner: int, outer: int, stride: int, activation: str) -> None:
        super().__init__()
        self.first = nn.Conv2d(inner, outer, 3, stride, 1)
        self.second = nn.Conv2d(outer, outer, 3, 1, 1)
        self.skip = nn.Conv2d(inner, outer, 1, bias=False) if inner != outer else nn.Identity()
        self.stride = stride
        self.act = _ACTIVATIONS[activation]
        nn.init.zeros_(self.second.weight)
        nn.init.kaiming_normal_(self.first.weight)
        if isinstance(self.skip, nn.Conv2d):
            nn.init.orthogonal_(self.skip.weight.data.view(outer, inner))

    def forward(self, x: Tensor) -> Tensor:
        h = self.second(self.act(self.first(self.act(x))))
        if self.stride > 1:
            x = F.avg_pool2d(x, self.stride)
        return self.skip(x) + h


class ImageTower(nn.Module):
    """Pictures of the configured size to unit rows."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        c = config
        self.config = c
        self.stem = nn.Conv2d(3, c.widths[0], 2 * c.stem - 1, c.stem, c.stem - 1)
        blocks: list[nn.Module] = []
        inner, side = c.widths[0], c.image_size // c.stem
        self.position = nn.ParameterDict()  # what is added before a block, by its number
        for stage, (width, depth) in enumerate(zip(c.widths, c.depths, strict=True)):
            for index in range(depth):
                stride = 2 if stage and not index else 1
                if c.places and not index and stage >= len(c.widths) - 2:
                    self.position[str(len(blocks))] = nn.Parameter(torch.zeros(1, inner, side, side))
                blocks.append(_Block(inner, width, stride, c.activation))
                inner, side = width, side // stride
        self.body = nn.Sequential(*blocks)
        self.norm = nn.LayerNorm(inner)
        pooled = inner * (2 if c.sharp_pooling else 1)
        self.head = nn.Sequential(nn.Linear(pooled, pooled), nn.SiLU(), nn.Linear(pooled, c.dim))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: Images) -> Embeddings:
        """Unit rows of pictures that have the tower's size."""
        x = self.stages(images)[-1].float().flatten(2).mT
        with torch.autocast(x.device.type, enabled=False):
            x = F.silu(self.norm(x))
            pooled = [x.mean(1)]
            if self.config.sharp_pooling:
                pooled.append(torch.logsumexp(4 * x, 1) / 4 - math.log(x.shape[1]) / 4)
            return F.normalize(self.head(torch.cat(pooled, 1)), dim=-1)

    def stages(self, images: Images) -> list[Tensor]:
        """What each block makes of pictures that have the tower's size, fine before coarse: (b, channels, h, w)."""
        x = self.stem(((images - 0.5) * 3).contiguous(memory_format=torch.channels_last))
        made = []
        for number, block in enumerate(self.body):
            if str(number) in self.position:
                x = x + self.position[str(number)]
            x = block(x)
            made.append(x)
        return made


class _Attention(nn.Module):
    """Pre-norm transformer layer; plain attention, which beats the fused one on so few words."""

    def __init__(self, width: int, heads: int = 4) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 3 * width), nn.GELU(), nn.Linear(3 * width, width)
        )

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        q, k, v = self.qkv(self.norm(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attention = (q @ k.mT / math.sqrt(q.shape[-1]) + bias).softmax(-1)
        x = x + self.out((attention.to(v.dtype) @ v).transpose(1, 2).flatten(2))
        return x + self.mlp(x)


class TextTower(nn.Module):
    """Word numbers, zero where a prompt has ended, to unit rows."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        width = config.text_width
        self.embedding = nn.Embedding(len(config.vocabulary) + _SPECIAL, width, padding_idx=PAD)
        self.position = nn.Parameter(torch.zeros(config.context, width))
        self.layers = nn.ModuleList(_Attention(width) for _ in range(config.text_layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.dim)
        nn.init.normal_(self.embedding.weight, std=0.1)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, ids: Int[Tensor, "n _"]) -> Float[Tensor, "n _"]:
        """Unit rows of prompts given as `Towers.tokenize` gives them."""
        hidden = self.embedding(ids) + self.position[: ids.shape[1]]
        bias = torch.zeros(ids.shape, device=ids.device).masked_fill(ids == PAD, -1e4)[:, None, None]
        for layer in self.layers:
            hidden = layer(hidden, bias)
        hidden = self.norm(hidden).float()
        with torch.autocast(hidden.device.type, enabled=False):
            kept = (ids != PAD).float().unsqueeze(-1)
            pooled = (hidden * kept).sum(1) / kept.sum(1).clamp(min=1)
            return F.normalize(self.head(pooled), dim=-1)


class Towers(nn.Module):
    """The trainable pair of towers with its logit scale."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.image = ImageTower(config)
        self.text = TextTower(config)
        self.log_scale = nn.Parameter(torch.tensor(math.log(12.0)))
        self._index = {word: number + _SPECIAL for number, word in enumerate(config.vocabulary)}

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "n _"]:
        """Word numbers, padded on the right with zeros to the longest of `texts`."""
        rows = [[self._index.get(w, UNKNOWN) for w in words(t)][: self.config.context] or [UNKNOWN] for t in texts]
        ids = torch.zeros(len(rows), max(map(len, rows), default=1), dtype=torch.long)
        for row, numbers in zip(ids, rows, strict=True):
            row[: len(numbers)] = torch.tensor(numbers)
        return ids

    @torch.no_grad()
    def adopt(self, other: "Towers") -> None:
        """Take the weights of towers of the same architecture.

        Words that `other` does not know keep the weights they have here, and so do maps of places where it has none.

        Raises:
            ValueError: the architectures differ.
        """
        places = self.config.places or other.config.places
        theirs, ours = replace(other.config, places=places, vocabulary=()), replace(self.config, vocabulary=())
        if theirs != ours:
            raise ValueError(f"these weights are of another architecture: expected {ours}, got {theirs}")
        taken = other.state_dict()
        rows = taken.pop("text.embedding.weight")
        self.load_state_dict(taken, strict=False)
        own = self.text.embedding.weight
        own[:_SPECIAL] = rows[:_SPECIAL]
        for word in self._index.keys() & other._index.keys():
            own[self._index[word]] = rows[other._index[word]]

    def save(self, path: Path, metadata: dict[str, str] | None = None) -> None:
        """Write weights, architecture and vocabulary to one safetensors file, see `write_weights`."""
        write_weights(path, self, "clipopt_tower", asdict(self.config), metadata or {})


class TowerScorer(nn.Module):
    """A frozen pair of towers as a `Scorer`. Made by `load_tower`."""

    head: Literal["softmax", "sigmoid"] = "softmax"
    reentrant: Literal[True] = True

    def __init__(self, towers: Towers, name: str, fingerprint: str, metadata: dict[str, str] | None = None) -> None:
        super().__init__()
        self.towers = towers.requires_grad_(False)
        self.eval()
        self.name = name
        self.fingerprint = fingerprint
        self.metadata = metadata or {}
        self.image_size = towers.config.image_size
        self._known = frozenset(towers.config.vocabulary)

    def encode_image(self, images: Images) -> Embeddings:
        """Unit rows of pictures of any size, which are squashed to the tower's square; differentiable."""
        return self.towers.image(self._fit(check_images(images, like=self.towers.log_scale)))

    def features(self, images: Images) -> list[Tensor]:
        """What the stages of the picture tower see, fine before coarse: (b, channels, h, w); differentiable."""
        return self.towers.image.stages(self._fit(check_images(images, like=self.towers.log_scale)))

    def _fit(self, images: Images) -> Images:
        if images.shape[-2:] == (self.image_size, self.image_size):
            return images
        return F.interpolate(images, (self.image_size, self.image_size), mode="bicubic", antialias=True)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """Unit rows of `texts`; unknown words all read alike, see `unknown_words`.

        Of one that is too long the beginning is read, with a warning that names what was dropped.
        """
        texts, most = check_texts(texts), self.towers.config.context
        for text in texts:
            if len(said := words(text)) > most:
                dropped = " ".join(said[most:])
                warnings.warn(
                    f"{self.name} reads {most} words, this text has {len(said)}; dropped: {dropped!r}", stacklevel=3
                )
        return self.towers.text(self.towers.tokenize(texts).to(self.towers.log_scale.device))

    def logits(self, image: Float[Tensor, "b d"], text: Float[Tensor, "n d"]) -> Float[Tensor, "b n"]:
        """Scaled cosines."""
        return self.towers.log_scale.exp() * image @ text.T

    def percentile(self, cosines: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """What share of drawings like those it was trained on, 0 to 100 %, match their captions less well than this.

        Above 100 % there is nothing: a picture that every scorer in its loss likes better than any such drawing is no
        better for it. NaN where the file of the weights does not say how they match.
        """
        if "matches" not in self.metadata:
            return torch.full_like(cosines, torch.nan)
        real = torch.tensor(json.loads(self.metadata["matches"])).to(cosines)
        above = torch.searchsorted(real, cosines.contiguous()).clamp(1, len(real) - 1)
        low, high = real[above - 1], real[above]
        within = ((cosines - low) / (high - low).clamp_min(1e-9)).clamp(0, 1)
        return (above - 1 + within) * (100 / (len(real) - 1))

    def unknown_words(self, text: str) -> list[str]:
        """The words of `text` that the tower never learnt, each once; then what it cannot read, such as emoji."""
        lacked = [w for w in dict.fromkeys(words(text)) if w not in self._known]
        return lacked + runs(text, self.unread(text))

    def unread(self, text: str) -> list[str]:
        """The characters of `text` that are no letters of its alphabet, in order, each once."""
        return [c for c in saying(text) if not words(c)]


def _config(fields: dict[str, Any]) -> TowerConfig:
    lists: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}
    return TowerConfig(**lists)


def load_tower(path: Path | str, *, name: str | None = None, device: str = "cpu") -> TowerScorer:
    """Read a tower that `recipes.embedded` trained.

    Raises:
        ValueError: the file is missing, no safetensors, or holds no scorer.
    """
    path = Path(path)
    tensors, config, metadata = read_weights(path, "clipopt_tower", "scorer", "scorer")
    towers = Towers(_config(config))
    towers.load_state_dict(tensors)
    fingerprint = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    return TowerScorer(towers, name or path.stem, fingerprint, metadata).to(device)
