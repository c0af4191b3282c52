"""`clipopt score` as a user runs it; its numbers against NumPy."""

import json

import numpy as np
import pytest
import torch
from checkpoints import save_clip, save_siglip, siglip2_tokenizer

from clipopt.cli import main
from clipopt.commands.work import score as scoring
from clipopt.io import files
from clipopt.scorers import load_scorer
from clipopt.types import generator

CAPTIONS = {"one": "a red fox", "two": "a cat in the snow", "three": "the sea"}
REFERENCES = {"one": ["a fox", "a red dog"], "two": "a cat", "three": ["no", "sea", "blue"]}


@pytest.fixture
def there(here):
    (here / "pictures").mkdir()
    for index, name in enumerate(("one.png", "two.jpg", "three.png", "other.png")):
        files.save(here / "pictures" / name, torch.rand(3, 30, 40, generator=generator(index)))
    (here / "candidates.json").write_text(json.dumps(CAPTIONS))
    (here / "references.json").write_text(json.dumps(REFERENCES))
    return here


@pytest.fixture(scope="module", params=["clip", "siglip"])
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return save_clip(folder) if request.param == "clip" else save_siglip(folder, siglip2_tokenizer())


def rows(scorer, texts):
    return scorer.encode_text(list(texts)).numpy()


def pictures(scorer):
    paths = [f"pictures/{name}" for name in ("one.png", "two.jpg", "three.png")]
    with torch.no_grad():
        return np.concatenate([scorer.encode_image(files.load_image(path)).numpy() for path in paths])


def test_scores_and_probabilities(there, folder, capsys):
    options = ["--scorer", str(folder), "--references", "references.json", "--probability", "--out", "scores.json"]
    assert main(["score", "candidates.json", "pictures", *options, "--quiet"]) == 0
    scores = json.loads((there / "scores.json").read_text())
    assert list(scores) == list(CAPTIONS)
    scorer = load_scorer(str(folder), dtype="float32")
    images, texts = pictures(scorer), rows(scorer, [f"A photo depicts {t}" for t in CAPTIONS.values()])
    lists = [[r] if isinstance(r, str) else r for r in REFERENCES.values()]
    for i, (score, references) in enumerate(zip(scores.values(), lists, strict=True)):
        clip = 2.5 * max(float(images[i] @ texts[i]), 0)
        nearest = max(float((rows(scorer, [f"A photo depicts {r}" for r in references]) @ texts[i]).max()), 0)
        assert score["CLIPScore"] == pytest.approx(clip, abs=1e-4)
        assert score["RefCLIPScore"] == pytest.approx(2 * clip * nearest / (clip + nearest or 1), abs=1e-4)
    logits = scorer.scale * images @ rows(scorer, CAPTIONS.values()).T + scorer.bias
    odds = np.exp(logits - logits.max(1, keepdims=True))
    probability = odds / odds.sum(1, keepdims=True) if scorer.head == "softmax" else 1 / (1 + np.exp(-logits))
    found = [score["Probability"] for score in scores.values()]
    np.testing.assert_allclose(found, np.diag(probability), rtol=1e-2, atol=1e-7)
    out = capsys.readouterr().out.splitlines()
    mean = np.mean([score["CLIPScore"] for score in scores.values()])
    assert out[0] == f"CLIPScore: {mean:.4f}"
    assert out[1].startswith("RefCLIPScore: ")


