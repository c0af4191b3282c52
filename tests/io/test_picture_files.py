"""Folders as they are met: hostile files, odd names, links, and terminals that know little."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
import torch
from PIL import Image

from clipopt.cli import main
from clipopt.commands.work import adapt as adapting
from clipopt.io import files
from clipopt.io import picture_files as pictures
from clipopt.io.media import load_film
from clipopt.io.picture_files import find_pictures, read_batches
from clipopt.io.terminal import forget_notes, printable, say_notes
from clipopt.scorers import load_scorer

LATIN = os.fsdecode(b"caf\xe9.png")
NAMES = [
    LATIN,
    "猫.png",
    "new\nline.png",
    "a\x1b[31mred.png",
    "-d.png",
    "100%s.png",
    "a:b.png",
    "🍎.png",
    "\u202egnp.png",
]
BOMB = 9000


def red(path: Path, size: tuple[int, int] = (20, 16)) -> None:
    Image.new("RGB", size, "red").save(path, "PNG")


def bomb(path: Path) -> None:
    """A small file of a large picture."""
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        data = zlib.compress(bytes((BOMB // 8 + 2) * BOMB), 9)
        for kind, body in (
            (b"IHDR", struct.pack(">IIBBBBB", BOMB, BOMB, 1, 0, 0, 0, 0)),
            (b"IDAT", data),
            (b"IEND", b""),
        ):
            file.write(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))


@pytest.fixture
def odd(here: Path) -> Path:
    """A folder of good pictures with odd names, beside what is refused or skipped."""
    folder = here / "odd"
    (folder / "sub.png").mkdir(parents=True)
    for name in NAMES:
        red(folder / name)
    red(folder / "sub.png" / "deep.jfif")
    bomb(folder / "bomb.png")
    red(folder / "thread.png", (16000, 1))
    (folder / "empty.png").touch()
    (folder / "cut.png").write_bytes((folder / LATIN).read_bytes()[:40])
    (folder / "print.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n{} loop\n")
    (folder / "notes.txt").touch()
    (folder / "README").touch()
    (folder / ".hidden.png").touch()
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "loop").symlink_to(folder)
    os.mkfifo(folder / "pipe.png")
    return folder


GOOD, REFUSED = len(NAMES) + 2, ("bomb.png", "empty.png", "cut.png", "print.png")
SKIPPED = {"1 .txt", "1 without suffix", "1 dead link", "1 link to a folder", "1 pipe or device"}


def test_every_command_does_what_can_be_done(odd, towers, capsys):
    labels, texts = Path("labels.txt"), Path("texts.txt")
    labels.write_text("red\nblue\n")
    texts.write_text("a red tree\na blue tree\n")
    for command, key in (
        (["index", "odd", "--json", *towers[:2]], None),
        (["caption", "odd", "--texts", "texts.txt", "--json", *towers[:2]], "picture"),
        (["classify", "odd", "--labels-file", "labels.txt", "--json", *towers[:2]], "path"),
        (["search", "odd.index", "a red tree", "--top", "99", "--json"], "path"),
    ):
        assert main(command) == 0
        told = capsys.readouterr()
        result = json.loads(told.out)
        if key is None:
            assert result["items"] == GOOD
        else:
            rows = result.get("pictures", result.get("hits"))
            assert {Path(row[key]).name for row in rows} == {*NAMES, "deep.jfif", "thread.png"}
        if command[0] == "search":
            continue
        assert {Path(path).name for path in result["broken"]} == set(REFUSED)
        lines = [line for line in told.err.splitlines() if line.startswith("clipopt:")]
        assert len(lines) == 1 + len(REFUSED)
        assert set(lines[0].removeprefix("clipopt: skipped in odd: ").split(", ")) == SKIPPED
        for name in REFUSED:
            assert sum(f"left out: cannot read odd/{name}: expected" in line for line in lines) == 1
    assert main(["index", "odd", "--json", *towers[:2]]) == 0
    assert json.loads(capsys.readouterr().out)["added"] == 0, "names were not read as they were written"


def test_names_reach_every_file(odd, towers, capsys):
    Path("texts.txt").write_text("a red tree\na blue tree\n")
    Path("labels.txt").write_text("red\nblue\n")
    options = ["--texts", "texts.txt", *towers[:2], "--quiet"]
    for out in ("captions.jsonl", "captions.csv", "folder"):
        assert main(["caption", "odd", *options, "--out", out]) == 0
    read = [json.loads(line)["picture"] for line in Path("captions.jsonl").read_text("utf-8").splitlines()]
    assert f"odd/{LATIN}" in read
    assert Path("folder", LATIN).with_suffix(".txt").read_text() in ("a red tree\n", "a blue tree\n")
    for out in ("labels.json", "labels.jsonl", "labels.csv"):
        assert main(["classify", "odd", "--labels-file", "labels.txt", *towers[:2], "--out", out]) == 0
    assert main(["index", "odd", *towers[:2]]) == 0
    for out in ("found.jsonl", "found.png"):
        assert main(["search", "odd.index", f"odd/{LATIN}", "--out", out]) == 0
    assert json.loads(Path("found.jsonl").read_text("utf-8").splitlines()[0])["score"] == pytest.approx(1, abs=1e-3)
    capsys.readouterr()
    long = f"{'長' * 80}.png"
    red(odd / long)
    assert main(["caption", f"odd/{long}", *options, "--out", "folder"]) == 0


@pytest.mark.parametrize("command", ["caption", "classify", "search"])
def test_no_name_gives_orders_to_a_terminal(odd, towers, capsys, command):
    Path("texts.txt").write_text("a red tree\na blue tree\n")
    if command == "search":
        assert main(["index", "odd", *towers[:2]]) == 0
        capsys.readouterr()
    ask = {
        "caption": ["odd", "--texts", "texts.txt", *towers[:2]],
        "classify": ["odd", "--labels", "red,blue", *towers[:2]],
        "search": ["odd.index", "red", "--top", "99"],
    }[command]
    assert main([command, *ask]) == 0
    said = capsys.readouterr().out
    assert all(line.isprintable() for line in said.splitlines())
    assert len(said.splitlines()) == GOOD
    for shown in (r"caf\udce9.png", r"new\nline.png", r"a\x1b[31mred.png", "猫.png", r"\u202egnp.png"):
        assert shown in said


@pytest.mark.parametrize(
    "ascii_only", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}]
)
def test_a_terminal_that_knows_ascii_alone(odd, towers, ascii_only):
    environment = {**os.environ, **ascii_only}
    environment.pop("PYTHONIOENCODING", None) if "LC_ALL" in ascii_only else None
    command = [sys.executable, "-m", "clipopt", "classify", "odd", "--labels", "red,blue", *towers[:2]]
    options = [] if "LC_ALL" in ascii_only else ["--json"]
    done = subprocess.run([*command, *options], env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (done.stdout + done.stderr).isascii()
    assert b"Traceback" not in done.stderr
    paths = [row["path"] for row in json.loads(done.stdout)["pictures"]] if options else done.stdout.decode().split()
    assert ("odd/🍎.png" if options else "odd/-d.png") in paths


def test_a_run_from_and_into_odd_names(here, towers):
    name = f"a:b\n{LATIN}"
    red(Path(name))
    out = Path(f"run:{name}")
    assert main(["image", "red", "--init", name, *towers, "--steps", "2", "--out", str(out), "--quiet"]) == 0
    assert len(load_film(next(out.glob("*.mp4")), count=2)) == 2
    assert json.loads((out / "config.json").read_text("utf-8"))["config"]["editing"]["init"] == str(here / name)


def test_a_picture_that_is_named_and_refused_is_bad_input(odd, towers, capsys):
    Path("texts.txt").write_text("a red tree\na blue tree\n")
    for name in (*REFUSED, "pipe.png", "gone.png", "notes.txt"):
        assert main(["caption", f"odd/{name}", "--texts", "texts.txt", *towers[:2], "--out", "new.jsonl"]) == 2
        said = capsys.readouterr().err
        assert name in said
        assert said.count("\n") == 1
        for option in ("--init", "--edges") if name in ("bomb.png", "pipe.png") else ():
            assert main(["image", "red", option, f"odd/{name}", *towers, "--steps", "1", "--out", "new"]) == 2
            said = capsys.readouterr().err
            assert name in said
            assert said.count("\n") == 1
    assert not list(Path().glob("new*"))


def test_a_folder_of_nothing_but_others_says_what_it_holds(here, capsys):
    Path("empty").mkdir()
    Path("empty", "a.heic").touch()
    assert main(["caption", "empty"]) == 2
    (said,) = capsys.readouterr().err.splitlines()
    assert "there is no picture in empty" in said
    assert said.endswith("got 1 .heic")


def test_many_kinds_are_counted_together(here, capsys):
    for number in range(9):
        Path(f"{number}.kind{number}").touch()
    red(Path("a.png"))
    forget_notes()
    assert len(find_pictures([Path()])) == 1
    say_notes()
    said = capsys.readouterr().err
    assert said.endswith(", 3 other\n")
    assert said.count(",") == 6


def test_large_pictures_come_in_small_batches(here, monkeypatch):
    for number in range(7):
        red(Path(f"{number}.png"), (40, 30) if number < 4 else (8, 8))
    monkeypatch.setattr(pictures, "_AT_ONCE", 2000)
    batches = list(read_batches(find_pictures([here]), []))
    assert [len(batch) for batch in batches] == [2, 2, 3]
    batches = list(read_batches(find_pictures([here]), [], most=400))
    assert [len(batch) for batch in batches] == [7]
    assert batches[0][0][1].shape == (3, 15, 20)


def test_transparency_is_seen_as_asked(here, towers, capsys):
    clear = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    clear.save("clear.png")
    for colour in ("red", "white", "black"):
        Image.new("RGB", (16, 16), colour).save(f"{colour}.png")
    tower = load_scorer(towers[1])
    rows = {name: tower.encode_image(files.load_image(f"{name}.png"))[0] for name in ("red", "white", "black")}
    shown = {"white": "white", "black": "black", "drop": "red"}
    Path("texts.txt").write_text("a red tree\na blue tree\n")
    Path("pictures").mkdir()
    clear.save("pictures/clear.png")
    Path("candidates.json").write_text('{"clear": "a red tree"}')
    text = tower.encode_text(["a red tree"])[0]
    for alpha, colour in shown.items():
        cosine = float(rows[colour] @ text)
        assert main(["rank", "clear.png", "--texts", "texts.txt", "--alpha", alpha, "--json", *towers[:2]]) == 0
        captions = json.loads(capsys.readouterr().out)["pictures"][0]["captions"]
        score = next(each["score"] for each in captions if each["text"] == "a red tree")
        assert score == pytest.approx(cosine, abs=1e-4)
        command = ["score", "candidates.json", "pictures", "--variant", "torchmetrics", "--alpha", alpha, "--json"]
        assert main([*command, *towers[:2]]) == 0
        assert json.loads(capsys.readouterr().out)["scores"]["clear"].popitem()[1] == pytest.approx(
            100 * cosine, abs=1e-2
        )
        assert main(["index", "pictures", "--alpha", alpha, "--json", *towers[:2]]) == 0
        told = json.loads(capsys.readouterr().out)
        assert (told["items"], told["added"]) == (1, 1)
        assert main(["search", "pictures.index", "clear.png", "--json"]) == 0
        hit = json.loads(capsys.readouterr().out)["hits"][0]
        assert hit["score"] == pytest.approx(1, abs=1e-3)
        assert main(["search", "pictures.index", f"{colour}.png", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["hits"][0]["score"] == pytest.approx(1, abs=1e-3)
        assert main(["image", "red", "--init", "clear.png", "--steps", "1", "--lr", "1e-6", "--alpha", alpha, *towers,
                     "--out", f"run-{alpha}", "--quiet"]) == 0  # fmt: skip
        capsys.readouterr()
        made = files.load_image(f"run-{alpha}/result.png")
        assert (made - files.load_image(f"{colour}.png")).abs().max() < 0.02
    with pytest.raises(AssertionError):
        torch.testing.assert_close(rows["red"], rows["black"])
    assert main(["rank", "clear.png", "--texts", "texts.txt", "--alpha", "grey"]) == 2


def test_printable_escapes_what_a_terminal_obeys():
    assert printable("a b ü 猫") == "a b ü 猫"
    assert printable("\x1b[2J\r\n\t\x9b\u202e\udce9") == r"\x1b[2J\r\n\t\x9b\u202e\udce9"
    assert printable(io.UnsupportedOperation("a\nb")) == r"a\nb"


@pytest.mark.parametrize(
    "command", ["image", "latent", "story", "caption", "rank", "classify", "score", "index", "search", "adapt"]
)
def test_alpha_is_offered_wherever_pictures_are_read(command, capsys):
    with pytest.raises(SystemExit):
        main([command, "--help"])
    option = "--transparency" if command == "adapt" else "--alpha"
    assert f"{option} {{white,black,drop}}" in " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_examples_are_shrunk_where_they_are_many(here, towers, monkeypatch):
    for label in ("red", "blue"):
        Path("data", label).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (100, 100), label).save(f"data/{label}/{number}.png")
    sizes, learn = set(), adapting.learn

    def spy(method, scorer, examples, **options):
        sizes.update(picture.shape for picture in examples.pictures)
        return learn(method, scorer, examples, **options)

    monkeypatch.setattr(adapting, "learn", spy)
    for budget, side in ((2**26, 100), (1, 50)):
        monkeypatch.setattr(adapting, "_ALL", budget)
        assert main(["adapt", "data", *towers[:2], "--out", f"{side}.adapter"]) == 0
        assert sizes == {(3, side, side)}
        sizes.clear()
