import pytest
import torch
from toy import ToyScorer

from clipopt.captions import Beam, Candidate, Corpus, Template, TextEncoder

SLOTS = {"age": ["", "old", "new"], "colour": ["red", "green", "blue"], "thing": ["cat", "car", "cup"]}


class Counting(ToyScorer):
    asked: list[str] = []  # noqa: RUF012

    def encode_text(self, texts):
        self.asked.extend(texts)
        return super().encode_text(texts)


class Words(ToyScorer):
    """A text is the sum of its words, so that a sentence is near to whoever holds the same words."""

    def encode_text(self, texts):
        rows = [super(Words, self).encode_text(text.split()).sum(0) for text in texts]
        return torch.nn.functional.normalize(torch.stack(rows), dim=1)


def test_texts_are_encoded_once():
    Counting.asked.clear()
    encode = TextEncoder(Counting())
    first = encode(["a fox", "a dog", "a fox"])
    again = encode(["a dog"])
    assert sorted(Counting.asked) == ["a dog", "a fox"]
    torch.testing.assert_close(first, ToyScorer().encode_text(["a fox", "a dog", "a fox"]))
    assert torch.equal(again[0], first[1])


def test_a_full_encoder_forgets_and_goes_on():
    encode = TextEncoder(ToyScorer(), capacity=3)
    for texts in (["a", "b"], ["b", "c", "d"], ["a", "d"]):
        torch.testing.assert_close(encode(texts), ToyScorer().encode_text(texts))


def test_no_texts_are_refused():
    with pytest.raises(ValueError, match="at least one"):
        TextEncoder(ToyScorer())([])


def test_a_corpus_gives_the_nearest_texts_once_each():
    texts = [f"text {i}" for i in range(40)] + ["text 7"]
    rows = ToyScorer().encode_text(texts)
    query = ToyScorer().encode_text(["text 7", "text 31"])
    blank = [torch.zeros(3, 2, 2)] * 2
    lists = Corpus(texts, rows.half(), nearest=5)(blank, query)
    for own, row in zip(lists, query, strict=True):
        order = sorted(range(41), key=lambda i: -float(rows[i] @ row))
        assert [c.text for c in own] == list(dict.fromkeys(texts[i] for i in order[:5]))
    assert lists[0][0] == Candidate("text 7", "list")
    assert len(Corpus(texts, rows)(blank, query)[1]) == 40


def test_a_template_leaves_out_what_is_not_said():
    template = Template("a {age} photo of a {colour} {thing}", SLOTS)
    assert template.say({"thing": "cat"}) == "a photo of a cat"
    assert template.say({"thing": "cat", "age": None, "colour": "red"}) == "a photo of a red cat"
    assert list(template.slots) == ["age", "colour", "thing"]
    assert template.slots["age"] == [None, "old", "new"]


@pytest.mark.parametrize(
    ("text", "slots", "reason"),
    [
        ("a photo", {}, "named slots"),
        ("a {} photo", {"": ["x"]}, "named slots"),
        ("a {thing", {"thing": ["x"]}, "no template"),
        ("a {thing}", {"colour": ["red"]}, "the slots thing"),
        ("a {thing}", {"thing": []}, "given for none"),
    ],
)
def test_wrong_templates(text, slots, reason):
    with pytest.raises(ValueError, match=reason):
        Template(text, slots)


def test_the_beam_finds_what_an_exhaustive_search_finds():
    scorer, template = Words(), Template("a {age} photo of a {colour} {thing}", SLOTS)
    everything = [
        template.say({"age": age or None, "colour": colour, "thing": thing})
        for age in SLOTS["age"] for colour in SLOTS["colour"] for thing in SLOTS["thing"]
    ]  # fmt: skip
    rows = scorer.encode_text(everything)
    targets = scorer.encode_text(["a new photo of a blue cup", "a photo of a red cat"])
    wide = Beam(TextEncoder(scorer), template, width=99, count=3)([torch.zeros(3, 1, 1)] * 2, targets)
    for own, row in zip(wide, targets, strict=True):
        assert own[0].text == everything[int((rows @ row).argmax())]
    narrow = Beam(TextEncoder(scorer), template, width=2, keep=2, count=3)([torch.zeros(3, 1, 1)] * 2, targets)
    assert [own[0] for own in narrow] == [own[0] for own in wide]
    assert len(narrow[0]) == 3


def test_a_picture_does_not_see_its_neighbours():
    beam = Beam(TextEncoder(ToyScorer()), Template("a {colour} {thing}", {n: SLOTS[n] for n in ("colour", "thing")}))
    rows = ToyScorer().encode_text(["x", "y"])
    blank = [torch.zeros(3, 1, 1)] * 2
    assert beam(blank, rows)[1] == beam(blank[:1], rows[1:])[0]