def test_the_form_of_the_reference_implementation(there, towers, capsys):
    assert main(["score", "candidates.json", "pictures", *towers[:2], "--out", "scores.json", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("CLIPScore: ")
    assert 'does not know "cat", "sea"' in err
    scores = json.loads((there / "scores.json").read_text())
    assert all(score.keys() == {"CLIPScore"} and score["CLIPScore"] >= 0 for score in scores.values())


def test_torchmetrics_is_named_as_such(there, towers, capsys):
    assert main(["score", "candidates.json", "pictures", *towers[:2], "--variant", "torchmetrics", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    scorer = load_scorer(towers[1])
    cosines = (pictures(scorer) * rows(scorer, CAPTIONS.values())).sum(1)
    assert result["mean"] == {"torchmetrics CLIPScore": pytest.approx(max(100 * cosines.mean(), 0), abs=1e-3)}


def test_torchmetrics_of_a_picture_is_that_of_a_mean_of_one(there, towers, capsys, monkeypatch):
    encode, signs = scoring.encode_views, iter([-1, 1, 1])
    monkeypatch.setattr(
        scoring, "encode_views", lambda s, some: torch.stack([next(signs) * row for row in encode(s, some)])
    )
    scorer = load_scorer(towers[1])
    cosines = (pictures(scorer) * rows(scorer, CAPTIONS.values())).sum(1) * [-1, 1, 1]
    assert cosines[0] < 0 < cosines[1:].min()
    arguments = ["score", "candidates.json", "pictures", *towers[:2], "--variant", "torchmetrics", "--json", "--quiet"]
    assert main(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    got = [score["torchmetrics CLIPScore"] for score in result["scores"].values()]
    assert got == pytest.approx([0, *(100 * cosines[1:])], abs=1e-3)
    assert result["mean"]["torchmetrics CLIPScore"] == pytest.approx(100 * cosines.mean(), abs=1e-3)


@pytest.fixture
def coco(there):
    for number, name in ((42, "one.png"), (7, "two.jpg")):
        (there / "pictures" / name).rename(there / "pictures" / f"{number:012}{name[3:]}")
    (there / "pictures" / "three.png").rename(there / "pictures" / "COCO_val2014_000000000139.png")
    return there


def scores(capsys, *arguments):
    assert main(["score", "candidates.json", "pictures", *arguments, "--json", "--quiet"]) == 0
    return json.loads(capsys.readouterr().out)["scores"]


def test_the_results_of_coco(coco, towers, capsys):
    texts = dict(zip((42, 7, 139), CAPTIONS.values(), strict=True))
    results = [{"image_id": number, "caption": text} for number, text in texts.items()]
    (coco / "candidates.json").write_text(json.dumps(results))
    found = scores(capsys, *towers[:2])
    assert list(found) == ["42", "7", "139"]
    keys = {"000000000042": "000000000042", "000000000007.jpg": "7", "COCO_val2014_000000000139": "139"}
    by_name = {name: texts[int(number)] for name, number in keys.items()}
    by_name["000000000042"] = texts[42]
    (coco / "candidates.json").write_text(json.dumps(by_name))
    assert list(scores(capsys, *towers[:2]).values()) == list(found.values())
    annotations = {
        "images": [{"id": number, "file_name": f"{number:012}.jpg"} for number in (42, 7)],
        "annotations": [
            {"id": i, "image_id": number, "caption": f"{text} {i}"}
            for i, (number, text) in enumerate([*texts.items(), *texts.items()])
        ],
    }
    (coco / "references.json").write_text(json.dumps(annotations))
    plain = {
        name: [f"{texts[n]} {i}" for i in (place, place + 3)]
        for place, (name, n) in enumerate(zip(by_name, (42, 7, 139), strict=True))
    }
    ours = scores(capsys, *towers[:2], "--references", "references.json")
    (coco / "references.json").write_text(json.dumps(plain))
    assert ours == scores(capsys, *towers[:2], "--references", "references.json")


@pytest.mark.parametrize(
    ("change", "options", "reason"),
    [
        ({"candidates.json": '{"one": " "}'}, [], "candidates.json: a text of one is empty"),
        ({"candidates.json": '[{"image_id": 4, "caption": ""}]'}, [], "a text of 4 is empty"),
        ({"candidates.json": '[{"image_id": 4, "caption": "a"}]'}, [], "no picture 4 (1 are lacking)"),
        ({"candidates.json": '[{"image_id": true, "caption": "a"}]'}, [], "must hold JSON"),
        ({"candidates.json": '[{"image_id": 4}]'}, [], "must hold JSON"),
        (
            {"candidates.json": '[{"image_id": "one", "caption": "a"}, {"image_id": "one", "caption": "b"}]'},
            [],
            "two cap",
        ),
        ({"candidates.json": '{"one": "a", "one": "b"}'}, [], "'one' stands twice"),
        ({"candidates.json": '{"one": "a", "one.png": "b"}'}, [], "one and one.png in candidates.json are one picture"),
        ({"candidates.json": '{"ne": "a"}'}, [], "no picture ne"),
        ({"candidates.json": "[" * 100000}, [], "nested too deeply"),
        (
            {"references.json": '{"one": [""], "two": "a", "three": "b"}'},
            ["--references", "references.json"],
            "of one is",
        ),
        ({"candidates.json": "{"}, [], "expected JSON such as"),
        ({"candidates.json": "[]"}, [], "must hold JSON"),
        ({"candidates.json": '{"one": 1}'}, [], "must hold JSON"),
        ({"candidates.json": '{"nine": "a fox"}'}, [], "no picture nine (1 are lacking)"),
        ({"references.json": '{"one": ["a"]}'}, ["--references", "references.json"], "no reference for two"),
        ({}, ["--references", "references.json", "--variant", "torchmetrics"], "belong to CLIPScore"),
        ({"pictures/one.jpg": "x"}, [], "are both the picture one"),
        ({"pictures/two.jpg": "x"}, [], "another kind of file"),
        ({"scores.json": "mine"}, ["--out", "scores.json"], "scores.json is there already"),
    ],
)
def test_bad_input_is_one_line(there, towers, capsys, change, options, reason):
    for name, text in change.items():
        (there / name).write_text(text)
    before = sorted(there.rglob("*"))
    assert main(["score", "candidates.json", "pictures", *towers[:2], *options]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.count("\n") == 1
    assert sorted(there.rglob("*")) == before
    assert not (there / "scores.json").exists() or (there / "scores.json").read_text() == "mine"
