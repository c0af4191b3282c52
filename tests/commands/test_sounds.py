"""`clipopt index`, `search` and `score` on sounds, and the recipe that makes some."""

import importlib.util
import json
import sys
from pathlib import Path

import pytest
import torch
import tyro
from clips_models import save_clap

from clipopt.cli import main
from clipopt.io.media import load_sound, save_sound
from clipopt.scorers.clap import load_clap
from clipopt.types import generator

RECIPE = Path(__file__).parents[2] / "recipes" / "clap_synth.py"


@pytest.fixture
def sounds(here):
    """A CLAP, three sounds and one that is broken."""
    save_clap(here / "clap")
    (here / "sounds").mkdir()
    for number, name in enumerate(("bird", "rain", "engine")):
        t = torch.arange(4000) / 8000
        tone = torch.sin(2 * torch.pi * 300 * (number + 1) ** 2 * t)
        wave = 0.3 * tone + 0.2 * number * torch.rand(4000, generator=generator(number))
        save_sound(here / "sounds" / f"{name}.wav", wave, rate=8000)
    (here / "sounds" / "broken.wav").write_bytes(b"no sound")
    return here / "sounds"


def test_words_and_sounds_find_sounds(sounds, capsys):
    assert main(["index", "sounds", "--scorer", "clap", "--quiet"]) == 0
    out, err = capsys.readouterr()
    assert out == "3 sounds: 3 added, 0 removed, 1 unreadable\nsounds.index\n"
    assert "left out: cannot read sounds/broken.wav" in err
    assert main(["search", "sounds.index", "a bird sings", "--json"]) == 0
    hits = json.loads(capsys.readouterr().out)["hits"]
    scorer = load_clap("clap")
    with torch.no_grad():
        text = scorer.encode_text(["a bird sings"])[0]
        waves = [load_sound(hit["path"], rate=8000)[None] for hit in hits]
        cosines = [float(scorer.encode_audio(wave)[0] @ text) for wave in waves]
    assert [hit["score"] for hit in hits] == pytest.approx(cosines, abs=2e-3)
    assert cosines == sorted(cosines, reverse=True)
    assert main(["search", "sounds.index", "sounds/rain.wav", "--top", "1", "--json"]) == 0
    best = json.loads(capsys.readouterr().out)["hits"][0]
    assert best["path"].endswith("sounds/rain.wav")
    assert best["score"] == pytest.approx(1, abs=2e-3)
    assert main(["search", "sounds.index", "rain", "--scorer", "embedded"]) == 2
    assert "cannot be compared" in capsys.readouterr().err


def test_captions_of_sounds_are_scored(sounds, here, capsys):
    (here / "captions.json").write_text(json.dumps({"bird": "a bird sings", "rain": "rain falls"}))
    common = ["score", "captions.json", "sounds", "--scorer", "clap", "--json", "--quiet"]
    assert main([*common, "--variant", "torchmetrics"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    scorer = load_clap("clap")
    with torch.no_grad():
        heard = scorer.encode_audio(load_sound(sounds / "bird.wav", rate=8000)[None])[0]
        expected = max(0, 100 * float(heard @ scorer.encode_text(["a bird sings"])[0]))
    assert scores["bird"]["torchmetrics CLIPScore"] == pytest.approx(expected, abs=1e-3)
    assert main(common) == 0
    plain = json.loads(capsys.readouterr().out)["scores"]["rain"]["CLIPScore"]
    cosine = scores["rain"]["torchmetrics CLIPScore"] / 100
    assert cosine > 0
    assert plain == pytest.approx(2.5 * cosine, abs=1e-5)  # nothing about photos before it
    (here / "captions.json").write_text(json.dumps({"broken": "a bird"}))
    assert main(common) == 1
    assert "cannot read sounds/broken.wav" in capsys.readouterr().err


def test_a_synthesizer_is_turned_towards_the_words(sounds, here, capsys):
    spec = importlib.util.spec_from_file_location("recipe_clap_synth", RECIPE)
    recipe = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = recipe
    spec.loader.exec_module(recipe)
    options = ["a bird sings", "--scorer", "clap", "--seconds", "0.5", "--voices", "3", "--bands", "4", "--knobs", "5"]
    scorer = load_clap("clap")
    cosines = {}
    for steps in ("1", "12"):
        config = tyro.cli(recipe.Config, args=[*options, "--steps", steps, "--out", f"{steps}.wav"])
        recipe.main(config)
        assert capsys.readouterr().out.split() == [f"{steps}.wav", f"{steps}.png"]
        wave = load_sound(here / f"{steps}.wav", rate=8000)
        assert len(wave) == 4000
        assert 0.01 < wave.std() < 1
        with torch.no_grad():
            cosines[steps] = float(scorer.encode_audio(wave[None])[0] @ scorer.encode_text(["a bird sings"])[0])
    assert cosines["12"] > cosines["1"]
    with pytest.raises(SystemExit, match="exists"):
        recipe.main(config)
