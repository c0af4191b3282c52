"""Adapters from anywhere: what does not fit is refused in a line, nothing is run. And what they can do."""

import copy
import hashlib
import json
import os
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from clipopt.adapt import Examples, adapt, save_adapter
from clipopt.io import folders
from clipopt.scorers import Abstains, KnowsWords, Perceives, ReadsCharacters, Reentrant, Scorer, load_scorer
from clipopt.scorers.adapted import Adapter
from clipopt.scorers.adapter_files import check_templates
from clipopt.scorers.tower import TowerConfig, Towers
from clipopt.types import generator

LABELS = ("red fox", "blue house")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An adapter of every kind of tensor, on a small tower; and the tower."""
    folder = tmp_path_factory.mktemp("adapters")
    config = TowerConfig(
        image_size=16, widths=(8, 16), depths=(1, 1), dim=16, text_width=16, text_layers=1, vocabulary=("red", "fox"),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Towers(config).save(folder / "tower.safetensors")
    scorer = load_scorer(str(folder / "tower.safetensors"))
    name, weight = next((n, w) for n, w in scorer.named_parameters() if w.ndim == 2)
    tensors = {
        "shift": torch.zeros(2, 16), "turn": torch.eye(16), "keys": torch.eye(16)[:3],
        "owners": torch.tensor([0, 1, 1]),
        "context": torch.zeros(2, 3, 16), f"delta.{name}": torch.zeros_like(weight),
    }  # fmt: skip
    adapter = Adapter("tip", LABELS, ("a {}",), tensors, str(folder / "tower.safetensors"), scorer.fingerprint)
    save_adapter(adapter, folder / "mine")
    return folder, scorer, adapter


@pytest.fixture
def folder(made, tmp_path, monkeypatch):
    """A copy of the adapter to tamper with."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    for name in ("adapter.json", "adapter.safetensors"):
        (tmp_path / "mine" / name).write_bytes((made[0] / "mine" / name).read_bytes())
    return tmp_path / "mine"


def told(**changes):
    def change(folder):
        path = folder / "adapter.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


def held(**changes):
    """Other tensors, with their right checksum: None leaves one out."""

    def change(folder):
        path = folder / "adapter.safetensors"
        tensors = {**load_file(path), **changes}
        save_file({name.replace("__", "."): value for name, value in tensors.items() if value is not None}, path)
        told(sha256=hashlib.sha256(path.read_bytes()).hexdigest())(folder)

    return change


def bare(data):
    """Other bytes as tensors, as of an adapter without a checksum."""

    def change(folder):
        (folder / "adapter.safetensors").write_bytes(data() if callable(data) else data)
        path = folder / "adapter.json"
        path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "sha256"}))

    return change


def link(name):
    def change(folder):
        (folder / name).rename(folder.parent / "elsewhere")
        (folder / name).symlink_to(folder.parent / "elsewhere")

    return change


class Evil:
    def __reduce__(self):
        return os.system, ("touch executed",)


def header(shape, size=64):
    text = json.dumps({"shift": {"dtype": "F32", "shape": shape, "data_offsets": [0, size]}}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(64)


CHANGES = {
    "no JSON": lambda f: (f / "adapter.json").write_text("{"),
    "list": lambda f: (f / "adapter.json").write_text("[]"),
    "deep": lambda f: (f / "adapter.json").write_text("[" * 10**6),
    "bytes": lambda f: (f / "adapter.json").write_bytes(b"\xff\xfe"),
    "pipe": lambda f: ((f / "adapter.safetensors").unlink(), os.mkfifo(f / "adapter.safetensors")),
    "linked JSON": link("adapter.json"),
    "linked tensors": link("adapter.safetensors"),
    "no tensors": lambda f: (f / "adapter.safetensors").unlink(),
    "format": told(format=2),
    "more": told(more=1),
    "labels": told(labels="fox"),
    "no labels": told(labels=[]),
    "numbers as labels": told(labels=[1, 2]),
    "one label": told(labels=["fox"]),
    "labels twice": told(labels=["fox", "Fox"]),
    "blank": told(labels=["fox", " "]),
    "no templates": told(templates=[]),
    "a template of no text": told(templates=[3]),
    "a wide template": told(templates=["{:>99999999999}"]),
    "an asking template": told(templates=["{0.__class__}"]),
    "a broken template": told(templates=["{"]),
    "two places": told(templates=["{} {}"]),
    "base": told(base=None),
    "zero byte": told(base="\0"),
    "unknown base": told(base="nowhere"),
    "no fingerprint": told(fingerprint=3),
    "another fingerprint": told(fingerprint="0" * 12),
    "alpha": told(alpha=float("nan")),
    "beta": told(beta=-1),
    "true": told(alpha=True),
    "share": told(share=2),
    "notes": told(notes=[]),
    "method": told(method={}),
    "checksum": told(sha256="0" * 64),
    "pickle": bare(lambda: pickle.dumps(Evil())),
    "short": lambda f: (f / "adapter.safetensors").write_bytes((f / "adapter.safetensors").read_bytes()[:-9]),
    "flipped": lambda f: (f / "adapter.safetensors").write_bytes(
        (f / "adapter.safetensors").read_bytes()[:-1] + b"\x7f"
    ),
    "empty": bare(b""),
    "huge head": bare((2**62).to_bytes(8, "little") + bytes(90)),
    "huge shape": bare(header([2**40, 2**20])),
    "huge offsets": bare(header([2**30, 16], 2**36)),
    "another name": held(evil=torch.zeros(1)),
    "NaN": held(shift=torch.full((2, 16), torch.nan)),
    "infinite": held(turn=torch.full((16, 16), torch.inf)),
    "three shifts": held(shift=torch.zeros(3, 16)),
    "wide shift": held(shift=torch.zeros(2, 24)),
    "all wide": held(shift=torch.zeros(2, 24), turn=torch.eye(24), keys=torch.zeros(3, 24)),
    "flat turn": held(turn=torch.zeros(16)),
    "oblong turn": held(turn=torch.zeros(8, 16)),
    "whole numbers": held(shift=torch.zeros(2, 16, dtype=torch.long)),
    "no keys": held(keys=None),
    "no owners": held(owners=None),
    "fewer owners": held(owners=torch.tensor([0])),
    "owners of nothing": held(owners=torch.tensor([0, 1, 2])),
    "negative owners": held(owners=torch.tensor([0, 1, -1])),
    "owners in halves": held(owners=torch.tensor([0.0, 1.0, 1.0])),
    "none at all": held(keys=torch.zeros(0, 16), owners=torch.zeros(0, dtype=torch.long)),
    "flat context": held(context=torch.zeros(16)),
    "wide context": held(context=torch.zeros(3, 24)),
    "long context": held(context=torch.zeros(900, 16)),
    "contexts of others": held(context=torch.zeros(3, 3, 16)),
    "unknown weight": held(delta__nowhere=torch.zeros(1)),
    "odd delta": held(delta__towers__image__stem__weight=torch.zeros(1, 2)),
    "half a factor": held(low__towers__image__stem__weight=torch.zeros(1, 2)),
    "odd factors": held(low__x=torch.zeros(1, 2), high__x=torch.zeros(2, 2)),
    "factors of another": held(
        low__towers__image__stem__weight=torch.zeros(1, 2), high__towers__image__stem__weight=torch.zeros(2, 1)
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_is_tampered_with_is_refused_in_a_line(folder, change):
    CHANGES[change](folder)
    with pytest.raises(ValueError, match=r"\w") as error:
        load_scorer(str(folder))
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 700
    assert not (folder.parent / "executed").exists()


def test_whole_it_loads_and_old_ones_do(folder, made):
    before = load_scorer(str(folder))
    bare((folder / "adapter.safetensors").read_bytes())(folder)
    assert load_scorer(str(folder)).fingerprint == before.fingerprint == made[2].apply(made[1]).fingerprint
    held(low__towers__image__stem__weight=None)(folder)
    assert load_scorer(str(folder)).labels == LABELS


def test_no_adapter_stands_on_itself(folder, tmp_path):
    told(base=str(folder))(folder)
    with pytest.raises(ValueError, match="stands on itself"):
        load_scorer(str(folder))
    chain = [tmp_path / str(number) for number in range(12)]
    for here, base in zip(chain, [*chain[1:], folder], strict=True):
        here.mkdir()
        (here / "adapter.json").write_text(
            json.dumps({**json.loads((folder / "adapter.json").read_text()), "base": str(base)})
        )
    with pytest.raises(ValueError, match="stands on more than 8 others"):
        load_scorer(str(chain[0]))


def test_one_writer_and_a_whole_adapter_or_none(folder, made, monkeypatch):
    with folders.writing(folder), pytest.raises(OSError, match="another process is writing"):
        save_adapter(made[2], folder)

    def full(*_, **__):
        raise OSError("no space left")

    with monkeypatch.context() as patched:
        patched.setattr("safetensors.torch.save_file", full)
        with pytest.raises(OSError, match="no space"):
            save_adapter(made[2], folder)
    assert load_scorer(str(folder)).labels == LABELS
    assert {path.name for path in folder.iterdir()} == {"adapter.json", "adapter.safetensors", ".lock"}


def test_killed_between_its_files_an_adapter_that_is_replaced_is_the_earlier_one(folder, made, monkeypatch):
    before = Adapter.load(folder)
    after = replace(before, tensors={name: 1 + tensor for name, tensor in before.tensors.items() if name == "shift"})
    usual = Path.replace

    def die(path, target):
        if Path(target).name == "adapter.json":
            raise SystemExit(9)
        return usual(path, target)

    for _ in range(2):
        with monkeypatch.context() as patch:
            patch.setattr(Path, "replace", die)
            with pytest.raises(SystemExit):
                save_adapter(after, folder)
        torch.testing.assert_close(Adapter.load(folder).tensors, before.tensors)
    save_adapter(after, folder)
    torch.testing.assert_close(Adapter.load(folder).tensors, after.tensors)
    assert {path.name for path in folder.iterdir()} <= {"adapter.json", "adapter.safetensors", ".lock"}


def test_a_link_is_replaced_and_not_written_through(folder, made):
    link("adapter.json")(folder)
    before = (folder.parent / "elsewhere").read_bytes()
    save_adapter(made[2], folder)
    assert (folder.parent / "elsewhere").read_bytes() == before
    assert not (folder / "adapter.json").is_symlink()


@pytest.mark.parametrize("template", ["a {}", "{0}!", "a {{big}} {}"])
def test_templates_with_one_place(template):
    check_templates([template])


class Base:
    """As little of a scorer as an adapter needs."""

    name, image_size, head, fingerprint = "base", 16, "softmax", "base"

    def encode_image(self, images):
        return torch.nn.functional.normalize(images.mean((2, 3)) + 0.1, dim=1)

    def encode_text(self, texts):
        return torch.nn.functional.normalize(torch.rand(len(texts), 3, generator=generator(len(texts))), dim=1)

    def logits(self, image, text):
        return 10 * image @ text.T


class Natural(Base):
    def abstains(self, text):
        return "gnu" in text

    def perceive(self, images):
        return self.encode_image(images), images.mean((1, 2, 3))


class Small(Base):
    reentrant = True

    def unknown_words(self, text):
        return [word for word in text.split() if word not in ("a", "red")]

    def unread(self, text):
        return [c for c in text if not c.isascii()]


def test_an_adapter_can_what_its_base_can(made):
    examples = Examples(
        [torch.rand(3, 8, 8, generator=generator(n)) for n in range(2)], torch.tensor([0, 1]), ("fox", "gnu")
    )
    protocols = (KnowsWords, ReadsCharacters, Reentrant, Abstains, Perceives)
    for base in (Base(), Natural(), Small(), made[1]):
        adapted = adapt("projection", base, examples, base="x").apply(base)
        assert isinstance(adapted, Scorer)
        for protocol in protocols:
            assert isinstance(adapted, protocol) == isinstance(base, protocol), protocol
        again = adapt("probe", adapted, examples, base="x").apply(adapted)
        assert [isinstance(again, protocol) for protocol in protocols] == [isinstance(base, p) for p in protocols]
        assert isinstance(copy.deepcopy(adapted), Scorer)
    natural = adapt("projection", Natural(), examples, base="x").apply(Natural())
    assert natural.abstains("two gnus")
    assert not natural.abstains("a gnu in the snow")
    assert not natural.abstains("a cat")
    images = torch.rand(2, 3, 8, 8, generator=generator(5))
    rows, strange = natural.perceive(images)
    torch.testing.assert_close(rows, natural.encode_image(images))
    torch.testing.assert_close(strange, images.mean((1, 2, 3)))
    small = adapt("probe", Small(), examples, base="x").apply(Small())
    assert small.unknown_words("a red gnu in Tibet") == ["in", "Tibet"]
    assert small.unread("a gnu 🍎") == ["🍎"]
