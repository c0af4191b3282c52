"""Tiny checkpoints of CLIP, SigLIP and their kin with random weights, written with the classes of transformers."""

import io
from pathlib import Path
from typing import Any

import torch

CORPUS = [
    "a red fox in the snow", "a blue house by the sea", "two cats and a dog on a green sofa", "a photo of a cat",
    "the quick brown fox jumps over the lazy dog", "a yellow submarine under the sea", "no text, no letters",
]  # fmt: skip

_TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}


def save_clip(folder: Path, *, seed: int = 0, legacy_eos: bool = False, **vision: Any) -> Path:
    """A CLIP folder: 32 pixels, patches of 8; `legacy_eos` writes the token number 2 of OpenAI's configurations."""
    from transformers import CLIPConfig, CLIPModel

    tokenizer = clip_tokenizer()
    text = {
        **_TOWER,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 77,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": 2 if legacy_eos else tokenizer.eos_token_id,
    }
    config = CLIPConfig(
        text_config=text, vision_config={**_TOWER, "image_size": 32, "patch_size": 8, **vision}, projection_dim=16
    )
    _randomized(CLIPModel, config, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    clip_processor(32).save_pretrained(folder)
    return folder


def save_siglip(folder: Path, tokenizer: Any, *, seed: int = 0) -> Path:
    """A SigLIP folder: 32 pixels, patches of 8, 64 tokens."""
    from transformers import SiglipConfig, SiglipModel

    text = {
        **_TOWER,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 64,
        "projection_size": 32,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = SiglipConfig(text_config=text, vision_config={**_TOWER, "image_size": 32, "patch_size": 8})
    _randomized(SiglipModel, config, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    siglip_processor(32).save_pretrained(folder)
    return folder


def save_naflex(folder: Path, tokenizer: Any, *, seed: int = 0) -> Path:
    """A SigLIP2 folder of variable resolution: up to 20 patches of 8 pixels, 64 tokens."""
    from transformers import Siglip2Config, Siglip2Model
    from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

    text = {
        **_TOWER,
        "vocab_size": len(tokenizer),
        "max_position_embeddings": 64,
        "projection_size": 32,
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }
    config = Siglip2Config(text_config=text, vision_config={**_TOWER, "num_patches": 16, "patch_size": 8})
    _randomized(Siglip2Model, config, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    Siglip2ImageProcessorPil(patch_size=8, max_num_patches=20).save_pretrained(folder)
    return folder


def save_kin(folder: Path, kind: str, *, seed: int = 0) -> Path:
    """A folder of CLIP's image tower with another text tower: "chinese_clip", "altclip" or "metaclip_2"."""
    import transformers

    name = {"chinese_clip": "ChineseCLIP", "altclip": "AltCLIP", "metaclip_2": "MetaClip2"}[kind]
    tokenizer = bert_tokenizer() if kind == "chinese_clip" else xlm_tokenizer()
    text = {**_TOWER, "vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    text["max_position_embeddings"] = {"chinese_clip": 60, "altclip": 90, "metaclip_2": 77}[kind]
    if kind == "metaclip_2":
        text["eos_token_id"] = tokenizer.eos_token_id
    elif kind == "altclip":
        text["project_dim"] = 32
    vision = {**_TOWER, "image_size": 32, "patch_size": 8}
    config = getattr(transformers, f"{name}Config")(text_config=text, vision_config=vision, projection_dim=16)
    _randomized(getattr(transformers, f"{name}Model"), config, seed).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    clip_processor(32).save_pretrained(folder)
    return folder


def clip_processor(side: int, **options: Any) -> Any:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    size = {"size": {"shortest_edge": side}, "crop_size": {"height": side, "width": side}}
    return CLIPImageProcessorPil(**{**size, **options})


def siglip_processor(side: int, **options: Any) -> Any:
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    return SiglipImageProcessorPil(**{"size": {"height": side, "width": side}, **options})


def clip_tokenizer() -> Any:
    """CLIP's byte-pair tokenizer with its alphabet and a handful of merges."""
    from tokenizers.pre_tokenizers import ByteLevel
    from transformers import CLIPTokenizer

    alphabet = sorted(ByteLevel.alphabet())
    merges = [("f", "o"), ("fo", "x</w>"), ("c", "a"), ("ca", "t</w>"), ("r", "e"), ("re", "d</w>")]
    tokens = alphabet + [f"{letter}</w>" for letter in alphabet] + [a + b for a, b in merges]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: number for number, token in enumerate(tokens)}
    return CLIPTokenizer(vocab=vocab, merges=merges, model_max_length=77)


def siglip_tokenizer(folder: Path) -> Any:
    """SigLIP's sentencepiece tokenizer, trained on `CORPUS`. Needs sentencepiece and protobuf."""
    import sentencepiece
    from transformers import SiglipTokenizer

    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS), model_writer=model, vocab_size=90, hard_vocab_limit=False, minloglevel=2,
        pad_id=0, eos_id=1, unk_id=2, bos_id=-1, pad_piece="<pad>",
    )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "spiece.model").write_bytes(model.getvalue())
    return SiglipTokenizer(str(folder / "spiece.model"))


def siglip2_tokenizer() -> Any:
    """SigLIP2's tokenizer over single letters: pads on the left by default, keeps punctuation, adds no end."""
    from transformers import Siglip2Tokenizer

    specials = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    letters = [*"▁abcdefghijklmnopqrstuvwxyz0123456789.,!?'-:"]
    return Siglip2Tokenizer(vocab={token: number for number, token in enumerate(specials + letters)}, merges=[])


def bert_tokenizer() -> Any:
    """A BERT's tokenizer over single letters: ends a text with a separator, has no end token."""
    from transformers import BertTokenizer

    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    return BertTokenizer(vocab={token: number for number, token in enumerate(tokens)})


def xlm_tokenizer() -> Any:
    """XLM-RoBERTa's tokenizer over single letters."""
    from transformers import XLMRobertaTokenizer

    letters = [(letter, -3.0) for letter in "▁abcdefghijklmnopqrstuvwxyz"]
    return XLMRobertaTokenizer(vocab=[(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")] + letters)


def _randomized(model_class: Any, config: Any, seed: int) -> Any:
    """Larger weights than a fresh model's, whose embeddings all look alike."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(config)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, parameter[0].numel() ** -0.5, generator=rng)
            else:
                parameter.add_(torch.randn(parameter.shape, generator=rng) * 0.1)
        model.logit_scale.fill_(4.6052)
        if hasattr(model, "logit_bias"):
            model.logit_bias.fill_(-12.5)
    return model.eval()
