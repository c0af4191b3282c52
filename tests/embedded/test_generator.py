"""The embedded generator that ships."""

from importlib.resources import as_file, files

from clipopt import diffusion
from clipopt.pipelines.latent.loop import LatentLoop
from clipopt.pipelines.latent.methods import settle
from clipopt.pipelines.views import Item
from clipopt.scorers import load_scorer


def test_the_generator_in_the_package_is_small_and_optimization_improves_what_it_draws():
    folder = files("clipopt").joinpath("embedded/weights/generator")
    with as_file(folder) as path:
        assert sum(each.stat().st_size for each in path.rglob("*") if each.is_file()) < 20e6
    asked = ["a penguin", "three yellow stars"]
    scorer, judge = load_scorer("embedded"), load_scorer("embedded-judge")
    plan = settle("latent", "embedded", diffusion.load.facts_of("embedded"), {"steps": 8, "crops": 2, "tries": 1})
    items = [Item({text: 1.0}, 0, text) for text in asked]
    making = LatentLoop(plan, items, asked, [scorer], diffusion.load_pipeline("embedded"), judge=judge)
    assert making.before.shape == (2, 3, 96, 96)
    for _ in making.draw():
        pass
    for role, least in (("score", 0.1), ("judge", 0.0)):
        assert float((making._score(making.best.images, role) - making._score(making.before, role)).mean()) > least
