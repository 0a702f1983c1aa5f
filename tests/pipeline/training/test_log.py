from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from support.event_files import scalars

from pipeline.storage import Storage
from pipeline.training.log import TrainingLog, restore_log, store_log
from posrefine.training.loop import StepReport


def report(step: int) -> StepReport:
    return StepReport(step, 0.5, 0.4, 0.1, 1.0, 1e-3, persons=3)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def test_a_log_that_goes_on_has_every_step_once(tmp_path: Path):
    storage, stored = Storage(), str(tmp_path / "stored")
    with TrainingLog(tmp_path / "first") as log:
        for step in range(6):
            log.step(report(step), 10.0)
        log.validation(5, {"AP": 0.25})
        log.flush()
        store_log(storage, stored, tmp_path / "first")
    second = tmp_path / "second"
    second.mkdir()
    restore_log(storage, stored, second)
    with TrainingLog(second, resume_step=4) as log:
        log.step(report(4), 12.0)
        log.validation(6, {"AP": 0.5})
        log.flush()
        store_log(storage, stored, second)
    assert [(row["step"], row["images_per_s"]) for row in rows(second / "steps.csv")] == [
        ("0", "10"), ("1", "10"), ("2", "10"), ("3", "10"), ("4", "12"),
    ]  # fmt: skip
    assert [(row["step"], row["AP"]) for row in rows(second / "validation.csv")] == [("6", "0.5")]
    board = tmp_path / "stored/tensorboard"
    assert scalars(board, "train/images_per_s") == [(0, 10), (1, 10), (2, 10), (3, 10), (4, 12)]
    assert scalars(board, "validation/AP") == [(6, 0.5)]


def test_there_is_nothing_to_restore_at_first(tmp_path: Path):
    restore_log(Storage(), str(tmp_path / "stored"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_row_says_what_happened_in_the_step(tmp_path: Path):
    with TrainingLog(tmp_path) as log:
        log.step(report(7), 3.14159)
    row = rows(tmp_path / "steps.csv")[0]
    assert float(row["loss"]) == pytest.approx(0.5)
    assert (row["step"], row["persons"], row["images_per_s"]) == ("7", "3", "3.14")


def test_the_curves_show_every_loss_and_validation_noted_so_far(tmp_path: Path):
    with TrainingLog(tmp_path) as log:
        for step in range(3):
            log.step(report(step), 10.0)
        log.validation(2, {"AP": 0.25})
        log.validation(3, {"AP": 0.5})
        log.flush()
    picture = ElementTree.parse(tmp_path / "curves.svg").getroot()
    svg = "{http://www.w3.org/2000/svg}"
    titles = [element.text for element in picture.iter(f"{svg}text") if element.get("class") == "title"]
    assert titles == ["heatmap loss", "offset loss", "AP on held-out images"]
    (losses, _, _, _, validation) = [
        line.get("points", "").split() for line in picture.iter(f"{svg}polyline")
    ]
    assert len(losses) == 3
    heights = [float(point.split(",")[1]) for point in validation]
    assert heights[0] > heights[1], "a higher AP lies higher"


def test_a_log_without_validation_or_with_a_loss_of_zero_still_has_its_curves(tmp_path: Path):
    with TrainingLog(tmp_path) as log:
        log.flush()
        assert ElementTree.parse(tmp_path / "curves.svg").getroot().get("role") == "img"
        log.step(replace(report(0), offset_loss=0.0), 10.0)
        log.flush()
    assert "heatmap loss" in (tmp_path / "curves.svg").read_text()
