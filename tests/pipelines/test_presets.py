"""Settings by the kind of scorer: which one is taken, and who overrides it."""

import json
from pathlib import Path

import pytest

from clipopt.cli import main
from clipopt.pipelines.image.presets import BOTH, NATURAL, REAL, SETTLED, SMALL, kind_of, settle


@pytest.mark.parametrize(
    ("spec", "kind", "table"),
    [
        ("embedded", "robust", SMALL),
        ("embedded-plain", "plain", SMALL),
        ("plain/mine.safetensors", "robust", SMALL),
        ("models/my-plain.safetensors", "plain", SMALL),
        ("openai/clip-vit-base-patch32", "plain", REAL),
        ("google/siglip2-base-patch16-naflex", "plain", REAL),
        ("open_clip:ViT-B-32/laion2b_s34b_b79k", "plain", REAL),
        ("open_clip:ViT-B-32/embedded.safetensors", "plain", REAL),
        ("natural", "natural", REAL),
        ("natural:lite0", "natural", REAL),
        ("hf-hub:chs20/fare2-clip", "robust", REAL),
        ("hf-hub:chs20/tecoa2-clip", "robust", REAL),
        ("open_clip:ViT-B-32/CLIPAG.pt", "robust", REAL),
    ],
)
def test_the_name_tells_the_kind(spec, kind, table):
    assert kind_of(spec) == kind
    settled = settle([spec], "auto", {})
    assert settled.keys() == set(SETTLED)
    own = {name: value for name, value in vars(table[kind]).items() if value is not None}
    assert own.items() <= settled.items()


def test_robust_scorers_start_from_near_grey_and_plain_ones_get_a_prior_and_many_views():
    assert {SMALL["robust"].param, REAL["robust"].param} <= {"pyramid", "pixels"}
    assert SMALL["plain"].param == REAL["plain"].param == "fourier"
    assert min(REAL["plain"].crops, REAL["robust"].crops) >= 32
    assert all(preset.smooth > 0 for preset in (*SMALL.values(), *REAL.values()))


def test_a_person_knows_better():
    assert settle(["./clip"], "robust", {})["param"] == "pixels"
    assert settle(["embedded"], "plain", {})["param"] == "fourier"
    given = {"param": "palette", "crops": 5, "smooth": 0.0, "lr": 0.2, "steps": None}
    settled = settle(["./clip"], "auto", given)
    assert (settled["param"], settled["crops"], settled["smooth"], settled["lr"]) == ("palette", 5, 0.0, 0.2)
    assert settled["steps"] == settle(["embedded"], "auto", {"param": "palette"})["steps"]
    assert settled["cutouts"] == "overview"


def test_with_the_scorer_in_the_package_pictures_begin_at_a_sample_of_the_small_generator():
    for param in ("palette", "strokes", "prior"):
        assert settle(["embedded"], "auto", {"param": param})["begin"] == "sketch"
    assert settle(["embedded"], "auto", {"param": "strokes", "begin": "noise"})["begin"] == "noise"
    assert settle(["./clip"], "auto", {"param": "pixels"})["begin"] == "noise"


def test_a_small_scorer_and_a_natural_one_have_settings_of_their_own():
    both, alone = settle(["embedded", "natural"], "auto", {}), settle(["natural"], "auto", {})
    assert (both["begin"], both["tries"]) == (BOTH.begin, BOTH.tries) == ("sketch", 4)
    assert (alone["begin"], alone["steps"]) == ("noise", NATURAL.steps)
    assert both["statistics"] == alone["statistics"] > 0
    assert settle(["embedded", "natural"], "robust", {})["param"] == "pyramid"
    given = settle(["embedded", "natural"], "auto", {"param": "pyramid", "statistics": 0.1})
    assert (given["steps"], given["lr"], given["statistics"]) == (120, 0.1, 0.1)


def test_statistics_and_centre_are_for_natural_scorers():
    asked = {"statistics": 2.0, "centre": 0.5}
    for specs in (["embedded"], ["embedded", "./clip"]):
        for name, value in asked.items():
            with pytest.raises(ValueError, match=f"--{name} is for natural scorers: add --scorer natural"):
                settle(specs, "auto", {name: value})
        # As a run of such scorers has them in its config.json.
        assert settle(specs, "auto", dict.fromkeys(asked, 0.0))["statistics"] == 0
    settled = settle(["./clip", "natural"], "auto", asked)
    assert (settled["statistics"], settled["centre"]) == (2.0, 0.5)


@pytest.mark.parametrize("kind", ["robust", "plain", "auto"])
@pytest.mark.parametrize("specs", [["embedded", "natural"], ["natural", "embedded"], ["./clip", "natural:lite0"]])
def test_whatever_the_preset_a_natural_scorer_keeps_its_statistics(specs, kind):
    settled = settle(specs, kind, {})
    assert (settled["statistics"], settled["centre"]) == (NATURAL.statistics, NATURAL.centre)
    settled = settle(specs, kind, {"statistics": 0.0, "centre": 0.0})
    assert (settled["statistics"], settled["centre"]) == (0, 0)


@pytest.mark.parametrize("kind", ["auto", "robust", "plain", "natural"])
def test_the_order_of_both_small_scorers_changes_no_setting(kind):
    assert settle(["embedded", "natural"], kind, {}) == settle(["natural", "embedded"], kind, {})


@pytest.mark.parametrize(
    "wrong", [{"crops": 0}, {"smooth": -1.0}, {"text_off": float("nan")}, {"lr": 0.0}, {"statistics": -1.0}]
)
def test_wrong_values_are_named(wrong):
    with pytest.raises(ValueError, match=f"--{next(iter(wrong)).replace('_', '-')} must be"):
        settle(["embedded"], "auto", wrong)


def test_dry_run_and_config_say_what_was_taken(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    options = ["a fox", *towers[:2], "--judge", "none", "--size", "16", "--steps", "2", "--quiet"]
    assert main(["image", *options, "--preset", "plain", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "preset  plain" in said
    assert "fourier, 8 crops" in said
    assert main(["image", *options, "--preset", "plain", "--crops", "3", "--out", "run"]) == 0
    config = json.loads((here / "run" / "config.json").read_text())["config"]
    assert {name: config[name] for name in SETTLED} == settle(["embedded"], "plain", {"crops": 3, "steps": 2})
    assert main(["image", "--resume", "run", "--quiet"]) == 0


def test_help_teaches_the_presets(capsys: pytest.CaptureFixture):
    with pytest.raises(SystemExit):
        main(["image", "--help"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for kind in ("robust", "plain"):
        for preset in (SMALL[kind], REAL[kind]):
            assert f"--param {preset.param} --crops {preset.crops}" in said
