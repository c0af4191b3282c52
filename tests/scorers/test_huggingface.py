import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from checkpoints import save_clip, save_kin, save_naflex, save_siglip, siglip2_tokenizer
from PIL import Image
from torch.nn import functional as F

from clipopt.scorers.huggingface import HuggingFaceScorer, _cleaning, canonical, load_huggingface
from clipopt.scorers.preprocess import fit
from clipopt.types import generator

TEXTS = ["a red fox in the snow", "cat", "two dogs, one sofa"]


def load(folder: Path) -> HuggingFaceScorer:
    return load_huggingface(folder, dtype="float32")


def edit(folder: Path, name: str, change: Callable[[Any], None]) -> None:
    config = json.loads((folder / name).read_text())
    change(config)
    (folder / name).write_text(json.dumps(config))


def reference_text(scorer: HuggingFaceScorer, texts: list[str]) -> torch.Tensor:
    """As the documentation of the checkpoints says: padded to the context, no mask."""
    tokens = scorer.tokenizer(
        texts, padding="max_length", truncation=True, max_length=scorer.context, return_tensors="pt"
    )
    with torch.no_grad():
        return F.normalize(scorer.model.get_text_features(tokens.input_ids).pooler_output, dim=-1)


@pytest.mark.parametrize("folder", ["clip_folder", "siglip_folder", "siglip2_folder"])
def test_pictures_embed_as_with_the_reference_processor(folder: str, request: pytest.FixtureRequest) -> None:
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

    path = request.getfixturevalue(folder)
    scorer = load(path)
    processor = (CLIPImageProcessorPil if folder == "clip_folder" else SiglipImageProcessorPil).from_pretrained(path)
    y, x = torch.meshgrid(torch.arange(90) / 90, torch.arange(70) / 70, indexing="ij")
    pixels = torch.stack([x, y, ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.1).float()], -1).mul(255).to(torch.uint8)
    with torch.no_grad():
        inputs = processor(Image.fromarray(pixels.numpy()), return_tensors="pt").pixel_values
        expected = F.normalize(scorer.model.get_image_features(inputs).pooler_output, dim=-1)
        other = F.normalize(scorer.model.get_image_features(inputs.flip(-2)).pooler_output, dim=-1)
    got = scorer.encode_image(pixels.movedim(-1, 0)[None] / 255)
    assert F.cosine_similarity(got, expected).item() > 0.9999
    assert F.cosine_similarity(got, other).item() < 0.999


@pytest.mark.parametrize("legacy", [False, True])
def test_trimming_the_padding_of_clip_changes_nothing(tmp_path: Path, legacy: bool) -> None:
    scorer = load(save_clip(tmp_path, legacy_eos=legacy))
    assert scorer.tokenize(TEXTS).shape[1] < 30
    torch.testing.assert_close(scorer.encode_text(TEXTS), reference_text(scorer, TEXTS), rtol=0, atol=1e-6)


def test_siglip_reads_the_padding_and_gets_it(siglip_folder: Path) -> None:
    scorer = load(siglip_folder)
    assert scorer.tokenize(TEXTS).shape == (3, 64)
    torch.testing.assert_close(scorer.encode_text(TEXTS), reference_text(scorer, TEXTS), rtol=0, atol=1e-6)
    tokens = scorer.tokenizer(TEXTS[0], return_tensors="pt").input_ids
    with torch.no_grad():
        unpadded = F.normalize(scorer.model.get_text_features(tokens).pooler_output, dim=-1)
    assert F.cosine_similarity(unpadded, scorer.encode_text(TEXTS[:1])).item() < 0.99


def test_siglip2_is_padded_on_the_right_and_ends(siglip2_folder: Path) -> None:
    scorer = load(siglip2_folder)
    assert scorer.tokenizer.padding_side == "left"
    row = scorer.tokenize(["A fox."])[0]
    end = row.tolist().index(scorer.tokenizer.eos_token_id)
    assert scorer.tokenizer.decode(row[:end]).replace(" ", "") == "afox."
    assert row[end + 1 :].unique().tolist() == [scorer.tokenizer.pad_token_id]


def test_siglip_is_deaf_to_case_and_punctuation(siglip_folder: Path) -> None:
    scorer = load(siglip_folder)
    shouted, plain, other = scorer.encode_text(["A red fox,  in the SNOW!", "a red fox in the snow", "a cat"])
    torch.testing.assert_close(shouted, plain)
    assert plain @ other < 0.999
    assert canonical(" It's a\tDog-house, n° 5? ") == "its a doghouse n° 5"


