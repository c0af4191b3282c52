"""Indexes from anywhere: what they say of themselves is not believed, and they lead nowhere."""

import io
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from clipopt.search import Index, duplicates, search
from clipopt.search.manifest import read_manifest
from clipopt.types import generator


def rows(count, seed=0, dim=24):
    return torch.nn.functional.normalize(torch.randn(count, dim, generator=generator(seed)), dim=1)


def created(folder, count=6):
    index = Index.create(folder, scorer="toy", fingerprint="toy", dim=24, source=str(folder), kind="pictures")
    for start in range(0, count, 3):
        index.append(rows(count)[start : start + 3], [{"path": f"{start + i}.png"} for i in range(3)])
    return index


def told(folder, **changes):
    path = folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def first(folder):
    return json.loads((folder / "index.json").read_text())["parts"][0][0]


def npy(shape=(3, 24), dtype="float16", order="C"):
    file = io.BytesIO()
    np.save(file, np.ones(shape, dtype, order))
    return file.getvalue()


def header(shape):
    text = f"{{'descr': '<f2', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode() + bytes(3 * 24 * 2)


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


def replace_rows(data):
    return lambda folder: (folder / f"{first(folder)}.npy").write_bytes(data() if callable(data) else data)


def replace_items(text):
    return lambda folder: (folder / f"{first(folder)}.jsonl").write_text(text)


def link(name):
    def change(folder):
        path = folder / name(folder)
        path.rename(folder.parent / "elsewhere")
        path.symlink_to(folder.parent / "elsewhere")

    return change


MANIFESTS = {
    "parent": lambda f: told(f, parts=[["../other/" + first(f.parent / "other"), 3]]),
    "absolute": lambda f: told(f, parts=[[str(f.parent / "other" / first(f.parent / "other")), 3]]),
    "named otherwise": lambda f: told(f, parts=[["mine", 3]]),
    "twice": lambda f: told(f, parts=[[first(f), 3], [first(f), 3]]),
    "huge": lambda f: told(f, parts=[[first(f), 10**12]]),
    "endless": lambda f: told(f, parts=[[first(f), 10**400]]),
    "negative": lambda f: told(f, parts=[[first(f), -3]]),
    "none": lambda f: told(f, parts=[[first(f), 0]]),
    "half": lambda f: told(f, parts=[[first(f), 2.5]]),
    "true": lambda f: told(f, parts=[[first(f), True]]),
    "parts of no list": lambda f: told(f, parts=3),
    "parts of a text": lambda f: told(f, parts="part-00000000"),
    "wide": lambda f: told(f, dim=10**9),
    "flat": lambda f: told(f, dim=0),
    "narrow": lambda f: told(f, dim=12),
    "scorer of no text": lambda f: told(f, scorer=["embedded"]),
    "source of no text": lambda f: told(f, source=None),
    "zero byte": lambda f: told(f, source="\0"),
    "kind": lambda f: told(f, kind="passwords"),
    "other format": lambda f: told(f, format=[[]]),
    "more": lambda f: told(f, more="fields"),
    "infinite": lambda f: told(f, dim=float("inf")),
    "list": lambda f: (f / "index.json").write_text("[]"),
    "null": lambda f: (f / "index.json").write_text("null"),
    "deep": lambda f: (f / "index.json").write_text("[" * 10**6),
    "bytes": lambda f: (f / "index.json").write_bytes(b"\xff\xfe\x00"),
    "folder": lambda f: ((f / "index.json").unlink(), (f / "index.json").mkdir()),
    "link": link(lambda f: "index.json"),
    "pipe": lambda f: ((f / "index.json").unlink(), os.mkfifo(f / "index.json")),
}
PARTS = {
    "linked rows": link(lambda f: f"{first(f)}.npy"),
    "linked items": link(lambda f: f"{first(f)}.jsonl"),
    "no rows": lambda f: (f / f"{first(f)}.npy").unlink(),
    "no items": lambda f: (f / f"{first(f)}.jsonl").unlink(),
    "pickle": replace_rows(lambda: pickle.dumps(Evil())),
    "objects": replace_rows(lambda: npy(dtype="object")),
    "doubles": replace_rows(lambda: npy(dtype="float64")),
    "columns": replace_rows(lambda: npy(order="F")),
    "flat rows": replace_rows(lambda: npy((72,))),
    "fewer rows": replace_rows(lambda: npy((2, 24))),
    "huge rows": replace_rows(header("(3000000000, 24)")),
    "endless rows": replace_rows(header("(9" + "9" * 40 + ", 24)")),
    "code": replace_rows(header("__import__('os').system('touch executed')")),
    "deep head": replace_rows(header("(" * 90)),
    "zip": replace_rows(b"PK\x03\x04" + bytes(300)),
    "short": replace_rows(lambda: npy()[:-20]),
    "empty": replace_rows(b""),
}
ITEMS = {
    "NaN": replace_rows(lambda: npy()[:-144] + np.full(72, np.nan, np.float16).tobytes()),
    "infinite": replace_rows(lambda: npy()[:-144] + np.full(72, np.inf, np.float16).tobytes()),
    "long": replace_rows(lambda: npy()[:-144] + np.full(72, 9, np.float16).tobytes()),
    "two": replace_items("{}\n{}\n"),
    "cut": replace_items('{"path": "0.png"}\n{}\n{"path'),
    "no JSON": replace_items('{"path": "0.png"}\nx\n{}\n'),
    "a list": replace_items("[]\n[]\n[]\n"),
    "a number": replace_items('{"path": 3}\n' * 3),
    "out": replace_items('{"path": "../../secret.png"}\n' * 3),
    "absolute items": replace_items('{"path": "/etc/passwd"}\n' * 3),
    "deep items": replace_items("[" * 10**5 + "\n{}\n{}\n"),
    "surrogates": replace_items('{"path": 1e999}\n' * 3),
}


