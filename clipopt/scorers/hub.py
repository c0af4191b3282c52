"""Model folders: whether one is whole, and those of the Hugging Face hub, without a long wait where there is none."""

import os
import re
import threading
from pathlib import Path

_WAIT_S = 4.0
_WEIGHTS = (
    r"model\.safetensors|model-\d+-of-\d+\.safetensors|model\.safetensors\.index\.json",
    r"pytorch_model\.bin|pytorch_model-\d+-of-\d+\.bin|pytorch_model\.bin\.index\.json",
)
_REST = r"(config|preprocessor_config|processor_config|tokenizer|tokenizer_config|special_tokens_map|vocab)\.json"
_TOKENIZER = r"merges\.txt|vocab\.txt|.*\.model"


def is_hub_id(spec: str) -> bool:
    """Whether `spec` has the form owner/model."""
    return re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", spec) is not None


def hub_folder(model_id: str) -> Path:
    """The local folder of a model on the hub, downloaded unless it is in the cache.

    Raises:
        ValueError: if it is not in the cache and cannot be downloaded; within seconds if there is no network.
    """
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(model_id, local_files_only=True))
        if not missing_files(folder):
            return folder
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as error:
        raise ValueError(f"{model_id} is no model id: {_line(error)}") from error
    if not _answers(constants.ENDPOINT):
        raise ValueError(
            f"{model_id} is not on this machine and {constants.ENDPOINT} does not answer: run `hf download {model_id} "
            f"--local-dir FOLDER` where there is network and use --scorer FOLDER, or use --scorer embedded"
        )
    try:
        return Path(snapshot_download(model_id, allow_patterns=_needed(model_id), etag_timeout=10))
    except RepositoryNotFoundError as error:
        where = f"{constants.ENDPOINT}, or it needs a login (`hf auth login`)"
        raise ValueError(f"there is no model {model_id} on {where}") from error
    except Exception as error:  # a download fails in the ways of half a dozen libraries
        raise ValueError(f"cannot download {model_id}: {_line(error)}") from error


def missing_files(folder: Path) -> list[str]:
    """What `folder` lacks to be a whole model: without these, some libraries load something else in silence."""
    needed = {
        "config.json": r"config\.json",
        "model.safetensors": "|".join(_WEIGHTS),
        "preprocessor_config.json": r"(pre)?processor_config\.json",
        "tokenizer.json": r"(tokenizer|vocab)\.json|.*\.model",
    }
    names = [path.name for path in folder.iterdir()]
    return [file for file, pattern in needed.items() if not any(re.fullmatch(pattern, name) for name in names)]


def _needed(model_id: str) -> list[str]:
    """The files that a scorer reads; the same weights in other formats would be several gigabytes more."""
    from huggingface_hub import HfApi

    names = [name for name in HfApi().list_repo_files(model_id) if "/" not in name]
    for pattern in _WEIGHTS:
        if weights := [name for name in names if re.fullmatch(pattern, name)]:
            return weights + [name for name in names if re.fullmatch(f"{_REST}|{_TOKENIZER}", name)]
    raise ValueError("it has neither model.safetensors nor pytorch_model.bin")


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
