import json
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from clipopt.embedded.captions import vocabulary
from clipopt.embedded.concepts import COLOUR_NAMES, number_of, things
from clipopt.scorers.tower import TowerConfig
from recipes.embedded import clipart, hands, painters, painting, pictures, scorer, scorer_trainer, sources, sprites
from recipes.embedded.manners import MANNERS
from recipes.embedded.painters import Painter
from recipes.embedded.painting import WORLD, ManyHands, Weights
from recipes.embedded.pictures import Pictures, paint
from recipes.embedded.scorer import ScorerTraining
from recipes.embedded.scorer_trainer import Phase, Recipe
from recipes.embedded.sources import HANDS, HELD_OUT, Roots
from recipes.embedded.sprites import nearest_colour

BODY = {
    "cat-face": '<path fill="#28f" d="M2 2h28v20H2z"/><circle cx="16" cy="24" r="6" fill="#28f"/>',
    "red-apple": '<circle cx="16" cy="16" r="9" fill="#d22"/>',
    "direct-hit": '<circle cx="16" cy="16" r="14" fill="currentColor"/>',
}
CLIP = """<svg xmlns="http://www.w3.org/2000/svg" xmlns:dc="http://purl.org/dc/elements/1.1/"
xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" width="40mm" height="20mm" viewBox="0 0 40 20"><metadata>
<License xmlns="http://web.resource.org/cc/" rdf:about="{licence}"/><dc:title>{title}</dc:title>
<rdf:li>{keyword}</rdf:li></metadata>{body}</svg>"""
FREE = "http://web.resource.org/cc/PublicDomain"
SPOT = '<ellipse cx="20" cy="10" rx="18" ry="9" fill="#2a4"/>'


@pytest.fixture
def roots(tmp_path, monkeypatch):
    """Packages of two hands that draw three things, and a library of clip art."""
    symbols = {t.emoji: chr(0xF0000 + n) for n, t in enumerate(things()) if t.emoji}
    symbols |= {"cat face": "\U0001f431", "red apple": "\U0001f34e", "bullseye": "\U0001f3af", "cat": "\U0001f408"}
    symbols |= {"cat face: medium skin tone": "\U0001f431\U0001f3fd", "flag: Atlantis": "\U0001f1e6\U0001f1f6"}
    monkeypatch.setattr(sprites, "symbols", lambda: symbols)
    sources.emoji.cache_clear()
    made = Roots(tmp_path / "node_modules", tmp_path / "debian")
    for name in ("openmoji", "noto-v1", "twemoji"):
        hand = next(h for h in HANDS if h.name == name)
        folder = made.place(hand).parent
        folder.mkdir(parents=True)
        icons = {key: {"body": body} for key, body in BODY.items()}
        if name == "noto-v1":
            icons["cat"] = {"body": '<circle cx="16" cy="16" r="5" fill="#111"/>'}
        write(
            folder / "icons.json",
            {"icons": icons, "aliases": {"bullseye": {"parent": "direct-hit"}}, "width": 32, "height": 32},
        )
        write(folder / "info.json", {"license": {"spdx": hand.licence}})
    write(made.npm / "@iconify-json/openmoji/chars.json", {"1f431": "cat-face"})
    library = made.debian / "usr/share/openclipart/svg"
    clips = {
        "animals/cat_01": ("A simple cat 01", "cat", SPOT, FREE),
        "animals/cat_02": ("Cat", "cat", SPOT.replace("18", "12"), FREE),
        "animals/same": ("Cat again", "cat", SPOT, FREE),
        "animals/other": ("Dog", "dog", SPOT.replace("9", "4"), "http://creativecommons.org/licenses/GPL/2.0/"),
        "food/card": ("Apple", "apple", '<path d="M0 0h40v20H0z"/>', FREE),
        "computer/icons/apple": ("Apple", "apple", SPOT, FREE),
    }
    for name, (title, keyword, body, licence) in clips.items():
        (library / name).parent.mkdir(parents=True, exist_ok=True)
        (library / f"{name}.svg").write_text(CLIP.format(title=title, keyword=keyword, body=body, licence=licence))
    yield made
    sources.emoji.cache_clear()


def write(path: Path, told: object) -> None:
    path.write_text(json.dumps(told))


@pytest.fixture
def folder(roots, plain_world, tmp_path):
    pytest.importorskip("resvg_py")
    for hand in HANDS:
        if roots.place(hand).exists() and hand.name != "openclipart":
            hands.build(hand, roots, tmp_path / "hands", 64)
    return tmp_path / "hands"


def find(name: str) -> sources.Hand:
    return next(hand for hand in HANDS if hand.name == name)


