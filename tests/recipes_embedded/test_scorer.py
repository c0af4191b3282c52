import pytest
import torch
from jaxtyping import TypeCheckError

from clipopt.embedded.captions import Scene, names, shape_number, slots, vocabulary
from clipopt.embedded.concepts import number_of
from clipopt.scorers.tower import TowerConfig, load_tower
from clipopt.types import generator
from recipes.embedded import pictures
from recipes.embedded.perturbations import hybrids, jitter
from recipes.embedded.pictures import Pictures, paint
from recipes.embedded.replay_buffer import ReplayBuffer
from recipes.embedded.scorer_trainer import Phase, Recipe, Trainer, _name, recipe

CONFIG = TowerConfig(
    widths=(8, 16), depths=(1, 1), stem=4, dim=16, text_width=16, text_layers=1, vocabulary=vocabulary()
)
PHASES = (
    Phase("plain", 3, 2e-3),
    Phase("adversarial", 3, 1e-3, eps=1.0, replays=2, hybrids=4),
    Phase("buffer", 3, 1e-3, eps=1.0, replays=2, buffer=0.5, hybrids=4),
)


@pytest.fixture
def painted(plain_world, tmp_path):
    list(paint(0, 96, tmp_path / "pictures", workers=1))
    return Pictures(tmp_path / "pictures")


def weights(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.average.parameters()])


def test_a_resumed_training_is_the_same_training(painted, tmp_path):
    plan = Recipe(CONFIG, PHASES, seed=0, world=0, pictures=96, batch=16)
    whole = Trainer(plan, painted, amp=False)
    names = [figures["phase"] for figures in whole.run()]
    assert names == ["plain"] * 3 + ["adversarial"] * 3 + ["buffer"] * 3
    for stop in (2, 5, 8):
        first = Trainer(plan, painted, amp=False)
        for _ in first.run():
            if first.done == stop:
                break
        torch.save(first.state(), tmp_path / "state.pt")
        second = Trainer(plan, painted, amp=False)
        second.resume(torch.load(tmp_path / "state.pt", weights_only=True))
        list(second.run())
        assert torch.equal(weights(second), weights(whole)), stop


def test_seeds_decide_and_the_global_generator_does_not(painted):
    def trained(seed):
        trainer = Trainer(Recipe(CONFIG, PHASES[:1], seed, world=0, pictures=96, batch=16), painted, amp=False)
        list(trainer.run())
        return weights(trainer)

    state = torch.get_rng_state()
    one = trained(0)
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(7)
    assert torch.equal(trained(0), one)
    assert not torch.equal(trained(1), one)


def test_it_learns_what_it_sees(painted):
    plan = Recipe(CONFIG, (Phase("plain", 60, 4e-3),), seed=0, world=0, pictures=96, batch=32)
    losses = [float(figures["loss"]) for figures in Trainer(plan, painted, amp=False).run()]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_what_is_saved_is_a_scorer(painted, tmp_path):
    trainer = Trainer(Recipe(CONFIG, PHASES[:1], 0, world=0, pictures=96, batch=16), painted, amp=False)
    list(trainer.run())
    towers, facts = trainer.result()
    towers.save(tmp_path / "scorer.safetensors", facts)
    scorer = load_tower(tmp_path / "scorer.safetensors")
    assert scorer.encode_text(["a red apple"]).norm(dim=-1) == pytest.approx(1, abs=1e-5)
    assert scorer.unknown_words("a red zeppelin") == ["zeppelin"]


def is_picture(images):
    return images.shape[1:] == (3, 64, 64) and images.min() >= 0 and images.max() <= 1


def test_shapes_are_checked_here_too():
    with pytest.raises(TypeCheckError):
        jitter(torch.rand(3, 64, 64), generator(0))


def test_jittered_pictures_are_pictures():
    assert is_picture(jitter(torch.rand(4, 3, 64, 64, generator=generator(0)), generator(1)))


def test_own_pictures_climb_and_cost(painted):
    trainer = Trainer(Recipe(CONFIG, PHASES[:1], 0, world=0, pictures=96, batch=16), painted, amp=False)
    list(trainer.run())
    own = ReplayBuffer(painted, trainer._image, trainer._text, trainer._scale)
    images, numbers = own.visit(generator(0))
    assert is_picture(images)
    assert not images.requires_grad

    def match(images):
        ids = painted.batch(numbers, torch.zeros_like(numbers)).ids
        return float((trainer._image(images) * trainer._text(ids)).sum(1).mean().detach())

    better = images
    for step in range(8):
        better = own._climb(better, numbers, generator(1, step))
    assert match(better) > match(images) + 0.02
    low, high = own.loss(images, numbers, generator(0)), own.loss(better, numbers, generator(0))
    assert high[0] > low[0]  # the better they are, the more they cost
    assert high[1] < low[1]


