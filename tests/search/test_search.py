"""The index on disk, and what is found in it, against NumPy."""

import json

import numpy as np
import pytest
import torch
from toy import ToyScorer

from clipopt.search import Index, combine, duplicates, search
from clipopt.search import store as store_module
from clipopt.search.clip_retrieval import find_embeddings, read_embeddings
from clipopt.search.manifest import MANIFEST
from clipopt.types import generator


def rows(count, seed=0, dim=24):
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=generator(seed)), dim=1)


def created(folder, dim=24):
    return Index.create(folder, scorer="toy", fingerprint="toy", dim=dim, source="here", kind="pictures")


@pytest.fixture
def index(tmp_path):
    """Three parts of 7, 1 and 2500 rows."""
    index, start = created(tmp_path / "index"), 0
    for count in (7, 1, 2500):
        index.append(rows(2508)[start : start + count], [{"path": f"{start + i}.png"} for i in range(count)])
        start += count
    return index


def test_the_nearest_are_those_of_numpy(index):
    queries = rows(5, seed=1)
    scores, numbers = search(index, queries, 10)
    cosines = queries.numpy() @ rows(2508).half().float().numpy().T
    order = np.argsort(-cosines, axis=1)[:, :10]
    np.testing.assert_array_equal(numbers.numpy(), order)
    np.testing.assert_allclose(scores.numpy(), np.take_along_axis(cosines, order, 1), atol=1e-5)
    assert index.item(int(numbers[0, 0])) == {"path": f"{order[0, 0]}.png"}


def test_batches_and_blocks_change_nothing(index, monkeypatch):
    whole = search(index, rows(9, seed=2), 4)
    monkeypatch.setattr("clipopt.search.exact._BLOCK", 100)
    monkeypatch.setattr("clipopt.search.exact._CONVERTED", 33)
    monkeypatch.setattr("clipopt.search.exact._QUERIES", 2)
    parts = search(index, rows(9, seed=2), 4)
    torch.testing.assert_close(parts[0], whole[0])
    assert torch.equal(parts[1], whole[1])


def test_a_row_finds_itself_and_fewer_than_asked_is_all(tmp_path):
    index = created(tmp_path / "index")
    index.append(rows(3), [{"path": str(i)} for i in range(3)])
    scores, numbers = search(index, rows(3), 99)
    assert numbers.shape == (3, 3)
    assert numbers[:, 0].tolist() == [0, 1, 2]
    torch.testing.assert_close(scores[:, 0], torch.ones(3), atol=1e-3, rtol=0)
    torch.testing.assert_close(index.rows([2, 0]), rows(3)[[2, 0]], atol=1e-3, rtol=0)


def test_opened_again_it_is_the_same(index):
    again = Index.open(index.folder)
    assert len(again) == 2508
    assert again.digest == index.digest
    assert again.items() == index.items()
    assert torch.equal(search(again, rows(2, 1), 3)[1], search(index, rows(2, 1), 3)[1])


def test_compact_keeps_order_and_drops(index):
    before, files_before = index.items(), set(index.folder.iterdir())
    index.compact(drop=[0, 7, 100])
    kept = [i for i in range(2508) if i not in (0, 7, 100)]
    again = Index.open(index.folder)
    assert again.items() == [before[i] for i in kept]
    torch.testing.assert_close(torch.cat(list(again.parts())).float(), rows(2508)[kept].half().float())
    assert sorted(p.suffix for p in again.folder.iterdir()) == ["", ".json", ".jsonl", ".npy"]
    assert len(files_before) > 4
    again.compact(drop=range(len(again)))
    assert len(Index.open(index.folder)) == 0


def test_killed_while_appending_it_is_as_before(index, monkeypatch):
    before = index.items()

    def die(*_):
        raise KeyboardInterrupt

    for name in ("_commit", "_write_items"):
        with monkeypatch.context() as patched:
            patched.setattr(store_module.Index, name, die)
            with pytest.raises(KeyboardInterrupt):
                index.overwrite([(rows(4), [{"path": "x"}] * 4)])
            with pytest.raises(KeyboardInterrupt):
                index.append(rows(4), [{"path": "x"}] * 4)
            with pytest.raises(KeyboardInterrupt):
                index.compact(drop=[1])
    again = Index.open(index.folder)
    assert again.items() == before
    assert len(list(again.folder.glob("part-*.npy"))) > 3
    again.clean()
    assert len(list(again.folder.glob("part-*"))) == 6
    assert Index.open(index.folder).items() == before


