"""CLAP: how well a sound and a text go together. Its sounds are prepared in torch, so the score has a gradient."""

import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from clipopt.io.folders import at_home
from clipopt.scorers.fingerprint import PROBE_TEXT, fingerprint
from clipopt.scorers.hub import hub_folder, is_hub_id, missing_files, reason, without_bars
from clipopt.scorers.precision import resolve_dtype
from clipopt.scorers.tokens import read_in_full, to_the_letter
from clipopt.types import Embeddings, check_texts

_FLOOR = 1e-10
_TEXTS_AT_ONCE = 256
_TOKENS = 77


class ClapScorer(nn.Module):
    """A frozen `ClapModel`. Made by `load_clap`.

    It is a `Scorer` in all but the sense: `encode_audio` stands in the place of `encode_image`.

    Args:
        model: The model in float32.
        tokenizer: Its tokenizer.
        config: What its preprocessor_config.json holds.
        name: What to call it.

    Attributes:
        sample_rate: Samples per second of the sounds that it takes.
        seconds: What it hears at once.
    """

    head: Literal["softmax", "sigmoid"] = "softmax"

    def __init__(self, model: Any, tokenizer: Any, config: dict[str, Any], *, name: str) -> None:
        from transformers.audio_utils import mel_filter_bank

        super().__init__()
        model.eval().requires_grad_(False)
        self.name, self.tokenizer = name, to_the_letter(tokenizer)
        self.sample_rate, self.seconds = int(config["sampling_rate"]), float(config["max_length_s"])
        self.padding = str(config.get("padding", "repeatpad"))
        self._window, self._hop = int(config["fft_window_size"]), int(config["hop_length"])
        self._fusion = config["truncation"] == "fusion"
        way: dict[str, Any] = {"norm": None, "mel_scale": "htk"}
        if not self._fusion:
            way = {"norm": "slaney", "mel_scale": "slaney"}
        filters = mel_filter_bank(
            num_frequency_bins=self._window // 2 + 1,
            num_mel_filters=config["feature_size"],
            min_frequency=config["frequency_min"],
            max_frequency=config["frequency_max"],
            sampling_rate=self.sample_rate,
            **way,
        )
        self.filters: Tensor
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)
        self.scale = float(model.logit_scale_a.exp())
        described = {
            "model": "clap",
            "sound": {key: config[key] for key in sorted(config) if isinstance(config[key], int | float | str)},
            "vocabulary": sorted(tokenizer.get_vocab().items()),
            "probe": tokenizer(PROBE_TEXT)["input_ids"],
        }
        self.fingerprint = fingerprint(described, model.state_dict())
        self.model = model
        self.eval()

    def encode_audio(self, waves: Float[Tensor, "b _"]) -> Embeddings:
        """Unit rows of sounds in [-1, 1] at `sample_rate`, differentiable in them.

        A short sound is repeated and filled up with silence, as its checkpoint says. A long one is heard in equal
        pieces, the last two of which may overlap, and has their mean row; the reference hears a random piece, so that
        its scores change from call to call.

        Raises:
            ValueError: if there is no sound.
        """
        if not waves.is_floating_point() or waves.ndim != 2:
            got = f"{waves.dtype} of shape {tuple(waves.shape)}"
            raise ValueError(f"sounds must be floats in [-1, 1] of shape (batch, samples), got {got}")
        if not waves.shape[1]:
            raise ValueError("a sound has no samples: expected at least one")
        length = round(self.seconds * self.sample_rate)
        count = math.ceil(waves.shape[1] / length)
        starts = [round(i * (waves.shape[1] - length) / max(1, count - 1)) for i in range(count)]
        pieces = [waves] if count == 1 else [waves[:, start : start + length] for start in starts]
        rows = torch.stack([self._hear(piece, length) for piece in pieces])
        return F.normalize(rows.mean(0), dim=-1)

    @torch.no_grad()
    def encode_text(self, texts: Sequence[str]) -> Embeddings:
        """Unit rows of texts. One that is too long is cut, with a warning that names what was dropped."""
        texts, rows = read_in_full(check_texts(texts), self.tokenizer, name=self.name, longest=_TOKENS), []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = texts[start : start + _TEXTS_AT_ONCE]
            tokens = self.tokenizer(some, padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt")
            ids: Int[Tensor, "n _"] = tokens["input_ids"].to(self.model.device)
            mask = tokens["attention_mask"].to(self.model.device)
            rows.append(self.model.get_text_features(ids, attention_mask=mask).pooler_output.float())
        return F.normalize(torch.cat(rows), dim=-1)

    def logits(self, audio: Float[Tensor, "b d"], text: Float[Tensor, "n d"]) -> Float[Tensor, "b n"]:
        """Scaled cosines."""
        return self.scale * audio @ text.T

    def log_mel(self, waves: Float[Tensor, "b _"]) -> Float[Tensor, "b frames mels"]:
        """Power in mel bands in decibels, as the model's own extractor computes it; differentiable."""
        window = torch.hann_window(self._window, device=waves.device)
        spectrum = torch.stft(waves, self._window, self._hop, window=window, return_complex=True)
        power = spectrum.real.square() + spectrum.imag.square()
        return 10 * torch.log10((power.mT @ self.filters).clamp(min=_FLOOR))

    def _hear(self, waves: Float[Tensor, "b _"], length: int) -> Float[Tensor, "b _"]:
        if self.padding != "pad":
            times = length // waves.shape[1] + (self.padding == "repeat")
            waves = waves.repeat(1, times)[:, :length]
        mel = self.log_mel(F.pad(waves, (0, length - waves.shape[1])))[:, None]
        if self._fusion:
            mel = mel.expand(-1, 4, -1, -1)
        longer = torch.zeros(len(mel), 1, dtype=torch.bool, device=mel.device)
        features = self.model.get_audio_features(mel.to(self.model.dtype), is_longer=longer).pooler_output
        return F.normalize(features.float(), dim=-1)


def is_clap(spec: str) -> bool:
    """Whether a spec names a CLAP: a folder whose configuration says so, or a hub id with that word."""
    try:
        config = json.loads((at_home(spec) / "config.json").read_text(encoding="utf-8"))
        return isinstance(config, dict) and config.get("model_type") == "clap"
    except (OSError, ValueError):
        return is_hub_id(spec) and "clap" in spec.lower()


@without_bars()
def load_clap(spec: str, *, device: str = "cpu", dtype: str = "auto") -> ClapScorer:
    """Load a CLAP from its folder or by its id on the hub, such as "laion/clap-htsat-unfused".

    Raises:
        ValueError: if it is neither, or is not whole.
    """
    import transformers

    local = at_home(spec)
    folder = local if local.is_dir() else hub_folder(spec) if is_hub_id(spec) else None
    if folder is None or (missing := missing_files(folder)):
        lacking = f"{spec} has no {' and no '.join(missing)}" if folder else f"no CLAP model {spec!r}"
        raise ValueError(f"{lacking}: expected a whole folder, or a hub id such as laion/clap-htsat-unfused")
    try:
        config = json.loads((folder / "preprocessor_config.json").read_text(encoding="utf-8"))
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = transformers.ClapModel.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
        scorer = ClapScorer(model, tokenizer, config, name=spec if is_hub_id(spec) else folder.name)
    except Exception as error:  # a folder that is not what it says fails in the ways of several libraries
        raise ValueError(f"cannot load {spec}: {reason(error)}") from error
    scorer.model.to(resolve_dtype("float32" if dtype == "auto" else dtype, device))
    return scorer.to(torch.device(device))
