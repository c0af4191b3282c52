"""Prompt search by gradient, on tiny models of the real classes."""

import pytest
import torch
from checkpoints import save_clip, save_siglip, siglip2_tokenizer
from toy import ToyScorer

from clipopt.captions.prompts import PromptSearch, _Reader
from clipopt.scorers import load_scorer
from clipopt.scorers.tower import TowerConfig, Towers, TowerScorer

WORDS = ["a", "red", "green", "blue", "apple", "tree", "star", "fox", "snow", "on"]


@pytest.fixture(scope="module")
def tower():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = TowerConfig(image_size=16, widths=(8,), depths=(1,), dim=16, text_width=16, vocabulary=tuple(WORDS))
        return TowerScorer(Towers(config), "tower", "tower")


@pytest.fixture(scope="module", params=["tower", "clip", "siglip"])
def scorer(request, tower, tmp_path_factory):
    if request.param == "tower":
        return tower
    folder = tmp_path_factory.mktemp(request.param)
    path = save_clip(folder) if request.param == "clip" else save_siglip(folder, siglip2_tokenizer())
    return load_scorer(str(path), dtype="float32")


def test_embeddings_of_words_read_as_the_words(scorer):
    reader = _Reader(scorer)
    chosen = [1 % len(reader.words), 0, len(reader.words) - 1]
    text = " ".join(reader.words[i] for i in chosen)
    row = reader.encode(reader.frame(3), reader.table[torch.tensor(chosen)])
    torch.testing.assert_close(row, scorer.encode_text([text])[0], atol=1e-5, rtol=1e-4)
    free = reader.table[torch.tensor(chosen)].clone().requires_grad_()
    torch.autograd.grad(reader.encode(reader.frame(3), free).sum(), free)
    torch.testing.assert_close(scorer.encode_text([text])[0], row, atol=1e-5, rtol=1e-4)


def test_it_beats_most_prompts_and_is_ranked_by_what_is_read(tower):
    rows = tower.encode_text(["snow fox tree", "a red apple"])
    search = PromptSearch(tower, length=3, steps=60, count=4)
    every = tower.encode_text([f"{a} {b} {c}" for a in WORDS for b in WORDS for c in WORDS])
    lists = search([torch.zeros(3, 1, 1)] * 2, rows)
    for own, row in zip(lists, rows, strict=True):
        read = tower.encode_text([c.text for c in own]) @ row
        assert read.tolist() == sorted(read.tolist(), reverse=True)
        assert float(read[0]) > float((every @ row).quantile(0.95))
        assert all(len(c.text.split()) == 3 for c in own)
    assert search([torch.zeros(3, 1, 1)], rows[1:]) == lists[1:]


def test_what_cannot_be_searched(tower):
    with pytest.raises(ValueError, match="cannot search prompts for toy"):
        PromptSearch(ToyScorer())
    with pytest.raises(ValueError, match="does not read 99 words"):
        PromptSearch(tower, length=99)
