"""The evaluation command writes its report where it is asked to, and says so before it is too late."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from support.annotated import write_json
from support.runs import made_up_set, noisy_predictions, write_run

from jobs.evaluate import main
from pipeline.evaluation.result import decode_evaluation


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    truth = made_up_set(tmp_path / "images", images=4)
    run = write_run(tmp_path / "run", [noisy_predictions(truth, tmp_path / "images")])
    annotations = write_json(tmp_path / "truth.json", truth)
    return [
        *("--predictions", run, "--annotations", annotations, "--protocol", "coco"),
        *("--output", str(tmp_path / "out"), "--draws", "20", "--no-distributed", "--report"),
    ]


def test_the_report_shows_the_numbers_of_metrics_json(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(arguments) == 0
    metrics = decode_evaluation((tmp_path / "out" / "metrics.json").read_bytes())
    page = (tmp_path / "out" / "report" / "index.html").read_text()
    assert f"{metrics.AP:.3f}" in page
    assert "report/index.html" in capsys.readouterr().out


def test_annotations_of_a_part_of_the_runs_images_get_their_report_and_their_results(
    arguments: list[str], tmp_path: Path
):
    truth = json.loads((tmp_path / "truth.json").read_text())
    rows = noisy_predictions(truth, tmp_path / "images")
    write_run(tmp_path / "run", [[row] for row in rows * 9])
    truth["images"] = truth["images"][3:]
    ids = {image["id"] for image in truth["images"]}
    truth["annotations"] = [person for person in truth["annotations"] if person["image_id"] in ids]
    write_json(tmp_path / "truth.json", truth)

    assert main(arguments) == 0
    assert {e["image_id"] for e in json.loads((tmp_path / "out" / "results.json").read_text())} <= ids
    assert (tmp_path / "out" / "report" / "index.html").exists()


def test_without_the_extra_nothing_is_evaluated_and_the_command_says_what_to_install(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    assert main(arguments) == 2
    assert "pip install jinja2" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
