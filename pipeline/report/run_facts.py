"""What a run says about itself, for its report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from pipeline.layout import OutputTree
from pipeline.outcome import Outcome, read_outcome
from pipeline.run_rows import RunRows
from pipeline.storage import Storage
from posrefine.errors import ImageStatus

__all__ = ["FailedImage", "RunFacts", "read_run_facts"]

_FAILED_SHOWN = 50


@dataclass(frozen=True)
class FailedImage:
    """An image without keypoints, and why."""

    key: str
    status: str
    error: str


@dataclass(frozen=True)
class RunFacts:
    """A run in numbers.

    Attributes:
        rows: its files and what they say about themselves.
        images: finished images by status.
        failed: the first failed ones.
        complete: whether every image is in the tables.
        outcome: how the last attempt ended; None where that is not known.
    """

    rows: RunRows
    images: dict[str, int]
    failed: tuple[FailedImage, ...]
    complete: bool
    outcome: Outcome | None

    @property
    def images_total(self) -> int:
        """Finished images."""
        return sum(self.images.values())

    @property
    def images_failed(self) -> int:
        """Finished images without keypoints."""
        return self.images_total - self.images.get(ImageStatus.OK, 0)

    @property
    def persons(self) -> int | None:
        """Persons in all images; None where the run is not complete."""
        return self.outcome.persons if self.outcome is not None and self.outcome.complete else None


def read_run_facts(rows: RunRows, storage: Storage) -> RunFacts:
    """Count the images by status and collect the first failed ones; reads every file's status once."""
    images: Counter[str] = Counter()
    failed: list[FailedImage] = []
    for table in rows.columns(storage, ["image_key", "status", "error"]):
        statuses = table["status"].to_pylist()
        images.update(statuses)
        for row, status in enumerate(statuses):
            if status != ImageStatus.OK and len(failed) < _FAILED_SHOWN:
                key, error = table["image_key"][row].as_py(), table["error"][row].as_py()
                failed.append(FailedImage(key, status, error or ""))
    tree = OutputTree.at(rows.uri)
    return RunFacts(
        rows=rows,
        images=dict(images.most_common()),
        failed=tuple(failed),
        complete=storage.exists(tree.success),
        outcome=read_outcome(storage, tree),
    )
