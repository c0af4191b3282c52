"""How tests check the types and shapes of arguments: by beartype, in every function that is made once.

A function inside another is made anew, and would be compiled anew, in each call of that; its shapes are checked where
it calls others.
"""

from collections.abc import Callable
from typing import Any

from beartype import beartype


def check(function: Callable[..., Any]) -> Callable[..., Any]:
    return function if "<locals>" in function.__qualname__ else beartype(function)
