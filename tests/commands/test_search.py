"""`clipopt index` and `clipopt search` as a user runs them."""

import json
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from clipopt.cli import main
from clipopt.commands.work import index as task
from clipopt.io import files, folders
from clipopt.scorers import load_scorer
from clipopt.search import Index
from clipopt.types import generator


@pytest.fixture
def photos(here):
    """Five pictures, one twice, one in a subfolder, one broken."""
    (here / "photos" / "more").mkdir(parents=True)
    for number, name in enumerate(("a.png", "b.png", "c.png", "d.png", "more/e.png")):
        files.save(here / "photos" / name, torch.rand(3, 18, 18 + number % 2, generator=generator(number)))
    (here / "photos" / "twin.png").write_bytes((here / "photos" / "a.png").read_bytes())
    (here / "photos" / "broken.jpg").write_bytes(b"no picture")
    return here / "photos"


def index(*arguments):
    return main(["index", *map(str, arguments), "--quiet"])


def summary(capsys):
    return json.loads(capsys.readouterr().out)


def found(capsys, *arguments):
    assert main(["search", "photos.index", *arguments, "--json"]) == 0
    return summary(capsys)


def test_texts_find_pictures(photos, here, towers, capsys):
    assert index("photos", *towers[:2]) == 0
    out, err = capsys.readouterr()
    assert out == "6 pictures: 6 added, 0 removed, 1 unreadable\nphotos.index\n"
    assert "left out: cannot read photos/broken.jpg" in err
    hits = found(capsys, "a red fox", "--top", "9")["hits"]
    tower = load_scorer(towers[1])
    with torch.no_grad():
        query = tower.encode_text(["a red fox"])[0]
        cosines = [float(tower.encode_image(files.load_image(hit["path"]))[0] @ query) for hit in hits]
    assert len(hits) == 6
    assert [hit["score"] for hit in hits] == pytest.approx(cosines, abs=2e-3)
    assert cosines == sorted(cosines, reverse=True)


def test_pictures_arithmetic_and_a_sheet(photos, here, towers, capsys):
    assert index("photos", *towers[:2]) == 0
    capsys.readouterr()
    assert found(capsys, "photos/c.png")["hits"][0]["path"].endswith("photos/c.png")
    hits = found(capsys, "photos/c.png", "photos/d.png", "--without", "snow", "--top", "9")["hits"]
    tower = load_scorer(towers[1])
    with torch.no_grad():
        c, d = (tower.encode_image(files.load_image(photos / f"{name}.png"))[0] for name in "cd")
        query = torch.nn.functional.normalize(c + d - tower.encode_text(["snow"])[0], dim=0)
        best = {hit["path"]: float(tower.encode_image(files.load_image(hit["path"]))[0] @ query) for hit in hits}
    assert [hit["score"] for hit in hits] == pytest.approx(list(best.values()), abs=2e-3)
    assert main(["search", "photos.index", "snow", "--top", "4", "--out", "found.png"]) == 0
    with Image.open(here / "found.png") as sheet:
        assert sheet.width > 300
    assert main(["search", "photos.index", "snow", "--top", "4", "--out", "found.jsonl"]) == 0
    assert len((here / "found.jsonl").read_text().splitlines()) == 4


def test_near_duplicates(photos, towers, capsys):
    assert index("photos", *towers[:2]) == 0
    capsys.readouterr()
    groups = found(capsys, "--duplicates", "0.9999")["groups"]
    assert [[row["path"].rsplit("/", 1)[-1] for row in group] for group in groups] == [["a.png", "twin.png"]]
    (photos / "twin.png").unlink()
    assert index("photos", *towers[:2]) == 0
    capsys.readouterr()
    assert main(["search", "photos.index", "--duplicates", "0.9999", "--out", "twins.png"]) == 0
    assert capsys.readouterr() == ("no two of 5 items have a cosine of 0.9999 or more\n", "")
    assert not (photos.parent / "twins.png").exists()


