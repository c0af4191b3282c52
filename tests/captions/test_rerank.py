import numpy as np
import pytest
import torch
from toy import ToyScorer

from clipopt.captions import Candidate, Captioner, Weights, encode_views, probabilities
from clipopt.types import generator

TEXTS = ["a fox", "a dog", "two cats", "a red house", "the sea", "a tree"]
PICTURES = list(torch.rand(3, 3, 20, 24, generator=generator(0)))


def listed(texts=TEXTS, likelihood=None):
    def generate(pictures, embeddings):
        return [[Candidate(t, "list", likelihood and likelihood[i]) for i, t in enumerate(texts)] for _ in pictures]

    return generate


def numpy_rows(pictures):
    images = ToyScorer().encode_image(torch.stack(list(pictures))).numpy()
    return images, ToyScorer().encode_text(TEXTS).numpy()


def test_match_is_the_cosine_and_orders_the_captions():
    images, texts = numpy_rows(PICTURES)
    for row, best in zip(images, Captioner(ToyScorer(), [listed()])(PICTURES, 99), strict=True):
        cosine = texts @ row
        assert [c.text for c in best] == [TEXTS[i] for i in np.argsort(-cosine)]
        assert [c.score for c in best] == pytest.approx(sorted(cosine, reverse=True), abs=1e-5)
        odds = np.exp(100 * (cosine - cosine.max()))
        assert [c.probability for c in best] == pytest.approx(sorted(odds / odds.sum(), reverse=True), abs=1e-4)


def test_every_part_is_what_it_says():
    images, texts = numpy_rows(PICTURES[:1])
    background = ToyScorer().encode_text(["hub"])[0]
    weights = Weights(prior=0.4, consensus=0.3, likelihood=0.1)
    captioner = Captioner(
        ToyScorer(), [listed()], weights, background=background, language=lambda said: [-float(len(t)) for t in said]
    )
    (best,) = captioner(PICTURES[:1], 99)
    alike = texts @ texts.T
    for caption in best:
        i = TEXTS.index(caption.text)
        expected = {
            "match": texts[i] @ images[0],
            "prior": -0.4 * texts[i] @ background.numpy(),
            "consensus": 0.3 * (alike[i].sum() - 1) / (len(TEXTS) - 1),
            "likelihood": -0.1 * len(caption.text),
        }
        assert caption.parts == pytest.approx(expected, abs=1e-5)
        assert caption.score == pytest.approx(sum(expected.values()), abs=1e-5)
    assert [c.score for c in best] == sorted((c.score for c in best), reverse=True)


def test_an_unknown_likelihood_neither_helps_nor_harms():
    likelihood = [-1.0, -3.0, None, None, None, None]
    (best,) = Captioner(ToyScorer(), [listed(likelihood=likelihood)], Weights(likelihood=1.0))(PICTURES[:1], 99)
    parts = {c.text: c.parts["likelihood"] for c in best}
    assert parts == pytest.approx({t: -2.0 if v is None else v for t, v in zip(TEXTS, likelihood, strict=True)})


def test_views_are_averaged():
    (views,) = encode_views(ToyScorer(), PICTURES[:1], 5)
    assert views.shape == (5, 24)
    height, width = 18, 21
    corner = PICTURES[0][None, :, 20 - height :, 24 - width :]
    torch.testing.assert_close(views[4], ToyScorer().encode_image(corner)[0])
    (best,) = Captioner(ToyScorer(), [listed()], views=5)(PICTURES[:1], 1)
    mean = ToyScorer().encode_text(TEXTS) @ views.mean(0)
    assert best[0].score == pytest.approx(float(mean.max()), abs=1e-5)


def test_pictures_of_several_sizes_in_one_batch():
    mixed = [PICTURES[0], torch.rand(3, 9, 9, generator=generator(1)), PICTURES[1]]
    rows = encode_views(ToyScorer(), mixed)[:, 0]
    for picture, row in zip(mixed, rows, strict=True):
        torch.testing.assert_close(row, ToyScorer().encode_image(picture[None])[0])


def test_the_second_stage_ranks_the_best_again():
    asked = []

    def second(picture, texts):
        asked.append(list(texts))
        return [float(text == texts[-1]) for text in texts]

    first = Captioner(ToyScorer(), [listed()])(PICTURES[:1], 99)[0]
    captioner = Captioner(ToyScorer(), [listed()], Weights(second=9.0, stage=3), second=second)
    (best,) = captioner(PICTURES[:1], 99)
    assert asked == [[c.text for c in first[:3]]]
    assert [c.text for c in best] == [first[i].text for i in (2, 0, 1)]
    assert best[0].parts["second"] == 9.0
    assert sum(c.probability for c in best) < 1 + 1e-6


def test_diversity_keeps_twins_apart():
    row = ToyScorer().encode_image(PICTURES[0][None])[0]
    rows = {
        "it": row,
        "its twin": torch.nn.functional.normalize(row + 0.01 * torch.ones(24), dim=0),
        "another": torch.nn.functional.normalize(row + 0.5 * torch.randn(24, generator=generator(3)), dim=0),
    }

    class Known(ToyScorer):
        def encode_text(self, texts):
            return torch.stack([rows[text] for text in texts])

    def order(diversity):
        captioner = Captioner(Known(), [listed(list(rows))], Weights(diversity=diversity))
        return [c.text for c in captioner(PICTURES[:1], 3)[0]]

    assert order(0.0) == ["it", "its twin", "another"]
    assert order(2.0) == ["it", "another", "its twin"]


def test_polished_candidates_compete():
    def polish(best):
        assert len(best) == 2
        return [Candidate(f"{c.text} at night", "polish") for c in best] + [best[0]]

    (best,) = Captioner(ToyScorer(), [listed()], Weights(stage=2), polish=polish)(PICTURES[:1], 99)
    assert len(best) == len(TEXTS) + 2
    assert sum(c.source == "polish" for c in best) == 2


def test_a_caption_does_not_depend_on_the_other_pictures():
    captioner = Captioner(ToyScorer(), [listed()], views=2)
    together = captioner(PICTURES, 2)
    assert [[c.text for c in captioner([p], 2)[0]] for p in PICTURES] == [[c.text for c in best] for best in together]


def test_equal_texts_are_one_candidate_and_none_is_none():
    captioner = Captioner(ToyScorer(), [listed(["a fox", "a fox"]), listed(["a fox", " "])])
    assert [c.text for c in captioner(PICTURES[:1], 9)[0]] == ["a fox"]
    assert Captioner(ToyScorer(), [listed([])])(PICTURES[:1]) == [[]]
    assert captioner([]) == []


@pytest.mark.parametrize(("generators", "views"), [([], 1), ([listed()], 0), ([listed()], 6)])
def test_wrong_settings(generators, views):
    with pytest.raises(ValueError, match=r"expected at least one|views must be"):
        Captioner(ToyScorer(), generators, views=views)


@pytest.mark.parametrize("head", ["softmax", "sigmoid"])
def test_probabilities_follow_the_head(head):
    image, text = ToyScorer().encode_image(torch.stack(PICTURES)), ToyScorer().encode_text(TEXTS)
    logits = 100 * image.numpy() @ text.numpy().T
    found = probabilities(ToyScorer(head=head), image, text).numpy()
    if head == "sigmoid":
        np.testing.assert_allclose(found, 1 / (1 + np.exp(-logits)), atol=1e-4)
    else:
        odds = np.exp(logits - logits.max(1, keepdims=True))
        np.testing.assert_allclose(found, odds / odds.sum(1, keepdims=True), atol=1e-4)
