import json
import os
import shutil
import subprocess
import sys
import warnings
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch

from clipopt import record
from clipopt.io import files
from clipopt.record.report import shown
from clipopt.types import generator

SIZE, STEPS = 16, 12


def loop(folder: Path, *, stop: int = STEPS, name: str = "toy", finish: bool = True) -> record.Run:
    """A small run with Adam and noise drawn from (seed, step), begun or continued in `folder`."""
    if (folder / "config.json").is_file():
        run = record.Run.resume(folder, "image")
    else:
        run = record.Run.create(folder, "image", name, {"steps": STEPS}, command=["clipopt", "image", name])
    image = torch.nn.Parameter(torch.full((2, 3, SIZE, SIZE), 0.5))
    optimizer = torch.optim.Adam([image], lr=0.1)
    best, best_score = image.detach().clone(), torch.full((2,), -torch.inf)
    if run.state is None:
        run.preview(image)
    else:
        image.data = run.state["image"]
        optimizer.load_state_dict(run.state["optimizer"])
        best, best_score = run.state["best"], run.state["best_score"]
    for index in range(run.step, stop):
        target = torch.rand(2, 3, SIZE, SIZE, generator=generator(0, index))
        match = ((image - target) ** 2).mean((1, 2, 3))
        optimizer.zero_grad()
        match.sum().backward()
        optimizer.step()
        score = -match.detach()
        best = torch.where((score > best_score)[:, None, None, None], image.detach(), best)
        best_score = torch.maximum(score, best_score)
        run.log(index, match.sum(), {"match": match}, score=score, judge=score / 2)
        run.preview(image)
        if run.step % 3 == 0:
            run.save(
                {"image": image.detach(), "optimizer": optimizer.state_dict(), "best": best, "best_score": best_score}
            )
    if finish:
        scores = {"score": best_score, "judge": best_score / 2}
        run.finish(best=best, last=image, labels=[f"{name} one", f"{name} two"], scores=scores)
    return run


def without_time(folder: Path) -> list[dict]:
    return [{k: v for k, v in line.items() if k != "seconds"} for line in record.read_steps(folder)]


