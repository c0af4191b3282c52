"""`clipopt mesh` as a user runs it; its files opened."""

import itertools
import json
import re
import signal
import zipfile
from base64 import b64decode, b64encode
from dataclasses import replace
from functools import partial
from hashlib import sha256
from html.parser import HTMLParser
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image as Picture
from toy import ToyScorer

from clipopt.cli import _settings, main
from clipopt.commands.mesh import Mesh as MeshCommand
from clipopt.geometry.mesh import Mesh, Place, icosphere
from clipopt.io import mesh as meshes
from clipopt.pipelines.mesh import loop as sculpting
from clipopt.pipelines.mesh import results as solids
from clipopt.pipelines.mesh.loop import MeshLoop
from clipopt.pipelines.mesh.plan import MeshPlan
from clipopt.pipelines.mesh.results import around, shown
from clipopt.pipelines.mesh.staging import Staging
from clipopt.pipelines.views import Item
from clipopt.record import Run
from clipopt.render.views import Views
from clipopt.scorers import load_scorer
from clipopt.types import generator

QUICK = ["--steps", "4", "--faces", "320", "--remesh", "1", "--views", "2", "--size", "24", "--device", "cpu"]


def mesh(*arguments: str | Path) -> int:
    return main(["mesh", *map(str, arguments)])


def summary_of(folder: Path) -> dict:
    return json.loads((folder / "summary.json").read_text())


