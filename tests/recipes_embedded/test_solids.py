from collections import Counter

import numpy as np
import pytest
import torch

from clipopt.embedded import concepts as package
from clipopt.embedded.concepts import COLOURS, concepts, number_of, things
from recipes.embedded import painters, solids
from recipes.embedded.painters import Painter
from recipes.embedded.solids import SIDE, VIEWS, SolidSprites, render


def test_every_solid_is_a_thing_of_sound_parts():
    assert len(solids.solids()) >= 40
    for solid in solids.solids():
        mesh = solid.mesh()
        assert solid.number < len(things()), solid.noun
        assert mesh.vertices.norm(dim=1).max() == pytest.approx(1, abs=1e-4), solid.noun
        assert int(mesh.faces.min()) >= 0
        assert int(mesh.faces.max()) < len(mesh.vertices)
        assert ((mesh.colors >= 0) & (mesh.colors <= 1)).all()
        assert 8 <= len(mesh.faces) < 50_000, (solid.noun, len(mesh.faces))


def test_the_package_knows_which_things_are_solids():
    assert package.solids() == tuple(solid.number for solid in solids.solids())


def test_what_has_no_emoji_is_a_solid():
    assert {n for n, c in enumerate(things()) if not c.emoji} <= {solid.number for solid in solids.solids()}


@pytest.fixture(scope="module")
def rendered():
    """Every solid as the same picture of a ball: what matters here is who gets which."""
    ball = next(s for s in solids.solids() if s.noun == "ball")
    views = render(ball.mesh())
    return views, SolidSprites(np.broadcast_to(views, (len(solids.solids()), *views.shape)))


def test_a_ball_is_round_lit_from_above_and_clear_around(rendered):
    views, _ = rendered
    assert views.shape == (VIEWS, SIDE, SIDE, 5)
    cover = views[..., 4] / 255.0
    across = np.sqrt(cover.sum((1, 2)) * 4 / np.pi)
    assert across == pytest.approx(np.full(VIEWS, 0.96 * SIDE), rel=0.02)
    assert ((cover > 0.05) & (cover < 0.95)).any((1, 2)).all()
    light = views[..., 3].astype(float) * (cover > 0.99)
    assert (light[:, : SIDE // 2].sum((1, 2)) > 1.1 * light[:, SIDE // 2 :].sum((1, 2))).all()
    assert (views[:, SIDE // 2, SIDE // 2, 0] > 2 * views[:, SIDE // 2, SIDE // 2, 2]).all()


def test_all_of_it_takes_a_colour_and_keeps_its_shading(rendered):
    _, bank = rendered
    number = number_of("table")
    own, blue = (np.asarray(bank.picture(number, 3, colour), float) for colour in (None, COLOURS["blue"]))
    assert np.array_equal(own[..., 3], blue[..., 3])
    solid = own[..., 3] > 250
    assert (blue[solid][:, 2] > blue[solid][:, 0]).all()
    assert np.corrcoef(own[solid][:, 0], blue[solid][:, 2])[0, 1] > 0.99


def test_painters_use_them_in_their_colours_in_another_and_bare(plain_world, rendered, monkeypatch):
    monkeypatch.setattr(painters, "solid_sprites", lambda: rendered[1])
    painters._solid.cache_clear()
    painter, kinds = Painter(9), Counter[str]()
    for number in range(1500):
        image, scene = painter.paint(number)
        if scene.concept < len(things()) and not concepts()[scene.concept].emoji:
            assert scene.tinted or scene.colour in ("red", "gray")
            kinds["another" if scene.tinted else "own" if scene.colour == "red" else "bare"] += 1
        assert image.shape == (64, 64, 3)
    painters._solid.cache_clear()
    assert set(kinds) == {"own", "bare", "another"}
    assert 0.15 < kinds["bare"] / kinds.total() < 0.6


def test_the_cache_is_read_where_it_is_and_made_where_not(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(solids, "solids", lambda: (solids.Solid("cube", solids.MODELS["cube"]),))
    made = []
    monkeypatch.setattr(solids, "render", lambda mesh, front: made.append(1) or np.zeros((VIEWS, 4, 4, 5), np.uint8))
    for _ in range(2):
        solids.solid_sprites.cache_clear()
        assert solids.solid_sprites().numbers == {number_of("cube")}
    solids.solid_sprites.cache_clear()
    assert len(made) == 1
    assert torch.is_tensor(solids.solids()[0].mesh().vertices)
