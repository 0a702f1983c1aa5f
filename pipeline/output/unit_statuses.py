"""What became of the images of finished units, read from the units' own files, many at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from pipeline.output.files import UnitFile
from pipeline.output.parquet import COMMITTED_AT, decode_stored, skipped_in
from pipeline.output.person_count import SCORES, person_scores
from pipeline.output.run_output import RunOutput
from pipeline.storage.ordered_map import map_in_order
from posrefine.errors import ImageStatus, ShardError

__all__ = ["DamagedUnit", "UnitStatuses", "iter_unit_statuses"]

_READERS = 32


@dataclass(frozen=True)
class UnitStatuses:
    """What became of a finished unit's images: statuses, persons' scores, [N], and what was none of them."""

    file: UnitFile
    statuses: tuple[ImageStatus, ...]
    scores: NDArray[np.float32]
    skipped: dict[str, int]
    committed_at: datetime

    @property
    def failed(self) -> int:
        """Images without keypoints."""
        return sum(status is not ImageStatus.OK for status in self.statuses)


@dataclass(frozen=True)
class DamagedUnit:
    """A finished unit whose file was cut, or replaced as by another run's, and what is wrong with it."""

    file: UnitFile
    error: ShardError


def iter_unit_statuses(
    output: RunOutput, run_id: str, strangers: list[str] | None = None
) -> Iterator[UnitStatuses | DamagedUnit]:
    """The statuses of every finished unit of that run, read from the units' own files, many at a time.

    Names of what else lies among them are added to `strangers`.
    """

    def read(file: UnitFile) -> UnitStatuses | DamagedUnit:
        data = output.storage.read_bytes(file.uri)
        try:
            return _statuses(file, data, run_id)
        except ShardError as error:
            return DamagedUnit(file, error)

    return map_in_order(read, output.unit_files(strangers), _READERS)


def _statuses(file: UnitFile, data: bytes, run_id: str) -> UnitStatuses:
    table = decode_stored(file.uri, data, ["status", SCORES], run_id)
    try:
        committed_at = datetime.fromisoformat((table.schema.metadata or {})[COMMITTED_AT].decode())
        statuses = tuple(ImageStatus(status) for status in table["status"].to_pylist())
    except (KeyError, ValueError) as error:
        raise ShardError(f"{file.uri}: not written by a run of this version ({error!r})") from error
    scores = person_scores(table["persons"])
    return UnitStatuses(file, statuses, scores, skipped_in(table), committed_at.astimezone(UTC))