def test_what_to_keep_has_more_pixels_then_bytes_then_the_name(photos, here, towers, capsys):
    picture = files.load_image(photos / "c.png")
    (photos / "c.png").unlink()
    large = torch.nn.functional.interpolate(picture, scale_factor=3)
    files.save(photos / "z-large.png", large)
    files.save(photos / "y-large.png", large, text={"more": "bytes"})
    for name in ("b-same.png", "a-same.png"):
        files.save(photos / name, picture)
    assert index("photos", *towers[:2]) == 0
    capsys.readouterr()
    groups = found(capsys, "--duplicates", "0.99")["groups"]
    (group,) = (group for group in groups if any("large" in row["path"] for row in group))
    group = [row for row in group if "same" in row["path"] or "large" in row["path"]]
    names = [row["path"].rsplit("/", 1)[-1] for row in group]
    assert names[0] == "y-large.png"
    assert names.index("a-same.png") < names.index("b-same.png")
    assert [row["keep"] for row in group] == [True, False, False, False]
    tower = load_scorer(towers[1])
    with torch.no_grad():
        rows = [tower.encode_image(files.load_image(row["path"]))[0] for row in group]
    assert [row["cosine"] for row in group] == pytest.approx([float(row @ rows[0]) for row in rows], abs=1e-3)
    assert (group[0]["width"], group[0]["height"]) == (large.shape[-1], large.shape[-2])
    assert main(["search", "photos.index", "--duplicates", "0.9999"]) == 0
    lines = capsys.readouterr().out.splitlines()
    size = (photos / "a.png").stat().st_size
    assert f"keep    {photos.resolve() / 'a.png'}  (18 x 18, {size:,} bytes)" in lines
    assert f"1.0000  {photos.resolve() / 'twin.png'}  (18 x 18, {size:,} bytes)" in lines


@pytest.mark.parametrize("place", ["photos.index", "photos/mine.index", "deep/er/photos.index"])
def test_an_index_moves_with_its_pictures(photos, here, towers, capsys, place):
    (here / "home").mkdir()
    photos.rename(here / "home" / "photos")
    if place.startswith("deep"):
        (here / "home" / "deep" / "er").mkdir(parents=True)
    assert index("home/photos", *towers[:2], "--out", f"home/{place}") == 0
    (here / "home").rename(here / "away")
    capsys.readouterr()
    assert main(["search", f"away/{place}", "a fox", "--top", "9", "--json"]) == 0
    paths = [hit["path"] for hit in summary(capsys)["hits"]]
    assert len(paths) == 6
    assert all(path.startswith(str(here.resolve() / "away" / "photos")) for path in paths)
    assert index("away/photos", *towers[:2], "--out", f"away/{place}", "--json") == 0
    assert summary(capsys)["added"] == 0


def test_an_index_that_is_moved_alone_knows_its_pictures(photos, here, towers, capsys):
    assert index("photos", *towers[:2]) == 0
    (here / "alone").mkdir()
    (here / "photos.index").rename(here / "alone" / "photos.index")
    capsys.readouterr()
    assert main(["search", "alone/photos.index", "a fox", "--json"]) == 0
    assert summary(capsys)["hits"][0]["path"].startswith(str(photos.resolve()))


def test_an_index_of_before_opens(photos, here, towers, capsys):
    assert index("photos", *towers[:2]) == 0
    manifest = here / "photos.index" / "index.json"
    told = json.loads(manifest.read_text())
    assert told.pop("relative") == "../photos"
    manifest.write_text(json.dumps(told))
    capsys.readouterr()
    assert found(capsys, "photos/c.png")["hits"][0]["path"].endswith("photos/c.png")
    files.save(photos / "new.png", torch.rand(3, 18, 18, generator=generator(7)))
    assert index("photos", *towers[:2], "--json") == 0
    assert summary(capsys)["added"] == 1
    assert json.loads(manifest.read_text())["relative"] == "../photos"


def test_nothing_readable_is_no_index(photos, here, towers, capsys):
    assert index("photos", *towers[:2]) == 0
    before = Index.open(here / "photos.index").items()
    for path in photos.rglob("*.png"):
        path.write_bytes(b"no picture")
    capsys.readouterr()
    for options in ([], ["--out", "new.index"]):
        assert index("photos", *towers[:2], *options) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.splitlines()[-1] == "clipopt: none of the 7 pictures could be read: nothing was indexed"
    assert Index.open(here / "photos.index").items() == before
    assert not (here / "new.index").exists()


def test_words_that_the_scorer_lacks_are_named(made, capsys):
    assert main(["search", "photos.index", "a zebrafish", "photos/a.png"]) == 0
    assert 'does not know "zebrafish"' in capsys.readouterr().err
    with pytest.warns(UserWarning, match="reads 24 words, this text has 102"):
        assert main(["search", "photos.index", "a red fox" + 99 * " red"]) == 0


