"""Ctrl-C that lets the step in progress end."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def graceful_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold the first Ctrl-C back; yields a function that tells whether it came.

    An interrupt in the middle of an update would leave half of the parameters moved, so that no resumed run could
    be the same. The second Ctrl-C interrupts at once, as ever. Outside the main thread nothing is held back.
    """
    pressed = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: pressed
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
