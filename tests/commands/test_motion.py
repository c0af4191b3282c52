"""`clipopt motion` as a user runs it, before small random scorers: it does the same whatever they learnt."""

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from clips_models import save_xclip

from clipopt.cli import main
from clipopt.embedded.moves import vocabulary
from clipopt.embedded.people import poses
from clipopt.geometry.skeleton import limits
from clipopt.pipelines.motion import loop as moving
from clipopt.pipelines.motion import search as choreography
from clipopt.pipelines.motion.phases import backward_sentence, course, split_phases
from clipopt.pipelines.motion.pose_bank import limbs, load_bank, pose_bank, taken_from
from clipopt.pipelines.motion.refinement import FeetLock, Refinement, flat_footed, grounded, landed
from clipopt.pipelines.motion.search import SIGHTS, Beat, Program, Search, build, viterbi
from clipopt.pipelines.motion.views import Watcher, directed, same_deeds
from clipopt.scorers import load_scorer
from clipopt.scorers.film import FilmConfig, FilmTowers
from clipopt.scorers.tower import TowerConfig
from clipopt.types import generator

SHORT = ["--seconds", "1", "--fps", "10", "--bank", "40", "--tries", "4", "--steps", "2", "--lock", "2", "--quiet"]


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """The options that name them."""
    folder = tmp_path_factory.mktemp("film scorers")
    options = []
    for seed, role in enumerate(("scorer", "judge")):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            towers = TowerConfig(
                image_size=16, widths=(8, 16), depths=(1, 1), dim=16, text_width=16, text_layers=1,
                vocabulary=vocabulary(),
            )  # fmt: skip
            model = FilmTowers(towers, FilmConfig(frames=4, width=16, layers=1))
            torch.nn.init.normal_(model.head.last.weight, std=0.2)
        model.save(folder / f"{role}.safetensors")
        options += [f"--{role}", str(folder / f"{role}.safetensors")]
    return options


@pytest.fixture(scope="module", autouse=True)
def few_looks():
    """The best motions are looked at again, but not from so many sides."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(choreography, "FRESH", 2)
        patch.setattr(choreography, "AGAIN", 3)
        yield


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(moving, "_SIDE", 48)
    monkeypatch.setattr(moving, "_CELL", 32)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def test_makes_every_file_and_the_same_again(films, tmp_path, capsys):
    for out in ("a", "b"):
        assert main(["motion", "a person raises both arms, then squats", *films, *SHORT, "--out", out]) == 0
    assert capsys.readouterr().out.split() == ["a", "b"]
    names = {path.name for path in (tmp_path / "a").iterdir()}
    expected = {f"result.{s}" for s in ("bvh", "glb", "npz", "mp4", "gif", "png")}
    assert names >= expected | {"sheet.png", "report.html", "summary.json", "config.json", "steps.jsonl"}
    one, other = (np.load(tmp_path / out / "result.npz") for out in "ab")
    np.testing.assert_array_equal(one["joints"], other["joints"])
    assert one["joints"].shape == (10, 22, 3)
    low, high = (edge.numpy() for edge in limits())
    assert ((one["angles"] >= low - 1e-5) & (one["angles"] <= high + 1e-5)).all()
    summary = json.loads((tmp_path / "a/summary.json").read_text())
    assert summary["status"] == "done"
    assert summary["phases"] == ["a person raises both arms", "a person squats"]
    assert summary["measured"]["limit violations"] == 0
    assert {"reversed-time gap", "frozen-pose gap"} <= summary["judge on order"].keys()
    terms = json.loads((tmp_path / "a/steps.jsonl").read_text().splitlines()[0])["terms"]
    expected = {"film", "direction", "contact", "freeze", "jerk", "acceleration", "balance", "legs"}
    assert expected <= terms.keys() | {"film"}


@pytest.fixture(scope="module")
def whole(films, tmp_path_factory):
    """A run of two phases from start to end."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder.parent))
        patch.setattr(moving, "_SIDE", 48)
        patch.setattr(moving, "_CELL", 32)
        assert main([*LONGER, *films, "--out", str(folder)]) == 0
    return folder


LONGER = ["motion", "a person claps, then bows", *SHORT, "--tries", "10", "--steps", "3", "--lock", "3"]
STAGES = [(Search, "_score", 4), (Refinement, "loss", 2), (FeetLock, "loss", 2)]
KILLED = [STAGES[0], *(pytest.param(*stage, marks=pytest.mark.slow) for stage in STAGES[1:])]


