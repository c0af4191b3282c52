"""What README.md shows can be typed, clicked and run."""

import ast
import re
import shlex
from pathlib import Path

import pytest

import clipopt
from clipopt import cli

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.replace("\\\n", " ").splitlines()]
    parts = [shlex.split(part, comments=True) for line in lines for part in line.split("&&")]
    return [words[1:] for words in parts if words[:1] == ["clipopt"]]


def test_there_are_commands():
    assert len(commands()) >= 8
    assert "pip install '.[natural]' && clipopt image" in README
    assert "pip install '.[test]' && pytest" in README


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_command_parses(words: list[str]):
    assert type(cli._parse(words[0], words[1:])).__module__.startswith("clipopt.commands.")


@pytest.mark.parametrize("block", blocks("python"))
def test_python_names_exist(block: str):
    tree = ast.parse(block)
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and _root(node) == "co"]
    assert used
    for node in used:
        assert eval(ast.unparse(node), {"co": clipopt}) is not None


def _root(node: ast.Attribute) -> str:
    value = node.value
    while isinstance(value, ast.Attribute):
        value = value.value
    return value.id if isinstance(value, ast.Name) else ""


def test_links_lead_somewhere():
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []
