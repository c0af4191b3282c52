"""SigLIP2 of variable resolution, ChineseCLIP, AltCLIP and MetaCLIP 2 against their own processors and models."""

from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import save_kin
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from clipopt.scorers.huggingface import HuggingFaceScorer, load_huggingface
from clipopt.scorers.preprocess import PatchSpec, patch_grid, patchify, read_image_spec

KIN = ["chinese_clip", "altclip", "metaclip_2"]
TEXTS = ["a red fox in the snow", "cat", "two dogs and one sofa"]


@pytest.fixture(scope="module", params=KIN)
def kin(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> HuggingFaceScorer:
    return load_huggingface(save_kin(tmp_path_factory.mktemp(request.param), request.param), dtype="float32")


@pytest.fixture(scope="module")
def naflex(naflex_folder: Path) -> HuggingFaceScorer:
    return load_huggingface(naflex_folder, dtype="float32")


def drawing(height: int, width: int) -> Tensor:
    """Integers 0 to 255, (h, w, 3)."""
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    disc = ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.1).float()
    return torch.stack([x, y, disc], -1).mul(255).to(torch.uint8)


def reference_patches(folder: Path, pixels: Tensor) -> dict[str, Tensor]:
    from transformers.models.siglip2.image_processing_pil_siglip2 import Siglip2ImageProcessorPil

    processor = Siglip2ImageProcessorPil.from_pretrained(folder)
    return dict(processor(Image.fromarray(pixels.numpy()), return_tensors="pt"))


@pytest.mark.parametrize("size", [(90, 70), (30, 200), (300, 20), (5, 6), (32, 40), (640, 480)])
def test_patches_are_those_of_the_reference_processor(naflex_folder: Path, size: tuple[int, int]) -> None:
    pixels = drawing(*size)
    expected = reference_patches(naflex_folder, pixels)
    patches, grid = patchify(pixels.movedim(-1, 0)[None] / 255, read_image_spec(naflex_folder))
    assert list(grid) == expected["spatial_shapes"][0].tolist()
    count = grid[0] * grid[1]
    assert patches.shape == (1, count, 3 * 8 * 8)
    assert expected["pixel_attention_mask"][0].sum() == count
    error = (patches - expected["pixel_values"][:, :count]).abs() * 127.5
    assert error.mean() < 0.32
    assert error.max() < 1.1


def test_grids_are_those_of_the_reference_for_all_aspects() -> None:
    from transformers.models.siglip2.image_processing_pil_siglip2 import get_image_size_for_max_num_patches

    rng = torch.Generator().manual_seed(0)
    for height, width, most in torch.stack([torch.randint(low, 1200, (300,), generator=rng) for low in (4, 4, 1)], 1):
        sizes = int(height), int(width)
        side = get_image_size_for_max_num_patches(*sizes, 16, int(most))
        assert patch_grid(*sizes, int(most)) == (side[0] // 16, side[1] // 16), (sizes, most)


@pytest.mark.parametrize("size", [(90, 70), (24, 100)])
def test_embeds_as_the_reference_with_its_padding_and_mask(
    naflex: HuggingFaceScorer, naflex_folder: Path, size: tuple[int, int]
) -> None:
    pixels = drawing(*size)
    with torch.no_grad():
        expected = F.normalize(
            naflex.model.get_image_features(**reference_patches(naflex_folder, pixels)).pooler_output, dim=-1
        )
        other = F.normalize(
            naflex.model.get_image_features(**reference_patches(naflex_folder, pixels.flip(0))).pooler_output, dim=-1
        )
    got = naflex.encode_image(pixels.movedim(-1, 0)[None] / 255)
    assert F.cosine_similarity(got, expected).item() > 0.9999
    assert F.cosine_similarity(got, other).item() < 0.999


def test_naflex_sees_the_aspect(naflex: HuggingFaceScorer) -> None:
    wide = drawing(40, 80).movedim(-1, 0)[None] / 255
    squashed = F.interpolate(wide, (40, 40), mode="bilinear", antialias=True)
    assert F.cosine_similarity(naflex.encode_image(wide), naflex.encode_image(squashed)).item() < 0.999


def test_naflex_has_the_head_and_the_text_of_siglip(naflex: HuggingFaceScorer) -> None:
    assert isinstance(naflex.image_spec, PatchSpec)
    assert (naflex.head, naflex.bias, naflex.image_size) == ("sigmoid", -12.5, 4 * 8)
    shouted, plain, other = naflex.encode_text(["A red fox in the SNOW", "a red fox in the snow", "a cat"])
    torch.testing.assert_close(shouted, plain)
    assert plain @ other < 0.999
    rows = naflex.tokenize(TEXTS)
    assert rows.shape == (3, 64)
    images = drawing(40, 40).movedim(-1, 0)[None] / 255
    patches, grid = patchify(images, naflex.image_spec)
    with torch.no_grad():
        output = naflex.model(
            input_ids=rows,
            pixel_values=patches,
            pixel_attention_mask=torch.ones(patches.shape[:2], dtype=torch.long),
            spatial_shapes=torch.tensor([grid]),
        )
    logits = naflex.logits(naflex.encode_image(images), naflex.encode_text(TEXTS))
    torch.testing.assert_close(logits, output.logits_per_image, rtol=1e-5, atol=1e-4)


def reference_tokens(scorer: HuggingFaceScorer, texts: list[str]) -> Any:
    return scorer.tokenizer(texts, padding=True, return_tensors="pt")


def test_texts_embed_as_with_the_reference_tokenizer_and_its_mask(kin: HuggingFaceScorer) -> None:
    tokens = reference_tokens(kin, TEXTS)
    with torch.no_grad():
        expected = F.normalize(
            kin.model.get_text_features(tokens.input_ids, attention_mask=tokens.attention_mask).pooler_output, dim=-1
        )
    assert torch.equal(kin.tokenize(TEXTS), tokens.input_ids)
    torch.testing.assert_close(kin.encode_text(TEXTS), expected, rtol=0, atol=1e-6)


def test_a_text_that_is_read_with_a_mask_would_see_its_padding_without(kin: HuggingFaceScorer) -> None:
    if kin.model.config.model_type == "metaclip_2":
        pytest.skip("reads causally: padding behind the end changes nothing")
    tokens = kin.tokenize(TEXTS)
    with torch.no_grad():
        unmasked = F.normalize(kin.model.get_text_features(tokens, attention_mask=None).pooler_output, dim=-1)
    assert F.cosine_similarity(unmasked, kin.encode_text(TEXTS))[1].item() < 0.999


def test_logits_are_the_models_own(kin: HuggingFaceScorer) -> None:
    from clipopt.scorers.preprocess import fit

    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tokens = reference_tokens(kin, TEXTS)
    with torch.no_grad():
        output = kin.model(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            pixel_values=fit(images, kin.image_spec),
        )
    logits = kin.logits(kin.encode_image(images), kin.encode_text(TEXTS))
    torch.testing.assert_close(logits, output.logits_per_image, rtol=1e-5, atol=1e-4)
    assert kin.head == "softmax"


def test_long_texts_are_cut_to_what_the_model_was_trained_on_and_still_end(kin: HuggingFaceScorer) -> None:
    context = {"chinese_clip": 52, "altclip": 77, "metaclip_2": 77}[kin.model.config.model_type]
    with pytest.warns(UserWarning, match=rf"reads {context} tokens, this text has \d+; dropped: '"):
        row = kin.tokenize(["abc " * 40])[0]
    assert len(row) == context
    assert row[-1] == reference_tokens(kin, ["abc"]).input_ids[0, -1]