@pytest.mark.parametrize("backend", ["usearch", "faiss"])
def test_the_graph_is_built_where_something_changed(photos, here, towers, backend):
    pytest.importorskip(backend)
    command = ["photos", *towers[:2], "--backend", backend]
    built = []
    for _ in range(2):
        assert index(*command) == 0
        (graph,) = (here / "photos.index").glob("approximate-*")
        built.append((graph.name, graph.stat().st_mtime_ns))
    assert built[0] == built[1]
    (photos / "a.png").unlink()
    assert index(*command) == 0
    (graph,) = (here / "photos.index").glob("approximate-*")
    assert graph.name != built[0][0]


def test_again_only_what_changed(photos, here, towers, capsys):
    assert index("photos", *towers[:2]) == 0
    files.save(photos / "b.png", torch.rand(3, 30, 30, generator=generator(9)))
    files.save(photos / "new.png", torch.rand(3, 30, 30, generator=generator(10)))
    (photos / "c.png").unlink()
    capsys.readouterr()
    assert index("photos", *towers[:2], "--json") == 0
    changed = summary(capsys)
    assert (changed["items"], changed["added"], changed["removed"]) == (6, 2, 2)
    paths = [item["path"] for item in Index.open(here / "photos.index").items()]
    assert sorted(paths) == ["a.png", "b.png", "d.png", "more/e.png", "new.png", "twin.png"]
    assert index("photos", *towers[:2], "--json") == 0
    assert summary(capsys)["added"] == 0
    assert found(capsys, "photos/b.png")["hits"][0]["score"] == pytest.approx(1, abs=2e-3)


def test_interrupted_it_goes_on(photos, here, towers, capsys, monkeypatch):
    encode = task.encode_views

    def interrupt(*arguments):
        signal.raise_signal(signal.SIGINT)
        return encode(*arguments)

    monkeypatch.setattr(task, "SAVE_EVERY", 2)
    with monkeypatch.context() as patched:
        patched.setattr(task, "encode_views", interrupt)
        assert index("photos", *towers[:2]) == 130
    assert 0 < len(Index.open(here / "photos.index")) < 6
    capsys.readouterr()
    assert index("photos", *towers[:2], "--json") == 0
    resumed = summary(capsys)
    assert resumed["items"] == 6
    assert 0 < resumed["added"] < 6
    assert len(Index.open(here / "photos.index").manifest.parts) == 1


def test_a_second_writer_is_refused(made, capsys):
    here, options = made
    before = (here / "photos.index" / "index.json").read_bytes()
    with folders.writing(here / "photos.index"):
        assert index("photos", *options) == 2
        assert main(["search", "photos.index", "a fox"]) == 0
    assert "another process is writing photos.index" in capsys.readouterr().err
    assert (here / "photos.index" / "index.json").read_bytes() == before
    assert index("photos", *options) == 0


def test_what_is_damaged_is_indexed_again(made, capsys):
    here, options = made
    before = Index.open(here / "photos.index").items()
    (rows,) = (here / "photos.index").glob("part-*.npy")
    rows.write_bytes(rows.read_bytes()[:-1])
    assert main(["search", "photos.index", "a fox"]) == 2
    assert "`clipopt index` with the same source mends it" in capsys.readouterr().err
    assert index("photos", *options, "--json") == 0
    out, err = capsys.readouterr()
    assert "photos.index: 6 pictures were damaged there, and are indexed again\n" in err
    assert json.loads(out)["added"] == 6
    assert sorted(map(str, Index.open(here / "photos.index").items())) == sorted(map(str, before))
    assert len(list((here / "photos.index").glob("part-*"))) == 2


