"""The page that walks through the rooms names rooms and files that are there."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
# Files are named by the part of their path that tells them apart, as one says them.
BASES = ("", "pipeline", "posrefine", "posrefine/inference", "posrefine/metrics")


def exists(name: str) -> bool:
    return any((ROOT / base / name).exists() for base in BASES)


def test_every_file_and_folder_of_the_page_exists():
    named = set(re.findall(r"`([a-z_/]+(?:\.py|/))`", PAGE))
    assert len(named) > 40
    assert sorted(name for name in named if not exists(name)) == []


def test_functions_and_nouns_of_the_page_are_defined_where_it_says():
    said = set(re.findall(r"`([A-Za-z.]+)` (?:in |\()`([a-z_/]+\.py)`", PAGE))
    assert {("load", "stages/tasks.py"), ("Benchmark.open", "evaluation/benchmark.py")} <= said
    for name, file in said:
        (path,) = (ROOT / base / file for base in BASES if (ROOT / base / file).is_file())
        last = name.rpartition(".")[2]
        assert re.search(rf"^ *(?:def|class) {last}\b", path.read_text(), re.MULTILINE), (name, file)


def test_every_wing_of_pipeline_stands_in_the_table():
    rooms = PAGE.partition("## Rooms")[2].partition("## One image")[0]
    wings = {path.parent.name for path in (ROOT / "pipeline").glob("*/__init__.py")}
    assert sorted(wing for wing in wings if f"{wing}/`" not in rooms) == []