def test_overwritten_whole_or_not_at_all(index, monkeypatch):
    before, write = index.items(), store_module.files.write_text

    def full(path, text):
        if path.name == MANIFEST:
            raise OSError("no space left")
        write(path, text)

    with monkeypatch.context() as patched:
        patched.setattr(store_module.files, "write_text", full)
        with pytest.raises(OSError, match="no space"):
            index.overwrite([(rows(1), [{"path": "x"}])])
    index.clean()
    with pytest.raises(ValueError, match="expected 2 finite rows"):
        index.overwrite([(rows(1), [{"path": "x"}]), (rows(2, dim=8), [{}] * 2)])
    assert Index.open(index.folder).items() == before
    assert len(list(index.folder.glob("part-*"))) == 6
    index.overwrite([(rows(1), [{"path": "x"}]), (rows(2), [{"path": "y"}, {"path": "z"}])])
    assert [item["path"] for item in Index.open(index.folder).items()] == ["x", "y", "z"]
    assert len(list(index.folder.glob("part-*"))) == 4
    assert index.holds(1, rows(2), [{"path": "y"}, {"path": "z"}])
    assert not index.holds(1, rows(2), [{"path": "y"}, {"path": "other"}])
    assert not index.holds(1, rows(2, seed=1), [{"path": "y"}, {"path": "z"}])
    assert not index.holds(2, rows(2), [{"path": "z"}, {"path": "more"}])


def test_rows_of_another_scorer_are_refused(index):
    index.require(ToyScorer())
    with pytest.raises(ValueError, match=r"made by toy \(fingerprint toy\), not by toy \(other\)"):
        index.require(ToyScorer(fingerprint="other"))


@pytest.mark.parametrize(
    "bad", [rows(2), rows(3, dim=8), torch.full((3, 24), torch.nan)], ids=["number", "length", "nan"]
)
def test_wrong_rows_are_refused(index, bad):
    with pytest.raises(ValueError, match="expected 3 finite rows of length 24"):
        index.append(bad, [{}] * 3)
    assert len(Index.open(index.folder)) == 2508


def test_damage_is_noticed(index, tmp_path):
    with pytest.raises(ValueError, match="holds no index"):
        Index.open(tmp_path)
    with pytest.raises(ValueError, match="new or empty"):
        created(index.folder)
    manifest = index.folder / "index.json"
    text = manifest.read_text()
    manifest.write_text(text.replace('"format": 1', '"format": 9'))
    with pytest.raises(ValueError, match="format 9"):
        Index.open(index.folder)
    manifest.write_text(text[:50])
    with pytest.raises(ValueError, match="is damaged"):
        Index.open(index.folder)
    manifest.write_text(text)
    name = json.loads(text)["parts"][2][0]
    items = index.folder / f"{name}.jsonl"
    lines = items.read_text()
    items.unlink()
    with pytest.raises(ValueError, match=r"jsonl is missing; `clipopt index` with the same source mends it"):
        Index.open(index.folder)
    items.write_text(lines)
    (index.folder / f"{name}.npy").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"npy is damaged or cut short.*index again into another"):
        Index.open(index.folder)


def test_duplicates_are_linked(tmp_path, monkeypatch):
    monkeypatch.setattr("clipopt.search.exact._CONVERTED", 4)
    index, base = created(tmp_path / "index"), rows(20)
    step = torch.nn.functional.normalize(torch.randn(24, generator=generator(5)), dim=0)
    chain = [torch.nn.functional.normalize(base[0] + 0.15 * i * step, dim=0) for i in range(1, 4)]
    every = torch.stack([*base, *chain, base[7]])
    index.append(every, [{"path": str(i)} for i in range(24)])
    cosines = (every @ every.T).numpy()
    assert cosines[0, 22] < 0.97 < cosines[0, 20]
    assert duplicates(index, 0.97) == [[0, 20, 21, 22], [7, 23]]
    assert duplicates(index, 0.9999) == [[7, 23]]
    with pytest.raises(ValueError, match="above 0"):
        duplicates(index, 0.0)


