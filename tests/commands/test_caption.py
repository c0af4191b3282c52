"""`clipopt caption` and `clipopt rank` as a user runs them."""

import csv
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from captioners import blip
from checkpoints import save_clip

from clipopt.captions import Captioner
from clipopt.cli import main
from clipopt.commands.work.caption import describer
from clipopt.embedded.grammar import WorldGrammar
from clipopt.io import files
from clipopt.scorers import load_scorer
from clipopt.types import generator

FIRST = Path(__file__).parents[2] / "docs" / "first.png"
TEXTS = ["a red apple", "a green tree", "the blue star", "snow", "a fox"]


@pytest.fixture
def scorer(towers):
    return towers[:2]


@pytest.fixture
def photos(here):
    """A folder with pictures of two sizes, one in a subfolder, one broken, and a text."""
    folder = here / "photos"
    (folder / "more").mkdir(parents=True)
    for index, name in enumerate(("a.png", "b.jpg", "more/c.png")):
        files.save(folder / name, torch.rand(3, 20 + 4 * index, 24, generator=generator(index)))
    (folder / "broken.png").write_bytes((folder / "a.png").read_bytes()[:90])
    (folder / "notes.md").write_text("no picture")
    (here / "texts.txt").write_text("\n".join([*TEXTS, "", TEXTS[0]]))
    return folder


def test_it_says_what_the_first_picture_shows(here, capsys):
    assert main(["caption", str(FIRST)]) == 0
    assert "  a red apple on a blue background  (" in capsys.readouterr().out


def test_own_sentences_are_weighed_by_the_describer_and_given_ones_by_the_judge(here, capsys):
    def captions(*options):
        assert main(["caption", str(FIRST), "--top", "3", "--json", *options]) == 0
        return json.loads(capsys.readouterr().out)["pictures"][0]["captions"]

    picture = files.load_image(FIRST)[0]
    eyes, judge = describer(), load_scorer("embedded-judge")
    for caption in captions():
        (told,) = eyes.likelihood(picture, [caption["text"]])
        assert caption["parts"]["second"] == pytest.approx(0.05 * told, abs=1e-3)
    (here / "given.txt").write_text("an apple that is red\na blue car\na tree")
    for caption in captions("--texts", "given.txt"):
        seen = judge.encode_image(picture[None])[0] @ judge.encode_text([caption["text"]])[0]
        assert caption["parts"]["second"] == pytest.approx(0.5 * float(seen), abs=1e-3)


def test_a_folder_to_jsonl(photos, here, scorer, capsys):
    assert main(["caption", "photos", *scorer, "--top", "3", "--out", "all.jsonl"]) == 0
    out, err = capsys.readouterr()
    assert out == "all.jsonl\n"
    assert err.count("left out: cannot read photos/broken.png") == 1
    assert "3/4" not in out
    rows = [json.loads(line) for line in (here / "all.jsonl").read_text().splitlines()]
    assert [row["picture"] for row in rows] == ["photos/a.png", "photos/b.jpg", "photos/more/c.png"]
    for row in rows:
        scores = [caption["score"] for caption in row["captions"]]
        assert len(scores) == 3
        assert scores == sorted(scores, reverse=True)
        for caption in row["captions"]:
            assert caption["source"] == "grammar"
            assert caption["parts"].keys() == {"match", "prior"}
            assert sum(caption["parts"].values()) == pytest.approx(caption["score"], abs=1e-5)


def test_a_folder_to_text_files_beside_which_nothing_is_overwritten(photos, here, scorer, capsys):
    assert main(["caption", "photos", *scorer, "--out", "said", "--quiet"]) == 0
    made = sorted(str(path.relative_to(here / "said")) for path in (here / "said").rglob("*.txt"))
    assert made == ["a.txt", "b.txt", "more/c.txt"]
    assert main(["caption", "photos/a.png", *scorer, "--json"]) == 0
    best = json.loads(capsys.readouterr().out.splitlines()[-1])["pictures"][0]["captions"][0]["text"]
    assert (here / "said" / "a.txt").read_text() == f"{best}\n"
    (here / "said" / "a.txt").write_text("mine\n")
    assert main(["caption", "photos", *scorer, "--out", "said"]) == 2
    assert "a.txt is there already" in capsys.readouterr().err
    assert (here / "said" / "a.txt").read_text() == "mine\n"
    assert main(["caption", "photos", *scorer, "--out", "said", "--overwrite", "--quiet"]) == 0
    assert (here / "said" / "a.txt").read_text() == f"{best}\n"


