"""Model folders from elsewhere: none runs its own code or asks whether it may, and pickles give tensors only."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from checkpoints import save_clip
from clips_models import save_clap, save_xclip

from clipopt.scorers import load_scorer
from clipopt.scorers.clap import load_clap
from clipopt.scorers.sentences import load_sentences
from clipopt.scorers.xclip import load_xclip

SAVED: dict[str, tuple[Callable[[Path], Path], Callable[[str], Any]]] = {
    "clip": (save_clip, lambda folder: load_scorer(folder).encode_text(["a fox"])),
    "clap": (save_clap, lambda folder: load_clap(folder).encode_text(["a fox"])),
    "xclip": (save_xclip, lambda folder: load_xclip(folder)),
}


class Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def change(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def trap(folder: Path) -> None:
    (folder / "evil.py").write_text(f"import pathlib\npathlib.Path({str(folder / 'ran')!r}).touch()\n")


@pytest.fixture(autouse=True)
def whoever_asks_gets_a_yes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")


@pytest.mark.parametrize("kind", SAVED)
def test_code_beside_a_known_model_is_not_run(kind: str, tmp_path: Path) -> None:
    save, load = SAVED[kind]
    trap(save(tmp_path))
    names = ("AutoConfig", "AutoModel", "AutoProcessor")
    change(tmp_path / "config.json", auto_map=dict.fromkeys(names, "evil.Evil"))
    change(tmp_path / "tokenizer_config.json", auto_map={"AutoTokenizer": ["evil.Evil", "evil.Evil"]})
    load(str(tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", SAVED)
def test_a_tokenizer_of_its_own_code_is_refused_in_a_line(kind: str, tmp_path: Path) -> None:
    save, load = SAVED[kind]
    trap(save(tmp_path))
    change(tmp_path / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})
    change(tmp_path / "tokenizer_config.json", tokenizer_class="Evil", auto_map={"AutoTokenizer": ["evil.Evil", None]})
    with pytest.raises(ValueError, match=r"\w") as refused:
        load(str(tmp_path))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()


def test_a_sentence_encoder_of_its_own_code_is_refused(tmp_path: Path) -> None:
    trap(save_clip(tmp_path))
    change(tmp_path / "config.json", model_type="evil", auto_map={"AutoConfig": "evil.Evil", "AutoModel": "evil.Evil"})
    with pytest.raises(ValueError, match="clipopt never runs code that comes with a model"):
        load_sentences(str(tmp_path))(["a fox"])
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", SAVED)
@pytest.mark.parametrize("how", ["pickle", "torch"])
def test_pickled_weights_run_nothing(kind: str, how: str, tmp_path: Path) -> None:
    save, load = SAVED[kind]
    save(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    weights, payload = tmp_path / "pytorch_model.bin", Touch(tmp_path / "ran")
    if how == "pickle":
        weights.write_bytes(pickle.dumps(payload))
    else:
        torch.save({"logit_scale": payload}, weights)
    with pytest.raises(ValueError, match="cannot load") as refused:
        load(str(tmp_path))
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "ran").exists()
