"""Adaptation: a scorer learns a few labels from a few pictures, and is a scorer again.

examples = Examples(pictures, numbers, ("fox", "hare"))
adapter = adapt("probe", scorer, examples, base="embedded")
save_adapter(adapter, Path("foxes"))
adapter.apply(scorer).encode_text(["a fox in the snow"])     # the same as load_scorer("foxes")
"""

from clipopt.adapt.examples import (
    TEMPLATES,
    Examples,
    check_templates,
    choose_shots,
    encode_pictures,
    unread,
    zero_shot,
)
from clipopt.adapt.methods import METHODS, Method, Options, adapt, save_adapter

__all__ = [
    "METHODS",
    "TEMPLATES",
    "Examples",
    "Method",
    "Options",
    "adapt",
    "check_templates",
    "choose_shots",
    "encode_pictures",
    "save_adapter",
    "unread",
    "zero_shot",
]
