"""CLIP and SigLIP checkpoints in the format of the transformers library, as scorers."""

import hashlib
import json
import re
import string
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.scorers.hub import missing_files
from clipopt.scorers.precision import resolve_dtype
from clipopt.scorers.preprocess import ImageSpec, fit, read_image_spec
from clipopt.types import Embeddings, Images

MODEL_TYPES = ("clip", "siglip")

# Up to here plain attention beats the fused one on a CPU; a ViT-B/32 has 50 tokens.
_EAGER_TOKENS = 64
_TEXTS_AT_ONCE = 256
_PROBE_TEXT = "The quick brown fox's 42 photos: jump over a lazy dog, déjà vu!"


class HuggingFaceScorer(nn.Module):
    """A frozen `CLIPModel` or `SiglipModel` as a `Scorer`. Made by `load_huggingface`.

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
        self, model: Any, tokenizer: Any, image_spec: ImageSpec, *, name: str, dtype: torch.dtype = torch.float32
    ) -> None:
        super().__init__()
        if model.config.model_type not in MODEL_TYPES:
            raise ValueError(f"{name} is a {model.config.model_type} model: expected one of {', '.join(MODEL_TYPES)}")
        if image_spec.crop != model.config.vision_config.image_size:
            raise ValueError(
                f"{name} sees {model.config.vision_config.image_size} pixels a side, but its preprocessor makes "
                f"{image_spec.crop}: the files of two models are mixed"
            )
        model.eval().requires_grad_(False)
        self.name = name
        self.image_spec = image_spec
        self.image_size = image_spec.crop
        self.head = "sigmoid" if model.config.model_type == "siglip" else "softmax"
        self.context = int(model.config.text_config.max_position_embeddings)
        self.tokenizer = tokenizer
        # Taken before the weights are rounded: in bfloat16 a scale of 100 would be 98.9.
        self.scale = float(model.logit_scale.exp())
        self.bias = float(model.logit_bias) if self.head == "sigmoid" else 0.0
        self.fingerprint = _fingerprint(model, tokenizer, image_spec)
        self.model = model.to(dtype)
        self.eval()

    def encode_image(self, images: Images) -> Embeddings:
        """Unit rows of pictures of any size, differentiable in them."""
        pixels = fit(images, self.image_spec).to(self.model.dtype)
        return F.normalize(self.model.get_image_features(pixels).pooler_output.float(), dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """Unit rows of texts. One that is too long is cut, with a warning that names what was dropped."""
        if not texts:
            raise ValueError("no texts to encode: expected at least one")
        rows = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            tokens = self.tokenize(texts[start : start + _TEXTS_AT_ONCE]).to(self.model.device)
            rows.append(self.model.get_text_features(tokens).pooler_output.float())
        return F.normalize(torch.cat(rows), dim=-1)

    def logits(self, image: Float[Tensor, "b d"], text: Float[Tensor, "n d"]) -> Float[Tensor, "b n"]:
        """Scaled cosines, plus the bias of a sigmoid head."""
        return self.scale * image @ text.T + self.bias

    def tokenize(self, texts: Sequence[str]) -> Int[Tensor, "n _"]:
        """Token numbers as the model was trained on them, padded on the right.

        CLIP reads a text causally and takes its embedding where the text ends, so padding beyond the longest text
        changes nothing and is left away. SigLIP looks at the padding, without a mask, and takes the last of
        exactly `context` tokens: its texts are padded to that, and stripped of case and punctuation before, which
        not every tokenizer of its checkpoints does by itself.
        """
        siglip = self.head == "sigmoid"
        eos = self.tokenizer.eos_token_id
        rows = []
        for text in texts:
            row = self.tokenizer(canonical(text) if siglip else text, verbose=False)["input_ids"]
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
        length = self.context if siglip else max(map(len, rows))
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else eos
        return torch.tensor([row + [pad] * (length - len(row)) for row in rows])


def canonical(text: str) -> str:
    """`text` as SigLIP was trained on it: lower case, no ASCII punctuation, single spaces.

    Reference:
        Zhai et al., "Sigmoid Loss for Language Image Pre-Training" (2023); `canonicalize_text` in big_vision.
    """
    return re.sub(r"\s+", " ", text.lower().translate(str.maketrans("", "", string.punctuation))).strip()


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
    from safetensors import SafetensorError
    from transformers import AutoConfig, AutoTokenizer, CLIPModel, SiglipModel
    from transformers.utils import logging

    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        config = AutoConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, report = (CLIPModel if kind == "clip" else SiglipModel).from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation=_attention(config.vision_config, device),
            local_files_only=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ValueError(f"cannot load {name}: {' '.join(str(error).split())}") from error
    finally:
        if bars:
            logging.enable_progress_bar()
    if report["missing_keys"]:
        keys = sorted(report["missing_keys"])
        raise ValueError(f"the weights of {name} lack {len(keys)} tensors, {keys[0]} first: copy them again")
    return HuggingFaceScorer(model, tokenizer, spec, name=name, dtype=number_format).to(device)


def _model_type(folder: Path) -> str:
    try:
        return str(json.loads((folder / "config.json").read_text(encoding="utf-8"))["model_type"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"cannot read a model type from {folder / 'config.json'}: {error!r}") from error


def _attention(vision: Any, device: torch.device) -> str:
    tokens = (vision.image_size // vision.patch_size) ** 2 + 1
    return "eager" if device.type == "cpu" and tokens <= _EAGER_TOKENS else "sdpa"


def _fingerprint(model: Any, tokenizer: Any, spec: ImageSpec) -> str:
    """Covers what decides an embedding and shows in no weight, too; not the device and not the number format."""
    towers = (model.config.vision_config, model.config.text_config)
    described = {
        "model": model.config.model_type,
        "image": asdict(spec),
        "towers": [[t.hidden_act, t.num_attention_heads, t.layer_norm_eps] for t in towers],
        "context": towers[1].max_position_embeddings,
        "special": [towers[1].eos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id],
        "vocabulary": sorted(tokenizer.get_vocab().items()),
        "probe": tokenizer(_PROBE_TEXT)["input_ids"],
    }
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for key, tensor in sorted(model.state_dict().items()):
        digest.update(f"{key}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().view(-1).numpy().data)
    return digest.hexdigest()[:12]