def test_arithmetic(index):
    a, b = rows(2, seed=9)
    torch.testing.assert_close(combine([(a, 1.0), (b, -0.5)]), (a - 0.5 * b) / (a - 0.5 * b).norm())
    with pytest.raises(ValueError, match="cancel out"):
        combine([(a, 1.0), (a, -1.0)])
    with pytest.raises(ValueError, match="at least one"):
        combine([])


def test_empty_and_wrong_queries(tmp_path):
    index = created(tmp_path / "index")
    with pytest.raises(ValueError, match="is empty"):
        search(index, rows(1), 1)
    index.append(rows(1), [{}])
    with pytest.raises(ValueError, match="length 24"):
        search(index, rows(1, dim=8), 1)


def write_clip_retrieval(folder, counts=(5, 3)):
    (folder / "img_emb").mkdir(parents=True)
    for number, count in zip((2, 10), counts, strict=True):
        np.save(folder / "img_emb" / f"img_emb_{number}.npy", (3 * rows(count, number)).half().numpy())


def test_embeddings_of_clip_retrieval_come_in_order(tmp_path):
    write_clip_retrieval(tmp_path)
    (first, items), (second, _) = read_embeddings(find_embeddings(tmp_path), 24)
    torch.testing.assert_close(first, rows(5, 2), atol=1e-3, rtol=0)
    torch.testing.assert_close(second, rows(3, 10), atol=1e-3, rtol=0)
    assert items[4] == {"path": "img_emb_2.npy#4"}
    with pytest.raises(ValueError, match="holds no text_emb"):
        find_embeddings(tmp_path, "text_emb")


def test_metadata_belongs_to_the_number_of_its_name(tmp_path):
    for folder, names in (
        ("img_emb", ("img_emb_02.npy", "img_emb_1.npy", "img_emb_03.npy", "img_emb_10.npy", "img_emb_2.npy")),
        ("metadata", ("metadata_02.parquet", "metadata_01.parquet", "metadata_2.parquet", "metadata_10.parquet")),
    ):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).touch()
    pairs = [(path.stem[8:], metadata and metadata.stem[9:]) for path, metadata in find_embeddings(tmp_path)]
    assert pairs == [("1", "01"), ("02", "02"), ("2", "2"), ("03", None), ("10", "10")]


def test_metadata_of_clip_retrieval(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    write_clip_retrieval(tmp_path)
    (tmp_path / "metadata").mkdir()
    table = pyarrow.table({"image_path": [f"{i}.jpg" for i in range(5)], "caption": ["a", "b", "", "d", "e"]})
    parquet.write_table(table, tmp_path / "metadata" / "metadata_2.parquet")
    _, items = next(read_embeddings(find_embeddings(tmp_path), 24))
    assert items[1:3] == [{"path": "1.jpg", "text": "b"}, {"path": "2.jpg"}]
    parquet.write_table(table.slice(1), tmp_path / "metadata" / "metadata_2.parquet")
    with pytest.raises(ValueError, match="has 4 entries"):
        next(read_embeddings(find_embeddings(tmp_path), 24))


@pytest.mark.parametrize("backend", ["usearch", "faiss"])
def test_a_graph_finds_almost_the_same(index, backend):
    pytest.importorskip(backend)
    from clipopt.search.approximate import Graph, build

    with pytest.raises(ValueError, match=r"no .* graph of its content"):
        Graph(index, backend)
    built = build(index, backend)
    queries = rows(20, seed=3)
    scores, numbers = search(index, queries, 5)
    close, found = Graph(index, backend)(queries, 5)
    shared = [len(set(a) & set(b)) for a, b in zip(numbers.tolist(), found.tolist(), strict=True)]
    assert sum(shared) >= 0.9 * 5 * 20
    assert (close <= scores + 1e-5).all()
    index.append(rows(1), [{"path": "new"}])
    with pytest.raises(ValueError, match="graph of its content"):
        Graph(index, backend)
    assert build(index, backend) != built
    assert not built.exists()


@pytest.mark.parametrize("backend", ["usearch", "faiss"])
def test_a_missing_library_is_one_line(index, backend, monkeypatch):
    from clipopt.search.approximate import Graph

    monkeypatch.setitem(__import__("sys").modules, backend, None)
    monkeypatch.setitem(__import__("sys").modules, f"{backend}.index", None)
    with pytest.raises(ValueError, match=r"pip install 'clipopt\[" + backend):
        Graph(index, backend)
