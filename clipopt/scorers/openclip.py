"""Models of the open_clip library, as scorers."""

import difflib
import json
import re
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.io.folders import at_home
from clipopt.scorers.characters import pieces, unread
from clipopt.scorers.fingerprint import PROBE_TEXT, fingerprint
from clipopt.scorers.hub import (
    OPEN_CLIP,
    TOKENIZER,
    Layout,
    find_weights,
    hub_folder,
    missing_files,
    reason,
    without_bars,
)
from clipopt.scorers.precision import in_range, resolve_dtype
from clipopt.scorers.preprocess import ImageSpec, fit
from clipopt.scorers.tokens import to_the_letter, unmarked
from clipopt.types import Embeddings, Images, check_images, check_texts

_TEXTS_AT_ONCE = 256
_MARKS = re.compile("<(start_of_text>|end_of_text>)", re.IGNORECASE)
"""The special tokens of open_clip's own tokenizer, which has no way to read them as text."""
_PREPROCESSING = ("mean", "std", "interpolation", "resize_mode")


class OpenClipScorer(nn.Module):
    """A frozen model of open_clip as a `Scorer`. Made by `load_open_clip`.

    Args:
        model: The model in float32 with its `visual.preprocess_cfg`, as `open_clip.create_model` returns it.
        tokenizer: Its tokenizer, as `open_clip.get_tokenizer` returns it.
        config: Its configuration; part of the fingerprint.
        name: What to call it.
        dtype: What to compute in; embeddings are float32 all the same.

    Raises:
        ValueError: if the model does not see a square.
    """

    head: Literal["softmax", "sigmoid"]

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        config: Mapping[str, Any],
        *,
        name: str,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        model.eval().requires_grad_(False)  # open_clip returns models in training mode
        self.name = name
        self.image_spec = _image_spec(model.visual.preprocess_cfg, name)
        self.image_size = self.image_spec.side
        self.head = "softmax" if model.logit_bias is None else "sigmoid"
        self.context = int(tokenizer.context_length)
        self.tokenizer = tokenizer
        # The library it wraps, if any: its class may pad on the left, where the last token is taken.
        self._inner = getattr(tokenizer, "tokenizer", None)
        if self._inner is not None:
            to_the_letter(self._inner)
            self._inner.padding_side = self._inner.truncation_side = "right"
        # Taken before the weights are rounded: in bfloat16 a scale of 100 would be 98.9.
        self.scale = float(model.logit_scale.exp())
        self.bias = 0.0 if model.logit_bias is None else float(model.logit_bias)
        described = {
            "library": "open_clip",
            "model": config,
            "image": asdict(self.image_spec),
            "vocabulary": sorted((tokenizer.encoder if self._inner is None else self._inner.get_vocab()).items()),
            "probe": tokenizer([PROBE_TEXT])[0].tolist(),
        }
        self.fingerprint = fingerprint(described, model.state_dict())
        self.dtype = dtype
        self.model = model.to(dtype)
        self.eval()

    def encode_image(self, images: Images) -> Embeddings:
        """Unit rows of pictures of any size, differentiable in them."""
        images = check_images(images, like=self.model.logit_scale)
        return in_range(self._encode, images, self.dtype)

    def _encode(self, images: Images) -> Embeddings:
        pixels = fit(images, self.image_spec).to(self.dtype)
        return F.normalize(self.model.encode_image(pixels).float(), dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """Unit rows of texts. One that is too long is cut, with a warning that names what was dropped."""
        texts = check_texts(texts)
        device = self.model.logit_scale.device
        parts = [texts[start : start + _TEXTS_AT_ONCE] for start in range(0, len(texts), _TEXTS_AT_ONCE)]
        return F.normalize(torch.cat([self.model.encode_text(self.tokenize(p).to(device)).float() for p in parts]))

    def logits(self, image: Float[Tensor, "b d"], text: Float[Tensor, "n d"]) -> Float[Tensor, "b n"]:
        """Scaled cosines, plus the bias of a sigmoid head."""
        return self.scale * image @ text.T + self.bias

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "n _"]:
        """Token numbers as the model was trained on them: its own tokenizer's, padded to its context.

        What looks like a special token is text.
        """
        texts = [self._letters(text) for text in texts]
        for text in texts:
            numbers, room = self._content(text)
            if len(numbers) > room:
                dropped = (self._inner or self.tokenizer).decode(numbers[room:]).strip()
                warnings.warn(
                    f"{self.name} reads {room} tokens of content, this text has {len(numbers)}; dropped: {dropped!r}",
                    stacklevel=3,
                )
        return self.tokenizer(texts)

    def unread(self, text: str) -> list[str]:
        """The characters of `text` that no token of the vocabulary holds, in order, each once."""
        tokenizer = self._inner or self.tokenizer
        return unread(text, lambda text: pieces(tokenizer, self._content(self._letters(text))[0]))

    def _letters(self, text: str) -> str:
        """`text` without what the tokenizer would take for one of its special tokens."""
        if self._inner is not None:
            return unmarked(text, self._inner)
        cleaned = self.tokenizer.clean_fn(text)
        return _MARKS.sub(r"< \1", cleaned) if _MARKS.search(cleaned) else text

    def _content(self, text: str) -> tuple[list[int], int]:
        """The token numbers of `text` without those that mark its start and end, and how many there is room for."""
        if self._inner is None:
            return self.tokenizer.encode(text), self.context - 2
        cleaned = self.tokenizer.clean_fn(text)
        numbers = self._inner(cleaned, add_special_tokens=False, verbose=False)["input_ids"]
        return numbers, self.context - self._inner.num_special_tokens_to_add()


