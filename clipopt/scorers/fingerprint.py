"""A short name for what decides a scorer's embeddings."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from torch import Tensor

#: Tokenized as part of a fingerprint: case, digits, punctuation, accents, a contraction.
PROBE_TEXT = "The quick brown fox's 42 photos: jump over a lazy dog, déjà vu!"


def fingerprint(described: Mapping[str, Any], weights: Mapping[str, Tensor]) -> str:
    """Hash of what `described` says, which shows in no weight, and of the weights as float32.

    Take it before the weights are rounded, and describe neither device nor number format: the embeddings of one
    model can be compared wherever they were computed.
    """
    digest = hashlib.sha256(json.dumps(described, sort_keys=True).encode())
    for key, tensor in sorted(weights.items()):
        digest.update(f"{key}{tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().float().contiguous().view(-1).numpy().data)
    return digest.hexdigest()[:12]
