"""CLIPScore and its relatives, of unit rows; larger is better.

What is published under these names differs: in the weight, in the words before the text, in where the mean is taken
and in the model. A number is comparable only with numbers of the same scorer and the same function.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from clipopt.losses import CLIPSCORE_PREFIX, CLIPSCORE_WEIGHT


def prefixed(texts: Sequence[str]) -> list[str]:
    """Texts as CLIPScore reads them, captions and references alike."""
    return [CLIPSCORE_PREFIX + text for text in texts]


def clipscore(image: Float[Tensor, "b d"], caption: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
    """CLIPScore of each caption for its picture: 2.5 times the cosine, at least 0.

    The rows of the captions are those of `prefixed` texts.

    Reference:
        Hessel et al., "CLIPScore: A Reference-free Evaluation Metric for Image Captioning" (2021), arXiv:2104.08718.
    """
    return CLIPSCORE_WEIGHT * (image * caption).sum(1).clamp(min=0)


def ref_clipscore(
    image: Float[Tensor, "b d"], caption: Float[Tensor, "b d"], references: Sequence[Float[Tensor, "_ d"]]
) -> Float[Tensor, " b"]:
    """RefCLIPScore: the harmonic mean of CLIPScore and the caption's largest cosine with a reference, at least 0.

    Args:
        image: Rows of the pictures.
        caption: Rows of the captions, `prefixed`.
        references: For each picture the rows of its references, `prefixed`; one or more.

    Raises:
        ValueError: if a picture has no references.

    Reference:
        Hessel et al. (2021), section 3.
    """
    if len(references) != len(caption) or any(not len(rows) for rows in references):
        raise ValueError(f"expected one reference or more for each of {len(caption)} captions")
    score = clipscore(image, caption)
    nearest = torch.stack([(rows @ row).max() for rows, row in zip(references, caption, strict=True)]).clamp(min=0)
    total = score + nearest
    return 2 * score * nearest / total.where(total > 0, 1)


def torchmetrics_clipscore(image: Float[Tensor, "b d"], caption: Float[Tensor, "b d"]) -> Float[Tensor, ""]:
    """What torchmetrics calls CLIPScore: 100 times the mean cosine, and only the mean is at least 0; no prefix.

    So that of one picture is at least 0, too, and a mean of several may be less than the mean of theirs.
    """
    return (100 * (image * caption).sum(1)).mean().clamp(min=0)
