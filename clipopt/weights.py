"""The weights of a small model in one safetensors file, and beside them, as metadata, what the model looks like."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

TRAIN = "python -m recipes.embedded train"
"""What writes such files, from a checkout; which model, stands behind."""


def write_weights(path: Path, model: nn.Module, mark: str, config: Any, facts: Mapping[str, str]) -> None:
    """Write what `read_weights` reads.

    The weights are float16 with the eight significant bits of bfloat16: archives then pack them a sixth smaller.

    Args:
        path: File to write.
        model: Whose weights.
        mark: Metadata entry that says which kind of model it is.
        config: What stands there, as JSON.
        facts: Further entries.
    """
    from safetensors.torch import save_file

    tensors = {k: v.detach().bfloat16().half().cpu().contiguous() for k, v in model.state_dict().items()}
    save_file(tensors, path, metadata={**facts, mark: json.dumps(config)})


def read_weights(path: Path, mark: str, kind: str, model: str) -> tuple[dict[str, Tensor], Any, dict[str, str]]:
    """The weights in float32, what stands under `mark`, and all metadata.

    Args:
        path: File to read.
        mark: Metadata entry that says which kind of model it is.
        kind: What this kind is called in messages: "describer".
        model: What `python -m recipes.embedded train` calls it.

    Raises:
        ValueError: the file is missing, no safetensors, or of another kind.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise ValueError(f"no such {kind} file: {path} (expected a .safetensors that `{TRAIN} {model}` wrote)")
    try:
        with safe_open(path, "pt") as file:
            told: dict[str, str] = file.metadata() or {}
            tensors = {key: file.get_tensor(key).float() for key in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(f"{path} is no readable safetensors file ({error}); train or copy it again") from error
    if mark not in told:
        raise ValueError(f"{path} holds no {kind}; expected a file that `{TRAIN} {model}` wrote")
    return tensors, json.loads(told[mark]), told
