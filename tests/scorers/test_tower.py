import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from clipopt.scorers.tower import TowerConfig, Towers, TowerScorer, load_tower, words
from clipopt.types import generator

CONFIG = TowerConfig(
    widths=(8, 16),
    depths=(1, 1),
    stem=4,
    dim=12,
    text_width=16,
    text_layers=1,
    context=6,
    vocabulary=("a", "cat", "red"),
)


@pytest.fixture
def path(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.random.set_rng_state(generator(0).get_state())
        towers = Towers(CONFIG)
    towers.save(tmp_path / "tiny.safetensors", {"note": "a test"})
    return tmp_path / "tiny.safetensors"


def test_round_trip(path):
    scorer = load_tower(path)
    assert scorer.name == "tiny"
    assert scorer.metadata["note"] == "a test"
    assert scorer.towers.config == CONFIG
    assert load_tower(path).fingerprint == scorer.fingerprint
    assert not any(p.requires_grad for p in scorer.parameters())


def test_places_tell_left_from_right(tmp_path):
    """With equal filters, only a tower that knows places tells a dot from the same dot elsewhere."""
    dot = torch.zeros(2, 3, 64, 64)
    dot[0, :, 24:40, 8:24] = 1
    dot[1, :, 24:40, 40:56] = 1
    for places in (False, True):
        with torch.random.fork_rng(devices=[]):
            torch.random.set_rng_state(generator(0).get_state())
            towers = Towers(replace(CONFIG, places=places))
        assert len(towers.image.position) == (2 if places else 0)
        for position in towers.image.position.values():
            position.data += torch.linspace(-1, 1, position.shape[-1])
        towers.save(tmp_path / "placed.safetensors")
        left, right = load_tower(tmp_path / "placed.safetensors").encode_image(dot)
        assert bool(left @ right > 0.99999) is not places


def test_padding_changes_nothing(path):
    scorer = load_tower(path)
    alone = scorer.encode_text(["cat"])
    beside = scorer.encode_text(["cat", "a red cat a red cat"])[:1]
    torch.testing.assert_close(alone, beside)


def test_unknown_words_are_named_once_in_order(path):
    scorer = load_tower(path)
    assert scorer.unknown_words("A blue, BLUE zebra and a cat!") == ["blue", "zebra", "and"]
    same = scorer.encode_text(["a zebra", "a giraffe"])
    torch.testing.assert_close(same[0], same[1])


def test_a_prompt_without_words_is_still_a_row(path):
    assert load_tower(path).encode_text(["!!!"]).isfinite().all()


def test_words():
    assert words("A T-shirt, 12:30!") == ["a", "t", "shirt", "12", "30"]


def test_logits_are_scaled_cosines(path):
    scorer = load_tower(path)
    image = scorer.encode_image(torch.rand(2, 3, 64, 64, generator=generator(1)))
    text = scorer.encode_text(["a cat", "red"])
    torch.testing.assert_close(scorer.logits(image, text), scorer.towers.log_scale.exp() * image @ text.T)


def test_the_fingerprint_follows_the_weights(path, tmp_path):
    before = load_tower(path).fingerprint
    towers = load_tower(path).towers
    with torch.no_grad():
        towers.image.stem.bias += 0.1
    towers.save(tmp_path / "other.safetensors")
    assert load_tower(tmp_path / "other.safetensors").fingerprint != before


def test_cosines_read_as_percentiles_of_real_matches(path, tmp_path):
    towers = load_tower(path).towers
    assert load_tower(path).percentile(torch.tensor([0.5])).isnan().all()
    towers.save(tmp_path / "known.safetensors", {"matches": json.dumps([0.2, 0.6, 0.7, 0.75, 0.8])})
    scorer = load_tower(tmp_path / "known.safetensors")
    cosines = torch.tensor([-1.0, 0.2, 0.4, 0.6, 0.725, 0.8, 0.99])
    torch.testing.assert_close(scorer.percentile(cosines), torch.tensor([0, 0, 12.5, 25, 62.5, 100, 100]))


def test_is_a_module_that_moves(path):
    assert isinstance(load_tower(path, device="cpu"), TowerScorer)


@pytest.mark.parametrize("content", [b"", b"no tensors here"])
def test_broken_files_are_refused(tmp_path, content):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(content)
    with pytest.raises(ValueError, match="no readable safetensors"):
        load_tower(broken)


def test_other_files_are_refused(tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", metadata={"a": json.dumps(1)})
    with pytest.raises(ValueError, match="holds no scorer"):
        load_tower(tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="no such scorer file"):
        load_tower(tmp_path / "y.safetensors")


def test_characters_without_letters_are_unknown(path):
    scorer = load_tower(path)
    assert words("Cafés, naïve ﬁsh: Ünï") == ["cafes", "naive", "fish", "uni"]
    assert scorer.unknown_words("a red cat!") == []
    assert scorer.unknown_words("a red 🍎") == ["🍎"]
    assert scorer.unknown_words("кот, a dog, りんご — 👍🏽") == ["dog", "кот", "りんご", "👍🏽"]
    assert scorer.unread("a “cat” · №5, 3 €") == ["€"]
    assert scorer.unread("é") == []


def test_words_beyond_the_context_are_named(path):
    scorer = load_tower(path)
    with pytest.warns(UserWarning, match="tiny reads 6 words, this text has 8; dropped: 'red cat'"):
        row = scorer.encode_text(["a cat a cat a cat, red cat"])
    assert torch.equal(row, scorer.encode_text(["a cat a cat a cat"]))
