"""Models of open_clip against the library's own transform, tokenizer and model. Skipped where it is not installed."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import siglip2_tokenizer, siglip_tokenizer
from open_clip_models import MODELS, import_open_clip, save_open_clip, tiny_model
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from clipopt.scorers import load_scorer, openclip
from clipopt.scorers.openclip import OpenClipScorer, load_open_clip
from clipopt.scorers.preprocess import fit

open_clip = import_open_clip()

TEXTS = ["a red fox in the snow", "cat", "two dogs, one sofa"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    made = {}
    for kind in MODELS:
        tokenizer = siglip_tokenizer(tmp_path_factory.mktemp("spiece")) if kind == "siglip" else None
        made[kind] = save_open_clip(tmp_path_factory.mktemp(kind), kind, tokenizer)
    return made


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Registers the architecture tiny-vit with a tag of each activation; the folder has its weights."""
    config = MODELS["vit"][0]
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-vit", config)
    plain = open_clip.pretrained._pcfg(hf_hub="owner/plain/")
    quick = open_clip.pretrained._pcfg(
        hf_hub="owner/quick/weights.bin", quick_gelu=True, mean=(0.5,) * 3, std=(0.5,) * 3, resize_mode="squash"
    )
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny-vit", {"plain": plain, "quick_one": quick})
    folder = save_open_clip(tmp_path, "vit")
    shutil.copy(folder / "open_clip_model.safetensors", folder / "weights.safetensors")
    monkeypatch.setattr(openclip, "hub_folder", lambda *_: folder)
    return folder


def load(spec: str | Path) -> OpenClipScorer:
    return load_open_clip(str(spec), dtype="float32")


@pytest.fixture(scope="module")
def scorers(folders: Mapping[str, Path]) -> Mapping[str, OpenClipScorer]:
    return {kind: load(folder) for kind, folder in folders.items()}


def drawing(height: int, width: int) -> Tensor:
    """Integers 0 to 255, (h, w, 3)."""
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    disc = ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.1).float()
    return torch.stack([x, y, disc], -1).mul(255).to(torch.uint8)


def own_transform(scorer: OpenClipScorer, pixels: Tensor) -> Tensor:
    config = open_clip.transform.PreprocessCfg(**scorer.model.visual.preprocess_cfg)
    transform = open_clip.transform.image_transform_v2(config, is_train=False)
    return transform(Image.fromarray(pixels.numpy()))[None]


@pytest.mark.parametrize("resize_mode", ["shortest", "squash", "longest"])
@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
@pytest.mark.parametrize("size", [(300, 401), (97, 64), (60, 225), (63, 71), (64, 64)])
def test_preprocessing_is_that_of_the_library(size: tuple[int, int], interpolation: str, resize_mode: str) -> None:
    config = open_clip.transform.PreprocessCfg(
        size=(64, 64), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), interpolation=interpolation, resize_mode=resize_mode,
        fill_color=51,
    )  # fmt: skip
    pixels = drawing(*size)
    expected = open_clip.transform.image_transform_v2(config, is_train=False)(Image.fromarray(pixels.numpy()))[None]
    got = fit(pixels.movedim(-1, 0)[None] / 255, openclip._image_spec(vars(config), "x"))
    assert got.shape == expected.shape
    error = (got - expected).abs() * torch.tensor(config.std).view(3, 1, 1) * 255
    assert error.mean() < 0.32
    assert error.max() < 1.1


@pytest.mark.parametrize("kind", MODELS)
def test_embeds_as_the_library_does(
    folders: Mapping[str, Path], scorers: Mapping[str, OpenClipScorer], kind: str
) -> None:
    scorer = scorers[kind]
    reference = open_clip.create_model(f"local-dir:{folders[kind]}").eval()
    tokens = open_clip.get_tokenizer(f"local-dir:{folders[kind]}")(TEXTS)
    pixels = drawing(90, 70)
    with torch.no_grad():
        expected = reference.encode_image(own_transform(scorer, pixels), normalize=True)
        other = reference.encode_image(own_transform(scorer, 255 - pixels), normalize=True)
        texts = reference.encode_text(tokens, normalize=True)
    got = scorer.encode_image(pixels.movedim(-1, 0)[None] / 255)
    assert F.cosine_similarity(got, expected).item() > 0.9999
    assert (got - expected).norm() < 0.2 * (got - other).norm()
    torch.testing.assert_close(scorer.encode_text(TEXTS), texts, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["vit", "coca", "siglip"])
