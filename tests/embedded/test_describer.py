"""The embedded describer: it tells how likely a caption is, and knows its own eyes."""

import pytest
import torch

from clipopt.embedded.captions import Scene, slots, vocabulary
from clipopt.embedded.describer import (
    last_stages,
    likelihoods,
    load_describer,
    new_describer,
    save_describer,
    targets,
)
from clipopt.scorers.tower import TowerConfig, Towers, load_tower
from clipopt.types import generator
from recipes.embedded.describer import Recipe
from recipes.embedded.trainer import Stage

CONFIG = TowerConfig(
    widths=(8, 16, 32), depths=(1, 1, 1), stem=4, dim=16, text_width=16, text_layers=1, vocabulary=vocabulary()
)
SMALL = Recipe(Stage("describer", 3, 8, 1e-3, 20.0), world=0, pictures=12)


@pytest.fixture
def scorer(tmp_path):
    """A tower that was never trained sees well enough."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        Towers(CONFIG).save(tmp_path / "eyes.safetensors")
    return load_tower(tmp_path / "eyes.safetensors")


def test_scenes_come_back_from_their_slots():
    scenes = [
        Scene(3, "red", 2, "large", 4, background="blue"),
        Scene(5, "", 1, "medium", None, 7, "green", "over", ""),
        Scene(5),
    ]
    for scene, row in zip(scenes, slots(scenes).tolist(), strict=True):
        assert Scene.of(row) == scene


def test_the_likelihoods_of_words_do_not_look_ahead(scorer):
    describer = new_describer(scorer).eval()
    ids = targets(scorer, ["a red circle", "a cat left of a blue square", " ".join(["red"] * 40)])
    assert ids.shape == (3, 24)
    with torch.no_grad():
        seen = describer.look(last_stages(scorer, torch.rand(3, 3, 64, 64, generator=generator(0))))
        said = likelihoods(describer, seen, ids)
        # Sentences of every length that begin alike: an exhaustive sum over the first word is one.
        assert describer(seen, ids[:, :1]).exp().sum(-1) == pytest.approx(torch.ones(3, 1), abs=1e-5)
        assert (said[0, 4:] == 0).all()
        assert (said[0, :4] < 0).all()
        assert (said[2] < 0).all()
        other = ids.clone()
        other[:, 3:] = 5
        assert torch.allclose(likelihoods(describer, seen, other)[:, :3], said[:, :3], atol=1e-5)


def test_other_eyes_and_other_files_are_refused(scorer, tmp_path):
    path = tmp_path / "describer.safetensors"
    save_describer(new_describer(scorer), scorer, path, {})
    Towers(CONFIG).save(tmp_path / "others.safetensors")
    with pytest.raises(ValueError, match=f"the eyes of scorer {scorer.fingerprint}"):
        load_describer(load_tower(tmp_path / "others.safetensors"), path)
    with pytest.raises(ValueError, match="no such describer"):
        load_describer(scorer, tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="holds no describer"):
        load_describer(scorer, tmp_path / "eyes.safetensors")
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    with pytest.raises(ValueError, match="no readable safetensors"):
        load_describer(scorer, tmp_path / "noise.safetensors")
