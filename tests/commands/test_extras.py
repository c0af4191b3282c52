"""What pictures should be beside what the prompt says: every term on the command line, and what it does."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from toy import ToyScorer

from clipopt import losses
from clipopt.cli import main
from clipopt.io import files
from clipopt.pipelines.edits import Edit
from clipopt.pipelines.extras import Extras
from clipopt.pipelines.image.loop import ImageLoop, ImagePlan, Item
from clipopt.pipelines.penalties import load_penalties
from clipopt.types import generator

PLAN = ImagePlan(20, 14, "pixels", steps=10, crops=4, smooth=0.0)
QUICK = ["--judge", "none", "--size", "20x14", "--steps", "3", "--crops", "2", "--quiet"]


def noise(*key: int) -> torch.Tensor:
    return torch.rand(1, 3, 14, 20, generator=generator(*key))


def shrunk(images: torch.Tensor) -> torch.Tensor:
    """As coarse as a scorer of 7 pixels sees it."""
    return torch.nn.functional.interpolate(images, (7, 10), mode="bilinear", antialias=True)


def drawing(extras: Extras, init: torch.Tensor, palette: str = "16", image_size: int = 16) -> ImageLoop:
    scorer = ToyScorer(image_size=image_size)
    loaded = load_penalties(extras, scorer, palette, has_init=True)
    return ImageLoop(PLAN, [Item({"a fox": 1.0}, 0, "")], scorer, edit=Edit(init=init), extras=loaded)


def terms(extras: Extras, init: torch.Tensor, palette: str = "16", image_size: int = 16) -> dict[str, float]:
    found = drawing(extras, init, palette, image_size).loss(0, generator(0, 0))
    return {name: float(term.detach()) for name, term in found.items()}


def head(path: Path, size: int = ToyScorer.dim) -> Path:
    save_file({"layers.0.weight": torch.ones(1, size), "layers.0.bias": torch.zeros(1)}, path)
    return path


def test_nothing_asked_for_is_no_term():
    assert terms(Extras(), noise(1)).keys() == {"match"}


def test_symmetry_is_a_term_of_its_own():
    lopsided = noise(1)
    assert terms(Extras(symmetry=3.0), (lopsided + lopsided.flip(-1)) / 2)["symmetry"] == pytest.approx(0, abs=1e-6)
    assert terms(Extras(symmetry=3.0), lopsided)["symmetry"] > 0.1


def test_every_term_is_the_loss_of_that_name_with_its_weight(tmp_path: Path):
    image, other = noise(1), noise(2)
    files.save(tmp_path / "other.png", other)
    asked = Extras(
        saturation=0.5, border=2.0, few_colours=3.0, edges=tmp_path / "other.png", edge_weight=0.7, likeness=1.5,
        aesthetic=str(head(tmp_path / "head.safetensors")), aesthetic_weight=0.1,
    )  # fmt: skip
    found = terms(asked, image, "gameboy", 7)
    image = drawing(asked, image, "gameboy").pictures()
    other = files.load_image(tmp_path / "other.png")
    shades = torch.tensor([[*bytes.fromhex(c)] for c in ("0f380f", "306230", "8bac0f", "9bbc0f")]) / 255
    embedding = ToyScorer(image_size=7).encode_image(image)
    assert found == pytest.approx(
        {
            "match": found["match"],
            "saturation": -0.5 * float(losses.saturation(image)),
            "border": 2 * float(losses.border(image)),
            "few colours": 3 * float(losses.palette(image, shades)),
            "edges": 0.7 * float(losses.edges(shrunk(image), losses.edge_strength(shrunk(other)))),
            "likeness": 0.0,
            "aesthetic": 0.1 * float(10 - embedding.sum()),
        },
        abs=1e-3,
    )


@pytest.mark.parametrize("saturation", [0.5, -0.5])
def test_more_colour_or_less(saturation: float):
    made = drawing(Extras(saturation=saturation), noise(1))
    before = float(losses.saturation(made.pictures()))
    for _ in made.draw():
        pass
    assert (float(losses.saturation(made.pictures())) > before) == (saturation > 0)


def test_likeness_holds_back_what_the_scorer_sees():
    def moved(likeness: float) -> float:
        made = drawing(Extras(likeness=likeness), noise(1))
        with torch.no_grad():
            before = ToyScorer().encode_image(made.pictures())
        for _ in made.draw():
            pass
        return float((ToyScorer().encode_image(made.pictures()) - before).norm())

    assert moved(20.0) < 0.7 * moved(0.0)


def test_on_the_command_line_and_resumed(here: Path, towers: list[str]):
    files.save(here / "photo.png", noise(3))
    scorer = towers[1]
    head(here / "head.safetensors", 16)
    options = ["a fox", "--scorer", scorer, *QUICK, "--init", "photo.png", "--out", "run"]
    extras = ["--symmetry", "2", "--saturation", "-0.2", "--border", "1", "--few-colours", "1", "--palette", "cga"]
    extras += ["--edges", "photo.png", "--likeness", "0.5", "--aesthetic", "head.safetensors"]
    assert main(["image", *options, *extras, "--stages", "2"]) == 0
    line = json.loads((here / "run" / "steps.jsonl").read_text().splitlines()[0])
    asked = {"symmetry", "saturation", "border", "few colours", "edges", "likeness", "aesthetic"}
    assert line["terms"].keys() == {"match", "smooth"} | asked
    assert main(["image", "--resume", "run", "--quiet"]) == 0


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--symmetry", "-1"], "--symmetry must be 0 or more"),
        (["--likeness", "1"], "--init"),
        (["--few-colours", "1"], "--palette"),
        (["--edges", "none.png"], "none.png"),
        (["--aesthetic", "none"], "aesthetic"),
        (["--aesthetic", "head.safetensors"], "17"),
        (["--border", "nan"], "--border"),
    ],
)
def test_bad_input_is_one_line(options, reason, here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    head(here / "head.safetensors", 17)
    assert main(["image", "a fox", *towers[:2], *QUICK, *options, "--out", "run"]) == 2
    said = capsys.readouterr().err
    assert reason in said
    assert said.count("\n") == 1
    assert not (here / "run").exists()
