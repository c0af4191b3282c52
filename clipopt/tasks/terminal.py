"""What is said on a terminal."""


def printable(text: object) -> str:
    """`text` in one line, without codes that a terminal would obey: these, and what is no character, are escaped."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in str(text))
