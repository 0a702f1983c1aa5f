"""The rooms of the project and the one direction their dependencies point."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# Each room may import itself and the rooms listed; third-party packages that a room must not know.
ALLOWED = {"posrefine": set(), "pipeline": {"posrefine"}, "jobs": {"pipeline", "posrefine"}}
FORBIDDEN = {
    "posrefine": {"ray", "s3fs", "fsspec", "pyarrow", "boto3", "botocore"},
    "pipeline": set(),
    "jobs": set(),
}


def sources(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported_packages(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_only_the_rooms_below_it(room: str):
    other_rooms = set(ALLOWED) - ALLOWED[room] - {room}
    for source in sources(room):
        found = set(imported_packages(source)) & (other_rooms | FORBIDDEN[room])
        assert not found, f"{source.relative_to(ROOT)} imports {sorted(found)}"


def test_every_exception_of_the_project_stands_in_one_file():
    for room in ALLOWED:
        for source in sources(room):
            if source == ROOT / "posrefine" / "errors.py":
                continue
            for node in ast.walk(ast.parse(source.read_text())):
                if isinstance(node, ast.ClassDef):
                    bases = {ast.unparse(base).split(".")[-1] for base in node.bases}
                    assert not any(b.endswith(("Error", "Exception")) for b in bases), (
                        f"{source}: {node.name}"
                    )


def test_nothing_unpickles_foreign_data():
    for room in ALLOWED:
        for source in sources(room):
            for node in ast.walk(ast.parse(source.read_text())):
                if not isinstance(node, ast.Call):
                    continue
                name = ast.unparse(node.func)
                assert name not in {"pickle.load", "pickle.loads", "cloudpickle.loads"}, (
                    f"{source}:{node.lineno}"
                )
                if name == "torch.load":
                    arguments = {k.arg: ast.unparse(k.value) for k in node.keywords}
                    assert arguments.get("weights_only") == "True", f"{source}:{node.lineno}"
