"""Tiny captioners with random weights, written with the classes of the transformers library."""

import torch
from checkpoints import siglip_processor

WORDS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]",
    "a", "red", "green", "apple", "tree", "on", "the", "snow", "fox", "sits",
]  # fmt: skip
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


def tokenizer():
    from transformers import BertTokenizer

    return BertTokenizer(vocab={word: number for number, word in enumerate(WORDS)})


def saved(model_class, config, folder, vision=True):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = model_class(config)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    if vision:
        siglip_processor(16).save_pretrained(folder)
    return str(folder)


def blip_config():
    from transformers import BlipConfig

    special = {"bos_token_id": 2, "eos_token_id": 3, "pad_token_id": 0, "sep_token_id": 3}
    text = {**TINY, **special, "vocab_size": len(WORDS), "encoder_hidden_size": 16, "max_position_embeddings": 32}
    return BlipConfig(text_config=text, vision_config={**TINY, "image_size": 16, "patch_size": 8}, projection_dim=8)


def blip(folder):
    from transformers import BlipForConditionalGeneration

    return saved(BlipForConditionalGeneration, blip_config(), folder)


def git(folder):
    from transformers import GitConfig, GitForCausalLM

    config = GitConfig(
        vision_config={**TINY, "image_size": 16, "patch_size": 8}, **TINY, vocab_size=len(WORDS),
        max_position_embeddings=32, bos_token_id=2, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    return saved(GitForCausalLM, config, folder)


def vit_gpt2(folder):
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    encoder = ViTConfig(**TINY, image_size=16, patch_size=8)
    decoder = GPT2Config(
        vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=1, n_head=2, bos_token_id=2, eos_token_id=3
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = 2, 3, 0
    return saved(VisionEncoderDecoderModel, config, folder)
