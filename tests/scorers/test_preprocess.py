import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import clip_processor, siglip_processor
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from clipopt.scorers.preprocess import ImageSpec, fit, read_image_spec

BICUBIC, BILINEAR = 3, 2


def picture(height: int, width: int, kind: str) -> Tensor:
    """Integers 0 to 255, (h, w, 3)."""
    if kind == "noise":
        return torch.randint(0, 256, (height, width, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    y, x = torch.meshgrid(torch.arange(height) / height, torch.arange(width) / width, indexing="ij")
    disc = ((x - 0.5) ** 2 + (y - 0.5) ** 2 < 0.1).float()
    stripes = (10 * x).int() % 2
    return torch.stack([(x + y) / 2, disc, stripes], -1).mul(255).to(torch.uint8)


@pytest.mark.parametrize("kind", ["noise", "shapes"])
@pytest.mark.parametrize("side", [(300, 400), (97, 64), (512, 512), (60, 224), (224, 224)])
@pytest.mark.parametrize("resample", [BICUBIC, BILINEAR])
@pytest.mark.parametrize("processor", [clip_processor, siglip_processor])
def test_equals_the_reference_processor(
    tmp_path: Path, processor: Any, resample: int, side: tuple[int, int], kind: str
) -> None:
    reference = processor(224, resample=resample)
    reference.save_pretrained(tmp_path)
    pixels = picture(*side, kind)
    expected = reference(Image.fromarray(pixels.numpy()), return_tensors="pt").pixel_values
    spec = read_image_spec(tmp_path)
    got = fit(pixels.movedim(-1, 0)[None] / 255, spec)
    assert got.shape == expected.shape
    error = (got - expected).abs() * torch.tensor(spec.std).view(3, 1, 1) * 255
    # The reference rounds to integers twice on its way, which alone costs 0.28 in the mean.
    assert error.mean() < 0.32
    assert error.max() < 1.1


def test_without_antialiasing_it_would_be_another_picture() -> None:
    spec = ImageSpec(64, 64, "squash", "bicubic", (0.0,) * 3, (1.0,) * 3)
    images = picture(512, 512, "noise").movedim(-1, 0)[None] / 255
    aliased = F.interpolate(images, (64, 64), mode="bicubic")
    assert (fit(images, spec) - aliased).abs().mean() * 255 > 10


def test_specification_of_openai_clip_and_siglip(tmp_path: Path) -> None:
    clip_processor(224).save_pretrained(tmp_path / "clip")
    siglip_processor(224).save_pretrained(tmp_path / "siglip")
    clip, siglip = read_image_spec(tmp_path / "clip"), read_image_spec(tmp_path / "siglip")
    assert clip.mean == (0.48145466, 0.4578275, 0.40821073)
    assert clip.std == (0.26862954, 0.26130258, 0.27577711)
    assert (clip.resize, clip.size, clip.crop, clip.interpolation) == ("shortest", 224, 224, "bicubic")
    assert siglip.mean == siglip.std == (0.5, 0.5, 0.5)
    assert (siglip.resize, siglip.size, siglip.crop, siglip.antialias) == ("squash", 224, 224, True)


def test_reads_the_first_checkpoints_bare_numbers_and_the_newest_nested_file(tmp_path: Path) -> None:
    fields = {"resample": 3, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}
    old = {**fields, "size": 240, "crop_size": 224, "do_center_crop": True, "do_resize": True, "do_normalize": True}
    new = {**old, "size": {"shortest_edge": 240}, "crop_size": {"height": 224, "width": 224}}
    for name, content in {"preprocessor_config.json": old, "processor_config.json": {"image_processor": new}}.items():
        folder = tmp_path / name.split("_")[0]
        folder.mkdir()
        (folder / name).write_text(json.dumps(content))
        spec = read_image_spec(folder)
        assert spec == ImageSpec(240, 224, "shortest", "bicubic", (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert fit(torch.rand(1, 3, 100, 50), spec).shape == (1, 3, 224, 224)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"resample": 1}, "resample"),
        ({"resample": None}, "resample"),
        ({"size": {"height": 20, "width": 30}}, "square"),
        ({"crop_size": {"height": 50, "width": 50}}, "filled"),
        ({"do_center_crop": False}, "filled"),
        ({"do_resize": False}, "do_resize"),
        ({"image_mean": [0.5]}, "unpack"),
        ({"image_std": ...}, "image_std"),
    ],
)
def test_refuses_what_it_does_not_do(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    clip_processor(32).save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    config = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))
    with pytest.raises(ValueError, match=complaint) as caught:
        read_image_spec(tmp_path)
    assert str(path) in str(caught.value)


