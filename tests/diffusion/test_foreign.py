"""Folders of pipelines from elsewhere: none runs its own code, all fail in one line, weights of a variant are found."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers_models as tiny
import pytest
import torch

from clipopt import diffusion
from clipopt.diffusion.foreign import variant_of
from clipopt.diffusion.load import facts_of


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.stable_diffusion(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "pipeline"))


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def trap(path: Path) -> Path:
    """Python that leaves a mark beside it when it is run."""
    path.write_text(
        f"import pathlib\npathlib.Path({str(path.parent / 'ran')!r}).touch()\n"
        "from diffusers import *\nclass Evil(StableDiffusionPipeline): pass\n"
    )
    return path


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def custom_pipeline(folder: Path) -> None:
    trap(folder / "pipeline.py")
    change(folder / "model_index.json", _class_name=["pipeline", "Evil"])


def own_pipeline_file(folder: Path) -> None:
    trap(folder / "Evil.py")
    change(folder / "model_index.json", _class_name="Evil")


def own_part(folder: Path) -> None:
    trap(folder / "unet" / "evil.py")
    change(folder / "model_index.json", unet=["evil", "Evil"])


def shadowed_part(folder: Path) -> None:
    trap(folder / "unet" / "diffusers.py")


def other_library(folder: Path) -> None:
    change(folder / "model_index.json", unet=["antigravity", "UNet2DConditionModel"])


def dotted_library(folder: Path) -> None:
    change(folder / "model_index.json", unet=["os.path", "join"])


def not_a_model(folder: Path) -> None:
    change(folder / "model_index.json", unet=["transformers", "Trainer"])


def nested_pipeline(folder: Path) -> None:
    change(folder / "model_index.json", unet=["diffusers", "DiffusionPipeline"])


def outside(folder: Path) -> None:
    change(folder / "model_index.json", **{"../other": ["diffusers", "UNet2DConditionModel"]})


def pickled_weights(folder: Path) -> None:
    for path in (folder / "unet").glob("*.safetensors"):
        path.unlink()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps(Touch(folder / "ran")))


def saved_pickle(folder: Path) -> None:
    for path in (folder / "text_encoder").glob("*.safetensors"):
        path.unlink()
    torch.save({"weight": Touch(folder / "ran")}, folder / "text_encoder" / "pytorch_model.bin")


def no_object(folder: Path) -> None:
    (folder / "model_index.json").write_text("[1]")


def no_json(folder: Path) -> None:
    (folder / "model_index.json").write_text("{")


def cut_weights(folder: Path) -> None:
    path = next((folder / "unet").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:500])


def absurd_settings(folder: Path) -> None:
    change(folder / "unet" / "config.json", block_out_channels="many")


def numbered_class(folder: Path) -> None:
    change(folder / "model_index.json", _class_name=7)


def module_for_class(folder: Path) -> None:
    change(folder / "model_index.json", _class_name="logging")


DAMAGES: list[Callable[[Path], None]] = [
    custom_pipeline, own_pipeline_file, own_part, shadowed_part, other_library, dotted_library, not_a_model,
    nested_pipeline, outside, pickled_weights, saved_pickle, no_object, no_json, cut_weights, absurd_settings,
    numbered_class, module_for_class,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_folder_from_elsewhere_runs_nothing_and_fails_in_one_line(
    folder: Path, damage: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
):
    damage(folder)
    monkeypatch.setattr("builtins.input", lambda *_: "y")  # whoever asks on stdin gets a yes
    with pytest.raises(ValueError, match=r"\w") as refused:
        diffusion.load_pipeline(str(folder))
    assert "\n" not in str(refused.value)
    assert not list(folder.rglob("ran"))


def test_a_coder_from_elsewhere_runs_nothing(folder: Path):
    vae = folder / "vae"
    for name in ("logging", 7, "UNet2DConditionModel", "DiffusionPipeline"):
        change(vae / "config.json", _class_name=name)
        with pytest.raises(ValueError, match="no coder of pictures"):
            diffusion.load_coder(str(vae))
    (vae / "config.json").write_text("[]")
    with pytest.raises(ValueError, match="JSON object"):
        diffusion.load_coder(str(vae))


def test_facts_that_are_no_facts_are_refused(folder: Path):
    (folder / "generator.json").write_text("[]")
    with pytest.raises(ValueError, match="JSON object"):
        facts_of(str(folder))


def test_weights_of_one_variant_are_found(folder: Path):
    pipe = diffusion.load_pipeline(str(folder))
    for path in folder.rglob("*.safetensors"):
        path.rename(path.with_name(path.name.replace(".safetensors", ".fp16.safetensors")))
    same = diffusion.load_pipeline(str(folder))
    coder = diffusion.load_coder(str(folder / "vae"))
    for part in ("unet", "text_encoder", "vae"):
        for name, value in getattr(pipe, part).state_dict().items():
            assert torch.equal(value, getattr(same, part).state_dict()[name])
    assert torch.equal(coder.decoder.conv_in.weight, pipe.vae.decoder.conv_in.weight)
    mixed = next((folder / "vae").glob("*.safetensors"))
    mixed.rename(mixed.with_name("diffusion_pytorch_model.safetensors"))
    diffusion.load_pipeline(str(folder))


def test_the_variant_is_what_a_part_has_nothing_beside():
    assert variant_of(["unet/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.fp16.bin"]) is None
    assert variant_of(["unet/diffusion_pytorch_model.fp16-00001-of-00002.safetensors"]) == "fp16"
    assert variant_of(["a/model-00001-of-00002.bf16.safetensors", "b/model.safetensors"]) == "bf16"
    assert variant_of(["a/model.ema.safetensors", "a/model.fp16.safetensors"]) == "fp16"
    assert variant_of(["a/config.json", "a/LICENSE", "scheduler/scheduler_config.json"]) is None


@pytest.mark.parametrize(
    ("name", "value"), [("latents_mean", "../x"), ("latents_std", [1, 2]), ("scaling_factor", "a")]
)
def test_settings_of_a_coder_that_are_no_numbers_are_refused_by_name(name: str, value: object):
    coder = tiny.kl_coder()
    coder.register_to_config(**{name: value})
    with pytest.raises(ValueError, match=name):
        diffusion.Coder(coder)


def test_a_pipeline_without_its_weights_is_refused_without_a_word(folder: Path, capsys: pytest.CaptureFixture):
    weights = next((folder / "vae").glob("*.safetensors"))
    weights.with_suffix(".bin").write_bytes(b"no weights")
    weights.unlink()
    with pytest.raises(ValueError, match="cannot load the pipeline"):
        diffusion.load_pipeline(str(folder))
    assert capsys.readouterr().err == ""
