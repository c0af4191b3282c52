"""Captioners, language models and matching heads: tiny, randomly initialised models of the real classes."""

import numpy as np
import pytest
import torch
from captioners import TINY, WORDS, blip, blip_config, git, saved, vit_gpt2

from clipopt.captions import Candidate
from clipopt.captions.models import ImageTextMatching, LanguageModel, MaskedPolish, SampledCaptions, is_matching_model
from clipopt.types import generator

PICTURES = list(torch.rand(2, 3, 30, 20, generator=generator(0)))


@pytest.mark.parametrize("make", [blip, git, vit_gpt2])
def test_captions_are_sampled_and_repeat(make, tmp_path):
    captioner = SampledCaptions(make(tmp_path), count=5, tokens=6)
    state = torch.random.get_rng_state()
    lists = captioner(PICTURES, torch.zeros(2, 4))
    assert torch.equal(state, torch.random.get_rng_state())
    for own in lists:
        assert 2 <= len(own) <= 5
        for candidate in own:
            assert set(candidate.text.split()) <= set(WORDS)
            assert -20 < candidate.likelihood < 0
    assert captioner(PICTURES[1:], torch.zeros(1, 4)) == lists[1:]


def test_a_likelihood_is_the_mean_log_probability(tmp_path):
    from transformers import GPT2Config, GPT2LMHeadModel

    config = GPT2Config(
        vocab_size=len(WORDS), n_positions=32, n_embd=16, n_layer=1, n_head=2, bos_token_id=2, eos_token_id=3
    )
    language = LanguageModel(saved(GPT2LMHeadModel, config, tmp_path, vision=False))
    texts = ["a red fox", "the apple sits on the snow", ""]
    found = language(texts)
    for text, value in zip(texts[:2], found[:2], strict=True):
        begin = language.tokenizer.bos_token_id or language.tokenizer.eos_token_id or 0
        ids = [begin, *(WORDS.index(word) for word in text.split())]
        with torch.no_grad():
            logits = language.model(input_ids=torch.tensor([ids])).logits[0].numpy()
        log = logits - np.log(np.exp(logits).sum(1, keepdims=True))
        assert value == pytest.approx(np.mean([log[i, ids[i + 1]] for i in range(len(ids) - 1)]), abs=1e-4)
    assert found[2] == 0.0


def test_matching_is_a_probability_of_each_text_by_itself(tmp_path):
    from transformers import BlipForImageTextRetrieval

    matching = ImageTextMatching(saved(BlipForImageTextRetrieval, blip_config(), tmp_path))
    texts = ["a red fox", "a green apple on the snow", "the tree"]
    together = matching(PICTURES[0], texts)
    assert all(0 <= value <= 1 for value in together)
    assert together == pytest.approx([matching(PICTURES[0], [text])[0] for text in texts], abs=1e-4)
    assert together != pytest.approx(matching(PICTURES[1], texts), abs=1e-6)
    assert is_matching_model(str(tmp_path))


def test_polish_changes_one_word(tmp_path):
    from transformers import BertConfig, BertForMaskedLM

    config = BertConfig(**TINY, vocab_size=len(WORDS), max_position_embeddings=32)
    folder = saved(BertForMaskedLM, config, tmp_path, vision=False)
    best = [Candidate("a red fox", "list"), Candidate("the tree", "list")]
    variants = MaskedPolish(folder, words=4)(best)
    assert 5 < len(variants) <= 4 * 5
    assert len({c.text for c in variants}) == len(variants)
    for variant in variants:
        assert variant.source == "polish"
        words = variant.text.split()
        (origin,) = [c.text.split() for c in best if len(c.text.split()) == len(words)]
        assert sum(a != b for a, b in zip(words, origin, strict=True)) == 1
    assert not is_matching_model(folder)


def test_wrong_models_are_one_line(tmp_path):
    with pytest.raises(ValueError, match="no model 'nothing'"):
        SampledCaptions("nothing")
    with pytest.raises(ValueError, match="cannot load"):
        SampledCaptions(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ValueError, match="is a llava model: expected one that needs no prompt, BLIP"):
        SampledCaptions(str(tmp_path))
    with pytest.raises(ValueError, match="cannot load|is no"):  # noqa: RUF043
        LanguageModel(blip(tmp_path / "blip"))


def test_without_network_each_option_is_named(monkeypatch):
    from clipopt.scorers import hub

    monkeypatch.setattr(hub, "_answers", lambda _: False)
    for make, option in ((SampledCaptions, "--captioner"), (LanguageModel, "--language"), (MaskedPolish, "--polish")):
        with pytest.raises(ValueError, match=f"use {option} FOLDER$"):
            make("nobody/nothing-of-that-name")
