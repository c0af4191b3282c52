"""Models of the transformers library that propose captions, polish them, or judge them a second time.

Each is loaded from a local folder or by its id on the hub, runs without gradients, and needs no image processor: its
pictures are prepared as its checkpoint says by `clipopt.scorers.preprocess`.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.captions.candidates import Candidate
from clipopt.io.folders import at_home
from clipopt.scorers.hub import TRANSFORMERS, hub_folder, is_hub_id, reason, without_bars
from clipopt.scorers.preprocess import ImageSpec, fit, read_image_spec
from clipopt.types import generator

_TEXTS_AT_ONCE = 32
_CAPTIONERS = {"blip": "BLIP", "blip-2": "BLIP-2", "git": "GIT", "vision-encoder-decoder": "a ViT with a GPT-2"}
"""Model types that caption from pixels alone."""


def model_folder(spec: str, option: str = "--captioner") -> Path:
    """The folder of a model given by its path or its id on the hub; `option` is what the user names it by.

    Raises:
        ValueError: it is neither, or cannot be downloaded.
    """
    if at_home(spec).is_dir():
        return at_home(spec)
    if is_hub_id(spec):
        layout = replace(TRANSFORMERS, elsewhere=TRANSFORMERS.elsewhere.replace("--scorer", option))
        try:
            return hub_folder(spec, layout)
        except ValueError as error:
            raise ValueError(str(error).removesuffix(", or use --scorer embedded")) from error
    raise ValueError(f"no model {spec!r}: expected a local folder, or a hub id such as owner/model")


class SampledCaptions:
    """Captions sampled from an image-to-text model: BLIP, BLIP-2, GIT, or a ViT with a GPT-2.

    Args:
        spec: Its folder or hub id.
        count: How many to sample for each picture; equal ones count once.
        temperature: Of the sampling; lower is more alike.
        top_p: Share of the probability that is sampled from.
        tokens: The most new tokens of a caption.
        seed: Equal seeds give equal captions, whatever the other pictures are.
        device: Where to compute.

    Raises:
        ValueError: if it cannot be loaded, or is no image-to-text model.
    """

    def __init__(
        self,
        spec: str,
        *,
        count: int = 16,
        temperature: float = 1.0,
        top_p: float = 0.9,
        tokens: int = 24,
        seed: int = 0,
        device: str = "cpu",
    ) -> None:
        from transformers import AutoModelForImageTextToText, VisionEncoderDecoderModel

        folder = model_folder(spec)
        config = _load(_config_class(), folder)
        if config.model_type not in _CAPTIONERS:
            able = " or ".join(_CAPTIONERS.values())
            raise ValueError(f"{spec} is a {config.model_type} model: expected one that needs no prompt, {able}")
        kind = (
            VisionEncoderDecoderModel if config.model_type == "vision-encoder-decoder" else AutoModelForImageTextToText
        )
        self.model = _frozen(kind, folder, device)
        self.tokenizer = _load(_tokenizer_class(), folder)
        self.spec = _image_spec(folder)
        self.name = folder.name
        self.count, self.temperature, self.top_p, self.tokens, self.seed = count, temperature, top_p, tokens, seed

    @torch.no_grad()
    def __call__(
        self, pictures: Sequence[Float[Tensor, "3 _ _"]], embeddings: Float[Tensor, "b d"]
    ) -> list[list[Candidate]]:
        """Sampled captions of each picture with the mean log probability of their tokens."""
        return [self._sample(picture) for picture in pictures]

    def _sample(self, picture: Float[Tensor, "3 _ _"]) -> list[Candidate]:
        pixels = fit(picture[None], self.spec).to(self.model.device, self.model.dtype)
        state = torch.random.get_rng_state()
        torch.random.set_rng_state(generator(self.seed).get_state())  # generate() samples from the global stream
        try:
            out = self.model.generate(
                pixel_values=pixels,
                do_sample=True,
                num_return_sequences=self.count,
                temperature=self.temperature,
                top_p=self.top_p,
                max_new_tokens=self.tokens,
                output_logits=True,
                return_dict_in_generate=True,
            )
        finally:
            torch.random.set_rng_state(state)
        # By the model itself, not by what temperature and top_p make of it.
        log = torch.stack(list(out.logits), 1).float().log_softmax(-1)
        new = out.sequences[:, -log.shape[1] :]
        steps = log.gather(-1, new[..., None]).squeeze(-1)
        pad = self.tokenizer.pad_token_id
        counted = steps.isfinite() if pad is None else (new != pad) & steps.isfinite()
        mean = steps.where(counted, 0.0).sum(1) / counted.sum(1).clamp(min=1)
        texts = self.tokenizer.batch_decode(out.sequences, skip_special_tokens=True)
        found = {" ".join(text.split()): value for text, value in zip(texts, mean.tolist(), strict=True)}
        return [Candidate(text, self.name, value) for text, value in found.items() if text]


class LanguageModel:
    """How fluent texts are by a causal language model such as GPT-2: mean log probability per token.

    Args:
        spec: Its folder or hub id.
        device: Where to compute.
    """

    def __init__(self, spec: str, *, device: str = "cpu") -> None:
        from transformers import AutoModelForCausalLM

        folder = model_folder(spec, "--language")
        self.model = _frozen(AutoModelForCausalLM, folder, device)
        self.tokenizer = _load(_tokenizer_class(), folder)

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> list[float]:
        """Mean natural log probability of each text's tokens, the first one's after the token that begins texts."""
        begin = next(
            token for token in (self.tokenizer.bos_token_id, self.tokenizer.eos_token_id, 0) if token is not None
        )
        means = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            rows = [
                [begin, *self.tokenizer(text, add_special_tokens=False)["input_ids"]]
                for text in texts[start : start + _TEXTS_AT_ONCE]
            ]
            ids = torch.full((len(rows), max(map(len, rows))), begin)
            for line, row in zip(ids, rows, strict=True):
                line[: len(row)] = torch.tensor(row)
            # Padding stands on the right of a causal model: no token sees it.
            logits = self.model(input_ids=ids.to(self.model.device)).logits[:, :-1].float().cpu()
            chosen = logits.log_softmax(-1).gather(-1, ids[:, 1:, None]).squeeze(-1)
            means += [
                float(line[: len(row) - 1].mean()) if len(row) > 1 else 0.0
                for line, row in zip(chosen, rows, strict=True)
            ]
        return means


class ImageTextMatching:
    """The probability that a text belongs to a picture, by a model that reads both at once: BLIP's matching head.

    It tells who does what to whom where two separate towers see a bag of words; every pair costs a pass of its own.

    Args:
        spec: Folder or hub id of a `BlipForImageTextRetrieval`.
        device: Where to compute.
    """

    def __init__(self, spec: str, *, device: str = "cpu") -> None:
        from transformers import BlipForImageTextRetrieval

        folder = model_folder(spec, "--second")
        self.model = _frozen(BlipForImageTextRetrieval, folder, device)
        self.tokenizer = _load(_tokenizer_class(), folder)
        self.spec = _image_spec(folder)

    @torch.no_grad()
    def __call__(self, picture: Float[Tensor, "3 _ _"], texts: Sequence[str]) -> list[float]:
        """Probabilities in [0, 1]."""
        pixels = fit(picture[None], self.spec).to(self.model.device, self.model.dtype)
        found: list[float] = []
        for start in range(0, len(texts), _TEXTS_AT_ONCE):
            some = list(texts[start : start + _TEXTS_AT_ONCE])
            inputs = self.tokenizer(some, padding=True, truncation=True, return_tensors="pt").to(self.model.device)
            out = self.model(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                pixel_values=pixels.expand(len(some), -1, -1, -1),
                use_itm_head=True,
            )
            found += out.itm_score.float().softmax(-1)[:, 1].tolist()
        return found


class MaskedPolish:
    """Variants of captions in which one word is another: what a masked language model such as BERT would write there.

    Args:
        spec: Its folder or hub id.
        words: Proposals for every word.
        device: Where to compute.

    Reference:
        Zeng et al., "ConZIC: Controllable Zero-shot Image Captioning by Sampling-Based Polishing" (2023),
        arXiv:2303.02437, of which this is one sweep; who chooses among the variants is the reranker.
    """

    def __init__(self, spec: str, *, words: int = 8, device: str = "cpu") -> None:
        from transformers import AutoModelForMaskedLM

        folder = model_folder(spec, "--polish")
        self.model = _frozen(AutoModelForMaskedLM, folder, device)
        self.tokenizer = _load(_tokenizer_class(), folder)
        if self.tokenizer.mask_token is None:
            raise ValueError(f"{spec} has no mask token: expected a masked language model such as bert-base-uncased")
        self.words = words

    @torch.no_grad()
    def __call__(self, best: Sequence[Candidate]) -> list[Candidate]:
        """All variants of the captions, the captions themselves left out."""
        mask, variants = self.tokenizer.mask_token, dict[str, Candidate]()
        for candidate in best:
            words = candidate.text.split()
            masked = [" ".join([*words[:i], mask, *words[i + 1 :]]) for i in range(len(words))]
            for start in range(0, len(masked), _TEXTS_AT_ONCE):
                some = masked[start : start + _TEXTS_AT_ONCE]
                inputs = self.tokenizer(some, padding=True, truncation=True, return_tensors="pt").to(self.model.device)
                at = inputs["input_ids"] == self.tokenizer.mask_token_id
                logits = self.model(**inputs).logits.float()
                for row, text in enumerate(some):
                    if at[row].any():
                        for token in logits[row][at[row]][0].topk(self.words).indices.tolist():
                            word = self.tokenizer.decode([token]).strip()
                            new = text.replace(mask, word, 1)
                            if word.isalpha() and new != candidate.text:
                                variants.setdefault(new, Candidate(new, "polish"))
        return list(variants.values())


def is_matching_model(spec: str) -> bool:
    """Whether `spec` is the folder or id of a model with a head that matches pictures and texts."""
    if spec.endswith(".safetensors") or not (is_hub_id(spec) or at_home(spec).is_dir()):
        return False
    try:
        architectures = _load(_config_class(), model_folder(spec)).architectures or []
    except ValueError:
        return False
    return "BlipForImageTextRetrieval" in architectures


def _image_spec(folder: Path) -> ImageSpec:
    spec = read_image_spec(folder)
    if not isinstance(spec, ImageSpec):
        raise ValueError(f"{folder} wants pictures cut into patches: expected a model of square pictures")
    return spec


def _config_class() -> Any:
    from transformers import AutoConfig

    return AutoConfig


def _tokenizer_class() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer


@without_bars()
def _load(kind: Any, folder: Path) -> Any:
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # of half a dozen libraries
        raise ValueError(f"cannot load {folder}: {reason(error)}") from error


@without_bars()
def _frozen(kind: Any, folder: Path, device: str) -> Any:
    try:
        model, report = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
    except Exception as error:
        raise ValueError(f"cannot load {folder}: {reason(error)}") from error
    if report["missing_keys"]:
        lacking = sorted(report["missing_keys"])
        raise ValueError(f"{folder} is no {kind.__name__}: it lacks {len(lacking)} tensors, {lacking[0]} first")
    return model.eval().requires_grad_(False).to(device)