@pytest.mark.parametrize("save", [save_siglip, save_naflex])
def test_siglip2_is_deaf_to_case_alone_as_its_own_tokenizer(save: Any, tmp_path: Path) -> None:
    folder = save(tmp_path, siglip2_tokenizer())
    scorer, own = load(folder), transformers.AutoTokenizer.from_pretrained(folder)
    texts = ["a photo of a cat", "A Photo of a CAT", "a photo of a cat.", "a cat, a dog", "a  t-shirt"]
    rows = scorer.tokenize(texts)
    for row, text in zip(rows.tolist(), texts, strict=True):
        words = own(text, add_special_tokens=False)["input_ids"]
        assert row[: len(words) + 1] == [*words, own.eos_token_id]
    assert torch.equal(rows[0], rows[1])
    assert not torch.equal(rows[0], rows[2])


def test_gemmas_tokenizer_in_a_model_of_the_first_type_is_siglip2s() -> None:
    def cleaned(kind: str, tokenizer: str) -> str:
        model = SimpleNamespace(config=SimpleNamespace(model_type=kind))
        return _cleaning(model, type(tokenizer, (), {})())("A cat.")

    assert cleaned("siglip", "GemmaTokenizer") == cleaned("siglip", "Siglip2Tokenizer") == "a cat."
    assert cleaned("siglip2", "Anything") == "a cat."
    assert cleaned("siglip", "SiglipTokenizer") == cleaned("siglip", "T5Tokenizer") == "a cat"


@pytest.mark.parametrize("kind", ["clip", "siglip2", "chinese_clip", "altclip", "metaclip_2"])
def test_a_special_token_in_a_text_is_text(kind: str, tmp_path: Path) -> None:
    if kind == "clip":
        scorer = load(save_clip(tmp_path))
    else:
        scorer = load(save_siglip(tmp_path, siglip2_tokenizer()) if kind == "siglip2" else save_kin(tmp_path, kind))
    tokenizer = scorer.tokenizer
    end = tokenizer.eos_token or tokenizer.sep_token
    special = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    begins = int(scorer.tokenize(["a"])[0, 0]) in special
    for mark in (end, tokenizer.bos_token or tokenizer.cls_token, tokenizer.pad_token):
        row = scorer.tokenize([f"a fox {mark} red"])[0].tolist()[begins:]
        assert special.isdisjoint(row[: row.index(tokenizer.convert_tokens_to_ids(end))])
        assert len(row) > len(scorer.tokenize(["a fox  red"])[0].tolist()[begins:]) or kind == "siglip2"
    first, second = scorer.encode_text([f"a fox {end} red", f"a fox {end} on a green sofa"])
    assert float(first @ second) < 0.9999


def test_characters_that_fall_into_bytes_are_not_read(clip_folder: Path, siglip_folder: Path) -> None:
    scorer = load(clip_folder)
    assert scorer.unread("a 🍎 and りんご, cafe\u0301 — nai\u0308ve: 1\u00bd!") == [
        "🍎",
        "り",
        "ん",
        "ご",
        "é",
        "ï",
        "½",
    ]
    assert scorer.unread("a \uff23at") == ["\uff23"]
    assert scorer.unread('a red fox\'s "photo"…') == []
    assert load(siglip_folder).unread("\uff21 犬 fox, café") == ["犬", "é"]


def test_long_captions_are_cut_before_their_end_token_and_stay_different(clip_folder: Path) -> None:
    scorer = load(clip_folder)
    long = ["fox " * 60 + "cat " * 60, "cat " * 60 + "fox " * 60]
    with pytest.warns(UserWarning, match=r"reads 77 tokens, this text has 122; dropped: '(fox|cat)") as warned:
        rows = scorer.encode_text(long)
    assert len(warned) == 2
    assert str(warned[0].message).count("cat") == 122 - 77
    assert rows[0] @ rows[1] < 0.99
    torch.testing.assert_close(rows, reference_text(scorer, long), rtol=0, atol=1e-6)
    # What cutting the end token off does: every long caption reads the same.
    tokens = scorer.tokenizer(long, return_tensors="pt").input_ids[:, :77]
    with torch.no_grad():
        first, second = F.normalize(scorer.model.get_text_features(tokens).pooler_output, dim=-1)
    torch.testing.assert_close(first, second)


def test_long_captions_of_siglip_keep_their_end_token(siglip2_folder: Path) -> None:
    scorer = load(siglip2_folder)
    with pytest.warns(UserWarning, match=r"reads 64 tokens, this text has 101; dropped: 'b+'"):
        tokens = scorer.tokenize(["a" * 50 + "b" * 50])
    assert tokens.shape == (1, 64)
    assert tokens[0, -1] == scorer.tokenizer.eos_token_id


@pytest.mark.parametrize("folder", ["clip_folder", "siglip_folder", "siglip2_folder"])
def test_logits_are_the_models_own(folder: str, request: pytest.FixtureRequest) -> None:
    scorer = load(request.getfixturevalue(folder))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        output = scorer.model(input_ids=scorer.tokenize(TEXTS), pixel_values=fit(images, scorer.image_spec))
    logits = scorer.logits(scorer.encode_image(images), scorer.encode_text(TEXTS))
    torch.testing.assert_close(logits, output.logits_per_image, rtol=1e-5, atol=1e-4)
    assert scorer.head == ("softmax" if folder == "clip_folder" else "sigmoid")