def test_hybrids_keep_edges_and_lose_what_fills_them():
    """A red disc on blue: its rim stays redder than what surrounds it, its middle takes the other's colour."""
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    disc = ((x - 32).hypot(y - 32) < 20)[None]
    red, blue = torch.tensor([0.9, 0.1, 0.1])[:, None, None], torch.tensor([0.1, 0.2, 0.9])[:, None, None]
    images = torch.stack([torch.where(disc, red, blue), torch.full((3, 64, 64), 0.5)])
    for seed in range(6):
        mixed = hybrids(images, generator(seed))
        assert mixed.shape == images.shape
        assert mixed.min() >= 0
        assert mixed.max() <= 1
        assert (mixed[0, :, 32, 32] - images[0, :, 32, 32]).abs().max() > 0.2
        assert mixed[0, 0, 32, 13] > mixed[0, 0, 32, 10] + 0.2  # just inside, just outside
    assert torch.equal(hybrids(images, generator(3)), hybrids(images, generator(3)))


def test_hybrids_are_no_match(painted):
    """They stand among the pictures that a caption must not prefer: so their loss has a gradient."""
    trainer = Trainer(Recipe(CONFIG, PHASES[1:2], 0, world=0, pictures=96, batch=16), painted, amp=False)
    batch = painted.draw(16, generator(0))
    images = batch.images.float() / 255
    without = trainer._match(images, batch, images[:0])
    same = trainer._match(images, batch, images[:4])
    assert same > without + 1e-3


def test_shipped_recipes_share_nothing():
    scorer, judge = recipe("scorer"), recipe("judge")
    assert scorer.seed != judge.seed
    assert scorer.world != judge.world
    assert scorer.config.widths != judge.config.widths
    assert scorer.shortened(0.01).batches < scorer.batches / 50
    assert {p.name for p in scorer.phases} == {p.name for p in recipe("scorer", further=True).phases}
    assert recipe("judge", further=True).phases[0].lr < judge.phases[0].lr  # what is learnt is to be kept
    with pytest.raises(ValueError, match="'scorer', 'judge' or 'plain'"):
        recipe("poet")


def test_pictures_are_missed_politely(tmp_path):
    with pytest.raises(ValueError, match="paints them first"):
        Pictures(tmp_path)
    assert pictures.CHUNK > 0


def test_a_training_sees_its_own_pictures_whatever_else_the_folder_holds(plain_world, tmp_path):
    """A shorter training that kept its pictures leaves fewer, a longer one more: neither changes what is learnt."""
    folder = tmp_path / "pictures"
    list(paint(0, 10, folder, workers=1))
    assert list(paint(0, 24, folder, workers=1)) == [0, 24]
    assert len(Pictures(folder)) == 24
    assert list(paint(0, 10, folder, workers=1)) == [10]
    few = Pictures(folder, 10)
    assert len(few) == 10
    list(paint(0, 10, tmp_path / "alone", workers=1))
    again, alone = few.draw(8, generator(0)), Pictures(tmp_path / "alone").draw(8, generator(0))
    assert torch.equal(again.images, alone.images)
    assert torch.equal(again.ids, alone.ids)


def test_pictures_of_another_world_are_refused_and_kept(painted, tmp_path):
    folder = tmp_path / "pictures"
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if path.name != "world.json"}
    assert list(paint(0, 96, folder, workers=1)) == [96]
    for spoil in (
        lambda: list(paint(1, 96, folder, workers=1)),
        lambda: list(paint(0, 96, folder, workers=1, side=32)),
    ):
        with pytest.raises(ValueError, match="another world"):
            spoil()
    (folder / "world.json").unlink()
    with pytest.raises(ValueError, match="delete the folder"):
        list(paint(0, 96, folder, workers=1))
    assert before == {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_names_are_what_the_slots_say():
    texts = names()
    assert len(set(texts)) == len(texts)
    scenes = [
        Scene(number_of("cat"), "white"),
        Scene(shape_number("star"), "blue"),
        Scene(shape_number("ring"), "gray"),
    ]
    assert [texts[n] for n in _name(slots(scenes)[:, [0, 1]])] == ["cat", "blue star", "gray ring"]
    pair = slots([Scene(number_of("dog"), other=shape_number("heart"), other_colour="red"), scenes[0]])
    first, second = _name(pair[:, [5, 6]])
    assert texts[first] == "red heart"
    assert second < 0
