"""The small record that a finished unit sends to the driver."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass

import pyarrow as pa

from posrefine.errors import ImageStatus

__all__ = ["STAGES", "Receipt"]

STAGES = ("load", "infer", "predictor", "commit")
"""What workers spend their time on; `predictor` is a part of `infer`."""

_SCHEMA = pa.schema(
    [
        ("unit_id", pa.string()),
        ("images", pa.map_(pa.string(), pa.int64())),
        ("persons", pa.int64()),
        ("persons_below", pa.int64()),
        ("input_bytes", pa.int64()),
        ("output_bytes", pa.int64()),
        ("load_s", pa.float64()),
        ("infer_s", pa.float64()),
        ("predictor_s", pa.float64()),
        ("busy_s", pa.float64()),
        ("commit_s", pa.float64()),
        ("attempts", pa.int64()),
        ("prepared", pa.string()),
        ("prepare_s", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Receipt:
    """One committed unit.

    Attributes:
        unit_id: the unit.
        images: how many images ended in which status.
        persons: persons found in all images with at least the run's `min_score`.
        persons_below: the others.
        input_bytes: encoded images read.
        output_bytes: size of the unit's file.
        load_s: seconds of fetching and decoding.
        infer_s: seconds in the inference actor.
        predictor_s: the part of `infer_s` inside the bare predictor.
        busy_s: seconds of processors (cores, or a GPU) inside the bare predictor.
        commit_s: seconds of encoding and putting.
        attempts: times the unit was begun by its worst stage; more than 1 after workers died.
        prepared: how the inference actor had made the network ready: device, precision, whose kernels.
        prepare_s: seconds that it took the actor, once, before its first unit.
    """

    unit_id: str
    images: dict[ImageStatus, int]
    persons: int
    persons_below: int
    input_bytes: int
    output_bytes: int
    load_s: float
    infer_s: float
    predictor_s: float
    busy_s: float
    commit_s: float
    attempts: int
    prepared: str
    prepare_s: float

    def stage_seconds(self) -> dict[str, float]:
        """The seconds by stage."""
        return dict(zip(STAGES, (self.load_s, self.infer_s, self.predictor_s, self.commit_s), strict=True))

    def to_table(self) -> pa.Table:
        """One row, for the way through Ray."""
        row = asdict(self) | {"images": [(status.value, count) for status, count in self.images.items()]}
        return pa.Table.from_pylist([row], schema=_SCHEMA)

    @staticmethod
    def from_table(table: pa.Table) -> Iterator[Receipt]:
        """The receipts of a table's rows."""
        for row in table.to_pylist():
            counts = {ImageStatus(status): count for status, count in row.pop("images")}
            yield Receipt(images=counts, **row)
