"""What holds for the package as a whole: shapes are checked in tests, and public names are those that the docs know."""

import doctest
import importlib
from pathlib import Path

import pytest
import torch
from jaxtyping import TypeCheckError

import clipopt as co
from clipopt.pipelines.checks import resolve_device

PUBLIC = {
    "clipopt": """
        Ensemble Matching Scorer Step Target adapt augment captions diffusion evaluation generator io load_image
        load_mesh load_scorer losses optimize params pipelines render save save_mesh search target text_off
    """,
    "clipopt.adapt": """
        Examples METHODS Method Options TEMPLATES adapt check_method check_templates choose_shots encode_pictures
        save_adapter unread zero_shot
    """,
    "clipopt.augment": """
        Augment Draw Padding affine backdrop blur color compose concat crops cutout details mix noise overview
        overview_to_detail perspective rows warp wide_and_zoom
    """,
    "clipopt.captions": """
        Beam Candidate Caption Captioner Classes Corpus Generator Grammar Template TextEncoder TwoThings Weights
        encode_views probabilities
    """,
    "clipopt.diffusion": """
        Chain ChainNoise Coder Latents Noise Sampler free_dom in_turn load_coder load_pipeline norm_prior universal
        whiteness
    """,
    "clipopt.losses": """
        Aesthetic CLIPSCORE_PREFIX CLIPSCORE_WEIGHT CLIP_SCALE_INIT CLIP_SCALE_MAX SIGLIP_BIAS_INIT SIGLIP_SCALE_INIT
        border cosine directional edge_strength edges l2 load_aesthetic palette perceptual range_penalty saturation
        sigmoid softmax spherical symmetry total_variation
    """,
    "clipopt.params": """
        DeepPrior Fourier GivenLook Jacobians LargeSteps NormalField Palette Phases Pixels Pyramid Siren Strokes Surface
        Texture VertexColors Vertices
    """,
    "clipopt.pipelines": """
        Film Image Latent Mesh Motion Pipeline Progress Result
    """,
    "clipopt.scorers": """
        Abstains KnowsPercentiles KnowsWords Perceives ReadsCharacters Reentrant Scorer SeesFilms Target at_a_time
        load_scorer target text_off
    """,
    "clipopt.search": """
        Index combine duplicates search
    """,
}
"""What users import. A name that goes breaks their code, so it goes on purpose."""


def test_shapes_in_signatures_are_checked_under_test():
    with pytest.raises(TypeCheckError):
        co.load_scorer("embedded").towers.image(torch.rand(3, 64, 64))


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names(module: str):
    there = importlib.import_module(module)
    assert set(there.__all__) == set(PUBLIC[module].split())
    assert all(hasattr(there, name) for name in there.__all__)


def test_auto_is_a_device_that_can_do_the_work(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto").type in ("cpu", "mps")
    if not torch.backends.mps.is_available():
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
        assert resolve_device("auto").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"


EXAMPLES = [
    path for path in sorted(Path(co.__file__).parent.rglob("*.py")) if ">>> " in path.read_text(encoding="utf-8")
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_examples_are_true(path: Path):
    parts = path.relative_to(Path(co.__file__).parents[1]).with_suffix("").parts
    module = importlib.import_module(".".join(parts).removesuffix(".__init__"))
    found = doctest.testmod(module)
    assert found.attempted > 0
    assert found.failed == 0


def test_there_are_examples_of_what_is_used_most():
    names = (co.load_scorer, co.target, co.optimize, co.generator, co.augment.crops, co.losses.cosine)
    assert [name.__name__ for name in names if ">>> " not in (name.__doc__ or "")] == []
