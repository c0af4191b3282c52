"""The embedded sketcher: it knows its words, and what ships draws what it is told."""

from importlib.resources import as_file, files

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from clipopt.diffusion import load_pipeline
from clipopt.diffusion.load import fingerprint
from clipopt.embedded.captions import vocabulary
from clipopt.embedded.concepts import concepts
from clipopt.embedded.sketcher import Sketcher, SketcherConfig, load_sketcher
from clipopt.scorers import load_scorer
from clipopt.types import generator
from recipes.embedded.sketcher import Recipe
from recipes.embedded.trainer import Stage

SMALL = Recipe(Stage("sketcher", 3, 4, 1e-3, 20.0), pictures=6)
CIRCLE, SQUARE = (next(n for n, c in enumerate(concepts()) if c.noun == noun) for noun in ("circle", "square"))


def test_other_files_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no such sketcher"):
        load_sketcher(tmp_path / "none.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="holds no sketcher"):
        load_sketcher(tmp_path / "other.safetensors")
    (tmp_path / "noise.safetensors").write_bytes(b"noise")
    with pytest.raises(ValueError, match="no readable safetensors"):
        load_sketcher(tmp_path / "noise.safetensors")


def test_it_knows_its_words_and_reads_them_in_any_company():
    sketcher = Sketcher(SketcherConfig(("a", "cat", "red"), width=12, layers=1)).eval()
    assert sketcher.knows("A red cat!")
    assert not sketcher.knows("a red zeppelin")
    assert not sketcher.knows("...")
    with torch.no_grad():
        sketcher.out.weight.normal_(generator=generator(0))
        both = sketcher(sketcher.tokenize(["a cat", "a red red cat a cat"]))
        assert torch.allclose(both[:1], sketcher(sketcher.tokenize(["a cat"])), atol=1e-5)
    assert both.shape == (2, 8, 12, 12)
    assert not torch.allclose(both[0], both[1])


def test_the_sketcher_in_the_package_goes_with_its_coder_and_draws_things_apart():
    with as_file(files("clipopt.embedded") / "weights" / "sketcher.safetensors") as path:
        with safe_open(path, "pt") as file:
            assert file.metadata()["coder"] == fingerprint("embedded")
        assert path.stat().st_size < 5e6
    sketcher, coder = load_sketcher(), load_pipeline("embedded").vae
    assert sketcher.config.vocabulary == vocabulary()
    texts = ["a tree", "an apple", "a house", "a fish", "a castle", "a mushroom", "a key", "a penguin"]
    with torch.no_grad():
        made = coder.decode(sketcher(sketcher.tokenize(texts)) / coder.config.scaling_factor).sample / 2 + 0.5
    scorer = load_scorer("embedded-judge")
    seen = scorer.encode_image(made.clamp(0, 1)) @ scorer.encode_text(texts).T
    assert seen.argmax(1).tolist() == list(range(len(texts)))