def test_logits_are_the_models_own(scorers: Mapping[str, OpenClipScorer], kind: str) -> None:
    scorer = scorers[kind]
    images = torch.rand(2, 3, 50, 40, generator=torch.Generator().manual_seed(0))
    pixels, tokens = fit(images, scorer.image_spec), scorer.tokenizer(TEXTS)
    rows = [scorer.model.encode_image(pixels), scorer.model.encode_text(tokens)]
    expected = scorer.model.logit_scale.exp() * F.normalize(rows[0], dim=-1) @ F.normalize(rows[1], dim=-1).T
    if kind == "siglip":
        expected = expected + scorer.model.logit_bias
    logits = scorer.logits(scorer.encode_image(images), scorer.encode_text(TEXTS))
    torch.testing.assert_close(logits, expected, rtol=1e-5, atol=1e-4)
    assert (scorer.head, scorer.bias) == (("sigmoid", -12.5) if kind == "siglip" else ("softmax", 0.0))


def test_leaves_the_training_mode_in_which_the_library_returns_a_model(folders: Mapping[str, Path]) -> None:
    assert open_clip.create_model(f"local-dir:{folders['mobileclip']}").training
    scorer = load(folders["mobileclip"])
    assert not scorer.model.training
    images = drawing(64, 64).movedim(-1, 0)[None] / 255
    rows = scorer.encode_image(images)
    torch.testing.assert_close(scorer.encode_image(images), rows)
    scorer.model.train()
    assert F.cosine_similarity(scorer.encode_image(images), rows).item() < 0.999


def test_the_tag_knows_the_activation_and_the_preprocessing(tiny: Path) -> None:
    images = drawing(50, 32).movedim(-1, 0)[None] / 255
    plain, quick = load("tiny-vit/plain"), load("tiny-vit/quick-one")
    assert plain.image_spec.resize == "shortest"
    assert (quick.image_spec.resize, quick.image_spec.mean) == ("squash", (0.5,) * 3)
    assert plain.fingerprint != quick.fingerprint
    model = tiny_model("vit", quick_gelu=True).eval()
    model.load_state_dict(plain.model.state_dict())
    with torch.no_grad():
        expected = model.encode_image(fit(images, quick.image_spec), normalize=True)
        wrong = plain.model.encode_image(fit(images, quick.image_spec), normalize=True)
    torch.testing.assert_close(quick.encode_image(images), expected)
    assert (wrong - expected).norm() > 1e-3