def same(one, other):
    for name in ("joints", "angles", "root"):
        np.testing.assert_array_equal(np.load(one / "result.npz")[name], np.load(other / "result.npz")[name])
    logs = [[json.loads(line)["terms"] for line in (run / "steps.jsonl").read_text().splitlines()]
            for run in (one, other)]  # fmt: skip
    assert logs[0] == logs[1]
    summaries = [json.loads((run / "summary.json").read_text()) for run in (one, other)]
    assert summaries[0]["scores"] == summaries[1]["scores"]
    assert summaries[0]["status"] == summaries[1]["status"] == "done"


@pytest.mark.parametrize(("stage", "name", "number"), STAGES)
def test_interrupted_and_resumed_it_is_the_same_motion(
    stage, name, number, whole, films, tmp_path, monkeypatch, capsys
):
    method, calls = getattr(stage, name), []

    def interrupt(self, *arguments):
        calls.append(name)
        if len(calls) == number:
            signal.raise_signal(signal.SIGINT)
        return method(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stage, name, interrupt)
        assert main([*LONGER, *films, "--out", "parts"]) == 130
    assert len(calls) == number
    assert "clipopt motion --resume parts" in capsys.readouterr().err
    assert json.loads((tmp_path / "parts/summary.json").read_text())["status"] == "interrupted"
    assert np.load(tmp_path / "parts/result.npz")["joints"].shape == (10, 22, 3)
    assert main(["motion", "--resume", "parts", "--quiet"]) == 0
    same(tmp_path / "parts", whole)


