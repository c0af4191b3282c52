"""Tiny CLAP and X-CLIP models with random weights, written with the classes of transformers."""

from pathlib import Path
from typing import Any

import torch
from checkpoints import _randomized, clip_processor, clip_tokenizer


def save_clap(folder: Path, *, fusion: bool = False, seed: int = 0) -> Path:
    """A CLAP folder: 8000 samples a second, one second at once, 16 mel bands."""
    from transformers import ClapConfig, ClapModel

    tokenizer = roberta_tokenizer()
    text = {
        "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "vocab_size": len(tokenizer), "max_position_embeddings": 90, "pad_token_id": tokenizer.pad_token_id,
        "projection_dim": 16,
    }  # fmt: skip
    audio = {
        "hidden_size": 32, "patch_embeds_hidden_size": 16, "spec_size": 64, "patch_size": 4, "patch_stride": [4, 4],
        "num_mel_bins": 16, "window_size": 2, "depths": [2, 2], "num_attention_heads": [2, 2], "num_hidden_layers": 2,
        "enable_fusion": fusion, "projection_dim": 16,
    }  # fmt: skip
    model = _build(ClapModel, ClapConfig(text_config=text, audio_config=audio, projection_dim=16), seed)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    extractor(fusion).save_pretrained(folder)
    return folder


def extractor(fusion: bool = False) -> Any:
    """The feature extractor that belongs to `save_clap`."""
    from transformers import ClapFeatureExtractor

    return ClapFeatureExtractor(
        feature_size=16, sampling_rate=8000, hop_length=64, max_length_s=1, fft_window_size=256, frequency_min=50,
        frequency_max=3800, truncation="fusion" if fusion else "rand_trunc", padding="repeatpad",
    )  # fmt: skip


def save_xclip(folder: Path, *, seed: int = 0) -> Path:
    """An X-CLIP folder: 4 frames of 32 pixels."""
    from transformers import XCLIPConfig, XCLIPModel

    tokenizer = clip_tokenizer()
    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    text = {**tower, "vocab_size": len(tokenizer), "max_position_embeddings": 77}
    text |= {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    vision = {**tower, "image_size": 32, "patch_size": 8, "num_frames": 4, "mit_hidden_size": 16}
    vision |= {"mit_intermediate_size": 32, "mit_num_hidden_layers": 1, "mit_num_attention_heads": 2}
    config = XCLIPConfig(
        text_config=text, vision_config=vision, projection_dim=16, prompt_num_attention_heads=2, prompt_layers=1
    )
    _randomized(XCLIPModel, config, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    clip_processor(32).save_pretrained(folder)
    return folder


def roberta_tokenizer() -> Any:
    """RoBERTa's tokenizer over single letters."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import RobertaTokenizer

    tokens = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", *sorted(ByteLevel.alphabet())]
    return RobertaTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=[])


def _build(model_class: Any, config: Any, seed: int) -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(config)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if parameter.ndim > 1 and "bias_table" not in name:
                    parameter.normal_(0, parameter[0].numel() ** -0.5)
            model.logit_scale_a.fill_(3.0)
            for name, buffer in model.named_buffers():  # of the batch norm over mel bands, in decibels
                if name.endswith("running_mean"):
                    buffer.fill_(-20.0)
                elif name.endswith("running_var"):
                    buffer.fill_(300.0)
    return model.eval()