def test_many_texts_are_encoded_in_pieces(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from clipopt.scorers import huggingface

    scorer = load(clip_folder)
    whole = scorer.encode_text(TEXTS)
    monkeypatch.setattr(huggingface, "_TEXTS_AT_ONCE", 2)
    torch.testing.assert_close(scorer.encode_text(TEXTS), whole)
    with pytest.raises(ValueError, match="no texts"):
        scorer.encode_text([])


def test_bfloat16_rounds_neither_the_scale_nor_the_fingerprint(clip_folder: Path) -> None:
    whole = load(clip_folder)
    short = HuggingFaceScorer(
        load(clip_folder).model, whole.tokenizer, whole.image_spec, name="clip", dtype=torch.bfloat16
    )
    assert short.model.dtype == torch.bfloat16
    assert short.scale == whole.scale == pytest.approx(100, rel=1e-3)
    assert short.fingerprint == whole.fingerprint


@pytest.mark.parametrize("weight", [1.0, 1e-7])
def test_in_float16_no_gradient_vanishes(weight: float, clip_folder: Path) -> None:
    pictures = torch.rand(2, 3, 40, 48, generator=generator(1))
    slopes = []
    for name in ("float32", "float16"):
        scorer = load_huggingface(clip_folder, dtype=name)
        assert scorer.model.dtype == getattr(torch, name)
        seen = pictures.clone().requires_grad_()
        embeddings = scorer.encode_image(seen)
        assert embeddings.dtype == torch.float32
        (embeddings @ scorer.encode_text(["a red fox"]).T).sum().mul(weight).backward()
        slopes.append(seen.grad)
    assert F.cosine_similarity(*(slope.flatten() for slope in slopes), dim=0) > 0.999
    assert slopes[1].norm() / slopes[0].norm() == pytest.approx(1, abs=0.01)


def test_attention_is_plain_for_few_tokens_and_fused_for_many(tmp_path: Path) -> None:
    few, many = save_clip(tmp_path / "few"), save_clip(tmp_path / "many", patch_size=2)
    assert load(few).model.config._attn_implementation == "eager"
    assert load(many).model.config._attn_implementation == "sdpa"


CHANGES: dict[str, Callable[[Path], object]] = {
    "mean": lambda f: edit(f, "preprocessor_config.json", lambda c: c["image_mean"].__setitem__(0, 0.5)),
    "kernel": lambda f: edit(f, "preprocessor_config.json", lambda c: c.update(resample=2)),
    "activation": lambda f: edit(f, "config.json", lambda c: c["vision_config"].update(hidden_act="gelu")),
    "heads": lambda f: edit(f, "config.json", lambda c: c["text_config"].update(num_attention_heads=2)),
    "merges": lambda f: edit(f, "tokenizer.json", lambda c: c["model"]["merges"].pop(1)),
    "weights": lambda f: save_clip(f, seed=1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_fingerprint_changes_with(change: str, clip_folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(clip_folder, tmp_path / "copy"))
    before = load(copy).fingerprint
    assert before == load(clip_folder).fingerprint
    assert len(before) == 12
    CHANGES[change](copy)
    assert load(copy).fingerprint != before


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def drop_tensors(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    del tensors["visual_projection.weight"]
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), "no config.json"),
    "broken config": (lambda f: (f / "config.json").write_text("{"), "config.json"),
    "no type": (lambda f: (f / "config.json").write_text("{}"), "model_type"),
    "other type": (
        lambda f: edit(f, "config.json", lambda c: c.update(model_type="blip")),
        "blip model: ",
    ),
    "no preprocessor": (lambda f: (f / "preprocessor_config.json").unlink(), "preprocessor_config.json"),
    "other size": (
        lambda f: edit(f, "preprocessor_config.json", lambda c: c["crop_size"].update(height=24, width=24)),
        "sees 32 pixels .* makes 24",
    ),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "has no model.safetensors: "),
    "cut weights": (cut, "cannot load"),
    "lost weights": (drop_tensors, "lack 1 tensors, visual_projection.weight"),
    "no tokenizer": (
        lambda f: [(f / n).unlink() for n in ("tokenizer.json", "tokenizer_config.json")],
        "no tokenizer.json",
    ),
}


@pytest.mark.filterwarnings("ignore:unclosed file")
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_broken_folder_is_one_line(damage: str, clip_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(clip_folder, tmp_path / "clip"))
    break_it, complaint = DAMAGE[damage]
    break_it(folder)
    with pytest.raises(ValueError, match=complaint) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
