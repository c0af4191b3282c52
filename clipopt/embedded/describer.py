"""The embedded describer: a small decoder that says, word by word, what a picture tower sees."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.captions import Candidate
from clipopt.embedded.captions import caption
from clipopt.embedded.parsing import parse
from clipopt.scorers.tower import PAD, UNKNOWN, TowerScorer
from clipopt.types import Images
from clipopt.weights import read_weights, write_weights

_BEGIN, _END = UNKNOWN, PAD  # word numbers that no caption of the world holds


@dataclass(frozen=True)
class DescriberConfig:
    """What a describer looks like; stored with its weights.

    Attributes:
        words: How many words the tower's vocabulary has.
        stages: Channels and side of what it looks at place by place, see `last_stages`.
        width: Of its layers.
        looking: Layers in which the places are related to each other.
        layers: Layers that speak.
        heads: Of their attention.
        context: Longest caption in words, its end included.
    """

    words: int
    stages: tuple[tuple[int, int], ...]
    width: int = 128
    looking: int = 2
    layers: int = 2
    heads: int = 4
    context: int = 24


class Describer(nn.Module):
    """Transformer decoder over the words of a tower's vocabulary, which attends to what the tower's stages see."""

    def __init__(self, config: DescriberConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.looks = nn.ModuleList(nn.Linear(channels, width) for channels, _ in config.stages)
        self.positional_places = nn.ParameterList(
            nn.Parameter(0.02 * torch.randn(side * side, width)) for _, side in config.stages
        )
        self.embedding = nn.Embedding(config.words + 2, width)
        self.positional = nn.Parameter(0.02 * torch.randn(config.context, width))
        kind: dict[str, Any] = {"dropout": 0.0, "activation": "gelu", "batch_first": True, "norm_first": True}
        looking = [nn.TransformerEncoderLayer(width, config.heads, 3 * width, **kind) for _ in range(config.looking)]
        for layer in looking:  # which at first change nothing
            for last in (layer.self_attn.out_proj, layer.linear2):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
        self.looking = nn.ModuleList(looking)
        speaking = nn.TransformerDecoderLayer(width, config.heads, 3 * width, **kind)
        self.layers = nn.TransformerDecoder(speaking, config.layers, nn.LayerNorm(width))
        nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def look(self, stages: Sequence[Float[Tensor, "b _ _ _"]]) -> Float[Tensor, "b p w"]:
        """What there is to attend to: every place of the stages, (b, channels, side, side) each.

        Of more stages than it was made for, the first.
        """
        seen = []
        for stage, look, place in zip(stages[: len(self.looks)], self.looks, self.positional_places, strict=True):
            x = stage.float().flatten(2).mT
            seen.append(look(F.layer_norm(x, x.shape[-1:])) + place)
        places = torch.cat(seen, 1)
        for layer in self.looking:
            places = layer(places)
        return places

    def forward(self, seen: Float[Tensor, "b p w"], ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n v"]:
        """Log probabilities of the word after each of `ids`, which begin at the beginning."""
        hidden = self.embedding(ids) + self.positional[: ids.shape[1]]
        mask = nn.Transformer.generate_square_subsequent_mask(ids.shape[1], device=ids.device)
        hidden = self.layers(hidden, seen, tgt_mask=mask, tgt_is_causal=True)
        return F.log_softmax((hidden @ self.embedding.weight.T).float(), -1)


def last_stages(scorer: TowerScorer, images: Images) -> list[Float[Tensor, "b _ _ _"]]:
    """What a describer looks at: the tower's last two stages, and any one before, four places of it together."""
    *finer, middle, coarse = scorer.features(images)
    return [middle, coarse, *(F.pixel_unshuffle(fine, 2) for fine in finer[-1:])]


def new_describer(scorer: TowerScorer) -> Describer:
    """An untrained describer of what `scorer` sees."""
    device = scorer.towers.log_scale.device
    blank = torch.zeros(1, 3, scorer.image_size, scorer.image_size, device=device)
    with torch.no_grad():
        stages = tuple((s.shape[1], s.shape[2]) for s in last_stages(scorer, blank))
    config = scorer.towers.config
    return Describer(DescriberConfig(len(config.vocabulary), stages, context=config.context))


def targets(scorer: TowerScorer, texts: Sequence[str]) -> Int[Tensor, "n _"]:
    """The words of whole captions with their end, padded to the longest; what is too long is cut."""
    ids = scorer.towers.tokenize(texts)[:, : scorer.towers.config.context - 1]
    return F.pad(ids, (0, 1), value=_END)


