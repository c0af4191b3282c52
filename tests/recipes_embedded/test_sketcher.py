"""Training of the embedded sketcher: it learns from true pictures, and resumes exactly."""

import json
import os
import signal
from random import Random

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL

from clipopt.embedded.captions import PLACES, Scene, caption
from clipopt.embedded.concepts import COLOUR_NAMES, COLOURS, concepts, things
from clipopt.embedded.sketcher import Sketcher, SketcherConfig, load_sketcher, save_sketcher
from recipes.embedded import sketcher
from recipes.embedded.__main__ import main
from recipes.embedded.generator_models import new_coder
from recipes.embedded.sketcher import Recipe, SketcherTrainer, paint, wording
from recipes.embedded.sketching import said_at_random, sketch
from recipes.embedded.sprites import nearest_colour
from recipes.embedded.trainer import Stage

SMALL = Recipe(Stage("sketcher", 3, 4, 1e-3, 20.0), pictures=6)
CIRCLE, SQUARE = (next(n for n, c in enumerate(concepts()) if c.noun == noun) for noun in ("circle", "square"))


def share(image: np.ndarray, colour: str) -> float:
    return float((nearest_colour(image.astype(np.float32)) == COLOUR_NAMES.index(colour)).mean())


def test_a_sketch_is_what_its_caption_says(plain_world):
    assert len(things()) <= CIRCLE
    pair = sketch(Scene(CIRCLE, "red", other=SQUARE, other_colour="blue", relation="beside", background="green"), 96)
    assert share(pair[:, :48], "red") > 0.2 > share(pair[:, 48:], "red")
    assert share(pair[:, 48:], "blue") > 0.2 > share(pair[:, :48], "blue")
    assert share(pair[:8], "green") == 1
    over = sketch(Scene(CIRCLE, "red", other=SQUARE, other_colour="blue", relation="over"), 96)
    assert share(over[:48], "red") > 0.2 > share(over[48:], "red")
    for place, (words, *_) in enumerate(PLACES):
        rows, columns = np.nonzero(
            nearest_colour(sketch(Scene(CIRCLE, "red", place=place), 96).astype(np.float32))
            == COLOUR_NAMES.index("red")
        )
        assert ("left" in words) == (columns.mean() < 40), words
        assert ("right" in words) == (columns.mean() > 56), words
        assert ("top" in words) == (rows.mean() < 40), words
        assert ("bottom" in words) == (rows.mean() > 56), words
    sizes = [share(sketch(Scene(CIRCLE, "red", size=size), 96), "red") for size in ("small", None, "large")]
    assert sizes == sorted(sizes)
    assert share(sketch(Scene(CIRCLE, "red", 4), 96), "red") / share(sketch(Scene(CIRCLE, "red", 2), 96), "red") > 1.5
    assert np.array_equal(sketch(Scene(CIRCLE, "red"), 96), sketch(Scene(CIRCLE), 96))
    pale = sketch(Scene(CIRCLE, "white"), 96)
    assert share(pale[:4], "white") == 0  # on a darker ground


def test_what_is_said_at_random_is_of_every_kind_and_can_be_painted(plain_world):
    rng = Random(1)
    said = [said_at_random(rng) for _ in range(400)]
    assert {s.count for s in said} == {1, 2, 3, 4}
    assert {s.relation for s in said} == {None, "beside", "over"}
    assert {s.size for s in said} == {None, "small", "large"}
    assert {s.place for s in said} == {None, *range(len(PLACES))}
    assert {s.background for s in said} == {None, *COLOUR_NAMES}
    plain = [s for s in said if caption(s) == caption(Scene(s.concept)) and s.concept < len(things())]
    assert 0.2 < len(plain) / len(said) < 0.7
    for each in said[:40]:
        assert sketch(each, 48).shape == (48, 48, 3)
        if each.background:
            assert share(sketch(each, 48), each.background) > 0.1
    # Two things without a relation stand as they are named.
    pair = Scene(CIRCLE, "red", other=SQUARE, other_colour="blue")
    assert {wording(pair, Random(n)) for n in range(9)} == {"a red circle and a blue square"}
    assert len({wording(Scene(CIRCLE, "red"), Random(n)) for n in range(9)}) > 1
    assert len(COLOURS) == len(COLOUR_NAMES)


