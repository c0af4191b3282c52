"""Every prompt that the README, the help and the guides show is made of words that the shipped scorers know or hear."""

import ast
import json
import re
import shlex
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import clipopt as co
from clipopt import cli
from clipopt.scorers import Abstains, KnowsWords

ROOT = Path(__file__).parents[1]
CODE = ("cli.py", "commands/*.py", "pipelines/*/settings.py")
SHOWN = [
    ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")),
    *(path for pattern in CODE for path in sorted((ROOT / "clipopt").glob(pattern))),
]  # fmt: skip
COMMAND = re.compile(r"(?:clipopt (?:image|latent|mesh|motion|story|search)|python recipes/\w+\.py) ([^`\n]*)")
QUOTED = re.compile(r"""(?:(--[\w-]+) +(?:[\w./-]+ +)?)?(?:"([^"]*)"|'(\{[^']*\})')""")
NO_PROMPT = ("--labels", "--templates", "--template", "--slots", "--out")
SAID = re.compile(r"(?:an?|two|three|some|the) [a-z ,]+")
UNHEARD = {"happiness"}
"""What a guide shows to be unheard."""


def prompts(text: str, *, code: bool) -> Iterator[str]:
    """The prompts of commands in a text, and what its Python says in sentences."""
    for command in COMMAND.findall(text):
        for option, plain, weighted in QUOTED.findall(command):
            if option not in NO_PROMPT:
                yield from json.loads(weighted) if weighted else filter(str.strip, re.split(r"; *", plain))
    for block in (
        () if code else re.findall(r"```python\n(.*?)```|((?:^ {4}[^\n]*\n)+)", text, re.DOTALL | re.MULTILINE)
    ):
        try:
            tree = ast.parse(textwrap.dedent(max(block, key=len)))
        except SyntaxError:  # commands
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and SAID.fullmatch(node.value):
                yield node.value


@cache
def eyes() -> list[object]:
    return [co.load_scorer(name) for name in ("embedded", "embedded-motion", "natural")]


def understood(text: str) -> bool:
    return any(
        (isinstance(eye, KnowsWords) and not eye.unknown_words(text))
        or (isinstance(eye, Abstains) and not eye.abstains(text))
        for eye in eyes()
    )


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("path", SHOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_prompts_are_understood(path: Path):
    said = dict.fromkeys(prompts(path.read_text("utf-8"), code=path.suffix == ".py"))
    assert [text for text in said if text not in UNHEARD and not understood(text)] == []


def test_prompts_are_found():
    readme = [*prompts((ROOT / "README.md").read_text("utf-8"), code=False)]
    assert len(readme) > 20
    assert {"a red fox in the snow", "a tree", "a cloud", "a red tree", "a person raises both arms, then squats"} <= {
        *readme
    }
    assert "a red circle" in [*prompts((ROOT / "docs" / "latent.md").read_text("utf-8"), code=False)]
    assert [*prompts('clipopt image "a zyxw" --negative "a cat" --labels "b"', code=True)] == ["a zyxw", "a cat"]
    assert not understood("a zyxw")


def commands(text: str) -> Iterator[list[str]]:
    """The command lines in the blocks of a guide, without those that have placeholders."""
    for block in re.findall(r"```sh\n(.*?)```|((?:^ {4}[^\n]*\n)+)", text, re.DOTALL | re.MULTILINE):
        lines = textwrap.dedent(max(block, key=len)).replace("\\\n", " ").splitlines()
        for line in lines:
            words = shlex.split(line, comments=True) if line.count("'") % 2 == 0 and line.count('"') % 2 == 0 else []
            if "clipopt" in words:
                words = words[words.index("clipopt") + 1 :]
                if words and not any("|" in word or word.endswith("...") for word in words):
                    yield words


@pytest.mark.parametrize("path", [path for path in SHOWN if path.suffix == ".md"], ids=lambda path: path.name)
def test_commands_parse_and_links_lead_somewhere(path: Path):
    text = path.read_text("utf-8")
    for words in commands(text):
        assert cli._parse(words[0], words[1:]) is not None
    links = [link for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text) if "://" not in link]
    assert [link for link in links if not (path.parent / link).exists()] == []


def test_python_of_readme_and_guide_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Its blocks one after the other, at a size that is quick."""
    monkeypatch.chdir(tmp_path)
    pages = (ROOT / "README.md", ROOT / "docs" / "python.md")
    blocks = [
        block for page in pages for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    ]
    assert len(blocks) > 9
    for number, said in ((0, 'Image(scorer="embedded")'), (1, "Image()")):
        assert said in blocks[number]
        blocks[number] = blocks[number].replace(said, 'Image(scorer="embedded", size=32, steps=3, tries=1)')
    blocks[1] = blocks[1].replace('save("apple")', 'save("apple", overwrite=True)')
    names: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block.replace("steps=10", "steps=5"), f"docs/python.md, block {number}", "exec"), names)
    assert {"apple", "sweep", "by-hand.png", "star-005.png"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    cells = json.loads((ROOT / "docs" / "notebooks" / "first_picture.ipynb").read_text("utf-8"))["cells"]
    names: dict[str, object] = {}
    for number, cell in enumerate(cells):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"cell {number}", "exec"), names)
    assert {"apple", "heart.png", "moon.png"} <= {path.name for path in tmp_path.iterdir()}
