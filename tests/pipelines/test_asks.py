"""Which scorer is asked what, where it looks, and what its answer counts."""

import math

import pytest
import torch
from toy import ToyNatural, ToyScorer

from clipopt.embedded.captions import COUNTS, PLACES, SIZES
from clipopt.embedded.composing import Part, parts
from clipopt.objective import Matching
from clipopt.pipelines.asks import Ask, Asked, Partly, asks, cut, hearing, reworded, spread
from clipopt.pipelines.views import Item
from clipopt.types import generator


class FewWords(ToyScorer):
    def unknown_words(self, text: str) -> list[str]:
        return [word for word in text.split() if word in ("fox", "boat")]


EYE, NATURAL, SMALL = ToyScorer(), ToyNatural(), FewWords()
FOX, BOAT, APPLES = (
    Item({text: 1.0}, seed, "") for seed, text in enumerate(("a fox", "a boat", "two red apples"), start=3)
)
SIZE = (14, 20)
LAYOUTS = [
    *(f"{count} red apples" for count in COUNTS),
    *(f"a {word} red apple" for words in SIZES.values() for word in words),
    *(f"a red apple {name}" for names in PLACES for name in names),
    "a red apple left of a blue cat", "a red apple above a blue cat", "a red apple and a blue cat",
]  # fmt: skip


def pictures(count: int, size: tuple[int, int] = SIZE) -> torch.Tensor:
    return torch.stack([torch.rand(3, *size, generator=generator(number)) for number in range(count)])


