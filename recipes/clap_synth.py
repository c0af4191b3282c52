"""CTAG: Cherep, Singh, Shand, "Creative Text-to-Audio Generation via Synthesizer Programming" (2024), arXiv:2406.00294.

A small synthesizer is turned until CLAP hears the words. Published: an evolution strategy over the knobs of a modular
synthesizer; here every knob has a gradient. Voices with a pitch and a loudness that move, and noise in bands (after
DDSP, Engel et al. 2020, arXiv:2001.04643).

    python recipes/clap_synth.py "a bird sings" --scorer laion/clap-htsat-unfused
    python recipes/clap_synth.py "a red apple" --scorer ./clap --steps 20 --seconds 2
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import tyro
from torch import Generator, Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

import clipopt as co
from clipopt.io.media import save_sound
from clipopt.scorers.clap import load_clap


@dataclass(frozen=True)
class Config:
    """A sound from text, by turning the knobs of a synthesizer."""

    prompt: Annotated[str, tyro.conf.Positional]
    """What to hear."""
    scorer: str = "laion/clap-htsat-unfused"
    """Who listens: a CLAP, by id or by a local folder."""
    seconds: float = 4.0
    """Length of the sound."""
    voices: int = 16
    """Sines with a pitch and a loudness of their own."""
    bands: int = 24
    """Bands of the noise."""
    knobs: int = 24
    """Points of every curve over time."""
    steps: int = 300
    """Steps of the optimizer."""
    lr: float = 0.05
    """Learning rate of Adam."""
    seed: int = 0
    """The same seed gives the same sound."""
    device: str = "cpu"
    """Where to compute."""
    out: Path = Path("outputs/clap_synth.wav")
    """The sound to write; a picture of its spectrum goes beside it."""
    overwrite: bool = False
    """Replace it where it exists."""


class Synth(nn.Module):
    """Sines and noise whose pitch and loudness follow curves."""

    def __init__(self, config: Config, rate: int, rng: Generator) -> None:
        super().__init__()
        self.rate, self.samples = rate, round(config.seconds * rate)
        start = torch.linspace(0, 1, config.voices)[:, None].expand(-1, config.knobs)
        self.pitch = nn.Parameter(start + 0.05 * torch.randn(config.voices, config.knobs, generator=rng))
        self.loudness = nn.Parameter(torch.randn(config.voices, config.knobs, generator=rng) - 2)
        self.noise = nn.Parameter(torch.randn(config.bands, config.knobs, generator=rng) - 3)
        white = torch.randn(1, self.samples, generator=rng)
        self.register_buffer("grain", torch.stft(white, 1024, window=torch.hann_window(1024), return_complex=True))

    def forward(self) -> Tensor:
        """The sound, (1, samples) in [-1, 1]."""
        hertz = 60 * (0.4 * self.rate / 60) ** torch.sigmoid(4 * (self._curve(self.pitch, self.samples) - 0.5))
        phase = 2 * math.pi * torch.cumsum(hertz / self.rate, 1)
        tones = (torch.sigmoid(self._curve(self.loudness, self.samples)) * torch.sin(phase)).sum(0)
        size = self.grain.shape[-2:]
        gains = F.interpolate(torch.sigmoid(self.noise)[None, None], size, mode="bilinear", align_corners=True)[0]
        window = torch.hann_window(1024, device=gains.device)
        hiss = torch.istft(self.grain * gains, 1024, window=window, length=self.samples)[0]
        return torch.tanh(0.3 * (tones + hiss))[None]

    @staticmethod
    def _curve(points: Tensor, length: int) -> Tensor:
        return F.interpolate(points[None], length, mode="linear", align_corners=True)[0]


def main(config: Config) -> None:
    """Make the sound and write it."""
    if config.out.exists() and not config.overwrite:
        raise SystemExit(f"{config.out} exists: name another --out, or say --overwrite")
    scorer = load_clap(config.scorer, device=config.device)
    text = scorer.encode_text([config.prompt])
    synth = Synth(config, scorer.sample_rate, co.generator(config.seed)).to(config.device)

    def loss(step: int, rng: Generator) -> dict[str, Tensor]:
        return {"match": 1 - (scorer.encode_audio(synth()) @ text.T)[:, 0]}

    optimizer = torch.optim.Adam(synth.parameters(), lr=config.lr)
    bar = tqdm(co.optimize(loss, optimizer, steps=config.steps, seed=config.seed), total=config.steps, unit="step")
    for step in bar:
        bar.set_postfix(loss=f"{float(step.loss):.3f}", refresh=False)
    wave = synth().detach()
    config.out.parent.mkdir(parents=True, exist_ok=True)
    save_sound(config.out, wave[0], rate=scorer.sample_rate)
    spectrum = (scorer.log_mel(wave)[0].T.flip(0) / 80 + 0.6).clamp(0, 1)
    picture = config.out.with_suffix(".png")
    co.save(picture, spectrum.expand(3, -1, -1))
    print(config.out, picture, sep="\n")


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