@pytest.mark.parametrize("backend", ["usearch", "faiss"])
def test_a_damaged_graph_is_not_asked_and_is_built_again(made, capsys, backend):
    pytest.importorskip(backend)
    here, options = made
    assert index("photos", *options, "--backend", backend) == 0
    (graph,) = (here / "photos.index").glob("approximate-*")
    whole = bytearray(graph.read_bytes())
    graph.write_bytes(whole[:-9] + b"\xff" * 9)
    capsys.readouterr()
    assert main(["search", "photos.index", "a fox", "--backend", backend, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["hits"] == found(capsys, "a fox")["hits"]
    assert "is damaged, or of an older version: every item is looked at" in err
    assert index("photos", *options, "--backend", backend) == 0
    capsys.readouterr()
    assert main(["search", "photos.index", "a fox", "--backend", backend]) == 0
    assert capsys.readouterr().err == ""


def test_texts(here, towers, capsys):
    (here / "texts.txt").write_text("a red apple\na green tree\nthe snow\n")
    assert index("texts.txt", *towers[:2]) == 0
    assert main(["search", "texts.txt.index", "the snow", "--top", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split("  ") == ["1.000", "the snow"]


def test_embeddings_of_clip_retrieval(here, towers, capsys):
    (here / "made" / "img_emb").mkdir(parents=True)
    rows = load_scorer(towers[1]).encode_text(["a red apple", "the snow"])
    np.save(here / "made" / "img_emb" / "img_emb_0.npy", 7 * rows.numpy())
    for changes in ("2 added, 0 removed", "0 added, 0 removed"):
        assert index("made", "--clip-retrieval", *towers[:2]) == 0
        assert capsys.readouterr().out.splitlines()[-2] == f"2 embeddings: {changes}, 0 unreadable"
    assert main(["search", "made.index", "the snow", "--top", "1"]) == 0
    assert capsys.readouterr().out == "1.000  img_emb_0.npy#1\n"
    np.save(here / "made" / "img_emb" / "img_emb_1.npy", rows[:1].numpy())
    assert index("made", "--clip-retrieval", *towers[:2]) == 0
    assert capsys.readouterr().out.splitlines()[-2] == "3 embeddings: 3 added, 2 removed, 0 unreadable"


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (np.ones((2, 5)), "img_emb_1.npy has rows of length 5, expected 16: give the --scorer"),
        (np.full((2, 16), np.nan), "img_emb_1.npy must hold a table of finite numbers"),
        (None, "cannot read made/img_emb/img_emb_1.npy"),
    ],
    ids=["width", "nan", "broken"],
)
def test_bad_embeddings_leave_the_index_as_it_was(here, towers, capsys, bad, reason):
    (here / "made" / "img_emb").mkdir(parents=True)
    np.save(here / "made" / "img_emb" / "img_emb_0.npy", np.eye(3, 16))
    assert index("made", "--clip-retrieval", *towers[:2]) == 0
    np.save(here / "made" / "img_emb" / "img_emb_0.npy", np.eye(4, 16))
    second = here / "made" / "img_emb" / "img_emb_1.npy"
    second.touch() if bad is None else np.save(second, bad)
    before = {path: path.lstat().st_mtime_ns for path in here.rglob("*")}
    capsys.readouterr()
    for options in ([], ["--out", "new.index"]):
        assert index("made", "--clip-retrieval", *towers[:2], *options) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert reason in err
    assert {path: path.lstat().st_mtime_ns for path in here.rglob("*")} == before


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["index", "nowhere"], "no such file"),
        (["index", "loop"], "no such file"),
        (["index", "photos", "--out", "photos"], "is there already and is no index"),
        (["index", "photos", "--clip-retrieval"], "holds no img_emb"),
        (["index", "photos", "--out", "photos.index", "--scorer", "embedded"], "their rows cannot be compared"),
        (["index", "photos/more", "--out", "photos.index"], "give another --out"),
        (["search", "nowhere.index", "a fox"], "holds no index"),
        (["search", "photos.index"], "say what to find"),
        (["search", "photos.index", "a fox", "--duplicates", "0.9"], "say what to find"),
        (["search", "photos.index", "--duplicates", "2"], "--duplicates must be above 0"),
        (["search", "photos.index", " "], "a query is empty"),
        (["search", "photos.index", "snow", "--without", "snow"], "cancel out"),
        (["search", "photos.index", "snow", "--top", "0"], "--top must be above 0"),
        (["search", "photos.index", "snow", "--scorer", "embedded"], "their rows cannot be compared"),
        (["search", "photos.index", "snow", "--out", "all.csv"], "must end in .jsonl"),
        (["search", "photos.index", "snow", "--out", "there.png"], "there.png is there already"),
        (["search", "photos.index", "photos/broken.jpg"], "another kind of file"),
        (["search", "photos.index", "nowhere.PNG"], "no such picture: nowhere.PNG"),
        (["search", "photos.index", "snow", "--without", "nowhere.wav"], "no such sound"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(made, capsys, arguments, reason):
    here, options = made
    before = {path: path.lstat().st_mtime_ns for path in here.rglob("*")}
    assert main([*arguments, *(options if arguments[0] == "index" and "--scorer" not in arguments else [])]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert reason in err
    assert err.count("\n") == 1
    assert {path: path.lstat().st_mtime_ns for path in here.rglob("*")} == before


@pytest.fixture
def made(photos, here, towers, capsys):
    assert index("photos", *towers[:2]) == 0
    (here / "there.png").write_bytes(b"mine")
    (here / "loop").symlink_to("loop")
    capsys.readouterr()
    return here, towers[:2]