def slope(member: Matching | Partly, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    seen = images.clone().requires_grad_()
    match = member.match(seen, 0, generator(0, 0))
    return match.detach(), torch.autograd.grad(match.sum(), seen)[0]


def asked(asks_: list[Ask], count: int, eye: ToyScorer = NATURAL) -> Asked:
    return Asked(eye, asks_, count, SIZE)


def matching(asked: Asked, images: torch.Tensor, seeds: list[int]) -> Matching | Partly:
    return asked.matching(lambda: images, 4, seeds, chunk=8)


def test_a_scorer_hears_what_it_knows_and_another_hears_all():
    items = [FOX, BOAT, Item({"a fox": 1.0, "a boat": 0.5, "a lake": -0.3}, 0, "")]
    assert [(ask.row, dict(ask.item.prompt)) for ask in asks(NATURAL, items)] == [
        (0, {"a fox": 1.0}), (2, {"a fox": 1.0}),
    ]  # fmt: skip
    assert [ask.item for ask in asks(EYE, items)] == items


def test_a_prompt_of_which_only_what_repels_is_known_is_not_asked():
    assert asks(NATURAL, [Item({"a boat": 1.0, "a fox": -0.3}, 0, "")]) == []


def test_pictures_are_asked_for_by_everyone():
    picture = pictures(1)[0]
    (ask,) = asks(NATURAL, [Item({"a boat": 1.0, picture: 0.5}, 0, "")])
    assert list(ask.item.prompt) == [picture]


def test_a_small_vocabulary_is_told_other_words():
    said = {"a fox": "a dog", "a boat": ""}
    assert [(ask.row, dict(ask.item.prompt)) for ask in asks(SMALL, [FOX, BOAT, APPLES], said)] == [
        (0, {"a dog": 1.0}), (2, {"two red apples": 1.0}),
    ]  # fmt: skip
    assert [dict(ask.item.prompt) for ask in asks(EYE, [FOX, BOAT], said)] == [{"a fox": 1.0}, {"a boat": 1.0}]
    assert [ask.row for ask in asks(NATURAL, [FOX], {"a fox": ""})] == [0]


def test_texts_that_become_one_add_up():
    assert reworded({"a fox": 1.0, "a dog": 0.5, "a boat": -0.3}, {"a fox": "a dog", "a boat": ""}) == {"a dog": 1.5}


def test_things_are_asked_for_one_by_one():
    (ask,) = asks(NATURAL, [Item({"a red apple": 1.0}, 0, "")], boxes=True)
    assert ask.part is None
    found = asks(
        ToyNatural(knows=("apple",)), [FOX, APPLES, Item({"a red apple above a blue cat": 2.0}, 0, "")], boxes=True
    )
    assert [(ask.row, dict(ask.item.prompt)) for ask in found] == [
        (1, {"a red apple": 1.0}), (1, {"a red apple": 1.0}), (2, {"a red apple": 2.0}),
    ]  # fmt: skip
    assert [ask.part.u for ask in found[:2]] == [-0.25, 0.25]
    assert found[2].part.v < 0
    assert asks(NATURAL, [APPLES]) == []


@pytest.mark.parametrize("prompt", [{"two red apples": -1.0}, {"two red apples": 1.0, "a boat": -0.3}])
def test_things_that_repel_or_stand_beside_other_texts_are_not_cut_out(prompt: dict[str, float]):
    eye = ToyNatural(knows=("apples",))
    assert all(ask.part is None for ask in asks(eye, [Item(prompt, 0, "")], boxes=True))
    assert not asks(eye, [Item({"two red apples": -1.0}, 0, "")], boxes=True)


@pytest.mark.parametrize("size", [(256, 256), (64, 200), (200, 64), (17, 5), (3, 3)])
def test_boxes_lie_inside_of_the_picture(size: tuple[int, int]):
    things = [part for text in LAYOUTS for part in parts(text)]
    assert len(things) > 20
    for part in things:
        top, bottom, left, right = Ask(0, FOX, part).box(size)
        assert 0 <= top < bottom <= size[0]
        assert 0 <= left < right <= size[1]
        if min(size) > 60:
            middle = size[0] / 2 + part.v * min(size), size[1] / 2 + part.u * min(size)
            assert top < middle[0] < bottom
            assert left < middle[1] < right


def test_without_a_part_the_box_is_the_picture():
    assert Ask(0, FOX).box((14, 20)) == (0, 14, 0, 20)


def test_what_nobody_hears_is_left_to_the_first():
    items = [FOX, BOAT, APPLES]
    told, heard = hearing([asks(NATURAL, items), asks(SMALL, items, {"a boat": ""})], (), items)
    assert [[ask.row for ask in some] for some in told] == [[0, 1], [0, 2]]
    assert heard.tolist() == [[1, 1, 0], [1, 0, 1]]
    assert told[0][1].item == BOAT


def test_scorers_count_as_they_are_weighted():
    items = [FOX, BOAT]
    _, heard = hearing([asks(EYE, items), asks(NATURAL, items)], (1, 0.25), items)
    assert heard.tolist() == [[1, 1], [0.25, 0]]


def test_what_is_asked_of_every_picture_is_a_plain_matching():
    images = pictures(2)
    assert isinstance(matching(asked([Ask(0, FOX), Ask(1, BOAT)], 2), images, [3, 4]), Matching)
    assert isinstance(matching(asked([Ask(1, BOAT)], 2), images, [3, 4]), Partly)


def test_scores_are_missing_where_nothing_is_asked():
    score = asked([Ask(1, FOX)], 3).score(pictures(3))
    assert score.isnan().tolist() == [True, False, True]
    alone = asked([Ask(0, FOX)], 1).score(pictures(2)[1:])
    torch.testing.assert_close(score[1:2], alone)
    assert asked([], 2).score(pictures(2)).isnan().all()
    assert asked([Ask(1, FOX)], 3).percentile(pictures(3)).isnan().all()


def test_an_items_gradient_is_that_of_the_item_alone():
    images, seeds = pictures(3), [5, 3, 4]
    some = [Ask(1, FOX), *asks(NATURAL, [APPLES, BOAT, BOAT])]
    match, gradient = slope(matching(asked(some, 3), images, seeds), images)
    alone, own = slope(matching(asked([Ask(0, FOX)], 1), images[1:2], [3]), images[1:2])
    torch.testing.assert_close(match[1:2], alone, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(gradient[1:2], own, rtol=1e-4, atol=1e-8)
    assert match[[0, 2]].tolist() == [0, 0]
    assert not gradient[[0, 2]].any()


def test_nothing_outside_of_a_box_gets_a_gradient():
    images = pictures(2, (24, 24))
    ask = Ask(1, FOX, Part("a fox", 0.2, -0.2, 0.3))
    top, bottom, left, right = ask.box((24, 24))
    eyes = Asked(NATURAL, [ask], 2, (24, 24))
    match, gradient = slope(matching(eyes, images, [0, 3]), images)
    assert match[1] > 0
    assert gradient[1, :, top:bottom, left:right].any()
    gradient[1, :, top:bottom, left:right] = 0
    assert not gradient.any()


def test_of_several_things_the_mean_counts():
    images = pictures(1)
    things = asks(ToyNatural(knows=("apple",)), [APPLES], boxes=True)
    both = slope(matching(asked(things, 1), images, [5]), images)
    each = [slope(matching(asked([thing], 1), images, [5]), images) for thing in things]
    for whole, *single in zip(both, *each, strict=True):
        torch.testing.assert_close(whole, sum(single) / 2, rtol=1e-4, atol=1e-7)
    scores = [float(asked(some, 1).score(images)) for some in (things, things[:1], things[1:])]
    assert scores[0] == pytest.approx(sum(scores[1:]) / 2, abs=1e-5)
    assert not math.isnan(scores[0])


def test_things_are_shown_at_the_size_that_the_scorer_sees():
    things = asks(ToyNatural(knows=("apple",)), [APPLES], boxes=True)
    assert cut(pictures(1), things, True, NATURAL).shape == (2, 3, 16, 16)
    assert torch.equal(cut(pictures(3), [Ask(2, FOX)], False, NATURAL), pictures(3)[2:])


def test_values_are_averaged_by_row():
    assert spread(torch.tensor([1.0, 3.0, 5.0]), [2, 2, 0], 3).tolist() == [5, 0, 2]