def test_two_hands_measure_and_are_in_no_training(folder):
    assert HELD_OUT == ("twemoji", "symbola")
    assert {*HELD_OUT} <= {hand.name for hand in HANDS}
    assert hands.path_of(folder, "twemoji").is_file()
    assert {*hands.open_hands(folder)} == {"openmoji", "noto-v1"}
    assert {*hands.open_hands(folder, measuring=True)} == {"twemoji"}
    drawn = {hand for choices, _ in ManyHands(folder)._choices for hand, _ in choices}
    assert drawn == {WORLD, "openmoji", "noto-v1"}
    with pytest.raises(ValueError, match="twemoji measure"):
        Weights({"twemoji": 1.0})
    assert hands.unseen(hands.CLIPS_HELD_OUT)


def test_no_hand_has_a_licence_that_forbids_its_use():
    assert len([hand for hand in HANDS if hand.name not in HELD_OUT]) >= 8
    for hand in HANDS:
        assert not any(word in hand.licence for word in ("-NC", "-ND", "LicenseRef-Proprietary"))
        assert hand.credit
        assert hand.package not in sources.LEFT_OUT
    assert [hand.name for hand in HANDS if hand.share_alike] == ["openmoji", "emojione-v1"]


def test_another_licence_than_the_one_that_was_read_is_refused(roots):
    path = roots.place(find("openmoji")).parent / "info.json"
    write(path, {"license": {"spdx": "CC-BY-NC-4.0"}})
    with pytest.raises(ValueError, match=r"CC-BY-NC-4\.0, expected CC-BY-SA-4\.0"):
        list(sources.drawings(find("openmoji"), roots, 32))


def test_what_is_not_there_says_which_package_it_is(roots, tmp_path):
    shutil.rmtree(roots.npm)
    with pytest.raises(ValueError, match="@iconify-json/openmoji"):
        hands.build(find("openmoji"), roots, tmp_path)
    told = sources.install()
    assert "npm install --ignore-scripts @iconify-json/noto-v1 @iconify-json/openmoji" in told
    assert "apt-get install openclipart-svg fonts-symbola" in told


def test_emoji_are_found_by_code_point_by_name_and_by_other_names(folder):
    for name in ("openmoji", "noto-v1"):
        drawn = hands.open_hands(folder)[name]
        assert {"1f431", "1f34e", "1f3af"} <= {*drawn.places}
        assert not any("1f3fd" in key for key in drawn.places)
        cat = np.asarray(drawn.picture(drawn.places["1f431"][0]))
        assert cat.shape == (64, 64, 4)
        rows, columns = (np.flatnonzero((cat[..., 3] > 128).any(axis)) for axis in (1, 0))
        assert max(len(rows), len(columns)) == 64  # cut out, and as large as fits
        assert drawn.sprite(drawn.places["1f34e"][0]).colour == "red"
        assert drawn.sprite(drawn.places["1f3af"][0]).colour == "black"  # the colour of the text


def test_the_same_package_gives_the_same_file(folder, roots, tmp_path):
    again = hands.build(find("noto-v1"), roots, tmp_path / "again", 64)[0]
    assert again.read_bytes() == hands.path_of(folder, "noto-v1").read_bytes()
    smaller = hands.Drawings(hands.build(find("noto-v1"), roots, tmp_path / "small", 32)[0])
    assert smaller.digest != hands.open_hands(folder)["noto-v1"].digest
    assert smaller.picture(0).size == (32, 32)


def test_clip_art_is_known_by_its_title_and_only_what_is_free_is_taken(roots, plain_world, tmp_path, monkeypatch):
    pytest.importorskip("resvg_py")
    monkeypatch.setattr(clipart, "HELD_OUT", 0)
    hands.build(find("openclipart"), roots, tmp_path)
    drawn = hands.open_hands(tmp_path)[hands.CLIPS]
    # Not: the same again, what is under the GPL, a full rectangle, an icon of a program.
    assert len(drawn) == 2
    assert painting.drawn_by(drawn) == {number_of("cat"): [0, 1]}
    monkeypatch.setattr(clipart, "HELD_OUT", 1)
    hands.build(find("openclipart"), roots, tmp_path)
    kept = hands.open_hands(tmp_path, measuring=True)[hands.CLIPS_HELD_OUT]
    assert len(kept) == 1
    assert not {*kept.places} & {*hands.open_hands(tmp_path)[hands.CLIPS].places}


