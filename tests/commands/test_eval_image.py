import json

import imageio.v3 as iio
import pytest
import torch

from clipopt.cli import main
from clipopt.evaluation.mesh import bare_bank, read_solids, solid_bank, solid_prompts
from clipopt.io import folders
from clipopt.pipelines.kinds import SUITS


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
    assert iio.imread(here / "measured" / "picture-011.png").shape == (24, 24, 3)


def test_every_scorer_is_reported(towers, here, capsys):
    scorer, judge = towers[1], towers[3]
    options = [
        "--scorer",
        scorer,
        "--scorer",
        judge,
        "--judge",
        judge,
        "--prompts",
        "2",
        "--seeds",
        "1",
        "--steps",
        "1",
    ]
    assert main(["eval", "image", *options, "--steps", "1", "--size", "16", "--crops", "1", "--out", "measured"]) == 0
    said = capsys.readouterr().out.splitlines()
    summary = json.loads((here / "measured" / "summary.json").read_text())
    assert [*summary["r_precision"]] == [*summary["fingerprints"]] == ["scorer", "scorer 1", "judge"]
    assert summary["fingerprints"]["scorer 1"] == summary["fingerprints"]["judge"] != summary["fingerprints"]["scorer"]
    assert summary["r_precision"]["scorer 1"] == summary["r_precision"]["judge"]
    assert [line.split(":")[0] for line in said[:3]] == [
        "R-Precision@1 by the scorer scorer", "R-Precision@1 by the scorer 1 judge", "R-Precision@1 by the judge judge"
    ]  # fmt: skip
    row = json.loads((here / "measured" / "pictures.jsonl").read_text().splitlines()[0])
    assert row["scorer 1"] == row["judge"]


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


def test_meshes_are_measured_with_and_without_colours(towers, here, capsys):
    options = ["--prompts", "2", "--seeds", "1", "--steps", "2", "--faces", "320", "--remesh", "0", "--size", "16"]
    assert main(["eval", "mesh", *towers, *options, "--views", "2", "--batch", "1", "--out", "m", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert json.loads((here / "m" / "summary.json").read_text()) == summary
    assert summary["meshes"] == 2
    for key in ("captions", "captions_of_solids"):
        assert min(summary[key].values()) >= 100
    assert summary["captions"]["bare shape"] >= summary["captions_of_solids"]["bare shape"]
    for name in ("scorer", "judge"):
        for look in ("colour", "bare shape"):
            for among in ("r_precision", "r_precision_among_solids"):
                everything = summary[among][name][look]["all"]
                low, high = everything["interval"]
                assert everything["pictures"] == 2
                assert low <= everything["share"] <= high
    rows = [json.loads(line) for line in (here / "m" / "meshes.jsonl").read_text().splitlines()]
    assert len(rows) == 2
    assert {row["seed"] for row in rows} == {0}
    assert all(-1 <= row["judge"][look]["cosine"] <= 1 for row in rows for look in ("colour", "bare shape"))
    assert len(list((here / "m").glob("mesh-*.glb"))) == 2
    assert iio.imread(here / "m" / "sheet.png").shape[2] == 3


def test_the_suite_of_solids_is_large_enough():
    assert len(solid_prompts()) >= 32
    texts = [prompt.text for prompt in solid_bank()]
    assert len(set(texts)) == len(texts) >= 100
    assert {prompt.text for prompt in solid_prompts()} <= set(texts)


class Naming:
    """Calls every picture by the caption whose number its first pixel tells."""

    name, image_size, head, fingerprint = "naming", 4, "softmax", "0"

    def logits(self, image, text):
        return image @ text.T

    def encode_text(self, texts):
        self.count = len(texts)
        return torch.eye(self.count)

    def encode_image(self, images):
        return torch.eye(self.count)[(images[:, 0, 0, 0] * 10_000).round().long()]


def test_a_bare_shape_is_named_by_its_noun_and_a_coloured_one_by_its_prompt():
    asked = next(prompt for prompt in solid_prompts() if prompt.text == "an orange pumpkin")

    def read(said, *, bare=False, solids=False):
        texts = [prompt.text for prompt in (bare_bank if bare else solid_bank)(solids=solids)]
        views = torch.full((2, 3, 4, 4), texts.index(said) / 10_000)
        return read_solids(Naming(), [views], [asked], bare=bare, solids=solids)[0].right

    assert read("an orange pumpkin")
    assert read("an orange pumpkin", solids=True)
    assert not read("a banana")
    assert read("a gray pumpkin", bare=True)
    assert read("a gray pumpkin", bare=True, solids=True)
    assert not read("a gray banana", bare=True)


def test_every_bare_shape_competes_in_gray():
    for solids in (False, True):
        assert all(prompt.scene.colour == "gray" for prompt in bare_bank(solids=solids))
        known = {prompt.scene.concept for prompt in bare_bank(solids=solids)}
        assert {prompt.scene.concept for prompt in solid_prompts()} <= known


@pytest.mark.parametrize(
    "options", [["--prompts", "99"], ["--steps", "0"], ["--mesh", "a.obj"], ["--faces", "4"], ["--views", "0"]]
)
def test_bad_input_for_meshes_is_refused_in_one_line(towers, here, capsys, options):
    assert main(["eval", "mesh", *towers, *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not list(here.iterdir())


def test_one_measurement_at_a_time_writes_a_folder(towers, here, capsys):
    (here / "run").mkdir()
    with folders.writing(here / "run"):
        assert main(["eval", "image", *towers, "--prompts", "1", "--steps", "1", "--size", "16", "--out", "run"]) == 2
    assert "another process" in capsys.readouterr().err
    assert [path.name for path in (here / "run").iterdir()] == [".lock"]