def likelihoods(describer: Describer, seen: Float[Tensor, "b p w"], ids: Int[Tensor, "b n"]) -> Float[Tensor, "b n"]:
    """Log probability of every word of captions given as `targets`, zero after their end."""
    before = F.pad(ids[:, :-1], (1, 0), value=_BEGIN)
    said = describer(seen, before).gather(2, ids[..., None])[..., 0]
    within = F.pad((ids[:, :-1] != _END).cumprod(1), (1, 0), value=1)
    return said * within


class WorldCaptioner:
    """Captions of the embedded world that a describer says, and how likely it finds others.

    Args:
        scorer: Whose eyes it has: the tower that it was trained on.
        describer: Who speaks.
        width: Sentences that a search keeps; as many are proposed.
    """

    def __init__(self, scorer: TowerScorer, describer: Describer, *, width: int = 8) -> None:
        self.scorer, self.describer, self.width = scorer, describer.eval().requires_grad_(False), width
        self._words = ("", "", *scorer.towers.config.vocabulary)

    def __call__(
        self, pictures: Sequence[Float[Tensor, "3 _ _"]], embeddings: Float[Tensor, "b d"]
    ) -> list[list[Candidate]]:
        """The likeliest sentences for every picture, best first."""
        return [self._search(picture) for picture in pictures]

    @torch.no_grad()
    def likelihood(self, picture: Float[Tensor, "3 _ _"], texts: Sequence[str]) -> list[float]:
        """Log probability of whole texts; words that the tower does not know are as unlikely as can be."""
        ids = targets(self.scorer, texts)
        seen = self._seen(picture).expand(len(texts), -1, -1)
        unknown = torch.tensor([bool(self.scorer.unknown_words(text)) for text in texts])
        said = likelihoods(self.describer, seen, ids.to(seen.device)).sum(1).cpu()
        return said.masked_fill(unknown, -100.0).tolist()

    def _seen(self, picture: Float[Tensor, "3 _ _"]) -> Float[Tensor, "1 p w"]:
        return self.describer.look(last_stages(self.scorer, picture[None].to(self.scorer.towers.log_scale.device)))

    @torch.no_grad()
    def _search(self, picture: Float[Tensor, "3 _ _"]) -> list[Candidate]:
        seen = self._seen(picture)
        beam, found = [((_BEGIN,), 0.0)], dict[str, tuple[float, int]]()
        for length in range(1, self.describer.config.context):
            ids = torch.tensor([row for row, _ in beam], device=seen.device)
            said = self.describer(seen.expand(len(beam), -1, -1), ids)[:, -1]
            said = said + said.new_tensor([total for _, total in beam])[:, None]
            said[:, _BEGIN] = -torch.inf
            best, where = said.flatten().topk(2 * self.width)
            grown = [
                ((*beam[i // said.shape[1]][0], i % said.shape[1]), total)
                for i, total in zip(where.tolist(), best.tolist(), strict=True)
            ]
            for row, total in grown:
                scene = parse(" ".join(self._words[n] for n in row[1:-1])) if row[-1] == _END else None
                if scene is not None:  # spelled as the world does; what it would not say is left out
                    text = caption(scene)
                    found[text] = max(found.get(text, (-torch.inf, 0)), (total, length))
            beam = [(row, total) for row, total in grown if row[-1] != _END][: self.width]
            found = dict(sorted(found.items(), key=lambda pair: -pair[1][0])[: self.width])
            if len(found) == self.width and min(found.values())[0] > beam[0][1]:
                break
        return [Candidate(text, "describer", total / length) for text, (total, length) in found.items()]


def save_describer(describer: Describer, scorer: TowerScorer, path: Path, facts: dict[str, str]) -> None:
    """Write weights in float16, architecture, and whose eyes it has, to one safetensors file."""
    told = {"eyes": scorer.fingerprint, **facts}
    write_weights(path, describer, "clipopt_describer", asdict(describer.config), told)


def load_describer(scorer: TowerScorer, path: Path | None = None) -> Describer:
    """Read a describer that `recipes.embedded` trained; by default the one in the package.

    Raises:
        ValueError: the file is missing, holds no describer, or one that has other eyes than `scorer`.
    """
    if path is None:
        with as_file(files("clipopt.embedded") / "weights" / "describer.safetensors") as shipped:
            return load_describer(scorer, shipped)
    tensors, fields, told = read_weights(path, "clipopt_describer", "describer", "describer")
    if told["eyes"] != scorer.fingerprint:
        raise ValueError(f"{path} was trained on the eyes of scorer {told['eyes']}, got {scorer.fingerprint}")
    describer = Describer(DescriberConfig(**{"looking": 0, **fields, "stages": tuple(map(tuple, fields["stages"]))}))
    describer.load_state_dict(tensors)
    return describer.to(scorer.towers.log_scale.device)
