"""The record of a training: tables of steps and validations, their curves, and TensorBoard event files."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from torch.utils.tensorboard import SummaryWriter

from pipeline.storage import Storage
from pipeline.storage.uris import join_uri
from pipeline.training.curves import training_curves
from posrefine.errors import ObjectMissing
from posrefine.training.loop import StepReport

__all__ = ["TrainingLog", "restore_log", "store_log"]

TABLES = ("steps.csv", "validation.csv")


class TrainingLog:
    """Appends to `steps.csv`, `validation.csv` and an event file below a folder, and draws `curves.svg`.

    Args:
        folder: where; made if absent.
        resume_step: rows of this step and later are dropped, since the resumed run writes them again.
    """

    def __init__(self, folder: Path, resume_step: int = 0) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_step)
        for name in TABLES:
            _drop_rows_from(folder / name, resume_step)

    def step(self, report: StepReport, images_per_s: float) -> None:
        """One row of `steps.csv`."""
        self._write("steps.csv", "train", asdict(report) | {"images_per_s": round(images_per_s, 2)})

    def validation(self, step: int, metrics: Mapping[str, float]) -> None:
        """One row of `validation.csv`: the protocol's numbers of the averaged weights after `step` steps."""
        self._write("validation.csv", "validation", {"step": step, **metrics})

    def flush(self) -> None:
        """Everything noted so far is in the files."""
        self._board.flush()
        (self._folder / "curves.svg").write_text(training_curves(self._folder), encoding="utf-8")

    def close(self) -> None:
        """Close the event file."""
        self._board.close()

    def __enter__(self) -> TrainingLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _write(self, name: str, group: str, row: Mapping[str, float]) -> None:
        path = self._folder / name
        fresh = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(row))
            if fresh:
                writer.writeheader()
            writer.writerow(
                {key: f"{value:.6g}" if isinstance(value, float) else value for key, value in row.items()}
            )
        for key, value in row.items():
            if key != "step":
                self._board.add_scalar(f"{group}/{key}", value, int(row["step"]))


def store_log(storage: Storage, uri: str, folder: Path) -> None:
    """Copy the log below `folder` to `uri`."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            storage.put(join_uri(uri, path.relative_to(folder).as_posix()), path.read_bytes())


def restore_log(storage: Storage, uri: str, folder: Path) -> None:
    """Bring the tables of an earlier attempt back; its event files may stay, they stand side by side."""
    for name in TABLES:
        try:
            (folder / name).write_bytes(storage.read_bytes(join_uri(uri, name)))
        except ObjectMissing:
            continue


def _drop_rows_from(path: Path, step: int) -> None:
    if not path.exists():
        return
    header, *rows = path.read_text().splitlines()
    kept = [row for row in rows if int(row.split(",", 1)[0]) < step]
    path.write_text("\n".join([header, *kept]) + "\n")
