"""The annotate job's subcommands that turn a run into something else to look at or to work on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from support.annotated import annotated_people, image_rows, results_of, write_units

from jobs.annotate import main
from posrefine.skeletons import COCO


@pytest.fixture
def run(tmp_path: Path) -> str:
    annotations = annotated_people(5, seed=3)
    rows = image_rows(annotations, results_of(annotations, miss=0))
    rows = [replace(row, image_id=int(Path(row.image_key).stem)) for row in rows]
    write_units(tmp_path / "run", [rows], skeleton=COCO)
    return str(tmp_path / "run")


def test_export_writes_the_format_asked_for_and_says_how_much(
    run: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    to = tmp_path / "exported"
    assert main(["export", "--output", run, "--format", "coco-results", "--to", str(to)]) == 0
    everyone = json.loads((to / "results.json").read_text())
    assert len(everyone) > 3
    assert f"{len(everyone)} persons" in capsys.readouterr().out

    middle = sorted(person["score"] for person in everyone)[len(everyone) // 2]
    sure = ["--min-score", str(middle)]
    assert main(["export", "--output", run, "--format", "coco-results", "--to", str(to), *sure]) == 0
    assert json.loads((to / "results.json").read_text()) == [p for p in everyone if p["score"] >= middle]


def test_export_of_nothing_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    nowhere = str(tmp_path / "no-run")
    assert main(["export", "--output", nowhere, "--format", "coco", "--to", str(tmp_path / "x")]) == 2
    assert "no-run" in capsys.readouterr().err


def test_report_writes_a_page_beside_the_run(run: str, capsys: pytest.CaptureFixture[str]):
    assert main(["report", "--output", run]) == 0
    page = Path(run, "report", "index.html")
    assert str(page) in capsys.readouterr().out
    assert "dekr_w32" in page.read_text()