@pytest.fixture
def coder() -> AutoencoderKL:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return new_coder(channels=(8, 8, 8, 8))


@pytest.fixture
def small(monkeypatch):
    """Sketchers of two thin layers."""
    monkeypatch.setattr(
        sketcher,
        "SketcherConfig",
        lambda words, **rest: SketcherConfig(words, **{"width": 48, "layers": 2, "heads": 4, "whole": 64, **rest}),
    )


def test_it_learns_to_tell_pictures_by_their_words(plain_world, coder, small, tmp_path):
    list(paint(SMALL, coder, tmp_path / "painted"))
    recipe = Recipe(Stage("sketcher", 150, 6, 1e-2, 6.0), pictures=6)
    trainer = SketcherTrainer(recipe, tmp_path / "painted", 1 / 0.3, amp=False)
    scale = 1 / float(trainer.latents.std())
    trainer.latents *= scale
    losses = [float(figures["loss"]) for figures in trainer.run()]
    assert sum(losses[-4:]) < 0.3 * sum(losses[:4])
    trainer.model.eval()
    with torch.no_grad():
        made = trainer.model(trainer.ids[:, 0])
        alone = trainer.model(trainer.ids[:1, 0, :9])
    far = (made[:, None] - trainer.latents[None]).square().mean((2, 3, 4))
    assert far.argmin(1).tolist() == list(range(6))
    assert torch.allclose(alone, made[:1], atol=1e-4)  # padding says nothing


def test_trained_killed_and_resumed_it_is_the_same(plain_world, coder, small, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sketcher, "Recipe", lambda: SMALL)
    monkeypatch.setattr(sketcher, "_coder", lambda spec, device: coder)
    monkeypatch.chdir(tmp_path)
    common = ["train", "sketcher", "--precision", "float32", "--pictures", "painted"]
    assert main([*common, "--out", "whole", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["batches"] == 3

    def interrupted(self, rng, whole=SketcherTrainer.loss):
        if self.done == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return whole(self, rng)

    with monkeypatch.context() as patch:
        patch.setattr(SketcherTrainer, "loss", interrupted)
        assert main([*common, "--out", "cut"]) == 130
    assert "train sketcher --resume cut" in capsys.readouterr().err
    assert main(["train", "sketcher", "--resume", "cut"]) == 0
    one, other = (load_sketcher(tmp_path / name / "sketcher.safetensors") for name in ("whole", "cut"))
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
    monkeypatch.setattr(sketcher, "Recipe", lambda: Recipe(Stage("still", 1, 4, 0.0, 20.0), pictures=6))
    assert main([*common, "--begin", "whole/sketcher.safetensors", "--out", "further"]) == 0
    other = load_sketcher(tmp_path / "further" / "sketcher.safetensors")
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=0.01, atol=1e-3)
    save_sketcher(Sketcher(SketcherConfig(("a", "cat"), width=12)), tmp_path / "small.safetensors", {})
    capsys.readouterr()
    assert main([*common, "--begin", "small.safetensors", "--out", "never"]) == 2
    assert "other words" in capsys.readouterr().err
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--share", "2"], "--share must lie above 0"),
        (["--resume", "nowhere"], "no training to resume"),
        (["--generator", "nowhere"], "--generator takes embedded"),
        (["--begin", "nowhere"], "no such sketcher"),
    ],
)
def test_bad_input_is_told_in_one_line(plain_world, tmp_path, monkeypatch, arguments, said, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "sketcher", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
