"""Checkpoints of CLIP, SigLIP and their kin in the format of the transformers library, as scorers."""

import json
import re
import string
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.scorers.characters import pieces, unread
from clipopt.scorers.fingerprint import PROBE_TEXT, fingerprint
from clipopt.scorers.hub import missing_files, reason, without_bars
from clipopt.scorers.precision import in_range, resolve_dtype
from clipopt.scorers.preprocess import ImageSpec, PatchSpec, fit, patchify, read_image_spec
from clipopt.scorers.tokens import to_the_letter, unmarked
from clipopt.types import Embeddings, Images, check_images, check_texts


@dataclass(frozen=True)
class _Kind:
    """What a model type's configuration does not say.

    Attributes:
        model: Its class in transformers.
        reads: How its text tower reads. "causal": up to the end token, so padding changes nothing. "padded": all of
            the context, padding included. "masked": what the attention mask leaves.
        context: Longest text in tokens that it was trained on, where that is less than it takes.
    """

    model: str
    reads: Literal["causal", "padded", "masked"]
    context: int | None = None


_KINDS = {
    "clip": _Kind("CLIPModel", "causal"),
    "metaclip_2": _Kind("MetaClip2Model", "causal"),
    "siglip": _Kind("SiglipModel", "padded"),
    "siglip2": _Kind("Siglip2Model", "padded"),
    "chinese_clip": _Kind("ChineseCLIPModel", "masked", 52),
    "altclip": _Kind("AltCLIPModel", "masked", 77),
}
MODEL_TYPES = tuple(_KINDS)

# Up to here plain attention beats the fused one on a CPU; a ViT-B/32 has 50 tokens.
_EAGER_TOKENS = 64
_TEXTS_AT_ONCE = 256


class HuggingFaceScorer(nn.Module):
    """A frozen `CLIPModel`, `SiglipModel` or the like as a `Scorer`. Made by `load_huggingface`.

    Args:
        model: The model in float32, from which scale, bias and fingerprint are taken.
        tokenizer: Its tokenizer.
        image_spec: How it wants its pictures.
        name: What to call it.
        dtype: What to compute in; embeddings are float32 all the same.

    Raises:
        ValueError: if the model is of another type, or `image_spec` gives pictures of another size.
    """

    head: Literal["softmax", "sigmoid"]

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        image_spec: ImageSpec | PatchSpec,
        *,
        name: str,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        kind = _KINDS.get(model.config.model_type)
        if kind is None:
            raise ValueError(f"{name} is a {model.config.model_type} model: expected one of {', '.join(MODEL_TYPES)}")
        _check_size(model.config.vision_config, image_spec, name)
        model.eval().requires_grad_(False)
        self.name = name
        self.image_spec = image_spec
        self.image_size = image_spec.side
        self.head = "sigmoid" if hasattr(model, "logit_bias") else "softmax"
        longest = int(model.config.text_config.max_position_embeddings)
        self.context = min(longest, kind.context or longest)
        self.tokenizer = to_the_letter(tokenizer)
        self._reads = kind.reads
        self._clean = _cleaning(model, tokenizer) if kind.reads == "padded" else str
        # Taken before the weights are rounded: in bfloat16 a scale of 100 would be 98.9.
        self.scale = float(model.logit_scale.exp())
        self.bias = float(model.logit_bias) if self.head == "sigmoid" else 0.0
        self.fingerprint = _fingerprint(model, tokenizer, image_spec)
        self.model = model.to(dtype)
        self.eval()

    def encode_image(self, images: Images) -> Embeddings:
        """Unit rows of pictures of any size, differentiable in them."""
        images = check_images(images, like=self.model.logit_scale)
        return in_range(self._encode, images, self.model.dtype)

    def _encode(self, images: Images) -> Embeddings:
        inputs = _inputs(images, self.image_spec, self.model.dtype)
        return F.normalize(self.model.get_image_features(**inputs).pooler_output.float(), dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """Unit rows of texts. One that is too long is cut, with a warning that names what was dropped."""
        texts, rows = check_texts(texts), []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            rows.append(self.read(self.tokenize(texts[start : start + _TEXTS_AT_ONCE]).to(self.model.device)))
        return torch.cat(rows)

    def read(self, tokens: Int[Tensor, "n _"]) -> Embeddings:
        """Unit rows of tokens as `tokenize` gives them, differentiable in the weights."""
        mask = tokens != self.tokenizer.pad_token_id if self._reads == "masked" else None
        return F.normalize(self.model.get_text_features(tokens, attention_mask=mask).pooler_output.float(), dim=-1)

    def logits(self, image: Float[Tensor, "b d"], text: Float[Tensor, "n d"]) -> Float[Tensor, "b n"]:
        """Scaled cosines, plus the bias of a sigmoid head."""
        return self.scale * image @ text.T + self.bias

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "n _"]:
        """Token numbers as the model was trained on them, padded on the right.

        CLIP reads a text causally and takes its embedding where the text ends, so padding beyond the longest text
        changes nothing and is left away. SigLIP looks at the padding, without a mask, and takes the last of
        exactly `context` tokens: its texts are padded to that. Before, those of SigLIP are stripped of case and
        punctuation, and those of SigLIP2 of case alone, which not every tokenizer of their checkpoints does by itself.
        A BERT looks away from padding by itself. What looks like a special token is text.
        """
        padded = self._reads == "padded"
        eos = _end(self.tokenizer)
        rows = []
        for text in texts:
            row = self.tokenizer(unmarked(self._clean(text), self.tokenizer), verbose=False)["input_ids"]
            if not row or row[-1] != eos:
                row = [*row, eos]
            if len(row) > self.context:
                dropped = self.tokenizer.decode(row[self.context - 1 : -1]).strip()
                warnings.warn(
                    f"{self.name} reads {self.context} tokens, this text has {len(row)}; dropped: {dropped!r}",
                    stacklevel=3,
                )
                row = [*row[: self.context - 1], eos]
            rows.append(row)
        length = self.context if padded else max(map(len, rows))
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else eos
        return torch.tensor([row + [pad] * (length - len(row)) for row in rows])

    def unread(self, text: str) -> list[str]:
        """The characters of `text` that no token of the vocabulary holds, in order, each once."""
        return unread(
            text,
            lambda text: pieces(
                self.tokenizer, self.tokenizer(self._clean(text), add_special_tokens=False)["input_ids"]
            ),
        )


