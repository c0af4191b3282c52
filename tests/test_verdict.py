"""The sentence of the report: what scorer and judge agree on."""

import pytest

from clipopt.record.verdict import verdict


def told(score, judge, score_before, judge_before, labels=("a cat",)):
    columns = {"score": score, "judge": judge, "score of start": score_before, "judge of start": judge_before}
    return verdict(labels, columns)


@pytest.mark.parametrize(
    ("score", "judge", "said"),
    [
        (0.6, 0.5, "Scorer and judge agree: the result fits “a cat” better than the start did (scorer 0.200 to 0.600,"),
        (0.2, 0.1, "Scorer and judge agree: the result fits “a cat” no better than the start did"),
        (
            0.6,
            0.1,
            "Scorer and judge disagree: to the scorer the result fits “a cat” better than the start did, to the",
        ),
        (0.2, 0.5, "Scorer and judge disagree: to the judge the result fits “a cat” better than the start did, to the"),
        (0.6, None, "The judge says nothing of this"),
    ],
)
def test_of_one_item(score, judge, said):
    assert told([score], [judge], [0.2], [0.1]).startswith(said)


def test_what_hardly_moves_has_not_moved():
    assert "no better" in told([0.201], [0.102], [0.2], [0.1])


def test_of_several_items():
    labels = ("a cat", "a dog", "a fox", "an owl")
    said = told([0.5, 0.5, 0.1, 0.5], [0.5, 0.1, 0.1, None], [0.1] * 4, [0.1] * 4, labels)
    assert said == (
        "Scorer and judge agree on 2 of 3 items: 1 fit their prompts better than their starts did, 1 do not. "
        "They disagree on “a dog”: only the scorer finds the result better. "
        "Of 1 the judge says nothing: it does not know the words."
    )
    many = told([0.5] * 5, [0.1] * 5, [0.1] * 5, [0.1] * 5, tuple("abcde"))
    assert "They disagree on “a”, “b”, “c” and 2 more: only the scorer" in many


def test_the_first_look_of_the_log_stands_for_a_start_that_nobody_scored():
    columns = {"score": [0.5], "judge": [0.5]}
    log = [{"step": 0, "terms": {}}, {"step": 3, "score": [0.2], "judge": [0.3]}, {"step": 6, "score": [0.5]}]
    assert "(scorer 0.200 to 0.500, judge 0.300 to 0.500)" in verdict(["a cat"], columns, log)
    assert verdict(["a cat"], columns) == verdict(["a cat"], {"score": [0.5]}, log) == ""
