"""Sounds that a scorer hears."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.io.media import load_sound
from clipopt.io.picture_files import Found, leave_out
from clipopt.scorers.clap import ClapScorer


def hear(
    scorer: ClapScorer, sounds: Sequence[Found], broken: list[Path]
) -> Iterator[tuple[Found, Float[Tensor, " d"]]]:
    """The unit row of every sound; one that cannot be read is reported on stderr, added to `broken` and left out."""
    for found in sounds:
        try:
            wave = load_sound(found.path, rate=scorer.sample_rate)
        except (ValueError, OSError) as error:
            leave_out(error)
            broken.append(found.path)
            continue
        with torch.no_grad():
            yield found, scorer.encode_audio(wave[None].to(scorer.filters.device))[0]