@without_bars()
def load_open_clip(spec: str, *, device: torch.device | str = "cpu", dtype: str = "auto") -> OpenClipScorer:
    """Load a model of open_clip.

    Args:
        spec: "hf-hub:OWNER/MODEL"; a local folder with an open_clip_config.json; "NAME/TAG" such as
            "ViT-B-32/laion2b_s34b_b79k", as `open_clip.list_pretrained()` lists them; or "NAME/FILE", a checkpoint
            of the architecture NAME.
        device: Where to put it.
        dtype: What to compute in: "auto", "float32", "bfloat16" or "float16".

    Raises:
        ValueError: if open_clip is not installed, `spec` names nothing, or what it names is missing or broken.
    """
    open_clip = _import()
    number_format = resolve_dtype(dtype, device)
    folder = _folder(spec)
    source = _named(open_clip, spec) if folder is None else _whole(folder)
    # The settings of a folder may not let its code run.
    local = {"local_files_only": True, "trust_remote_code": False}
    if not source.config["text_cfg"].get("hf_tokenizer_name"):
        local = {}
    try:
        model = open_clip.create_model(source.model, require_pretrained=True, **source.options)
        tokenizer = open_clip.get_tokenizer(source.model, **local)
        name = spec if folder is None or spec.startswith("hf-hub:") else folder.name
        scorer = OpenClipScorer(model, tokenizer, source.config, name=name, dtype=number_format)
    except Exception as error:  # a checkpoint that is not what it says fails in the ways of several libraries
        raise ValueError(f"cannot load {spec}: {reason(error)}") from error
    return scorer.to(torch.device(device))


@dataclass(frozen=True)
class _Source:
    """What `open_clip.create_model` is to load: its first argument, further ones, and the configuration."""

    model: str
    config: Mapping[str, Any]
    options: Mapping[str, Any]


def _import() -> Any:
    try:
        import open_clip
    except ModuleNotFoundError as error:
        raise ValueError(f"this scorer needs {error.name}: pip install 'clipopt[open-clip]'") from error
    except (ImportError, RuntimeError) as error:
        raise ValueError(
            f"open_clip cannot be imported ({textwrap.shorten(str(error), 120)}): install the torchvision that was "
            f"built for torch {torch.__version__}"
        ) from error
    return open_clip


def _folder(spec: str) -> Path | None:
    """The folder that holds all of the model, if it is one."""
    if spec.startswith("hf-hub:"):
        return hub_folder(spec.removeprefix("hf-hub:"), OPEN_CLIP)
    folder = at_home(spec)
    if not spec or not folder.is_dir():
        return None
    if missing := missing_files(folder, OPEN_CLIP):
        raise ValueError(f"{folder} has no {' and no '.join(missing)}: expected a whole model of open_clip")
    return folder


