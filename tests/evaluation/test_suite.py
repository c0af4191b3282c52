from collections import Counter

import pytest
import torch
from torch.nn import functional as F

from clipopt.embedded.captions import compatible, slots
from clipopt.evaluation.suite import Prompt, bank, interval, prompts, read
from clipopt.types import generator


class Oracle:
    """Reads a caption's number off the first pixel."""

    name, image_size, head, fingerprint = "oracle", 8, "softmax", "0"

    def logits(self, image, text):
        return image @ text.T

    def encode_text(self, texts):
        return F.one_hot(torch.arange(len(texts)), len(texts)).float()

    def encode_image(self, images):
        return F.one_hot((images[:, 0, 0, 0] * 1000).round().long(), len(bank())).float()


def picture_of(text):
    number = [p.text for p in bank()].index(text)
    return torch.full((3, 8, 8), number / 1000)


def test_the_suite_is_large_and_without_doubles():
    texts = [p.text for p in prompts()]
    assert len(texts) >= 200
    assert len(set(texts)) == len(texts)
    assert "a red apple on a blue background" in texts
    groups = Counter(p.group for p in prompts())
    assert set(groups) == {"things", "colours of things", "shapes", "backgrounds", "counts", "relations"}
    assert min(groups.values()) >= 20
    captions = [p.text for p in bank()]
    assert len(captions) >= 900
    assert len(set(captions)) == len(captions)
    assert set(texts) <= set(captions)


def test_every_prompt_has_near_rivals():
    rivals = ~compatible(slots([p.scene for p in prompts()]), slots([p.scene for p in bank()]))
    assert (rivals.sum(1) > 900).all()
    captions = {p.text for p in bank()}
    assert "a red triangle left of a blue square" in captions or "a blue square left of a red triangle" in captions


def test_a_perfect_reader_is_always_right():
    images = torch.stack([picture_of(p.text) for p in prompts()])
    assert all(r.right and r.best == p.text for r, p in zip(read(Oracle(), images, prompts()), prompts(), strict=True))


def test_a_wrong_picture_is_read_wrongly_and_a_looser_caption_is_not_a_rival():
    asked = next(p for p in prompts() if p.text == "a red apple on a blue background")
    loose, wrong = read(Oracle(), torch.stack([picture_of("an apple"), picture_of("a car")]), [asked, asked])
    assert wrong.best == "a car"
    assert not wrong.right
    assert loose.best != "an apple"


def test_a_foreign_prompt_is_refused():
    with pytest.raises(ValueError, match="not in the bank"):
        read(Oracle(), torch.zeros(1, 3, 8, 8), [Prompt("a zeppelin", prompts()[0].scene, "things")])


def test_the_interval_holds_the_share_and_narrows():
    values = (torch.rand(400, generator=generator(0)) < 0.8).tolist()
    low, high = interval(values)
    assert low < sum(values) / len(values) < high
    assert high - low == pytest.approx(2 * 1.96 * (0.16 / 400) ** 0.5, rel=0.2)
    few = interval(values[:40])
    assert few[1] - few[0] > high - low
    assert interval([True] * 10) == (1.0, 1.0)
