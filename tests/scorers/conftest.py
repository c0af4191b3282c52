from pathlib import Path

import pytest
from checkpoints import save_clip, save_naflex, save_siglip, siglip2_tokenizer, siglip_tokenizer


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="session")
def siglip2_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_siglip(tmp_path_factory.mktemp("siglip2"), siglip2_tokenizer())


@pytest.fixture(scope="session")
def naflex_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_naflex(tmp_path_factory.mktemp("naflex"), siglip2_tokenizer())


@pytest.fixture(scope="session")
def siglip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("sentencepiece")
    pytest.importorskip("google.protobuf")
    return save_siglip(tmp_path_factory.mktemp("siglip"), siglip_tokenizer(tmp_path_factory.mktemp("spiece")))
