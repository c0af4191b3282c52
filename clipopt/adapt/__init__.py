"""Adaptation: a scorer learns a few labels from a few pictures, and is a scorer again.

examples = Examples(pictures, numbers, ("fox", "hare"))
adapter = adapt("probe", scorer, examples, base="embedded")
save_adapter(adapter, Path("foxes"))
adapter.apply(scorer).encode_text(["a fox in the snow"])     # the same as load_scorer("foxes")
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clipopt.adapt.examples import (
        TEMPLATES,
        Examples,
        check_templates,
        choose_shots,
        encode_pictures,
        unread,
        zero_shot,
    )
    from clipopt.adapt.methods import adapt, check_method, save_adapter
    from clipopt.adapt.options import METHODS, Method, Options

__all__ = [
    "METHODS",
    "TEMPLATES",
    "Examples",
    "Method",
    "Options",
    "adapt",
    "check_method",
    "check_templates",
    "choose_shots",
    "encode_pictures",
    "save_adapter",
    "unread",
    "zero_shot",
]

_HOMES = {
    "Examples": "examples", "METHODS": "options", "Method": "options", "Options": "options", "TEMPLATES": "examples",
    "adapt": "methods", "check_method": "methods", "check_templates": "examples", "choose_shots": "examples",
    "encode_pictures": "examples", "save_adapter": "methods", "unread": "examples", "zero_shot": "examples",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """A public name, read from its module when it is first asked for: a command's help need not wait for torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'clipopt.adapt' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"clipopt.adapt.{_HOMES[name]}"), name)
    return value