def test_csv(photos, here, scorer):
    assert main(["rank", "photos/b.jpg", "--texts", "texts.txt", *scorer, "--top", "2", "--out", "b.csv"]) == 0
    rows = list(csv.DictReader((here / "b.csv").read_text().splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2"]
    assert all(row["caption"] in TEXTS and row["source"] == "list" for row in rows)


def test_rank_is_the_cosine_with_every_text(photos, here, scorer, capsys):
    assert main(["rank", "photos/a.png", "--texts", "texts.txt", *scorer, "--top", "9", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    tower = load_scorer(scorer[1])
    cosine = (tower.encode_image(files.load_image("photos/a.png")) @ tower.encode_text(TEXTS).T)[0]
    captions = result["pictures"][0]["captions"]
    assert [c["text"] for c in captions] == [TEXTS[i] for i in cosine.argsort(descending=True)]
    assert [c["score"] for c in captions] == pytest.approx(cosine.sort(descending=True).values.tolist(), abs=1e-5)
    assert sum(c["probability"] for c in captions) == pytest.approx(1, abs=1e-5)
    assert result["fingerprint"] == tower.fingerprint


def test_a_table_shows_the_parts(photos, scorer, capsys):
    options = ["--second", scorer[1], "--consensus", "0.1", "--top", "2"]
    assert main(["caption", "photos/a.png", *scorer, *options]) == 0
    name, head, *rows = capsys.readouterr().out.splitlines()
    assert name == "photos/a.png"
    assert head.split() == ["score", "match", "prior", "consensus", "second", "probability", "caption"]
    assert len(rows) == 2
    score, *parts = (float(number) for number in rows[0].split()[:5])
    assert score == pytest.approx(sum(parts), abs=0.003)


def test_template_and_background(photos, here, scorer, capsys):
    (here / "slots.json").write_text(json.dumps({"colour": ["red", "green", ""], "thing": ["fox", "tree"]}))
    options = ["--template", "a {colour} {thing}", "--slots", "slots.json", "--background", "photos", "--top", "99"]
    assert main(["caption", "photos/a.png", *scorer, *options, "--json", "--second", "none"]) == 0
    captions = json.loads(capsys.readouterr().out)["pictures"][0]["captions"]
    said = {f"a {colour} {thing}" for colour in ("red", "green") for thing in ("fox", "tree")}
    assert said | {"a fox", "a tree"} <= {c["text"] for c in captions}
    tower = load_scorer(scorer[1])
    pictures = [files.load_image(photos / name) for name in ("a.png", "b.jpg", "more/c.png")]
    mean = torch.cat([tower.encode_image(picture) for picture in pictures]).mean(0)
    prior = -0.25 * float(tower.encode_text([captions[0]["text"]])[0] @ mean)
    assert captions[0]["parts"]["prior"] == pytest.approx(prior, abs=1e-5)


def test_a_captioner_a_corpus_and_a_search_compete(photos, here, scorer, capsys):
    assert main(["index", "texts.txt", *scorer, "--quiet"]) == 0
    capsys.readouterr()
    options = ["--captioner", blip(here / "blip"), "--samples", "3", "--corpus", "texts.txt.index", "--nearest", "2"]
    options += ["--search", "2", "--search-steps", "3", "--likelihood", "0.01", "--top", "99", "--json"]
    assert main(["caption", "photos/a.png", *scorer, *options]) == 0
    captions = json.loads(capsys.readouterr().out)["pictures"][0]["captions"]
    assert {c["source"] for c in captions} == {"blip", "corpus", "search"}
    assert all("likelihood" in c["parts"] for c in captions)


def test_where_no_picture_can_be_read_nothing_is_lost(here, scorer, capsys):
    (here / "bad").mkdir()
    for name in ("a.png", "b.png"):
        (here / "bad" / name).write_bytes(b"no picture")
    (here / "keep.jsonl").write_text("mine")
    for out in (["--out", "keep.jsonl", "--overwrite"], ["--out", "new.jsonl"], ["--json"]):
        assert main(["caption", "bad", *scorer, "--quiet", *out]) == 1
        printed, err = capsys.readouterr()
        assert printed == ""
        assert err.splitlines()[-1].startswith("clipopt: none of the 2 pictures could be read")
    assert (here / "keep.jsonl").read_text() == "mine"
    assert not (here / "new.jsonl").exists()


def test_unknown_words_are_named_in_one_line(photos, here, scorer, capsys):
    (here / "odd.txt").write_text("a red zebra\n" + "\n".join(f"gnu{letter}" for letter in "abcdef"))
    for command in ("rank", "caption"):
        assert main([command, "photos/a.png", "--texts", "odd.txt", *scorer]) == 0
        (line,) = capsys.readouterr().err.splitlines()
        assert 'does not know "zebra", "gnua", "gnub", "gnuc", "gnud" and 2 more' in line


def test_interrupted_keeps_what_is_done(photos, here, scorer, monkeypatch):
    say = Captioner.__call__

    def interrupt(self, pictures, count=1):
        signal.raise_signal(signal.SIGINT)
        return say(self, pictures, count)

    monkeypatch.setattr(Captioner, "__call__", interrupt)
    monkeypatch.setattr("clipopt.io.picture_files.BATCH", 2)
    assert main(["caption", "photos", *scorer, "--out", "all.csv", "--quiet"]) == 130
    assert len((here / "all.csv").read_text().splitlines()) > 1


def test_a_photograph_is_unlike_the_embedded_world_and_a_drawing_is_not(here, capsys):
    photograph = torch.rand(3, 90, 120, generator=generator(3))
    files.save(here / "noise.png", torch.nn.functional.avg_pool2d(photograph, 5, 1))
    (here / "drawn.png").write_bytes(FIRST.read_bytes())
    command = ["caption", "noise.png", "drawn.png", "--scorer", "embedded", "--device", "cpu", "--quiet"]
    assert main([*command, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["unlike"] == ["noise.png"]
    assert err.count("\n") == 1
    assert "noise.png: unlike anything that embedded knows" in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["caption"], "say which pictures"),
        (["caption", "nowhere.png"], "no such file"),
        (["caption", "photos/broken.png"], "damaged"),
        (["caption", "photos/notes.md"], "another kind of file"),
        (["caption", "empty"], "no picture in empty"),
        (["caption", "photos", "--top", "0"], "--top must be above 0"),
        (["caption", "photos", "--views", "6"], "views must be 1 to 5"),
        (["caption", "photos", "--prior", "nan"], "--prior must be a finite number"),
        (["caption", "photos", "--template", "a {thing}"], "--template and --slots belong together"),
        (["caption", "photos", "--template", "a {thing}", "--slots", "texts.txt"], "cannot read slots"),
        (["caption", "photos", "--texts", "empty/none.txt"], "cannot read texts"),
        (["caption", "photos", "--second", "nobody"], "unknown scorer 'nobody'"),
        (["caption", "photos", "--out", "texts.txt"], "expected a folder"),
        (["caption", "photos/a.png", "--out", "a.txt"], "expected a folder for one .txt of each picture"),
        (["caption", "photos/a.png", "--out", "a.json"], "ends in .jsonl or .csv"),
        (["caption", "photos", "--out", "there.csv"], "there.csv is there already"),
        (["caption", "photos", "--out", "nowhere/all.csv"], "no folder nowhere"),
        (["caption", "photos/a.png", "twin/a.jpg", "--out", "said"], "would both write said/a.txt"),
        (["caption", "photos", "--out", "leads"], "leads/more is a link or no folder"),
        (["caption", "photos/a.png", "--out", "pipe.csv", "--overwrite"], "a pipe or device"),
        (["caption", "photos/a.png", "--out", "/proc/all.csv"], "cannot write"),
        (["rank", "photos/a.png"], "--texts"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(photos, here, scorer, capsys, arguments, reason):
    (here / "empty").mkdir()
    (here / "twin").mkdir()
    (here / "twin" / "a.jpg").write_bytes((photos / "b.jpg").read_bytes())
    (here / "there.csv").write_text("mine")
    (here / "leads").mkdir()
    (here / "leads" / "more").symlink_to(here / "empty")
    os.mkfifo(here / "pipe.csv")
    before = sorted(here.rglob("*"))
    assert main([*arguments, *(scorer if len(arguments) > 1 else [])]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.count("\n") == 1
    assert sorted(here.rglob("*")) == before
    assert (here / "there.csv").read_text() == "mine"


def test_another_model_needs_to_be_told(here, capsys):
    assert main(["caption", str(FIRST), "--scorer", str(save_clip(here / "clip"))]) == 2
    assert "say where captions" in capsys.readouterr().err


def test_the_grammar_says_only_what_can_be():
    grammar = WorldGrammar()
    cat, dog = 1, 0
    assert grammar.say({"concept": cat, "count": 3, "colour": "red"}) == "three red cats"
    assert grammar.say({"other": dog}) == "a dog"
    said = {"concept": cat, "other": dog, "other_colour": "blue", "relation": "over", "background": "green"}
    assert grammar.say(said) == "a cat above a blue dog on a green background"
    for wrong in (
        {}, {"colour": "red"}, {"concept": cat, "other": cat}, {"concept": cat, "relation": "over"},
        {"concept": cat, "other": dog, "count": 2}, {"concept": cat, "other_colour": "red"},
    ):  # fmt: skip
        assert grammar.say(wrong) is None
    assert "a red circle" in grammar.typical()
