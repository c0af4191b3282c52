"""The methods by name, and what they can be told."""

from dataclasses import dataclass
from typing import Literal, get_args

CONTEXT = "a photo of a"
"""The words that the prompt vectors of coop start from."""

Method = Literal["probe", "tip", "tip-f", "coop", "projection", "lora", "wise-ft", "full"]
METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True)
class Options:
    """What the methods can be told; a method ignores what is not its own. None: its own default.

    Attributes:
        anchor: probe, projection: how strongly they are held to their start.
        alpha: tip, tip-f: weight of the cache.
        beta: tip, tip-f: how fast it forgets what is less alike.
        context: coop: the words that the prompt vectors start from.
        per_label: coop: vectors of its own for each label.
        rank: lora.
        share: wise-ft: how far from the base towards the fine-tuned weights.
        objective: lora, wise-ft, full.
        steps: All that take steps.
        rate: Their learning rate.
    """

    anchor: float | None = None
    alpha: float = 3.0
    beta: float = 5.5
    context: str = CONTEXT
    per_label: bool | None = None
    rank: int = 4
    share: float = 0.5
    objective: Literal["auto", "contrastive", "sigmoid"] = "auto"
    steps: int | None = None
    rate: float | None = None