def _cleaning(model: Any, tokenizer: Any) -> Callable[[str], str]:
    """What is done to texts before a SigLIP's tokenizer: that of SigLIP2 is Gemma's, in models of either type."""
    second = model.config.model_type == "siglip2" or re.match("Siglip2|Gemma", type(tokenizer).__name__)
    return str.lower if second else canonical


def canonical(text: str) -> str:
    """`text` as SigLIP, not SigLIP2, was trained on it: lower case, no ASCII punctuation, single spaces.

    Reference:
        Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (2023); `canonicalize_text` in big_vision.
    """
    return re.sub(r"\s+", " ", text.lower().translate(str.maketrans("", "", string.punctuation))).strip()


@without_bars()
def load_huggingface(
    folder: Path, *, name: str | None = None, device: torch.device | str = "cpu", dtype: str = "auto"
) -> HuggingFaceScorer:
    """Read the checkpoint in `folder`: configuration, weights, tokenizer, preprocessor.

    Raises:
        ValueError: if something is missing, broken, or of a model type that is not supported.
    """
    name = name or folder.name
    device = torch.device(device)
    if missing := missing_files(folder):
        raise ValueError(f"{folder} has no {' and no '.join(missing)}: expected a whole CLIP or SigLIP model")
    kind = _model_type(folder)
    if kind not in MODEL_TYPES:
        raise ValueError(f"{name} is a {kind} model: expected one of {', '.join(MODEL_TYPES)}")
    spec = read_image_spec(folder)
    number_format = resolve_dtype(dtype, device)
    import transformers

    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, report = getattr(transformers, _KINDS[kind].model).from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation=_attention(config.vision_config, spec, device),
            local_files_only=True,
            output_loading_info=True,
        )
        if report["missing_keys"]:
            keys = sorted(report["missing_keys"])
            raise ValueError(f"its weights lack {len(keys)} tensors, {keys[0]} first: copy them again")
        scorer = HuggingFaceScorer(model, tokenizer, spec, name=name, dtype=number_format)
    except Exception as error:  # a folder that is not what it says fails in the ways of several libraries
        raise ValueError(f"cannot load {name}: {reason(error)}") from error
    return scorer.to(device)


def _model_type(folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"cannot read a model type from {folder / 'config.json'}: {error!r}") from error


def _attention(vision: Any, spec: ImageSpec | PatchSpec, device: torch.device) -> str:
    tokens = (spec.side // vision.patch_size) ** 2 + 1
    return "eager" if device.type == "cpu" and tokens <= _EAGER_TOKENS else "sdpa"


def _check_size(vision: Any, spec: ImageSpec | PatchSpec, name: str) -> None:
    if isinstance(spec, PatchSpec):
        what, sees, makes = "patch", vision.patch_size, spec.patch
    else:
        what, sees, makes = "picture", getattr(vision, "image_size", "any"), spec.side
    if sees != makes:
        raise ValueError(
            f"{name} sees {sees} pixels a side of a {what}, but its preprocessor makes {makes}: the files of two "
            "models are mixed"
        )


def _inputs(images: Images, spec: ImageSpec | PatchSpec, dtype: torch.dtype) -> dict[str, Tensor]:
    """What the model's own processor would return for `images`."""
    if isinstance(spec, ImageSpec):
        return {"pixel_values": fit(images, spec).to(dtype)}
    patches, grid = patchify(images, spec)
    return {
        "pixel_values": patches.to(dtype),
        "pixel_attention_mask": torch.ones(patches.shape[:2], dtype=torch.long, device=patches.device),
        "spatial_shapes": torch.tensor(grid).expand(len(patches), 2),
    }


def _end(tokenizer: Any) -> int:
    """The number of the token that ends a text; a BERT calls it the separator."""
    end: int = tokenizer.sep_token_id if tokenizer.eos_token_id is None else tokenizer.eos_token_id
    return end


def _fingerprint(model: Any, tokenizer: Any, spec: ImageSpec | PatchSpec) -> str:
    """Covers what decides an embedding and shows in no weight, too; not the device and not the number format."""
    towers = (model.config.vision_config, model.config.text_config)
    described = {
        "model": model.config.model_type,
        "image": asdict(spec),
        "towers": [[t.hidden_act, t.num_attention_heads, t.layer_norm_eps] for t in towers],
        "context": towers[1].max_position_embeddings,
        "special": [towers[1].eos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id],
        "vocabulary": sorted(tokenizer.get_vocab().items()),
        "probe": tokenizer(PROBE_TEXT)["input_ids"],
    }
    return fingerprint(described, model.state_dict())
