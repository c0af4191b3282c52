"""docs/comparison.md promises nothing that no test holds."""

import ast
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LINES = (HERE.parent / "docs" / "comparison.md").read_text(encoding="utf-8").splitlines()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in LINES if line.startswith("| ")]


def functions(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_it_is_a_table():
    head, *rows = ROWS
    assert len(rows) > 40
    assert {len(row) for row in ROWS} == {len(head)}
    assert head[-2:] == ["**clipopt**", "tested by"]


@pytest.mark.parametrize("row", ROWS[1:], ids=lambda row: row[0])
def test_what_it_says_of_clipopt_is_tested(row: list[str]):
    mark, tests = row[-2], re.findall(r"`([^`]+)`", row[-1])
    assert mark[0] in "●◐–"
    assert bool(tests) == (mark != "–")
    for name in tests:
        path, _, function = name.partition("::")
        assert (HERE / path).is_file(), name
        assert function.startswith("test_"), name
        assert function in functions(HERE / path), name