@pytest.fixture
def pair(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    created(tmp_path / "other")
    created(tmp_path / "index")
    return tmp_path


def content(folder):
    return {p: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def use(folder):
    """All that a reader and a writer do with an index."""
    index = Index.open(folder)
    search(index, rows(6), 6)
    index.items()
    duplicates(index, 0.9)
    index.append(rows(1), [{"path": "new.png"}])
    index.compact(drop=[0])
    index.overwrite([(rows(1), [{"path": "only.png"}])])
    index.clean()


@pytest.mark.parametrize("change", [*MANIFESTS, *PARTS, *ITEMS])
def test_what_is_tampered_with_is_refused_and_leads_nowhere(pair, change):
    before = content(pair / "other")
    (MANIFESTS | PARTS | ITEMS)[change](pair / "index")
    tampered = content(pair / "index")
    with pytest.raises((ValueError, OSError)) as told:
        use(pair / "index")
    assert "\n" not in str(told.value)
    assert len(str(told.value)) < 600
    assert content(pair / "other") == before
    assert content(pair / "index") == tampered
    assert not (pair / "executed").exists()


@pytest.mark.parametrize("change", [*PARTS, *ITEMS])
def test_what_is_damaged_is_left_out_and_the_rest_kept(pair, change):
    (PARTS | ITEMS)[change](pair / "index")
    index, lost = Index.salvage(pair / "index")
    assert lost == 3
    assert [item["path"] for item in index.items()] == ["3.png", "4.png", "5.png"]
    index.clean()
    again = Index.open(pair / "index")
    assert len(again) == 3
    torch.testing.assert_close(again.rows([0, 1, 2]), rows(6)[3:], atol=1e-3, rtol=0)
    names = {path.name for path in again.folder.iterdir()}
    assert names == {"index.json", ".lock", *(f"{first(again.folder)}.{end}" for end in ("npy", "jsonl"))}


def test_cleaning_takes_nothing_of_others(pair):
    index = Index.open(pair / "index")
    for name in (
        "part-mine.npy",
        "part-0123abcd.txt",
        ".notes.tmp.txt",
        ".other.0123abcd.tmp.npy",
        "approximate-x.faiss",
    ):
        (index.folder / name).write_text("mine")
    (index.folder / "part-00000000.npy").write_text("ours, from a process that was killed")
    (index.folder / ".index.0123abcd.tmp.json").write_text("ours")
    (index.folder / "part-11111111.npy").symlink_to(pair / "other" / "index.json")
    index.clean()
    kept = {
        path.name for path in index.folder.iterdir() if path.is_file() and path.read_text(errors="replace") == "mine"
    }
    assert len(kept) == 5
    assert not any((index.folder / f"part-{n * 8}.npy").is_symlink() for n in "01")
    assert not (index.folder / ".index.0123abcd.tmp.json").exists()
    assert (pair / "other" / "index.json").is_file()


def test_two_writers_never_share_an_index(pair):
    one, other = Index.open(pair / "index"), Index.open(pair / "index")
    with one.writing(), pytest.raises(OSError, match="another process is writing"):
        other.append(rows(1), [{"path": "x"}])
    one.append(rows(1), [{"path": "mine.png"}])
    with pytest.raises(OSError, match="changed by another process"):
        other.append(rows(1), [{"path": "x"}])
    assert len(Index.open(pair / "index")) == 7


def test_who_reads_goes_on_while_another_writes(pair):
    reader, writer = Index.open(pair / "index"), Index.open(pair / "index")
    expected = search(reader, rows(3), 3)
    writer.compact(drop=[0, 1])
    found = search(reader, rows(3), 3)
    assert torch.equal(found[1], expected[1])


def test_a_folder_that_a_killed_process_made_takes_an_index(tmp_path):
    (tmp_path / ".lock").touch()
    (tmp_path / ".index.0123abcd.tmp.json").write_text("{")
    index = Index.create(tmp_path, scorer="toy", fingerprint="toy", dim=24, source="x", kind="texts")
    index.discard()
    assert not tmp_path.exists()


WORK = """
import sys, torch
from pathlib import Path
from clipopt.search import Index
from clipopt.types import generator
folder = Path(sys.argv[1])
def rows(n, seed): return torch.nn.functional.normalize(torch.randn(n, 24, generator=generator(seed)), dim=1)
index = (Index.open(folder) if (folder / "index.json").exists() else
    Index.create(folder, scorer="toy", fingerprint="toy", dim=24, source=str(folder), kind="pictures"))
index.clean()
print("begun", flush=True)
n = 0
while True:
    index.append(rows(50, n), [{"path": f"{n}.png"}] * 50)
    if n % 3 == 2:
        index.compact(drop=range(0, len(index), 7))
    n += 1
"""


@pytest.mark.parametrize("kills", [3, pytest.param(60, marks=pytest.mark.slow)])
def test_killed_at_any_moment_it_opens_and_goes_on(tmp_path, kills):
    folder = tmp_path / "index"
    for number in range(kills):
        with subprocess.Popen([sys.executable, "-c", WORK, folder], stdout=subprocess.PIPE) as writer:
            assert writer.stdout.readline() == b"begun\n"
            time.sleep(0.02 + 0.11 * (number * 0.618 % 1))
            writer.send_signal(signal.SIGKILL)
        index = Index.open(folder)
        assert Index.salvage(folder)[1] == 0
        assert len(index.items()) == len(index)
        if len(index):
            search(index, rows(2), 5)
    index.clean()
    assert len(list(folder.iterdir())) == 2 + 2 * len(index.manifest.parts)
    shutil.rmtree(folder)


def test_the_manifest_says_where_the_source_lies_from_it(pair):
    manifest, _ = read_manifest(pair / "index")
    assert manifest.relative == "."
