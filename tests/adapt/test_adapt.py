"""What adapters learn, that they are scorers again, and that none is taken for another scorer's."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from checkpoints import save_clip, save_siglip, siglip2_tokenizer
from torch.nn import functional as F

import clipopt as co
from clipopt.adapt import (
    METHODS,
    Examples,
    Options,
    adapt,
    choose_shots,
    encode_pictures,
    save_adapter,
    zero_shot,
)
from clipopt.scorers import load_scorer
from clipopt.scorers.adapted import Adapter, scale_of
from clipopt.scorers.tower import TowerConfig, Towers
from clipopt.types import generator

LABELS = ("red fox", "fox", "blue house")
WORDS = "a an the red blue fox house photo picture drawing painting image of in snow"
# A random tower sees all pictures almost alike: the cache must be sharp.
QUICK = Options(steps=20, rate=0.04, anchor=0.01, alpha=20.0, beta=30.0, per_label=True)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """A small tower with random weights, and its words."""
    path = tmp_path_factory.mktemp("tower") / "tower.safetensors"
    config = TowerConfig(
        image_size=16, widths=(8, 16), depths=(1, 1), dim=16, text_width=16, text_layers=1,
        vocabulary=tuple(WORDS.split()),
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(0)
        Towers(config).save(path)
    return path


@pytest.fixture(scope="module")
def scorer(file):
    return load_scorer(str(file))


def pictures(count, start=0):
    """Noise around three patterns, one a label; and the labels."""
    patterns = torch.rand(3, 3, 4, 4, generator=generator(9))
    large = F.interpolate(patterns, (20, 24), mode="bicubic").clamp(0, 1)
    noise = torch.randn(3 * count, 3, 20, 24, generator=generator(1, start))
    numbers = torch.arange(3).repeat(count)
    return list((large[numbers] + 0.1 * noise).clamp(0, 1)), numbers


def examples(count=4):
    return Examples(*pictures(count), LABELS)


def share(scorer, labels=LABELS):
    seen, numbers = pictures(20, start=1)
    with torch.no_grad():
        named = scorer.logits(encode_pictures(scorer, seen), scorer.encode_text(labels)).argmax(1)
    return float((named == numbers).float().mean())


@pytest.fixture(scope="module", params=METHODS)
def adapter(request, scorer, file):
    return adapt(request.param, scorer, examples(), base=str(file), options=QUICK)


def test_learns_to_name_other_pictures(adapter, scorer):
    before = {key: value.clone() for key, value in scorer.state_dict().items()}
    adapted = adapter.apply(scorer)
    assert share(scorer) < 0.7
    assert share(adapted) > 0.9
    assert all(torch.equal(value, before[key]) for key, value in scorer.state_dict().items())


def test_saved_and_loaded_it_is_the_same_scorer(adapter, scorer, tmp_path):
    save_adapter(adapter, tmp_path / "mine")
    loaded, made = load_scorer(str(tmp_path / "mine")), adapter.apply(scorer)
    assert isinstance(loaded, co.Scorer)
    assert loaded.name == "mine"
    assert loaded.fingerprint == made.fingerprint != scorer.fingerprint
    texts = ["fox", "a photo of a red fox", "a house in the snow", "the fox in the blue house", "Red Fox!"]
    image = torch.stack(pictures(2)[0])
    torch.testing.assert_close(loaded.encode_text(texts), made.encode_text(texts))
    torch.testing.assert_close(loaded.encode_image(image), made.encode_image(image))
    for rows in (loaded.encode_text(texts), loaded.encode_image(image)):
        torch.testing.assert_close(rows.norm(dim=1), torch.ones(len(rows)))


def test_guides_an_optimization(adapter, scorer):
    adapted = adapter.apply(scorer)
    image = co.params.Pixels(20, 20, rng=co.generator(0))
    loss = co.Matching(image, adapted, co.target(adapted, "blue house"))
    optimizer = torch.optim.Adam(image.parameters(), lr=0.2)
    losses = [float(step.loss) for step in co.optimize(loss, optimizer, steps=30, seed=0)]
    assert losses[-1] < losses[0]
    # From the learned texts, too: the picture is then named by its prompt.
    with torch.no_grad():
        assert int((adapted.logits(adapted.encode_image(image()), adapted.encode_text(LABELS))).argmax()) == 2


def test_another_base_is_an_error(adapter, scorer, tmp_path):
    with pytest.raises(ValueError, match=r"was learned on .* not on embedded"):
        adapter.apply(load_scorer("embedded"))
    save_adapter(replace(adapter, base="embedded"), tmp_path / "mixed")
    with pytest.raises(ValueError, match="was learned on embedded"):
        load_scorer(str(tmp_path / "mixed"))
    save_adapter(replace(adapter, base="gone.safetensors"), tmp_path / "lost")
    with pytest.raises(ValueError, match=r"cannot load the base of .*lost"):
        load_scorer(str(tmp_path / "lost"))


def test_the_same_seed_learns_the_same(adapter, scorer, file):
    state = torch.random.get_rng_state()
    again = adapt(adapter.method, scorer, examples(), base=str(file), options=QUICK)
    assert torch.equal(state, torch.random.get_rng_state())
    assert again.tensors.keys() == adapter.tensors.keys()
    assert all(torch.equal(tensor, adapter.tensors[key]) for key, tensor in again.tensors.items())


def test_the_cache_is_the_published_formula(scorer, file):
    options = Options(alpha=2.0, beta=3.0)
    adapter = adapt("tip", scorer, examples(), base=str(file), options=options)
    adapted = adapter.apply(scorer)
    image = torch.stack(pictures(2, start=5)[0])
    seen, text = scorer.encode_image(image), zero_shot(scorer, LABELS)
    keys, own = encode_pictures(scorer, examples().pictures), F.one_hot(examples().numbers).float()
    expected = scale_of(scorer) * seen @ text.T + 2.0 * torch.exp(-3.0 * (1 - seen @ keys.T)) @ own
    torch.testing.assert_close(adapted.logits(adapted.encode_image(image), adapted.encode_text(LABELS)), expected)


def test_an_anchor_that_is_strong_leaves_the_texts(scorer, file):
    text = zero_shot(scorer, LABELS)
    held = adapt("probe", scorer, examples(), base=str(file), options=Options(anchor=1e6)).apply(scorer)
    torch.testing.assert_close(held.encode_text(LABELS), text, atol=1e-3, rtol=0)
    free = adapt("probe", scorer, examples(), base=str(file), options=Options(anchor=1e-3)).apply(scorer)
    assert (free.encode_text(LABELS) - text).norm() > 0.3
    turn = adapt("projection", scorer, examples(), base=str(file), options=Options(anchor=1e6)).tensors["turn"]
    torch.testing.assert_close(turn, torch.eye(len(turn)), atol=1e-3, rtol=0)


def test_a_text_that_names_a_label_moves_with_it(scorer, file):
    adapted = adapt("probe", scorer, examples(), base=str(file), options=QUICK).apply(scorer)
    assert adapted.mentioned("a Red Fox in the snow, a fox") == [0, 1]
    row, text = adapted.encode_text(["red fox in the snow"])[0], scorer.encode_text(["red fox in the snow"])[0]
    torch.testing.assert_close(row, F.normalize(text + adapted.shift[0], dim=0))
    torch.testing.assert_close(adapted.encode_text(["snow"]), scorer.encode_text(["snow"]))
    torch.testing.assert_close(adapted.encode_text(["A photo of a fox."]), adapted.encode_text(["fox"]))


def test_interpolated_weights_lie_between(scorer, file):
    full = adapt("full", scorer, examples(), base=str(file), options=QUICK)
    wise = adapt("wise-ft", scorer, examples(), base=str(file), options=replace(QUICK, share=0.25))
    before, after, between = (
        dict(s.named_parameters())["towers.image.stem.weight"]
        for s in (scorer, full.apply(scorer).base, wise.apply(scorer).base)
    )
    assert (after - before).norm() > 1e-3
    torch.testing.assert_close(between, before + 0.25 * (after - before))
    none = replace(full, share=0.0).apply(scorer)
    torch.testing.assert_close(none.encode_text(["a fox"]), zero_shot(scorer, ["fox"]), atol=0.5, rtol=0)
    torch.testing.assert_close(dict(none.base.named_parameters())["towers.image.stem.weight"], before)


def test_low_rank_changes_are_of_low_rank(scorer, file):
    adapter = adapt("lora", scorer, examples(), base=str(file), options=replace(QUICK, rank=2))
    tuned = dict(adapter.apply(scorer).base.named_parameters())
    for name, weight in scorer.named_parameters():
        change = (tuned[name] - weight).detach()
        if change.any():
            assert torch.linalg.matrix_rank(change.flatten(1), atol=1e-5) <= 2, name
    assert f"low.{'towers.text.layers.0.qkv.weight'}" in adapter.tensors
    assert not any("embedding" in name for name in adapter.tensors)


def test_labels_of_unknown_words_are_told_apart(scorer, file):
    labels = ("gnu", "emu", "yak")
    given = Examples(*pictures(4), labels)
    text = scorer.encode_text(labels)
    assert torch.equal(text[0], text[1])
    assert scorer.unknown_words("a gnu") == ["gnu"]
    for method in METHODS:
        adapted = adapt(method, scorer, given, base=str(file), options=QUICK).apply(scorer)
        assert share(adapted, labels) > 0.9, method
        assert adapted.unknown_words("a gnu in Tibet") == ["tibet"]


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_models_of_transformers(kind, tmp_path):
    base = save_clip(tmp_path / "base") if kind == "clip" else save_siglip(tmp_path / "base", siglip2_tokenizer())
    scorer = load_scorer(str(base), dtype="float32")
    options = Options(steps=25, rate=0.01, anchor=0.01, context="a cat a", per_label=True)
    for method in ("probe", "coop", "lora", "full"):
        options = replace(options, rate=0.5 if method == "coop" else 0.01)
        adapter = adapt(method, scorer, examples(), base=str(base), options=options)
        assert share(adapter.apply(scorer)) > max(0.6, share(scorer)), method
        save_adapter(adapter, tmp_path / method)
        loaded = load_scorer(str(tmp_path / method), dtype="bfloat16")
        assert share(loaded) > 0.6
        assert loaded.head == scorer.head


def test_prompt_vectors_start_as_their_words(tmp_path):
    """Embeddings put in by hand read as the words that they belong to, in every kind of text tower."""
    from clipopt.scorers.adapted import read_behind
    from clipopt.scorers.reading import open_text

    for base in (save_clip(tmp_path / "clip"), save_siglip(tmp_path / "siglip", siglip2_tokenizer())):
        scorer = load_scorer(str(base), dtype="float32")
        tower = open_text(scorer)
        count = tower.length("a cat")
        ids = tower.tokenize(["a cat"])[0, tower.first : tower.first + count]
        rows = read_behind(scorer, tower.table[ids].expand(2, -1, -1), ["red", "dog"])
        torch.testing.assert_close(rows, scorer.encode_text(["a cat red", "a cat dog"]), atol=1e-5, rtol=0)


def test_shots_are_chosen_by_label_and_seed():
    numbers = torch.tensor([0, 1, 0, 1, 0, 2])
    chosen, rest = choose_shots(numbers, 2, 0)
    assert sorted(numbers[chosen].tolist()) == [0, 0, 1, 1, 2]
    assert sorted(chosen + rest) == list(range(6))
    assert choose_shots(numbers, 2, 0) == (chosen, rest)
    assert len({tuple(choose_shots(numbers, 1, seed)[0]) for seed in range(20)}) > 3


def test_wrong_input_is_told(scorer, file, tmp_path):
    with pytest.raises(ValueError, match="no picture of blue house"):
        Examples(pictures(1)[0][:2], torch.tensor([0, 1]), LABELS)
    with pytest.raises(ValueError, match="one label for each"):
        Examples(pictures(1)[0], torch.tensor([0, 1]), LABELS)
    with pytest.raises(ValueError, match=r"one \{\} for the label"):
        zero_shot(scorer, LABELS, ["a photo"])
    adapter = adapt("probe", scorer, examples(), base=str(file))
    with pytest.raises(ValueError, match="cannot be opened"):
        adapt("coop", adapter.apply(scorer), examples(), base="x")
    save_adapter(adapter, tmp_path)
    manifest = json.loads((tmp_path / "adapter.json").read_text())
    (tmp_path / "adapter.json").write_text(json.dumps({**manifest, "format": 2}))
    with pytest.raises(ValueError, match="format 2, expected 1"):
        Adapter.load(Path(tmp_path))
    (tmp_path / "adapter.json").write_text("{")
    with pytest.raises(ValueError, match="cannot read an adapter"):
        load_scorer(str(tmp_path))
