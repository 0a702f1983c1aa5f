from __future__ import annotations

import csv
from pathlib import Path

import pytest

from pipeline.storage import Storage
from pipeline.training_log import TrainingLog, restore_log, store_log
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
    assert [(row["step"], row["images_per_s"]) for row in rows(second / "steps.csv")] == [
        ("0", "10"), ("1", "10"), ("2", "10"), ("3", "10"), ("4", "12"),
    ]  # fmt: skip
    assert [(row["step"], row["AP"]) for row in rows(second / "validation.csv")] == [("6", "0.5")]
    assert list((tmp_path / "stored/tensorboard").iterdir())


def test_there_is_nothing_to_restore_at_first(tmp_path: Path):
    restore_log(Storage(), str(tmp_path / "stored"), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_row_says_what_happened_in_the_step(tmp_path: Path):
    with TrainingLog(tmp_path) as log:
        log.step(report(7), 3.14159)
    row = rows(tmp_path / "steps.csv")[0]
    assert float(row["loss"]) == pytest.approx(0.5)
    assert (row["step"], row["persons"], row["images_per_s"]) == ("7", "3", "3.14")
