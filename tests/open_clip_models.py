"""Tiny open_clip models with random weights, and what lets open_clip be imported beside a CPU-only torch."""

import copy
import json
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

_OPERATORS = ("nms", "qnms", "roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool", "deform_conv2d")
_declared: list[torch.library.Library] = []

_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 2}
_VISION = {"image_size": 32, "layers": 2, "width": 32, "head_width": 8, "patch_size": 8}

#: Configurations and preprocessing like those of the published models, by kind.
MODELS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "vit": ({"embed_dim": 16, "vision_cfg": _VISION, "text_cfg": _TEXT}, {}),
    "resnet": (
        {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 64, "layers": [1, 1, 1, 1], "width": 32, "patch_size": None},
            "text_cfg": _TEXT,
        },
        {},
    ),
    "coca": (
        {
            "embed_dim": 16,
            "custom_text": True,
            "vision_cfg": {**_VISION, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
            "text_cfg": {**_TEXT, "context_length": 76, "embed_cls": True, "output_tokens": True},
            "multimodal_cfg": {**_TEXT, "context_length": 76, "attn_pooler_heads": 2},
        },
        {},
    ),
    "siglip": (
        {
            "embed_dim": 64,
            "custom_text": True,
            "init_logit_bias": -10,
            "vision_cfg": {"image_size": 160, "timm_model_name": "test_vit", "timm_pool": "map", "timm_proj": "none"},
            "text_cfg": {
                **_TEXT,
                "context_length": 64,
                "vocab_size": 128,
                "hf_tokenizer_name": "owner/tokenizer",
                "tokenizer_kwargs": {"clean": "canonicalize"},
                "no_causal_mask": True,
                "proj_bias": True,
                "pool_type": "last",
            },
        },
        {"mean": [0.5] * 3, "std": [0.5] * 3, "resize_mode": "squash"},
    ),
    "mobileclip": (
        {
            "embed_dim": 16,
            "custom_text": True,
            "vision_cfg": {
                "image_size": 64,
                "timm_model_name": "test_byobnet",
                "timm_pool": "avg",
                "timm_proj": None,
                "timm_drop": 0.5,
            },
            "text_cfg": {**_TEXT, "no_causal_mask": True},
        },
        {"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"},
    ),
}


def import_open_clip() -> ModuleType:
    """The library; the test is skipped where it is not installed."""
    if find_spec("open_clip") is None:
        pytest.skip("needs open_clip", allow_module_level=True)
    import open_clip

    return open_clip


def _declare_operators() -> None:
    """Declare what a torchvision without its compiled part lacks, or its import fails where it looks them up.

    PyPI's torchvision is built for CUDA: beside a CPU-only torch its operators do not load. Nothing here calls one.
    """
    place = find_spec("torchvision")
    if place is None or place.origin is None:
        return
    try:
        torch.ops.load_library(str(next(Path(place.origin).parent.glob("_C*"))))
    except (OSError, StopIteration):
        # Kept: a library that is collected takes its declarations along.
        _declared.append(torch.library.Library("torchvision", "FRAGMENT"))
        for name in (*_OPERATORS, *(f"_{name}_backward" for name in _OPERATORS[2:])):
            _declared[0].define(f"{name}(Tensor input) -> Tensor")


# At the import of this module, since transformers imports torchvision, too, where there is one.
_declare_operators()


def tiny_model(kind: str, *, seed: int = 0, **config: Any) -> Any:
    """A model of open_clip, in training mode as the library returns it."""
    open_clip = import_open_clip()
    described = copy.deepcopy(MODELS[kind][0])
    described.pop("custom_text", None)
    classes = {"coca": open_clip.CoCa, "vit": open_clip.CLIP, "resnet": open_clip.CLIP}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = classes.get(kind, open_clip.CustomTextCLIP)(**described, **config)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            # Larger weights than a fresh model's, whose embeddings all look alike.
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=rng)
            elif parameter.ndim:
                parameter.add_(torch.randn(parameter.shape, generator=rng) * 0.1)
        model.logit_scale.fill_(4.6052)
        if model.logit_bias is not None:
            model.logit_bias.fill_(-12.5)
    return model


def save_open_clip(folder: Path, kind: str, tokenizer: Any = None, *, seed: int = 0, **config: Any) -> Path:
    """A folder as open_clip's `push_to_hf_hub` lays one out; `config` joins the model's configuration."""
    from safetensors.torch import save_file

    described, preprocessing = MODELS[kind]
    content = {"model_cfg": {**described, **config}, "preprocess_cfg": preprocessing}
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    weights = {key: tensor.contiguous() for key, tensor in tiny_model(kind, seed=seed, **config).state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    if tokenizer is not None:
        tokenizer.save_pretrained(folder)
    return folder
