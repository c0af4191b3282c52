"""Tiny pipelines and coders of the real diffusers classes, randomly initialised, in folders as diffusers does."""

from pathlib import Path
from typing import Any

import torch

from clipopt.types import generator


def seeded(make: Any, seed: int = 0) -> Any:
    """What `make` makes with random numbers of a seed; the global stream stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(generator(seed).get_state())
        return make()


def words(folder: Path) -> Any:
    """A tokenizer of a few words that looks like CLIP's from outside."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    known = ["<pad>", "<unk>", "<s>", "</s>", "a", "red", "blue", "circle", "cat", "square"]
    reader = Tokenizer(models.WordLevel({word: n for n, word in enumerate(known)}, unk_token="<unk>"))
    reader.pre_tokenizer = pre_tokenizers.Whitespace()
    reader.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 2), ("</s>", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=reader, pad_token="<pad>", unk_token="<unk>", bos_token="<s>", eos_token="</s>",
        model_max_length=8, padding_side="right",
    )  # fmt: skip


def kl_coder(channels: tuple[int, ...] = (8, 8), latents: int = 4) -> Any:
    from diffusers import AutoencoderKL

    return seeded(
        lambda: AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            up_block_types=("UpDecoderBlock2D",) * len(channels), block_out_channels=channels,
            latent_channels=latents, norm_num_groups=4, sample_size=16, scaling_factor=0.5, shift_factor=0.0,
        )
    ).eval()  # fmt: skip


def vq_coder() -> Any:
    from diffusers import VQModel

    return seeded(
        lambda: VQModel(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8), latent_channels=4, norm_num_groups=4, num_vq_embeddings=16, vq_embed_dim=4,
        )
    ).eval()  # fmt: skip


def clip_text(projection: bool = False) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=10, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2,
        max_position_embeddings=8, projection_dim=16, pad_token_id=0, bos_token_id=2, eos_token_id=3,
    )  # fmt: skip
    return seeded(lambda: (CLIPTextModelWithProjection if projection else CLIPTextModel)(config)).eval()


def unet(text: int = 16, **more: Any) -> Any:
    from diffusers import UNet2DConditionModel

    return seeded(
        lambda: UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, block_out_channels=(8, 16), layers_per_block=1,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=text, attention_head_dim=2, norm_num_groups=4, **more,
        )
    ).eval()  # fmt: skip


_BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}


def stable_diffusion(folder: Path, *, turbo: bool = False) -> Path:
    """A StableDiffusionPipeline with DDIM, or like SD-Turbo with Euler and trailing times."""
    from diffusers import DDIMScheduler, EulerDiscreteScheduler, StableDiffusionPipeline

    scheduler = (
        EulerDiscreteScheduler(**_BETAS, timestep_spacing="trailing", steps_offset=1)
        if turbo
        else DDIMScheduler(**_BETAS, clip_sample=False, set_alpha_to_one=False, steps_offset=1)
    )
    StableDiffusionPipeline(
        vae=kl_coder(), text_encoder=clip_text(), tokenizer=words(folder), unet=unet(), scheduler=scheduler,
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def stable_diffusion_xl(folder: Path) -> Path:
    """A StableDiffusionXLPipeline like SDXL-Turbo."""
    from diffusers import EulerAncestralDiscreteScheduler, StableDiffusionXLPipeline

    added = {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": 4,
        "projection_class_embeddings_input_dim": 40,
    }
    StableDiffusionXLPipeline(
        vae=kl_coder(), text_encoder=clip_text(), text_encoder_2=clip_text(True), tokenizer=words(folder),
        tokenizer_2=words(folder), unet=unet(32, **added),
        scheduler=EulerAncestralDiscreteScheduler(**_BETAS, timestep_spacing="trailing", steps_offset=1),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def t5(width: int = 16) -> Any:
    from transformers import T5Config, T5EncoderModel

    config = T5Config(vocab_size=10, d_model=width, d_kv=8, d_ff=16, num_layers=1, num_heads=2, pad_token_id=0)
    return seeded(lambda: T5EncoderModel(config)).eval()


def flux(folder: Path) -> Path:
    """A FluxPipeline like FLUX-schnell."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    transformer = seeded(
        lambda: FluxTransformer2DModel(
            in_channels=16, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2,
            joint_attention_dim=16, pooled_projection_dim=16, axes_dims_rope=(4, 4, 8),
        )
    ).eval()  # fmt: skip
    FluxPipeline(
        vae=kl_coder((8, 8), 4), text_encoder=clip_text(), tokenizer=words(folder), text_encoder_2=t5(),
        tokenizer_2=words(folder), transformer=transformer, scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def pixart(folder: Path) -> Path:
    """A PixArtSigmaPipeline."""
    from diffusers import DPMSolverMultistepScheduler, PixArtSigmaPipeline, PixArtTransformer2DModel

    transformer = seeded(
        lambda: PixArtTransformer2DModel(
            num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=1,
            cross_attention_dim=16, sample_size=8, patch_size=2, caption_channels=16,
        )
    ).eval()  # fmt: skip
    PixArtSigmaPipeline(
        vae=kl_coder(), text_encoder=t5(), tokenizer=words(folder), transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(**_BETAS),
    ).save_pretrained(folder)  # fmt: skip
    return folder


def stable_diffusion_3(folder: Path, **scheduler: Any) -> Path:
    """A StableDiffusion3Pipeline."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    transformer = seeded(
        lambda: SD3Transformer2DModel(
            sample_size=8, patch_size=2, in_channels=4, num_layers=1, attention_head_dim=8, num_attention_heads=4,
            joint_attention_dim=32, caption_projection_dim=32, pooled_projection_dim=32, out_channels=4,
            pos_embed_max_size=64,
        )
    ).eval()  # fmt: skip
    StableDiffusion3Pipeline(
        vae=kl_coder(), text_encoder=clip_text(True), tokenizer=words(folder), text_encoder_2=clip_text(True),
        tokenizer_2=words(folder), text_encoder_3=t5(32), tokenizer_3=words(folder), transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(**scheduler),
    ).save_pretrained(folder)  # fmt: skip
    return folder