def test_gradient_passes_where_overshoot_is_cut_off() -> None:
    spec = ImageSpec(32, 32, "squash", "bicubic", (0.0,) * 3, (1.0,) * 3)
    images = torch.zeros(1, 3, 8, 8)
    images[..., 4:] = 1
    images.requires_grad_()
    fitted = fit(images, spec)
    assert fitted.min() == 0
    assert fitted.max() == 1
    (gradient,) = torch.autograd.grad(fitted.sum(), images)
    torch.testing.assert_close(gradient.sum(), torch.tensor(3.0 * 32 * 32))
    assert (gradient != 0).all()


def test_crop_is_the_middle() -> None:
    spec = ImageSpec(8, 8, "shortest", "bicubic", (0.0,) * 3, (1.0,) * 3)
    images = torch.rand(2, 3, 8, 13, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(fit(images, spec), images[..., 2:10])
    torch.testing.assert_close(fit(images.mT, spec), images.mT[..., 2:10, :])


@pytest.mark.parametrize("shape", [(0, 3, 4, 4), (1, 3, 0, 4)])
def test_empty_images_are_an_error(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        fit(torch.zeros(shape), ImageSpec(8, 8, "squash", "bicubic", (0.0,) * 3, (1.0,) * 3))


@pytest.mark.parametrize("thin", [3, 40])
@pytest.mark.parametrize("long", [1600, 1601])
@pytest.mark.parametrize("tall", [False, True])
def test_of_a_strip_no_more_than_the_middle_is_enlarged(thin: int, long: int, tall: bool, monkeypatch) -> None:
    spec = ImageSpec(80, 64, "shortest", "bicubic", (0.0,) * 3, (1.0,) * 3)
    strip = picture(thin, long, "noise").movedim(-1, 0)[None] / 255
    strip = strip.mT if tall else strip
    narrow = fit(strip, spec)
    largest = max(strip.shape[-2:]) * 80 // thin
    monkeypatch.setattr("clipopt.scorers.preprocess._LONGEST", largest)
    assert narrow.shape == (1, 3, 64, 64)
    if thin == 40:
        torch.testing.assert_close(narrow, fit(strip, spec), atol=1e-4, rtol=0)
    else:  # both round the length of the long side to whole pixels
        assert (narrow - fit(strip, spec)).abs().mean() < 0.05


def test_a_thread_of_a_picture_takes_little_memory() -> None:
    code = (
        "import resource, torch; from clipopt.scorers.preprocess import ImageSpec, fit;"
        "spec = ImageSpec(224, 224, 'shortest', 'bicubic', (0.0,) * 3, (1.0,) * 3);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "fit(torch.rand(1, 3, 1, 16000), spec); fit(torch.rand(1, 3, 16000, 1), spec);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert int(done.stdout) * (1 if sys.platform == "darwin" else 1024) < 300e6


@pytest.mark.parametrize(
    "options",
    [
        {"do_rescale": False, "image_mean": [127.5] * 3, "image_std": [60.0, 61.0, 62.0]},
        {"do_rescale": False, "do_normalize": False},
        {"rescale_factor": 1 / 127.5, "image_mean": [1.0] * 3, "image_std": [1.0] * 3},
        {"rescale_factor": 0.5, "do_normalize": False},
        {"do_normalize": False},
    ],
)
@pytest.mark.parametrize("processor", [clip_processor, siglip_processor])
def test_values_are_rescaled_as_the_reference_does(tmp_path: Path, processor: Any, options: dict[str, Any]) -> None:
    reference = processor(32, **options)
    reference.save_pretrained(tmp_path)
    pixels = picture(32, 32, "noise")
    expected = reference(Image.fromarray(pixels.numpy()), return_tensors="pt").pixel_values.float()
    got = fit(pixels.movedim(-1, 0)[None] / 255, read_image_spec(tmp_path))
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("factor", [0, -1, "a", None, True, float("inf")])
def test_a_factor_that_is_none_is_refused(tmp_path: Path, factor: Any) -> None:
    clip_processor(32).save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rescale_factor": factor}))
    with pytest.raises(ValueError, match="rescale_factor must be a number above 0"):
        read_image_spec(tmp_path)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rescale_offset": True}, "rescale_offset is not supported"),
        ({"do_flip_channel_order": True}, "do_flip_channel_order is not supported"),
        ({"image_std": [1, 0, 1]}, "no deviation 0"),
        ({"image_mean": [float("nan")] * 3}, "finite"),
        ({"image_mean": [0.5]}, "wants its pictures"),
    ],
)
def test_what_a_processor_asks_for_is_done_or_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    clip_processor(32).save_pretrained(tmp_path)
    path = tmp_path / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=reason):
        read_image_spec(tmp_path)
