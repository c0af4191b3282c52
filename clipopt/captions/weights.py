"""How much each part of a caption's score counts."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Weights:
    """What a caption's score is the sum of: its mean cosine with the views, plus each part with its weight.

    Attributes:
        prior: Of minus the mean cosine with the background, which texts have that fit every picture a little.
        consensus: Of the mean cosine with the other candidates: what several say is likelier true.
        likelihood: Of the mean log probability per token.
        second: Of what the second stage says.
        stage: How many candidates reach the second stage; those below are dropped if there is one.
        diversity: How much a caption loses for its largest cosine with a caption that stands above it.

    Reference:
        Carbonell, Goldstein, "The use of MMR" (1998), for the diversity.
    """

    prior: float = 0.25
    consensus: float = 0.0
    likelihood: float = 0.0
    second: float = 0.5
    stage: int = 10
    diversity: float = 0.0