def test_a_file_is_read_as_the_architectures_own_checkpoints_if_they_agree(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tiny / "weights.safetensors"
    with pytest.warns(UserWarning, match="checkpoints of tiny-vit differ in how they want"):
        scorer = load(f"tiny-vit/{file}")
    assert scorer.image_spec.mean == open_clip.OPENAI_DATASET_MEAN
    monkeypatch.delitem(open_clip.pretrained._PRETRAINED["tiny-vit"], "plain")
    assert load(f"tiny-vit/{file}").image_spec == load("tiny-vit/quick_one").image_spec
    torch.save({"state_dict": {f"module.{k}": v for k, v in scorer.model.state_dict().items()}}, tiny / "epoch.pt")
    again = load_scorer(f"open_clip:tiny-vit/{tiny / 'epoch.pt'}", dtype="float32")
    torch.testing.assert_close(again.encode_text(TEXTS), scorer.encode_text(TEXTS))


def test_the_fingerprint_covers_what_no_weight_shows(tmp_path: Path) -> None:
    prints = []
    for index, config in enumerate(({}, {}, {"quick_gelu": True})):
        folder = tmp_path / str(index)
        folder.mkdir()
        prints.append(load(save_open_clip(folder, "vit", **config)).fingerprint)
    content = json.loads((folder / "open_clip_config.json").read_text())
    content["preprocess_cfg"]["interpolation"] = "bilinear"
    (folder / "open_clip_config.json").write_text(json.dumps(content))
    prints.append(load(folder).fingerprint)
    assert prints[0] == prints[1]
    assert len(set(prints)) == 3


@pytest.mark.parametrize("kind", ["vit", "coca", "siglip"])
def test_long_captions_are_cut_before_their_end_token_and_stay_different(
    scorers: Mapping[str, OpenClipScorer], kind: str
) -> None:
    scorer = scorers[kind]
    long = ["fox " * 60 + "cat " * 60, "cat " * 60 + "fox " * 60]
    with pytest.warns(UserWarning, match=r"tokens of content, this text has \d+; dropped: '.*(fox|cat)") as warned:
        rows = scorer.encode_text(long)
    assert len(warned) == 2
    assert rows[0] @ rows[1] < 0.999
    # A caption that just fits is cut by nobody, and ends as the cut one does.
    room = scorer._content("")[1]
    unit = len(scorer._content("fox fox")[0]) - len(scorer._content("fox")[0])
    scorer.tokenize(["fox " * (room // unit)])
    ended = [row[row != 0] if kind != "siglip" else row for row in scorer.tokenizer([long[0], "fox"])]
    assert ended[0][-1] == (scorer._inner.eos_token_id if kind == "siglip" else 49407)


def test_a_tokenizer_that_pads_on_the_left_is_made_to_pad_on_the_right(tmp_path: Path) -> None:
    scorer = load(save_open_clip(tmp_path, "siglip", siglip2_tokenizer()))
    row = scorer.tokenize(["a fox"])[0]
    assert row.shape == (64,)
    assert row[-1] == scorer._inner.pad_token_id
    assert row[0] != scorer._inner.pad_token_id
    assert torch.equal(row, scorer.tokenize(["A  FOX!"])[0])


def test_bfloat16_rounds_neither_the_scale_nor_the_fingerprint(
    folders: Mapping[str, Path], scorers: Mapping[str, OpenClipScorer]
) -> None:
    for kind in ("resnet", "siglip"):
        whole, short = scorers[kind], load_open_clip(str(folders[kind]), dtype="bfloat16")
        images = torch.rand(2, 3, 50, 40, generator=torch.Generator().manual_seed(0))
        assert short.model.logit_scale.dtype == torch.bfloat16
        assert (short.scale, short.fingerprint) == (whole.scale, whole.fingerprint)
        assert short.encode_image(images).dtype == torch.float32
        assert (short.encode_image(images) * whole.encode_image(images)).sum(1).min() > 0.99
        assert (short.encode_text(TEXTS) * whole.encode_text(TEXTS)).sum(1).min() > 0.99


def test_many_texts_are_encoded_in_pieces(
    scorers: Mapping[str, OpenClipScorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = scorers["vit"]
    whole = scorer.encode_text(TEXTS)
    monkeypatch.setattr(openclip, "_TEXTS_AT_ONCE", 2)
    torch.testing.assert_close(scorer.encode_text(TEXTS), whole)
    with pytest.raises(ValueError, match="no texts"):
        scorer.encode_text([])


def test_a_folder_needs_no_prefix(folders: Mapping[str, Path], scorers: Mapping[str, OpenClipScorer]) -> None:
    scorer: Any = load_scorer(str(folders["vit"]), dtype="float32")
    assert scorer.fingerprint == scorers["vit"].fingerprint
    assert scorer.name == folders["vit"].name


def damage(folder: Path, name: str, content: bytes | None) -> Path:
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("open_clip_config.json", None, "has no open_clip_config.json"),
        ("open_clip_config.json", b"{}", "cannot read a model's configuration"),
        ("open_clip_config.json", b'{"model_cfg": {"embed_dim": 8}}', "cannot load"),
        ("open_clip_model.safetensors", None, "has no open_clip_model.safetensors"),
        ("open_clip_model.safetensors", b"no tensors", "cannot load"),
    ],
)
def test_a_broken_folder_is_one_line(
    folders: Mapping[str, Path], tmp_path: Path, name: str, content: bytes | None, complaint: str
) -> None:
    folder = damage(Path(shutil.copytree(folders["vit"], tmp_path / "copy")), name, content)
    with pytest.raises(ValueError, match=complaint) as caught:
        load(folder)
    assert "\n" not in str(caught.value)


def test_weights_of_another_model_are_one_line(tiny: Path) -> None:
    shutil.copy(save_open_clip(tiny, "resnet") / "open_clip_model.safetensors", tiny / "weights.safetensors")
    with pytest.raises(ValueError, match="cannot load tiny-vit/quick_one: Error") as caught:
        load("tiny-vit/quick_one")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ("ViT-B-33/openai", r"no model 'ViT-B-33', see ViT-B-32"),
        ("ViT-B-32/laion3b", r"neither a file nor a tag of ViT-B-32; its tags: openai, "),
        ("ViT-B-32", "''.* neither"),
        ("", "no model ''"),
    ],
)
def test_an_unknown_name_lists_what_is_known(spec: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint) as caught:
        load_scorer(f"open_clip:{spec}")
    assert "\n" not in str(caught.value)


def test_a_picture_that_is_no_square_is_refused() -> None:
    config = {**vars(open_clip.transform.PreprocessCfg()), "size": (224, 336)}
    with pytest.raises(ValueError, match="sees 224 by 336 pixels: expected a square"):
        openclip._image_spec(config, "wide")


def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize(
    ("spec", "repository"),
    [
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"),
        ("open_clip:ViT-B-16-SigLIP/webli", "timm/ViT-B-16-SigLIP"),
        ("hf-hub:chs20/fare2-clip", "chs20/fare2-clip"),
    ],
)
def test_offline_the_message_names_what_is_missing_and_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, spec: str, repository: str
) -> None:
    offline(monkeypatch, tmp_path)
    with pytest.raises(ValueError, match="is not on this machine") as caught:
        load_scorer(spec)
    message = str(caught.value)
    assert f"hf download {repository} --local-dir FOLDER` where there is network" in message
    assert "use --scorer open_clip:FOLDER" in message
    assert "\n" not in message


def test_offline_a_missing_tokenizer_is_named(
    folders: Mapping[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    offline(monkeypatch, tmp_path)
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-siglip", MODELS["siglip"][0])
    weights = folders["siglip"] / "open_clip_model.safetensors"
    with pytest.raises(ValueError, match="run `hf download owner/tokenizer` where there is network and copy"):
        load_scorer(f"open_clip:tiny-siglip/{weights}")


def test_a_model_of_the_hub_is_read_from_the_cache(
    folders: Mapping[str, Path],
    scorers: Mapping[str, OpenClipScorer],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    offline(monkeypatch, tmp_path)
    model = tmp_path / "hub" / "models--chs20--fare2-clip"
    shutil.copytree(folders["vit"], model / "snapshots" / ("a" * 40))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("a" * 40)
    scorer: Any = load_scorer("hf-hub:chs20/fare2-clip", dtype="float32")
    assert scorer.fingerprint == scorers["vit"].fingerprint
    assert scorer.name == "hf-hub:chs20/fare2-clip"


@pytest.mark.parametrize("kind", ["vit", "siglip"])
def test_a_special_token_in_a_text_is_text(kind: str, scorers: Mapping[str, OpenClipScorer]) -> None:
    scorer = scorers[kind]
    if scorer._inner is None:
        marks = ["<end_of_text>", "<START_OF_TEXT>", "&lt;end_of_text&gt;", "<|endoftext|>"]
        end, special = scorer.tokenizer.eot_token_id, {*scorer.tokenizer.all_special_ids}
    else:
        marks = [scorer._inner.eos_token, scorer._inner.pad_token]
        end, special = scorer._inner.eos_token_id, {*scorer._inner.all_special_ids} - {scorer._inner.unk_token_id}
    begins = int(scorer.tokenize(["a"])[0, 0]) in special
    for mark in marks:
        first, second = scorer.tokenize([f"a fox {mark} red", f"a fox {mark} on a green sofa"]).tolist()
        assert special.isdisjoint(first[begins : first.index(end)])
        assert first != second
    plain = ["a fox <b> &amp; a sofa"]
    assert torch.equal(scorer.tokenize(plain), scorer.tokenizer(plain))


def test_characters_that_fall_into_bytes_are_not_read(scorers: Mapping[str, OpenClipScorer]) -> None:
    assert scorers["vit"].unread("a 🍎, 犬 and 🐈 in a café — ½ £5") == ["犬", "🐈"]
    assert scorers["siglip"].unread("a 🍎 fox") == ["🍎"]


def test_settings_may_not_let_code_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    folder = save_open_clip(tmp_path, "siglip", siglip_tokenizer(tmp_path / "spiece"))
    (folder / "evil.py").write_text(f"import pathlib\npathlib.Path({str(folder / 'ran')!r}).touch()\n")
    path = folder / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"]["text_cfg"]["tokenizer_kwargs"]["trust_remote_code"] = True
    path.write_text(json.dumps(config))
    tokenizer = folder / "tokenizer_config.json"
    own = {"tokenizer_class": "Evil", "auto_map": {"AutoTokenizer": ["evil.Evil", None]}}
    tokenizer.write_text(json.dumps(json.loads(tokenizer.read_text()) | own))
    with pytest.raises(ValueError, match=r"\w") as refused:
        load(folder)
    assert "\n" not in str(refused.value)
    assert not (folder / "ran").exists()


@pytest.mark.parametrize("change", [{"text_cfg": 1}, {"vision_cfg": []}, {"embed_dim": "many"}])
def test_absurd_settings_are_refused_in_a_line(tmp_path: Path, change: dict[str, Any]) -> None:
    path = save_open_clip(tmp_path, "vit") / "open_clip_config.json"
    config = json.loads(path.read_text())
    config["model_cfg"] |= change
    path.write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"\w") as refused:
        load(tmp_path)
    assert "\n" not in str(refused.value)
