"""The models in the package: small, independent, and able to do what the README says."""

import zlib
from importlib.resources import as_file, files

import pytest

from clipopt.embedded.captions import shape_number
from clipopt.embedded.concepts import SHAPES, concepts, learnt
from clipopt.embedded.grammar import WorldGrammar
from clipopt.evaluation.mesh import solid_bank
from clipopt.evaluation.shares import evenly
from clipopt.evaluation.suite import bank, prompts, read
from clipopt.pipelines.image.loop import ImageLoop
from clipopt.pipelines.image.plan import ImagePlan
from clipopt.pipelines.kinds import Begin
from clipopt.pipelines.views import Item
from clipopt.scorers import load_scorer


@pytest.fixture(scope="module", params=["embedded", "embedded-judge", "embedded-plain"])
def scorer(request):
    return load_scorer(request.param)


def test_the_package_is_small():
    """All of it as an archive packs it, which is what a user downloads."""
    package = files("clipopt")
    names = {p.name for p in package.joinpath("embedded/weights").iterdir() if p.name.endswith(".safetensors")}
    models = ("scorer", "judge", "plain", "motion", "motion-judge", "describer", "sketcher")
    assert names == {f"{model}.safetensors" for model in models}
    with as_file(package) as folder:
        packed = sum(
            len(zlib.compress(path.read_bytes(), 1))
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".pyc"
        )
    assert packed < 45e6


def test_scorer_and_judge_are_strangers():
    one, other = load_scorer("embedded"), load_scorer("embedded-judge")
    assert one.fingerprint != other.fingerprint
    assert one.towers.config.widths != other.towers.config.widths
    assert one.metadata["world"] != other.metadata["world"]


def test_they_know_the_vocabulary_of_their_training(scorer):
    """The world may have grown since; its newer concepts stay out of prompts until a training has shown them."""
    for number in learnt():
        concept = concepts()[number]
        assert scorer.unknown_words(f"{concept.noun} {concept.plural or ''}") == [], concept
    assert len(learnt()) == len(concepts())
    assert {shape_number(s) for s in SHAPES} <= set(learnt())
    texts = [p.text for p in (*bank(), *solid_bank())] + WorldGrammar().typical()
    assert scorer.unknown_words(" ".join(texts)) == []
    assert scorer.unknown_words("a zeppelin") == ["zeppelin"]


@pytest.mark.parametrize(
    ("begin", "count", "steps", "tries", "least"),
    [
        ("sketch", 6, 8, 1, 5),
        pytest.param("sketch", 12, 24, 2, 9, marks=pytest.mark.slow),
        pytest.param("noise", 12, 60, 1, 5, marks=pytest.mark.slow),
    ],
)
def test_the_judge_reads_what_the_scorer_drew(begin: Begin, count: int, steps: int, tries: int, least: int):
    """`clipopt eval image` in small: the guard against changes that spoil the pictures.

    Sketches can be read before anything is optimized, noise cannot: of twelve the judge had 12 and 8 when this was
    written.
    """
    chosen = evenly(prompts(), count)
    scorer, judge = load_scorer("embedded"), load_scorer("embedded-judge")
    items = [Item({p.text: 1.0}, 0, p.text) for p in chosen]
    drawing = ImageLoop(ImagePlan(128, 128, steps=steps, crops=4, begin=begin, tries=tries), items, scorer)
    for _ in drawing.draw():
        pass
    right = [r.right for r in read(judge, drawing.best.images, chosen)]
    assert sum(right) >= least, [p.text for p, r in zip(chosen, right, strict=True) if not r]
