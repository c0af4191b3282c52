"""CLAP and X-CLIP beside the processors and models of transformers, and the files that they hear and see."""

import os
import wave as wav

import numpy as np
import pytest
import torch
from clips_models import extractor, save_clap, save_xclip
from torch.nn import functional as F

from clipopt.io import files
from clipopt.io import media as clips
from clipopt.io.media import load_film, load_sound, save_sound
from clipopt.scorers import load_scorer
from clipopt.scorers.clap import is_clap, load_clap
from clipopt.scorers.xclip import load_xclip
from clipopt.types import generator

TEXTS = ["a bird sings", "rain", "an engine that starts"]


@pytest.fixture(scope="module", params=[False, True], ids=["one mel", "fusion"])
def clap(request, tmp_path_factory):
    return save_clap(tmp_path_factory.mktemp("clap"), fusion=request.param)


def sound(samples=5000, seed=0):
    t = torch.arange(samples) / 8000
    return 0.4 * torch.sin(2 * torch.pi * 440 * t) + 0.1 * torch.randn(samples, generator=generator(seed))


@pytest.mark.parametrize("samples", [8000, 5000, 3000])
def test_hears_as_the_reference_does(clap, samples):
    import transformers

    scorer = load_clap(str(clap))
    reference = transformers.ClapModel.from_pretrained(clap)
    heard = sound(samples)
    features = extractor(scorer._fusion)(heard.numpy(), sampling_rate=8000, return_tensors="pt")
    mel = features["input_features"].float()
    with torch.no_grad():
        # The reference calls one sound of a batch longer at random, even if none is; what is heard here is not.
        expected = reference.get_audio_features(mel, is_longer=torch.zeros(1, 1, dtype=torch.bool)).pooler_output
    torch.testing.assert_close(scorer.encode_audio(heard[None]), expected, atol=2e-4, rtol=0)
    repeated = F.pad(heard.repeat(8000 // samples), (0, 8000 - 8000 // samples * samples))[None]
    torch.testing.assert_close(scorer.log_mel(repeated)[0], mel[0, 0], atol=2e-2, rtol=0)


def test_texts_and_logits_are_those_of_the_reference(clap):
    import transformers

    scorer, reference = load_clap(str(clap)), transformers.ClapModel.from_pretrained(clap)
    tokens = transformers.AutoTokenizer.from_pretrained(clap)(TEXTS, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = F.normalize(reference.get_text_features(**tokens).pooler_output, dim=1)
    rows = scorer.encode_text(TEXTS)
    torch.testing.assert_close(rows, expected, atol=1e-5, rtol=0)
    seen = scorer.encode_audio(sound()[None])
    torch.testing.assert_close(scorer.logits(seen, rows), torch.tensor(3.0).exp() * seen @ rows.T)


def test_a_sound_has_a_gradient_and_no_neighbours(clap):
    scorer = load_clap(str(clap))
    heard = torch.stack([sound(seed=0), sound(seed=1)]).requires_grad_()
    rows = scorer.encode_audio(heard)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))
    torch.testing.assert_close(scorer.encode_audio(heard[1:]), rows[1:], atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad(rows[0] @ scorer.encode_text(TEXTS)[0], heard)
    assert gradient[0].abs().max() > 0
    assert not gradient[1].any()
    with pytest.raises(ValueError, match="no samples"):
        scorer.encode_audio(heard[:, :0])


def test_a_long_sound_is_heard_whole_and_always_alike(clap):
    scorer = load_clap(str(clap))
    heard = torch.cat([sound(8000), torch.zeros(8000), sound(4000, seed=3)])[None]
    assert torch.equal(scorer.encode_audio(heard), scorer.encode_audio(heard))
    parts = [scorer.encode_audio(heard[:, start : start + 8000]) for start in (0, 6000, 12000)]
    torch.testing.assert_close(scorer.encode_audio(heard), F.normalize(sum(parts) / 3, dim=1))


def test_loading_shows_no_bars(clap, tmp_path, capfd):
    save_xclip(tmp_path)
    capfd.readouterr()
    load_clap(str(clap))
    load_xclip(str(tmp_path))
    assert capfd.readouterr() == ("", "")


def test_a_clap_is_told_from_others(clap, tmp_path):
    assert is_clap(str(clap))
    assert is_clap("laion/clap-htsat-unfused")
    assert not is_clap("embedded")
    with pytest.raises(ValueError, match="is a clap model"):
        load_scorer(str(clap))
    with pytest.raises(ValueError, match="no CLAP model"):
        load_clap("embedded")
    with pytest.raises(ValueError, match=r"has no config\.json"):
        load_clap(str(tmp_path))


def test_sounds_are_read_as_they_were_written(tmp_path):
    heard = sound()
    save_sound(tmp_path / "a.wav", heard, rate=8000)
    torch.testing.assert_close(load_sound(tmp_path / "a.wav", rate=8000), heard, atol=1e-4, rtol=0)
    half = load_sound(tmp_path / "a.wav", rate=4000)
    assert abs(len(half) - 2500) <= 2
    stereo = (np.stack([heard.numpy(), np.zeros(5000)], 1) * 32767).astype("<i2")
    with wav.open(str(tmp_path / "two.wav"), "wb") as file:
        file.setparams((2, 2, 8000, 0, "NONE", ""))
        file.writeframes(stereo.tobytes())
    mono = load_sound(tmp_path / "two.wav", rate=8000)
    assert torch.corrcoef(torch.stack([mono, heard]))[0, 1] > 0.999
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    for name, reason in (("bad.wav", "another kind"), ("gone.wav", "no such file")):
        with pytest.raises(ValueError, match=reason):
            load_sound(tmp_path / name, rate=8000)
    with pytest.raises(ValueError, match=r"suffix \.wav"):
        save_sound(tmp_path / "a.mp3", heard, rate=8000)
    with pytest.raises(ValueError, match="finite"):
        save_sound(tmp_path / "b.wav", heard / 0, rate=8000)


def test_sees_films_as_the_reference_does(tmp_path):
    import transformers

    folder = save_xclip(tmp_path / "xclip")
    scorer, reference = load_xclip(str(folder)), transformers.XCLIPModel.from_pretrained(folder)
    films = torch.rand(2, 4, 3, 32, 32, generator=generator(0)).requires_grad_()
    tokens = transformers.AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (scorer.spec.mean, scorer.spec.std))
    with torch.no_grad():
        made = reference(**tokens, pixel_values=(films - mean) / std)
    scores = scorer.logits(films, TEXTS)
    torch.testing.assert_close(scores, made.logits_per_video, atol=1e-3, rtol=1e-4)
    torch.testing.assert_close(scorer.encode_video(films), made.video_embeds, atol=1e-5, rtol=0)
    (gradient,) = torch.autograd.grad(scores[0, 1], films)
    assert gradient[0].abs().amax(dim=(1, 2, 3)).min() > 0
    assert not gradient[1].any()
    with pytest.raises(ValueError, match="takes 4 frames"):
        scorer.encode_video(films[:, :3])


def test_films_are_read_evenly(tmp_path):
    shades = torch.linspace(0, 1, 12)
    files.write_video(tmp_path / "a.mp4", [torch.full((3, 32, 48), float(s)) for s in shades], fps=4, hold=0)
    frames = load_film(tmp_path / "a.mp4", count=4)
    assert frames.shape == (4, 3, 32, 48)
    torch.testing.assert_close(frames.mean((1, 2, 3)), shades[[1, 4, 7, 10]], atol=0.03, rtol=0)
    with pytest.raises(ValueError, match="expected a film"):
        load_film(tmp_path / "gone.mp4", count=4)
    assert load_film(tmp_path / "a.mp4", count=30).shape == (30, 3, 32, 48)


def test_a_colon_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x:y").mkdir()
    for name in ("a:b", "http:c", "-d", "100%d", "x:y/e", "new\nline"):
        files.write_video(f"{name}.mp4", [torch.ones(3, 16, 16)] * 4, fps=4, hold=0)
        assert load_film(f"{name}.mp4", count=2).shape == (2, 3, 16, 16)
        save_sound(f"{name}.wav", sound(), rate=8000)
        assert len(load_sound(f"{name}.wav", rate=8000)) == 5000


def test_playlists_pipes_and_what_is_too_long_are_refused(tmp_path, monkeypatch):
    save_sound(tmp_path / "a.wav", sound(), rate=8000)
    (tmp_path / "list.mp3").write_text("ffconcat version 1.0\nfile a.wav\n")
    (tmp_path / "stream.mp3").write_text("#EXTM3U\n#EXTINF:1,\na.wav\n#EXT-X-ENDLIST\n")
    (tmp_path / "picture.wav").write_bytes(b"P5\n2 2\n255\nabcd")
    os.mkfifo(tmp_path / "pipe.wav")
    for name in ("list.mp3", "stream.mp3", "picture.wav", "pipe.wav"):
        with pytest.raises(ValueError, match=f"cannot read .*{name}: expected a sound"):
            load_sound(tmp_path / name, rate=8000)
        with pytest.raises(ValueError, match="expected a film"):
            load_film(tmp_path / name, count=2)
    monkeypatch.setattr(clips, "_MOST", 10_000)
    with pytest.raises(ValueError, match="shorten it"):
        load_sound(tmp_path / "a.wav", rate=8000)


def test_long_texts_are_cut_aloud_and_special_tokens_are_text(clap, tmp_path):
    sounds, films = load_clap(str(clap)), load_xclip(str(save_xclip(tmp_path)))
    with pytest.warns(UserWarning, match=r"reads 77 tokens, this text has \d+; dropped: '"):
        sounds.encode_text(["a dog barks " * 20])
    film = torch.rand(1, 4, 3, 32, 32, generator=generator(0))
    with pytest.warns(UserWarning, match=r"reads 77 tokens, this text has \d+; dropped: '.*fox"):
        films.logits(film, ["a red fox " * 40])
    for tokenizer in (sounds.tokenizer, films.tokenizer):
        row = tokenizer(f"a fox {tokenizer.eos_token} runs")["input_ids"]
        assert row.count(tokenizer.eos_token_id) == tokenizer("a fox")["input_ids"].count(tokenizer.eos_token_id)
