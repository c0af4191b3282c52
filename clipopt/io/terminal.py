"""What is said on a terminal."""

import sys

_notes: list[str] = []


def printable(text: object) -> str:
    """`text` in one line, without codes that a terminal would obey: these, and what is no character, are escaped."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in str(text))


def note(line: str) -> None:
    """Keep a line for stderr until the work begins: what is refused before is refused in one line alone."""
    _notes.append(line)


def say_notes() -> None:
    """Say what was kept."""
    for line in _notes:
        sys.stderr.write(f"{line}\n")
    forget_notes()


def forget_notes() -> None:
    """Say nothing of what was kept."""
    _notes.clear()