def state(folder: Path) -> dict:
    return torch.load(folder / "checkpoint.pt", weights_only=True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("whole") / "run"
    loop(folder)
    return folder


def test_a_run_leaves_all_that_is_promised(whole):
    items = {f"{name}-{i:02d}.png" for name in ("result", "last") for i in range(2)}
    assert {path.name for path in whole.iterdir()} == items | {
        "config.json", "steps.jsonl", "checkpoint.pt", "previews", "result.png", "best.png", "last.png",
        "progress.mp4", "progress.gif", "summary.json", "report.html", ".lock",
    }  # fmt: skip
    summary = json.loads((whole / "summary.json").read_text())
    assert summary["status"] == "done"
    assert summary["steps"] == STEPS
    assert len(summary["scores"]["score"]) == 2
    assert summary["seconds"] > 0
    assert 50e6 < summary["peak_memory_bytes"] < 50e9
    assert {"clipopt", "torch", "python"} <= summary["versions"].keys()
    assert len(list((whole / "previews").iterdir())) == STEPS + 1
    assert [line["step"] for line in record.read_steps(whole)] == list(range(STEPS))
    best = state(whole)["state"]["best"]
    assert (files.load_image(whole / "result-01.png") - best[1:]).abs().max() < 1 / 255
    assert torch.equal(files.load_image(whole / "result.png"), files.load_image(whole / "best.png"))


def test_the_settings_stand_in_the_picture(whole):
    from PIL import Image

    with Image.open(whole / "result-01.png") as opened:
        assert opened.info["prompt"] == "toy two"
        assert json.loads(opened.info["config"]) == {"steps": STEPS}


def test_one_item_needs_no_sheet(tmp_path):
    run = record.Run.create(tmp_path / "run", "image", "a", {}, command=["clipopt"])
    run.log(0, 1.0, {})
    run.finish(best=torch.zeros(1, 3, 8, 8), last=torch.ones(1, 3, 8, 8), labels=["a"], scores={"score": 1.0})
    assert files.load_image(run.folder / "result.png").shape == (1, 3, 8, 8)
    assert files.load_image(run.folder / "last.png").min() == 1
    assert not list(run.folder.glob("*-00.png"))


def test_a_stopped_run_continues_bit_for_bit(whole, tmp_path):
    loop(tmp_path / "run", stop=7, finish=False)
    assert len(record.read_steps(tmp_path / "run")) == 7
    with record.Run.resume(tmp_path / "run", "image") as resumed:
        assert resumed.step == 6, "the last checkpoint"
    assert len(record.read_steps(tmp_path / "run")) == 7, "resume wrote before there was anything to write"
    loop(tmp_path / "run")
    assert without_time(tmp_path / "run") == without_time(whole)
    ours, theirs = state(tmp_path / "run")["state"], state(whole)["state"]
    assert torch.equal(ours["image"], theirs["image"])
    assert torch.equal(ours["best"], theirs["best"])
    assert torch.equal(ours["optimizer"]["state"][0]["exp_avg_sq"], theirs["optimizer"]["state"][0]["exp_avg_sq"])
    for path in (whole / "previews").iterdir():
        assert path.read_bytes() == (tmp_path / "run" / "previews" / path.name).read_bytes()


def test_a_finished_run_can_be_finished_again(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    loop(tmp_path / "run")
    assert without_time(tmp_path / "run") == without_time(whole)
    assert (tmp_path / "run" / "result.png").read_bytes() == (whole / "result.png").read_bytes()
    assert names(tmp_path / "run" / "previews") == names(whole / "previews")


def test_seconds_add_up_over_resumes(tmp_path):
    loop(tmp_path / "run", stop=7, finish=False)
    before = state(tmp_path / "run")["seconds"]
    assert record.Run.resume(tmp_path / "run", "image").seconds > before > 0


KILLER = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import test_record
from PIL import Image
import imageio_ffmpeg, jinja2
from clipopt import record
from clipopt.io import files

folder, rng, kills, seen = Path(sys.argv[3]), random.Random(1), 0, set()

test_record.loop(folder.with_name("warm"))  # the children inherit all that torch imports late

def check():
    if not folder.is_dir():
        return "nothing"
    held = {path.name for path in folder.iterdir() if not path.match(files.TEMPORARY)}
    for path in folder.rglob("*"):
        if path.match(files.TEMPORARY) or path.is_dir() or path.name == ".lock":
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".jsonl":
            for line in path.read_text().splitlines()[:-1]:
                json.loads(line)
        elif path.suffix == ".pt":
            torch.load(path, weights_only=True)
        elif path.suffix in (".png", ".jpg"):
            files.load_image(path)
        elif path.suffix == ".gif":
            with Image.open(path) as opened:
                opened.seek(opened.n_frames - 1)
        elif path.suffix == ".mp4":
            assert imageio_ffmpeg.count_frames_and_secs(str(path))[0] > 10
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")
        else:
            raise AssertionError(path)
    for last in ("report.html", "progress.mp4", "result.png", "checkpoint.pt", "config.json", "steps.jsonl"):
        if last in held:
            return last
    return "empty"

while kills < 20 or (kills < 200 and not {"checkpoint.pt", "result.png"} <= seen):
    if "summary.json" in {path.name for path in folder.glob("*")}:
        import shutil
        shutil.rmtree(folder)
    child = os.fork()
    if child == 0:
        try:
            test_record.loop(folder)
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    time.sleep(rng.random() ** 2 * float(sys.argv[4]))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert not os.WIFEXITED(status) or os.WEXITSTATUS(status) == 0, "the resumed run failed"
    kills += os.WIFSIGNALED(status)
    seen.add(check())
print(json.dumps(sorted(seen)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked children")
def test_killed_at_any_moment_it_is_resumable_and_nothing_is_half_written(whole, tmp_path):
    here = Path(__file__).parent
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", KILLER, str(here.parent), str(here), str(tmp_path / "run"), "0.5"],
        capture_output=True, text=True, timeout=300, env=environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {"checkpoint.pt", "result.png"} <= set(json.loads(done.stdout)), "the kills missed most moments"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # begun with another number of threads
        loop(tmp_path / "run")
    assert without_time(tmp_path / "run") == without_time(whole)
    assert torch.equal(state(tmp_path / "run")["state"]["image"], state(whole)["state"]["image"])
    assert not [path for path in (tmp_path / "run").rglob("*") if path.match(files.TEMPORARY)]


def test_a_half_written_last_line_is_dropped(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    with (tmp_path / "run" / "steps.jsonl").open("a") as file:
        file.write('{"step": 12, "loss": 0.1, "te')
    loop(tmp_path / "run")
    assert without_time(tmp_path / "run") == without_time(whole)
    assert (tmp_path / "run" / "steps.jsonl").read_text().endswith("}\n")


def test_a_run_killed_before_its_first_checkpoint_starts_anew(whole, tmp_path):
    loop(tmp_path / "run", stop=2, finish=False)
    assert not (tmp_path / "run" / "checkpoint.pt").exists()
    loop(tmp_path / "run")
    assert without_time(tmp_path / "run") == without_time(whole)


def test_killed_while_its_folder_is_made_it_starts_anew(whole, tmp_path, monkeypatch):
    written = []

    def write(path, text):
        if written:
            raise KeyboardInterrupt
        written.append(path.name)
        path.write_text(text)

    monkeypatch.setattr(files, "write_text", write)
    with pytest.raises(KeyboardInterrupt):
        loop(tmp_path / "run")
    monkeypatch.undo()
    loop(tmp_path / "run")
    assert without_time(tmp_path / "run") == without_time(whole)


@pytest.mark.parametrize("part", [0.0, 0.3, 0.7, 0.999])
def test_a_checkpoint_cut_short_is_told(whole, tmp_path, part):
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(ValueError, match=r"checkpoint.pt is cut short or damaged .*; delete") as caught:
        record.Run.resume(tmp_path / "run", "image")
    assert "\n" not in str(caught.value)


def test_a_flipped_bit_in_a_checkpoint_is_found(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "checkpoint.pt"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)
    with pytest.raises(ValueError, match="cut short or damaged"):
        record.Run.resume(tmp_path / "run", "image")


def test_resuming_what_is_no_run_is_told(whole, tmp_path):
    with pytest.raises(ValueError, match=r"no run to resume in .*got no folder"):
        record.Run.resume(tmp_path / "none", "image")
    with pytest.raises(ValueError, match=r"without config\.json"):
        record.Run.resume(tmp_path, "image")
    for text in ("{}", "[]", '{"clip', "\x00"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(ValueError, match="no run to resume"):
            record.Run.resume(tmp_path, "image")
    with pytest.raises(ValueError, match="clipopt image --resume"):
        record.Run.resume(whole, "mesh")


def test_a_changed_config_does_not_meet_the_old_checkpoint(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(path.read_text().replace(f'"steps": {STEPS}', '"steps": 99'))
    with pytest.raises(ValueError, match=r"config\.json was changed"):
        record.Run.resume(tmp_path / "run", "image")


def test_another_setting_or_model_is_told(tmp_path):
    run = record.Run.create(
        tmp_path / "run", "image", "a", {"steps": 3, "size": (4, 5), "init": Path("a.png")},
        command=["clipopt"], fingerprints={"scorer": "abc"},
    )  # fmt: skip
    run.require(config={"steps": 3, "size": (4, 5), "init": Path("a.png")}, fingerprints={"scorer": "abc"})
    with pytest.raises(ValueError, match=r"setting steps: expected 3, .* got 4; give the same"):
        run.require(config={"steps": 4})
    with pytest.raises(ValueError, match=r"model scorer: expected 'abc', .* got 'xyz'"):
        run.require(fingerprints={"scorer": "xyz"})


def test_other_versions_warn(whole, tmp_path, monkeypatch):
    monkeypatch.setattr("clipopt.record.run.versions", lambda: {"torch": "9.9"})
    with pytest.warns(UserWarning, match=r"now torch 9\.9"):
        record.Run.resume(whole, "image")


def test_two_runs_of_one_second_get_two_folders(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    runs = [record.Run.create(None, "image", "A red  Fox!", {}, command=["clipopt"]) for _ in range(5)]
    assert len({run.folder for run in runs}) == 5
    for run in runs:
        assert run.folder.parent == Path("outputs/image")
        assert "-a-red-fox" in run.folder.name


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A red fox, in the SNOW", "a-red-fox-in-the-snow"),
        ("../../etc/passwd", "etc-passwd"),
        ("CON\x00: a\\b", "con-a-b"),
        ("Ein Fuchs über Köln", "ein-fuchs-uber-koln"),
        ("赤い狐", "赤い狐"),
        ("🦊", "run"),
        ("", "run"),
        ("word " * 50, "word-word-word-word-word-word-word-word"),
    ],
)
def test_slug(text, expected):
    assert record.slug(text) == expected


def test_a_folder_with_files_is_refused_and_nothing_is_written(tmp_path):
    (tmp_path / "mine.txt").write_text("x")
    for make in (
        lambda: record.check_out(tmp_path),
        lambda: record.Run.create(tmp_path, "image", "a", {}, command=["clipopt"]),
    ):
        with pytest.raises(ValueError, match=r"not empty \(it holds mine.txt\).*--overwrite"):
            make()
    assert names(tmp_path) == ["mine.txt"]
    record.check_out(tmp_path / "new" / "deep")
    assert names(tmp_path) == ["mine.txt"]


def test_a_folder_under_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    for out in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(ValueError, match="is no folder"):
            record.Run.create(out, "image", "a", {}, command=["clipopt"], overwrite=True)


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="needs the permissions of POSIX")
def test_a_folder_without_permission_is_refused(tmp_path, monkeypatch):
    if os.geteuid() == 0:  # root may write everywhere, so say for it that it may not

        def refuse(*_args, **_options):
            raise PermissionError("Permission denied")

        monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match=r"cannot write .*Permission denied"):
        record.Run.create(tmp_path / "run", "image", "a", {}, command=["clipopt"])
    tmp_path.chmod(0o700)


def test_overwrite_replaces_a_run_and_keeps_the_users_files(whole, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    mine = ["notes.txt", "results.png", "my-result.png", "previews/mine.jpg", "previews/000001.png", "result-1.png"]
    for name in mine:
        (folder / name).write_text("mine")
    (folder / "best-things").mkdir()
    run = record.Run.create(folder, "image", "a", {"steps": 1}, command=["clipopt"], overwrite=True)
    left = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert left == {*mine, "config.json", "steps.jsonl", ".lock"}
    assert run.step == 0
    run.close()
    assert record.Run.resume(folder, "image").config == {"steps": 1}


def test_overwrite_replaces_nothing_but_a_run(tmp_path):
    for name in ("last-01.png", "report.html", "checkpoint.pt"):
        (tmp_path / name).write_text("mine")
    for mine in ('{"mine": 1}', "[1]", "no JSON", '{"task": "train", "which": "judge", "recipe": "1"}'):
        (tmp_path / "config.json").write_text(mine)
        with pytest.raises(ValueError, match=r"holds no run of clipopt .*--overwrite replaces nothing else"):
            record.Run.create(tmp_path, "image", "a", {}, command=["clipopt"], overwrite=True)
        assert (tmp_path / "config.json").read_text() == mine
    assert names(tmp_path) == ["checkpoint.pt", "config.json", "last-01.png", "report.html"]
    record.check_out(tmp_path, overwrite=True, kind="training")


def test_settings_that_json_cannot_hold_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(TypeError, match="JSON can hold"):
        record.Run.create(tmp_path / "run", "image", "a", {"x": object()}, command=["clipopt"])
    assert not list(tmp_path.iterdir())


def test_a_state_that_cannot_be_read_back_is_refused_at_once(tmp_path):
    run = record.Run.create(tmp_path / "run", "image", "a", {}, command=["clipopt"])
    with pytest.raises(TypeError, match="state of tensors"):
        run.save({"path": Path("a")})
    assert not (run.folder / "checkpoint.pt").exists()
    for optimizer in (torch.optim.SGD, torch.optim.AdamW, torch.optim.LBFGS):
        weight = torch.nn.Parameter(torch.ones(3))
        stepped = optimizer([weight], lr=0.1)
        weight.grad = torch.ones(3)
        stepped.step(lambda w=weight: (w**2).sum())
        run.save({"optimizer": stepped.state_dict()})


def test_values_that_are_not_finite_stay_valid_json(tmp_path):
    run = record.Run.create(tmp_path / "run", "image", "a", {}, command=["clipopt"])
    run.log(0, torch.tensor(torch.nan), {"match": torch.tensor([torch.inf, 1])}, score=[0.1, 0.2])
    (line,) = record.read_steps(run.folder)
    assert (line["loss"], line["terms"]) == (None, {"match": [None, 1.0]})


def test_without_ffmpeg_the_run_still_ends(tmp_path, monkeypatch):
    def missing(*_args, **_options):
        raise RuntimeError("no ffmpeg exe could be found")

    monkeypatch.setattr(files, "write_video", missing)
    run = record.Run.create(tmp_path / "run", "image", "a", {}, command=["clipopt"])
    run.preview(torch.ones(1, 3, 8, 8))
    with pytest.warns(UserWarning, match=r"progress\.mp4 is not written"):
        run.finish(best=torch.ones(1, 3, 8, 8), last=torch.ones(1, 3, 8, 8), labels=["a"], scores={})
    assert (run.folder / "progress.gif").is_file()
    assert (run.folder / "summary.json").is_file()


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def test_the_report_stands_alone_and_tells_everything(whole):
    page = Page((whole / "report.html").read_text())
    for _, attributes in page.tags:
        for name in ("src", "href", "srcset", "poster"):
            assert attributes.get(name, "data:").startswith("data:"), "the page needs another file"
    tags = [tag for tag, _ in page.tags]
    assert tags.count("svg") == 2
    assert tags.count("video") == 1
    assert tags.count("polyline") == 2 * (2 + 1) + 1 + (2 + 1), "score, judge, loss and match, with their items"
    for text in ("toy one", "judge", "match", "torch", torch.__version__, f"--resume {whole}", "clipopt image toy"):
        assert text in page.text


def test_the_report_escapes_what_users_say(tmp_path):
    evil = "<script>alert(1)</script>\"><img src=x onerror=alert(2)> {{ 7*7 }} '&amp;"
    run = record.Run.create(
        tmp_path / "run", "image", evil, {evil: evil}, command=["clipopt", "image", evil], fingerprints={evil: evil}
    )
    run.log(0, 1.0, {evil: 1.0}, score=[1.0, 2.0])
    ones = torch.ones(2, 3, 8, 8)
    run.finish(best=ones, last=ones, labels=[evil, evil], scores={evil: [1, 2]}, status="failed", reason=evil)
    page = Page((run.folder / "report.html").read_text())
    assert not [tag for tag, attributes in page.tags if tag == "script" or "onerror" in attributes]
    assert all(attributes["src"].startswith("data:") for tag, attributes in page.tags if tag == "img")
    assert evil in page.text
    assert evil in next(attributes["alt"] for tag, attributes in page.tags if tag == "img")


def test_an_interrupted_run_says_so(tmp_path):
    run = record.Run.create(tmp_path / "a run", "image", "a", {}, command=["clipopt"])
    run.log(4, 1.0, {})
    ones = torch.ones(1, 3, 8, 8)
    run.finish(best=ones, last=ones, labels=["a"], scores={}, status="interrupted", reason="Ctrl-C")
    page = Page((run.folder / "report.html").read_text())
    assert "interrupted after step 5. Ctrl-C" in page.text
    assert f"clipopt image --resume '{run.folder}'" in page.text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "none"), (True, "yes"), (0.05, "0.05"), (1e-7, "1e-07"), ([256, 128], "256, 128"), ({"a": 1.5}, "a: 1.5")],
)
def test_shown(value, text):
    assert shown(value) == text


def test_peak_memory_is_in_bytes():
    before = record.peak_memory()
    held = torch.ones(64 * 2**20, dtype=torch.uint8)
    after = record.peak_memory()
    assert held.max() == 1
    psutil = pytest.importorskip("psutil")
    assert before <= after
    assert after >= psutil.Process().memory_info().rss * 0.9
    assert after < 64 * 2**30
