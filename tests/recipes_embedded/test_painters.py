from random import Random

import numpy as np
import pytest
import torch

from clipopt.embedded.captions import Scene, caption, shape_number, true_of, vocabulary
from clipopt.embedded.concepts import COLOUR_NAMES, COLOURS, SHAPES, concepts, things
from clipopt.scorers import load_scorer
from clipopt.types import generator
from recipes.embedded import pictures, sprites
from recipes.embedded.painters import Painter, What, shade
from recipes.embedded.pictures import Pictures, paint
from recipes.embedded.sprites import nearest_colour, shape_mask


def test_a_picture_depends_on_its_number_alone(plain_world):
    first = [Painter(3).paint(i) for i in range(6)]
    again = Painter(3)
    for number in (5, 2, 0):
        image, scene = again.paint(number)
        assert np.array_equal(image, first[number][0])
        assert scene == first[number][1]
    assert not np.array_equal(first[0][0], Painter(4).paint(0)[0])


def test_every_kind_of_scene_is_painted(plain_world):
    scenes = [Painter(0).paint(i)[1] for i in range(300)]
    assert {s.count for s in scenes} == {1, 2, 3, 4}
    assert {s.relation for s in scenes} == {None, "beside", "over"}
    assert {s.size for s in scenes} == {"small", "medium", "large"}
    assert {s.place for s in scenes} == {None, *range(9)}
    assert any(s.concept < len(things()) for s in scenes)


def test_the_first_of_a_pair_is_left_or_above(plain_world):
    painter, checked = Painter(1), 0
    for number in range(400):
        image, scene = painter.paint(number)
        if scene.other is None or not scene.colour or not scene.other_colour or scene.colour == scene.other_colour:
            continue
        if min(scene.concept, scene.other) < len(things()):
            continue
        found = nearest_colour(image.astype(np.float32))
        spots = [np.argwhere(found == COLOUR_NAMES.index(c)) for c in (scene.colour, scene.other_colour)]
        if min(map(len, spots)) < 60:
            continue
        axis = 1 if scene.relation == "beside" else 0
        first, second = (np.median(s[:, axis]) for s in spots)
        assert first < second, (number, scene)
        checked += 1
    assert checked >= 5


def test_the_background_is_as_named(plain_world):
    painter = Painter(2)
    right = []
    for number in range(200):
        image, scene = painter.paint(number)
        if scene.background and scene.size == "small":
            corners = image[[0, 0, -1, -1], [0, -1, 0, -1]].astype(np.float32)
            right.append((nearest_colour(corners) == COLOUR_NAMES.index(scene.background)).mean())
    assert len(right) > 10
    assert np.mean(right) > 0.7


def test_a_ground_of_two_shades_of_one_colour_has_its_name(plain_world):
    painter = Painter(2)
    named, free = 0, 0
    for number in range(600):
        rng = Random(f"2/{number}")
        image, name = painter._ground(rng, generator(2, number), set())
        shares = (
            np.bincount(nearest_colour(image.clip(0, 255)).ravel(), minlength=len(COLOUR_NAMES)) / image[..., 0].size
        )
        if Random(f"2/{number}").random() >= 0.12:  # its colour was chosen by name
            continue
        free += 1
        named += name != ""
        assert shares[COLOUR_NAMES.index(name)] > 0.7 if name else (shares > 0).sum() > 1, (number, name)
    assert 0 < named < free / 2


def test_named_colours_are_their_own_nearest():
    found = nearest_colour(np.array(list(COLOURS.values()), np.float32))
    assert found.tolist() == list(range(len(COLOURS)))


@pytest.mark.parametrize(("name", "share"), [("circle", np.pi / 4 * 0.96), ("rectangle", 0.48), ("triangle", 0.31)])
def test_shapes_cover_what_geometry_says(name, share):
    assert np.asarray(shape_mask(name)).mean() / 255 == pytest.approx(share, abs=0.02)


def test_all_shapes_differ():
    masks = [np.asarray(shape_mask(s, 64)).tobytes() for s in SHAPES]
    assert len(set(masks)) == len(SHAPES)


def test_tinting_recolours_the_main_colour_only(plain_world):
    sprite = next(s for s in plain_world if s.colour == "red")
    rgb, cover = sprite.place(40.0, 32.0, 32.0, 0.0, False, 64, np.array(COLOURS["blue"], np.float32))
    inside = rgb[cover[..., 0] > 0.9]
    assert (nearest_colour(inside) == COLOUR_NAMES.index("blue")).mean() > 0.95


def test_painting_to_disk_goes_on_where_it_stopped(plain_world, tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "CHUNK", 8)
    assert list(paint(5, 20, tmp_path, workers=1)) == [0, 8, 16, 20]
    removed = tmp_path / "0001-images.npy"
    before = removed.read_bytes()
    removed.unlink()
    assert list(paint(5, 20, tmp_path, workers=1)) == [12, 20]
    assert removed.read_bytes() == before
    stored = Pictures(tmp_path)
    assert len(stored) == 20
    batch = stored.draw(16, generator(0))
    assert batch.images.shape == (16, 3, 64, 64)
    assert true_of(batch.said, batch.scenes).diagonal().all()
    assert not any(true_of(batch.false[:, n], batch.scenes).diagonal().any() for n in range(batch.false.shape[1]))
    expected = torch.from_numpy(Painter(5).paint(9)[0]).permute(2, 0, 1)
    assert torch.equal(stored.images(torch.tensor([9]))[0], expected)


def test_a_missing_font_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(sprites, "FONT", tmp_path / "none.ttf")
    with pytest.raises(ValueError, match="fonts-noto-color-emoji"):
        sprites.symbols()


def test_scenes_have_nine_slots():
    assert len(Scene(0).slots()) == 9


def test_a_painter_of_some_words_paints_what_they_say_and_no_solid(plain_world):
    painter = Painter.of(("apple", "apples", "cat", "cats", "red"), 0)
    assert {concepts()[number].noun for number in painter.drawn} == {"cat", "apple"}
    assert not painter.solids
    shown = {scene.concept for scene in (painter.paint(index)[1] for index in range(40))}
    assert {n for n in shown if n < len(things())} == {*painter.drawn}
    assert Painter.of(vocabulary(), 0).drawn == range(len(things()))


@pytest.mark.parametrize("which", ["embedded", "embedded-judge", "embedded-plain"])
def test_they_name_shapes_that_they_never_saw(which, plain_world):
    painter, rng, images, right = Painter(12345), Random(0), [], []
    scorer = load_scorer(which)
    captions = [caption(Scene(shape_number(s), c)) for s in SHAPES for c in COLOUR_NAMES]
    for _ in range(120):
        shape, colour = rng.choice(SHAPES), rng.choice(COLOUR_NAMES)
        ground, _ = painter._ground(rng, torch.Generator().manual_seed(0), {colour})
        number = shape_number(shape)
        what = What(number, colour, shade(colour, rng), plain_world[number])
        image = painter._put(ground, rng, what, rng.uniform(28, 50), 32.0, 32.0, 0.1)
        images.append(torch.from_numpy(image).clamp(0, 255).permute(2, 0, 1) / 255)
        right.append(captions.index(f"{'an' if colour == 'orange' else 'a'} {colour} {shape}"))
    with torch.no_grad():
        named = (scorer.encode_image(torch.stack(images)) @ scorer.encode_text(captions).T).argmax(1)
    assert (named == torch.tensor(right)).float().mean() > 0.75
