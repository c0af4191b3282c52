"""What is said of words that a scorer does not know."""

from dataclasses import dataclass

import pytest
from toy import ToyNatural, ToyScorer

from clipopt.embedded import language
from clipopt.pipelines import vocabulary as words
from clipopt.pipelines.vocabulary import understand
from clipopt.scorers import sentences


@dataclass(frozen=True)
class Small(ToyScorer):
    """Knows a fox."""

    name: str = "small"

    def unknown_words(self, text: str) -> list[str]:
        return [word for word in text.split() if word not in ("a", "fox")]


SMALL, JUDGE = Small(), Small(name="judge")


@pytest.fixture(autouse=True)
def carried(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(words, "has_natural", lambda: True)
    monkeypatch.setattr(sentences, "load_sentences", lambda *_: None)
    monkeypatch.setattr(language, "carry", lambda text, _: "a fox" if "vixen" in text else "")


def test_known_words_need_no_message(capsys: pytest.CaptureFixture):
    assert understand(["a fox"], [SMALL], JUDGE) == ({}, JUDGE)
    assert capsys.readouterr().err == ""


def test_it_says_how_unknown_words_are_read(capsys: pytest.CaptureFixture):
    said, judge = understand(["a vixen", "a fox", "a vixen"], [SMALL], JUDGE)
    assert said == {"a vixen": "a fox"}
    assert judge is JUDGE
    assert capsys.readouterr().err == 'clipopt: small reads "a vixen" as "a fox"\n'


def test_nothing_is_near_whose_own_words_are_unknown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(language, "carry", lambda text, _: "a dog")
    assert understand(["a poodle"], [SMALL], None)[0] == {"a poodle": ""}


def test_where_nothing_known_is_near_it_recommends_a_real_model(capsys: pytest.CaptureFixture):
    assert understand(["a zeppelin"], [SMALL], JUDGE)[0] == {"a zeppelin": ""}
    near, warning = capsys.readouterr().err.splitlines()
    assert near == 'clipopt: small knows nothing near "a zeppelin"'
    assert 'does not know "zeppelin": expect nothing of it. For any words, use a real model' in warning
    understand(["a zeppelin"], [SMALL, ToyNatural()], JUDGE)
    assert "real model" not in capsys.readouterr().err


def test_a_natural_scorer_says_what_it_takes_texts_for(capsys: pytest.CaptureFixture):
    understand(["a fox", "a boat"], [ToyNatural()], None)
    said = 'clipopt: toy natural reads "a fox"\nclipopt: toy natural knows nothing near "a boat"\n'
    assert capsys.readouterr().err == said


def test_long_and_odd_texts_are_one_short_line(capsys: pytest.CaptureFixture):
    understand(["a fox\n" * 40], [ToyNatural()], None)
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert len(said) < 120


def test_without_the_packages_it_only_warns(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(words, "has_natural", lambda: False)
    assert understand(["a vixen"], [SMALL, Small(name="other")], JUDGE) == ({}, None)
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" does not know")[0] for line in said] == [
        "clipopt: warning: the scorer other", "clipopt: warning: the scorer small",
    ]  # fmt: skip


@dataclass(frozen=True)
class Bytes(ToyScorer):
    """Reads ASCII and what it is told."""

    name: str = "bytes"
    letters: str = ""

    def unread(self, text: str) -> list[str]:
        return [c for c in dict.fromkeys(text) if not c.isascii() and c not in self.letters]


def test_characters_that_no_scorer_of_the_run_reads_are_named(capsys: pytest.CaptureFixture):
    understand(["a fox 🍎", "りんご and 犬", "a fox"], [Bytes(), Bytes(letters="犬")], None)
    said = 'clipopt: warning: no scorer of this run can read "🍎", "りんご": expect nothing of it\n'
    assert capsys.readouterr().err == said
    words.check_words(["a 🍎"], Bytes(), None)
    said = 'clipopt: warning: the scorer bytes cannot read "🍎": expect nothing of it\n'
    assert capsys.readouterr().err == said
    understand(["a fox 🍎"], [Bytes(), ToyScorer(name="all")], None)
    words.check_words(["a fox"], Bytes(), None)
    assert capsys.readouterr().err == ""
