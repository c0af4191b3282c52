"""Model folders: whether one is whole, and those of the Hugging Face hub, without a long wait where there is none."""

import os
import pickle
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_WAIT_S = 4.0
_TOKENIZER = r"(tokenizer|vocab)\.json|vocab\.txt|.*\.model"
_TOKENIZER_REST = r"(tokenizer_config|special_tokens_map|config)\.json|merges\.txt"


@dataclass(frozen=True)
class Layout:
    """Which files a model folder has; all patterns are regular expressions for whole names.

    Attributes:
        required: Patterns by the name that a message calls the file by.
        weights: Patterns of the same weights in several formats, best first; empty if no weights are needed.
        optional: What else is read where it is there.
        elsewhere: What to do with `hf download MODEL` on a machine that has network.
    """

    required: Mapping[str, str]
    weights: tuple[str, ...] = ()
    optional: str = ""
    elsewhere: str = " --local-dir FOLDER` where there is network and use --scorer FOLDER"


TRANSFORMERS = Layout(
    required={
        "config.json": r"config\.json",
        "preprocessor_config.json": r"(pre)?processor_config\.json",
        "tokenizer.json": _TOKENIZER,
    },
    weights=(
        r"model\.safetensors|model-\d+-of-\d+\.safetensors|model\.safetensors\.index\.json",
        r"pytorch_model\.bin|pytorch_model-\d+-of-\d+\.bin|pytorch_model\.bin\.index\.json",
    ),
    optional=_TOKENIZER_REST,
)
OPEN_CLIP = Layout(
    required={"open_clip_config.json": r"open_clip_config\.json"},
    weights=(
        r"open_clip_model\.safetensors|open_clip_pytorch_model\.safetensors",
        r"open_clip_pytorch_model\.bin|open_clip_pytorch_model\.pth",
        r"pytorch_model\.bin|model\.safetensors|pytorch_model\.pth",
    ),
    optional=f"{_TOKENIZER}|{_TOKENIZER_REST}",
    elsewhere=" --local-dir FOLDER` where there is network and use --scorer open_clip:FOLDER",
)
SENTENCES = Layout(
    required={"config.json": r"config\.json", "tokenizer.json": _TOKENIZER},
    weights=TRANSFORMERS.weights,
    optional=rf"{_TOKENIZER_REST}|1_Pooling/config\.json",
    elsewhere=" --local-dir FOLDER` where there is network and name the folder",
)
CLASSIFIER = Layout(
    required={
        "config.json": r"config\.json",
        "preprocessor_config.json": r"(pre)?processor_config\.json",
    },
    weights=TRANSFORMERS.weights,
)
TOKENIZER = Layout(
    required={"tokenizer.json": _TOKENIZER},
    optional=_TOKENIZER_REST,
    elsewhere="` where there is network and copy its cache folder ~/.cache/huggingface/hub here",
)


@contextmanager
def without_bars() -> Iterator[None]:
    """Load models of transformers without its progress bars and questions; also a decorator of what loads them.

    Nobody is asked whether code that comes with a model may run: it never may.
    """
    from transformers import dynamic_module_utils
    from transformers.utils import logging

    bars, wait = logging.is_progress_bar_enabled(), dynamic_module_utils.TIME_OUT_REMOTE_CODE
    logging.disable_progress_bar()
    dynamic_module_utils.TIME_OUT_REMOTE_CODE = 0
    try:
        yield
    finally:
        dynamic_module_utils.TIME_OUT_REMOTE_CODE = wait
        if bars:
            logging.enable_progress_bar()


def reason(error: BaseException) -> str:
    """Why a model cannot be loaded, in a line."""
    said = " ".join(str(error).split())
    if "trust_remote_code" in said:
        return "it brings code of its own, and clipopt never runs code that comes with a model"
    if isinstance(error, pickle.UnpicklingError):
        return "its weights are no tensors alone, and clipopt never runs code that comes with a model"
    return said[:300] or type(error).__name__


def is_hub_id(spec: str) -> bool:
    """Whether `spec` has the form owner/model."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", spec) is not None


def hub_folder(model_id: str, layout: Layout = TRANSFORMERS) -> Path:
    """The local folder of a model on the hub, downloaded unless it is in the cache.

    Raises:
        ValueError: if it is not in the cache and cannot be downloaded; within seconds if there is no network.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(model_id, local_files_only=True))
        if not missing_files(folder, layout):
            return folder
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as error:
        raise ValueError(f"{model_id} is no model id: {_line(error)}") from error
    if not _answers(constants.ENDPOINT):
        raise ValueError(
            f"{model_id} is not on this machine and {constants.ENDPOINT} does not answer: run `hf download {model_id}"
            f"{layout.elsewhere}, or use --scorer embedded"
        )
    try:
        return Path(snapshot_download(model_id, allow_patterns=_needed(model_id, layout), etag_timeout=10))
    except RepositoryNotFoundError as error:
        where = f"{constants.ENDPOINT}, or it needs a login (`hf auth login`)"
        raise ValueError(f"there is no model {model_id} on {where}") from error
    except Exception as error:  # a download fails in the ways of half a dozen libraries
        raise ValueError(f"cannot download {model_id}: {_line(error)}") from error


def missing_files(folder: Path, layout: Layout = TRANSFORMERS) -> list[str]:
    """What `folder` lacks to be a whole model: without these, some libraries load something else in silence."""
    names = [path.name for path in folder.iterdir()]
    missing = [file for file, pattern in layout.required.items() if not _matching(names, pattern)]
    if layout.weights and not find_weights(folder, layout):
        missing.append(_readable(layout.weights[0]))
    return missing


def find_weights(folder: Path, layout: Layout) -> Path | None:
    """The weights in `folder`, in the best of the formats that are there."""
    names = sorted(path.name for path in folder.iterdir())
    found = [name for pattern in layout.weights for name in _matching(names, pattern)]
    return folder / found[0] if found else None


def _needed(model_id: str, layout: Layout = TRANSFORMERS) -> list[str]:
    """The files that a scorer reads; the same weights in other formats would be several gigabytes more."""
    from huggingface_hub import HfApi

    listed = HfApi().list_repo_files(model_id)
    names = [name for name in listed if "/" not in name or re.fullmatch(layout.optional, name)]
    weights = next((found for pattern in layout.weights if (found := _matching(names, pattern))), [])
    if layout.weights and not weights:
        first, *others = (_readable(pattern) for pattern in layout.weights)
        other = f"it is a model of open_clip: use --scorer hf-hub:{model_id}"
        lacks = f"it has neither {first} nor {others[-1]}" if others else f"it has no {first}"
        raise ValueError(other if layout is TRANSFORMERS and "open_clip_config.json" in names else lacks)
    wanted = [*layout.required.values(), layout.optional]
    return [*weights, *(name for pattern in wanted for name in _matching(names, pattern))]


def _matching(names: Sequence[str], pattern: str) -> list[str]:
    return [name for name in names if re.fullmatch(pattern, name)]


def _readable(pattern: str) -> str:
    """The first name that a pattern stands for."""
    return pattern.split("|")[0].replace("\\", "")


def _answers(endpoint: str) -> bool:
    """Whether the hub is there. In a thread, because nothing else limits how long a name is looked up."""
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE or os.environ.get("TRANSFORMERS_OFFLINE") == "1":
        return False
    answered = threading.Event()

    def ask() -> None:
        try:
            get_session().head(endpoint, timeout=_WAIT_S)
        except Exception:  # whatever the reason, there is no answer
            return
        answered.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_WAIT_S)
    return answered.is_set()


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
