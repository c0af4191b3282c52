"""Ctrl-C, SIGTERM and SIGHUP: they let the step in progress end, and everything is saved."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""What asks a process to stop: Ctrl-C, `kill` and most schedulers, the end of a terminal or of its connection."""
_last = signal.SIGINT
_stopped = False


def was_stopped() -> bool:
    """Whether `stoppable` work was asked to stop, also where a library swallowed that and failed of it."""
    return _stopped


def exit_status() -> int:
    """The exit status of a command that was interrupted: 130 by Ctrl-C, 143 by SIGTERM, 129 by SIGHUP."""
    return 128 + _last


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGTERM and SIGHUP interrupt as Ctrl-C does, with a `KeyboardInterrupt`.

    What was ignored from the start stays so: that is how `nohup` works. Outside the main thread nothing is changed.
    """
    global _last, _stopped
    _last, _stopped = signal.SIGINT, False
    terminals = [fd for fd in (0, 1, 2) if _is_terminal(fd)]

    def stop(number: int, frame: FrameType | None) -> None:
        global _stopped
        _stopped = True
        _came(number, terminals)
        raise KeyboardInterrupt

    with _handled({number: stop for number in SIGNALS if _is_heard(number)}):
        yield


@contextmanager
def graceful_interrupt() -> Iterator[Callable[[], bool]]:
    """Hold what asks to stop back; yields a function that tells whether something came.

    An interrupt in the middle of an update would leave half of the parameters moved, so that no resumed run could
    be the same. The second Ctrl-C interrupts at once, as ever. Outside the main thread nothing is held back.
    """
    pressed = False
    terminals = [fd for fd in (0, 1, 2) if _is_terminal(fd)]
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: FrameType | None) -> None:
        nonlocal pressed
        pressed = True
        _came(number, terminals)
        if number == signal.SIGINT:  # only it: who ends a session often sends the others together
            signal.signal(number, before)

    with _handled({number: note for number in SIGNALS if number == signal.SIGINT or _is_heard(number)}):
        yield lambda: pressed


@contextmanager
def _handled(handlers: dict[int, Callable[[int, FrameType | None], None]]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in handlers}
    for number, handler in handlers.items():
        signal.signal(number, handler)
    try:
        yield
    finally:
        for number, usual in before.items():
            signal.signal(number, usual)


def _is_heard(number: int) -> bool:
    """Whether a signal is neither ignored nor handled by what is not Python."""
    return signal.getsignal(number) not in (signal.SIG_IGN, None)


def _came(number: int, terminals: list[int]) -> None:
    """Remember a signal. After a SIGHUP there is no terminal any more: what would be said there goes nowhere."""
    global _last
    _last = signal.Signals(number)
    if number == getattr(signal, "SIGHUP", None):
        nowhere = os.open(os.devnull, os.O_RDWR)
        for fd in terminals:
            os.dup2(nowhere, fd)
        os.close(nowhere)


def _is_terminal(fd: int) -> bool:
    with suppress(OSError):
        return os.isatty(fd)
    return False
