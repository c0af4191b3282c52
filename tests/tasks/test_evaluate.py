import json

import imageio.v3 as iio
import pytest

from clipopt.cli import main
from clipopt.tasks.kinds import SUITS


def test_it_measures_and_shows(towers, here, capsys):
    options = ["--prompts", "6", "--seeds", "2", "--steps", "2", "--size", "24", "--crops", "2", "--batch", "5"]
    assert main(["eval", "image", *towers, *options, "--out", "measured", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert json.loads((here / "measured" / "summary.json").read_text()) == summary
    assert summary["pictures"] == 12
    assert summary["captions"] >= 300
    for shares in summary["r_precision"].values():
        everything = shares.pop("all")
        assert everything["pictures"] == sum(s["pictures"] for s in shares.values()) == 12
        low, high = everything["interval"]
        assert low <= everything["share"] <= high
    rows = [json.loads(line) for line in (here / "measured" / "pictures.jsonl").read_text().splitlines()]
    assert [row["seed"] for row in rows] == [0, 1] * 6
    assert iio.imread(here / "measured" / "sheet.png").shape[2] == 3


@pytest.mark.parametrize("param", [None, "palette", "siren", "shapes"])
def test_it_measures_everything_that_can_be_learned(param, towers, here, capsys):
    chosen = [] if param is None else ["--param", param]
    options = ["--prompts", "2", "--seeds", "1", "--steps", "1", "--size", "16", "--crops", "1", *chosen, "--json"]
    assert main(["eval", "image", *towers, *options, "--preset", "plain", "--out", "measured"]) == 0
    plan = json.loads(capsys.readouterr().out)["plan"]
    assert (plan["param"], plan["crops"]) == (param or "fourier", 1)
    assert plan["lr"] == SUITS[plan["param"]][1]


def test_the_batch_changes_no_picture(towers, here):
    common = ["eval", "image", *towers, "--prompts", "3", "--seeds", "1", "--steps", "2", "--size", "24", "--json"]
    readings = []
    for batch in ("1", "3"):
        assert main([*common, "--batch", batch, "--out", f"by-{batch}"]) == 0
        lines = (here / f"by-{batch}" / "pictures.jsonl").read_text().splitlines()
        readings.append([json.loads(line)["scorer"]["cosine"] for line in lines])
    assert readings[0] == pytest.approx(readings[1], abs=1e-4)


@pytest.mark.parametrize(
    "options", [["--prompts", "0"], ["--prompts", "9999"], ["--steps", "-1"], ["--judge", "nobody"], ["--smooth", "-1"]]
)
def test_bad_input_is_refused_in_one_line(towers, here, capsys, options):
    assert main(["eval", "image", *towers, *options]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert not list(here.iterdir())