def _whole(folder: Path) -> _Source:
    path = folder / "open_clip_config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        config = {"text_cfg": {}, "vision_cfg": {}, **config}
        if not all(isinstance(config[part], dict) for part in ("text_cfg", "vision_cfg")):
            raise ValueError("expected text_cfg and vision_cfg to be objects")
        return _Source(f"local-dir:{folder}", config, {})
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"cannot read a model's configuration from {path}: {error!r}") from error


def _named(open_clip: Any, spec: str) -> _Source:
    name, _, source = spec.partition("/")
    if name not in open_clip.list_models():
        near = ", ".join(difflib.get_close_matches(name, open_clip.list_models(), 3, 0.5)) or "open_clip.list_models()"
        raise ValueError(
            f"open_clip has no model {name!r}, see {near}: expected NAME/TAG, NAME/FILE, hf-hub:OWNER/MODEL or the "
            "folder of a model"
        )
    tags = {tag: open_clip.get_pretrained_cfg(name, tag) for tag in open_clip.list_pretrained_tags_by_model(name)}
    tag, file = source.lower().replace("-", "_"), at_home(source)
    if tag in tags:
        chosen = tags[tag]
        file = _download(chosen["hf_hub"])
    elif file.is_file():
        chosen = _common(name, list(tags.values()))
    else:
        raise ValueError(f"{source!r} is neither a file nor a tag of {name}; its tags: {', '.join(tags) or 'none'}")
    config = open_clip.get_model_config(name)
    if repository := config["text_cfg"].get("hf_tokenizer_name"):
        hub_folder(repository, TOKENIZER)
    # The weights know which of the two activations they were trained with, the name of the model may not.
    quick_gelu = config.get("quick_gelu", False) or chosen.get("quick_gelu", False)
    options = {
        "pretrained": str(file),
        "force_quick_gelu": quick_gelu,
        "force_preprocess_cfg": {key: chosen[key] for key in _PREPROCESSING if key in chosen},
    }
    return _Source(name, {**config, "quick_gelu": quick_gelu}, options)


def _download(place: str) -> Path:
    """The weights at `place`: "owner/model/file", or "owner/model/" for those under the usual name."""
    repository, _, name = place.rpartition("/")
    safe = f"{name.rpartition('.')[0]}.safetensors"
    weights = (re.escape(safe), re.escape(name)) if name else OPEN_CLIP.weights[:2]
    layout = Layout(required={}, weights=weights, elsewhere=OPEN_CLIP.elsewhere)
    path = find_weights(hub_folder(repository, layout), layout)
    if path is None:
        raise ValueError(f"{repository} has no weights under the names {' and '.join(weights)}")
    return path


def _common(name: str, tags: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """How the published checkpoints of an architecture want their pictures, for one that does not say it itself."""
    ways = [{key: tag[key] for key in _PREPROCESSING} for tag in tags]
    if any(way != ways[0] for way in ways):
        warnings.warn(
            f"checkpoints of {name} differ in how they want their pictures; OpenAI's way is taken. To be sure, load a "
            "folder with an open_clip_config.json",
            stacklevel=2,
        )
        return {}
    return ways[0] if ways else {}


def _image_spec(config: Mapping[str, Any], name: str) -> ImageSpec:
    sides = config["size"] if isinstance(config["size"], Sequence) else [config["size"]]
    if len(set(sides)) != 1:
        raise ValueError(f"{name} sees {sides[0]} by {sides[1]} pixels: expected a square")
    if config["interpolation"] not in ("bicubic", "bilinear", "random"):
        raise ValueError(
            f"{name} wants its pictures resized by {config['interpolation']!r}: expected bicubic, bilinear"
        )
    return ImageSpec(
        size=sides[0],
        crop=sides[0],
        resize=config["resize_mode"],
        interpolation="bilinear" if config["interpolation"] == "bilinear" else "bicubic",
        mean=_channels(config["mean"]),
        std=_channels(config["std"]),
        halving="even",
        fill=config["fill_color"] / 255,
    )


def _channels(values: float | Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values if isinstance(values, Sequence) else (values,) * 3
    return red, green, blue
