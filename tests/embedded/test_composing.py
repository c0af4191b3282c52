"""Several things stand where the words say, as large as they are painted elsewhere."""

import pytest
import torch

from clipopt.embedded.composing import compose, parts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a cat", []),
        ("two cats at the top", []),
        ("a small cat in the top left corner", ["a cat"]),
        ("a large red apple", ["a red apple"]),
        ("a zeppelin left of a cat", []),
        ("a cat left of a dog", ["a cat", "a dog"]),
        ("a dog right of a red cat", ["a red cat", "a dog"]),
        ("three keys on a blue background", ["a key on a blue background"] * 3),
    ],
)
def test_each_is_said_by_itself(text, said):
    assert [part.text for part in parts(text)] == said


def dot() -> torch.Tensor:
    picture = torch.full((1, 3, 32, 32), 0.9)
    picture[..., 8:24, 8:24] = 0.1
    return picture


@pytest.mark.parametrize(
    ("text", "dark"),
    [
        ("a cat left of a dog", [(16, 8), (16, 24)]),
        ("a cat below a dog", [(8, 16), (24, 16)]),
        ("a small cat in the top left corner", [(7, 7)]),
        ("two cats", [(16, 8), (16, 24)]),
        ("three cats", [(8, 16), (23, 8), (23, 24)]),
        ("four cats", [(8, 8), (8, 24), (24, 8), (24, 24)]),
    ],
)
def test_each_stands_in_its_place_and_the_ground_goes_on(text, dark):
    where = parts(text)
    made = compose([dot()] * len(where), where)
    assert made.shape == (1, 3, 32, 32)
    assert all(made[0, 0, y, x] < 0.15 for y, x in dark)
    assert made[0, 0, -1].min() > 0.85  # the lowest line
    covered = float((made[0, 0] < 0.5).float().mean())
    share = where[0].share
    assert covered == pytest.approx(len(where) * (0.5 * share / 0.74) ** 2, rel=0.25)