@pytest.mark.parametrize(
    ("title", "keywords", "noun"),
    [
        ("A simple pig 01", (), "pig"),
        ("angry monkey", ("monkey",), "monkey"),
        ("barbary monkey", (), None),
        ("Hamburger (B and W)", (), "hamburger"),
        ("tree of life", ("tree",), None),
        ("cat and dog", ("cat", "dog"), None),
        ("Apple with worm", (), "apple"),
        ("keyboard key", ("key",), None),
    ],
)
def test_a_title_names_what_its_last_words_do(title, keywords, noun):
    number = clipart.thing(clipart.Clip("x", title, keywords))
    assert (None if number is None else things()[number].noun) == noun


def drawing() -> Image.Image:
    y, x = np.mgrid[0:96, 0:96]
    inside = (x - 48) ** 2 + (y - 48) ** 2 < 46**2
    face = np.zeros((96, 96, 4), np.uint8)
    face[inside] = (230, 180, 40, 255)
    face[(abs(x - 48) < 8) & (abs(y - 48) < 30)] = (30, 40, 160, 255)
    return Image.fromarray(face)


@pytest.mark.parametrize("name", MANNERS)
def test_a_manner_repeats_by_its_seed_and_has_no_colour(name):
    draw = MANNERS[name]
    pixels = np.asarray(draw(drawing(), 3)).astype(int)
    assert np.array_equal(pixels, np.asarray(draw(drawing(), 3)))
    assert any(not np.array_equal(pixels, np.asarray(draw(drawing(), seed))) for seed in range(6)) == (
        name != "silhouette"
    )
    rgb = pixels[pixels[..., 3] > 0][:, :3]
    assert (rgb.max(-1) - rgb.min(-1)).max() <= 1


def test_lines_are_where_colours_meet():
    for seed in range(6):
        pixels = np.asarray(MANNERS["lines"](drawing(), seed)).astype(float)
        ink = (255 - pixels[..., 0]) / 255 * pixels[..., 3] / 255
        middle = len(ink) // 2
        assert ink[middle, middle - 12 : middle - 4].max() > 0.6  # the edge of the bar
        assert ink[middle, : middle - 40].max() > 0.6  # the rim
        assert ink[middle, middle - 30 : middle - 18].max() < 0.1
        assert 0.02 < ink.mean() < 0.35


def test_a_sketch_is_darker_where_the_drawing_is():
    for seed in range(6):
        pixels = np.asarray(MANNERS["sketch"](drawing(), seed)).astype(float)
        ink = (255 - pixels[..., 0]) / 255 * pixels[..., 3] / 255
        middle = len(ink) // 2
        assert (
            ink[middle - 20 : middle + 20, middle - 5 : middle + 5].mean()
            > 2 * ink[middle - 20 : middle + 20, middle - 35 : middle - 15].mean()
        )


def test_silhouette_and_grey_keep_the_shape():
    before = np.asarray(drawing())[..., 3] > 128
    for name in ("silhouette", "grey"):
        after = np.asarray(MANNERS[name](drawing(), 0))[..., 3] > 128
        assert np.array_equal(before, after)


def test_without_hands_the_world_is_as_it_was(plain_world):
    asked = []

    def look(number: int, rng: Random) -> painters.What:
        asked.append(number)
        return painters.coloured(number, sprites.sprites()[number], rng)

    for index in range(60):
        ours, scene = Painter(3).paint(index)
        theirs, same = Painter(3, look=look).paint(index)
        assert np.array_equal(ours, theirs)
        assert scene == same
    assert asked


def test_every_hand_and_manner_is_seen(folder):
    look, rng = ManyHands(folder, Weights({"openmoji": 3.0})), Random(0)
    cat = number_of("cat")
    keys = [*look._sprites]
    assert keys == []
    for _ in range(400):
        look(cat, rng)
    seen = {(hand, manner) for hand, _, manner, _ in look._sprites}
    assert {hand for hand, _ in seen} == {WORLD, "openmoji", "noto-v1"}
    assert {manner for _, manner in seen} == {"", *MANNERS}
    poses = {place for hand, place, _, _ in look._sprites if hand == "noto-v1"}
    assert poses == {look.hands["noto-v1"].places[key][0] for key in ("1f431", "1f408")}


def test_colours_are_exact_in_every_hand_and_manner(folder):
    look = ManyHands(folder, Weights({WORLD: 0.0}))
    right = []
    for index in range(120):
        what = look(number_of("apple"), Random(index))
        rgb, cover = what.sprite.place(50.0, 32.0, 32.0, 0.0, False, 64, what.tint)
        if what.colour:
            inside = rgb[cover[..., 0] > 0.95]
            right.append((nearest_colour(inside) == COLOUR_NAMES.index(what.colour)).mean())
    assert len(right) > 60
    assert np.mean(right) > 0.93


