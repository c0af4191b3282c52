"""Texts for tokenizers of transformers: special tokens are text, and what does not fit is named."""

import warnings
from collections.abc import Sequence
from typing import Any


def to_the_letter(tokenizer: Any) -> Any:
    """A tokenizer for which "<|endoftext|>" in a text is text, and not its end."""
    tokenizer.split_special_tokens = True
    return tokenizer


def unmarked(text: str, tokenizer: Any) -> str:
    """`text`, with a gap in what a unigram vocabulary would take for a special token all the same, such as "</s>"."""
    model = getattr(getattr(tokenizer, "backend_tokenizer", None), "model", None)
    for token in tokenizer.all_special_tokens if type(model).__name__ == "Unigram" else ():
        text = text.replace(token, f"{token[:1]} {token[1:]}")
    return text


def read_in_full(texts: Sequence[str], tokenizer: Any, *, name: str, longest: int) -> list[str]:
    """The texts; warns of each that is too long, and names what a tokenizer that truncates will drop.

    Args:
        texts: As they are given.
        tokenizer: Adds its special tokens by itself.
        name: Of the model.
        longest: The most tokens that it reads.
    """
    for text in texts:
        numbers = tokenizer(text, verbose=False)["input_ids"]
        if len(numbers) > longest:
            dropped = tokenizer.decode(numbers[longest - 1 : -1]).strip()
            warnings.warn(
                f"{name} reads {longest} tokens, this text has {len(numbers)}; dropped: {dropped!r}", stacklevel=4
            )
    return [*texts]
