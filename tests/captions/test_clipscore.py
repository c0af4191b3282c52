"""Against the published definitions, written again in NumPy."""

import numpy as np
import pytest
import torch

from clipopt.captions.clipscore import clipscore, prefixed, ref_clipscore, torchmetrics_clipscore
from clipopt.types import generator


def rows(count, seed):
    return torch.nn.functional.normalize(torch.randn(count, 8, generator=generator(seed)), dim=1)


IMAGES, CAPTIONS = rows(50, 0), rows(50, 1)
REFERENCES = [rows(1 + i % 4, 100 + i) for i in range(50)]


def cosines():
    return np.array([np.dot(a, b) for a, b in zip(IMAGES.numpy(), CAPTIONS.numpy(), strict=True)])


def test_clipscore():
    expected = 2.5 * np.clip(cosines(), 0, None)
    assert (expected == 0).any()
    np.testing.assert_allclose(clipscore(IMAGES, CAPTIONS).numpy(), expected, atol=1e-6)


def test_ref_clipscore():
    one = 2.5 * np.clip(cosines(), 0, None)
    other = np.array([max(float(np.max(r.numpy() @ c)), 0) for r, c in zip(REFERENCES, CAPTIONS.numpy(), strict=True)])
    assert ((one == 0) & (other == 0)).any()
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(2 * one * other / (one + other))
    np.testing.assert_allclose(ref_clipscore(IMAGES, CAPTIONS, REFERENCES).numpy(), expected, atol=1e-6)


def test_a_caption_that_is_its_own_reference():
    same = ref_clipscore(CAPTIONS, CAPTIONS, [row[None] for row in CAPTIONS])
    np.testing.assert_allclose(same.numpy(), 2 * 2.5 / 3.5, atol=1e-5)


def test_torchmetrics_clips_the_mean_and_not_the_scores():
    assert float(torchmetrics_clipscore(IMAGES, CAPTIONS)) == pytest.approx(max(100 * cosines().mean(), 0), abs=1e-4)
    near = IMAGES.clone()
    near[0] = -near[0]
    assert float(torchmetrics_clipscore(IMAGES, near)) == pytest.approx(100 * 48 / 50, abs=1e-3)
    assert float(torchmetrics_clipscore(IMAGES, -IMAGES)) == 0


def test_prefix():
    assert prefixed(["a dog"]) == ["A photo depicts a dog"]


def test_no_references_are_refused():
    with pytest.raises(ValueError, match="one reference or more"):
        ref_clipscore(IMAGES[:1], CAPTIONS[:1], [rows(0, 2)])