@pytest.mark.parametrize(("stage", "name", "number"), KILLED)
def test_killed_at_any_moment_the_folder_is_a_run_to_resume(stage, name, number, whole, films, tmp_path, monkeypatch):
    method, calls = getattr(stage, name), []

    def die(self, *arguments):
        calls.append(name)
        if len(calls) == number:
            raise SystemExit(9)
        return method(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(stage, name, die)
        patch.setattr("clipopt.pipelines.run_loop.CHECKPOINT_SECONDS", 0.0)
        patch.setattr("clipopt.pipelines.run_loop.SAVING", 1e9)
        with pytest.raises(SystemExit):
            main([*LONGER, *films, "--out", "parts"])
    assert not (tmp_path / "parts/summary.json").exists()
    assert (tmp_path / "parts/checkpoint.pt").exists()
    assert main(["motion", "--resume", "parts", "--quiet"]) == 0
    same(tmp_path / "parts", whole)


def test_a_run_goes_on_with_its_own_models_only(whole, films, tmp_path, capsys):
    record = json.loads((whole / "config.json").read_text())
    record["fingerprints"]["scorer"] = "another"
    (tmp_path / "other").mkdir()
    (tmp_path / "other/config.json").write_text(json.dumps(record))
    assert main(["motion", "--resume", "other"]) == 2
    assert "another model scorer" in capsys.readouterr().err


def test_a_loop_closes(films, tmp_path):
    assert (
        main(["motion", "a person walking", *films, *SHORT, "--loop", "--in-place", "--lock", "0", "--out", "a"]) == 0
    )
    angles = np.load(tmp_path / "a/result.npz")["angles"]
    steps = np.linalg.norm(np.diff(np.concatenate([angles, angles[:1]]), axis=0), axis=1)
    assert steps[-1] <= steps.max() + 1e-6


def test_a_film_model_of_transformers_takes_the_same_slot(films, tmp_path):
    folder = save_xclip(tmp_path / "xclip")
    arguments = ["motion", "a person walking", *films, *SHORT, "--film", str(folder), "--out", "a"]
    assert main(arguments) == 0
    assert "film" in json.loads((tmp_path / "a/steps.jsonl").read_text().splitlines()[0])["terms"]
    assert "film" in json.loads((tmp_path / "a/config.json").read_text())["fingerprints"]


def test_a_scorer_of_pictures_alone_is_enough(towers, tmp_path):
    arguments = ["motion", "a person walking", towers[0], towers[1], "--judge", "none", *SHORT, "--out", "a"]
    assert main(arguments) == 0
    terms = json.loads((tmp_path / "a/steps.jsonl").read_text().splitlines()[0])["terms"]
    assert "pictures" in terms
    assert "film" not in terms


def test_a_rig_gets_the_motion_too(films, tmp_path):
    from clipopt.io import motion as motions

    turns = torch.eye(3).expand(1, 22, 3, 3)
    motions.save_glb(tmp_path / "hero.glb", turns, torch.zeros(1, 3), fps=30)
    assert main(["motion", "a person walking", *films, *SHORT, "--rig", "hero.glb", "--out", "a"]) == 0
    assert (tmp_path / "a/rig.glb").stat().st_size > (tmp_path / "hero.glb").stat().st_size


def test_evaluates_its_suite(films, tmp_path, capsys):
    small = ["--prompts", "2", "--seeds", "1", "--bank", "30", "--tries", "3", "--steps", "1", "--lock", "1"]
    assert main(["eval", "motion", *films, *small, "--seconds", "1", "--out", "e", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["motions"] == 2
    assert 0 <= told["r_precision"]["all"]["top 3"] <= 1
    assert told["limit violations"] == 0
    assert {"one of five named", "not found"} <= told["gate"].keys()
    assert {path.name for path in (tmp_path / "e").iterdir()} - {".lock"} == {
        "summary.json",
        "motions.jsonl",
        "sheet.png",
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["  "], "say what to do"),
        (["a person walks, then sits", "--loop"], "one part"),
        (["a person walks", "--seconds", "0.1"], "--seconds"),
        (["a person walks", "--fps", "1"], "--fps"),
        (["a person walks", "--phases", " ; "], "phases"),
        (["a person walks", "--scorer", "nothing"], "unknown scorer"),
        (["a person walks", "--film", "nothing here"], "X-CLIP"),
        (["a person walks", "--tries", "0"], "--tries"),
        (["a person", "walks"], "in quotes"),
        (["a person walks", "--resume", "nowhere"], "leave out a prompt"),
        (["--resume", "nowhere", "--lock", "3"], "leave out --lock"),
        (["--resume", "nowhere"], "no run to resume"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line_and_nothing_is_written(arguments, message, films, tmp_path, capsys):
    own = [] if {"--scorer", "--resume"} & {*arguments} else films
    assert main(["motion", *arguments, *own]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "outputs").exists()


def test_dry_run_writes_nothing(films, tmp_path, capsys):
    assert main(["motion", "a person claps, then bows", *films, "--dry-run", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["phases"] == ["a person claps", "a person bows"]
    assert not (tmp_path / "outputs").exists()


def test_sentences_fall_apart_at_then():
    assert split_phases("a person raises both arms, then squats") == ["a person raises both arms", "a person squats"]
    assert split_phases("The old man sits down and then he waves.") == ["The old man sits down", "he waves"]
    assert split_phases("a person walks") == ["a person walks"]
    assert split_phases("x", "clapping; a woman bows") == ["a person clapping", "a woman bows"]
    assert backward_sentence(["a person claps", "a person bows"]) == "a person bows, then claps"


@pytest.mark.parametrize(
    ("phrase", "first"),
    [("a person jumps", "standing"), ("a person doing jumping jacks", "standing"), ("a person walking", "walking"),
     ("a person sits down", "standing"), ("a person stands up", "sitting"),
     ("a person picks something up", "standing"), ("a person waves", "waving with the right hand"),
     ("a person waving with the left hand", "waving with the left hand")],
)  # fmt: skip
def test_known_courses(phrase, first):
    found = course(phrase)
    assert found is not None
    assert found.poses[0] == first
    assert course("a person juggles") is None


def test_what_says_the_same_is_no_rival():
    assert same_deeds("someone claps") == {"clapping"}
    assert same_deeds("a person squats") == {"squatting", "squatting down"}
    assert same_deeds("a person raising the left arm") == {"raising the left arm"}
    assert same_deeds("a person juggles") == set()
    # Who waves with a hand waves; who jumps a rope or walks backward does something else than who jumps or walks.
    assert same_deeds("a person waves") == {
        f"waving with {w}" for w in ("the left hand", "the right hand", "both hands")
    }
    assert same_deeds("a person is kicking with the left leg") == {"kicking with the left leg"}
    assert same_deeds("a person jumps") == {"jumping"}
    assert same_deeds("a person walks") == {"walking"}


def test_the_best_of_a_search_are_looked_at_again(films, monkeypatch):
    scorer = load_scorer(films[1])
    watcher = Watcher(scorer, scorer, 16)
    search = Search(watcher, load_bank(scorer, 40), "a person waves", 1.0, 0)
    seen = []

    def totals(programs, looks):
        seen.append(len(looks))
        first = len(looks) == SIGHTS
        return [(-float(p.rows.sum()) if first else float(p.rows.sum()), p) for p in programs]

    monkeypatch.setattr(search, "_totals", totals)
    assert list(search.run(20))[-1] == 20
    assert seen == [SIGHTS] * (len(seen) - 1) + [choreography.FRESH]
    sums = sorted(float(p.rows.sum()) for _, p in search.found)
    assert float(search.best.rows.sum()) == pytest.approx(sums[choreography.AGAIN - 1])
    assert len(search.found) == 20


def test_what_a_table_knows_is_tried_as_it_says_and_other_ways_cost(films):
    scorer = load_scorer(films[1])
    watcher = Watcher(scorer, scorer, 16)
    search = Search(watcher, load_bank(scorer, 40), "a person waves with both hands", 1.0, 0)
    known, other = (next(p for p in search._simple() if p.known == which) for which in (True, False))
    motion = build([known], [(0, 1)], 1, 30)
    assert search._cost(replace(known, known=False), motion) == pytest.approx(search._cost(known, motion) + 1.0)
    assert known.rounds > 1
    legs = limbs()["legs"]
    assert any(torch.equal(p.rows[0, legs], p.rows[1, legs]) for p in search._simple() if p.known)
    assert not other.known
    assert Program.from_state(known.state()).known


def test_the_bank_is_inside_the_limits_and_stands_first():
    angles, root = pose_bank(300)
    low, high = limits()
    assert bool(((angles >= low - 1e-5) & (angles <= high + 1e-5)).all())
    assert len(angles.unique(dim=0)) == 300
    assert float(root[0].abs().sum()) == 0
    # Thirty were made from named poses, some degrees off: none lies nearer to another name than to its own.
    owners = taken_from(300)
    made = (owners >= 0).nonzero()[:, 0].tolist()
    assert made == list(range(1, 31))
    stances = [torch.stack([one.angles for one in named.stances]) for named in poses()]
    for number in made:
        apart = [float((angles[number] - some).abs().mean(1).min()) for some in stances]
        assert apart[owners[number]] < min(apart) + 0.02


def test_viterbi_finds_the_best_way_of_all():
    fits = [torch.randn(12, generator=generator(n)) for n in range(4)]
    joints = torch.randn(12, 22, 3, generator=generator(9))
    candidates = [[0, 3, 5], [1, 2], [4, 6, 7], [8, 9, 11]]
    from itertools import pairwise, product

    def worth(way):
        apart = sum(float((joints[a] - joints[b]).norm(dim=-1).mean()) for a, b in pairwise(way))
        return sum(float(f[n]) for f, n in zip(fits, way, strict=True)) - 0.4 * apart

    assert viterbi(fits, candidates, joints, 0.4) == max(map(list, product(*candidates)), key=worth)


def test_rounds_of_a_program_repeat_its_beats_and_go_on_turning():
    rows = torch.zeros(2, 30)
    keys = Program(rows, (Beat(0), Beat(1, True)), 2).keys(0.0, 2.0, 5)
    assert [(k.pose, k.mirrored) for k in keys] == [(5, False), (6, True), (5, False), (6, True), (5, False)]
    assert keys[-1].at == 2.0
    spin = Program(rows, tuple(Beat(0, yaw=1.5 * n) for n in range(4)), 2).keys(0.0, 2.0)
    assert np.diff([k.yaw for k in spin]) == pytest.approx([1.5] * 8)


def test_locked_feet_slide_less():
    from clipopt.embedded.moves import moves
    from clipopt.geometry.contact import foot_skate
    from clipopt.params.motion import Stances
    from clipopt.render.figure import pose

    walk = next(one for one in moves() if one.phrase == "walking").at(torch.linspace(0, 2, 50))
    stances = Stances(walk[:, :-6], walk[:, -6:])
    skate = [foot_skate(pose(s.angles, s.root).joints, 25.0) for s in (stances, grounded(stances))]
    lock = FeetLock(grounded(stances), 25.0, steps=60)
    for _ in lock.run():
        pass
    locked = lock.stances()
    skate.append(foot_skate(pose(locked.angles, locked.root).joints, 25.0))
    assert skate[0] > 2 * skate[1]
    assert skate[2] < 0.5 * skate[1]
    assert float(grounded(stances).root[-1, 2]) > 0.8  # it walks forward


def test_feet_are_set_flat_and_what_hangs_is_put_down():
    from clipopt.embedded.people import stance
    from clipopt.geometry.contact import FEET, LEVELS
    from clipopt.params.motion import Stances
    from clipopt.render.figure import pose

    tiptoe = stance("B.ankle -46 lift 15")
    stances = landed(Stances(tiptoe.angles.expand(20, -1), tiptoe.root.expand(20, -1)), 10.0)
    assert float(stances.root[:, 1].max()) == 0
    flat = flat_footed(stances, 10.0)
    above = [pose(s.angles, s.root).joints[:, FEET, 1] - torch.tensor(LEVELS) for s in (stances, flat)]
    assert float(above[0][:, 0].min()) > 0.08  # heels
    assert float(above[1].abs().max()) < 0.01


def test_what_has_a_direction():
    assert directed("a person sits down")
    assert directed("someone walking")
    assert not directed("a person clapping")
    assert not directed("a person juggles")
