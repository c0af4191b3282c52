"""`clipopt classify` and `clipopt adapt` as a user runs them."""

import csv
import json

import pytest
import torch
from torch.nn import functional as F

from clipopt.adapt import TEMPLATES
from clipopt.cli import main
from clipopt.io import files, folders
from clipopt.io.files import load_image
from clipopt.scorers import load_scorer
from clipopt.types import generator

LABELS = ("apple", "fox", "star")


@pytest.fixture
def photos(here):
    """Five pictures of each of three labels, and one that is broken."""
    patterns = F.interpolate(torch.rand(3, 3, 4, 4, generator=generator(3)), 20, mode="bicubic")
    for number, label in enumerate(LABELS):
        (here / "photos" / label).mkdir(parents=True)
        for place in range(5):
            noise = torch.randn(3, 20, 20, generator=generator(number, place))
            files.save(here / "photos" / label / f"{place}.png", (patterns[number] + 0.1 * noise).clamp(0, 1))
    (here / "photos" / "fox" / "broken.png").write_bytes(b"no picture")
    return here / "photos"


def said(capsys):
    return json.loads(capsys.readouterr().out)


def test_zero_shot_is_the_mean_of_the_templates(photos, towers, capsys):
    arguments = ["classify", "photos", *towers[:2], "--labels", "a red apple,fox", "--json", "--quiet", "--top", "2"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    result = json.loads(out)
    assert "left out: cannot read photos/fox/broken.png" in err
    assert result["broken"] == ["photos/fox/broken.png"]
    assert len(result["pictures"]) == 15
    scorer = load_scorer(towers[1])
    texts = [[t.format(label) for t in TEMPLATES] for label in ("a red apple", "fox")]
    rows = F.normalize(torch.stack([scorer.encode_text(some).mean(0) for some in texts]), dim=1)
    for row in result["pictures"]:
        with torch.no_grad():
            shares = scorer.logits(scorer.encode_image(load_image(row["path"])), rows).softmax(1)[0]
        expected = dict(zip(("a red apple", "fox"), shares.tolist(), strict=True))
        assert dict(zip(row["labels"], row["probabilities"], strict=True)) == pytest.approx(expected, abs=1e-4)
        assert row["probabilities"] == sorted(row["probabilities"], reverse=True)
    foxes = [row for row in result["pictures"] if row.get("truth") == "fox"]
    assert len(foxes) == 5
    assert result["accuracy"] == sum(row["labels"][0] == "fox" for row in foxes) / 5


def test_labels_templates_and_files(photos, here, towers, capsys):
    (here / "labels.txt").write_text("fox\nstar\n\nfox\n")
    (here / "templates.txt").write_text("the {}\na red {}\n")
    scorer, common = load_scorer(towers[1]), ["classify", "photos/fox/0.png", *towers[:2]]
    arguments = ["--labels-file", "labels.txt", "--templates", "templates.txt", "--templates", "a {} in snow"]
    assert main([*common, *arguments, "--out", "all.csv", "--top", "5"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "all.csv"
    rows = list(csv.DictReader((here / "all.csv").read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2"]
    text = [[f"the {n}", f"a red {n}", f"a {n} in snow"] for n in ("fox", "star")]
    means = F.normalize(torch.stack([scorer.encode_text(some).mean(0) for some in text]), dim=1)
    with torch.no_grad():
        share = scorer.logits(scorer.encode_image(load_image("photos/fox/0.png")), means).softmax(1)[0]
    found = {row["label"]: float(row["probability"]) for row in rows}
    assert found == pytest.approx({"fox": float(share[0]), "star": float(share[1])}, abs=1e-4)
    for name in ("all.json", "all.jsonl"):
        assert main([*common, "--labels-file", "labels.txt", "--out", name]) == 0
    lines = (here / "all.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == json.loads((here / "all.json").read_text())


@pytest.mark.parametrize("method", ["probe", "tip", "lora"])
def test_learns_and_is_a_scorer_for_other_commands(photos, here, towers, capsys, method):
    options = {"probe": ["--anchor", "0.01"], "tip": ["--alpha", "20", "--beta", "30"]}
    more = options.get(method, ["--steps", "40", "--rate", "0.03"])
    arguments = ["adapt", "photos", *towers[:2], "--method", method, "--shots", "3", "--out", "mine", *more]
    assert main([*arguments, "--json"]) == 0
    summary = said(capsys)
    assert (summary["examples"], summary["held_out"]["pictures"]) == (9 - len(summary["broken"]), 6) or (
        summary["broken"] == ["photos/fox/broken.png"]
    )
    assert summary["held_out"]["adapted"] > summary["held_out"]["zero_shot"]
    notes = json.loads((here / "mine" / "adapter.json").read_text())["notes"]
    assert notes["shots"] == 3
    assert main(["classify", "photos", "--scorer", "mine", "--json", "--quiet"]) == 0
    result = said(capsys)
    assert result["labels"] == list(LABELS)
    assert result["accuracy"] > 0.8
    assert (
        main(["rank", "photos/fox/0.png", "--prior", "0", "--texts", str(texts(here)), "--scorer", "mine", "--json"])
        == 0
    )
    named = next(row["labels"][0] for row in result["pictures"] if row["path"] == "photos/fox/0.png")
    assert said(capsys)["pictures"][0]["captions"][0]["text"] == f"a photo of a {named}"
    assert main(["caption", "photos/fox/0.png", "--scorer", "mine", "--json"]) == 0
    assert said(capsys)["pictures"][0]["captions"]
    small = ["--size", "16", "--steps", "2", "--crops", "2", "--json", "--out", "run"]
    assert main(["image", "a star", "--scorer", "mine", *towers[2:], *small]) == 0
    assert said(capsys)["status"] == "done"
    assert main(["index", "photos", "--scorer", "mine", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["search", "photos.index", "star", "--top", "3", "--json"]) == 0
    assert all("/star/" in hit["path"] for hit in said(capsys)["hits"])
    assert main(["search", "photos.index", "star", *towers[:2]]) == 2
    assert "their rows cannot be compared" in capsys.readouterr().err


def texts(here):
    (here / "texts.txt").write_text("a photo of a star\na photo of a fox\na photo of a apple\n")
    return here / "texts.txt"


def test_a_csv_file_of_labels(photos, here, towers, capsys):
    lines = ["path,label", *(f"photos/{n}/{i}.png,{'plant' if n == 'apple' else n}" for n in LABELS for i in range(4))]
    (here / "data.csv").write_text("\n".join(lines))
    assert main(["adapt", "data.csv", *towers[:2], "--shots", "0", "--json"]) == 0
    summary = said(capsys)
    assert (summary["examples"], summary["labels"], summary["held_out"]) == (12, 3, None)
    assert summary["adapter"] == "data.adapter"
    assert load_scorer("data.adapter").labels == ("fox", "plant", "star")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["classify", "photos", "--labels", "fox"], "at least two"),
        (["classify", "photos", "--labels", "fox,,star"], "with commas between them"),
        (["classify", "photos", "--labels", "a,b", "--labels-file", "x"], "leave one out"),
        (["classify", "photos", "--labels", "a,b", "--templates", "a photo"], "needs one {} for the label"),
        (["classify", "photos", "--labels", "a,b", "--out", "x.txt"], "must end in .csv"),
        (["classify", "photos", "--labels", "a,b", "--top", "0"], "--top must be above 0"),
        (["classify", "nowhere", "--labels", "a,b"], "no such file"),
        (["adapt", "photos", "--method", "magic"], "magic"),
        (["adapt", "photos", "--shots", "-1"], "--shots must be 0"),
        (["adapt", "photos", "--share", "2"], "between 0 and 1"),
        (["adapt", "photos", "--rank", "0"], "--rank must be above 0"),
        (["adapt", "photos/fox"], "has no subfolders"),
        (["adapt", "bad.csv"], "line 2: expected path,label"),
        (["adapt", "one.csv"], "has one label alone"),
        (["adapt", "nowhere.csv"], "cannot read nowhere.csv"),
        (["adapt", "lost.csv"], "lists photos/fox/9.png, and there is no such file (1 are lacking)"),
        (["adapt", "photos", "--method", "coop", "--context", "a " * 80], "give a shorter context"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(photos, here, towers, capsys, arguments, reason):
    (here / "bad.csv").write_text("a.png,fox\nb.png\n")
    (here / "one.csv").write_text("photos/fox/0.png,fox\n")
    (here / "lost.csv").write_text("photos/fox/0.png,fox\nphotos/fox/9.png,star\n")
    before = sorted(here.rglob("*"))
    assert main([*arguments, *towers[:2]]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.count("\n") == 1
    assert sorted(here.rglob("*")) == before


def test_an_adapter_that_is_there_is_not_replaced_unasked(photos, towers, capsys):
    assert main(["adapt", "photos", *towers[:2], "--shots", "2"]) == 0
    assert main(["adapt", "photos", *towers[:2], "--shots", "2"]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["adapt", "photos", *towers[:2], "--shots", "2", "--method", "tip", "--overwrite"]) == 0
    assert load_scorer("photos.adapter").keys is not None


def test_nothing_but_an_adapter_is_replaced_and_by_one_writer(photos, here, towers, capsys):
    (here / "mine").mkdir()
    (here / "mine" / "adapter.json").write_text('{"format": "mine"}')
    command = ["adapt", "photos", *towers[:2], "--shots", "2", "--overwrite", "--out"]
    assert main([*command, "mine"]) == 2
    assert "holds no adapter of clipopt" in capsys.readouterr().err
    assert (here / "mine" / "adapter.json").read_text() == '{"format": "mine"}'
    assert main([*command, "ours"]) == 0
    before = (here / "ours" / "adapter.json").read_bytes()
    with folders.writing(here / "ours"):
        assert main([*command, "ours"]) == 2
    assert "another process is writing ours" in capsys.readouterr().err
    assert (here / "ours" / "adapter.json").read_bytes() == before


@pytest.mark.parametrize("method", ["coop", "lora", "full"])
def test_an_adapter_has_no_towers_to_learn_through(photos, towers, capsys, method):
    assert main(["adapt", "photos", *towers[:2], "--shots", "2"]) == 0
    capsys.readouterr()
    assert main(["adapt", "photos", "--scorer", "photos.adapter", "--method", method, "--out", "second"]) == 2
    assert "the text tower of photos.adapter cannot be opened" in capsys.readouterr().err


def test_nested_folders_are_of_the_first_one_s_label(photos, towers, capsys):
    for label in LABELS:
        (photos / label / "deep").mkdir()
        (photos / label / "0.png").rename(photos / label / "deep" / "0.png")
    assert main(["classify", "photos", *towers[:2], "--json", "--quiet"]) == 0
    result = said(capsys)
    assert result["labels"] == list(LABELS)
    assert [row["truth"] for row in result["pictures"]] == [label for label in LABELS for _ in range(5)]
    assert main(["adapt", "photos", *towers[:2], "--shots", "0", "--json"]) == 0
    assert (said(capsys)["labels"], load_scorer("photos.adapter").labels) == (3, LABELS)


def test_where_no_picture_can_be_read_nothing_is_lost(photos, here, towers, capsys):
    for picture in (photos / "fox").iterdir():
        picture.write_bytes(b"no picture")
    (here / "keep.csv").write_text("mine")
    arguments = ["classify", "photos/fox", *towers[:2], "--labels", "fox,star", "--quiet"]
    for out in (["--out", "keep.csv", "--overwrite"], ["--out", "new.csv"], ["--json"]):
        assert main([*arguments, *out]) == 1
        printed, err = capsys.readouterr()
        assert printed == ""
        assert err.splitlines()[-1].startswith("clipopt: none of the 6 pictures could be read")
    assert (here / "keep.csv").read_text() == "mine"
    assert not (here / "new.csv").exists()
    assert main(["adapt", "photos", *towers[:2]]) == 1
    assert "none of the pictures chosen of fox could be read" in capsys.readouterr().err
    assert not (here / "photos.adapter").exists()
