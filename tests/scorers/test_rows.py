"""The rows of the names that the package brings are those that it asks for."""

import pytest
import torch

from clipopt.pipelines.kinds import has_natural
from clipopt.scorers import vocabulary

pytestmark = pytest.mark.skipif(not has_natural(), reason="needs the packages of clipopt[natural]")


def test_the_first_sentence_waits_for_no_names(monkeypatch, tmp_path):
    from clipopt.scorers.sentences import load_sentences

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    sentences = load_sentences("minilm")
    names = vocabulary.Vocabulary(vocabulary.imagenet_names(), sentences)
    vocabulary._rows_of.cache_clear()
    rows, _ = names.rows, names._dictionary
    assert not list(tmp_path.rglob("*.safetensors"))
    some = [f"a photo of a {vocabulary._said(names.names[number][0])}" for number in (0, 483, 999)]
    torch.testing.assert_close(rows[[0, 483, 999]], sentences(some).cpu(), atol=1e-3, rtol=0)