def log(folder: Path) -> list[dict]:
    lines = [json.loads(line) for line in (folder / "steps.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    return lines


def pixels(path: Path) -> np.ndarray:
    with Picture.open(path) as picture:
        return np.asarray(picture.convert("RGB")).astype(int)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        self.tags.append((tag, dict(attributes)))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less to look at in the end; what `whole` made is not touched."""
    monkeypatch.setattr(solids, "_TURN_FRAMES", 3)
    monkeypatch.setattr(solids, "_TURN_SIDE", 32)
    monkeypatch.setattr(sculpting, "PICTURE_SIDE", 48)
    monkeypatch.setattr(sculpting, "FRAME_SIDE", 32)
    monkeypatch.setattr(sculpting, "sheet", partial(solids.sheet, size=32))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, towers: list[str]) -> Path:
    """A run of one prompt from start to end."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert mesh("a red apple", *QUICK, *towers, "--out", folder, "--quiet") == 0
    return folder


def test_models_open_and_are_the_same_thing(whole: Path):
    parts = {suffix: trimesh.load(whole / f"result.{suffix}", force="mesh") for suffix in ("glb", "obj", "ply")}
    for suffix, part in parts.items():
        assert part.bounds == pytest.approx(parts["glb"].bounds, abs=1e-4), suffix
        assert part.area == pytest.approx(parts["glb"].area, rel=1e-3), suffix
    assert parts["ply"].is_watertight
    assert parts["ply"].visual.vertex_colors.std(0)[:3].max() > 0.5
    assert parts["obj"].visual.material.image.size[0] >= 512
    again, changes = meshes.load_mesh(whole / "result.glb")
    assert 200 < len(again.faces) < 500
    assert [change for change in changes if "scaled" not in change] == []


def test_pictures_and_films(whole: Path):
    assert imageio_ffmpeg.count_frames_and_secs(str(whole / "turntable.mp4"))[0] == 60
    with Picture.open(whole / "turntable.gif") as turn:
        assert turn.n_frames == 60
    height, width, _ = pixels(whole / "sheet.png").shape
    assert width > 3.8 * height  # eight views, and below them the bare shape
    bare = pixels(whole / "sheet.png")[height * 3 // 4, 40:-40]
    assert abs(bare - bare.mean(1, keepdims=True)).max() <= 2
    assert pixels(whole / "result.png").shape == (512, 512, 3)


def test_summary_says_what_was_measured(whole: Path):
    summary = summary_of(whole)
    assert (summary["status"], summary["task"], summary["steps"]) == ("done", "mesh", 4)
    assert set(summary["scores"]) >= {"score", "judge", "score of the bare shape", "judge of the bare shape"}
    (measured,) = summary["meshes"]
    assert measured["watertight"] is True
    assert measured["genus"] == 0
    assert 0 <= measured["self-intersection"] <= 1
    assert summary["seconds"] > 0
    assert len(log(whole)) == 4


def test_page_turns_the_mesh_without_network(whole: Path):
    text = (whole / "report.html").read_text()
    page = Page(text)
    (data,) = [attributes for _, attributes in page.tags if attributes.get("class") == "solid"]
    corners = np.frombuffer(b64decode(data["data-faces"]), np.uint32)
    places = np.frombuffer(b64decode(data["data-positions"]), np.float32).reshape(-1, 3)
    assert corners.max() == len(places) - 1
    assert len(b64decode(data["data-colors"])) == len(b64decode(data["data-normals"])) == places.size
    assert np.linalg.norm(places, axis=1).max() == pytest.approx(1, abs=1e-3)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    (policy,) = [a["content"] for _, a in page.tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert f"script-src 'sha256-{b64encode(sha256(script.encode()).digest()).decode()}'" in policy
    assert "http:" not in text.replace("http-equiv", "")
    assert not [value for _, a in page.tags for name, value in a.items() if name in ("src", "href") and ":" in value
                and not value.startswith("data:")]  # fmt: skip


def test_interrupted_and_resumed_is_the_same_mesh(
    whole: Path, here: Path, towers: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    written = Run.log
    for stop in (1, 2):  # the surface gets new triangles after the second step
        folder = f"stopped-{stop}"

        def interrupt(run: Run, index: int, *arguments: object, stop: int = stop, **scores: object) -> None:
            written(run, index, *arguments, **scores)
            if index == stop - 1:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Run, "log", interrupt)
        assert mesh("a red apple", *QUICK, *towers, "--out", folder, "--quiet") == 130
        assert f"clipopt mesh --resume {folder}" in capsys.readouterr().err
        assert summary_of(here / folder)["status"] == "interrupted"
        monkeypatch.setattr(Run, "log", written)
        assert mesh("--resume", folder, "--quiet") == 0
        assert log(here / folder) == log(whole)
        assert (here / folder / "result.ply").read_bytes() == (whole / "result.ply").read_bytes()
        assert summary_of(here / folder)["scores"] == summary_of(whole)["scores"]


def test_an_item_is_its_own(whole: Path, here: Path, towers: list[str]):
    options = [*QUICK, *towers, "--seeds", "2", "--quiet", "--out", "four"]
    assert mesh("a green tree", "a red apple", *options) == 0
    assert len(summary_of(here / "four")["meshes"]) == 4
    alone, among = (trimesh.load(path, process=False) for path in (whole / "result.ply", here / "four/result-02.ply"))
    assert among.vertices == pytest.approx(alone.vertices, abs=2e-3)
    other = trimesh.load(here / "four" / "result-03.ply", process=False)
    assert len(other.vertices) != len(alone.vertices) or abs(other.vertices - alone.vertices).max() > 1e-3
    page = Page((here / "four" / "report.html").read_text())
    assert sum(attributes.get("class") == "solid" for _, attributes in page.tags) == 4


@pytest.mark.parametrize(
    ("options", "moves", "paints"),
    [
        (["--mode", "deform", "--was", "a blue star", "--lr", "0.05", "--identity", "0"], True, False),
        (["--mode", "style"], True, True),
        (["--mode", "style", "--look", "texture", "--texture", "256"], True, True),
        (["--mode", "generate", "--laplacian", "0.1", "--normals", "0.1", "--edges", "0.1"], True, True),
        (["--shape", "vertices", "--look", "none", "--remesh", "1", "--lr", "0.02"], True, False),
    ],
)
def test_a_given_mesh_is_changed_as_the_mode_says(
    here: Path, towers: list[str], monkeypatch: pytest.MonkeyPatch, options: list[str], moves: bool, paints: bool
):
    rising = itertools.count(1)  # so that the last step is the best
    monkeypatch.setattr(MeshLoop, "score", lambda self, found, role="score", **_: torch.full((1,), float(next(rising))))
    ball = icosphere(2)
    start = Mesh(ball.vertices * torch.tensor([1.0, 0.8, 0.6]), ball.faces, (ball.vertices + 1) / 2)
    meshes.save_mesh(here / "egg.glb", start)
    settings = ["--steps", "5", "--views", "2", "--size", "24", "--quiet", *towers, "--out", "run"]
    assert mesh("a red apple", "--mesh", "egg.glb", *settings, *options) == 0
    after, _ = meshes.load_mesh(here / "run" / "result.glb")
    if "--remesh" not in options:
        assert len(after.faces) == len(start.faces)
    first, last = (shown(m, around(2), 48) for m in (start, after))
    grey_first, grey_last = (shown(m, around(2), 48, textureless=True) for m in (start, after))
    assert ((grey_first - grey_last).abs().max() > 0.01) == moves
    if paints:
        assert (first - last).abs().mean() > 0.005
    elif "--remesh" not in options:
        torch.testing.assert_close(after.colors, start.colors, atol=0.01, rtol=0)
    assert "data-texture" in (here / "run" / "report.html").read_text() or "texture" not in options


def write_hostile(kind: str, folder: Path) -> str:
    path = folder / f"{kind}.obj"
    ball = trimesh.creation.icosphere(subdivisions=1)
    match kind:
        case "empty":
            path.write_text("")
        case "no faces":
            path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
        case "nan":
            path.write_text("v nan 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
        case "flat":
            path.write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
        case "text":
            path.write_text("this is no mesh")
        case "archive":
            path = path.with_suffix(".zip")
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("a.obj", b"v 0 0 0\n" * 100_000)
        case "one triangle":
            path.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
        case "three sheets":
            path.write_text("v 0 0 0\nv 0 1 0\nv 1 0 0\nv -1 0 1\nv -1 0 -1\nf 1 2 3\nf 1 2 4\nf 1 2 5\n")
        case "far":
            ball.apply_translation([1e6, -1e6, 1e6])
            ball.export(path)
        case "huge":
            ball.apply_scale(1e12)
            ball.export(path)
        case "tiny":
            ball.apply_scale(1e-9)
            ball.export(path, digits=16)
        case "two balls":
            other = ball.copy()
            other.apply_translation([3, 0, 0])
            trimesh.util.concatenate([ball, other]).export(path)
        case "inside out":
            ball.invert()
            ball.export(path)
    return str(path)


@pytest.mark.parametrize("kind", ["empty", "no faces", "nan", "flat", "text", "archive"])
def test_what_is_no_mesh_is_refused_in_one_line(
    here: Path, towers: list[str], capsys: pytest.CaptureFixture, kind: str
):
    assert mesh("a red apple", "--mesh", write_hostile(kind, here), *towers) == 2
    error = capsys.readouterr().err
    assert error.startswith("clipopt: ")
    assert error.count("\n") == 1
    assert not (here / "outputs").exists()


@pytest.mark.parametrize("kind", ["one triangle", "three sheets", "far", "huge", "tiny", "two balls", "inside out"])
@pytest.mark.parametrize("mode", ["deform", "generate"])
def test_odd_meshes_are_mended_said_and_used(
    here: Path, towers: list[str], capsys: pytest.CaptureFixture, kind: str, mode: str
):
    options = ["--steps", "2", "--views", "2", "--size", "16", *towers, "--quiet", "--json"]
    more = ["--remesh", "1", "--faces", "200"] if mode == "generate" else []
    assert mesh("a red apple", "--mesh", write_hostile(kind, here), "--mode", mode, *options, *more) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["changes"]
    part = trimesh.load(Path(summary["folder"]) / "result.ply", process=False)
    assert np.isfinite(part.vertices).all()
    assert len(part.faces) >= 1
    given = trimesh.load_scene(here / f"{kind}.obj", process=False)
    for suffix in ("ply", "obj", "glb"):  # where it was, and about as large
        made = trimesh.load_scene(Path(summary["folder"]) / f"result.{suffix}", process=False)
        assert abs(made.bounds - given.bounds).max() < 0.3 * given.extents.max()


def test_a_resumed_run_writes_where_the_mesh_was(towers: list[str]):
    start = replace(icosphere(1), place=Place((448262.0, 5411932.0, 120.0), 3.0))
    plan = MeshPlan(steps=2, faces=(), views=Views(count=1, size=16))

    def begun() -> MeshLoop:
        return MeshLoop(plan, [Item({"a red apple": 1.0}, 0, "")], start, [load_scorer(towers[1])])

    again = begun()
    again.load_state(begun().state())
    assert [mesh.place for mesh in (*again.meshes(), *again.best.meshes)] == [start.place] * 2


def test_dry_run_writes_nothing(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    assert mesh("a red apple", *QUICK, *towers, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["seconds"] > 0
    assert "result.glb" in plan["files"]
    assert [stage["steps"] for stage in plan["measured"]] == [2, 2]
    assert mesh("a red apple", *QUICK, *towers, "--dry-run") == 0
    assert "Nothing was written" in capsys.readouterr().out
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "say what to make"),
        (["a red apple", "--mesh", "nothing.obj"], "there is no file nothing.obj"),
        (["a red apple", "--steps", "0"], "--steps must be above 0"),
        (["a red apple", "--faces", "3"], "--faces must lie in"),
        (["a red apple", "--remesh", "-1"], "--remesh must lie in"),
        (["a red apple", "--shape", "jacobians", "--remesh", "1"], "--remesh needs --shape"),
        (["a red apple", "--look", "texture", "--remesh", "1"], "no texture to learn"),
        (["a red apple", "--laplacian", "-1"], "--laplacian must be 0 or more"),
        (["a red apple", "--views", "0"], "--views must be 1 or more"),
        (["a red apple", "--elevation", "50", "10"], "--elevation must be two rising angles"),
        (["a red apple", "--offset", "1"], "--offset must be 0 to below 1"),
        (["a red apple", "--textureless", "2"], "--textureless must be 0 to 1"),
        (["a red apple", "--view", "back", "a", "--view", "back", "b"], "one side two prompts"),
        (["a red apple", "--view", "under", "a"], "--view"),
        (["a red apple", "--was", "a red apple"], "the same text"),
        (["a red apple", "--resume", "nowhere"], "leave out a prompt"),
        (["--resume", "nowhere", "--views", "3"], "leave out --views"),
        (["--resume", "nowhere"], "no run to resume"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    here: Path, towers: list[str], capsys: pytest.CaptureFixture, options: list[str], said: str
):
    assert mesh(*options, *([] if "--resume" in options else towers)) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not list(here.iterdir())


def test_views_have_the_words_of_their_side(here: Path, towers: list[str], capsys: pytest.CaptureFixture):
    options = [*QUICK, *towers, "--quiet", "--view", "back", "a blue star", "--seed", "3"]
    assert mesh("a red apple", *options, "--out", "sided") == 0
    assert "view" not in capsys.readouterr().err  # it lacks the word, so the sides stay unsaid
    assert mesh("a red apple", *QUICK, *towers, "--quiet", "--seed", "3", "--out", "plain") == 0
    assert log(here / "sided")[0]["loss"] != log(here / "plain")[0]["loss"]
    assert mesh("a red apple", *options, "--view-prompts", "on", "--out", "said") == 0
    assert '"view"' in capsys.readouterr().err


SWITCHES = [
    ["--backgrounds", "none"], ["--backgrounds", "busy"], ["--offset", "0"], ["--jitter", "0"], ["--no-stratified"],
    ["--textureless", "0"], ["--elevation", "0", "0"],
]  # fmt: skip


def test_each_guard_against_cheating_can_be_switched_off(towers: list[str]):
    """The first loss is another with each of them; `--no-adaptive` shows where the mesh grows."""
    scorer = load_scorer(towers[1])

    def first(*options: str) -> float:
        settings = _settings(MeshCommand, "mesh", ["a red apple", *options])
        views = replace(settings.staging.make(scorer, textured=True), count=4)
        plan = MeshPlan(faces=(), views=views)
        ball = icosphere(2)
        start = Mesh(1.5 * ball.vertices, ball.faces, (ball.vertices + 1) / 2)
        sculpting = MeshLoop(plan, [Item({"a red apple": 1.0}, 0, "")], start, [scorer])
        return float(sculpting.loss(0, generator(0))["match"].detach())

    losses = [first(), first("--no-adaptive"), *(first(*switch) for switch in SWITCHES)]
    assert first() == losses[0]
    assert len(set(losses)) == len(losses)


def test_backgrounds_are_those_that_a_scorer_has_seen(towers: list[str]):
    assert Staging().make(load_scorer(towers[1]), textured=True).backgrounds == "soft"
    assert Staging().make(ToyScorer(), textured=True).backgrounds == "busy"
    assert Staging(backgrounds="none").make(ToyScorer(), textured=True).backgrounds == "none"


class Measuring(ToyScorer):
    """Likes what is tall, or what is wide."""

    def encode_text(self, texts):
        return torch.tensor([[1.0, 0.0] if text == "tall" else [0.0, 1.0] for text in texts])

    def encode_image(self, images):
        there = (images - images[:, :, :1, :1]).abs().amax(1) > 0.05
        spans = torch.stack([there.any(2).sum(1), there.any(1).sum(1)], 1).float()
        return torch.nn.functional.normalize(spans, dim=1)


def test_every_item_begins_at_the_form_that_the_scorer_likes_best():
    views = Staging(backgrounds="none").make(Measuring(), textured=True)
    plan = MeshPlan(steps=2, faces=(320,), views=replace(views, size=32, count=4))
    items = [Item({text: 1.0}, 0, text) for text in ("tall", "wide")]
    sculpting = MeshLoop(plan, items, meshes.primitive("sphere", 320), [Measuring()])
    sculpting.choose(meshes.forms())
    tall, wide = (mesh.vertices.amax(0) - mesh.vertices.amin(0) for mesh in sculpting.meshes())
    assert tall[1] > 1.5 * tall[0]
    assert wide[0] > 1.5 * wide[1]
    assert torch.equal(sculpting.best.meshes[0].vertices, sculpting.meshes()[0].vertices)


def test_bare_shapes_are_shown_in_the_first_half_only(towers: list[str]):
    """Grey views say nothing to the colours: with nothing else to see, only the second half paints."""
    scorer = load_scorer(towers[1])
    plan = MeshPlan(steps=4, faces=(), views=Views(count=2, size=16, textureless=1.0), noise=0.0)
    sculpting = MeshLoop(plan, [Item({"a red apple": 1.0}, 0, "")], icosphere(2), [scorer])
    painted = []
    for _ in sculpting.draw():
        painted.append(float((sculpting.meshes()[0].colors - 0.7).abs().max()))
    assert painted[1] < 1e-4 < 1e-2 < painted[2]
