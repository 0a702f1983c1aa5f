"""docs/guarantees.md: every promise names the test that shows it; the figures are those that are stored."""

import ast
import re
from pathlib import Path

from faults_table import PAGE, with_table

TESTS = Path(__file__).parents[1]
ROWS = [
    cells
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and len(cells := line.strip("| ").split(" | ")) == 2
]


def named_tests(cell: str) -> list[tuple[Path, str | None]]:
    """File and function of each test in a cell; `::name` is of the file named before it."""
    found: list[tuple[Path, str | None]] = []
    for name in re.findall(r"`([^`]+)`", cell):
        path, _, function = name.partition("::")
        found.append((TESTS / path if path else found[-1][0], function or None))
    return found


def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)}


def test_every_test_that_is_named_exists():
    for _, cell in ROWS:
        for path, function in named_tests(cell):
            assert path.is_file(), path
            assert function is None or function in functions_of(path), f"{path.name}::{function}"


def test_every_promise_names_a_test():
    promises = [(promise, cell) for promise, cell in ROWS if promise not in ("promise", "---")]
    assert len(promises) > 20
    for promise, cell in promises:
        assert named_tests(cell), promise


def test_the_figures_are_those_of_the_stored_campaign():
    assert with_table(PAGE.read_text()) == PAGE.read_text()
