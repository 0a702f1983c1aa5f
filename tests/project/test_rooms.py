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

LEAVES = {"exit_codes", "live_line", "ray_session", "svg", "telling"}
"""Modules in pipeline's own root, which import no wing; all but `ray_session` are free for all to import."""

# What each wing of pipeline may import of the others.
WINGS = {
    "storage": "",
    "images": "",
    "settings": "images",
    "ground_truth": "storage",
    "inputs": "storage images settings",
    "output": "storage settings inputs",
    "model": "storage settings ground_truth inputs output",
    "stages": "storage settings inputs output model",
    "driver": "storage images settings ground_truth inputs output model stages evaluation ray_session",
    "evaluation": "storage ground_truth output ray_session",
    "export": "storage inputs output",
    "review": "storage ground_truth inputs output export ray_session",
    "report": "storage ground_truth inputs output evaluation",
    "training": "storage images settings ground_truth inputs output model ray_session",
    "packing": "storage ground_truth ray_session",
}

# And the rooms of posrefine's larger rooms, from the lowest up: each may import those before it.
STOREYS = {
    "posrefine/inference": ("pixels", "fast", "decoding", "predictor"),
    "posrefine/metrics": ("core", "analysis"),
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


def imported_modules(source: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room_of(module: str) -> str:
    """`storage` for `pipeline.storage.s3`, `exit_codes` for `pipeline.exit_codes`."""
    return module.split(".")[1]


def test_pipeline_consists_of_its_wings_and_leaves():
    found = {path.stem for path in (ROOT / "pipeline").iterdir() if (path / "__init__.py").exists()}
    assert found == set(WINGS)
    modules = {path.stem for path in (ROOT / "pipeline").glob("*.py")}
    assert modules == LEAVES | {"__init__"}


@pytest.mark.parametrize("wing", WINGS)
def test_a_wing_imports_only_the_wings_that_its_row_of_the_table_names(wing: str):
    allowed = {wing, *WINGS[wing].split(), *(LEAVES - {"ray_session"})}
    for source in sources(f"pipeline/{wing}"):
        of_pipeline = {m for m in imported_modules(source) if m.startswith("pipeline.")}
        found = {module for module in of_pipeline if room_of(module) not in allowed}
        assert not found, f"{source.relative_to(ROOT)} imports {sorted(found)}"


def test_leaves_import_no_wing():
    for leaf in LEAVES:
        modules = imported_modules(ROOT / "pipeline" / f"{leaf}.py")
        assert not [module for module in modules if module.startswith("pipeline.")], leaf


@pytest.mark.parametrize("floor", STOREYS)
def test_rooms_of_posrefine_import_only_the_rooms_below_them(floor: str):
    """A file that lies in none of the named rooms belongs to the room that the last or `core` name."""
    order = STOREYS[floor]
    package = floor.replace("/", ".")

    def storey(module: str) -> int:
        name = module.removeprefix(f"{package}.").split(".")[0]
        return order.index(name) if name in order else order.index("core") if "core" in order else -1

    for source in sources(floor):
        if source.name == "__init__.py":
            continue
        here = storey(".".join(source.relative_to(ROOT).with_suffix("").parts))
        for module in imported_modules(source):
            if module.startswith(f"{package}."):
                assert storey(module) <= here, f"{source.relative_to(ROOT)} imports {module}"


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
