"""The embedded generator: a small latent diffusion model of the embedded world, in a standard diffusers folder.

An AutoencoderKL makes 12 x 12 latents of 96 px pictures, a UNet2DConditionModel denoises them under a prompt, and
the words are read by a frozen copy of the scorer's word transformer, which is exactly a SiglipTextModel. So the
folder opens with `diffusers.StableDiffusionPipeline.from_pretrained`, too.
"""

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from clipopt.scorers.tower import PAD, UNKNOWN, TextTower, TowerConfig

SIDE = 96
"""Height and width of a picture in pixels."""

TIMESTEPS = 1000
"""Times of the diffusion."""

FACTS: dict[str, Any] = {"embedded": True, "steps": 8, "guidance": 3.0}
"""What generator.json says of itself: how `clipopt latent` samples it."""
_SHIFT = 3.0
_SCHEDULE: dict[str, Any] = {
    "num_train_timesteps": TIMESTEPS, "prediction_type": "v_prediction",
    "clip_sample": False, "set_alpha_to_one": True, "timestep_spacing": "trailing", "steps_offset": 1,
}  # fmt: skip


def new_coder(channels: tuple[int, ...] = (16, 32, 64, 128), latents: int = 8, side: int = SIDE) -> nn.Module:
    """An untrained AutoencoderKL; every stage but the first halves the resolution."""
    from diffusers import AutoencoderKL

    count = len(channels)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * count, up_block_types=("UpDecoderBlock2D",) * count,
        block_out_channels=channels, layers_per_block=1, latent_channels=latents, norm_num_groups=8,
        sample_size=side, mid_block_add_attention=False,
    )  # fmt: skip


def new_denoiser(
    channels: tuple[int, int] = (96, 144), latents: int = 8, side: int = SIDE // 8, text_width: int = 128
) -> nn.Module:
    """An untrained UNet2DConditionModel: convolutions on the fine grid, attention to the words on the coarse one.

    All of the words together also scale and shift the features of every block, as the time does.
    """
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=side, in_channels=latents, out_channels=latents, block_out_channels=channels,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        mid_block_type="UNetMidBlock2DCrossAttn", layers_per_block=1, cross_attention_dim=text_width,
        attention_head_dim=4, norm_num_groups=16, resnet_time_scale_shift="scale_shift",
        addition_embed_type="text", encoder_hid_dim=text_width, addition_embed_type_num_heads=4,
    )  # fmt: skip


def new_scheduler() -> Any:
    """The DDIMScheduler of the training: velocity prediction on a cosine schedule with more noise than usual.

    Latents of flat pictures are told apart through much noise: on the plain schedule only its last third decides what
    is drawn. Here the noise is `_SHIFT` times stronger against the picture at every time.

    Reference:
        Hoogeboom et al., "Simple diffusion" (2023), arXiv:2301.11093, section 3.1.
    """
    from diffusers import DDIMScheduler

    angle = torch.linspace(0, 1, TIMESTEPS + 1, dtype=torch.float64) * torch.pi / 2
    kept = 1 / (1 + (_SHIFT * angle.tan()).square())
    betas = (1 - kept[1:] / kept[:-1]).clamp(max=0.999)
    return DDIMScheduler(**_SCHEDULE, trained_betas=[round(beta, 7) for beta in betas.tolist()])


def text_encoder(tower: TextTower, config: TowerConfig) -> nn.Module:
    """The word transformer of a scorer as a SiglipTextModel, whose last hidden state is the tower's, word by word.

    The projection of the pooled words is left out: a denoiser attends to the words.
    """
    from transformers import SiglipTextConfig, SiglipTextModel

    made = SiglipTextModel(
        SiglipTextConfig(
            vocab_size=len(tower.embedding.weight), hidden_size=config.text_width,
            intermediate_size=3 * config.text_width, num_hidden_layers=config.text_layers, num_attention_heads=4,
            max_position_embeddings=config.context, hidden_act="gelu", layer_norm_eps=1e-5, projection_size=1,
            pad_token_id=PAD, bos_token_id=None, eos_token_id=None,
        )
    )  # fmt: skip
    made.config.use_attention_mask = True  # which diffusers' pipelines ask for
    own, taken = made.state_dict(), tower.state_dict()
    prefix = next(key for key in own if key.endswith("embeddings.token_embedding.weight")).split("embeddings")[0]
    weights = {
        "embeddings.token_embedding.weight": taken["embedding.weight"],
        "embeddings.position_embedding.weight": taken["position"],
        "final_layer_norm.weight": taken["norm.weight"],
        "final_layer_norm.bias": taken["norm.bias"],
    }
    pairs = {"layer_norm1": "norm", "self_attn.out_proj": "out", "layer_norm2": "mlp.0", "mlp.fc1": "mlp.1"}
    pairs["mlp.fc2"] = "mlp.3"
    for n in range(config.text_layers):
        for kind in ("weight", "bias"):
            for theirs, ours in pairs.items():
                weights[f"encoder.layers.{n}.{theirs}.{kind}"] = taken[f"layers.{n}.{ours}.{kind}"]
            for name, part in zip("qkv", taken[f"layers.{n}.qkv.{kind}"].chunk(3), strict=True):
                weights[f"encoder.layers.{n}.self_attn.{name}_proj.{kind}"] = part
    own.update({prefix + key: value.clone() for key, value in weights.items()})
    made.load_state_dict(own)
    return made.eval().requires_grad_(False)


def new_tokenizer(config: TowerConfig) -> Any:
    """A tokenizer of transformers that reads prompts as the tower does: lower case, letters and digits only."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = {"<pad>": PAD, "<unknown>": UNKNOWN} | {w: n + 2 for n, w in enumerate(config.vocabulary)}
    reader = Tokenizer(models.WordLevel(words, unk_token="<unknown>"))
    reader.normalizer = normalizers.Lowercase()
    reader.pre_tokenizer = pre_tokenizers.Split(Regex("[a-z]+|[0-9]+"), "removed", invert=True)
    return PreTrainedTokenizerFast(
        tokenizer_object=reader, pad_token="<pad>", unk_token="<unknown>", model_max_length=config.context,
        padding_side="right", model_input_names=["input_ids", "attention_mask"],
    )  # fmt: skip


def pipeline(coder: nn.Module, denoiser: nn.Module, tower: TextTower, config: TowerConfig) -> Any:
    """The StableDiffusionPipeline of these parts."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=coder, text_encoder=text_encoder(tower, config), tokenizer=new_tokenizer(config), unet=denoiser,
        scheduler=new_scheduler(), safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip


def save(folder: Path, pipe: Any, facts: dict[str, Any]) -> None:
    """Write `pipe` as a folder of diffusers, and beside it `generator.json` with `facts`.

    The weights are float16 with the eight significant bits of bfloat16, as those of `Towers.save`.
    """
    for part in (pipe.vae, pipe.unet, pipe.text_encoder):
        part.bfloat16()
    pipe.to(dtype=torch.float16).save_pretrained(folder, safe_serialization=True)
    (folder / "generator.json").write_text(json.dumps(facts, indent=2) + "\n", "utf-8")