def test_black_lines_stand_on_no_black_ground(folder):
    look = ManyHands(folder, Weights({WORLD: 0.0}, {"lines": 0.5, "sketch": 0.5}))
    painter = Painter(5, drawn=[number_of("apple"), number_of("cat")], solids=False, look=look)
    scenes = [painter.paint(n)[1] for n in range(150)]
    alone = [s for s in scenes if s.concept == number_of("apple") and s.other is None]
    assert len(alone) > 30
    assert all(s.background != "black" and s.colour == "" and not s.tinted for s in alone)


def test_a_black_silhouette_of_a_red_thing_is_tinted(folder):
    look = ManyHands(folder, Weights({WORLD: 0.0}, {"silhouette": 1.0}))
    whats = [look(number_of("apple"), Random(n)) for n in range(40)]
    assert {what.colour for what in whats} > {"black"}
    assert all(what.tinted == (what.colour != "red") for what in whats)


def test_worlds_of_other_hands_or_weights_are_kept_apart(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK", 8)
    make, told = partial(painting.painter, folder=folder), painting.told(folder)
    assert list(paint(5, 12, tmp_path / "w", workers=1, make=make, hands=told)) == [0, 8, 12]
    assert np.array_equal(
        Pictures(tmp_path / "w").images(torch.tensor([9]))[0].permute(1, 2, 0), make(5, 64).paint(9)[0]
    )
    other = painting.told(folder, Weights(manners={"lines": 0.5}))
    assert other != told
    with pytest.raises(ValueError, match="another world"):
        list(paint(5, 12, tmp_path / "w", workers=1, make=make, hands=other))
    with pytest.raises(ValueError, match="another world"):
        list(paint(5, 12, tmp_path / "w", workers=1))


@pytest.mark.parametrize(
    ("hands_of", "manners", "message"),
    [({"openmojo": 1.0}, {}, "no hand called openmojo"), ({}, {"charcoal": 0.1}, "expected shares of lines"),
     ({}, {"lines": 0.7, "grey": 0.7}, "must not exceed 1")],
)  # fmt: skip
def test_weights_of_nothing_are_refused(folder, hands_of, manners, message):
    with pytest.raises(ValueError, match=message):
        ManyHands(folder, Weights(hands_of, manners))


def test_a_folder_without_hands_says_how_to_make_them(tmp_path):
    with pytest.raises(ValueError, match=r"python -m recipes\.embedded hands"):
        hands.open_hands(tmp_path)


def test_a_training_on_hands_remembers_them(folder, tmp_path, monkeypatch, capsys):
    config = TowerConfig(
        widths=(8, 16), depths=(1, 1), stem=4, dim=16, text_width=16, text_layers=1, vocabulary=vocabulary()
    )
    plan = Recipe(config, (Phase("plain", 2, 2e-3),), 0, world=0, pictures=32, batch=16)
    monkeypatch.setattr(scorer_trainer, "recipe", lambda which, *, further=False: plan)
    monkeypatch.setattr(scorer, "MEASURED", 20)
    began = ScorerTraining(
        "scorer", out=tmp_path / "run", pictures=tmp_path / "painted", workers=1, precision="float32", json=True,
        hands=str(folder), weights="openmoji=2,lines=0.3", side=32,
    )  # fmt: skip
    began.prepare()()
    assert json.loads(capsys.readouterr().out)["batches"] == 2
    assert Pictures(tmp_path / "painted").side == 32
    assert json.loads((tmp_path / "painted/world.json").read_text())["hands"] == painting.told(
        folder, Weights({WORLD: 2.0, "openmoji": 2.0}, Weights().manners | {"lines": 0.3})
    )
    kept = json.loads((tmp_path / "run/config.json").read_text())
    assert (kept["hands"], kept["weights"], kept["side"]) == (str(folder), "openmoji=2,lines=0.3", 32)
    with pytest.raises(ValueError, match="another world"):
        replace(began, out=tmp_path / "other", weights="").prepare()
    ScorerTraining("scorer", resume=tmp_path / "run").prepare()  # with the hands that it began with
    with pytest.raises(ValueError, match="--weights"):
        ScorerTraining("scorer", resume=tmp_path / "run", weights="openmoji=1").prepare()
    with pytest.raises(ValueError, match="expected NAME=WEIGHT"):
        ScorerTraining("scorer", hands=str(folder), weights="openmoji").prepare()
    with pytest.raises(ValueError, match="name their folder with --hands"):
        ScorerTraining("scorer", weights="openmoji=1").prepare()
