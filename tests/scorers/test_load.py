import re
import shutil
import socket
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi, constants

from clipopt.scorers import Scorer, hub, load_scorer
from clipopt.scorers.tower import TowerConfig, Towers

HUB_ID = "some-owner/some-clip"


@pytest.fixture
def tower(tmp_path: Path) -> Path:
    path = tmp_path / "tower.safetensors"
    Towers(TowerConfig(widths=(8, 8), depths=(1, 1), dim=8, text_width=8, vocabulary=("cat",))).save(path)
    return path


@pytest.fixture
def empty_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return tmp_path / "hub"


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("Network is unreachable")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.mark.parametrize("spec", ["", "embeded", "Embedded", "clip", "/no/such/folder", "a/b/c", "..", "a b/c"])
def test_unknown_spec_lists_what_is_possible(spec: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=r"embedded|no config.json") as caught:
        load_scorer(spec)
    message = str(caught.value)
    assert "\n" not in message
    if spec != "..":
        for choice in ("embedded-judge", ".safetensors", "folder", "hub id"):
            assert choice in message


def test_file_of_a_tower(tower: Path) -> None:
    scorer = load_scorer(str(tower))
    assert isinstance(scorer, Scorer)
    assert scorer.name == "tower"
    with pytest.raises(ValueError, match="float32"):
        load_scorer(str(tower), dtype="bfloat16")
    with pytest.raises(ValueError, match="no such scorer file"):
        load_scorer(str(tower.with_name("other.safetensors")))


def test_folder_with_a_tilde(clip_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(clip_folder.parent))
    scorer = load_scorer(f"~/{clip_folder.name}", dtype="float32")
    assert isinstance(scorer, Scorer)
    assert scorer.name == clip_folder.name


@pytest.mark.parametrize("device", ["gpu", "cuda:99", ""])
def test_unusable_device(device: str, tower: Path) -> None:
    with pytest.raises(ValueError, match=f"cannot use device '{device}'") as caught:
        load_scorer(str(tower), device=device)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("empty_cache", "no_network")
def test_without_network_a_hub_id_fails_at_once_and_says_what_to_do() -> None:
    start = time.perf_counter()
    with pytest.raises(ValueError, match=f"hf download {HUB_ID}") as caught:
        load_scorer(HUB_ID)
    assert time.perf_counter() - start < 5
    assert "\n" not in str(caught.value)
    assert "--scorer embedded" in str(caught.value)


@pytest.mark.usefixtures("empty_cache")
def test_a_name_server_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(8) or [])
    monkeypatch.setattr(hub, "_WAIT_S", 0.5)
    start = time.perf_counter()
    with pytest.raises(ValueError, match="does not answer"):
        load_scorer(HUB_ID)
    assert time.perf_counter() - start < 4


@pytest.mark.usefixtures("empty_cache")
def test_offline_mode_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("asked for an address"))
    with pytest.raises(ValueError, match="not on this machine"):
        load_scorer(HUB_ID)


@pytest.mark.usefixtures("no_network")
def test_a_model_in_the_cache_needs_no_network(empty_cache: Path, clip_folder: Path) -> None:
    model = empty_cache / f"models--{HUB_ID.replace('/', '--')}"
    snapshot = model / "snapshots" / ("a" * 40)
    shutil.copytree(clip_folder, snapshot)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("a" * 40)
    scorer = load_scorer(HUB_ID, dtype="float32")
    assert scorer.name == HUB_ID
    assert scorer.fingerprint == load_scorer(str(clip_folder), dtype="float32").fingerprint
    (snapshot / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=f"hf download {HUB_ID}"):
        load_scorer(HUB_ID)


@pytest.mark.parametrize(
    ("weights", "taken"),
    [
        (["model.safetensors", "pytorch_model.bin", "flax_model.msgpack"], {"model.safetensors"}),
        (["pytorch_model.bin", "tf_model.h5", "onnx/model.safetensors"], {"pytorch_model.bin"}),
        (
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
            {"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"},
        ),
    ],
)
def test_downloads_the_weights_once(monkeypatch: pytest.MonkeyPatch, weights: list[str], taken: set[str]) -> None:
    rest = {"config.json", "preprocessor_config.json", "vocab.json", "merges.txt", "spiece.model"}
    names = [*weights, *rest, "README.md", "onnx/config.json"]
    monkeypatch.setattr(HfApi, "list_repo_files", lambda *_: names)
    assert set(hub._needed(HUB_ID)) == taken | rest


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize("files", [[], ["config.json"]])
def test_a_repository_without_weights_is_one_line(monkeypatch: pytest.MonkeyPatch, files: list[str]) -> None:
    monkeypatch.setattr(hub, "_answers", lambda _: True)
    monkeypatch.setattr(HfApi, "list_repo_files", lambda *_: files)
    with pytest.raises(ValueError, match=f"cannot download {HUB_ID}: it has neither model.safetensors"):
        load_scorer(HUB_ID)


@pytest.mark.usefixtures("empty_cache")
def test_an_unknown_repository_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import RepositoryNotFoundError

    def missing(*_: Any) -> None:
        raise RepositoryNotFoundError("404\nnot found", response=SimpleNamespace(headers={}, request=None))

    monkeypatch.setattr(hub, "_answers", lambda _: True)
    monkeypatch.setattr(HfApi, "list_repo_files", missing)
    with pytest.raises(ValueError, match=f"there is no model {HUB_ID}") as caught:
        load_scorer(HUB_ID)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("spec", ["open_clip:ViT-B-32/openai", "hf-hub:chs20/fare2-clip"])
def test_without_open_clip_the_message_says_what_to_install(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(ValueError, match=re.escape("pip install 'clipopt[open-clip]'")) as caught:
        load_scorer(spec)
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("empty_cache")
def test_an_id_of_a_model_that_only_open_clip_reads_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "_answers", lambda _: True)
    monkeypatch.setattr(HfApi, "list_repo_files", lambda *_: ["open_clip_config.json", "open_clip_pytorch_model.bin"])
    with pytest.raises(ValueError, match=f"use --scorer hf-hub:{HUB_ID}"):
        load_scorer(HUB_ID)


def test_downloads_the_weights_of_open_clip_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rest = {"open_clip_config.json", "tokenizer.json", "tokenizer_config.json"}
    weights = ["open_clip_model.safetensors", "open_clip_pytorch_model.bin", "model.safetensors"]
    monkeypatch.setattr(HfApi, "list_repo_files", lambda *_: [*weights, *rest, "README.md"])
    assert set(hub._needed(HUB_ID, hub.OPEN_CLIP)) == {weights[0]} | rest
    assert set(hub._needed(HUB_ID, hub.TOKENIZER)) == rest - {"open_clip_config.json"}


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_bfloat16_on_a_gpu_agrees_with_float32_on_the_cpu(clip_folder: Path) -> None:
    fast, slow = load_scorer(str(clip_folder), device="cuda"), load_scorer(str(clip_folder), dtype="float32")
    images = torch.rand(4, 3, 50, 40, generator=torch.Generator().manual_seed(0))
    assert fast.fingerprint == slow.fingerprint
    assert (fast.encode_image(images.cuda()).cpu() * slow.encode_image(images)).sum(1).min() > 0.999
    assert (fast.encode_text(["a red fox"]).cpu() * slow.encode_text(["a red fox"])).sum() > 0.999
