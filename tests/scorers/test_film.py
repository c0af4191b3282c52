"""The scorer of films: order matters, gradients flow, files come back."""

import pytest
import torch

from clipopt.scorers import load_scorer
from clipopt.scorers.film import FilmConfig, FilmTowers, load_film_scorer
from clipopt.scorers.tower import TowerConfig
from clipopt.types import generator

TOWERS = TowerConfig(
    image_size=16, widths=(8, 16), depths=(1, 1), dim=16, text_width=16, text_layers=1,
    vocabulary=("a", "person", "walking")
)  # fmt: skip


@pytest.fixture(params=["attention", "recurrent"])
def scorer(request, tmp_path):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = FilmTowers(TOWERS, FilmConfig(frames=5, kind=request.param, width=16, layers=1))
        torch.nn.init.normal_(model.head.last.weight, std=0.3)
    model.save(tmp_path / "film.safetensors")
    return load_scorer(str(tmp_path / "film.safetensors"))


def test_sees_order_and_gives_gradients(scorer):
    films = torch.rand(2, 5, 3, 16, 16, generator=generator(0)).requires_grad_(True)
    rows = scorer.encode_video(films)
    assert rows.shape == (2, 16)
    torch.testing.assert_close(rows.norm(dim=1), torch.ones(2))
    assert float((rows - scorer.encode_video(films.flip(1))).detach().norm(dim=1).min()) > 1e-3
    rows[0, 0].backward()
    assert float(films.grad[0].abs().amin((1, 2, 3)).amin()) >= 0
    assert bool((films.grad[0].abs().sum((1, 2, 3)) > 0).all())
    assert float(films.grad[1].abs().sum()) == 0  # no film sees its neighbour
    torch.testing.assert_close(scorer.encode_image(films[:, 0]).norm(dim=1), torch.ones(2))


def test_takes_the_frames_it_was_made_for(scorer):
    with pytest.raises(ValueError, match="takes 5 frames"):
        scorer.encode_video(torch.rand(1, 4, 3, 16, 16))
    assert scorer.unknown_words("a person flying") == ["flying"]


def test_an_untrained_head_is_the_mean_of_the_frames():
    model = FilmTowers(TOWERS, FilmConfig(frames=5, width=16, layers=1))
    rows = torch.nn.functional.normalize(torch.randn(3, 5, 16, generator=generator(1)), dim=-1)
    expected = torch.nn.functional.normalize(rows.mean(1), dim=-1)
    torch.testing.assert_close(model.head(rows), expected)


def test_a_file_that_is_none_says_so(tmp_path):
    with pytest.raises(ValueError, match="no such film scorer file"):
        load_film_scorer(tmp_path / "none.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(ValueError, match="no readable"):
        load_film_scorer(tmp_path / "bad.safetensors")
